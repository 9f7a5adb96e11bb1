import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, ttest_1samp

from train.intervals import difference_interval, mean_interval

unit = st.floats(0, 1)


def binary(ones, count):
    return [1] * ones + [0] * (count - ones)


@pytest.mark.parametrize(
    ("ones", "count", "low", "high"),
    [  # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_zeros_and_ones_give_wilsons_interval(ones, count, low, high):
    estimate = mean_interval(binary(ones, count))
    assert estimate.mean == pytest.approx(ones / count)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=5e-5)
    assert estimate.count == count


def test_all_right_or_all_wrong_is_not_certain():
    # All right: the lower bound is n / (n + z^2), z = 1.959964.
    assert mean_interval([1] * 10).low == pytest.approx(10 / (10 + 1.959964**2))
    assert mean_interval([1] * 10).high == 1.0
    assert mean_interval([0] * 10).high == pytest.approx(1 - 10 / (10 + 1.959964**2))


def test_shares_by_hand():
    # 0.25 and 0.75: mean 1/2, coin 1/4, variance (2/16 + 2/4) / 3 = 5/24, so n = 2 * 6/5 = 2.4;
    # Student's t with 3 degrees of freedom is 3.182446 at 0.975.
    square = 3.182446**2 / 2.4
    half = math.sqrt(square * (1 / 4 + square / 4)) / (1 + square)
    estimate = mean_interval([0.25, 0.75])
    assert (estimate.low, estimate.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)


def test_equal_shares_are_not_certain_but_surer_than_coins():
    shares, coins = mean_interval([0.5] * 40), mean_interval([0, 1] * 20)
    # variance 2 coin / (n + 1), so n = 40 * 41 / 2 = 820: half about t / 2 / sqrt(820)
    assert shares.high - 0.5 == pytest.approx(2.0195 / 2 / math.sqrt(820), abs=2e-4)
    assert coins.low < shares.low < 0.5 < shares.high < coins.high


def test_many_shares_agree_with_students_t():
    shares = np.random.default_rng(0).beta(2, 3, 4000)
    estimate, student = mean_interval(shares), ttest_1samp(shares, 0).confidence_interval()
    assert (estimate.low, estimate.high) == pytest.approx((student.low, student.high), abs=2e-4)


def test_none_and_one_problem():
    empty, one = mean_interval([]), mean_interval([1.0])
    assert math.isnan(empty.mean) and (empty.low, empty.high, empty.count) == (0.0, 1.0, 0)
    assert (one.mean, one.high, one.count) == (1.0, 1.0, 1)
    assert one.low == pytest.approx(1 / (1 + 1.959964**2))
    assert mean_interval([0.0, 5e-324]).low == 0.0


def test_paired_difference_by_hand():
    # 10 problems: 6 only a solves, 1 only b, 3 alike. With one of each added: 7 and 2 of 12,
    # mean 5/12, variance 9/12 - 25/144 = 83/144.
    a, b = binary(6, 6) + [0] + [1] * 3, [0] * 6 + [1] + [1] * 3
    estimate = difference_interval(a, b)
    half = 1.959964 * math.sqrt(83 / 144 / 12)
    assert estimate.mean == pytest.approx(0.5)
    assert (estimate.low, estimate.high) == pytest.approx((5 / 12 - half, 5 / 12 + half))


def test_no_difference_at_all_still_has_a_width():
    # All alike: mean 0, variance 2 / (n + 2), so half = z sqrt(2) / (n + 2).
    estimate = difference_interval([1] * 98, [1] * 98)
    assert estimate.mean == 0.0
    assert estimate.high == pytest.approx(norm.ppf(0.975) * math.sqrt(2) / 100)
    assert estimate.low == -estimate.high
    empty = difference_interval([], [])
    assert math.isnan(empty.mean) and (empty.low, empty.high) == (-1.0, 1.0)


def test_scores_outside_the_unit_interval_are_refused():
    with pytest.raises(ValueError, match=r"values must lie in \[0, 1\]; got -0.5 to 2"):
        mean_interval([-0.5, 2])
    with pytest.raises(ValueError, match="the same problems; got 2, 1"):
        difference_interval([0, 1], [1])
    with pytest.raises(ValueError, match="values must lie"):
        mean_interval([math.nan])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(unit, unit), min_size=1, max_size=30))
def test_intervals_hold_their_mean_and_stay_in_range(pairs):
    a, b = zip(*pairs, strict=True)
    mean, difference = mean_interval(a), difference_interval(a, b)
    assert 0 <= mean.low <= mean.mean + 1e-9 and mean.mean - 1e-9 <= mean.high <= 1
    assert -1 <= difference.low <= difference.mean + 1e-9
    assert difference.mean - 1e-9 <= difference.high <= 1
    turned = difference_interval(b, a)
    assert (turned.low, turned.high) == pytest.approx((-difference.high, -difference.low))


@pytest.mark.parametrize("chance", [0.05, 0.5, 0.98])
@pytest.mark.parametrize("samples", [1, 8])
def test_coverage_of_the_mean(chance, samples):
    """About 95 of 100 intervals over 50 problems of unequal difficulty hold the truth."""
    random = np.random.default_rng(1)
    difficulty = random.beta(4 * chance, 4 * (1 - chance), (1000, 50))
    shares = random.binomial(samples, difficulty) / samples
    held = [e.low <= chance <= e.high for e in map(mean_interval, shares)]
    assert 0.92 <= np.mean(held) <= 0.99


def test_coverage_of_the_difference():
    random = np.random.default_rng(2)
    skill = random.uniform(0.1, 0.8, (1000, 60))
    a, b = random.random(skill.shape) < skill + 0.15, random.random(skill.shape) < skill
    held = [e.low <= 0.15 <= e.high for e in map(difference_interval, a, b)]
    assert 0.93 <= np.mean(held) <= 0.98
