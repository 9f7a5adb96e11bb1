"""Votes and truth as pandas holds them, turned into places in lists. Needs pandas."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxreason.voting.table_labels import DataError, check_kinds, counted, listed, plain

LONG_COLUMNS = ("task", "worker", "label")
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
    """

    tasks: pd.Index
    workers: pd.Index
    task: np.ndarray
    worker: np.ndarray
    label: np.ndarray
    found: pd.Series
    num_options: np.ndarray | None


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


def worker_columns(data: pd.DataFrame) -> list:
    """Returns the columns of a wide table that hold a worker's labels.

    Example:
        >>> worker_columns(pd.DataFrame(columns=["question", "num_options", "ann", "ben"]))
        ['ann', 'ben']
    """
    return [name for name in data.columns[1:] if name != "num_options"]


def check_columns(data: pd.DataFrame) -> None:
    """Checks that no two columns have the same name.

    Args:
        data: A table.

    Raises:
        DataError: If two have.

    Example:
        >>> check_columns(pd.DataFrame(columns=["task", "ann"]))
    """
    columns = list(data.columns)
    twice = sorted({str(name) for name in columns if columns.count(name) > 1})
    if twice:
        raise DataError(f"Every column needs a name of its own; several are named {listed(twice)}.")


def read_votes(data: pd.DataFrame) -> LooseVotes:
    """Reads a long or wide table, told apart by their columns.

    Args:
        data: A long table has the columns `task`, `worker`, `label`; a wide one has the task first
            and then one column a worker. A column `num_options` belongs to the task.

    Returns:
        The votes.

    Raises:
        DataError: If a column is missing, there is no row, a task or worker has no name, types are
            mixed, or `num_options` is not a whole number of at least 1, the same for each task.

    Example:
        >>> votes = read_votes(pd.DataFrame({"task": ["t"], "ann": [1], "ben": [2]}))
        >>> votes.worker.tolist(), votes.label.tolist(), votes.found.tolist()
        ([0, 1], [0, 1], [1, 2])
    """
    check_columns(data)
    columns = list(data.columns)
    if len(data) == 0:
        told = listed(columns, most=8) or "none"
        raise DataError(f"The table holds no votes: it has no row (columns: {told}).")
    missing = [name for name in LONG_COLUMNS if name not in columns]
    if not missing:
        return _read_long(data)
    if "worker" in columns or "label" in columns:
        raise DataError(
            f"A long table needs the columns task, worker and label; {listed(missing)} is missing "
            f"among {listed(columns, most=8)}. (A wide table has no column worker or label.)"
        )
    if not worker_columns(data):
        raise DataError(
            "A table of votes is long (columns task, worker, label) or wide (the task first, then "
            f"one column a worker); got {listed(columns, most=8)}."
        )
    return _read_wide(data)


def read_truth(truth: pd.Series | None, tasks: pd.Index, duplicates: str) -> LooseTruth:
    """Finds the right label of each task.

    Args:
        truth: Right labels by task, missing where unknown; None if none is known.
        tasks: The tasks of the votes.
        duplicates: What to do with a task of several labels: `"error"`, `"first"` or `"last"`.

    Returns:
        The truth.

    Raises:
        DataError: If it names no task of the votes, or several labels for one.

    Example:
        >>> read_truth(pd.Series({"b": 1}), pd.Index(["a", "b"]), "error").label.tolist()
        [-1, 0]
    """
    right = np.full(len(tasks), -1, np.int32)
    if truth is None:
        return LooseTruth(right, _objects([]), [])
    check_kinds("The truth's labels", [truth])
    check_kinds("The tasks of votes and truth", [pd.Series(tasks), pd.Series(truth.index)])
    known = truth[truth.notna().to_numpy()]
    codes, found = pd.factorize(known)
    places = tasks.get_indexer(known.index)
    inside = places >= 0
    if not inside.any():
        given = f"tasks such as {plain(known.index[0])!r}" if len(known) else "no label at all"
        raise DataError(
            f"The truth must name tasks of the votes, such as {plain(tasks[0])!r}; it has {given}."
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


def _read_long(data: pd.DataFrame) -> LooseVotes:
    task, tasks = _named(data, "task", "task")
    worker, workers = _named(data, "worker", "worker")
    check_kinds("Labels", [data["label"]])
    label, found = pd.factorize(data["label"])
    numbers = _num_options(data, task, tasks)
    return LooseVotes(tasks, workers, task, worker, label, _objects(found), numbers)


def _read_wide(data: pd.DataFrame) -> LooseVotes:
    task, tasks = _named(data, data.columns[0], "task")
    names = worker_columns(data)
    check_kinds("Workers", [pd.Series(names, dtype=object)])
    check_kinds("Labels", [data[name] for name in names])
    labels, found, start = [], [], 0
    for name in names:
        own, distinct = pd.factorize(data[name])
        labels.append(np.where(own < 0, -1, own + start).astype(np.int32))
        found.append(_objects(distinct))
        start += len(distinct)
    return LooseVotes(
        tasks=tasks,
        workers=pd.Index(names),
        task=np.tile(task, len(names)),
        worker=np.repeat(np.arange(len(names), dtype=np.int32), len(data)),
        label=np.concatenate(labels),
        found=pd.concat(found, ignore_index=True),
        num_options=_num_options(data, task, tasks),
    )


def _named(data: pd.DataFrame, column: str, role: str) -> tuple[np.ndarray, pd.Index]:
    """Returns the places and the names of tasks or workers."""
    check_kinds(f"{role.capitalize()}s", [data[column]])
    places, names = pd.factorize(data[column])
    if (places < 0).any():
        rows = np.flatnonzero(places < 0) + 1
        raise DataError(
            f"Every row needs a {role}; the column {column!r} is empty in row {listed(rows)} "
            "(counted from 1, without the header)."
        )
    return places.astype(np.int32), pd.Index(names)


def _num_options(data: pd.DataFrame, task: np.ndarray, tasks: pd.Index) -> np.ndarray | None:
    """Returns the column `num_options`, one number a task."""
    if "num_options" not in data.columns:
        return None
    column = pd.to_numeric(data["num_options"], errors="coerce")
    numbers = column.to_numpy(dtype=float, na_value=np.nan)
    bad = np.flatnonzero(~(numbers >= 1) | (numbers != np.floor(numbers)))
    if len(bad):
        given = plain(data["num_options"].iloc[bad[0]])
        raise DataError(
            "num_options must be a whole number of at least 1 in every row; got "
            f"{given!r} for task {plain(tasks[task[bad[0]]])!r}."
        )
    per_task = np.zeros(len(tasks), np.int32)
    per_task[task] = numbers
    differ = tasks[np.unique(task[per_task[task] != numbers])]
    if len(differ):
        raise DataError(f"num_options must not differ within a task; it does in {listed(differ)}.")
    return per_task


def _objects(values: object) -> pd.Series:
    return pd.Series(np.asarray(values, dtype=object), dtype=object)
