"""The figure of the real answers: what each rule gains over majority, a panel a family of pools."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from benchmarks.voting_simulation_figure import INK, MUTED, SETTINGS

GIVEN = "#9ca3af"
OURS = "#2563eb"
LABELS = "#0d9488"
PEER = "#f59e0b"


def save_figure(summaries: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws the mean gains over majority with 95% intervals, as a PNG.

    Args:
        summaries: `family`, `rule`, `gain`, `margin` and `accuracy` (as fractions) of each rule.
        path: Where to.
    """
    families = list(dict.fromkeys(s["family"] for s in summaries))
    rules = [s["rule"] for s in summaries if s["family"] == families[0] and s["rule"] != "majority"]
    settings = {**SETTINGS, "axes.grid.axis": "x", "ytick.color": INK}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(3.2 * len(families) + 2.2, 0.25 * len(rules) + 1.2))
        axes = figure.subplots(1, len(families), sharey=True, squeeze=False)[0]
        for panel, family in zip(axes, families, strict=True):
            of = {s["rule"]: s for s in summaries if s["family"] == family}
            shown = [rule for rule in rules if rule in of]
            places = [rules.index(rule) for rule in shown]
            gains = [100 * of[rule]["gain"] for rule in shown]
            margins = [100 * (of[rule]["margin"] or 0.0) for rule in shown]
            colors = [_color(rule) for rule in shown]
            panel.barh(places, gains, xerr=margins, color=colors, height=0.7, ecolor=INK)
            panel.axvline(0.0, color=MUTED, linewidth=0.8)
            panel.set_title(f"{family} ({of['majority']['pools']})")
            panel.set_xlabel(f"points above majority ({100 * of['majority']['accuracy']:.1f}%)")
        axes[0].set_yticks(range(len(rules)), rules)
        axes[0].invert_yaxis()
        figure.tight_layout()
        figure.savefig(path)


def _color(rule: str) -> str:
    if rule.startswith("crowd-kit"):
        return PEER
    if "true" in rule or "truly" in rule:
        return GIVEN
    return LABELS if "labels" in rule else OURS
