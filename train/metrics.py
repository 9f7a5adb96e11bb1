"""What training measures: rows of JSON that survive a kill, and TensorBoard events.

A metric named `panel/line`, as in `reward/solver`, is drawn with the others of its panel.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

FILE = "metrics.jsonl"


class MetricsLog:
    """Appends what each step of each stage measured to a run folder.

    `metrics.jsonl` holds a row a step, `{"stage": .., "step": .., name: value, ..}`, and
    `tensorboard/STAGE/` the same values as events. Opening it drops a row torn by a kill.
    """

    def __init__(self, run_path: Path | str) -> None:
        self._run_path = Path(run_path)
        self._path = self._run_path / FILE
        self._writers: dict[str, SummaryWriter] = {}
        self._first_steps: dict[str, int] = {}
        rows = read_metrics(self._run_path)
        if self._path.exists() and not self._path.read_bytes().endswith(b"\n"):
            _replace(self._path, rows)
        self._file = self._path.open("a", encoding="utf-8")

    def write(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Appends a row; a value that is not finite is written as null."""
        numbers = {name: float(value) for name, value in values.items()}
        self._file.write(_as_line({"stage": stage, "step": step, **numbers}))
        self._file.flush()
        writer = self._writer(stage)
        for name, number in numbers.items():
            writer.add_scalar(name, number, step)

    def rewind(self, stage: str, step: int) -> None:
        """Drops the stage's rows after `step`, so that a resumed stage writes each step once."""
        rows = read_metrics(self._run_path)
        kept = [row for row in rows if row["stage"] != stage or row["step"] <= step]
        self._file.close()
        _replace(self._path, kept)
        self._file = self._path.open("a", encoding="utf-8")
        self._first_steps[stage] = step + 1
        if stage in self._writers:
            self._writers.pop(stage).close()

    def close(self) -> None:
        """Flushes and closes both logs."""
        self._file.close()
        for writer in self._writers.values():
            writer.close()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _writer(self, stage: str) -> SummaryWriter:
        """Returns the stage's event writer; its first event hides those it writes again."""
        if stage not in self._writers:
            folder = self._run_path / "tensorboard" / stage
            first = self._first_steps.get(stage)
            self._writers[stage] = SummaryWriter(
                str(folder), purge_step=first, flush_secs=10, filename_suffix=f".{first or 0}"
            )
        return self._writers[stage]


def read_metrics(run_path: Path | str) -> list[dict[str, Any]]:
    """Returns the rows of a run in the order written; nan where a value was not finite.

    Raises:
        ValueError: If a row other than the last, which a kill may tear, is not JSON.
    """
    path = Path(run_path) / FILE
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"Line {number} of {path} is not JSON; remove it.") from error
        rows.append({name: math.nan if value is None else value for name, value in row.items()})
    return rows


def _as_line(row: Mapping[str, Any]) -> str:
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
    return json.dumps(finite, allow_nan=False) + "\n"


def _replace(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes all rows, leaving the old file or the new one if killed."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text("".join(map(_as_line, rows)), encoding="utf-8")
    os.replace(partial, path)
