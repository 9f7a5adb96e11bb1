"""Names, lists and shares in words."""

from collections.abc import Sequence

import numpy as np

MAX_NAMED = 6
"""Longer lists of agents end with the number of the others."""


def name_agents(
    chosen: np.ndarray, names: Sequence[str], notes: Sequence[str] | None = None
) -> str:
    """Lists the chosen agents, each with its note.

    Args:
        chosen: Which agents, one truth value for each.
        names: What to call them.
        notes: What to say of each in brackets.

    Example:
        >>> name_agents(np.array([True, False, True]), ["Ada", "Bob", "Cy"], ["1", "2", "3"])
        'Ada (1) and Cy (3)'
    """
    indices = [int(i) for i in np.flatnonzero(chosen)]
    notes = [""] * len(names) if notes is None else [f" ({note})" for note in notes]
    return join_words([f"{names[i]}{notes[i]}" for i in indices])


def join_words(words: Sequence[str]) -> str:
    """Joins words, the last with "and"; of more than six only the first five are named.

    Example:
        >>> join_words(["a"]), join_words("abc"), join_words("abcdefgh")
        ('a', 'a, b and c', 'a, b, c, d, e and 3 more')
    """
    if len(words) == 1:
        return words[0]
    if len(words) > MAX_NAMED:
        return f"{', '.join(words[: MAX_NAMED - 1])} and {len(words) - MAX_NAMED + 1} more"
    return f"{', '.join(words[:-1])} and {words[-1]}"


def percent(share: float | np.floating, digits: int = 0) -> str:
    """Formats a share, and one that only rounds to 0 as less than the last digit.

    Example:
        >>> percent(0.523), percent(0.0597, 1), percent(0.0001, 1), percent(0.0)
        ('52%', '6.0%', '<0.1%', '0%')
    """
    least = 10.0**-digits
    if 0 < 100.0 * share < 0.5 * least:
        return f"<{least:.{digits}f}%"
    return f"{100.0 * share:.{digits}f}%"
