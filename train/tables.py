"""Tables of the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

FORMATS = {"padding": "{:.1%}", "token_share": "{:.1%}", "passes": "{:.2f}"}


def source_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the sources of a mixture as aligned columns."""
    header = [name.replace("_", " ") for name in rows[0]]
    cells = [
        [
            FORMATS.get(name, "{:,}" if isinstance(value, int) else "{}").format(value)
            for name, value in row.items()
        ]
        for row in rows
    ]
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
