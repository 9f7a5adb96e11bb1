"""The figure of the iterations: seconds of each side, and the floor."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from benchmarks.voting_simulation_figure import INK, SETTINGS

COLORS = MappingProxyType({"jaxreason": "#2563eb", "TRL": "#d1a054", "Tunix": "#5b9a8b"})


def save_figure(rows: Sequence[Mapping[str, Any]], floors: Mapping[str, float], path: Path) -> None:
    """Draws the times as bars with their quartiles, a panel a size, as a PNG.

    Args:
        rows: `size`, `side`, `median_seconds`, `low` and `high` of each measurement.
        floors: The least seconds of each size, a dashed line.
        path: Where to.
    """
    with matplotlib.rc_context(SETTINGS | {"axes.grid.axis": "x", "ytick.left": False}):
        figure = Figure(figsize=(5.2 * len(floors), 2.8), layout="constrained")
        panels = figure.subplots(1, len(floors), squeeze=False)[0]
        for axes, (size, floor) in zip(panels, floors.items(), strict=True):
            of_size = [row for row in rows if row["size"] == size]
            medians = [row["median_seconds"] for row in of_size]
            below = [row["median_seconds"] - row["low"] for row in of_size]
            above = [row["high"] - row["median_seconds"] for row in of_size]
            bars = axes.barh(
                [row["side"] for row in of_size],
                medians,
                0.7,
                xerr=[below, above],
                ecolor=INK,
                color=[COLORS[row["side"].split(",")[0]] for row in of_size],
            )
            labels = [f"{median:,.3g} s" for median in medians]
            axes.bar_label(bars, labels, padding=3, fontsize=7.5, color=INK)
            axes.axvline(floor, color=INK, linestyle="--", linewidth=1)
            axes.invert_yaxis()
            axes.margins(x=0.2)
            axes.set(title=size, xlabel="seconds an iteration; dashed: the floor")
        figure.savefig(path)
