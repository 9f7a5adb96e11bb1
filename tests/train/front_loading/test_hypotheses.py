"""Verdicts: by hand, and never from half a comparison."""

import math

import pytest

from train.front_loading.grid import Cell
from train.front_loading.hypotheses import HYPOTHESES, Hypothesis, Side, judge, paired_interval

FIRST, SECOND = Side(("lmq",)), Side(("none",))


def scores_of(differences, base=0.3):
    """Scores of `lmq` above those of `none` by given differences, a seed each."""
    scores = {}
    for seed, difference in enumerate(differences):
        scores[Cell(seed, "none")] = {"reasoning": base}
        scores[Cell(seed, "lmq")] = {"reasoning": base + difference}
    return scores


def verdict(differences, expected):
    hypothesis = Hypothesis("H", "a claim", "+1", FIRST, SECOND, expected)
    return judge(hypothesis, scores_of(differences), range(len(differences)))


def test_interval_by_hand():
    # mean 2, standard deviation 1, t(2, 0.975) = 4.3027: half width 4.3027 / sqrt(3) = 2.4841
    mean, low, high = paired_interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2, 2 - 2.4841, 2 + 2.4841), abs=1e-4)
    assert paired_interval([1.0])[1:] == (-math.inf, math.inf)
    assert math.isnan(paired_interval([])[0])


@pytest.mark.parametrize(
    ("differences", "expected", "wanted"),
    [
        ([0.10, 0.11, 0.12], "positive", "reproduced"),
        ([0.10, 0.11, 0.12], "negative", "not reproduced"),
        ([0.10, 0.11, 0.12], "none", "not reproduced"),
        ([0.10, 0.11, 0.12], "unknown", "higher"),
        ([-0.10, -0.11, -0.12], "negative", "reproduced"),
        ([0.001, 0.0, -0.001], "positive", "not reproduced"),
        ([0.001, 0.0, -0.001], "none", "reproduced"),
        ([0.001, 0.0, -0.001], "unknown", "no effect"),
        ([0.3, -0.2, 0.1], "positive", "inconclusive"),
        ([0.3, -0.2, 0.1], "none", "inconclusive"),
        ([0.3], "positive", "inconclusive"),
        ([0.0, 0.0, 0.0], "none", "inconclusive"),
        ([0.0, 0.0, 0.0], "positive", "inconclusive"),
        ([], "positive", "inconclusive"),
    ],
)
def test_verdicts(differences, expected, wanted):
    assert verdict(differences, expected).verdict == wanted


def test_differences_are_paired_by_seed():
    # The seeds differ by far more than the arms do: only paired differences tell.
    scores = {}
    for seed, base in enumerate((0.1, 0.5, 0.9)):
        scores[Cell(seed, "none")] = {"reasoning": base}
        scores[Cell(seed, "lmq")] = {"reasoning": base + 0.01 + 0.001 * seed}
    found = judge(Hypothesis("H", "", "", FIRST, SECOND, "positive"), scores, (0, 1, 2))
    assert found.verdict == "reproduced" and found.effect == pytest.approx(0.011)


def test_a_seed_with_a_missing_cell_is_left_out():
    scores = scores_of([0.1, 0.1, 0.1])
    del scores[Cell(1, "lmq")]
    found = judge(Hypothesis("H", "", "", FIRST, SECOND, "positive"), scores, (0, 1, 2))
    assert found.seeds == 2


def test_a_side_of_several_arms_is_their_mean():
    scores = {
        Cell(0, "ldq"): {"reasoning": 0.2},
        Cell(0, "shq"): {"reasoning": 0.4},
    }
    side = Side(("ldq", "shq"))
    assert side.value(scores, 0, "reasoning") == pytest.approx(0.3)
    assert side.value(scores, 1, "reasoning") is None


def test_numbers_are_h1_to_h12():
    numbers = {hypothesis.number.split()[0].strip("'") for hypothesis in HYPOTHESES}
    assert numbers == {f"H{number}" for number in range(1, 13)}
