"""The outcome of the grid: the table of hypotheses, the scores of every cell, the figures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train.front_loading.grid import MAIN, Cell
from train.front_loading.hypotheses import (
    HYPOTHESES,
    MARGIN,
    Scores,
    Verdict,
    judge,
    paired_interval,
)

COLORS = {"none": "#8a94a3", "shq": "#d97706", "ldq": "#2563eb", "lmq": "#7c3aed"}
TITLES = {"none": "no reasoning", "shq": "SHQ", "ldq": "LDQ", "lmq": "LMQ"}
MEASURES = ("seen", "unseen", "forms", "general_loss")


def write_report(scores: Scores, folder: Path) -> str:
    """Writes tables and figures of the finished cells.

    Args:
        scores: The finished cells.
        folder: Where `hypotheses.md`, `cells.md`, `stages.png`, `catch_up.png` and `shares.png` go.

    Returns:
        The table of hypotheses.
    """
    seeds = sorted({cell.seed for cell in scores})
    table = hypotheses_table([judge(hypothesis, scores, seeds) for hypothesis in HYPOTHESES])
    (folder / "hypotheses.md").write_text(table, encoding="utf-8")
    (folder / "cells.md").write_text(cells_table(scores), encoding="utf-8")
    for name, draw in (("stages", _stages), ("catch_up", _catch_up), ("shares", _shares)):
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        draw(figure, scores)
        figure.savefig(folder / f"{name}.png", dpi=120)
    return table


def hypotheses_table(verdicts: Sequence[Verdict]) -> str:
    """Returns the table of hypotheses as Markdown."""
    lines = [
        "| | claim | paper | here | 95% interval | seeds | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for verdict in verdicts:
        hypothesis = verdict.hypothesis
        scale, digits = (1, 3) if hypothesis.measure == "general_loss" else (100, 1)
        effect, low, high = (
            f"{scale * value:+.{digits}f}" if np.isfinite(value) else "-"
            for value in (verdict.effect, verdict.low, verdict.high)
        )
        cells = (
            *(hypothesis.number, hypothesis.claim, hypothesis.paper, effect),
            *(f"{low} to {high}", str(verdict.seeds), verdict.verdict),
        )
        lines.append(f"| {' | '.join(cells)} |")
    margins = ", ".join(f"{name} {value:g}" for name, value in MARGIN.items())
    return "\n".join([*lines, "", f"No effect means an interval within: {margins}.", ""])


def cells_table(scores: Scores) -> str:
    """Returns the mean scores of every kind of cell over its seeds as Markdown."""
    kinds: dict[str, list[Cell]] = {}
    for cell in scores:
        kinds.setdefault(cell.name.rpartition("-seed")[0], []).append(cell)
    lines = [
        f"| model | {' | '.join(name.replace('_', ' ') for name in MEASURES)} | seeds |",
        f"| --- |{' --- |' * (len(MEASURES) + 1)}",
    ]
    for kind, cells in sorted(kinds.items()):
        means = [np.mean([scores[cell][name] for cell in cells]) for name in MEASURES]
        shown = [
            f"{mean:.3f}" if name == "general_loss" else f"{100 * mean:.1f}"
            for name, mean in zip(MEASURES, means, strict=True)
        ]
        lines.append(f"| {kind} | {' | '.join(shown)} | {len(cells)} |")
    return "\n".join([*lines, ""])


def _values(scores: Scores, arm: str, measure: str, **stage: object) -> list[float]:
    cells = (Cell(seed, arm, **stage) for seed in sorted({cell.seed for cell in scores}))
    return [scores[cell][measure] for cell in cells if cell in scores]


def _bar(axes: Axes, place: float, values: Sequence[float], color: str, width: float) -> None:
    if not values:
        return
    mean, low, _ = paired_interval(values)
    error = 100 * (mean - low) if np.isfinite(low) else 0
    axes.bar(place, 100 * mean, width, color=color, yerr=error, ecolor="#222831", capsize=2)


def _stages(figure: Figure, scores: Scores) -> None:
    """Draws accuracy after every stage, a bar an arm."""
    stages = (
        ("pretraining", {}),
        ("+ SFT\non LDQ", {"sft": "ldq"}),
        ("+ SFT\non SHQ", {"sft": "shq"}),
        ("+ RL", {"sft": "shq", "rl": True}),
    )
    for axes, measure in zip(figure.subplots(1, 2, sharey=True), ("seen", "unseen"), strict=True):
        for number, arm in enumerate(MAIN):
            for place, (_, stage) in enumerate(stages):
                shift = 0.2 * (number - 1.5)
                _bar(axes, place + shift, _values(scores, arm, measure, **stage), COLORS[arm], 0.18)
        axes.set_xticks(range(len(stages)), [name for name, _ in stages])
        _plain(axes, f"Accuracy on families {measure}, %")
    handles = [axes.bar(0, 0, color=COLORS[arm], label=TITLES[arm]) for arm in MAIN]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)


def _catch_up(figure: Figure, scores: Scores) -> None:
    """Draws the base without reasoning data against more and more fine-tuning."""
    axes = figure.subplots()
    times = (1, 2, 4)
    found = [(n, _values(scores, "none", "reasoning", sft="shq", times=n)) for n in times]
    points = [(n, *paired_interval(values)) for n, values in found if values]
    if points:
        places, means, lows, _ = (np.array(part) for part in zip(*points, strict=True))
        errors = np.where(np.isfinite(lows), means - lows, 0)
        axes.errorbar(
            places,
            100 * means,
            100 * errors,
            color=COLORS["none"],
            marker="o",
            label="base without reasoning data",
        )
    for arm in MAIN[1:]:
        values = _values(scores, arm, "reasoning", sft="shq")
        if values:
            label = f"{TITLES[arm]} base, 1x"
            axes.axhline(100 * np.mean(values), color=COLORS[arm], linestyle="--", label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(times, [f"{n}x" for n in times])
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    _plain(axes, "Accuracy after fine-tuning on SHQ, %")


def _shares(figure: Figure, scores: Scores) -> None:
    """Draws accuracy and forms against the share of LMQ in pretraining."""
    shares = (("none", 0), ("lmq10", 10), ("lmq", 20), ("lmq40", 40))
    panels = (
        ("reasoning", {}, "Accuracy after pretraining, %"),
        ("reasoning", {"sft": "shq"}, "... after SFT on SHQ, %"),
        ("forms", {"sft": "shq"}, "... and forms obeyed, %"),
    )
    for axes, (measure, stage, name) in zip(figure.subplots(1, 3), panels, strict=True):
        for arm, share in shares:
            values = _values(scores, arm, measure, **stage)
            if values:
                mean, low, _ = paired_interval(values)
                error = 100 * (mean - low) if np.isfinite(low) else 0
                axes.errorbar(share, 100 * mean, error, color=COLORS["lmq"], marker="o")
        axes.set_xticks([share for _, share in shares])
        axes.set_xlabel("share of reasoning tokens, %")
        _plain(axes, name)


def _plain(axes: Axes, name: str) -> None:
    axes.set_title(name, loc="left", fontsize=10)
    axes.set_ylim(0, min(axes.get_ylim()[1], 102))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e5e7eb")
    axes.set_axisbelow(True)
