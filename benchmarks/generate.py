"""Times generation with a pretrained model beside its peers: `python -m benchmarks.generate`.

All sides continue the same prompts greedily by the same number of tokens; nothing ends a row. They
have the same weights: transformers loads a folder that we write, llama.cpp the GGUF file itself,
whose 4-bit weights it keeps. Each is a process that stays, on the same cores, and they take turns;
llama.cpp and our 8-bit weights run at one row only.

tokens/s are those emitted, prefill included. `prefill` is a call for one token; `decode` is the
rest. A decoding step reads the weights once (the embedding as the output projection) and, on
average over the steps, the cache as far as it is filled: `MB/token` is that over the rows, and `of
memory` is its rate over the measured bandwidth. `of matmul` is prefill at 2 operations a parameter
and token, the embedding counted for the last token only, over the measured matmul rate of the type.
`same` is the share of the tokens that transformers writes in the same type, up to the first one
that differs in each row: with 16 bits, near ties fall either way. One JSON line comes last.
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
    LLAMA,
    OURS,
    TRANSFORMERS,
    Run,
    Side,
    add_options,
    is_there,
    missing,
    prepare,
    rate_of,
    run_in_turn,
    summary,
    write_folder,
)
from benchmarks.model_worker import Work
from benchmarks.roofline import Machine, format_machine, measure_machine
from benchmarks.timing import format_table, quartiles
from jaxreason.model import ModelConfig, num_parameters

BYTES = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0}
HEADER = [
    *("side", "type", "rows", "compile s", "tokens/s", "quartiles", "prefill ms", "decode tok/s"),
    *("MB/token", "of memory", "of matmul", "same"),
]


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured of one side, derived; see the module's docstring."""

    side: str
    dtype: str
    rows: int
    compile_seconds: float
    tokens_per_second: float
    low: float
    high: float
    prefill_seconds: float
    decode_tokens_per_second: float
    bytes_per_token: float
    memory_share: float
    matmul_share: float
    same: float | None

    def cells(self) -> list[str]:
        """Returns the row of the table."""
        return [
            self.side,
            self.dtype,
            str(self.rows),
            f"{self.compile_seconds:.1f}" if self.compile_seconds else "",
            f"{self.tokens_per_second:,.1f}",
            f"{self.low:,.1f}-{self.high:,.1f}",
            f"{1e3 * self.prefill_seconds:,.0f}",
            f"{self.decode_tokens_per_second:,.1f}",
            f"{self.bytes_per_token / 1e6:,.1f}",
            f"{self.memory_share:.0%}",
            f"{self.matmul_share:.0%}",
            "" if self.same is None else f"{self.same:.1%}",
        ]


def sides_of(work: Work) -> list[tuple[Side, Work]]:
    """Returns who takes part at a type and a number of rows: all whose environment is there."""
    sides = [(OURS, work), (TRANSFORMERS, work)]
    if work.batch == 1 and work.dtype == "float32":
        sides.append((OURS, dataclasses.replace(work, dtype="int8")))
        if work.weights.endswith(".gguf"):
            sides.append((LLAMA, dataclasses.replace(work, dtype="GGUF")))
    return [(side, work) for side, work in sides if is_there(side)]


def bytes_per_step(config: ModelConfig, work: Work) -> float:
    """Returns the bytes that a decoding step reads, on average."""
    if work.dtype == "GGUF":
        weights = float(Path(work.weights).stat().st_size)
    else:
        weights = BYTES[work.dtype] * num_parameters(config)
    # llama.cpp keeps its cache in float16.
    place = 2 * config.num_layers * config.num_kv_heads * config.head_dim
    cached = place * {"bfloat16": 2, "GGUF": 2}.get(work.dtype, 4)
    return weights + work.batch * (work.length + work.new_tokens / 2) * cached


def prefill_operations(config: ModelConfig, work: Work) -> float:
    """Returns the operations of reading the prompts, attention left out."""
    embedding = config.vocab_size * config.dim
    body = num_parameters(config) - embedding * (1 if config.tie_embeddings else 2)
    return 2.0 * work.batch * (body * work.length + embedding)


