"""What came out of the studies: tables with intervals over seeds, and figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train.intervals import Estimate, seed_interval
from train.rlad.arms import GRPO, RLAD, TITLES, WARM

COLORS = ("#2563eb", "#d97706", "#059669", "#7c3aed", "#dc2626", "#64748b", "#0891b2")
SPLIT_TITLES = {
    "new_instances": "new instances",
    "new_compositions": "new compositions",
    "hard": "hard instances",
}
CONTROL_TITLES = {
    "partner": "its partner's",
    "shuffled": "another problem's",
    "generic": "a generic one",
    "oracle": "the true rule",
    "none": "none",
}
MEASURES = {"pass": "pass@", "vote": "majority"}
Cells = dict[str, dict[str, Any]]


def points(estimate: Estimate) -> str:
    """Returns a mean and its interval in points of a hundred."""
    return f"{100 * estimate.mean:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def difference(left: Sequence[float], right: Sequence[float]) -> str:
    """Returns a paired difference over seeds in points, with its sign."""
    found = seed_interval(np.subtract(left, right))
    return f"{100 * found.mean:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _differences(left: Sequence, right: Sequence) -> list[str]:
    """Returns paired differences over seeds, a dash where one side was not measured."""
    return [
        difference(a, b) if a is not None and b is not None else "-"
        for a, b in zip(left, right, strict=True)
    ]


def single_policy(cells: Cells, folder: Path) -> str:
    """Study 1: RLAD against GRPO of one policy at equal generated tokens."""
    rlad, grpo, warm = cells[RLAD], cells[GRPO], cells[WARM]
    rows = []
    for split, title in SPLIT_TITLES.items():
        a, b, w = (cell["scores"][split] for cell in (rlad, grpo, warm))
        rows.append(
            [
                title,
                points(seed_interval(w["bare"])),
                points(seed_interval(w["average"])),
                points(seed_interval(b["bare"])),
                points(seed_interval(a["bare"])),
                points(seed_interval(a["average"])),
                difference(a["average"], b["bare"]),
            ]
        )
    header = (
        *("problems", "warm start, none", "warm start, with", "GRPO"),
        *("RLAD, none", "RLAD, with", "RLAD with - GRPO"),
    )
    spent = ", ".join(
        f"{TITLES[arm]} {cells[arm]['generated_tokens'] / 1e6:.2f} million" for arm in (RLAD, GRPO)
    )
    budgets = [16, 32, 64, 128]
    equal = []
    for split, title in SPLIT_TITLES.items():
        for measure in ("pass", "vote"):
            left = [_along(rlad, split, measure, 1, budget) for budget in budgets]
            right = [_plain(grpo, split, measure, budget) for budget in budgets]
            equal.append([title, MEASURES[measure], *_differences(left, right)])
    _budget_figure(rlad, grpo, folder / "single_policy.png")
    return "\n\n".join(
        [
            "Success of one sample, in points, without and with an abstraction:",
            table(header, rows),
            f"Generated tokens in training, a seed: {spent}.",
            "RLAD (one solution for each abstraction) less GRPO at equal generated tokens a "
            "problem, in points:",
            table(("problems", "measure", *(f"{b} tokens" for b in budgets)), equal),
        ]
    )


def allocation(cells: Cells, folder: Path) -> str:
    """Study 2: more abstractions against more solutions at equal tokens."""
    cell = cells["allocation"]
    budgets = [32, 64, 128]
    rows = []
    for split, title in SPLIT_TITLES.items():
        for measure in ("pass", "vote"):
            one = _one_abstraction(cell, split, measure, budgets)
            for k in (1, 4):
                many = [_along(cell, split, measure, k, budget) for budget in budgets]
                rows.append([title, MEASURES[measure], f"{k} a piece", *_differences(many, one)])
    _allocation_figure(cell, folder / "allocation.png")
    return "\n\n".join(
        [
            "Many abstractions with 1 or 4 solutions each, less one abstraction with all "
            "solutions, at equal generated tokens a problem, in points:",
            table(("problems", "measure", "solutions", *(f"{b} tokens" for b in budgets)), rows),
        ]
    )


def ablations(cells: Cells, folder: Path) -> str:
    """Study 3: what each part of the game does."""
    rows = []
    pairs = [(RLAD, "")]
    pairs += [(arm, RLAD) for arm in ("naive", "shared", "joint", "no_kl", "no_entropy")]
    pairs += [("alternating", RLAD), ("rft", "alternating"), ("preference", "alternating")]
    for arm, against in pairs:
        a, b = (cells[name or arm]["scores"]["new_instances"] for name in (arm, against))
        less = f"{difference(a['average'], b['average'])} ({TITLES[against]})" if against else "-"
        curve = lambda name, arm=arm: _last(cells[arm], name)  # noqa: E731
        rows.append(
            [
                TITLES[arm],
                points(seed_interval(a["average"])),
                less,
                difference(a["average"], a["bare"]),
                points(seed_interval(a["adherence"])),
                points(seed_interval(a["right"])),
                curve("abstraction/distinct"),
            ]
        )
    header = (
        *("arm", "with abstractions", "less another arm", "with - without"),
        *("solutions that follow", "right abstractions", "distinct in the end"),
    )
    _curve_figure(cells, folder / "ablations.png")
    return "\n\n".join(["New instances, in points:", table(header, rows)])


def controls(cells: Cells, folder: Path) -> str:
    """Study 4: whose abstraction helps."""
    scores = {TITLES[arm]: splits for arm, splits in cells["controls"]["scores"].items()}
    told = "Success of one sample given RLAD's generator's abstractions:"
    _control_figure(scores, folder / "controls.png")
    return f"{told}\n\n{_control_tables(scores, 'solver', 'generic')}"


def weak_to_strong(cells: Cells, folder: Path) -> str:
    """Study 5: a larger solver with the small proposer's abstractions."""
    found = cells["weak_to_strong"]["scores"]
    scores = {f"{TITLES[arm]}'s generator": splits for arm, splits in found.items()}
    told = "Success of one sample of a larger solver that played no game:"
    _control_figure(scores, folder / "weak_to_strong.png")
    return f"{told}\n\n{_control_tables(scores, 'abstractions', 'none')}"


