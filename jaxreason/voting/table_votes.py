"""Votes and truth as pandas holds them, turned into places in lists. Needs pandas."""

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxreason.voting.table_columns import Columns, check_rows, read_columns
from jaxreason.voting.table_labels import (
    DataError,
    check_kinds,
    check_text,
    counted,
    listed,
    notes_on_spelling,
    quoted,
)
from jaxreason.voting.table_options import MAX_OPTIONS

DUPLICATES = ("error", "first", "last")


class LooseVotes(NamedTuple):
    """One entry a cell of the table: who labelled what how.

    Attributes:
        tasks: The tasks, in order of appearance.
        workers: The workers, in order of appearance.
        task: The place of each entry's task.
        worker: The place of each entry's worker.
        label: The place of each entry's label in `found`, -1 if the cell is empty.
        found: The labels, some perhaps more than once.
        num_options: The column `num_options`, one number a task, or None.
        notes: What a reader should know.
    """

    tasks: pd.Index
    workers: pd.Index
    task: np.ndarray
    worker: np.ndarray
    label: np.ndarray
    found: pd.Series
    num_options: np.ndarray | None
    notes: list[str]


class LooseTruth(NamedTuple):
    """The right label of each task.

    Attributes:
        label: The place of each task's label in `found`, -1 where not known.
        found: The labels.
        notes: What a reader should know.
    """

    label: np.ndarray
    found: pd.Series
    notes: list[str]


def read_votes(data: pd.DataFrame) -> LooseVotes:
    """Reads a long or wide table, told apart by their columns.

    Args:
        data: A long table has the columns `task`, `worker`, `label`; a wide one has a column `task`
            or `question`, or else the tasks first, and one column a worker. A column `num_options`
            belongs to the task.

    Returns:
        The votes.

    Raises:
        DataError: If it is no DataFrame, a column is missing, there is no row, a task or worker has
            no name, a wide table repeats a task, types are mixed, or `num_options` is not a whole
            number from 1 to `MAX_OPTIONS`, the same for each task.

    Example:
        >>> votes = read_votes(pd.DataFrame({"task": ["t"], "ann": [1], "ben": [2]}))
        >>> votes.worker.tolist(), votes.label.tolist(), votes.found.tolist()
        ([0, 1], [0, 1], [1, 2])
    """
    columns = read_columns(data)
    return _read_long(columns) if columns.workers is None else _read_wide(columns, columns.workers)


def read_truth(
    truth: pd.Series | Mapping[Any, Any] | None, tasks: pd.Index, duplicates: str
) -> LooseTruth:
    """Finds the right label of each task.

    Args:
        truth: Right labels by task, missing where unknown; None if none is known.
        tasks: The tasks of the votes.
        duplicates: What to do with a task of several labels: `"error"`, `"first"` or `"last"`.

    Returns:
        The truth.

    Raises:
        DataError: If it is neither a Series nor a mapping, names no task of the votes, or has
            several labels for one.

    Example:
        >>> read_truth(pd.Series({"b": 1}), pd.Index(["a", "b"]), "error").label.tolist()
        [-1, 0]
    """
    right = np.full(len(tasks), -1, np.int32)
    if truth is None:
        return LooseTruth(right, _objects([]), [])
    if isinstance(truth, Mapping):
        names = pd.Index(list(truth), dtype=object)
        truth = pd.Series(list(truth.values()), index=names, dtype=object)
    if not isinstance(truth, pd.Series):
        raise DataError(
            "The truth is a Series or dict of right labels by task, such as pd.Series(labels, "
            f"index=tasks); got {type(truth).__name__}."
        )
    check_kinds("The truth's labels", [truth])
    check_kinds("The tasks of votes and truth", [pd.Series(tasks), pd.Series(truth.index)])
    known = truth[truth.notna().to_numpy()]
    codes, found = pd.factorize(known)
    places = tasks.get_indexer(known.index)
    inside = places >= 0
    if not inside.any():
        given = f"tasks such as {quoted(known.index[0])}" if len(known) else "no label at all"
        raise DataError(
            f"The truth must name tasks of the votes, such as {quoted(tasks[0])}; it has {given}."
        )
    notes = []
    if not inside.all():
        names = known.index[~inside].unique()
        count = counted(len(names), "task")
        notes.append(f"The truth has {count} without any row of votes, left out: {listed(names)}.")
    codes, places = codes[inside], places[inside]
    step = -1 if duplicates == "first" else 1
    right[places[::step]] = codes[::step]
    several = tasks[np.unique(places[right[places] != codes])]
    if len(several):
        if duplicates == "error":
            raise DataError(
                f"A task has one right label; the truth has several for {listed(several)}."
            )
        notes.append(
            f"Where the truth has several labels the {duplicates} counts: {listed(several)}."
        )
    return LooseTruth(right, _objects(found), notes)


