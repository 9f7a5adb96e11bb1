"""First order: votes weighted by how often each agent is right."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxreason.checks import check_shape
from jaxreason.voting.ballots import NumOptions, check_answers, count_votes
from jaxreason.voting.result import Votes, decide

MIN_ERROR = 1e-6
"""Accuracies are clipped to [MIN_ERROR, 1 - MIN_ERROR], so that no weight is infinite."""


def optimal_weights(
    accuracies: Float[Array, " agent"], num_options: NumOptions
) -> Float[Array, " agent"] | Float[Array, "question agent"]:
    """Computes the weights ln((K - 1) x / (1 - x)) of the Bayes optimal vote.

    An agent at chance, x = 1 / K, has weight 0, a worse one a negative weight.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Algorithm 1 and Theorem 1.

    Args:
        accuracies: The probability x that each agent is right.
        num_options: The number of options K, one for all questions or one a question.

    Returns:
        One weight an agent, or one a question and agent if `num_options` is an array.

    Raises:
        ValueError: If `accuracies` or `num_options` has the wrong rank.

    Example:
        >>> print(optimal_weights(jnp.array([0.9, 0.25]), 4).round(4))
        [3.2958 0.    ]
    """
    check_shape("accuracies", accuracies, ("agent",))
    x = jnp.clip(accuracies, MIN_ERROR, 1.0 - MIN_ERROR)
    logits = jnp.log(x) - jnp.log1p(-x)
    if isinstance(num_options, int):
        return logits + jnp.log(num_options - 1.0)
    check_shape("num_options", num_options, ("question",))
    others = jnp.maximum(num_options - 1, 1).astype(logits.dtype)
    return logits[None, :] + jnp.log(others)[:, None]


def ow(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    accuracies: Float[Array, " agent"],
    *,
    max_options: int | None = None,
    ties: str = "split",
    key: PRNGKeyArray | None = None,
) -> Votes:
    """Picks the option with the largest sum of `optimal_weights` (optimal weight, OW).

    This is optimal among all rules if agents err independently given the truth, and an error falls
    on each wrong option alike. A weight is negative below chance, so that an option may then win
    without a vote.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Algorithm 1.

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        accuracies: The probability that each agent is right, see `estimate_accuracies`.
        max_options: The most options of any question, if `num_options` is an array.
        ties: `"split"`, `"random"` or `"first"`.
        key: Randomness, for `ties="random"`.

    Returns:
        The votes and their weights.

    Raises:
        ValueError: If a shape, `num_options`, `max_options` or `ties` is wrong.

    Example:
        >>> votes = ow(jnp.array([[0, 1, 1]]), 2, jnp.array([0.9, 0.6, 0.6]))
        >>> votes.answers.tolist()
        [0]
        >>> print(votes.scores.round(2))
        [[2.2  0.81]]
    """
    exists = check_answers(answers, num_options, max_options)
    check_shape("accuracies", accuracies, answers.shape[1:])
    weights = optimal_weights(accuracies, num_options)
    scores = count_votes(answers, exists, weights)
    return decide(
        scores,
        answers,
        exists,
        ties=ties,
        key=key,
        weights=weights,
        posterior=jax.nn.softmax(jnp.where(exists, scores, -jnp.inf), axis=-1),
        accuracies=accuracies,
    )


def estimate_accuracies(
    answers: Int[Array, "question agent"],
    truth: Int[Array, " question"],
    where: Bool[Array, " question"] | None = None,
) -> Float[Array, " agent"]:
    """Estimates accuracies from labelled questions, shrunk towards the pool of all agents.

    An agent with c right of m answers gets (c + p) / (m + 1), as if it had answered one more
    question with the pooled accuracy p = (sum c + 1/2) / (sum m + 1). Abstentions do not count.
    The estimate is never 0 or 1, and is p for an agent that never answered.

    Args:
        answers: Option indices, -1 where an agent abstained.
        truth: The right option of each question.
        where: Questions that are labelled; all if None.

    Returns:
        One accuracy an agent.

    Raises:
        ValueError: If the shapes do not agree.

    Example:
        >>> answers = jnp.array([[0, 1], [1, -1]])
        >>> estimate_accuracies(answers, jnp.array([0, 1])).tolist()  # p = 2.5 / 4
        [0.875, 0.3125]
    """
    questions, _ = check_shape("answers", answers, ("question", "agent"))
    check_shape("truth", truth, (questions,))
    counted = answers >= 0
    if where is not None:
        check_shape("where", where, (questions,))
        counted = counted & where[:, None]
    answered = jnp.sum(counted, axis=0, dtype=jnp.float32)
    right = jnp.sum(counted & (answers == truth[:, None]), axis=0, dtype=jnp.float32)
    pooled = (jnp.sum(right) + 0.5) / (jnp.sum(answered) + 1.0)
    return (right + pooled) / (answered + 1.0)
