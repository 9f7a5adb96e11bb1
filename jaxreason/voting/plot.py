"""A picture of how workers agree and how good they are. Needs matplotlib."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from jaxreason.voting.diagnostics import Diagnosis
from jaxreason.voting.table_labels import shown

INK, MUTED, ACCENT, ALARM = "#1f2933", "#7b8794", "#2b6cb0", "#c05621"
BLANK = "#e4e7eb"
MAX_NUMBERED = 8
MAX_TICKS = 40
MAX_NAME = 24


def plot_workers(
    names: Sequence[object],
    diagnosis: Diagnosis,
    *,
    accuracies: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> Figure:
    """Draws agreement, what independence doesn't explain of it, accuracies and weights.

    Workers stand in the same order everywhere, the most accurate first. Pairs that share no
    question are grey, pairs flagged as clones are framed, workers worse than chance are of another
    colour.

    Args:
        names: The workers' names.
        diagnosis: What `diagnose` says of their answers.
        accuracies: The workers' accuracies as the rule estimates them; by default those from their
            agreement, with intervals.
        weights: The weight of each worker's vote, if the rule has any.

    Returns:
        The figure, to be saved or shown.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxreason.voting.diagnostics import diagnose
        >>> answers = jnp.array([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 0, 1]])
        >>> diagnosis = diagnose(answers, 2, key=jax.random.key(0), resamples=5)
        >>> len(plot_workers(["ann", "ben", "eve"], diagnosis).axes)
        6
    """
    estimates = np.asarray(diagnosis.accuracies if accuracies is None else accuracies, float)
    order = np.argsort(-np.nan_to_num(estimates, nan=-1.0), kind="stable")
    numbers = [str(place) for place in range(1, len(order) + 1)]
    named = [f"{_short(names[agent])}  {n}" for agent, n in zip(order, numbers, strict=True)]
    side, height = (float(np.clip(0.2 * len(order), low, 8.0)) for low in (3.0, 1.4))
    layout = ConstrainedLayoutEngine(hspace=0.06, wspace=0.04)
    figure = Figure(figsize=(2 * side + 3.4, side + height + 1.6), layout=layout)
    panels = figure.subplots(2, 2, height_ratios=[side, height])
    square = np.ix_(order, order)
    met = np.asarray(diagnosis.counts)[square] > 0
    blank = np.where(met & ~np.eye(len(order), dtype=bool), 0.0, np.nan)
    excess = np.asarray(diagnosis.excess, float)[square] + blank
    reach = max(0.1, float(np.max(np.abs(excess), initial=0.0, where=np.isfinite(excess))))
    _matrix(panels[0, 0], np.asarray(diagnosis.agreement, float)[square] + blank, "Blues", 0.0, 1.0)
    _matrix(panels[0, 1], excess, "RdBu_r", -reach, reach)
    _frame(panels[0, 1], np.asarray(diagnosis.clones)[square])
    bounds = None if accuracies is not None else np.asarray(diagnosis.accuracy_bounds, float)[order]
    _draw_accuracies(panels[1, 0], diagnosis, order, estimates[order], bounds)
    if weights is None:
        panels[1, 1].set_visible(False)
    else:
        _draw_weights(panels[1, 1], np.asarray(weights, float)[order])
    titles = (
        "Agreement (0: chance, 1: always)",
        "Agreement beyond what independence predicts",
        "Accuracy (dotted: chance)",
        "Weight of a vote",
    )
    for axes, title in zip(panels.flat, titles, strict=True):
        axes.set_title(title, fontsize=9.5, color=INK, loc="left")
    ticks = range(0, len(order), -(-len(order) // MAX_TICKS))
    for axes in panels[0]:
        rotation = 90 if len(order) > 99 else 0
        axes.set_xticks(ticks, [numbers[tick] for tick in ticks], rotation=rotation)
    for axes, labels in zip(panels.flat, (named, numbers, named, numbers), strict=True):
        axes.set_yticks(ticks, [labels[tick] for tick in ticks], parse_math=False)
        axes.tick_params(length=0, labelsize=7.5, labelcolor=INK)
        axes.spines[:].set_visible(False)
    return figure


def _matrix(axes: Axes, values: np.ndarray, colors: str, low: float, high: float) -> None:
    """Draws a matrix, with its numbers if it is small."""
    axes.set_facecolor(BLANK)
    image = axes.imshow(values, cmap=colors, vmin=low, vmax=high)
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=0, labelcolor=MUTED)
    if len(values) > MAX_NUMBERED:
        return
    for row, column in np.argwhere(np.isfinite(values)):
        value = values[row, column]
        is_dark = max(value / high, value / low if low < 0 else 0.0) > 0.6
        text = f"{value:.2f}".replace("-0.00", "0.00")
        color = "white" if is_dark else INK
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)


def _frame(axes: Axes, clones: np.ndarray) -> None:
    """Frames the pairs that agree too often."""
    for row, column in np.argwhere(clones):
        box = Rectangle(
            (column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=1.2, zorder=3
        )
        axes.add_patch(box)


def _draw_accuracies(
    axes: Axes,
    diagnosis: Diagnosis,
    order: np.ndarray,
    estimates: np.ndarray,
    bounds: np.ndarray | None,
) -> None:
    rows = np.arange(len(order))
    worse = np.asarray(diagnosis.worse_than_chance)[order]
    label = "estimated by the rule"
    if bounds is not None:
        axes.hlines(rows, bounds[:, 0], bounds[:, 1], color=ACCENT, linewidth=2.5, alpha=0.5)
        label = "estimated from agreement"
    colors = list(np.where(worse, ALARM, ACCENT))
    if np.isfinite(estimates).any():
        axes.scatter(estimates, rows, c=colors, s=22, zorder=3, label=label, clip_on=False)
    labelled = np.asarray(diagnosis.labelled_accuracies, float)[order]
    if np.isfinite(labelled).any():
        ends = np.asarray(diagnosis.labelled_bounds, float)[order]
        axes.hlines(rows, ends[:, 0], ends[:, 1], color=MUTED, linewidth=0.8)
        axes.scatter(
            labelled, rows, marker="D", s=14, color="white", edgecolor=INK, zorder=3,
            label="on labelled tasks", clip_on=False,
        )  # fmt: skip
    if axes.get_legend_handles_labels()[1]:
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, 0.0),
            borderaxespad=2.5,
            ncols=2,
            fontsize=7,
            frameon=False,
        )
    axes.plot(np.asarray(diagnosis.chance)[order], rows, color=MUTED, linewidth=1, linestyle=":")
    axes.set_xlim(0.0, 1.0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, 0))
    _as_rows(axes, len(order))


def _draw_weights(axes: Axes, weights: np.ndarray) -> None:
    axes.barh(np.arange(len(weights)), np.nan_to_num(weights), height=0.6, color=ACCENT, alpha=0.75)
    axes.axvline(0.0, color=MUTED, linewidth=0.8)
    _as_rows(axes, len(weights))


def _short(name: object) -> str:
    """Returns a name that leaves room for the panels."""
    text = shown(name)
    return text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 1]}…"


def _as_rows(axes: Axes, rows: int) -> None:
    """Puts the first worker on top."""
    axes.set_ylim(rows - 0.5, -0.5)
    axes.grid(axis="x", color=BLANK, linewidth=0.6)
    axes.set_axisbelow(True)
