"""Tables of votes turned into arrays; every trouble is told. Needs pandas.

A long table has the columns `task`, `worker` and `label`, one vote a row. A wide table has one
row a task: the column `task` or `question`, or else the first, names the task, every other column
holds one worker's labels. An empty cell is an abstention. A column `num_options` says how many
options a task has, see `table_options`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from jaxreason.voting.table_columns import LONG_COLUMNS, usual_names, wide_columns
from jaxreason.voting.table_labels import (
    DataError,
    check_kinds,
    clean_labels,
    counted,
    listed,
    notes_on_labels,
    notes_on_spelling,
    notes_on_words,
    plain,
    quoted,
)
from jaxreason.voting.table_options import choose_options
from jaxreason.voting.table_votes import DUPLICATES, LooseVotes, read_truth, read_votes

MAX_CELLS = 2**30


@dataclasses.dataclass(frozen=True)
class Table:
    """Votes as the rules of this package take them, and what the indices mean.

    Attributes:
        answers: Option indices, -1 where a worker abstained, int32 `[question, agent]`.
        num_options: The number of options, one for all questions or one a question.
        max_options: The most options of any question, if `num_options` is an array.
        tasks: The questions' names, in order of appearance.
        workers: The agents' names, in order of appearance.
        labels: The labels. Option s is `labels[s]`, unless `meanings` is given.
        meanings: For open-ended answers, the place in `labels` of each question's options, -1 for
            the option "none of these" and where there is no option, `[question, option]`.
        truth: The right option of each question, -1 where it is not known, `[question]`.
        notes: What a reader of the outcome should know about the data, one sentence each.
    """

    answers: np.ndarray
    num_options: int | np.ndarray
    max_options: int | None
    tasks: pd.Index
    workers: pd.Index
    labels: pd.Index
    meanings: np.ndarray | None
    truth: np.ndarray
    notes: tuple[str, ...]

    def name_options(self, options: np.ndarray) -> pd.Series:
        """Returns the label of one option a task, missing for -1 and for "none of these"."""
        places = np.asarray(options, np.int64)
        if self.meanings is not None:
            own = self.meanings[np.arange(len(places)), np.maximum(places, 0)]
            places = np.where(places >= 0, own, -1)
        places = np.where(places < len(self.labels), places, -1)
        labels = np.array([*self.labels, None], object)  # -1 is the last
        return pd.Series(labels[places], index=self.tasks, dtype=object).infer_objects()


def tabulate(
    data: pd.DataFrame,
    truth: pd.Series | Mapping[Any, Any] | None = None,
    *,
    open_ended: bool = False,
    duplicates: str = "error",
    labels: pd.Index | None = None,
) -> Table:
    """Turns a long or wide table of votes into arrays.

    Nothing is dropped in silence: what can't be used raises, what a reader should know is noted.

    Args:
        data: A long or wide table, see the module.
        truth: Right labels by task, missing where unknown.
        open_ended: Labels mean something only within a task, such as the results of calculations:
            equal ones are one option, and each task has one more, "none of these".
        duplicates: What to do where a worker gave one task different labels in a long table:
            `"error"`, or count the `"first"` or the `"last"`. The same label twice counts once.
        labels: The labels in the order of the options, if others must not occur; by default all
            that occur, sorted.

    Returns:
        The table.

    Raises:
        DataError: If the table can't be used; the sentence says why and what to do.

    Example:
        >>> votes = pd.DataFrame({"task": [1, 2], "ann": ["yes", "no"], "ben": ["yes", None]})
        >>> table = tabulate(votes)
        >>> table.answers.tolist(), list(table.workers), list(table.labels)
        ([[1, 1], [0, -1]], ['ann', 'ben'], ['no', 'yes'])
        >>> table.notes[0]
        '1 of 4 labels is missing and counts as an abstention.'
    """
    if duplicates not in DUPLICATES:
        raise DataError(
            f"duplicates must be one of {listed(DUPLICATES)}; got {quoted(duplicates)}."
        )
    votes = read_votes(data)
    right = read_truth(truth, votes.tasks, duplicates)
    found = pd.concat([votes.found, right.found], ignore_index=True)
    distinct, places, notes = clean_labels(found)
    codes = np.append(places[: len(votes.found)], -1)[votes.label].astype(np.int32)
    right_codes = np.append(places[len(votes.found) :], -1)[right.label].astype(np.int32)
    answers, notes_on_places = _place(votes, codes, distinct, duplicates)
    options = choose_options(
        answers,
        right_codes,
        distinct,
        votes.num_options,
        known=labels,
        open_ended=open_ended,
        tasks=votes.tasks,
        workers=votes.workers,
    )
    notes += [*notes_on_places, *_notes_on_turnout(votes, codes, answers)]
    notes += notes_on_spelling("Labels", distinct) + notes_on_words(distinct)
    notes += [] if open_ended else notes_on_labels(answers, distinct, votes.workers)
    notes += _notes_on_labelled(right_codes, answers, votes.tasks)
    return Table(
        answers=options.answers,
        num_options=options.num_options,
        max_options=options.max_options,
        tasks=votes.tasks.rename("task"),
        workers=votes.workers.rename("worker"),
        labels=options.labels.rename("label"),
        meanings=options.meanings,
        truth=options.truth,
        notes=(*votes.notes, *notes, *right.notes, *options.notes),
    )


def as_text(data: pd.DataFrame) -> pd.DataFrame:
    """Returns the table with names and labels as text, to compare files with others.

    Whole numbers are written without ".0", which pandas gives them beside missing values.

    Args:
        data: A long or wide table, or one of the columns `task` and `label`.

    Returns:
        The table, its columns named as by `usual_names`. Columns not used are as they were.

    Raises:
        DataError: If types are mixed, such as 1 and "1".

    Example:
        >>> as_text(pd.DataFrame({"Task": [1, 2], "label": [3.0, None]}))["label"].tolist()
        ['3', None]
    """
    texts = usual_names(data)
    used: list = [name for name in LONG_COLUMNS if name in texts.columns]
    if not set(LONG_COLUMNS[1:]) & set(used):
        task, workers = wide_columns(texts)
        check_kinds("Labels", [texts[name] for name in workers])
        used = [task, *workers] if workers else []
    for name in used:
        check_kinds(f"Values in the column {quoted(name)}", [texts[name]])
        texts[name] = _as_texts(texts[name])
    return texts


def _as_texts(column: pd.Series) -> pd.Series:
    codes, found = pd.factorize(column)
    values = [plain(value) for value in found]
    if all(isinstance(value, float) and value.is_integer() for value in values):
        values = [int(value) for value in values]
    texts = np.array([*map(str, values), None], object)  # -1 is the last
    return pd.Series(texts[codes], index=column.index, dtype=object)


def _place(
    votes: LooseVotes, codes: np.ndarray, labels: pd.Index, duplicates: str
) -> tuple[np.ndarray, list[str]]:
    """Puts each vote into its cell `[question, agent]`; tells of cells with several."""
    tasks, workers = len(votes.tasks), len(votes.workers)
    if tasks * workers > MAX_CELLS:
        raise DataError(
            f"A table has at most {MAX_CELLS:,} cells; got {tasks:,} tasks x {workers:,} workers. "
            "Aggregate the tasks in parts."
        )
    given = codes >= 0
    cells = votes.task[given].astype(np.int64) * workers + votes.worker[given]
    codes = codes[given]
    step = -1 if duplicates == "first" else 1
    answers = np.full(tasks * workers, -1, np.int32)
    answers[cells[::step]] = codes[::step]
    repeated = np.bincount(cells, minlength=answers.size)[cells] > 1
    differing = np.unique(cells[repeated & (codes != answers[cells])])
    same = np.setdiff1d(cells[repeated], differing)

    def tell(chosen: np.ndarray) -> str:
        told = []
        for cell in chosen[:3]:
            given_there = labels[pd.unique(codes[cells == cell])]
            task, worker = votes.tasks[cell // workers], votes.workers[cell % workers]
            told.append(f"{listed(given_there)} by worker {quoted(worker)} on task {quoted(task)}")
        more = f" and {len(chosen) - 3:,} more" if len(chosen) > 3 else ""
        return "; ".join(told) + more

    notes = []
    if len(differing) and duplicates == "error":
        raise DataError(
            f"A worker has one vote a task; different labels were given: {tell(differing)}. Keep "
            "one of them, or let the first or the last count (duplicates)."
        )
    if len(differing):
        notes.append(f"Of different labels the {duplicates} counts: {tell(differing)}.")
    if len(same):
        notes.append(f"Votes given more than once count once: {tell(same)}.")
    return answers.reshape(tasks, workers), notes


def _notes_on_labelled(truth: np.ndarray, answers: np.ndarray, tasks: pd.Index) -> list[str]:
    """Tells of labelled tasks without a vote."""
    silent = tasks[(truth >= 0) & (answers < 0).all(axis=1)]
    if not len(silent):
        return []
    return [
        f"{counted(len(silent), 'labelled task')} without any vote, not counted where accuracies "
        f"are measured: {listed(silent)}."
    ]


def _notes_on_turnout(votes: LooseVotes, codes: np.ndarray, answers: np.ndarray) -> list[str]:
    """Tells of empty cells, of tasks without a vote and of workers with none or one."""
    notes = []
    empty = int((codes < 0).sum())
    if empty == len(codes):
        raise DataError("The table holds no vote: every label is empty.")
    if empty:
        ending = (
            "is missing and counts as an abstention"
            if empty == 1
            else ("are missing and count as abstentions")
        )
        notes.append(f"{empty:,} of {counted(len(codes), 'label')} {ending}.")
    silent = votes.tasks[(answers < 0).all(axis=1)]
    if len(silent):
        notes.append(
            f"{counted(len(silent), 'task')} without any vote, kept without an answer: "
            f"{listed(silent)}."
        )
    turnout = (answers >= 0).sum(axis=0)
    idle, rare = votes.workers[turnout == 0], votes.workers[turnout == 1]
    if len(idle):
        notes.append(
            f"{counted(len(idle), 'worker')} without any vote, kept without a say: {listed(idle)}."
        )
    if len(rare):
        notes.append(
            f"{counted(len(rare), 'worker')} with one vote, kept, though an accuracy can't be "
            f"estimated from one: {listed(rare)}."
        )
    return notes
