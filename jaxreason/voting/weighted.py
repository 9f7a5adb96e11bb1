"""First order: votes weighted by how often each agent is right, or by how sure it is."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxreason.checks import check_shape, check_that
from jaxreason.voting.ballots import NumOptions, check_answers, count_votes, is_vote
from jaxreason.voting.result import Votes, decide

MIN_ERROR = 2.0**-20
"""Accuracies are clipped to [MIN_ERROR, 1 - MIN_ERROR], so that no weight is infinite. About 1e-6;
1 - MIN_ERROR is a float32, so that being always right weighs as much as being always wrong."""

PRIOR_ANSWERS = 10.0
"""An agent's accuracy in a category is estimated as if it had answered so many more questions there
with its overall accuracy. Before any label this says that accuracies in categories lie within about
0.14 of the overall one (the standard deviation of a beta distribution with mean 0.7)."""


def optimal_weights(
    accuracies: Float[Array, " agent"] | Float[Array, "agent category"],
    num_options: NumOptions,
    *,
    categories: Int[Array, " question"] | None = None,
) -> Float[Array, " agent"] | Float[Array, "question agent"]:
    """Computes the weights ln((K - 1) x / (1 - x)) of the Bayes optimal vote.

    An agent at chance, x = 1 / K, has weight 0, a worse one a negative weight.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Algorithm 1 and Theorem 1.

    Args:
        accuracies: The probability x that each agent is right: the same for all questions, or, with
            `categories`, one an agent and category.
        num_options: The number of options K, one for all questions or one a question.
        categories: The category of each question, from 0; one that is not in `accuracies`, such as
            -1, stands for the mean of an agent's accuracies.

    Returns:
        One weight an agent, or one a question and agent if `num_options` is an array or there are
        `categories`.

    Raises:
        ValueError: If `accuracies`, `num_options` or `categories` has the wrong rank, the latter
            two differ in their numbers of questions, or there are fewer than two options.

    Example:
        >>> print(optimal_weights(jnp.array([0.9, 0.25]), 4).round(4))
        [3.2958 0.    ]
        >>> by_category = jnp.array([[0.9, 0.25]])  # of one agent
        >>> print(optimal_weights(by_category, 4, categories=jnp.array([1, 0])).round(4))
        [[0.    ]
         [3.2958]]
    """
    x = jnp.clip(jnp.asarray(accuracies, jnp.float32), MIN_ERROR, 1.0 - MIN_ERROR)
    logits = _by_question(x, categories, lambda x: jnp.log(x) - jnp.log1p(-x))
    if isinstance(num_options, int):
        check_that(num_options >= 2, f"num_options must be at least 2; got {num_options}.")
        return logits + jnp.log(num_options - 1.0)
    check_shape("num_options", num_options, ("question",) if categories is None else (len(logits),))
    others = jnp.maximum(num_options - 1, 1).astype(logits.dtype)
    return logits + jnp.log(others)[:, None]


def ow(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    accuracies: Float[Array, " agent"] | Float[Array, "agent category"],
    *,
    categories: Int[Array, " question"] | None = None,
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
        accuracies: The probability that each agent is right, see `estimate_accuracies`: the same
            for all questions, or, with `categories`, one an agent and category.
        categories: The category of each question, see `optimal_weights`.
        max_options: The most options of any question, if `num_options` is an array.
        ties: `"split"`, `"random"` or `"first"`.
        key: Randomness, for `ties="random"`.

    Returns:
        The votes and their weights. Of accuracies by category the votes hold the mean over the
        questions that the agent answered (over all if none); single options do not count.

    Raises:
        ValueError: If a shape, an answer, `num_options`, `max_options` or `ties` is wrong.

    Example:
        >>> votes = ow(jnp.array([[0, 1, 1]]), 2, jnp.array([0.9, 0.6, 0.6]))
        >>> votes.answers.tolist()
        [0]
        >>> print(votes.scores.round(2))
        [[2.2  0.81]]
    """
    exists = check_answers(answers, num_options, max_options)
    questions, agents = answers.shape
    check_shape("accuracies", accuracies, (agents,) if categories is None else (agents, "category"))
    if categories is not None:
        check_shape("categories", categories, (questions,))
    weights = optimal_weights(accuracies, num_options, categories=categories)
    scores = count_votes(answers, exists, weights)
    if categories is not None:
        by_question = _by_question(accuracies, categories)
        open_question = jnp.sum(exists, axis=1, keepdims=True) >= 2
        accuracies = _mean_answered(by_question, is_vote(answers, exists), open_question)
    return decide(
        scores,
        answers,
        exists,
        ties=ties,
        key=key,
        weights=weights,
        posterior=jnp.where(exists, jax.nn.softmax(jnp.where(exists, scores, -jnp.inf)), 0.0),
        accuracies=accuracies,
    )


