"""What `benchmarks.generate` and `benchmarks.train_step` share: the model, and sides in turn."""

import argparse
import contextlib
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.model_worker import Work
from benchmarks.rl_iteration import Process, Side
from benchmarks.roofline import Machine
from data.pretrained.hf_config import model_config
from data.pretrained.load import load_pretrained
from data.pretrained.models import find_model, open_model, open_tokenizer
from data.pretrained.save import save_pretrained
from jaxreason.model import ModelConfig

OURS = Side("jaxreason", "benchmarks.model_ours")
TRANSFORMERS = Side("transformers", "benchmarks.model_transformers", "trl")
LLAMA = Side("llama.cpp", "benchmarks.model_llama", "llama")
TEXT = (
    "A train leaves the station at nine and travels at sixty miles an hour; a second one leaves an"
    " hour later and is faster. The teacher asks when they meet, and why. In the garden behind the"
    " school grow apples, pears and plums, which the children pick in September. "
)


@dataclasses.dataclass(frozen=True)
class Run:
    """What was measured of one side.

    Attributes:
        side: Who.
        dtype: Type of weights and activations.
        batch: Rows.
        seconds: Each timed iteration.
        facts: What the worker says about itself; `compile_seconds` where it compiles apart.
        found: What it found: tokens and `first_seconds`, or the loss.
    """

    side: str
    dtype: str
    batch: int
    seconds: tuple[float, ...]
    facts: dict[str, Any]
    found: dict[str, Any]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that both benchmarks have."""
    parser.add_argument("--model", default="smollm2", help="name, folder or GGUF file (smollm2)")
    parser.add_argument(
        "--dtypes",
        nargs="+",
        choices=("float32", "bfloat16"),
        default=["float32", "bfloat16"],
        help="types of weights and activations (default: both)",
    )
    parser.add_argument("--repeats", type=int, default=5, help="timed calls (default: 5)")
    parser.add_argument("--results", type=Path, help="folder for numbers, tables and figure")


def prepare(name: str, folder: Path, rows: int, length: int) -> tuple[ModelConfig, Work]:
    """Writes the model as transformers loads it, and rows of tokens.

    Args:
        name: A name, folder or file, see `find_model`.
        folder: Where to; it must not be there yet.
        rows: Rows of tokens, each of which begins elsewhere in a text.
        length: Tokens in each.

    Returns:
        The decoder's shape, and work that is to be filled in.

    Raises:
        ValueError: If the model can't be read.
    """
    path = find_model(name)
    source = open_model(path)
    config, params = load_pretrained(source, dtype="float32")
    save_pretrained(folder, config, params, base=source.config)
    tokens = open_tokenizer(path).encode(TEXT)
    count = -(-(rows + length) // len(tokens))
    tokens = tokens * count
    cut = [tokens[row : row + length] for row in range(rows)]
    (folder / "tokens.json").write_text(json.dumps(cut), encoding="utf-8")
    return model_config(source.config), Work(str(folder), str(path), "", "float32", rows, length)


def is_there(side: Side) -> bool:
    """Whether a side's environment is made."""
    return side.python.exists()


def missing(sides: Sequence[Side]) -> list[str]:
    """Returns a sentence for each side that can't take part."""
    return [
        f"{side.name} is not there: make its environment with benchmarks/make_peers.sh"
        f" {side.environment}."
        for side in sides
        if not is_there(side)
    ]


def run_in_turn(sides: Sequence[tuple[Side, Work]], repeats: int) -> list[Run]:
    """Times sides, a call each in turn, after one that does not count.

    Raises:
        RuntimeError: If a worker fails.
    """
    with contextlib.ExitStack() as stack:
        processes, facts = [], []
        for side, work in sides:
            process = stack.enter_context(Process(side, work))
            facts.append(process.read())
            process.run(1)
            processes.append(process)
        seconds: list[list[float]] = [[] for _ in sides]
        work = sides[0][1]
        title = f"{work.kind}, {work.dtype}, {work.batch}"
        for _ in tqdm(range(repeats), desc=title, unit="round", disable=None):
            for process, taken in zip(processes, seconds, strict=True):
                taken += process.run(1)
        found = [process.end() for process in processes]
    return [
        Run(side.name, work.dtype, work.batch, tuple(taken), fact, each)
        for (side, work), taken, fact, each in zip(sides, seconds, facts, found, strict=True)
    ]


def rate_of(machine: Machine, dtype: str) -> float:
    """Returns the matmul rate of a type of activations."""
    if dtype == "bfloat16":
        return machine.bfloat16_matmul_flops_per_second
    return machine.matmul_flops_per_second


def summary(machine: Machine, options: argparse.Namespace, runs: Sequence[Run]) -> dict[str, Any]:
    """Returns the settings, without paths, and the versions."""
    settings = {key: value for key, value in vars(options).items() if key != "results"}
    return {
        **settings,
        "model": Path(options.model).name,
        "cores": sorted(os.sched_getaffinity(0)),
        "versions": {run.side: run.facts["versions"] for run in runs},
        "machine": dataclasses.asdict(machine),
    }


def write_folder(
    folder: Path, config: dict[str, Any], rows: Sequence[dict[str, Any]], text: str
) -> None:
    """Writes config.json, metrics.jsonl and tables.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(lines, encoding="utf-8")
    (folder / "tables.txt").write_text(text + "\n", encoding="utf-8")
