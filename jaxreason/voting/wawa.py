"""Worker agreement with aggregate: votes weighted by how often an agent sides with the majority."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxreason.checks import check_shape
from jaxreason.voting.ballots import NumOptions, check_answers, count_votes, is_vote
from jaxreason.voting.majority import majority
from jaxreason.voting.result import Votes, decide


def wawa(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    accuracies: Float[Array, " agent"] | None = None,
    max_options: int | None = None,
    ties: str = "split",
    key: PRNGKeyArray | None = None,
) -> Votes:
    """Weights each agent by how often it agrees with the majority (Wawa), without any labels.

    One step: the majority's answers, each agent's rate of agreement with them, and a vote with
    these rates as weights. Agreement with one of t tied options counts 1 / t, whatever `ties`,
    which decides on the final answers. An agent that never answered gets the rate of all answers
    together. The same estimate with the optimal weights is `ow` with these accuracies.

    See "Learning from Crowds with Crowd-Kit" by Ustalov, Pavlichenko and Tseitlin
    (https://arxiv.org/abs/2109.08584), which names and implements it.

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        accuracies: The rates, such as those found on other questions; if None, those of these.
        max_options: The most options of any question, if `num_options` is an array.
        ties: `"split"`, `"random"` or `"first"`.
        key: Randomness, for `ties="random"`.

    Returns:
        The votes, with the rates both as weights and as accuracies.

    Raises:
        ValueError: If a shape, an answer, `num_options`, `max_options` or `ties` is wrong.

    Example:
        >>> votes = wawa(jnp.array([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0]]), 2)
        >>> votes.weights.tolist()
        [1.0, 1.0, 0.5]
        >>> votes.scores[0].tolist()
        [2.0, 0.5]
    """
    exists = check_answers(answers, num_options, max_options)
    if accuracies is None:
        labels = majority(answers, num_options, max_options=max_options).winners
        accuracies = agreement_rates(answers, exists, labels)
    check_shape("accuracies", accuracies, answers.shape[1:])
    scores = count_votes(answers, exists, accuracies)
    return decide(
        scores, answers, exists, ties=ties, key=key, weights=accuracies, accuracies=accuracies
    )


def agreement_rates(
    answers: Int[Array, "question agent"],
    exists: Bool[Array, "question option"],
    labels: Float[Array, "question option"],
) -> Float[Array, " agent"]:
    """Computes how often each agent agrees with labels, over the questions that it answered.

    Questions with a single option do not count.

    Args:
        answers: Option indices; one that does not exist counts as an abstention.
        exists: Which options exist.
        labels: What agreement with each option counts, such as the winners of a vote.

    Returns:
        The rates; for an agent that never answered the rate of all answers together, 1 / 2 if there
        are none.

    Example:
        >>> answers, exists = jnp.array([[0, 1], [1, -1]]), jnp.ones((2, 2), bool)
        >>> agreement_rates(answers, exists, jnp.array([[1.0, 0.0], [0.5, 0.5]])).tolist()
        [0.75, 0.0]
    """
    answered = is_vote(answers, exists) & (jnp.sum(exists, axis=1, keepdims=True) >= 2)
    agreed = jnp.take_along_axis(labels, jnp.where(answered, answers, 0), axis=1)
    sums = jnp.sum(jnp.where(answered, agreed, 0.0), axis=0)
    counts = jnp.sum(answered, axis=0, dtype=sums.dtype)
    total = jnp.sum(counts)
    pooled = jnp.where(total > 0, jnp.sum(sums) / jnp.maximum(total, 1.0), 0.5)
    return jnp.where(counts > 0, sums / jnp.maximum(counts, 1.0), pooled)
