"""The figures of the report: matplotlib drawings turned into SVG that takes the page's colours.

Colours are placeholders (`#0000NN`) that become CSS variables, so that a figure follows the page
into dark mode; text stays text, in the page's typeface.
"""

import io
import math
import re
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from train.summary import Table, title

INK, MUTED, RULE = "#000001", "#000002", "#000003"
VARIABLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule"}
SERIES = [f"#0000{10 + number}" for number in range(6)]
VARIABLES |= {color: f"--series-{number}" for number, color in enumerate(SERIES)}
SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.family": "sans-serif",
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.left": False,
}
Points = Sequence[tuple[int, float]]


def accuracy_figure(table: Table, measures: Sequence[str]) -> str:
    """Draws the accuracy of each stage with its intervals, one line a measure, as an SVG."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(4.7, 3.3), layout="constrained")
        axes = figure.subplots()
        places = np.arange(len(table.stages))
        for number, measure in enumerate(measures):
            shift = 0.07 * (number - (len(measures) - 1) / 2)
            _draw_measure(axes, table, measure, places + shift, SERIES[number % len(SERIES)])
        _label_ends(axes, table, measures)
        axes.set_xticks(places, [title(stage) for stage in table.stages])
        axes.set_xlim(-0.35, len(table.stages) - 0.35)
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
        axes.tick_params(axis="x", labelcolor=INK, length=0, pad=6)
        return _as_svg(figure, f"Accuracy by stage, {title(table.split).lower()}")


def curve_figure(name: str, lines: dict[str, Points]) -> str:
    """Draws how a metric went over the steps, one line a series, as an SVG without a legend."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(3.5, 1.9), layout="constrained")
        axes = figure.subplots()
        for points, color in zip(lines.values(), series_colors(len(lines)), strict=True):
            _draw_curve(axes, points, SERIES[color])
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.tick_params(axis="x", length=2.5)
        _fit_height(axes, [value for points in lines.values() for _, value in points])
        return _as_svg(figure, f"{name} over steps")


def series_colors(count: int) -> list[int]:
    """Returns which of the page's series colours so many lines take; grey comes late."""
    return [(1, 3, 2, 0, 4, 5)[number % len(SERIES)] for number in range(count)]


def _draw_measure(axes: Axes, table: Table, measure: str, places: np.ndarray, color: str) -> None:
    rows = [table.cells.get((measure, stage)) for stage in table.stages]
    known = [
        (x, row["mean"], row["low"], row["high"])
        for x, row in zip(places, rows, strict=True)
        if row is not None and row["mean"] is not None
    ]
    if known:
        x, mean, low, high = zip(*known, strict=True)
        axes.plot(x, mean, color=color, linewidth=1.1, alpha=0.45)
        axes.vlines(x, low, high, color=color, linewidth=2.2, alpha=0.55)
        axes.plot(x, mean, "o", color=color, markersize=5)


def _label_ends(axes: Axes, table: Table, measures: Sequence[str]) -> None:
    """Writes each measure's last value at the right, moved apart where they would overlap."""
    ends = []
    for number, measure in enumerate(measures):
        row = table.cells.get((measure, table.stages[-1]))
        if row is not None and row["mean"] is not None:
            ends.append((row["mean"], SERIES[number % len(SERIES)]))
    heights = _spread([mean for mean, _ in sorted(ends)], gap=0.055)
    for height, (mean, color) in zip(heights, sorted(ends), strict=True):
        place = len(table.stages) - 1 + 0.2
        text = f"{100 * mean:.0f}%"
        axes.text(place, height, text, color=color, va="center", fontweight="bold", fontsize=9)


def _spread(heights: list[float], gap: float) -> list[float]:
    """Moves sorted heights up or down until neighbours are a gap apart."""
    placed = list(heights)
    for _ in range(50):
        for below in range(len(placed) - 1):
            lack = gap - (placed[below + 1] - placed[below])
            if lack > 1e-9:
                placed[below] -= lack / 2
                placed[below + 1] += lack / 2
    return placed


def _draw_curve(axes: Axes, points: Points, color: str) -> None:
    """Draws a line, behind a smoothed one if the points are many."""
    finite = [(step, value) for step, value in points if math.isfinite(value)]
    if not finite:
        return
    steps, values = (np.asarray(column) for column in zip(*finite, strict=True))
    if len(values) < 30:
        axes.plot(steps, values, color=color, linewidth=1.4, marker="o", markersize=2)
        return
    axes.plot(steps, values, color=color, linewidth=0.7, alpha=0.3)
    axes.plot(steps, _smoothed(values), color=color, linewidth=1.5)


def _fit_height(axes: Axes, values: Sequence[float]) -> None:
    """Starts the axis at 0 where no value is below it; a metric that stays 0 ends it at 1."""
    low, high = axes.get_ylim()
    finite = [value for value in values if math.isfinite(value)]
    if low < 0 <= min(finite, default=0.0):
        axes.set_ylim(0, high if any(finite) else 1)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Averages over a window of a twentieth of the curve, cut at its ends."""
    reach = max(1, len(values) // 40)
    return np.array(
        [values[max(0, at - reach) : at + reach + 1].mean() for at in range(len(values))]
    )


def _as_svg(figure: Figure, label: str) -> str:
    """Returns an SVG element that scales with the page and takes its colours from it."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()[file.getvalue().index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="\w+_\d+"', "", svg)
    svg = re.sub(r'<svg [^>]*(viewBox="[^"]*")[^>]*>', r"<svg \1 %LABEL%>", svg, count=1)
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    escaped = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("%LABEL%", f'role="img" aria-label="{escaped}"', 1)
