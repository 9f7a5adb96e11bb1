"""How often a method is right, on labelled tasks that its fit did not see. Needs pandas."""

from statistics import NormalDist
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxreason.voting.findings import MIN_JUDGED
from jaxreason.voting.methods import METHODS, Method
from jaxreason.voting.resampling import wilson_interval
from jaxreason.voting.table import Table
from jaxreason.voting.table_rules import fit_table, option_probabilities, vote_on_table

MAX_FOLDS = 5
LEVEL = 0.95


class Score(NamedTuple):
    """A share and its 95% interval."""

    mean: float
    low: float
    high: float


class Evaluation(NamedTuple):
    """What labelled tasks say.

    Attributes:
        labelled: The number of labelled tasks.
        folds: In how many parts they were cut, each to be judged by a fit to the labels of the
            others; 0 if there are too few.
        majority: How often the majority is right.
        rule: How often the method is; if it learns from labels, from those of the other parts.
            None if it needs labels and there are too few.
        without_labels: How often it is right without any label, if it can use them but need not.
        best_worker: How often the worker is right who is best on the other parts; a task that a
            worker left out counts as wrong. None if no worker answered ten labelled tasks.
        picked: The workers so picked, of those that answered so many.
        gain: The method's accuracy less the majority's.
        confidence: The mean of its probability for its answers; None as for `rule`.
    """

    labelled: int
    folds: int
    majority: Score
    rule: Score | None
    without_labels: Score | None
    best_worker: Score | None
    picked: tuple
    gain: Score | None
    confidence: float | None


def evaluate(method: Method, table: Table, *, seed: int = 0) -> Evaluation:
    """Measures a method's accuracy beside those of the majority and of the best worker.

    Tied options share the win, so that the accuracy is that expected if lots are drawn. Intervals
    are Wilson's (`wilson_interval`) and, for the gain, that of Bonett and Price for paired shares:
    one task that only the first gets right and one that only the second gets right are added
    (https://doi.org/10.3102/1076998611411915).

    Args:
        method: One of `methods.METHODS`.
        table: Votes with at least one task among `judged_tasks`.
        seed: For the parts in which labelled tasks are cut.

    Returns:
        The accuracies.

    Example:
        >>> import pandas as pd
        >>> from jaxreason.voting.table import tabulate
        >>> tasks = list(range(10))
        >>> votes = pd.DataFrame({"task": tasks, "a": 0, "b": [0, 1] * 5, "c": 1})
        >>> table = tabulate(votes, pd.Series(0, tasks))
        >>> found = evaluate(METHODS["majority"], table)
        >>> found.majority.mean, found.best_worker.mean, found.picked
        (0.5, 1.0, ('a',))
    """
    known = np.flatnonzero(judged_tasks(table))
    parts = _cut(known, seed)
    unknown = np.full_like(table.truth, -1)
    majority = _judge(METHODS["majority"], table, unknown)[0]
    blind = None if method.truth == "required" else _judge(method, table, unknown)
    judged = blind if method.truth == "ignored" else None
    if method.truth != "ignored" and parts:
        judged = np.zeros((2, len(table.truth)))
        for part in parts:
            truth = table.truth.copy()
            truth[part] = -1
            judged[:, part] = _judge(method, table, truth)[:, part]
    rule = None if judged is None else judged[0]
    best, picked = _best_worker(table, parts)
    return Evaluation(
        labelled=len(known),
        folds=len(parts),
        majority=_share(majority[known]),
        rule=None if rule is None else _share(rule[known]),
        without_labels=_share(blind[0, known])
        if blind is not None and method.truth == "optional"
        else None,
        best_worker=_share(best[known]) if picked else None,
        picked=picked,
        gain=None if rule is None else _difference(rule[known], majority[known]),
        confidence=None if judged is None else float(judged[1, known].mean()),
    )


def judged_tasks(table: Table) -> np.ndarray:
    """Marks the tasks that accuracies are measured on: those with a label and a vote.

    Args:
        table: The votes, and the truth where it is known.

    Returns:
        True for those, `[question]`.

    Example:
        >>> import pandas as pd
        >>> from jaxreason.voting.table import tabulate
        >>> votes = pd.DataFrame({"task": [1, 2, 3], "a": ["x", "y", None], "b": ["x", "y", None]})
        >>> judged_tasks(tabulate(votes, {1: "x", 3: "y"})).tolist()
        [True, False, False]
    """
    return (table.truth >= 0) & (table.answers >= 0).any(axis=1)


def _cut(known: np.ndarray, seed: int) -> list[np.ndarray]:
    """Cuts labelled tasks into parts at random; no part if there is but one task."""
    shuffled = np.random.default_rng(seed).permutation(known)
    folds = min(MAX_FOLDS, len(known))
    return np.array_split(shuffled, folds) if folds > 1 else []


def _judge(method: Method, table: Table, truth: np.ndarray) -> np.ndarray:
    """Returns each task's share of the win that goes to its right option, and the confidence."""
    votes = vote_on_table(method, fit_table(method, table, truth), table)
    shares = np.asarray(votes.winners)
    rights = shares[np.arange(len(shares)), np.maximum(table.truth, 0)]
    return np.stack([rights, option_probabilities(table, votes).max(axis=1)])


def _best_worker(table: Table, parts: list[np.ndarray]) -> tuple[np.ndarray, tuple]:
    """Judges each part by the worker who is best on the others, and tells who that was."""
    known = (table.truth >= 0)[:, None]
    right = (table.answers == table.truth[:, None]) & known
    enough = np.sum((table.answers >= 0) & known, axis=0) >= MIN_JUDGED
    best, picks = np.zeros(len(right)), []
    for part in parts if enough.any() else ():
        rights = right.sum(axis=0) - right[part].sum(axis=0)
        pick = int(np.argmax(np.where(enough, rights, -1)))
        best[part] = right[part, pick]
        picks.append(pick)
    order = sorted(set(picks), key=lambda pick: (-picks.count(pick), pick))
    return best, tuple(table.workers[order])


def _share(rights: np.ndarray) -> Score:
    total, count = jnp.array([rights.sum()], jnp.float32), jnp.array([rights.size], jnp.float32)
    low, high = wilson_interval(total, count, LEVEL)[0].tolist()
    return Score(float(rights.mean()), low, high)


def _difference(first: np.ndarray, second: np.ndarray) -> Score:
    differences = first - second
    adjusted = np.append(differences, (1.0, -1.0))
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * adjusted.std() / np.sqrt(adjusted.size)
    centre = float(adjusted.mean())
    return Score(float(differences.mean()), max(centre - half, -1.0), min(centre + half, 1.0))