def _control_tables(scores: dict[str, dict], who: str, against: str) -> str:
    """Returns success under every control, then adherence, each with its partner's less another's.

    Without an abstraction, adherence is to its partner's, which the solver did not see.
    """
    success = _control_table(scores, "success", who, CONTROL_TITLES, against)
    titles = CONTROL_TITLES | {"none": "its partner's, not shown"}
    told = "How many of its solutions do what an abstraction says:"
    return f"{success}\n\n{told}\n\n{_control_table(scores, 'adherence', who, titles, 'none')}"


def _control_table(
    scores: dict[str, dict], measure: str, who: str, titles: dict[str, str], against: str
) -> str:
    rows = [
        [
            SPLIT_TITLES[split],
            name,
            *(points(seed_interval(by[control][measure])) for control in titles),
            difference(by["partner"][measure], by[against][measure]),
        ]
        for name, splits in scores.items()
        for split, by in splits.items()
    ]
    last = f"its partner's less {titles[against]}"
    return table(("problems", who, *titles.values(), last), rows)


def _cost(cell: dict, split: str, m: int, k: int) -> np.ndarray:
    """Returns the generated tokens of m x k for each seed."""
    tokens = {name: np.array(cell["scores"][_split(split)][f"tokens/{name}"]) for name in _COSTS}
    return m * (tokens["abstraction"] + k * tokens["solution"])


_COSTS = ("abstraction", "solution", "bare")


def _split(split: str) -> str:
    return "new_instances" if split == "hard" else split


def _sizes(cell: dict, split: str, measure: str) -> list[tuple[int, int]]:
    names = [name for name in cell["scores"][split] if name.startswith(f"{measure}/")]
    pairs = [name.partition("/")[2].split(" x ") for name in names if " x " in name]
    return sorted((int(m), int(k)) for m, k in pairs)


def _counts(cell: dict, split: str, measure: str) -> list[int]:
    """Returns the numbers of solutions without an abstraction that were scored together."""
    names = [name for name in cell["scores"][split] if name.startswith(f"{measure}/")]
    return sorted(int(name.partition("/")[2]) for name in names if " x " not in name)


def _interpolated(costs: list, values: list, budget: float) -> np.ndarray | None:
    """Returns each seed's score at a budget, linear in the logarithm of tokens; None outside."""
    costs, values = np.array(costs), np.array(values)
    if (np.diff(costs, axis=0) <= 0).any():
        raise ValueError("costs to interpolate between must increase.")
    if not len(costs) or (costs.min(0) > budget).any() or (costs.max(0) < budget).any():
        return None
    return np.array(
        [np.interp(np.log(budget), np.log(c), v) for c, v in zip(costs.T, values.T, strict=True)]
    )


def _along(cell: dict, split: str, measure: str, k: int, budget: float) -> np.ndarray | None:
    """Returns the score at a budget of ever more abstractions with k solutions each."""
    sizes = [m for m, each in _sizes(cell, split, measure) if each == k]
    scores = cell["scores"][split]
    costs = [_cost(cell, split, m, k) for m in sizes]
    return _interpolated(costs, [scores[f"{measure}/{m} x {k}"] for m in sizes], budget)


def _one_abstraction(cell: dict, split: str, measure: str, budgets: list) -> list:
    sizes = [k for m, k in _sizes(cell, split, measure) if m == 1]
    scores = cell["scores"][split]
    costs = [_cost(cell, split, 1, k) for k in sizes]
    values = [scores[f"{measure}/1 x {k}"] for k in sizes]
    return [_interpolated(costs, values, budget) for budget in budgets]


def _plain(cell: dict, split: str, measure: str, budget: float) -> np.ndarray | None:
    """Returns the score at a budget of ever more solutions without an abstraction."""
    scores = cell["scores"][split]
    counts = _counts(cell, split, measure)
    each = np.array(cell["scores"][_split(split)]["tokens/bare"])
    values = [scores[f"{measure}/{count}"] for count in counts]
    return _interpolated([count * each for count in counts], values, budget)


