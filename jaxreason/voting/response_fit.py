"""The item response model: maximum a posteriori coefficients, by expectation maximisation."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxreason.voting.blocks import questions_per_block, sum_blocks
from jaxreason.voting.em import Questions
from jaxreason.voting.response_model import (
    MAX_COPYING,
    NODES,
    Coefficients,
    Tally,
    count_block,
    log_normaliser,
    log_odds,
    quadrature,
)

SPREADS = (2.0, 0.5, 1.0, 0.5)
"""Prior standard deviations of an agent's intercepts and slopes (right, right, lure, lure) about
the pool's means."""

CENTRES = (0.0, 1.0, 0.0, 0.0)
"""What the pool's means are drawn to."""

PULLS = (0.0, 4.0, 1.0, 4.0)
"""How many agents' worth of evidence draws the pool's means to the centres."""

HONEST_PAIRS = 5.0
"""Imagined questions on which an agent did not copy its parent."""

NEWTON_STEPS = 2
STEP_SIZES = (1.0, 0.3, 0.1, 0.01, 0.0)
"""Of the step sizes the best is taken, so that no step makes things worse; the first of equal ones,
or steps too small for the objective to tell would not be taken."""


class Climb(NamedTuple):
    """The outcome of expectation maximisation.

    Attributes:
        coefficients: What maximises the posterior density.
        log_likelihood: ln P(answers), the mean over the questions that somebody answered.
        iterations: How often the coefficients were estimated.
        lead: The expected number of votes for right options, less that of votes for lures.
    """

    coefficients: Coefficients
    log_likelihood: Float[Array, ""]
    iterations: Int[Array, ""]
    lead: Float[Array, ""]


def option_counts(num_options: int | Array, max_options: int | None) -> Float[Array, " size"]:
    """Returns the numbers of options that can occur.

    Example:
        >>> option_counts(4, None).tolist(), option_counts(jnp.array([2, 3]), 4).tolist()
        ([4.0], [2.0, 3.0, 4.0])
    """
    if isinstance(num_options, int):
        return jnp.array([num_options], jnp.float32)
    return jnp.arange(2, (max_options or 2) + 1, dtype=jnp.float32)


def block_of(questions: Questions) -> int:
    """Returns how many questions make up a block, given what the model holds for each.

    Example:
        >>> from jaxreason.voting.em import gather_questions
        >>> block_of(gather_questions(jnp.zeros((5, 32), jnp.int32), 10, None, None))
        936
    """
    return questions_per_block(questions.answers.shape[1] * NODES, questions.possible.shape[1])


def cast(
    answers: Int[Array, "question agent"], options: int
) -> Float[Array, "agent option question"]:
    """Turns answers into one-hot ballots with the question last.

    Example:
        >>> cast(jnp.array([[1], [-1]]), 2).tolist()
        [[[0.0, 0.0], [1.0, 0.0]]]
    """
    labels = jnp.arange(options, dtype=answers.dtype)
    return (answers.T[:, None, :] == labels[None, :, None]).astype(jnp.float32)


def climb(
    questions: Questions,
    start: Coefficients,
    sizes: Float[Array, " size"],
    *,
    difficulty: bool,
    dependence: bool,
    tolerance: float,
    max_iterations: int,
) -> Climb:
    """Improves coefficients until the mean log-likelihood rises by less than `tolerance`.

    Args:
        questions: The data.
        start: The first coefficients; parents stay as they are.
        sizes: The numbers of options that can occur.
        difficulty: Whether questions differ in ease; if not, slopes stay 0.
        dependence: Whether there is a tempting wrong option; if not, its coefficients stay 0.
        tolerance: The least rise of ln P(answers) a question for which it goes on.
        max_iterations: The most iterations, at least 1.

    Returns:
        The coefficients and their log-likelihood.

    Example:
        >>> from jaxreason.voting.em import gather_questions
        >>> answers = jnp.array([[0, 0, 0], [0, 0, 1], [1, 1, 1], [1, 1, 0]])
        >>> start = Coefficients(jnp.tile(jnp.array([1.0, 0.0]), (3, 1)), jnp.zeros((3, 2)))
        >>> settings = {"difficulty": False, "dependence": False, "tolerance": 1e-3}
        >>> data = gather_questions(answers, 2, None, None)
        >>> climbed = climb(data, start, jnp.array([2.0]), **settings, max_iterations=20)
        >>> right = climbed.coefficients.right[:, 0]
        >>> bool(right[0] > right[2]), bool((climbed.coefficients.lure == 0).all())
        (True, True)
    """
    nodes, log_weights = quadrature(difficulty)
    free = jnp.array([True, difficulty, dependence, difficulty and dependence])

    def tally(coefficients: Coefficients, reference: Array) -> Tally:
        def count(answers: Array, possible: Array, options: Array) -> Tally:
            ballots = cast(answers, possible.shape[1])
            model = (coefficients, nodes, log_weights, sizes)
            return count_block(*model, ballots, possible.T, options, reference)

        return sum_blocks(count, *questions, block=block_of(questions))

    def go_on(state: tuple) -> Array:
        *_, rise, evaluations, _ = state
        return (rise >= tolerance) & (evaluations <= max_iterations)

    def iterate(state: tuple) -> tuple:
        coefficients, _, reference, excess, _, evaluations, _ = state
        counts = tally(coefficients, reference)
        improved = maximise(coefficients, counts, nodes, sizes, free)
        mean = counts.log_likelihood / jnp.maximum(counts.questions, 1.0)
        # In excess of the start's, means keep the digits that the tolerance is about.
        first = evaluations == 0
        rise = jnp.where(first, jnp.inf, mean - excess)
        reference, excess = jnp.where(first, mean, reference), jnp.where(first, 0.0, mean)
        lead = jnp.sum(counts.right) - jnp.sum(counts.lure)
        return improved, coefficients, reference, excess, rise, evaluations + 1, lead

    zero = jnp.zeros((), jnp.float32)
    state = (start, start, zero, zero, zero + jnp.inf, jnp.zeros((), jnp.int32), zero)
    state = jax.lax.while_loop(go_on, iterate, state)
    _, coefficients, reference, excess, _, evaluations, lead = state
    return Climb(coefficients, reference + excess, evaluations - 1, lead)


