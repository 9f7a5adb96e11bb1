"""Labels of votes: their types, spellings and order. Needs pandas."""

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

MISSING_WORDS = ("n/a", "na", "nan", "none", "null")


class DataError(ValueError):
    """A table that can't be used, told in one sentence: expected, given, what to do."""


class Labels(NamedTuple):
    """The distinct labels, and where each label as found stands among them.

    Attributes:
        labels: The distinct labels, sorted.
        places: For each label as found, its place in `labels`, -1 for blanks.
        notes: What was done about spellings.
    """

    labels: pd.Index
    places: np.ndarray
    notes: list[str]


def listed(values: Iterable, *, most: int = 3, total: int | None = None) -> str:
    """Lists the first few values in words, as Python writes them.

    Args:
        values: What to list.
        most: How many to name.
        total: How many there are, if more than `values`.

    Example:
        >>> listed(["a", "b", "c", "d", "e"])
        "'a', 'b', 'c' and 2 more"
    """
    values = list(values)
    shown = [repr(plain(value)) for value in values[:most]]
    others = (len(values) if total is None else total) - len(shown)
    return ", ".join(shown) + (f" and {others:,} more" if others else "")


def counted(count: int, noun: str) -> str:
    """Returns a number with its noun.

    Example:
        >>> counted(1, "task"), counted(1200, "task")
        ('1 task', '1,200 tasks')
    """
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def plain(value: object) -> Any:
    """Returns a numpy scalar as Python's, anything else as it is.

    Example:
        >>> plain(np.int64(3))
        3
    """
    return value.item() if isinstance(value, np.generic) else value


def check_kinds(what: str, columns: Sequence[pd.Series]) -> None:
    """Checks that values are all text, all numbers, or all truth values.

    Args:
        what: What the values are, to begin the sentence with.
        columns: The values; missing ones are passed over.

    Raises:
        DataError: If types are mixed, such as 1 and "1", or of another kind.

    Example:
        >>> check_kinds("Labels", [pd.Series([1, 2.5]), pd.Series([3])])
    """
    found: dict[str, object] = {}
    for column in columns:
        for value in _one_of_each_type(column):
            found.setdefault(_kind(what, value), value)
    if len(found) > 1:
        shown = " and ".join(f"{kind} such as {value!r}" for kind, value in found.items())
        raise DataError(
            f"{what} must be of one type; got {shown}. Make them one, for example all text."
        )


def clean_labels(found: pd.Series) -> Labels:
    """Brings labels into one sorted list.

    Blank text is no label. The number 1.0 is 1 if all numbers are whole, and the text "1.0" is "1"
    if both occur: pandas writes whole numbers so beside missing values.

    Args:
        found: Labels, some perhaps several times; none is missing.

    Returns:
        The distinct labels and the place of each found one.

    Raises:
        DataError: If types are mixed.

    Example:
        >>> labels, places, _ = clean_labels(pd.Series(["10", " ", "9", "9"], dtype=object))
        >>> list(labels), places.tolist()
        (['9', '10'], [1, -1, 0, 0])
    """
    check_kinds("Labels", [found])
    values = [plain(value) for value in found]
    notes = []
    if values and isinstance(values[0], str):
        given = set(values)
        twins = {value for value in given if value.endswith(".0") and value[:-2] in given}
        if twins:
            several = listed(sorted(twins))
            notes.append(f"The same label written differently, with and without .0: {several}.")
        values = [value[:-2] if value in twins else value for value in values]
    elif all(isinstance(value, int) or value.is_integer() for value in values):
        values = [int(value) if isinstance(value, float) else value for value in values]
    known = {value for value in values if not _is_blank(value)}
    numeric = all(isinstance(value, str) and _is_number(value) for value in known)
    distinct = sorted(known, key=(lambda text: (float(text), text)) if numeric else None)
    place = {label: number for number, label in enumerate(distinct)}
    places = np.array([place.get(value, -1) for value in values], np.int32)
    return Labels(pd.Index(distinct), places, notes)


def notes_on_labels(answers: np.ndarray, labels: pd.Index, workers: pd.Index) -> list[str]:
    """Tells of labels that look like mistakes.

    Args:
        answers: Places in `labels`, -1 for abstentions, `[question, agent]`.
        labels: The distinct labels.
        workers: The agents' names.

    Returns:
        One sentence for each kind of doubt.

    Example:
        >>> notes_on_labels(np.array([[0, 1]]), pd.Index(["NA", "na"]), pd.Index(["a", "b"]))[0]
        "Labels that differ only in case or spaces count as different: 'NA', 'na'."
    """
    votes = np.bincount(answers[answers >= 0], minlength=len(labels))
    notes = []
    if (votes > 0).sum() == 1:
        notes.append(f"Every vote is {listed(labels[votes > 0])}: there is nothing to decide.")
    texts = [label for label in labels if isinstance(label, str)]
    folded = [label.strip().casefold() for label in texts]
    alike = [text for text, short in zip(texts, folded, strict=True) if folded.count(short) > 1]
    if alike:
        notes.append(
            f"Labels that differ only in case or spaces count as different: {listed(alike)}."
        )
    words = [text for text, short in zip(texts, folded, strict=True) if short in MISSING_WORDS]
    if words:
        notes.append(
            f"{listed(words)} counts as an answer; leave the cell empty where a worker abstained."
        )
    return notes + _notes_on_loners(answers, votes, workers)


def _notes_on_loners(answers: np.ndarray, votes: np.ndarray, workers: pd.Index) -> list[str]:
    """Tells of workers who answer often and never as anybody else does."""
    loners = []
    for number, name in enumerate(workers):
        own = answers[answers[:, number] >= 0, number]
        counts = np.bincount(own, minlength=len(votes))
        if len(own) > 2 and len(workers) > 1 and (votes[own] == counts[own]).all():
            loners.append(name)
    if not loners:
        return []
    return [
        f"Nobody else uses any label of {listed(loners)}: if a column is not a worker's answers "
        "(but a note, or the truth), take it out."
    ]


def _one_of_each_type(column: pd.Series) -> Iterator[object]:
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = pd.Series(column.cat.categories)
    known = column[column.notna().to_numpy()]
    if known.dtype != object:
        known = known.iloc[:1]
    for value in known[~known.map(type).duplicated().to_numpy()]:
        yield plain(value)


def _kind(what: str, value: object) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "truth values"
    if isinstance(value, int | float):
        return "numbers"
    raise DataError(
        f"{what} must be text, numbers or truth values; got {type(value).__name__} {value!r}."
    )


def _is_blank(value: Hashable) -> bool:
    return isinstance(value, str) and not value.strip()


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d*)?", text) is not None
