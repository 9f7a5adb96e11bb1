"""Which labels are options of which question. Needs pandas.

There are three cases. By default every label that occurs is an option of every task. With a column
`num_options` the tasks are multiple choice: labels are the letters A, B, ... or the numbers
0, 1, ..., and a task has the first `num_options` of them. Open-ended answers can be compared only
within a task: each distinct answer is an option, and so is "none of these".
"""

import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxreason.voting.table_labels import DataError, counted, listed, plain, quoted

MAX_OPTIONS = 1000


class Options(NamedTuple):
    """Votes in terms of options.

    Attributes:
        answers: Option indices, -1 for abstentions, `[question, agent]`.
        truth: The right option, -1 where it is not known.
        num_options: The number of options, one for all questions or one a question.
        max_options: The most options of any question, if `num_options` is an array.
        labels: The labels, in the order of the options.
        meanings: The place in `labels` of each question's options if it differs between questions,
            -1 for "none of these" and where there is no option.
        notes: What a reader should know.
    """

    answers: np.ndarray
    truth: np.ndarray
    num_options: int | np.ndarray
    max_options: int | None
    labels: pd.Index
    meanings: np.ndarray | None
    notes: list[str]


def choose_options(
    answers: np.ndarray,
    truth: np.ndarray,
    labels: pd.Index,
    num_options: np.ndarray | None,
    *,
    known: pd.Index | None,
    open_ended: bool,
    tasks: pd.Index,
    workers: pd.Index,
) -> Options:
    """Turns places in the list of labels into options.

    Args:
        answers: Places in `labels`, -1 for abstentions, `[question, agent]`.
        truth: Places in `labels`, -1 where not known, `[question]`.
        labels: The distinct labels, sorted.
        num_options: The number of options of each question, for multiple choice.
        known: The labels in the order of the options, if no others must occur.
        open_ended: Whether labels can be compared only within a question.
        tasks: The questions' names.
        workers: The agents' names.

    Returns:
        The votes in terms of options.

    Raises:
        DataError: If a label is no option.

    Example:
        >>> labels, tasks, workers = pd.Index(["A", "C"]), pd.Index(["q"]), pd.Index(["a", "b"])
        >>> options = choose_options(
        ...     np.array([[0, 1]]), np.array([-1]), labels, np.array([4]),
        ...     known=None, open_ended=False, tasks=tasks, workers=workers,
        ... )
        >>> options.answers.tolist(), list(options.labels)
        ([[0, 2]], ['A', 'B', 'C', 'D'])
    """
    if open_ended:
        if num_options is not None:
            raise DataError(
                "Open-ended answers have the options that are given; take out the column "
                "num_options, or don't call them open-ended."
            )
        return _open_ended(answers, truth, labels)
    if num_options is not None:
        return _multiple_choice(answers, truth, labels, num_options, known, tasks, workers)
    return _shared(answers, truth, labels, known, tasks)


def _shared(
    answers: np.ndarray,
    truth: np.ndarray,
    labels: pd.Index,
    known: pd.Index | None,
    tasks: pd.Index,
) -> Options:
    """Every label is an option of every question."""
    notes = _check_truth(answers, truth, labels, tasks)
    if known is not None:
        places = known.get_indexer(labels)
        if (places < 0).any():
            raise DataError(
                f"Labels must be among {listed(known, most=8)}, those of the fit; got "
                f"{listed(labels[places < 0])}."
            )
        answers, truth, labels = _look_up(places, answers), _look_up(places, truth), known
    if len(labels) > MAX_OPTIONS:
        raise DataError(
            f"At most {MAX_OPTIONS:,} labels can be options of every task; got {len(labels):,}, "
            f"such as {listed(labels)}. If they can be compared only within a task, the answers "
            "are open-ended: say so."
        )
    return Options(answers, truth, max(2, len(labels)), None, labels, None, notes)


def _check_truth(
    answers: np.ndarray, truth: np.ndarray, labels: pd.Index, tasks: pd.Index
) -> list[str]:
    """Tells of labels that the truth has and no vote."""
    voted = np.zeros(len(labels) + 1, bool)
    voted[answers.reshape(-1)] = True
    strange = np.flatnonzero((truth >= 0) & ~voted[truth])
    if not len(strange):
        return []
    names = listed(labels[np.unique(truth[strange])])
    if len(strange) == (truth >= 0).sum():
        given = listed(labels[voted[:-1]])
        raise DataError(f"No vote has any of the truth's labels {names}; votes are like {given}.")
    return [
        f"The truth of {counted(len(strange), 'task')} ({listed(tasks[strange])}) is a label that "
        f"nobody voted for anywhere: {names}. It counts as an option."
    ]