def _read_long(columns: Columns) -> LooseVotes:
    data = columns.data
    task, tasks = _named(data, columns.task, "task")
    worker, workers = _named(data, "worker", "worker")
    check_kinds("Labels", [data["label"]])
    label, found = pd.factorize(data["label"])
    return LooseVotes(
        tasks=tasks,
        workers=workers,
        task=task,
        worker=worker,
        label=label,
        found=_objects(found),
        num_options=_num_options(data, task, tasks),
        notes=columns.notes + _notes_on_names(tasks, workers),
    )


def _read_wide(columns: Columns, workers: list) -> LooseVotes:
    data = columns.data
    task, tasks = _named(data, columns.task, "task")
    check_rows(columns, task)
    check_kinds("Workers", [pd.Series(workers, dtype=object)])
    check_text("Workers", workers)
    check_kinds("Labels", [data[name] for name in workers])
    labels, found, start = [], [], 0
    for name in workers:
        own, distinct = pd.factorize(data[name])
        labels.append(np.where(own < 0, -1, own + start).astype(np.int32))
        found.append(_objects(distinct))
        start += len(distinct)
    names = pd.Index(workers)
    return LooseVotes(
        tasks=tasks,
        workers=names,
        task=np.tile(task, len(workers)),
        worker=np.repeat(np.arange(len(workers), dtype=np.int32), len(data)),
        label=np.concatenate(labels),
        found=pd.concat(found, ignore_index=True),
        num_options=_num_options(data, task, tasks),
        notes=columns.notes + _notes_on_names(tasks, names),
    )


def _named(data: pd.DataFrame, column: Hashable, role: str) -> tuple[np.ndarray, pd.Index]:
    """Returns the places and the names of tasks or workers."""
    check_kinds(f"{role.capitalize()}s", [data[column]])
    places, names = pd.factorize(data[column])
    if (places < 0).any():
        rows = np.flatnonzero(places < 0) + 1
        raise DataError(
            f"Every row needs a {role}; the column {quoted(column)} is empty in row {listed(rows)} "
            "(counted from 1, without the header)."
        )
    check_text(f"{role.capitalize()}s", names)
    return places.astype(np.int32), pd.Index(names)


def _notes_on_names(tasks: pd.Index, workers: pd.Index) -> list[str]:
    return notes_on_spelling("Tasks", tasks) + notes_on_spelling("Workers", workers)


def _num_options(data: pd.DataFrame, task: np.ndarray, tasks: pd.Index) -> np.ndarray | None:
    """Returns the column `num_options`, one number a task."""
    if "num_options" not in data.columns:
        return None
    column = pd.to_numeric(data["num_options"], errors="coerce")
    numbers = column.to_numpy(dtype=float, na_value=np.nan)
    possible = (numbers >= 1) & (numbers <= MAX_OPTIONS) & (numbers == np.floor(numbers))
    bad = np.flatnonzero(~possible)
    if len(bad):
        empty = data["num_options"].isna().iloc[bad[0]]
        given = "an empty cell" if empty else quoted(data["num_options"].iloc[bad[0]])
        raise DataError(
            f"num_options must be a whole number from 1 to {MAX_OPTIONS:,} in every row; got "
            f"{given} for task {quoted(tasks[task[bad[0]]])}."
        )
    per_task = np.zeros(len(tasks), np.int32)
    per_task[task] = numbers
    differ = tasks[np.unique(task[per_task[task] != numbers])]
    if len(differ):
        raise DataError(f"num_options must not differ within a task; it does in {listed(differ)}.")
    return per_task


def _objects(values: object) -> pd.Series:
    return pd.Series(np.asarray(values, dtype=object), dtype=object)
