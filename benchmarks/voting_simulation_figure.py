"""The figure of the simulations: what each rule gains over majority, a panel a table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, RULE = "#22262b", "#6b7280", "#e5e7eb"
SETTINGS = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "grid.color": RULE,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "ytick.left": False,
    "savefig.dpi": 160,
}
GIVEN = MappingProxyType(  # the baseline, and rules that are told what they could not know
    {
        "majority": {"color": MUTED, "marker": "", "linewidth": 1.2},
        "best single": {"color": "#9ca3af", "marker": "D", "linestyle": ":"},
        "OW, true accuracies": {"color": INK, "marker": "", "linestyle": "--"},
        "Bayes optimal, true model": {"color": INK, "marker": "", "linewidth": 0.9},
    }
)
COLORS = (  # with the markers, of up to ten rules that learn
    *("#b45309", "#2563eb", "#0d9488", "#dc2626", "#f59e0b"),
    *("#16a34a", "#0ea5e9", "#db2777", "#84cc16", "#7c3aed"),
)
MARKERS = "vosp^XP<>*"
LOWEST = -15.0  # points; what is further below (SP in crowds) would flatten the rest
VARIABLES = MappingProxyType(
    {
        "K": "options",
        "questions": "questions in a data set",
        "answers": "answers of an agent",
        "rho": "how often it copies",
        "sd": "spread of the difficulties (sd in logits)",
    }
)


def save_figure(cells: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws the gains over majority, with 95% intervals for rules that must learn, as a PNG.

    Args:
        cells: `table`, `variable`, `value`, `rule`, `gain` and `gain_margin` (as fractions) of each
            rule in each setting.
        path: Where to.
    """
    tables = list(dict.fromkeys(cell["table"] for cell in cells))
    rules = list(dict.fromkeys(cell["rule"] for cell in cells))
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(15.0, 7.4), layout="constrained")
        figure.get_layout_engine().set(hspace=0.06, wspace=0.04)
        panels = figure.subplots(2, 4).flat
        for axes, table in zip(panels, tables, strict=False):
            _draw_panel(axes, [cell for cell in cells if cell["table"] == table], rules)
            axes.set_title(table)
        _draw_key(panels[len(tables)], panels[0])
        for axes in panels[len(tables) + 1 :]:
            axes.set_axis_off()
        figure.savefig(path)


def _draw_panel(axes: Axes, cells: Sequence[Mapping[str, Any]], rules: Sequence[str]) -> None:
    """Draws a line a rule, points moved aside a little where rules coincide."""
    values = list(dict.fromkeys(cell["value"] for cell in cells))
    for number, rule in enumerate(rules):
        of_rule = [cell for cell in cells if cell["rule"] == rule]
        shift = 0.0 if rule in GIVEN else 0.03 * (number - len(rules) / 2)
        if not of_rule:
            continue
        places = [values.index(cell["value"]) + shift for cell in of_rule]
        gains = [100 * cell["gain"] for cell in of_rule]
        margins = [100 * cell["gain_margin"] for cell in of_rule]
        style = _style(rule, rules)
        axes.plot(places, gains, label=rule, markersize=4.5, **style)
        if rule not in GIVEN:
            axes.errorbar(places, gains, margins, fmt="none", ecolor=style["color"], elinewidth=0.9)
    axes.set_ylim(bottom=max(axes.get_ylim()[0], LOWEST))
    axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    axes.set_xlabel(VARIABLES[cells[0]["variable"]])
    axes.set_ylabel("points over majority")


def _draw_key(axes: Axes, panel: Axes) -> None:
    """Names the rules in a panel of their own."""
    axes.set_axis_off()
    handles, labels = panel.get_legend_handles_labels()
    axes.legend(handles, labels, loc="center left", frameon=False, fontsize=10, labelspacing=0.7)


def _style(rule: str, rules: Sequence[str]) -> dict[str, Any]:
    """Returns how to draw a rule: grey or black if it is in `GIVEN`, else in a colour."""
    if rule in GIVEN:
        return {"linewidth": 1.4} | GIVEN[rule]
    place = [name for name in rules if name not in GIVEN].index(rule)
    return {"color": COLORS[place], "marker": MARKERS[place], "linewidth": 1.4}
