"""Scores of rules in pools of models, and what they say of the rules; for `voting_mmlu_pro`."""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import stdtrit

from benchmarks.timing import format_table

MAJORITY = "majority"
PICKED = "best single model by labels"


@dataclasses.dataclass(frozen=True)
class Score:
    """The accuracy of a rule in a pool.

    Attributes:
        family: The pool's family.
        number: Which pool of the family.
        rule: The rule's name.
        accuracy: Over the questions without a label.
        gain_error: The standard error, over those, of the difference to majority.
        hard: Over those of them on which at least two models share a wrong option.
        hard_questions: Their number.
        took: The rule that an automatic choice took.
    """

    family: str
    number: int
    rule: str
    accuracy: float
    gain_error: float
    hard: float
    hard_questions: int
    took: str | None = None


def score_pool(
    pool: tuple[str, int],
    answers: np.ndarray,
    truth: np.ndarray,
    judged: np.ndarray,
    right: Mapping[str, np.ndarray],
    took: Mapping[str, str],
) -> list[Score]:
    """Scores the rules on some questions.

    Args:
        pool: The family and number of the pool.
        answers: The answers of its models, `[question, model]`.
        truth: The right options.
        judged: Which questions count.
        right: How much of each question's right option each rule has.
        took: The rule that each automatic choice took.
    """
    wrong = (answers >= 0) & (answers != truth[:, None])
    options = range(int(answers.max(initial=0)) + 1)
    counts = np.stack([((answers == option) & wrong).sum(1) for option in options])
    hard = (counts.max(0) >= 2) & judged
    scores = []
    for name, share in right.items():
        gain = (share - right[MAJORITY])[judged]
        scores.append(
            Score(
                *pool,
                name,
                float(share[judged].mean()),
                float(gain.std(ddof=1) / math.sqrt(len(gain))),
                float(share[hard].mean()) if hard.any() else math.nan,
                int(hard.sum()),
                took.get(name),
            )
        )
    return scores


def _has_all(family: str) -> bool:
    return family.startswith("all ")


@dataclasses.dataclass(frozen=True)
class Summary:
    """A rule over the pools of a family, in fractions.

    Attributes:
        family: The family.
        rule: The rule's name.
        pools: In how many pools it voted, or with how many draws of labels.
        accuracy: Its mean accuracy.
        gain: The mean difference to majority in the same pools.
        margin: Half the width of the gain's 95% interval, over pools (None for one); over questions
            where all models vote.
        better: The share of the pools in which it is above majority.
        worst: The least difference to majority.
        lead: The mean difference to the best single model by the same labels.
        lead_margin: Half the width of its 95% interval, over pools or draws of labels; None for
            one.
        hard: Its mean accuracy on the hard questions.
        took: How often an automatic choice took which rule.
    """

    family: str
    rule: str
    pools: int
    accuracy: float
    gain: float
    margin: float | None
    better: float
    worst: float
    lead: float
    lead_margin: float | None
    hard: float
    took: dict[str, int]


def summarise(scores: Sequence[Score]) -> list[Summary]:
    """Averages over the pools of each family."""
    of = {(s.family, s.number, s.rule): s.accuracy for s in scores}
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.family, score.rule), []).append(score)
    summaries = []
    for (family, rule), group in groups.items():
        gains = np.array([s.accuracy - of[family, s.number, MAJORITY] for s in group])
        leads = np.array([s.accuracy - of[family, s.number, PICKED] for s in group])
        margin = _margin(gains)
        if _has_all(family):
            margin = 1.96 * float(np.mean([s.gain_error for s in group]))
        summaries.append(
            Summary(
                family,
                rule,
                len(group),
                float(np.mean([s.accuracy for s in group])),
                float(gains.mean()),
                margin,
                float((gains > 0).mean()),
                float(gains.min()),
                float(leads.mean()),
                _margin(leads),
                float(np.nanmean([s.hard for s in group])),
                dict(Counter(s.took for s in group if s.took).most_common()),
            )
        )
    return summaries


def _margin(values: np.ndarray) -> float | None:
    """Returns half the width of Student's 95% interval for the mean."""
    if len(values) < 2:
        return None
    return float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / math.sqrt(len(values)))


def format_tables(summaries: Sequence[Summary]) -> str:
    """Lays out a table for each family of pools, in per cent."""
    header = ["rule", "pools", "accuracy", "gain over majority", "better in", "worst"]
    header += ["lead over best by labels", "hard"]
    tables = []
    for family in dict.fromkeys(s.family for s in summaries):
        rows = [
            [
                s.rule,
                str(s.pools),
                f"{100 * s.accuracy:.2f}",
                _format_difference(s.gain, s.margin),
                f"{100 * s.better:.0f}",
                f"{100 * s.worst:+.2f}",
                _format_difference(s.lead, s.lead_margin),
                f"{100 * s.hard:.2f}",
            ]
            for s in summaries
            if s.family == family
        ]
        tables.append(f"Pools: {family} models\n\n{format_table(header, rows)}")
        tables += [
            f"{s.rule} took {', '.join(f'{rule} {count}' for rule, count in s.took.items())} times."
            for s in summaries
            if s.family == family and s.took
        ]
    return "\n\n".join(tables)


def _format_difference(mean: float, margin: float | None) -> str:
    if margin is None:
        return f"{100 * mean:+.2f}       "
    return f"{100 * mean:+.2f} ±{100 * margin:5.2f}"
