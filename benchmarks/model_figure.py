"""The figure of the benchmarks with a pretrained model: a rate of each side, case by case."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import matplotlib
from matplotlib.figure import Figure

from benchmarks.voting_simulation_figure import INK, SETTINGS

COLORS = MappingProxyType(
    {"jaxreason": "#2563eb", "transformers": "#d1a054", "llama.cpp": "#5b9a8b"}
)


def save_figure(cases: Mapping[str, Sequence[tuple[str, float]]], label: str, path: Path) -> None:
    """Draws a bar for each side of each case, as a PNG.

    Args:
        cases: Sides and their rates, by the case.
        label: What the rates are.
        path: Where to.
    """
    bars = [(case, *side) for case, sides in cases.items() for side in sides]
    with matplotlib.rc_context(SETTINGS | {"axes.grid.axis": "x", "ytick.left": False}):
        figure = Figure(figsize=(6.4, 0.8 + 0.27 * len(bars)), layout="constrained")
        axes = figure.subplots()
        drawn = axes.barh(
            range(len(bars)),
            [rate for _, _, rate in bars],
            0.8,
            color=[COLORS[s] for _, s, _ in bars],
        )
        axes.bar_label(
            drawn, [f"{rate:,.0f}" for _, _, rate in bars], padding=3, fontsize=7.5, color=INK
        )
        axes.set_yticks(range(len(bars)), [f"{case}: {side}" for case, side, _ in bars])
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set(xlabel=label)
        figure.savefig(path)
