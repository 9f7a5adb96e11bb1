"""The figure of a run on text: losses, the game's successes, and what was measured."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train.metrics import read_metrics
from train.run_folder import read_json
from train.summary import title
from train.text.measures import ACCURACY

COLORS = ("#2563eb", "#d97706", "#059669", "#64748b")
GAME = {
    "with a hint": "success/with_abstraction",
    "without": "success/without_abstraction",
    "best hint": "success/best_abstraction",
    "leaks": "abstraction/leak",
}
_Panel = Callable[[Axes], None]


def save_figure(run_path: Path) -> Path:
    """Draws what a run folder has, as `figure.png` beside it.

    Args:
        run_path: The folder; whichever of metrics.jsonl, evaluation.json and pair.json are there
            get a panel.
    """
    rows = read_metrics(run_path)
    measured = [
        row
        for name in ("evaluation.json", "pair.json")
        if (run_path / name).exists()
        for row in read_json(run_path / name)["rows"]
        if row["count"] and (name == "pair.json" or row["measure"] == ACCURACY)
    ]
    panels: list[_Panel] = []
    if losses := _losses(rows):
        panels.append(lambda axes: _draw_lines(axes, losses, "loss, nats a token", "updates"))
    if game := _game(rows):
        panels.append(lambda axes: _draw_lines(axes, game, "share", "rounds"))
    if measured:
        panels.append(lambda axes: _draw_measured(axes, measured))
    count = max(len(panels), 1)
    height = max(3.4, 0.2 * len(measured))
    figure = Figure(figsize=(4.2 * count, height), layout="constrained")
    for axes, draw in zip(figure.subplots(1, count, squeeze=False)[0], panels, strict=False):
        draw(axes)
    path = run_path / "figure.png"
    figure.savefig(path, dpi=120)
    return path


def _losses(rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    stages = dict.fromkeys(row["stage"] for row in rows if "loss" in row)
    return {
        title(stage): np.array([(r["step"], r["loss"]) for r in rows if r["stage"] == stage])
        for stage in stages
    }


def _game(rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {
        label: np.array(points)
        for label, name in GAME.items()
        if (points := [(r["step"], r[name]) for r in rows if np.isfinite(r.get(name, np.nan))])
    }


def _draw_lines(axes: Axes, lines: dict[str, np.ndarray], label: str, steps: str) -> None:
    """Draws lines `[point, (step, value)]`, smoothed where they have many points."""
    for (name, points), color in zip(lines.items(), COLORS, strict=False):
        at, values = points.T
        reach = len(values) // 15
        smooth = [
            values[max(0, place - reach) : place + reach + 1].mean() for place in range(len(values))
        ]
        axes.plot(at, values, color=color, alpha=0.25, linewidth=0.8)
        axes.plot(at, smooth, color=color, label=name)
    axes.set(xlabel=steps, ylabel=label)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)


def _draw_measured(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """Draws every mean with its interval."""
    places = np.arange(len(rows))
    means, lows, highs = (100 * np.array([row[k] for row in rows]) for k in ("mean", "low", "high"))
    axes.errorbar(
        means, places, xerr=(means - lows, highs - means), fmt="o", color=COLORS[0], capsize=2
    )
    labels = [f"{title(row['stage'])}: {row['measure']}" for row in rows]
    axes.set_yticks(places, labels, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("test questions, %, intervals of 95%", fontsize=8)
    axes.grid(axis="x", alpha=0.3)
