"""How many abstractions and how many solutions each: the best allocation of a token budget."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxreason.checks import check_that
from jaxreason.rlad.allocation import Calibration, check_calibration, expected_tokens
from jaxreason.rlad.success import predict_pass
from jaxreason.rlad.voted import voted_accuracy
from jaxreason.voting.resampling import percentile_interval

MEASURES = ("pass", "vote", "vote_by_abstraction")
REACH = 4
"""So many times the calibrated numbers are candidates for `pass`."""

TOLERANCE = 1e-3
"""Predictions so close to the best are equal: the fit and the draws are no more exact."""

Size = tuple[int, int]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class Plan:
    """What is predicted for each candidate, and which one was chosen.

    Attributes:
        abstractions: m, `[candidate]`; 0 for plain samples.
        solutions: k, the solutions under each abstraction, `[candidate]`.
        tokens: Generated tokens of both players, the mean for a problem, `[candidate]`.
        mean: Predicted accuracy, the mean over problems, `[candidate]`.
        low: Lower end of its 95% interval, `[candidate]`.
        high: Upper end, `[candidate]`.
        chosen: Index of the best candidate within the budget, `[]`.
    """

    abstractions: Int[Array, "..."]
    solutions: Int[Array, "..."]
    tokens: Float[Array, "..."]
    mean: Float[Array, "..."]
    low: Float[Array, "..."]
    high: Float[Array, "..."]
    chosen: Int[Array, "..."]

    @property
    def allocation(self) -> tuple[int, int]:
        """The chosen (m, k)."""
        return int(self.abstractions[self.chosen]), int(self.solutions[self.chosen])


def plan(
    calibration: Calibration,
    budget: int | float,
    *,
    key: PRNGKeyArray,
    measure: str = "pass",
    candidates: Sequence[Size] | None = None,
    resamples: int = 500,
    draws: int = 256,
) -> Plan:
    """Predicts accuracy for allocations (m, k) and picks the best under a budget of tokens.

    `pass` is predicted by a model, see `predict_pass`; votes by dealing the calibration's answers
    again, see `voted_accuracy`. Intervals come from drawing problems with replacement and
    predicting anew. They cover the choice of problems, and with it the luck of the few
    abstractions and solutions sampled for each. They do not cover what the model gets wrong
    beyond the calibrated m and k. They are too narrow for fewer than some 30 problems, or where
    nearly all or none are solved, and have no width where all problems went alike.

    See "RLAD: Training LLMs to Discover Abstractions for Solving Reasoning Problems" by Qu et al.
    (https://arxiv.org/abs/2510.02263), which finds that a growing budget is better spent on more
    abstractions than on more solutions, and "Bootstrap Methods: Another Look at the Jackknife" by
    Efron (https://doi.org/10.1214/aos/1176344552).

    Args:
        calibration: The calibration; with plain samples, those are candidates, too.
        budget: Generated tokens of both players for a problem.
        key: Randomness.
        measure: `pass`: one solution is right at least; `vote`: the commonest of all answers is;
            `vote_by_abstraction`: the commonest of the abstractions' commonest answers is.
        candidates: Allocations (m, k), m = 0 for k plain samples. By default, what fits the
            budget out of 1, 2, 4, ... and the calibrated number itself, up to it for votes, up to
            four times as many for `pass`.
        resamples: Resamples of the problems.
        draws: How often answers are dealt for votes.

    Returns:
        The table of candidates, and the chosen one: the highest mean; out of those within
        0.001 of it, the fewest tokens.

    Raises:
        ValueError: If shapes disagree, `measure` is unknown, votes are to be predicted without
            answers, a candidate is impossible, a number is below 1, or nothing fits the budget.

    Example:
        >>> correct = jnp.array([[[1, 1], [0, 0]], [[0, 0], [1, 0]], [[0, 0], [0, 0]]]) > 0
        >>> tokens = jnp.full((3, 2, 2), 100)
        >>> calibration = Calibration(correct, jnp.full((3, 2), 20), tokens)
        >>> planned = plan(calibration, 500, key=jax.random.key(0))
        >>> planned.allocation, float(planned.tokens[planned.chosen])
        ((4, 1), 480.0)
    """
    check_calibration(calibration)
    check_that(measure in MEASURES, f"measure must be in {MEASURES}; got {measure!r}.")
    for name, number in (("resamples", resamples), ("draws", draws)):
        check_that(number >= 1, f"{name} must be 1 or more; got {number}.")
    sizes = default_candidates(calibration, measure) if candidates is None else tuple(candidates)
    _check_candidates(calibration, measure, sizes)
    costs = [float(expected_tokens(calibration, m=m, k=k)) for m, k in sizes]
    cheapest, (m, k) = min(zip(costs, sizes, strict=True))
    check_that(
        cheapest <= budget,
        f"budget must hold one candidate at least; the cheapest, m={m} x k={k}, takes "
        f"{cheapest:.1f} tokens; got {budget}.",
    )
    if candidates is None:
        sizes = tuple(s for s, cost in zip(sizes, costs, strict=True) if cost <= budget)
        costs = [cost for cost in costs if cost <= budget]
    means, ends = _predict(
        calibration, key, sizes=sizes, measure=measure, resamples=resamples, draws=draws
    )
    affordable = jnp.array([cost <= budget for cost in costs])
    return _choose(sizes, jnp.array(costs), affordable, means, ends)


def default_candidates(calibration: Calibration, measure: str) -> tuple[Size, ...]:
    """Lists the allocations that `plan` considers by default.

    Args:
        calibration: The calibration.
        measure: Out of `MEASURES`.

    Returns:
        Plain samples first, if there are any.

    Example:
        >>> calibration = Calibration(jnp.ones((1, 2, 3)), jnp.ones((1, 2)), jnp.ones((1, 2, 3)))
        >>> default_candidates(calibration, "vote")
        ((1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3))
    """
    reach = REACH if measure == "pass" else 1

    def numbers(calibrated: int) -> list[int]:
        powers = [2**n for n in range((reach * calibrated).bit_length())]
        return sorted({*powers, calibrated})

    _, abstractions, solutions = calibration.correct.shape
    plain = [] if calibration.bare is None else numbers(calibration.bare.correct.shape[2])
    hinted = [(m, k) for m in numbers(abstractions) for k in numbers(solutions)]
    return (*((0, k) for k in plain), *hinted)


def _check_candidates(calibration: Calibration, measure: str, sizes: tuple[Size, ...]) -> None:
    check_that(len(sizes) >= 1, "candidates must hold one (m, k) at least; got none.")
    for m, k in sizes:
        check_that(
            m >= 0 and k >= 1,
            f"candidates must be (m, k) with m >= 0 and k >= 1; got ({m}, {k}).",
        )
        source = calibration if m else calibration.bare
        if source is None:
            raise ValueError(f"({m}, {k}) needs plain samples in calibration.bare; got None.")
        check_that(
            measure == "pass" or source.answers is not None,
            f"measure {measure!r} needs answers in the calibration"
            f"{'' if m else ' of plain samples'}; got None.",
        )


@partial(jax.jit, static_argnames=("sizes", "measure", "resamples", "draws"))
def _predict(
    calibration: Calibration,
    key: PRNGKeyArray,
    *,
    sizes: tuple[Size, ...],
    measure: str,
    resamples: int,
    draws: int,
) -> tuple[Float[Array, " candidate"], Float[Array, "candidate 2"]]:
    """Predicts the mean and the ends of its interval for each candidate."""
    of_problems, of_answers = jax.random.split(key)
    times = _resample(of_problems, calibration.correct.shape[0], resamples)
    columns: dict[Size, Array] = {}
    for source, group in (
        (calibration, [size for size in sizes if size[0]]),
        (calibration.bare, [size for size in sizes if not size[0]]),
    ):
        if source is not None and group:
            # Plain samples are those under the one abstraction of no tokens.
            real = tuple((max(m, 1), k) for m, k in group)
            values = _predict_source(source, times, of_answers, real, measure, draws)
            columns |= dict(zip(group, values.T, strict=True))
    values = jnp.stack([columns[size] for size in sizes], axis=-1)
    return values[0], percentile_interval(values[1:], 0.95)


def _predict_source(
    source: Calibration,
    times: Float[Array, "resample problem"],
    key: PRNGKeyArray,
    sizes: tuple[Size, ...],
    measure: str,
    draws: int,
) -> Float[Array, "resample candidate"]:
    if measure == "pass":
        return predict_pass(source.correct, times, sizes=sizes)
    assert source.answers is not None  # `plan` has checked it
    scores = voted_accuracy(
        source.correct,
        source.answers,
        sizes=sizes,
        key=key,
        by_abstraction=measure == "vote_by_abstraction",
        draws=draws,
    )
    return jnp.matmul(times, scores, precision="highest") / scores.shape[0]


def _resample(key: PRNGKeyArray, problems: int, resamples: int) -> Float[Array, "resample problem"]:
    """Returns how often each problem counts: once, then in resamples with replacement."""
    drawn = jax.random.randint(key, (resamples, problems), 0, problems)
    count = lambda row: jnp.zeros(problems, jnp.float32).at[row].add(1.0)  # noqa: E731
    return jnp.concatenate([jnp.ones((1, problems)), jax.vmap(count)(drawn)])


def _choose(
    sizes: tuple[Size, ...],
    tokens: Float[Array, " candidate"],
    affordable: Bool[Array, " candidate"],
    means: Float[Array, " candidate"],
    ends: Float[Array, "candidate 2"],
) -> Plan:
    best = jnp.where(affordable, means, -jnp.inf).max()
    equal = affordable & (means >= best - TOLERANCE)
    numbers = jnp.array(sizes)
    return Plan(
        abstractions=numbers[:, 0],
        solutions=numbers[:, 1],
        tokens=tokens,
        mean=means,
        low=ends[:, 0],
        high=ends[:, 1],
        chosen=jnp.argmin(jnp.where(equal, tokens, jnp.inf)),
    )
