"""What each stage achieved, as tables: for the terminal here, for the page in train.report.

An evaluation is what evaluation.json holds: `rows` of (stage, split, measure, mean, low, high,
count), `differences` of (claim, split, mean, low, high, count), and `seconds` a stage.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

TITLES = {
    "data": "Data",
    "base": "Base model",
    "pretrain": "Pretraining",
    "sft": "Fine-tuning",
    "sft_abstraction": "Warm start of the abstraction generator",
    "sft_solution": "Warm start of the solution generator",
    "rl": "Two-player RL",
    "evaluate_pretrain": "Evaluation of the base model",
    "evaluate_base": "Evaluation of the base model",
    "evaluate_sft": "Evaluation of the warm starts",
    "evaluate_rl": "Evaluation of the trained players",
    "evaluate": "Evaluation",
    "compare": "Comparison of players",
    "kl": "KL divergence",
}
NOTE = "Per cent of held-out problems, with 95% confidence intervals over problems."
NOTHING = "Nothing has been evaluated yet."


@dataclasses.dataclass(frozen=True)
class Table:
    """The rows of one held-out split, arranged by measure and stage."""

    split: str
    stages: list[str]
    measures: list[str]
    cells: dict[tuple[str, str], Mapping[str, Any]]
    count: int


def tables_of(evaluation: Mapping[str, Any]) -> list[Table]:
    """Returns one table a split; splits, stages and measures in order of first appearance."""
    rows = evaluation.get("rows", [])
    tables = []
    for split in _in_order(rows, "split"):
        own = [row for row in rows if row["split"] == split]
        cells = {(row["measure"], row["stage"]): row for row in own}
        count = max(row["count"] for row in own)
        tables.append(
            Table(split, _in_order(own, "stage"), _in_order(own, "measure"), cells, count)
        )
    return tables


def summary_table(evaluation: Mapping[str, Any]) -> str:
    """Returns the tables and the claims as text for the terminal."""
    blocks = [_as_text(table) for table in tables_of(evaluation)]
    claims = [
        f"  {points(row):<22}  {row['claim']} ({title(row['split']).lower()})"
        for row in evaluation.get("differences", [])
    ]
    if claims:
        blocks.append("\n".join(["Differences, in percentage points", *claims]))
    return "\n\n".join([*blocks, NOTE] if blocks else [NOTHING])


def title(name: str) -> str:
    """Returns how a stage, split or metric is called on the page."""
    words = name.replace("_", " ")
    return TITLES.get(name) or words[:1].upper() + words[1:]


def percent(value: float | None) -> str:
    """Returns a share as a number of per cent, a dash if it is not known."""
    unknown = value is None or not math.isfinite(value)
    return "–" if unknown else f"{100 * value:.1f}"


def points(row: Mapping[str, Any]) -> str:
    """Returns a difference with its sign and interval, as in `+12.5 [+8.1, +16.9]`."""
    mean, low, high = (_signed(row[name]) for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _signed(value: float | None) -> str:
    text = percent(value)
    return text.replace("-", "−") if text.startswith(("-", "–")) else f"+{text}"


def _as_text(table: Table) -> str:
    head = [f"{title(table.split)} ({table.count} problems)", *map(title, table.stages)]
    lines = [head]
    for measure in table.measures:
        cells = (table.cells.get((measure, stage)) for stage in table.stages)
        lines.append([f"  {measure}", *map(_cell, cells)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    return f"{percent(row['mean']):>5} [{percent(row['low'])}, {percent(row['high'])}]"


def _in_order(rows: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    return list(dict.fromkeys(row[name] for row in rows))
