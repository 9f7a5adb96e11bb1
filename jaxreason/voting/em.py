"""Expectation maximisation over the unknown truths of many questions, in one pass an iteration.

Within a block the question comes last in every array: the sums over agents and options then run
along the questions, several times faster on a CPU than with the option last.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.checks import check_shape, check_that
from jaxreason.voting.ballots import NumOptions, check_answers, is_vote
from jaxreason.voting.blocks import map_blocks, questions_per_block, sum_blocks


class Questions(NamedTuple):
    """The data of a fit.

    Attributes:
        answers: Option indices, of the narrowest type; -1 for every abstention, and on questions
            with a single option, whose answers say nothing.
        possible: Which options may be the truth: all that exist, or the label alone.
        options: The number of options that exist, at least 2.
    """

    answers: Int[Array, "question agent"]
    possible: Bool[Array, "question option"]
    options: Float[Array, " question"]


class Counts(NamedTuple):
    """What a pass over the questions adds up; those that nobody answered do not count.

    Attributes:
        tally: The sufficient statistics of the agents.
        truths: The expected number of questions whose truth is each option.
        questions: The number of questions.
        log_likelihood: The sum of the questions' ln P(answers), less a reference for each.
    """

    tally: Float[Array, "..."]
    truths: Float[Array, " option"]
    questions: Float[Array, ""]
    log_likelihood: Float[Array, ""]


class Fit(NamedTuple):
    """The outcome of expectation maximisation.

    Attributes:
        parameters: What maximises the likelihood.
        log_likelihood: ln P(answers), the mean over the questions that somebody answered.
        iterations: How often the parameters were estimated.
    """

    parameters: Any
    log_likelihood: Float[Array, ""]
    iterations: Int[Array, ""]


def gather_questions(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    max_options: int | None,
    truth: Int[Array, " question"] | None,
) -> Questions:
    """Checks the data of a fit and puts it together.

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        max_options: The most options of any question, if `num_options` is an array.
        truth: The right options of the labelled questions; one that does not exist (-1) is no
            label.

    Returns:
        The data.

    Raises:
        ValueError: If a shape, an answer, `num_options` or `max_options` is wrong.

    Example:
        >>> data = gather_questions(jnp.array([[0, -1], [1, 1]]), 2, None, jnp.array([-1, 0]))
        >>> data.answers.tolist(), data.possible.tolist()
        ([[0, -1], [1, 1]], [[True, True], [True, False]])
    """
    exists = possible = check_answers(answers, num_options, max_options)
    if truth is not None:
        check_shape("truth", truth, answers.shape[:1])
        label = jax.nn.one_hot(truth, exists.shape[1], dtype=bool) & exists
        possible = jnp.where(jnp.any(label, axis=1, keepdims=True), label, exists)
    options = jnp.sum(exists, axis=1, dtype=jnp.float32)
    says = is_vote(answers, exists) & (options >= 2.0)[:, None]
    narrow = jnp.int8 if exists.shape[1] <= jnp.iinfo(jnp.int8).max else jnp.int32
    cleaned = jnp.where(says, answers.astype(jnp.int32), -1).astype(narrow)
    return Questions(cleaned, possible, jnp.maximum(options, 2.0))


def check_iterations(max_iterations: int) -> None:
    """Raises `ValueError` unless there is an iteration at least, if the number is known.

    Args:
        max_iterations: The most iterations.

    Raises:
        ValueError: If it is below 1.

    Example:
        >>> check_iterations(1)
    """
    if isinstance(max_iterations, int):
        check_that(max_iterations >= 1, f"max_iterations must be at least 1; got {max_iterations}.")


def fit_truths(
    questions: Questions,
    *,
    joint: Callable[..., Float[Array, "option question"]],
    tally: Callable[..., Float[Array, "..."]],
    maximise: Callable[[Counts], Any],
    tolerance: float,
    max_iterations: int,
) -> Fit:
    """Fits parameters and truths in turn, from the shares of the votes, which is the majority.

    It stops once the mean log-likelihood rises by less than `tolerance`.

    Args:
        questions: The data.
        joint: Maps parameters, one-hot ballots `[agent, option, question]` and the number of
            options `[question]` to ln P(truth, answers).
        tally: Maps ballots and the posterior `[option, question]` to a block's statistics, a sum.
        maximise: Maps counts to the parameters that maximise their likelihood.
        tolerance: The least rise of ln P(answers) a question for which it goes on.
        max_iterations: The most iterations, at least 1.

    Returns:
        The parameters and their log-likelihood.

    Example:
        >>> data = gather_questions(jnp.array([[0, 0], [1, 1], [1, 0]]), 2, None, None)
        >>> fit = fit_truths(  # priors alone: both agents are known to be right 9 times in 10
        ...     data,
        ...     joint=lambda priors, ballots, _: jnp.log(priors)[:, None]
        ...     + jnp.log(9.0) * ballots.sum(0),
        ...     tally=lambda ballots, posterior: jnp.zeros(()),
        ...     maximise=lambda counts: counts.truths / counts.questions,
        ...     tolerance=1e-6,
        ...     max_iterations=10,
        ... )
        >>> fit.parameters.tolist(), int(fit.iterations)
        ([0.5, 0.5], 2)
    """
    check_iterations(max_iterations)
    block = _block(questions)

    def start(answers: Array, possible: Array, _: Array) -> Counts:
        ballots = _cast(answers, possible.shape[1])
        votes = jnp.where(possible.T, jnp.sum(ballots, axis=0), 0.0)
        total = jnp.sum(votes, axis=0)
        # Without votes for it a label is the one possible option; others without any do not count.
        certain = possible.T.astype(votes.dtype)
        posterior = jnp.where(total > 0, votes / jnp.maximum(total, 1.0), certain)
        return _count(tally(ballots, posterior), answers, posterior, jnp.zeros_like(total))

    def go_on(state: tuple) -> Array:
        *_, rise, iterations = state
        return (rise >= tolerance) & (iterations < max_iterations)

    def iterate(state: tuple) -> tuple:
        counts, _, reference, excess, _, iterations = state
        parameters = maximise(counts)

        def expect(answers: Array, possible: Array, options: Array) -> Counts:
            ballots = _cast(answers, possible.shape[1])
            log_joint = joint(parameters, ballots, options)
            posterior, log_likelihood = _expect(log_joint, possible.T)
            return _count(tally(ballots, posterior), answers, posterior, log_likelihood - reference)

        counts = sum_blocks(expect, *questions, block=block)
        mean = counts.log_likelihood / jnp.maximum(counts.questions, 1.0)
        # In excess of the first iteration's, means keep the digits that the tolerance is about.
        first = iterations == 0
        rise = jnp.where(first, jnp.inf, mean - excess)
        reference, excess = jnp.where(first, mean, reference), jnp.where(first, 0.0, mean)
        return counts, parameters, reference, excess, rise, iterations + 1

    counts = sum_blocks(start, *questions, block=block)
    zero = jnp.zeros((), jnp.float32)
    state = (counts, maximise(counts), zero, zero, zero + jnp.inf, jnp.zeros((), jnp.int32))
    _, parameters, reference, excess, _, iterations = jax.lax.while_loop(go_on, iterate, state)
    return Fit(parameters, reference + excess, iterations)


def log_posterior(
    questions: Questions,
    joint: Callable[..., Float[Array, "option question"]],
    parameters: Any,
) -> Float[Array, "question option"]:
    """Returns ln P(truth | answers), -inf for options that are not possible.

    Args:
        questions: The data.
        joint: As in `fit_truths`.
        parameters: The parameters for `joint`.

    Returns:
        The log-posterior.

    Example:
        >>> data = gather_questions(jnp.array([[0, 0, 1]]), 2, None, None)
        >>> joint = lambda weight, ballots, _: weight * ballots.sum(0)
        >>> print(jnp.exp(log_posterior(data, joint, jnp.log(3.0))).round(2))
        [[0.75 0.25]]
    """

    def compute(answers: Array, possible: Array, options: Array) -> Array:
        log_joint = joint(parameters, _cast(answers, possible.shape[1]), options)
        log_joint = jnp.where(possible.T, log_joint, -jnp.inf)
        log_posterior = log_joint - jax.nn.logsumexp(log_joint, axis=0)
        return jnp.where(possible.T, log_posterior, -jnp.inf).T

    return map_blocks(compute, *questions, block=_block(questions))


def _block(questions: Questions) -> int:
    return questions_per_block(questions.answers.shape[1], questions.possible.shape[1])


def _cast(
    answers: Int[Array, "question agent"], options: int
) -> Float[Array, "agent option question"]:
    """Turns answers into one-hot ballots."""
    labels = jnp.arange(options, dtype=answers.dtype)
    return (answers.T[:, None, :] == labels[None, :, None]).astype(jnp.float32)


def _expect(
    log_joint: Float[Array, "option question"], possible: Bool[Array, "option question"]
) -> tuple[Float[Array, "option question"], Float[Array, " question"]]:
    """Returns the posterior and ln P(answers); 0 for a question without a possible option."""
    masked = jnp.where(possible, log_joint, -jnp.inf)
    largest = jnp.max(masked, axis=0)
    largest = jnp.where(jnp.isfinite(largest), largest, 0.0)
    weights = jnp.exp(masked - largest)
    total = jnp.sum(weights, axis=0)
    total = jnp.where(total > 0, total, 1.0)
    return weights / total, largest + jnp.log(total)


def _count(
    tally: Float[Array, "..."],
    answers: Int[Array, "question agent"],
    posterior: Float[Array, "option question"],
    log_likelihood: Float[Array, " question"],
) -> Counts:
    """Adds up a block over the questions that somebody answered."""
    answered = jnp.any(answers >= 0, axis=1).astype(posterior.dtype)
    return Counts(
        tally,
        jnp.sum(posterior * answered, axis=1),
        jnp.sum(answered),
        jnp.sum(log_likelihood * answered),
    )