def _last(cell: dict, name: str) -> str:
    curve = cell["curves"].get(name)
    return points(seed_interval(curve[-1])) if curve else "-"


def _line(axes: Axes, x: np.ndarray, values: np.ndarray, label: str, color: str) -> None:
    """Draws the mean over seeds `[point, seed]` with its interval."""
    found = [seed_interval(row) for row in values]
    axes.plot(x, [100 * each.mean for each in found], color=color, label=label, marker="o", ms=3)
    low, high = ([100 * getattr(each, end) for each in found] for end in ("low", "high"))
    axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)


def _budget_figure(rlad: dict, grpo: dict, path: Path) -> None:
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    grid = figure.subplots(2, 3, sharex=True)
    for row, measure in zip(grid, ("pass", "vote"), strict=True):
        for axes, (split, title) in zip(row, SPLIT_TITLES.items(), strict=True):
            solutions = sorted({k for _, k in _sizes(rlad, split, measure)})
            for k, color in zip(solutions, COLORS, strict=False):
                sizes = [m for m, each in _sizes(rlad, split, measure) if each == k]
                costs = [_cost(rlad, split, m, k).mean() for m in sizes]
                values = [rlad["scores"][split][f"{measure}/{m} x {k}"] for m in sizes]
                _line(axes, costs, values, f"RLAD, {k} a piece", color)
            scores = grpo["scores"][split]
            counts = _counts(grpo, split, measure)
            each = np.mean(grpo["scores"][_split(split)]["tokens/bare"])
            values = [scores[f"{measure}/{count}"] for count in counts]
            _line(axes, [count * each for count in counts], values, "GRPO", COLORS[5])
            axes.set_xscale("log", base=2)
            axes.set_title(f"{title}, {MEASURES[measure]}", fontsize=9)
            axes.grid(alpha=0.3)
    grid[0, 0].legend(fontsize=7)
    figure.supxlabel("generated tokens a problem, both players", fontsize=9)
    figure.supylabel("solved, %", fontsize=9)
    figure.savefig(path, dpi=120)


def _allocation_figure(cell: dict, path: Path) -> None:
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    grid = figure.subplots(2, 3, sharex=True)
    for row, measure in zip(grid, ("pass", "vote"), strict=True):
        for axes, (split, title) in zip(row, SPLIT_TITLES.items(), strict=True):
            for m, color in zip((1, 2, 4, 8, 16), COLORS, strict=False):
                sizes = [k for each, k in _sizes(cell, split, measure) if each == m]
                costs = [_cost(cell, split, m, k).mean() for k in sizes]
                values = [cell["scores"][split][f"{measure}/{m} x {k}"] for k in sizes]
                name = "abstraction" if m == 1 else "abstractions"
                _line(axes, costs, values, f"{m} {name}", color)
            axes.set_xscale("log", base=2)
            axes.set_title(f"{title}, {MEASURES[measure]}", fontsize=9)
            axes.grid(alpha=0.3)
    grid[0, 0].legend(fontsize=7)
    figure.supxlabel("generated tokens a problem, both players", fontsize=9)
    figure.supylabel("solved, %", fontsize=9)
    figure.savefig(path, dpi=120)


def _curve_figure(cells: Cells, path: Path) -> None:
    figure = Figure(figsize=(9, 6), layout="constrained")
    grid = figure.subplots(2, 3)
    groups = (
        (RLAD, "naive", "no_kl", "no_entropy"),
        (RLAD, "shared", "joint"),
        ("alternating", "rft", "preference"),
    )
    shown = (
        ("success/with_abstraction", "solved with one, %"),
        ("abstraction/distinct", "distinct abstractions, %"),
    )
    for row, (name, label) in zip(grid, shown, strict=True):
        for axes, arms in zip(row, groups, strict=True):
            for arm, color in zip(arms, COLORS, strict=False):
                curve = np.array(cells[arm]["curves"][name])
                _line(axes, np.arange(1, len(curve) + 1), curve, TITLES[arm], color)
            axes.set_ylabel(label, fontsize=8)
            axes.grid(alpha=0.3)
            axes.legend(fontsize=7)
    figure.supxlabel("chunks of iterations", fontsize=9)
    figure.savefig(path, dpi=120)


def _control_figure(scores: dict[str, dict], path: Path) -> None:
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(scores)
    for number, (name, splits) in enumerate(scores.items()):
        by = splits["new_instances"]
        found = [seed_interval(by[control]["success"]) for control in CONTROL_TITLES]
        means = np.array([100 * each.mean for each in found])
        errors = np.array([[100 * each.low, 100 * each.high] for each in found]).T
        place = np.arange(len(found)) + (number - (len(scores) - 1) / 2) * width
        bars = np.abs(errors - means)
        axes.bar(place, means, width * 0.9, yerr=bars, color=COLORS[number], label=name, capsize=2)
    axes.set_xticks(np.arange(len(CONTROL_TITLES)), list(CONTROL_TITLES.values()), fontsize=9)
    axes.set_ylabel("solved with one sample, %", fontsize=9)
    axes.legend(fontsize=8)
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=120)
