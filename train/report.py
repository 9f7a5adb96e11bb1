"""The page that a run leaves behind: runs/NAME/report.html, made from the files beside it.

It reads config.json, versions.json, metrics.jsonl, evaluation.json, samples.json, and of a run on
text pair.json and seconds.json; what is not there yet is said on the page. Text is escaped by the
template; figures are made here.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from data.number_answers import is_number
from train.metrics import read_metrics
from train.progress import clock
from train.report_figures import accuracy_figure, curve_figure, series_colors
from train.run_folder import flatten, read_json
from train.summary import Table, percent, points, tables_of, title
from train.text.votes import vote_of

HEADLINE = {
    "accuracy": "Accuracy",
    "without abstraction, sampled": "Without abstraction",
    "average over abstractions": "Average over abstractions",
    "best abstraction": "Best abstraction",
    "majority": "Voted (majority)",
    "without a hint": "Without a hint",
    "with hints": "With hints",
    "best hint": "Best hint",
    "majority without a hint": "Voted without a hint",
    "majority with hints": "Voted with hints",
}
SHOWN = 12
"""Questions of a run on text that are shown; its files have all."""


def write_report(run_path: Path | str) -> Path:
    """Writes the report of a run folder and returns its path.

    Args:
        run_path: The run folder; any of the files it is made from may be missing.
    """
    run_path = Path(run_path)
    evaluation = _read(run_path / "evaluation.json", {})
    pair = _read(run_path / "pair.json", {})
    evaluation |= {
        name: [*evaluation.get(name, []), *pair.get(name, [])] for name in ("rows", "differences")
    }
    seconds = evaluation.get("seconds") or _read(run_path / "seconds.json", {})
    tables = tables_of(evaluation)
    page = _template().render(
        name=run_path.resolve().name,
        tables=tables,
        headline=_headline(tables),
        claims=_claims(evaluation["differences"]),
        curves=_curves(read_metrics(run_path)),
        problems=_problems(_read(run_path / "samples.json", []), pair.get("stages", {})),
        durations=_durations(seconds),
        settings=_grouped(_read(run_path / "config.json", {})),
        versions=flatten(_read(run_path / "versions.json", {})),
    )
    path = run_path / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _read(path: Path, default: Any) -> Any:
    return read_json(path) if path.exists() else default


def _template() -> Any:
    """Returns the page's template; it escapes whatever is not made here."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"title_of": title, "percent": percent, "points": points}
    return environment.get_template("report.html")


def _headline(tables: Sequence[Table]) -> dict[str, Any] | None:
    """Returns the figures at the top and the last stage's numbers on the first split."""
    if not tables:
        return None
    first = tables[0]
    known = [measure for measure in HEADLINE if measure in first.measures]
    measures = known or first.measures[:4]
    tiles = [
        {"series": number, "label": HEADLINE.get(measure, measure), "row": row}
        for number, measure in enumerate(measures)
        if (row := first.cells.get((measure, first.stages[-1]))) is not None
    ]
    figures = [
        {"title": title(table.split), "svg": Markup(accuracy_figure(table, measures))}
        for table in tables
    ]
    labels = [HEADLINE.get(measure, measure) for measure in measures]
    return {
        "tiles": tiles,
        "figures": figures,
        "labels": labels,
        "stage": first.stages[-1],
        "split": first.split,
    }


def _claims(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Adds to each difference a verdict and its place, in per cent, on a scale common to all."""
    lowest = math.floor(20 * min((row["low"] for row in rows), default=0)) / 20
    highest = math.ceil(20 * max((row["high"] for row in rows), default=0)) / 20
    left, right = min(lowest, -0.05), max(highest, 0.05)
    claims = []
    for row in rows:
        verdict = "up" if row["low"] > 0 else "down" if row["high"] < 0 else "open"
        ends = {"low": row["low"], "mean": row["mean"] or 0.0, "high": row["high"], "zero": 0.0}
        places = {name: 100 * (value - left) / (right - left) for name, value in ends.items()}
        claims.append({**row, "verdict": verdict, "place": places})
    return {"rows": claims, "left": round(-100 * left), "right": round(100 * right)}


def _curves(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Draws each stage's metrics; those named `panel/line` share a panel."""
    panels: dict[str, dict[str, dict[str, list[tuple[int, float]]]]] = {}
    for row in rows:
        stage = panels.setdefault(row["stage"], {})
        for name, value in row.items():
            if name not in ("stage", "step"):
                panel, _, line = name.partition("/")
                points_so_far = stage.setdefault(panel, {}).setdefault(line or panel, [])
                points_so_far.append((row["step"], value))
    return [
        {"stage": stage, "figures": [_curve(name, lines) for name, lines in by_panel.items()]}
        for stage, by_panel in panels.items()
    ]


def _curve(name: str, lines: dict[str, list[tuple[int, float]]]) -> dict[str, Any]:
    """Returns a panel: its title, its lines' names and colours if several, its drawing."""
    colors = series_colors(len(lines))
    return {
        "title": title(name),
        "legend": list(zip(lines, colors, strict=True)) if len(lines) > 1 else [],
        "svg": Markup(curve_figure(title(name), lines)),
    }


def _problems(
    samples: Sequence[Mapping[str, Any]], stages: Mapping[str, Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Returns worked problems; those of a run on text as attempts: one a stage, or a hint."""
    shown = [
        {**sample, "attempts": _attempts(sample)} if "responses" in sample else sample
        for sample in samples[: SHOWN if any("responses" in each for each in samples) else None]
    ]
    for stage, told in stages.items():
        for sample in told["samples"][:SHOWN]:
            read = partial(_solutions, sample["answer"])
            hints = [
                {
                    "hint": hint["text"],
                    "leaks": hint["leaks"],
                    "solutions": read(hint["solutions"]),
                }
                for hint in sample["abstractions"]
            ]
            bare = {"title": "Without a hint", "solutions": read(sample["bare"])}
            shown.append({**sample, "split": stage, "attempts": [bare, *hints]})
    return shown


def _attempts(sample: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"title": title(stage), "solutions": _solutions(sample["answer"], told)}
        for stage, told in sample["responses"].items()
    ]


def _solutions(answer: str, told: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns responses with their final answers, which are cut where they are long."""
    number = is_number(answer)
    return [
        {
            "text": each["text"],
            "answer": vote_of(each["text"], is_number=number)[:60],
            "correct": None if each["reward"] is None else each["reward"] >= 1,
        }
        for each in told
    ]


def _durations(seconds: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """Returns how long each stage took, and its share of the longest."""
    known = {stage: taken for stage, taken in seconds.items() if taken is not None}
    longest = max(known.values(), default=math.inf) or math.inf
    rows = [
        {"name": title(stage), "clock": clock(taken), "share": 100 * taken / longest}
        for stage, taken in known.items()
    ]
    if rows:
        rows.append({"name": "In all", "clock": clock(sum(known.values())), "share": None})
    return rows


def _grouped(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the settings by their first name; those without a group come first."""
    groups: dict[str, dict[str, Any]] = {"general": {}}
    for name, value in config.items():
        if isinstance(value, dict):
            groups[name] = flatten(value)
        else:
            groups["general"][name] = value
    return {name: settings for name, settings in groups.items() if settings}
