r"""The number that a text answers with, read exactly.

Expressions are not computed: of "10^3" the last number is 3. For those, see
`data.verifiers.LatexVerifier`.
"""

import re
from fractions import Fraction

MAX_LENGTH = 1000  # characters of one number; more is no answer to anything

WHOLE = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
DECIMAL = rf"(?:{WHOLE}(?:\.\d+)?|(?<!\d)\.\d+)(?:[eE][-+]?\d{{1,3}}(?!\w))?"
MINUS = "[-\u2212]"
# A dash after a word, a number or a bracket is an operator or a range: "3-5" ends in 5.
SIGN = rf"(?:(?<![\w)\]}}%\u2212-])(?P<sign>{MINUS}[$€£]?|[$€£]{MINUS}))?"
MIXED = r"(?:(?P<mixed>\d+) +(?=\d+/\d+(?![\d.,/])))?"
NUMBER = re.compile(rf"{SIGN}{MIXED}(?P<top>{DECIMAL})(?:\s*/\s*(?P<bottom>{DECIMAL}))?")

BRACES = re.compile(r"\\boxed\s*\{|\\.|[{}]")
FINAL_LINE = re.compile("####([^\n]*)")
FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))")


def read_number(text: str) -> Fraction | None:
    r"""Returns the number that a text answers with.

    That is the last number in the last `\boxed{...}` if there is one, else in the last line that
    `####` begins and that has no letters (as the answers of GSM8K are written), else in the text.
    Commas that group thousands, fractions, mixed numbers and exponents are read. Units are not:
    currencies and percent signs count as units too, so "$5" is 5 and "50%" is 50. For GSM8K see
    "Training Verifiers to Solve Math Word Problems" by Cobbe et al.
    (https://arxiv.org/abs/2110.14168).

    Args:
        text: Any text.

    Returns:
        The number; None if there is none, if it divides by zero or if it is absurdly long.

    Example:
        >>> read_number("She pays $1,000.50, or so.")
        Fraction(2001, 2)
        >>> print(read_number(r"Half of 3 is \boxed{1\frac{1}{2}}, not 2."))
        3/2
    """
    numbers = list(NUMBER.finditer(_plain(_answering_part(text))))
    return _value(numbers[-1]) if numbers else None


def is_number(text: str) -> bool:
    """Tells whether a text is one number and nothing else.

    Example:
        >>> is_number(" 1,000 "), is_number("2 × 3"), is_number("[1]"), is_number("12:30")
        (True, False, False, False)
    """
    return NUMBER.fullmatch(text.strip()) is not None


def _answering_part(text: str) -> str:
    boxed = last_boxed(text)
    if boxed is not None:
        return boxed
    lines = FINAL_LINE.findall(text)
    if lines and NUMBER.search(lines[-1]) and not re.search(r"[^\W\d_]", lines[-1]):
        return lines[-1]
    return text


def last_boxed(text: str) -> str | None:
    r"""Returns what is in the `\boxed{...}` that closes last, or None, in one pass."""
    opened, found = [], None
    for mark in BRACES.finditer(text):
        if mark[0].endswith("{") and mark[0] != r"\{":
            opened.append(mark)
        elif mark[0] == "}" and opened:
            start = opened.pop()
            if start[0] != "{":
                found = start.end(), mark.start()
    return None if found is None else text[slice(*found)]


def _plain(text: str) -> str:
    r"""Returns LaTeX's ways to write a number as plain ones; `1\frac{1}{2}` becomes `1 1/2`."""
    text = re.sub(r"\\[!,;: ]|\\(?=[%$])", "", text.replace("{,}", ","))
    text = re.sub(r"(?<=\d)\s*(?=\\[dt]?frac)", " ", text)
    return FRACTION.sub(lambda found: "/".join(filter(None, found.groups())), text)


def _value(number: re.Match[str]) -> Fraction | None:
    if len(number[0]) > MAX_LENGTH:
        return None
    top, bottom = (_decimal(number[name] or "1") for name in ("top", "bottom"))
    if bottom == 0:
        return None
    value = top / bottom
    if number["mixed"] and value < 1:
        value += int(number["mixed"])
    return -value if number["sign"] else value


def _decimal(digits: str) -> Fraction:
    return Fraction(digits.replace(",", ""))