def same_share(tokens: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> float:
    """Returns the share of tokens before the first that differs in each row."""
    kept = total = 0
    for row, other in zip(tokens, others, strict=True):
        differs = [one != two for one, two in zip(row, other, strict=True)]
        kept += differs.index(True) if True in differs else len(differs)
        total += len(differs)
    return kept / total


def row_of(
    config: ModelConfig, work: Work, run: Run, reference: Run | None, machine: Machine
) -> Row:
    """Derives what the table says of a run.

    Raises:
        RuntimeError: If the side did not write as many tokens as it was asked for.
    """
    lengths = {len(tokens) for tokens in run.found["tokens"]}
    if lengths != {work.new_tokens} or len(run.found["tokens"]) != work.batch:
        raise RuntimeError(f"{run.side} wrote rows of {sorted(lengths)}, not {work.new_tokens}.")
    low, median, high = quartiles(run.seconds)
    prefill = quartiles(run.found["first_seconds"][1:])[1]  # the first call warmed up
    steps = (work.new_tokens - 1) / max(median - prefill, 1e-9)
    emitted = work.batch * work.new_tokens
    moved = bytes_per_step(config, work)
    is_reference = reference is None or reference is run
    return Row(
        side=run.side,
        dtype=run.dtype,
        rows=run.batch,
        compile_seconds=run.facts.get("compile_seconds", 0.0),
        tokens_per_second=emitted / median,
        low=emitted / high,
        high=emitted / low,
        prefill_seconds=prefill,
        decode_tokens_per_second=work.batch * steps,
        bytes_per_token=moved / work.batch,
        memory_share=steps * moved / machine.bandwidth_bytes_per_second,
        matmul_share=prefill_operations(config, work) / prefill / rate_of(machine, run.dtype),
        same=None if is_reference else same_share(run.found["tokens"], reference.found["tokens"]),
    )


def measure(
    config: ModelConfig, works: Sequence[Work], repeats: int, machine: Machine
) -> tuple[list[Row], list[Run]]:
    """Measures every type and number of rows."""
    rows, runs = [], []
    for work in works:
        sides = sides_of(work)
        found = run_in_turn(sides, repeats)
        reference = next((run for run in found if run.side == TRANSFORMERS.name), None)
        rows += [
            row_of(config, of_side, run, reference, machine)
            for (_, of_side), run in zip(sides, found, strict=True)
        ]
        runs += found
    return rows, runs


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 64], help="(1 16 64)")
    parser.add_argument("--prompt-length", type=int, default=64, help="tokens (default: 64)")
    parser.add_argument("--new-tokens", type=int, default=64, help="tokens (default: 64)")
    options = parser.parse_args(argv)
    if options.new_tokens < 2:
        parser.error(f"--new-tokens must be 2 or more; got {options.new_tokens}.")
    if min(options.repeats, options.prompt_length, *options.rows) < 1:
        parser.error("--repeats, --prompt-length and --rows must be 1 or more.")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints the table and, if asked, writes it."""
    options = _parse(argv)
    machine = measure_machine(rounds=3)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "model"
        config, plan = prepare(options.model, folder, max(options.rows), options.prompt_length)
        plan = dataclasses.replace(plan, kind="generate", new_tokens=options.new_tokens)
        works = [
            dataclasses.replace(plan, dtype=dtype, batch=rows)
            for dtype in options.dtypes
            for rows in options.rows
        ]
        rows, runs = measure(config, works, options.repeats, machine)
    table = format_table(HEADER, [row.cells() for row in rows])
    text = "\n\n".join([*missing((TRANSFORMERS, LLAMA)), format_machine(machine), table])
    print(text, end="\n\n")
    described = summary(machine, options, runs)
    measured: list[dict[str, Any]] = [dataclasses.asdict(row) for row in rows]
    if options.results:
        write_folder(options.results, described, measured, text)
        bars = {f"{row.dtype}, {row.rows}": [] for row in rows}
        for row in rows:
            bars[f"{row.dtype}, {row.rows}"].append((row.side, row.tokens_per_second))
        save_figure(bars, "tokens a second", options.results / "figure.png")
    print(json.dumps(described | {"rows": measured}))


if __name__ == "__main__":
    main()
