"""Which column of a table of votes holds what. Needs pandas."""

import re
from collections import Counter
from collections.abc import Hashable
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxreason.voting.table_labels import DataError, listed, quoted, shown

LONG_COLUMNS = ("task", "worker", "label")
TASK_COLUMNS = ("task", "question")
NO_WORKERS = ("truth", "confidence", "runner_up", "tie")
LIKE_WORKER = ("agent", "annotator", "model", "performer", "rater", "user")
LIKE_LABEL = ("answer", "output", "response", "value", "vote")


class Columns(NamedTuple):
    """What the columns of a table hold.

    Attributes:
        data: The table, with the names of its columns as `usual_names` gives them.
        task: The column of the tasks.
        workers: The columns that hold a worker's labels each; None if the table is long.
        notes: What a reader should know.
    """

    data: pd.DataFrame
    task: Hashable
    workers: list | None
    notes: list[str]


def usual_names(data: pd.DataFrame) -> pd.DataFrame:
    """Returns a table whose columns have the names that the others here look for.

    Capitals and spaces around task, question, worker, label and num_options are taken away. A
    first column without a name, which pandas makes of an index, is called "". An index that has a
    name, or holds something else than numbers, becomes a column, unless there is one of tasks.

    Args:
        data: A table.

    Raises:
        DataError: If it is no DataFrame, or names are the same or in several levels.

    Example:
        >>> list(usual_names(pd.DataFrame(columns=["Unnamed: 0", "Task", "ann"])))
        ['', 'task', 'ann']
    """
    if not isinstance(data, pd.DataFrame):
        raise DataError(
            f"A table of votes is a pandas DataFrame; got {type(data).__name__}. For arrays there "
            "are the rules themselves, such as jaxreason.voting.majority."
        )
    given = list(data.columns)
    names = [_usual(name) for name in given]
    if names and _is_nameless(names[0]):
        names[0] = ""
    count = Counter(names)
    twice = dict.fromkeys(
        str(old) for old, name in zip(given, names, strict=True) if count[name] > 1
    )
    if twice:
        raise DataError(f"Every column needs a name of its own; several are named {listed(twice)}.")
    columns = pd.Index(names, dtype=object)
    if isinstance(columns, pd.MultiIndex):
        raise DataError(
            f"The names of columns have one level; got {listed(columns)}. Of data.pivot name the "
            "values: index='task', columns='worker', values='label'."
        )
    table = data.set_axis(columns, axis=1)
    index = [_usual(name) for name in data.index.names]
    if index == [None] and not pd.api.types.is_numeric_dtype(data.index.dtype):
        index = ["task"]
    if None in index or {*index, *TASK_COLUMNS} & set(names):
        return table
    return table.reset_index(names=index)


def wide_columns(data: pd.DataFrame) -> tuple[Hashable, list]:
    """Returns the column of a wide table that names the tasks, and those of the workers.

    Args:
        data: What `usual_names` returned.

    Raises:
        DataError: If there are two columns of tasks.

    Example:
        >>> wide_columns(pd.DataFrame(columns=["ann", "num_options", "question", "ben"]))
        ('question', ['ann', 'ben'])
    """
    names = [name for name in data.columns if name != "num_options"]
    tasks = [name for name in TASK_COLUMNS if name in names]
    if len(tasks) > 1:
        raise DataError(
            "One column of a wide table names the tasks; got both task and question. Take one of "
            "them out."
        )
    if not tasks:
        return next(iter(names), ""), names[1:]
    start = 1 if names[0] == "" else 0
    return tasks[0], [name for name in names[start:] if name != tasks[0]]