def confidence_weighted(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    confidences: Float[Array, "question agent"],
    *,
    temperature: float | Float[Array, ""] = 1.0,
    max_options: int | None = None,
    ties: str = "split",
    key: PRNGKeyArray | None = None,
) -> Votes:
    """Picks the option with the largest sum of confidences, after a softmax over the voters.

    The weights of a question are exp(c_i / T), divided by their sum over the agents that answered
    it, as in confidence-informed self-consistency (CISC). A low temperature T trusts the surest
    agent alone; an infinite one is `majority`. Only differences within a question count, so T has
    to suit the scale of the confidences: choose it on labelled questions.

    See "Confidence Improves Self-Consistency in LLMs" by Taubenfeld et al.
    (https://arxiv.org/abs/2502.06233), Section 3.

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        confidences: How sure each agent is of its answer, on any scale; not read where it
            abstained.
        temperature: T, above 0.
        max_options: The most options of any question, if `num_options` is an array.
        ties: `"split"`, `"random"` or `"first"`.
        key: Randomness, for `ties="random"`.

    Returns:
        The votes, with weights `[question, agent]` that sum to 1 over the agents that answered.

    Raises:
        ValueError: If a shape, an answer, `num_options`, `temperature`, `max_options` or `ties` is
            wrong.

    Example:
        >>> confidences = jnp.array([[0.9, 0.3, 0.2]])
        >>> answers = jnp.array([[0, 1, 1]])
        >>> print(confidence_weighted(answers, 2, confidences, temperature=0.5).scores.round(2))
        [[0.65 0.35]]
        >>> confidence_weighted(answers, 2, confidences, temperature=2.0).answers.tolist()
        [1]
    """
    exists = check_answers(answers, num_options, max_options)
    check_shape("confidences", confidences, answers.shape)
    if not isinstance(temperature, jax.core.Tracer):
        check_that(bool(temperature > 0), f"temperature must be above 0; got {temperature}.")
    answered = is_vote(answers, exists)
    best = jnp.max(confidences, axis=1, keepdims=True, where=answered, initial=-jnp.inf)
    sure = answered & (confidences > -jnp.inf)
    sure = jnp.where(best == jnp.inf, answered & (confidences == best), sure)
    sure = jnp.where(jnp.any(sure, axis=1, keepdims=True), sure, answered)  # all alike unsure
    behind = jnp.where(sure & jnp.isfinite(best), confidences - best, 0.0)
    shares = jnp.where(sure, jnp.exp(behind / temperature), 0.0)
    weights = shares / jnp.maximum(jnp.sum(shares, axis=1, keepdims=True), 1.0)
    scores = count_votes(answers, exists, weights)
    return decide(scores, answers, exists, ties=ties, key=key, weights=weights)


