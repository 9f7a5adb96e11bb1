"""Times the voting rules beside crowd-kit's: `python -m benchmarks.voting_speed`.

A call fits a rule to all answers and gives its answers. Every rule of each library runs in a fresh
process on the same votes: agents of different accuracies, questions of varying difficulty. The
share of same answers is lowered by ties, which crowd-kit breaks by an order that varies. Memory
is the most that the process held, less what it held after its imports: the votes in the library's
own form (an array, a table) and all work on them, compiling included. On an accelerator ours is
the most that was in use there. Compiling, and making the array or the table, are timed apart.
crowd-kit's MMSR is the peer of ow-l: the same model, another algorithm. Last, every rule of ours on
many votes, with the memory of the whole process. One JSON line comes at the end.
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from benchmarks.timing import format_table
from benchmarks.voting_speed_case import OURS, PEER, PEER_RULES, Case, Result
from benchmarks.voting_speed_figure import save_figure
from jaxreason.voting.methods import METHODS
from jaxreason.voting.simulation import simulate_difficulty

ROOT = Path(__file__).resolve().parents[1]
MISSING = (
    "crowd-kit is not installed, so only jaxreason is measured; "
    "`pip install 'jaxreason[peers]'` brings it."
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is measured, and how long.

    Attributes:
        sizes: Questions and agents of the votes on which the libraries are compared.
        large: The same for the votes that only our rules get.
        num_options: The number of options of every question.
        spread: The standard deviation of the questions' difficulties, in logits.
        calls: How many calls are timed at most.
        enough_seconds: No further call starts after so long.
        limit_seconds: A process is stopped after so long.
        limit_bytes: Address space of a process of crowd-kit.
        seed: Of the votes.
    """

    sizes: tuple[tuple[int, int], ...] = ((10_000, 4), (100_000, 29), (1_000_000, 12))
    large: tuple[int, int] = (1_000_000, 32)
    num_options: int = 10
    spread: float = 1.0
    calls: int = 5
    enough_seconds: float = 20.0
    limit_seconds: float = 600.0
    limit_bytes: int = 16 * 2**30
    seed: int = 0


SMALL = Plan(sizes=((60, 4),), large=(100, 5), num_options=3, calls=1)


@dataclasses.dataclass(frozen=True)
class Row:
    """One rule of one library on one size; without a result, why there is none."""

    questions: int
    agents: int
    library: str
    rule: str
    result: Result | None
    failure: str = ""
    agreement: float | None = None


def compare(plan: Plan, libraries: Sequence[str]) -> tuple[list[Row], list[Row]]:
    """Measures the rules of the libraries on all sizes, and all of ours on the large one.

    Args:
        plan: What is measured.
        libraries: `OURS`, and `PEER` if it is installed.

    Returns:
        The rows of the comparison, and those of the large votes.
    """
    total = len(plan.sizes) * len(PEER_RULES) * len(libraries) + len(METHODS)
    rows, large = [], []
    with tqdm(total=total, unit="case", disable=None) as progress:

        def run(folder: str, size: tuple[int, int], library: str, rule: str) -> Row:
            progress.set_description(f"{size[0]:,} x {size[1]}, {rule}, {library}")
            row = _run(plan, folder, size, library, rule)
            progress.update()
            return row

        for size in plan.sizes:
            with tempfile.TemporaryDirectory() as folder:
                _write_votes(plan, size, Path(folder))
                for rule in PEER_RULES:
                    of_rule = [run(folder, size, library, rule) for library in libraries]
                    rows += _compare_answers(of_rule, Path(folder))
        with tempfile.TemporaryDirectory() as folder:
            _write_votes(plan, plan.large, Path(folder))
            large += [run(folder, plan.large, OURS, rule) for rule in METHODS]
    return rows, large


def _write_votes(plan: Plan, size: tuple[int, int], folder: Path) -> None:
    """Simulates votes and writes them and the truth."""
    questions, agents = size
    answers, truth = simulate_difficulty(
        jax.random.key(plan.seed),
        jnp.linspace(0.35, 0.85, agents),
        plan.num_options,
        questions,
        spread=plan.spread,
    )
    np.save(folder / "answers.npy", np.asarray(answers, np.int32))
    np.save(folder / "truth.npy", np.asarray(truth, np.int32))


def _run(plan: Plan, folder: str, size: tuple[int, int], library: str, rule: str) -> Row:
    """Measures a case in a process of its own."""
    case = Case(
        library=library,
        rule=rule,
        folder=folder,
        num_options=plan.num_options,
        calls=plan.calls,
        enough_seconds=plan.enough_seconds,
        memory_limit=plan.limit_bytes if library == PEER else None,
    )
    command = [sys.executable, "-m", "benchmarks.voting_speed_case"]
    try:
        finished = subprocess.run(
            [*command, json.dumps(dataclasses.asdict(case))],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=plan.limit_seconds,
        )
    except subprocess.TimeoutExpired:
        return Row(*size, library, rule, None, f"over {plan.limit_seconds:g} s")
    if finished.returncode == 0:
        return Row(*size, library, rule, Result(**json.loads(finished.stdout.splitlines()[-1])))
    if library == OURS:
        raise RuntimeError(f"{rule} on {size[0]:,} x {size[1]} votes:\n{finished.stderr}")
    reason = (finished.stderr.strip().splitlines() or [f"status {finished.returncode}"])[-1]
    if "MemoryError" in reason:
        reason = f"over {plan.limit_bytes / 2**30:.0f} GiB"
    return Row(*size, library, rule, None, reason)


