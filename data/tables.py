"""Tables of the terminal."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

FORMATS = MappingProxyType(
    {
        **dict.fromkeys(
            ("padding", "token_share", "share", "planned", "density", "asked"), "{:.2%}"
        ),
        **dict.fromkeys(("passes", "effective", "effective templates"), "{:.2f}"),
    }
)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns rows as aligned columns, with the names of the first row's fields above them."""
    header = [name.replace("_", " ") for name in rows[0]]
    cells = [[_cell(name, row[name]) for name in rows[0]] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    numeric = [not isinstance(value, str) for value in rows[0].values()]
    lines = [
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in [header, *cells]
    ]
    return "\n".join(lines)


def _cell(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    return FORMATS.get(name, "{:,}" if isinstance(value, int) else "{}").format(value)
