"""The final answer in a text, for votes: equal answers are equal texts."""

import re

from data.number_answers import read_number

_NAMED = re.compile(r"answer\s*(?:is)?\s*:?\s*(.+)", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\s*\{([^{}]*)\}")


def vote_of(text: str, *, is_number: bool) -> str:
    r"""Returns what a text answers with, in one form; empty if it answers nothing.

    Args:
        text: A solution.
        is_number: Whether the answer is a number, which is then read as the verifier reads it.
            Other answers stand in `\boxed{...}`, after the last word "answer", or in the last line.

    Example:
        >>> vote_of("In all 1,000.50 dollars.", is_number=True)
        '2001/2'
        >>> vote_of("I think so.\nAnswer: Mary is a knave.", is_number=False)
        'mary is a knave'
    """
    if is_number:
        number = read_number(text)
        return "" if number is None else str(number)
    boxed, named = _BOXED.findall(text), _NAMED.findall(text)
    lines = text.strip().splitlines() or [""]
    found = boxed[-1] if boxed else named[-1] if named else lines[-1]
    return " ".join(found.split()).strip(".*` ").lower()