def _compare_answers(rows: Sequence[Row], folder: Path) -> list[Row]:
    """Adds to each row the share of questions to which all gave the same answer."""
    if len(rows) < 2 or any(row.result is None for row in rows):
        return list(rows)
    given = [np.load(folder / f"{row.library}_{row.rule}.npy") for row in rows]
    agreement = float(np.mean(given[0] == given[1]))
    return [dataclasses.replace(row, agreement=agreement) for row in rows]


COMPARED = ["rule", "library", "ms", "quartiles", "ratio", "iterations", "ms/iteration"]
COMPARED += ["memory MiB", "compile s", "convert s", "right", "same answers"]


def format_comparison(rows: Sequence[Row]) -> str:
    """Lays out a table a size; the ratio is crowd-kit's time to ours."""
    tables = []
    for size in dict.fromkeys((row.questions, row.agents) for row in rows):
        of_size = [row for row in rows if (row.questions, row.agents) == size]
        lines = [_format_row(row, _ratio(row, of_size)) for row in of_size]
        tables.append(
            f"{size[0]:,} questions x {size[1]} agents\n\n{format_table(COMPARED, lines)}"
        )
    return "\n\n".join(tables)


def _ratio(row: Row, rows: Sequence[Row]) -> float | None:
    """Returns how many times longer than ours the rule of the other library takes."""
    ours = next(other for other in rows if (other.library, other.rule) == (OURS, row.rule))
    if row.library == OURS or row.result is None or ours.result is None:
        return None
    return row.result.median_seconds / ours.result.median_seconds


def _format_row(row: Row, ratio: float | None) -> list[str]:
    result = row.result
    if result is None:
        return [row.rule, row.library, row.failure, *[""] * (len(COMPARED) - 3)]
    milliseconds = 1e3 * result.median_seconds
    iterations = result.iterations
    return [
        row.rule,
        row.library,
        f"{milliseconds:,.1f}",
        f"{1e3 * result.low:,.1f}-{1e3 * result.high:,.1f}",
        "" if ratio is None else f"{ratio:,.1f}",
        "" if iterations is None else str(iterations),
        "" if iterations is None else f"{milliseconds / iterations:,.1f}",
        f"{result.used_bytes / 2**20:,.0f}",
        f"{result.compile_seconds:.1f}",
        f"{result.convert_seconds:.2f}",
        f"{result.accuracy:.2%}",
        "" if row.agreement is None else f"{row.agreement:.2%}",
    ]


def format_large(rows: Sequence[Row]) -> str:
    """Lays out the table of the large votes."""
    header = ["rule", "seconds", "compile s", "memory MiB", "whole process MiB", "right"]
    lines = []
    for row in rows:
        if row.result is None:
            lines.append([row.rule, row.failure, *[""] * (len(header) - 2)])
            continue
        result = row.result
        lines.append(
            [
                row.rule,
                f"{result.median_seconds:.2f}",
                f"{result.compile_seconds:.1f}",
                f"{result.used_bytes / 2**20:,.0f}",
                f"{result.peak_bytes / 2**20:,.0f}",
                f"{result.accuracy:.2%}",
            ]
        )
    title = f"{rows[0].questions:,} questions x {rows[0].agents} agents, every rule"
    return f"{title}\n\n{format_table(header, lines)}"


def write_folder(
    folder: Path, plan: Plan, rows: Sequence[Row], large: Sequence[Row], text: str
) -> None:
    """Writes config.json, metrics.jsonl, tables.txt and figure.png.

    Args:
        folder: Where to; made if it is not there.
        plan: What was measured.
        rows: The comparison.
        large: The large votes.
        text: The tables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = json.dumps(dataclasses.asdict(plan) | _versions(), indent=2)
    (folder / "config.json").write_text(config + "\n", encoding="utf-8")
    lines = [json.dumps(dataclasses.asdict(row)) + "\n" for row in (*rows, *large)]
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "tables.txt").write_text(text + "\n", encoding="utf-8")
    save_figure([dataclasses.asdict(row) for row in rows], folder / "figure.png")


def _versions() -> dict[str, str]:
    return {
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
    }


def _size(text: str) -> tuple[int, int]:
    """Reads questions x agents."""
    questions, agents = (int(number) for number in text.split("x"))
    return questions, agents


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints the tables and, if asked, writes them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a few votes, to see it run")
    parser.add_argument(
        "--sizes", type=_size, nargs="+", help="questions x agents (10000x4 100000x29 1000000x12)"
    )
    parser.add_argument("--large", type=_size, help="for all rules of ours (1000000x32)")
    parser.add_argument("--limit", type=float, help="seconds for a rule, all its calls (600)")
    parser.add_argument("--output", type=Path, help="folder for the numbers, tables and figure")
    options = parser.parse_args(argv)
    given = {"large": options.large, "limit_seconds": options.limit}
    given["sizes"] = tuple(options.sizes) if options.sizes else None
    given = {name: value for name, value in given.items() if value is not None}
    plan = dataclasses.replace(SMALL if options.small else Plan(), **given)
    libraries = [OURS, PEER] if importlib.util.find_spec("crowdkit") else [OURS]
    # Else this process would keep most of an accelerator's memory from those that it measures.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    rows, large = compare(plan, libraries)
    text = f"{format_comparison(rows)}\n\n{format_large(large)}"
    if PEER not in libraries:
        text = f"{MISSING}\n\n{text}"
    print(text, end="\n\n")
    if options.output:
        write_folder(options.output, plan, rows, large, text)
    summary = {"plan": dataclasses.asdict(plan)} | _versions()
    summary |= {
        name: [dataclasses.asdict(row) for row in of_part]
        for name, of_part in (("compared", rows), ("large", large))
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
