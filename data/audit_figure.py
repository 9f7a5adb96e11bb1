"""The picture of an audit: density and passes over training."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from data.audit import Audit

INK, GREY = "#222831", "#8a94a3"
COLORS = ("#2563eb", "#d97706", "#059669", "#7c3aed", "#dc2626", "#0891b2", "#a16207", "#be185d")


def draw(path: Path, audit: "Audit", names: Sequence[str]) -> None:
    """Draws the density of every window beside what was asked for, and every source's passes.

    Args:
        path: The file, of a kind that its ending tells.
        audit: What was found.
        names: The sources, in the order of `audit.passes`.

    Raises:
        ValueError: If the file can't be written.
    """
    figure = Figure(figsize=(9, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    tokens = np.concatenate([[0], audit.ends]) * audit.one_sequence / 1e6
    _draw_density(above, tokens, audit)
    _draw_passes(below, tokens, audit, names)
    below.set_xlabel("million tokens of the stream")
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise ValueError(f"the picture {path} can't be written ({error}).") from error


def _draw_density(axes: Axes, tokens: np.ndarray, audit: "Audit") -> None:
    axes.stairs(audit.density, tokens, baseline=None, color=COLORS[0], linewidth=2, label="found")
    axes.stairs(
        audit.planned, tokens, baseline=None, color=INK, linewidth=1, linestyle=":", label="asked"
    )
    axes.set_ylim(0, max(1.15 * float(audit.density.max()), 0.05))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_title("Reasoning density: share of loss-bearing tokens in each window", loc="left")
    axes.legend(frameon=False, loc="upper left")
    _plain(axes)


def _draw_passes(axes: Axes, tokens: np.ndarray, audit: "Audit", names: Sequence[str]) -> None:
    passes = np.concatenate([np.zeros((1, len(names))), audit.passes])
    for source, name in enumerate(names):
        color = COLORS[source % len(COLORS)]
        axes.plot(tokens, passes[:, source], color=color, linewidth=2)
        axes.annotate(
            f"{name} {passes[-1, source]:.2f}",
            (tokens[-1], passes[-1, source]),
            xytext=(4, 0),
            textcoords="offset points",
            color=color,
            va="center",
            annotation_clip=False,
        )
    axes.set_ylim(bottom=0)
    axes.set_title("Passes over each source", loc="left")
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e5e7eb")
    axes.set_axisbelow(True)
    axes.tick_params(colors=GREY)