def _multiple_choice(
    answers: np.ndarray,
    truth: np.ndarray,
    labels: pd.Index,
    num_options: np.ndarray,
    known: pd.Index | None,
    tasks: pd.Index,
    workers: pd.Index,
) -> Options:
    """A question has the first so many of the letters, or of the numbers from 0."""
    width = max(int(num_options.max()), 2 if known is None else len(known))
    numbers, names = _positions(labels, width)
    if known is not None and list(known) != list(names[: len(known)]):
        raise DataError(
            f"Labels must be written as for the fit, {listed(known)}; got {listed(names)}."
        )
    answers, truth = _look_up(numbers, answers), _look_up(numbers, truth)
    outside = np.argwhere((answers >= num_options[:, None]) | (answers < -1))
    wrong_truth = np.flatnonzero((truth >= num_options) | (truth < -1))
    if len(outside) or len(wrong_truth):
        row = outside[0, 0] if len(outside) else wrong_truth[0]
        who = f"worker {quoted(workers[outside[0, 1]])}" if len(outside) else "the truth"
        code = answers[row, outside[0, 1]] if len(outside) else truth[row]
        label = plain(labels[np.flatnonzero(numbers == code)[0]])
        count = num_options[row]
        raise DataError(
            f"Task {quoted(tasks[row])} has {count} options, {listed(names[:1])} to "
            f"{listed(names[count - 1 : count])}; {who} has {quoted(label)} "
            f"({counted(len(outside) + len(wrong_truth), 'such label')} in all). "
            "Leave the cell empty where a worker abstained."
        )
    single = tasks[num_options == 1]
    notes = [f"Nothing to decide, for want of a second option: {listed(single)}."]
    return Options(answers, truth, num_options, width, names, None, notes if len(single) else [])


def _positions(labels: pd.Index, width: int) -> tuple[np.ndarray, pd.Index]:
    """Returns which option each label names (-2 and less for none), and the options' labels."""
    texts = [str(plain(label)) for label in labels]
    for first, pattern in (("A", "[A-Z]"), ("a", "[a-z]")):
        if width <= 26 and all(re.fullmatch(pattern, text) for text in texts):
            letters = [chr(ord(first) + number) for number in range(width)]
            return np.array([ord(text) - ord(first) for text in texts], np.int32), pd.Index(letters)
    if all(re.fullmatch(r"-?\d+", text) for text in texts):
        limit = np.iinfo(np.int32).max
        numbers = np.clip(np.array([float(text) for text in texts]), 1 - limit, limit)
        numbers = np.where(numbers < 0, numbers - 1, numbers)
        whole = pd.Index(range(width))
        names = whole.astype(str) if isinstance(labels[0], str) else whole
        return numbers.astype(np.int32), names
    other = [text for text in texts if not re.fullmatch(r"[A-Za-z]|\d+", text)] or texts
    if width > 26 and other is texts:
        raise DataError(
            f"Letters name at most 26 options; a task has {width:,}. Write the labels as the "
            "numbers 0, 1, ...."
        )
    raise DataError(
        "With a column num_options labels must be the letters A, B, ... or the numbers 0, 1, ..., "
        f"so that it is known which of them a task has; got {listed(other)}."
    )


def _open_ended(answers: np.ndarray, truth: np.ndarray, labels: pd.Index) -> Options:
    """A question's options are its distinct answers as they appear, and "none of these"."""
    questions = len(answers)
    rows, agents = np.nonzero(answers >= 0)
    pairs, first, inverse = np.unique(
        rows * len(labels) + answers[rows, agents], return_index=True, return_inverse=True
    )
    row = pairs // len(labels)
    order = np.lexsort((first, row))
    distinct = np.bincount(row, minlength=questions)
    start = np.cumsum(distinct) - distinct
    option = np.empty(len(pairs), np.int64)
    option[order] = np.arange(len(pairs)) - start[row[order]]
    num_options = np.maximum(distinct + 1, 2).astype(np.int32)
    width = int(num_options.max())
    meanings = np.full((questions, width), -1, np.int32)
    meanings[row, option] = pairs % len(labels)
    indexed = np.full(answers.shape, -1, np.int32)
    indexed[rows, agents] = option[inverse]
    same = (meanings == truth[:, None]) & (truth >= 0)[:, None]
    right = np.where(same.any(axis=1), same.argmax(axis=1), num_options - 1)
    right = np.where(truth >= 0, right, -1).astype(np.int32)
    missed = int(((truth >= 0) & ~same.any(axis=1)).sum())
    notes = [f"Nobody gave the right answer of {counted(missed, 'labelled task')}."]
    return Options(indexed, right, num_options, width, labels, meanings, notes if missed else [])


def _look_up(places: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Returns `places[codes]`, and -1 where a code is -1."""
    return np.append(places, -1)[codes].astype(np.int32)
