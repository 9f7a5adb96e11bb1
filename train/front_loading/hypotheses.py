"""The paper's hypotheses, each a paired difference over seeds, with a verdict.

The paper is "Front-Loading Reasoning" by Akter et al. (https://arxiv.org/abs/2510.03264); its
effects are points of its own averages, ours points of accuracy here.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from train.front_loading.grid import Cell
from train.intervals import seed_interval

Scores = Mapping[Cell, Mapping[str, float]]
Expected = Literal["positive", "negative", "none", "unknown"]
REASONING_ARMS = ("shq", "ldq", "lmq")
MARGIN = {"reasoning": 0.03, "forms": 0.05, "general_loss": 0.05}
"""What counts as no effect: points of accuracy, or nats a token."""


@dataclasses.dataclass(frozen=True)
class Side:
    """One side of a comparison: the mean score of some models."""

    arms: tuple[str, ...]
    sft: str = ""
    times: int = 1
    equal_tokens: bool = False
    rl: bool = False

    def value(self, scores: Scores, seed: int, measure: str) -> float | None:
        """Returns its score for a seed; None while a cell is missing."""
        values = []
        for arm in self.arms:
            cell = Cell(seed, arm, self.sft, self.times, self.equal_tokens, self.rl)
            if cell not in scores:
                return None
            values.append(scores[cell][measure])
        return float(np.mean(values))


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """A claim that one side scores higher, lower, or the same."""

    number: str
    claim: str
    paper: str
    """The paper's effect."""
    first: Side
    second: Side
    expected: Expected
    measure: str = "reasoning"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What came out."""

    hypothesis: Hypothesis
    effect: float
    low: float
    high: float
    seeds: int
    verdict: str


def _after(arms: Sequence[str], sft: str = "", **more: Any) -> Side:
    return Side(tuple(arms), sft, **more)


HYPOTHESES = (
    Hypothesis(
        "H1",
        "reasoning data in pretraining beats none at equal tokens",
        "+8.35",
        _after(REASONING_ARMS),
        _after(["none"]),
        "positive",
    ),
    Hypothesis(
        "H2",
        "general ability is not hurt (held-out text, nats a token)",
        "general +0.8",
        _after(REASONING_ARMS),
        _after(["none"]),
        "none",
        "general_loss",
    ),
    Hypothesis(
        "H3",
        "diverse and large beats small and clean in pretraining",
        "+9.11",
        _after(["ldq"]),
        _after(["shq"]),
        "positive",
    ),
    Hypothesis(
        "H3'",
        "... also with SHQ's number of passes (diversity without scale)",
        "not run",
        _after(["ldq_matched"]),
        _after(["shq"]),
        "unknown",
    ),
    Hypothesis(
        "H4",
        "adding SHQ to LDQ gives nothing in pretraining",
        "-0.02",
        _after(["lmq"]),
        _after(["ldq"]),
        "none",
    ),
    Hypothesis(
        "H5",
        "... but pays after fine-tuning on SHQ",
        "+4.25",
        _after(["lmq"], "shq"),
        _after(["ldq"], "shq"),
        "positive",
    ),
    Hypothesis(
        "H5'",
        "... and after fine-tuning on other problems like SHQ's",
        "not run",
        _after(["lmq"], "disjoint"),
        _after(["ldq"], "disjoint"),
        "unknown",
    ),
    Hypothesis(
        "H6",
        "twice the fine-tuning does not catch up with the weakest reasoning base",
        "-3.32",
        _after(["none"], "shq", times=2),
        _after(["shq"], "shq"),
        "negative",
    ),
    Hypothesis(
        "H6 4x",
        "nor does four times",
        "not run",
        _after(["none"], "shq", times=4),
        _after(["shq"], "shq"),
        "unknown",
    ),
    Hypothesis(
        "H7",
        "fine-tuning wants quality: SHQ against LDQ, equal samples",
        "+13.45",
        _after(REASONING_ARMS, "shq"),
        _after(REASONING_ARMS, "ldq"),
        "positive",
    ),
    Hypothesis(
        "H7 tokens",
        "... at equal tokens, on the LDQ base",
        "not run",
        _after(["ldq"], "shq"),
        _after(["ldq"], "ldq", equal_tokens=True),
        "unknown",
    ),
    Hypothesis(
        "H7 ALF",
        "the long traces of LDQ beat LDQ in fine-tuning, equal samples",
        "+9.8",
        _after(["ldq"], "alf"),
        _after(["ldq"], "ldq"),
        "positive",
    ),
    Hypothesis(
        "H7 ALF tokens",
        "... at equal tokens",
        "not run",
        _after(["ldq"], "alf", equal_tokens=True),
        _after(["ldq"], "ldq", equal_tokens=True),
        "unknown",
    ),
    Hypothesis(
        "H8",
        "twice the mixed fine-tuning data gives nothing",
        "+0.15",
        _after(["ldq"], "ldq", times=2),
        _after(["ldq"], "ldq"),
        "none",
    ),
    Hypothesis(
        "H9",
        "more reasoning share helps: 40% against 10%",
        "about +3 (40 against 20%)",
        _after(["lmq40"]),
        _after(["lmq10"]),
        "positive",
    ),
    Hypothesis(
        "H9 forms",
        "... and costs instruction following after fine-tuning: 40% against 20%",
        "-5.01",
        _after(["lmq40"], "shq"),
        _after(["lmq"], "shq"),
        "negative",
        "forms",
    ),
    Hypothesis(
        "H10",
        "the advantage survives reinforcement learning",
        "+18.74",
        _after(["lmq"], "shq", rl=True),
        _after(["none"], "shq", rl=True),
        "positive",
    ),
    Hypothesis(
        "H11",
        "the same set in pretraining and fine-tuning reinforces",
        "+7.41",
        _after(["shq"], "shq"),
        _after(["none"], "shq"),
        "positive",
    ),
    Hypothesis(
        "H12",
        "onset at 0% against 60% of the run, equal reasoning tokens",
        "not run",
        _after(["lmq"]),
        _after(["lmq_late"]),
        "unknown",
    ),
    Hypothesis(
        "H12 SFT",
        "... after fine-tuning on SHQ",
        "not run",
        _after(["lmq"], "shq"),
        _after(["lmq_late"], "shq"),
        "unknown",
    ),
)


def judge(hypothesis: Hypothesis, scores: Scores, seeds: Sequence[int]) -> Verdict:
    """Judges a hypothesis by the paired differences of its seeds.

    Args:
        hypothesis: The claim.
        scores: The finished cells.
        seeds: The seeds to look at; those with a missing cell are left out.

    Returns:
        The mean difference with Student's 95% interval over seeds. A claim of a direction is
        reproduced if the interval lies on its side of 0, and not reproduced if it lies on the
        other, or within `MARGIN` of 0; a claim of no effect is reproduced if the interval lies
        within the margin, and not if it lies beyond it. All else is inconclusive, as are scores
        that don't differ at all: they are all at their floor.
    """
    pairs = [
        (
            hypothesis.first.value(scores, seed, hypothesis.measure),
            hypothesis.second.value(scores, seed, hypothesis.measure),
        )
        for seed in seeds
    ]
    differences = [first - second for first, second in pairs if None not in (first, second)]
    effect, low, high = paired_interval(differences)
    margin = MARGIN[hypothesis.measure]
    return Verdict(
        hypothesis,
        effect,
        low,
        high,
        len(differences),
        _verdict(hypothesis.expected, low, high, margin),
    )


def paired_interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """Returns the mean of differences with Student's 95% interval; infinite for fewer than two.

    Example:
        >>> [round(value, 3) for value in paired_interval([1.0, 2.0, 3.0])]
        [2.0, -0.484, 4.484]
    """
    if len(differences) == 0:
        return math.nan, -math.inf, math.inf
    if len(differences) == 1:
        return float(differences[0]), -math.inf, math.inf
    found = seed_interval(differences)
    return found.mean, found.low, found.high


def _verdict(expected: Expected, low: float, high: float, margin: float) -> str:
    if low == high == 0:
        return "inconclusive"
    inside = -margin < low and high < margin
    above, below = low > 0, high < 0
    if expected == "none":
        beyond = low > margin or high < -margin
        return "reproduced" if inside else "not reproduced" if beyond else "inconclusive"
    if expected == "unknown":
        return (
            "higher" if above else "lower" if below else "no effect" if inside else "inconclusive"
        )
    holds, fails = (above, below) if expected == "positive" else (below, above)
    return "reproduced" if holds else "not reproduced" if fails or inside else "inconclusive"