def estimate_accuracies(
    answers: Int[Array, "question agent"],
    truth: Int[Array, " question"],
    where: Bool[Array, " question"] | None = None,
    *,
    categories: Int[Array, " question"] | None = None,
    num_categories: int | None = None,
    num_options: NumOptions | None = None,
    max_options: int | None = None,
) -> Float[Array, " agent"] | Float[Array, "agent category"]:
    """Estimates accuracies from labelled questions, shrunk towards the pool of all agents.

    An agent with c right of m answers gets x = (c + p) / (m + 1), as if it had answered one more
    question with the pooled accuracy p = (sum c + 1/2) / (sum m + 1). Abstentions do not count.
    The estimate is never 0 or 1, and is p for an agent that never answered.

    In a category with c right of m answers it gets (c + 10 x) / (m + 10), as if it had answered
    `PRIOR_ANSWERS` more questions there with its overall accuracy x.

    Args:
        answers: Option indices, -1 where an agent abstained.
        truth: The right option of each question, -1 where there is no label.
        where: Labelled questions to use; all if None.
        categories: The category of each question, from 0, -1 for none; if None, one accuracy an
            agent is estimated.
        num_categories: The number of categories, a static width, with `categories`.
        num_options: The number of options, one for all questions or one a question. If given,
            answers and labels that name none do not count, nor do questions with a single one.
        max_options: The most options of any question, if `num_options` is an array.

    Returns:
        One accuracy an agent, or one an agent and category.

    Raises:
        ValueError: If the shapes do not agree, or only one of `categories` and `num_categories` is
            given.

    Example:
        >>> answers = jnp.array([[0, 1], [1, -1]])
        >>> truth = jnp.array([0, 1])
        >>> estimate_accuracies(answers, truth).tolist()  # p = 2.5 / 4
        [0.875, 0.3125]
        >>> categories = jnp.array([0, 1])
        >>> by_category = estimate_accuracies(
        ...     answers, truth, categories=categories, num_categories=2
        ... )
        >>> by_category[1].tolist()  # 3.125 / 11, and nothing to go by
        [0.2840909063816070..., 0.3125]
    """
    questions, _ = check_shape("answers", answers, ("question", "agent"))
    check_shape("truth", truth, (questions,))
    counted = (answers >= 0) & (truth >= 0)[:, None]
    if num_options is not None:
        exists = check_answers(answers, num_options, max_options)
        counted = is_vote(answers, exists) & is_vote(truth[:, None], exists)
        counted = counted & (jnp.sum(exists, axis=1, keepdims=True) >= 2)
    if where is not None:
        check_shape("where", where, (questions,))
        counted = counted & where[:, None]
    is_right = counted & (answers == truth[:, None])
    answered = jnp.sum(counted, axis=0, dtype=jnp.float32)
    right = jnp.sum(is_right, axis=0, dtype=jnp.float32)
    pooled = (jnp.sum(right) + 0.5) / (jnp.sum(answered) + 1.0)
    overall = (right + pooled) / (answered + 1.0)
    if categories is None:
        check_that(num_categories is None, "num_categories is for categories; leave it out.")
        return overall
    if num_categories is None:
        raise ValueError("categories need num_categories, their number, as a static width.")
    check_shape("categories", categories, (questions,))
    answered, right = (
        jax.ops.segment_sum(flags.astype(jnp.float32), categories, num_categories).T
        for flags in (counted, is_right)
    )
    return (right + PRIOR_ANSWERS * overall[:, None]) / (answered + PRIOR_ANSWERS)


def _by_question(
    accuracies: Float[Array, " agent"] | Float[Array, "agent category"],
    categories: Int[Array, " question"] | None,
    function: Callable[[Array], Array] = lambda x: x,
) -> Float[Array, " agent"] | Float[Array, "question agent"]:
    """Returns a function of each agent's accuracy in the category of each question; once without.

    In a category that it is not known for, it is the function of the agent's mean accuracy.
    """
    if categories is None:
        check_shape("accuracies", accuracies, ("agent",))
        return function(accuracies)
    _, width = check_shape("accuracies", accuracies, ("agent", "category"))
    check_shape("categories", categories, ("question",))
    with_mean = jnp.concatenate([accuracies, jnp.mean(accuracies, axis=1, keepdims=True)], axis=1)
    categories = categories.astype(jnp.int32)
    known = (categories >= 0) & (categories < width)
    return function(with_mean).T[jnp.where(known, categories, width)]


def _mean_answered(
    values: Float[Array, "question agent"],
    answered: Bool[Array, "question agent"],
    where: Bool[Array, "question 1"],
) -> Float[Array, " agent"]:
    """Averages over some questions, those that an agent answered, or all if it answered none."""
    answered = answered & where
    counted = where & (answered | ~jnp.any(answered, axis=0, keepdims=True))
    number = jnp.sum(counted, axis=0, dtype=values.dtype)
    return jnp.sum(jnp.where(counted, values, 0.0), axis=0) / jnp.maximum(number, 1.0)
