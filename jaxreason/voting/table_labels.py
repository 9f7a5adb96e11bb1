"""Labels of votes: their types, spellings and order. Needs pandas."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

MISSING_WORDS = ("n/a", "na", "nan", "none", "null")
MANY_LABELS = 50
MAX_SHOWN = 40
"""How much of a name stands in a message."""


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


def shown(name: object) -> str:
    r"""Returns a name for a message: nothing that isn't printable, and cut if long.

    Args:
        name: The name of a task or worker, or a label.

    Example:
        >>> print(shown("two\nlines"))
        two\nlines
        >>> print(shown("a" * 50))
        aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…
    """
    text = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in str(plain(name))[: MAX_SHOWN + 1]
    )
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"


def quoted(value: object) -> str:
    """Returns a value for a message, `shown`, text in quotes.

    Example:
        >>> quoted("cat"), quoted(np.int64(3))
        ("'cat'", '3')
    """
    mark = '"' if "'" in str(value) else "'"
    return f"{mark}{shown(value)}{mark}" if isinstance(value, str) else shown(value)


def listed(
    values: Iterable,
    *,
    most: int = 3,
    total: int | None = None,
    show: Callable[[object], str] = quoted,
) -> str:
    """Lists the first few values in words, text in quotes.

    Args:
        values: What to list.
        most: How many to name.
        total: How many there are, if more than `values`.
        show: Writes a value; `shown` leaves the quotes out.

    Example:
        >>> listed(["a", "b", "c", "d", "e"])
        "'a', 'b', 'c' and 2 more"
    """
    values = list(values)
    first = [show(value) for value in values[:most]]
    others = (len(values) if total is None else total) - len(first)
    return ", ".join(first) + (f" and {others:,} more" if others else "")


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
        given = " and ".join(f"{kind} such as {quoted(value)}" for kind, value in found.items())
        raise DataError(
            f"{what} must be of one type; got {given}. Make them one, for example all text."
        )


def check_text(what: str, names: Iterable) -> None:
    """Checks that names can be written to a file.

    Args:
        what: What the names are, to begin the sentence with.
        names: Names; those that are no text are passed over.

    Raises:
        DataError: If text holds half a surrogate pair, which UTF-8 can't encode.

    Example:
        >>> check_text("Workers", ["ann", 3])
    """
    for name in names:
        if isinstance(name, str) and re.search(r"[\ud800-\udfff]", name):
            raise DataError(
                f"{what} must be text that UTF-8 can encode; {quoted(name)} is not, for it holds "
                "half a surrogate pair: write another character there."
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
        DataError: If types are mixed, or text can't be encoded.

    Example:
        >>> labels, places, _ = clean_labels(pd.Series(["10", " ", "9", "9"], dtype=object))
        >>> list(labels), places.tolist()
        (['9', '10'], [1, -1, 0, 0])
    """
    check_kinds("Labels", [found])
    check_text("Labels", found)
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


def notes_on_spelling(what: str, names: pd.Index) -> list[str]:
    """Tells of names that are perhaps meant to be one.

    Args:
        what: What the names are, to begin the sentence with.
        names: The distinct names.

    Returns:
        At most one sentence.

    Example:
        >>> notes_on_spelling("Workers", pd.Index(["Ann", "ben", "ann "]))
        ["Workers that differ only in case, spaces or coding count as different: 'Ann', 'ann '."]
    """
    folded = {
        name: unicodedata.normalize("NFKC", name).strip().casefold()
        for name in names
        if isinstance(name, str)
    }
    count = Counter(folded.values())
    alike = sorted((name for name in folded if count[folded[name]] > 1), key=folded.__getitem__)
    if not alike:
        return []
    differ = "differ only in case, spaces or coding"
    return [f"{what} that {differ} count as different: {listed(alike)}."]


def notes_on_words(labels: pd.Index) -> list[str]:
    """Tells of labels that read as if there was none.

    Args:
        labels: The distinct labels.

    Returns:
        At most one sentence.

    Example:
        >>> notes_on_words(pd.Index(["cat", "NaN"]))
        ["The text 'NaN' counts as a label; only an empty cell is an abstention."]
    """
    words = [
        label
        for label in labels
        if isinstance(label, str) and label.strip().casefold() in MISSING_WORDS
    ]
    if not words:
        return []
    count = "text {} counts as a label" if len(words) == 1 else "texts {} count as labels"
    return [f"The {count.format(listed(words))}; only an empty cell is an abstention."]


def notes_on_labels(answers: np.ndarray, labels: pd.Index, workers: pd.Index) -> list[str]:
    """Tells of labels, the same for every task, that look like mistakes.

    Args:
        answers: Places in `labels`, -1 for abstentions, `[question, agent]`.
        labels: The distinct labels.
        workers: The agents' names.

    Returns:
        One sentence for each kind of doubt.

    Example:
        >>> notes_on_labels(np.array([[0, 0]]), pd.Index(["cat"]), pd.Index(["ann", "ben"]))
        ["Every vote is 'cat': there is nothing to decide."]
    """
    votes = np.bincount(answers[answers >= 0], minlength=len(labels))
    notes = []
    if (votes > 0).sum() == 1:
        notes.append(f"Every vote is {listed(labels[votes > 0])}: there is nothing to decide.")
    if len(labels) > max(MANY_LABELS, len(answers) / 2):
        notes.append(
            f"There are {len(labels):,} labels for {counted(len(answers), 'task')}, each an option "
            "of every task: if they mean something only within a task, such as the results of "
            "calculations, the answers are open-ended: say so."
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
        f"{what} must be text, numbers or truth values; got {type(value).__name__} {shown(value)}."
    )


def _is_blank(value: Hashable) -> bool:
    return isinstance(value, str) and not value.strip()


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d*)?", text) is not None
