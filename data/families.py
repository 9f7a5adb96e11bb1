"""Corpora of several families of problems: checked names, no problem twice, families in turn."""

import difflib
import itertools
from collections.abc import Collection, Iterable, Iterator

MAX_MISSES = 1000  # draws in a row without a new problem before a family counts as exhausted


def check_families(chosen: Collection[str], known: Iterable[str]) -> None:
    """Checks names of families.

    Raises:
        ValueError: If a name is unknown or occurs twice, or there is none.
    """
    known = sorted(known)
    for name in chosen:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
            raise ValueError(f"there is no family {name!r}; the nearest known one is {nearest!r}.")
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"families must be at least one and each named once, got {chosen!r}.")


def distinct(draws: Iterable[dict | None], family: str, taken: set[str]) -> Iterator[dict]:
    """Yields the rows whose `problem` is new, and adds them to what is taken.

    Args:
        draws: Rows of one family, or None for a draw that failed.
        family: What they are called in an error.
        taken: The problems in the corpus so far.

    Yields:
        Rows.

    Raises:
        ValueError: If `MAX_MISSES` draws in a row bring nothing new, or they end.
    """
    found = misses = 0
    for row in draws:
        if row is None or row["problem"] in taken:
            misses += 1
        else:
            found, misses = found + 1, 0
            taken.add(row["problem"])
            yield row
        if misses == MAX_MISSES:
            break
    raise ValueError(
        f"the family {family!r} ran out of new problems after {found}; ask for fewer problems, or"
        " name more families to draw from."
    )


def in_turn(streams: list[Iterator[dict]], **sizes: int) -> dict[str, list[dict]]:
    """Fills splits one after the other with rows of all streams in turn; drops empty ones."""
    return {
        split: [next(stream) for stream in itertools.islice(itertools.cycle(streams), size)]
        for split, size in sizes.items()
        if size > 0
    }
