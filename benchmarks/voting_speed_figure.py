"""The figure of the speeds: seconds and memory of each rule, ours beside crowd-kit's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.voting_simulation_figure import INK, MUTED, SETTINGS

COLORS = MappingProxyType({"jaxreason": "#2563eb", "crowd-kit": "#d1a054"})
MEASURES = (  # label, field, unit, its sign, scale
    ("seconds", "median_seconds", 1.0, " s", "log"),
    ("memory in MiB", "used_bytes", 2.0**20, "", "linear"),
)


def save_figure(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws a panel of times and one of memory for each size, as a PNG.

    Args:
        rows: `questions`, `agents`, `library`, `rule` and `result` (None if it did not finish, then
            `failure`) of each measurement.
        path: Where to.
    """
    sizes = list(dict.fromkeys((row["questions"], row["agents"]) for row in rows))
    settings = SETTINGS | {"axes.grid.axis": "x", "ytick.left": False}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(4.2 * len(sizes), 6.4), layout="constrained")
        panels = figure.subplots(len(MEASURES), len(sizes), squeeze=False, sharey=True)
        for column, size in enumerate(sizes):
            of_size = [row for row in rows if (row["questions"], row["agents"]) == size]
            for axes, (label, *measure) in zip(panels[:, column], MEASURES, strict=True):
                _draw_panel(axes, of_size, *measure)
                axes.set_xlabel(label)
            panels[0, column].set_title(f"{size[0]:,} questions x {size[1]} agents")
        panels[0, 0].invert_yaxis()
        named = zip(*reversed(panels[0, 0].get_legend_handles_labels()), strict=True)
        key = dict(named)
        figure.legend(key.values(), key.keys(), loc="outside lower center", ncols=2, frameon=False)
        figure.savefig(path)


def _draw_panel(
    axes: Axes, rows: Sequence[Mapping[str, Any]], field: str, unit: float, sign: str, scale: str
) -> None:
    """Draws a bar a rule and library, and says why one is missing."""
    rules = list(dict.fromkeys(row["rule"] for row in rows))
    libraries = list(dict.fromkeys(row["library"] for row in rows))
    axes.set_xscale(scale)
    for row in rows:
        number = libraries.index(row["library"])
        place = rules.index(row["rule"]) + 0.38 * (number - 0.5)
        if row["result"] is None:
            where = axes.get_yaxis_transform()
            axes.text(0.02, place, row["failure"], transform=where, va="center", fontsize=7.5)
            continue
        value = row["result"][field] / unit
        bar = axes.barh(place, value, 0.36, color=COLORS[row["library"]], label=row["library"])
        digits = f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
        axes.bar_label(bar, [digits + sign], padding=3, fontsize=7.5, color=INK)
    axes.set_yticks(range(len(rules)), rules, color=MUTED)
    axes.margins(x=0.3)
