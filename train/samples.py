"""Worked problems for the report: problem, abstractions, solutions and votes as text."""

from typing import Any

import jax
import numpy as np

from jaxreason.sequences import Sequence
from jaxreason.tasks import Task, Vocabulary, decode
from jaxreason.tasks.vocabulary import ABSTRACTION, ANSWER, PROBLEM, SOLUTION
from train.measure import Measurement


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
    played, ballots, votes = jax.device_get(
        jax.tree.map(
            lambda leaf: leaf[:count],
            (
                measured.played,
                measured.ballots,
                {name: (vote.scores, vote.answers) for name, vote in measured.votes.items()},
            ),
        )
    )
    truth = {
        "problem": jax.vmap(task.abstraction_prompt)(played.problems),
        "rule": jax.vmap(task.abstraction)(played.problems),
        "answer": jax.vmap(task.solution)(played.problems),
    }
    texts = {name: decode(jax.device_get(part), vocabulary) for name, part in truth.items()}
    return [
        {
            "split": split,
            "problem": texts["problem"][index].replace(ABSTRACTION, "").replace(PROBLEM, ""),
            "rule": texts["rule"][index].replace(SOLUTION, "").strip(),
            "answer": texts["answer"][index].partition(ANSWER)[2],
            **_players(task, vocabulary, jax.tree.map(lambda leaf, i=index: leaf[i], played)),
            "votes": _votes(index, ballots, votes),
        }
        for index in range(count)
    ]


def _players(task: Task, vocabulary: Vocabulary, played: Any) -> dict[str, Any]:
    """Renders what both players wrote for one problem."""
    count = played.abstractions.log_probs.shape[0]
    judge = jax.vmap(task.abstraction_is_right, (None, 0))
    right = judge(played.problems, played.abstractions.completion)
    words = decode(played.abstractions.completion, vocabulary)
    solved = (played.solutions.completion, played.rewards)
    slots = [
        _solutions(vocabulary, *jax.tree.map(lambda leaf, i=slot: leaf[i], solved))
        for slot in range(len(played.rewards))
    ]
    abstractions = [
        {
            "text": text.replace(SOLUTION, "").strip(),
            "equivalent": bool(is_right),
            "solutions": solutions,
        }
        for text, is_right, solutions in zip(words, right, slots[:count], strict=True)
    ]
    return {"bare": slots[count][:2], "abstractions": abstractions}


def _solutions(
    vocabulary: Vocabulary, completion: Sequence, rewards: np.ndarray
) -> list[dict[str, Any]]:
    """Renders the solutions under one abstraction, or of one bare slot."""
    return [
        {
            "text": text.partition(ANSWER)[0].strip(),
            "answer": text.partition(ANSWER)[2],
            "correct": bool(reward > 0),
        }
        for text, reward in zip(decode(completion, vocabulary), rewards, strict=True)
    ]


def _votes(index: int, ballots: Any, votes: Any) -> list[dict[str, Any]]:
    """Renders the votes on one problem; options are named by their answers."""
    names = {
        int(option): "".join(str(digit) for digit in values if digit >= 0)
        for option, values in zip(ballots.answers[index], ballots.values[index], strict=True)
        if option >= 0
    }
    return [
        {
            "rule": rule,
            "answer": names.get(int(answers[index]), ""),
            "correct": bool(answers[index] >= 0 and answers[index] == ballots.truth[index]),
            "scores": {name: float(scores[index, option]) for option, name in names.items()},
        }
        for rule, (scores, answers) in votes.items()
    ]
