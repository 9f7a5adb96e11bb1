"""Times a training step of a pretrained model beside torch's: `python -m benchmarks.train_step`.

A step is loss and gradients of the mean next-token loss on rows of text, without padding; the
optimiser's update is left out, since libraries share it. Weights, activations and gradients have
the type that is named. transformers runs as it comes, with its default attention. Each side is a
process that stays, on the same cores, and they take turns. `of matmul` counts 6 operations a
parameter and token (the embedding as the output projection), attention left out, over the measured
matmul rate of the type. One JSON line comes last.
"""

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.model_figure import save_figure
from benchmarks.model_sides import (
    OURS,
    TRANSFORMERS,
    Run,
    add_options,
    is_there,
    missing,
    prepare,
    rate_of,
    run_in_turn,
    summary,
    write_folder,
)
from benchmarks.roofline import Machine, format_machine, measure_machine
from benchmarks.timing import format_table, quartiles
from jaxreason.model import ModelConfig, num_parameters

HEADER = [
    *("side", "type", "compile s", "median ms", "quartiles ms", "tokens/s", "of matmul", "loss"),
]
TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured of one side, derived; see the module's docstring."""

    side: str
    dtype: str
    compile_seconds: float
    median_seconds: float
    low: float
    high: float
    tokens_per_second: float
    matmul_share: float
    loss: float

    def cells(self) -> list[str]:
        """Returns the row of the table."""
        return [
            self.side,
            self.dtype,
            f"{self.compile_seconds:.1f}" if self.compile_seconds else "",
            f"{1e3 * self.median_seconds:,.0f}",
            f"{1e3 * self.low:,.0f}-{1e3 * self.high:,.0f}",
            f"{self.tokens_per_second:,.0f}",
            f"{self.matmul_share:.0%}",
            f"{self.loss:.4f}",
        ]


def operations(config: ModelConfig, tokens: int) -> float:
    """Returns the operations of a step: forward, and backward for inputs and weights."""
    looked_up = 0 if config.tie_embeddings else config.vocab_size * config.dim
    return 6.0 * (num_parameters(config) - looked_up) * tokens


def row_of(config: ModelConfig, run: Run, tokens: int, machine: Machine) -> Row:
    """Derives what the table says of a run."""
    low, median, high = quartiles(run.seconds)
    return Row(
        side=run.side,
        dtype=run.dtype,
        compile_seconds=run.facts.get("compile_seconds", 0.0),
        median_seconds=median,
        low=low,
        high=high,
        tokens_per_second=tokens / median,
        matmul_share=operations(config, tokens) / median / rate_of(machine, run.dtype),
        loss=run.found["loss"],
    )


def check(rows: Sequence[Row]) -> None:
    """Raises `RuntimeError` unless the sides compute the same loss."""
    losses = [row.loss for row in rows]
    if not all(abs(loss - losses[0]) <= TOLERANCE[rows[0].dtype] for loss in losses):
        raise RuntimeError(f"The losses in {rows[0].dtype} differ: {losses}.")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--batch", type=int, default=8, help="rows (default: 8)")
    parser.add_argument("--length", type=int, default=128, help="tokens in each (default: 128)")
    options = parser.parse_args(argv)
    if min(options.repeats, options.batch, options.length - 1) < 1:
        parser.error("--repeats and --batch must be 1 or more, --length 2 or more.")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints the table and, if asked, writes it."""
    options = _parse(argv)
    machine = measure_machine(rounds=3)
    sides = [side for side in (OURS, TRANSFORMERS) if is_there(side)]
    rows, runs = [], []
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "model"
        config, plan = prepare(options.model, folder, options.batch, options.length)
        for dtype in options.dtypes:
            work = dataclasses.replace(plan, kind="train", dtype=dtype)
            found = run_in_turn([(side, work) for side in sides], options.repeats)
            tokens = options.batch * options.length
            of_type = [row_of(config, run, tokens, machine) for run in found]
            check(of_type)
            rows, runs = rows + of_type, runs + found
    table = format_table(HEADER, [row.cells() for row in rows])
    text = "\n\n".join([*missing((TRANSFORMERS,)), format_machine(machine), table])
    print(text, end="\n\n")
    described = summary(machine, options, runs)
    measured: list[dict[str, Any]] = [dataclasses.asdict(row) for row in rows]
    if options.results:
        write_folder(options.results, described, measured, text)
        bars: dict[str, list[tuple[str, float]]] = {row.dtype: [] for row in rows}
        for row in rows:
            bars[row.dtype].append((row.side, row.tokens_per_second))
        save_figure(bars, "tokens learned a second", options.results / "figure.png")
    print(json.dumps(described | {"rows": measured}))


if __name__ == "__main__":
    main()