def maximise(
    coefficients: Coefficients,
    counts: Tally,
    nodes: Float[Array, " node"],
    sizes: Float[Array, " size"],
    free: Array,
) -> Coefficients:
    """Improves the coefficients for given expected counts.

    Each agent's is a penalised multinomial regression of its votes on the question's ease, concave;
    a few Newton steps go up. The pool's means, which agents are drawn to, follow.

    Args:
        coefficients: The coefficients so far.
        counts: The expected counts under them.
        nodes: Quadrature nodes of the ease.
        sizes: The numbers of options that can occur.
        free: Which of the four coefficients of an agent may change.

    Returns:
        The new coefficients.

    Example:
        >>> nodes, sizes, nobody = jnp.zeros(1), jnp.array([2.0]), jnp.zeros(1)
        >>> votes = (jnp.array([[3.0]]), jnp.array([[1.0]]), jnp.array([[[4.0]]]))  # 3 : 1
        >>> counts = Tally(*votes, nobody, nobody, jnp.zeros(()), jnp.array(4.0))
        >>> coefficients = Coefficients(jnp.zeros((1, 2)), jnp.zeros((1, 2)))
        >>> free = jnp.array([True, False, False, False])
        >>> for _ in range(10):  # alone, an agent is its pool
        ...     coefficients = maximise(coefficients, counts, nodes, sizes, free)
        >>> f"{jnp.exp(coefficients.right[0, 0]):.1f}"
        '3.0'
    """
    terms = jnp.concatenate([coefficients.right, coefficients.lure], axis=1)
    centres, pulls = jnp.array(CENTRES, terms.dtype), jnp.array(PULLS, terms.dtype)
    means = (terms.sum(0) + pulls * centres) / (len(terms) + pulls)
    precisions = 1.0 / jnp.square(jnp.array(SPREADS, terms.dtype))

    def objective(own: Array, right: Array, lure: Array, votes: Array) -> Array:
        for_right, for_lure = log_odds(own[:2], nodes), log_odds(own[2:], nodes)
        norm = log_normaliser(for_right, for_lure, sizes)
        likelihood = jnp.sum(right * for_right + lure * for_lure) - jnp.sum(votes * norm)
        return likelihood - 0.5 * jnp.sum(precisions * jnp.square(own - means))

    improve = jax.vmap(lambda own, *data: _newton(lambda x: objective(x, *data), own, free))

    def step(_: Array, terms: Array) -> Array:
        return improve(terms, counts.right, counts.lure, counts.votes)

    terms = jax.lax.fori_loop(0, NEWTON_STEPS, step, terms)
    copies = coefficients.copies
    if copies is not None:
        rates = jnp.minimum(counts.copies / (counts.pairs + HONEST_PAIRS), MAX_COPYING)
        copies = copies._replace(rates=rates)
    return Coefficients(terms[:, :2], terms[:, 2:], copies)


def _newton(
    objective: Callable[[Array], Array], start: Float[Array, " term"], free: Array
) -> Float[Array, " term"]:
    """Takes the best of several lengths of a Newton step; coefficients that aren't free stay."""
    slope = jnp.where(free, jax.grad(objective)(start), 0.0)
    both = free[:, None] & free[None, :]
    curvature = jnp.where(
        both, jax.hessian(objective)(start), -jnp.eye(len(start), dtype=start.dtype)
    )
    step = jnp.where(free, -jnp.linalg.solve(curvature, slope), 0.0)
    candidates = start + jnp.array(STEP_SIZES, start.dtype)[:, None] * step
    values = jax.vmap(objective)(candidates)
    return candidates[jnp.argmax(jnp.where(jnp.isfinite(values), values, -jnp.inf))]