def read_columns(data: pd.DataFrame) -> Columns:
    """Tells a long table, which has the columns task, worker and label, from a wide one.

    Args:
        data: A table.

    Returns:
        What its columns hold.

    Raises:
        DataError: If it has no row, or is neither long nor wide.

    Example:
        >>> read_columns(pd.DataFrame({"ann": ["x"], "task": ["t"], "ben": ["y"]})).workers
        ['ann', 'ben']
    """
    data = usual_names(data)
    names = list(data.columns)
    told = listed(names, most=8) or "none"
    if len(data) == 0:
        raise DataError(f"The table holds no votes: it has no row (columns: {told}).")
    missing = [name for name in LONG_COLUMNS if name not in names]
    if not missing:
        return Columns(data, "task", None, _notes(names, (*LONG_COLUMNS, "num_options")))
    if "worker" in names or "label" in names:
        raise DataError(
            f"A long table needs the columns task, worker and label; {listed(missing)} is missing "
            f"among {told}. (A wide table has no column worker or label.)"
        )
    task, workers = wide_columns(data)
    if not workers:
        raise DataError(
            "A table of votes is long (columns task, worker, label) or wide (the task and one "
            f"column a worker); got {told}."
        )
    strange = [str(name) for name in workers if _usual_text(name) in NO_WORKERS]
    if strange:
        raise DataError(
            "Every column of a wide table but the tasks' holds a worker's labels; "
            f"{listed(strange)} looks like something else: take it out, or give it another name if "
            "it is a worker. (The truth is given apart, see --help or fit.)"
        )
    notes = _notes(names, (task, *workers, "num_options"))
    if task not in ("", *TASK_COLUMNS):
        notes.append(f"The first column, {quoted(task)}, names the tasks.")
    return Columns(data, task, workers, notes)


def check_rows(columns: Columns, task: np.ndarray) -> None:
    """Checks that a wide table has one row a task, and is not a long one with other names.

    Args:
        columns: What `read_columns` returned.
        task: The place of each row's task.

    Raises:
        DataError: If a task is repeated, or the columns look like task, worker and label.

    Example:
        >>> data = pd.DataFrame({"task": ["t", "u"], "ann": ["x", "y"], "ben": ["y", "y"]})
        >>> check_rows(read_columns(data), np.array([0, 1]))
    """
    workers = columns.workers or []
    repeated = pd.Series(task).duplicated().to_numpy()
    names = [columns.task, *workers]
    like = [_first_like(names, words) for words in (LIKE_WORKER, LIKE_LABEL)]
    if None not in like and (repeated.any() or len(set(names) - {""}) == len(LONG_COLUMNS)):
        raise DataError(
            f"The columns {listed(names, most=8)} look like those of a long table: rename "
            f"{quoted(like[0])} to worker, {quoted(like[1])} to label and the tasks' to task. (If "
            "they are workers of a wide table, give them other names.)"
        )
    if repeated.any():
        second = int(repeated.argmax())
        first = int((task == task[second]).argmax())
        other = "" if columns.task in TASK_COLUMNS else ", or call the column of the tasks task"
        raise DataError(
            f"A wide table has one row a task; in the column {quoted(columns.task)} "
            f"{quoted(columns.data[columns.task].iloc[second])} stands in rows {first + 1:,} and "
            f"{second + 1:,} (counted from 1, without the header). Keep one of them{other}; a long "
            "table has the columns task, worker and label."
        )


def _first_like(names: list, words: tuple[str, ...]) -> Hashable | None:
    """Returns the first name that is one of some words, capitals and a final "_id" aside."""
    short = [str(name).strip().casefold().removesuffix("_id") for name in names]
    return next((name for name, text in zip(names, short, strict=True) if text in words), None)


def _usual_text(name: Hashable) -> str | None:
    return name.strip().casefold() if isinstance(name, str) else None


def _usual(name: Hashable) -> Hashable:
    text = _usual_text(name)
    return text if text in (*LONG_COLUMNS, *TASK_COLUMNS, "num_options") else name


def _is_nameless(name: Hashable) -> bool:
    if isinstance(name, str):
        return re.fullmatch(r"\s*|Unnamed: 0", name) is not None
    return name is None or name is pd.NA or name != name


def _notes(names: list, used: tuple) -> list[str]:
    """Tells of columns that are not used."""
    unused = [name for name in names if name not in used]
    notes = []
    if "" in unused[:1] and names[0] == "":
        notes.append("The first column has no name and was not used.")
        unused = unused[1:]
    if unused:
        notes.append(f"Columns not used: {listed(unused, most=8, show=shown)}.")
    return notes
