"""Worked problems for the report: problem, abstractions, solutions and votes as text."""

import dataclasses
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxreason.rlad import Play
from jaxreason.rollout import Rollout
from jaxreason.sequences import Sequence
from jaxreason.tasks import Task, Vocabulary, decode
from jaxreason.tasks.vocabulary import ABSTRACTION, ANSWER, PROBLEM, SOLUTION
from train.measure import RULES, Measurement


def worked_problems(
    task: Task, vocabulary: Vocabulary, split: str, measured: Measurement, count: int
) -> list[dict[str, Any]]:
    """Renders the first problems of a measurement.

    Args:
        task: The task.
        vocabulary: The ids of its symbols.
        split: The held-out split, for the caption.
        measured: What was measured there.
        count: How many problems.

    Returns:
        One dict a problem, in the schema of `train.report`.
    """
    shown = jax.tree.map(lambda leaf: leaf[:count], dataclasses.replace(measured, scores={}))
    truth, right = jax.device_get(_render(task, shown.played))
    shown = jax.device_get(shown)
    texts = {name: decode(part, vocabulary) for name, part in truth.items()}
    return [
        {
            "split": split,
            "problem": texts["problem"][index].replace(ABSTRACTION, "").replace(PROBLEM, ""),
            "rule": texts["rule"][index].replace(SOLUTION, "").strip(),
            "answer": texts["answer"][index].partition(ANSWER)[2],
            "bare": _solutions(vocabulary, *_take(shown.bare, index))[:2],
            "abstractions": _abstractions(vocabulary, _take(shown.played, index), right[index]),
            "votes": _votes(index, shown),
        }
        for index in range(count)
    ]


@partial(jax.jit, static_argnums=0)
def _render(task: Task, played: Play) -> tuple[dict[str, Sequence], jax.Array]:
    """Returns what the problems look like, and which abstractions name their rule."""
    truth = {
        "problem": jax.vmap(task.abstraction_prompt)(played.problems),
        "rule": jax.vmap(task.abstraction)(played.problems),
        "answer": jax.vmap(task.solution)(played.problems),
    }
    judge = jax.vmap(jax.vmap(task.abstraction_is_right, (None, 0)))
    return truth, judge(played.problems, played.abstractions.completion)


def _take(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _abstractions(vocabulary: Vocabulary, played: Play, right: np.ndarray) -> list[dict[str, Any]]:
    """Renders the abstractions of one problem with their solutions."""
    words = decode(played.abstractions.completion, vocabulary)
    solved = (played.solutions, played.rewards)
    return [
        {
            "text": text.replace(SOLUTION, "").strip(),
            "equivalent": bool(is_right),
            "solutions": _solutions(vocabulary, *_take(solved, slot)),
        }
        for slot, (text, is_right) in enumerate(zip(words, right, strict=True))
    ]


def _solutions(
    vocabulary: Vocabulary, solutions: Rollout, rewards: np.ndarray
) -> list[dict[str, Any]]:
    """Renders the solutions under one abstraction, or without any."""
    return [
        {
            "text": text.partition(ANSWER)[0].strip(),
            "answer": text.partition(ANSWER)[2],
            "correct": bool(reward > 0),
        }
        for text, reward in zip(decode(solutions.completion, vocabulary), rewards, strict=True)
    ]


def _votes(index: int, measured: Measurement) -> list[dict[str, Any]]:
    """Renders the votes on one problem; options are named by their answers."""
    ballots, votes = measured.ballots, measured.votes
    names = {
        int(option): "".join(str(digit) for digit in values if digit >= 0)
        for option, values in zip(ballots.answers[index], ballots.values[index], strict=True)
        if option >= 0
    }
    return [
        {
            "rule": rule,
            "answer": names.get(int(vote.answers[index]), ""),
            "correct": 0 <= int(vote.answers[index]) == int(ballots.truth[index]),
            "scores": {name: float(vote.scores[index, option]) for option, name in names.items()},
        }
        for rule, vote in zip(RULES, map(votes.get, RULES), strict=True)
    ]
