"""Confidence intervals over problems, for scores in [0, 1] and for paired differences of them.

A problem gives one score: 0 or 1, or the share of its samples that were right. Samples of one
problem are not independent, so average them first; the interval is then over problems.
"""

import dataclasses
import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from scipy.special import stdtrit


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over `count` problems and its confidence interval."""

    mean: float
    low: float
    high: float
    count: int


def mean_interval(values: Sequence[float] | np.ndarray, level: float = 0.95) -> Estimate:
    """Returns the mean of scores in [0, 1] with Wilson's interval at the effective sample size.

    For scores of 0 and 1 this is Wilson's score interval: inside [0, 1], and not of zero width
    when all are right or all are wrong. Shares vary less than a coin of the same mean: n becomes
    `n mean (1 - mean) / variance` (the inverse of the design effect), the normal quantile
    Student's t. Two problems that vary like the coin are added to the variance, so that equal
    shares do not pass for certainty. Without a problem the interval is [0, 1].

    See "Probable Inference, the Law of Succession, and Statistical Inference" by Wilson
    (https://doi.org/10.1080/01621459.1927.10502953) and "Comparative Study of Confidence
    Intervals for Proportions in Complex Sample Surveys" by Franco et al.
    (https://doi.org/10.1093/jssam/smy019).

    Args:
        values: One score a problem.
        level: The share of such intervals that hold the true mean.

    Raises:
        ValueError: If a score lies outside [0, 1].
    """
    scores = _checked("values", values)
    count = scores.size
    if count == 0:
        return Estimate(math.nan, 0.0, 1.0, 0)
    mean = float(scores.mean())
    coin = mean * (1 - mean)
    if coin == 0 or np.isin(scores, (0.0, 1.0)).all():
        return Estimate(mean, *_wilson(mean, count, _normal_quantile(level)), count)
    variance = (count * float(scores.var()) + 2 * coin) / (count + 1)
    quantile = float(stdtrit(count + 1, (1 + level) / 2))
    return Estimate(mean, *_wilson(mean, count * coin / variance, quantile), count)


def difference_interval(
    a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, level: float = 0.95
) -> Estimate:
    """Returns the mean of `a - b` over the same problems with the interval of Bonett and Price.

    One problem that only `a` solves and one that only `b` solves are added before the normal
    interval is taken, so that it has a width even if all differences are equal. The mean is that
    of the problems given. Without a problem the interval is [-1, 1].

    See "Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based on
    Paired Data" by Bonett and Price (https://doi.org/10.3102/1076998611411915).

    Args:
        a: One score in [0, 1] a problem.
        b: The scores of the same problems in the same order.
        level: The share of such intervals that hold the true difference.

    Raises:
        ValueError: If a score lies outside [0, 1] or the numbers of problems differ.
    """
    first, second = _checked("a", a), _checked("b", b)
    if first.size != second.size:
        raise ValueError(f"a and b must score the same problems; got {first.size}, {second.size}.")
    if first.size == 0:
        return Estimate(math.nan, -1.0, 1.0, 0)
    differences = first - second
    adjusted = np.append(differences, (1.0, -1.0))
    half = _normal_quantile(level) * float(adjusted.std()) / math.sqrt(adjusted.size)
    centre = float(adjusted.mean())
    low, high = max(centre - half, -1.0), min(centre + half, 1.0)
    return Estimate(float(differences.mean()), low, high, first.size)


def seed_interval(values: Sequence[float] | np.ndarray, level: float = 0.95) -> Estimate:
    """Returns the mean of one number a seed with Student's interval.

    Args:
        values: One number a seed, two or more: a score, or a paired difference.
        level: The share of such intervals that hold the true mean.

    Raises:
        ValueError: If there are fewer than two.
    """
    numbers = np.asarray(values, np.float64).reshape(-1)
    if numbers.size < 2:
        raise ValueError(f"values must be those of two seeds or more; got {numbers.size}.")
    spread = float(numbers.std(ddof=1)) / math.sqrt(numbers.size)
    half = float(stdtrit(numbers.size - 1, (1 + level) / 2)) * spread
    mean = float(numbers.mean())
    return Estimate(mean, mean - half, mean + half, numbers.size)


def _checked(name: str, values: Sequence[float] | np.ndarray) -> np.ndarray:
    scores = np.asarray(values, np.float64).reshape(-1)
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"{name} must lie in [0, 1]; got {scores.min():g} to {scores.max():g}.")
    return scores


def _normal_quantile(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)


def _wilson(mean: float, count: float, quantile: float) -> tuple[float, float]:
    """Returns Wilson's bounds, exactly 0 or 1 at the ends."""
    square = quantile**2 / count
    centre = (mean + square / 2) / (1 + square)
    half = math.sqrt(square * (mean * (1 - mean) + square / 4)) / (1 + square)
    return (0.0 if mean == 0 else centre - half), (1.0 if mean == 1 else centre + half)
