"""Times one iteration of GRPO beside TRL's and Tunix's: `python -m benchmarks.rl_iteration`.

An iteration samples completions of a fixed length (nothing ends one) for prompts of random tokens,
scores them by their share of even ids, and makes one GRPO update: Adam, gradients clipped by norm,
no KL term and so no reference, float32, random parameters of the same Llama shape everywhere. Ours
is one compiled call whose state is donated; TRL's GRPOTrainer generates with transformers, Tunix's
GRPOLearner with its own sampler. TRL runs with all threads and with one, and its better time
counts: so small a model may be slower with more.

Every side is a process that stays, on the same cores (the CPU's, even where there is a GPU), and
they take turns, an iteration each, after compiling and warming up. Each has to show completions of
the length asked for, the number of parameters asked for, and that they change. The peers have
environments of their own, made by `benchmarks/make_peers.sh`.

The floor is the arithmetic of an iteration at the measured matmul rate, the better of before and
after: 2 operations a parameter and place to read the prompts and to write, 6 to learn, and
attention over the places before each; the embedding counts where its product is needed, for the
tokens written. Each completion reads its prompt, as the peers have it; ours reads a prompt once for
all its completions, which the floor gives it no credit for. `first` is the first iteration, with
compiling. One JSON line comes last.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from tqdm import tqdm

from benchmarks.rl_iteration_figure import save_figure
from benchmarks.rl_iteration_worker import Shape
from benchmarks.roofline import Machine, format_machine, measure_machine
from benchmarks.timing import format_table, quartiles

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".cache" / "peers"
SEEDS = 8
SHAPES = MappingProxyType(
    {
        "tiny": Shape(64, 16, 1, 2, 1, 16, 2, 2, 4, 4),
        "4m": Shape(4096, 256, 4, 8, 4, 768, 1, 8, 64, 64),
        "demo": Shape(512, 128, 3, 4, 4, 256, 64, 8, 27, 15),  # of `configs.demo`, bare prompts
    }
)


@dataclasses.dataclass(frozen=True)
class Side:
    """Who is measured: a worker, the environment it needs, and what it is given."""

    name: str
    module: str
    environment: str = ""
    seeds: int = 1
    threads: int = 0

    @property
    def library(self) -> str:
        """The name without what it is given."""
        return self.name.split(",")[0]

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        if not self.environment:
            return Path(sys.executable)
        return PEERS / self.environment / "bin" / "python"


OURS = Side("jaxreason", "benchmarks.rl_iteration_ours")
SIDES = (
    OURS,
    dataclasses.replace(OURS, name=f"jaxreason, {SEEDS} seeds", seeds=SEEDS),
    Side("TRL", "benchmarks.rl_iteration_trl", "trl"),
    Side("TRL, one thread", "benchmarks.rl_iteration_trl", "trl", threads=1),
    Side("Tunix", "benchmarks.rl_iteration_tunix", "tunix"),
)
AIMS = MappingProxyType(  # of the ratios
    {
        "4m": {
            "ours to the floor": ("at most", 1.3),
            f"{SEEDS} seeds to ours": ("under", 5.0),
            "TRL to ours": ("at least", 3.0),
            "Tunix to ours": ("at least", 1.8),
        },
        "demo": {
            f"{SEEDS} seeds to ours": ("under", 5.0),
            "TRL to ours": ("at least", 10.0),
            "Tunix to ours": ("at least", 5.0),
        },
    }
)
MEMORY = ("argument", "output", "alias", "temp", "peak")


class Process:
    """A worker that runs until it is closed; see `benchmarks.rl_iteration_worker`."""

    def __init__(self, side: Side, shape: Shape) -> None:
        case = {
            "shape": dataclasses.asdict(shape),
            "seeds": side.seeds,
            "threads": side.threads,
        }
        self.side = side
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [side.python, "-m", side.module, json.dumps(case)],
            cwd=ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._process.kill()
        with self._process, self._errors:
            pass

    def read(self) -> dict[str, Any]:
        """Returns the worker's next answer.

        Raises:
            RuntimeError: If it ended instead.
        """
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._process.wait()
        self._errors.seek(0)
        raise RuntimeError(f"The worker of {self.side.name} ended:\n{self._errors.read()}")

    def run(self, iterations: int) -> list[float]:
        """Returns the seconds of so many iterations."""
        return self._ask(f"run {iterations}")["seconds"]

    def end(self) -> dict[str, Any]:
        """Returns what the worker checked, and lets it end."""
        return self._ask("end")

    def _ask(self, command: str) -> dict[str, Any]:
        with contextlib.suppress(BrokenPipeError):  # read says what happened
            print(command, file=self._process.stdin, flush=True)
        return self.read()


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured of one side at one size.

    Attributes:
        size: Name of the shape.
        side: Who.
        first_seconds: The first iteration, with compiling.
        median_seconds: Median of the timed iterations.
        low: Their first quartile.
        high: Their third quartile.
        seconds: Each of them.
        facts: What the worker says about itself: versions, threads, parameters, memory.
        checks: What it checked: lengths of completions, mean reward, largest change of a parameter.
    """

    size: str
    side: str
    first_seconds: float
    median_seconds: float
    low: float
    high: float
    seconds: tuple[float, ...]
    facts: dict[str, Any]
    checks: dict[str, Any]


def operations(shape: Shape) -> float:
    """Returns the operations that one iteration needs, as the module's docstring counts them."""
    embedding = shape.vocab_size * shape.dim
    body = shape.parameters - embedding
    read = shape.prompt_length + shape.completion_length - 1  # the last token is never read
    attention = 4 * shape.dim * shape.num_layers * read * (read + 1) / 2
    forward = 2 * body * read + 2 * embedding * shape.completion_length + attention
    return shape.rows * (1 + 3) * forward


def measure(size: str, sides: Sequence[Side], repeats: int) -> list[Row]:
    """Times the sides in turn.

    Args:
        size: Name of the shape.
        sides: Who is measured.
        repeats: Timed iterations of each.

    Returns:
        A row for each side.

    Raises:
        RuntimeError: If a worker fails, or did not do what was asked for.
    """
    shape = SHAPES[size]
    with contextlib.ExitStack() as stack:
        processes, facts, first = [], [], []
        for side in tqdm(sides, desc=f"{size}, warming up", unit="side", disable=None):
            process = stack.enter_context(Process(side, shape))
            processes.append(process)
            facts.append(process.read())
            first.append(facts[-1].pop("compile_seconds", 0.0) + process.run(1)[0])
            process.run(2)
        seconds: list[list[float]] = [[] for _ in sides]
        for _ in tqdm(range(repeats), desc=size, unit="round", disable=None):
            for process, taken in zip(processes, seconds, strict=True):
                taken += process.run(1)
        checks = [process.end() for process in processes]
    rows = []
    for side, *parts in zip(sides, first, seconds, facts, checks, strict=True):
        rows.append(_row(size, side, *parts))
        check(shape, rows[-1])
    return rows


def _row(
    size: str,
    side: Side,
    first: float,
    seconds: Sequence[float],
    facts: dict[str, Any],
    checks: dict[str, Any],
) -> Row:
    low, median, high = quartiles(seconds)
    return Row(size, side.name, first, median, low, high, tuple(seconds), facts, checks)


def check(shape: Shape, row: Row) -> None:
    """Raises `RuntimeError` unless a side did what was asked for."""
    lengths, change = row.checks["lengths"], row.checks["largest_change"]
    if lengths != [shape.completion_length]:
        raise RuntimeError(f"{row.side} wrote {lengths} tokens, not {shape.completion_length}.")
    if row.facts["parameters"] != shape.parameters:
        count = row.facts["parameters"]
        raise RuntimeError(f"{row.side} has {count:,} parameters, not {shape.parameters:,}.")
    if not change > 0:
        raise RuntimeError(f"{row.side} left its parameters as they were.")


def ratios(rows: Sequence[Row], floor: float) -> dict[str, float]:
    """Returns our time in floors, and that of all others in ours; of TRL's the better one."""
    seconds = {row.side: row.median_seconds for row in rows}
    ours = seconds.pop(OURS.name)
    found = {"ours to the floor": ours / floor}
    for name, taken in seconds.items():
        library, *given = name.split(", ")
        key = f"{given[0] if library == OURS.name else library} to ours"
        found[key] = min(taken / ours, found.get(key, float("inf")))
    return found


HEADER = ("side", "threads", "first s", "median ms", "quartiles ms", "to ours", "to the floor")


def format_rows(rows: Sequence[Row], floor: float) -> str:
    """Lays out the times of one size."""
    ours = next(row.median_seconds for row in rows if row.side == OURS.name)
    lines = [
        [
            row.side,
            str(row.facts["threads"]),
            f"{row.first_seconds:.1f}",
            f"{1e3 * row.median_seconds:,.1f}",
            f"{1e3 * row.low:,.1f}-{1e3 * row.high:,.1f}",
            f"{row.median_seconds / ours:.2f}",
            f"{row.median_seconds / floor:.2f}",
        ]
        for row in rows
    ]
    lines.append(["floor", "", "", f"{1e3 * floor:,.1f}", "", f"{floor / ours:.2f}", "1.00"])
    return format_table(HEADER, lines)


def format_size(size: str, rows: Sequence[Row], floor: float) -> str:
    """Lays out what one size is, its times, our memory, and the aims."""
    shape = SHAPES[size]
    title = (
        f"{size}: {shape.problems} x {shape.completions} completions of {shape.completion_length} "
        f"tokens after {shape.prompt_length}; {shape.parameters:,} parameters, "
        f"{operations(shape) / 1e9:,.3g} billion operations"
    )
    memory = [
        [row.side, *(f"{row.facts['memory'][name] / 2**20:,.1f}" for name in MEMORY)]
        for row in rows
        if "memory" in row.facts
    ]
    parts = [title, format_rows(rows, floor), format_table(["MiB, as compiled", *MEMORY], memory)]
    found = ratios(rows, floor)
    aims = {name: aim for name, aim in AIMS.get(size, {}).items() if name in found}
    if aims:
        lines = [
            [name, f"{bound} {aim:g}", f"{found[name]:.2f}"] for name, (bound, aim) in aims.items()
        ]
        parts.append(format_table(("ratio", "aim", "measured"), lines))
    return "\n\n".join(parts)


def write_folder(
    folder: Path,
    config: dict[str, Any],
    rows: Sequence[Row],
    floors: Mapping[str, float],
    text: str,
) -> None:
    """Writes config.json, metrics.jsonl, tables.txt and figure.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    lines = [json.dumps(dataclasses.asdict(row)) + "\n" for row in rows]
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "tables.txt").write_text(text + "\n", encoding="utf-8")
    save_figure([dataclasses.asdict(row) for row in rows], floors, folder / "figure.png")


def missing(sides: Sequence[Side]) -> list[str]:
    """Returns a sentence for each library whose environment is not there."""
    absent = dict.fromkeys(side.library for side in sides if not side.python.exists())
    return [
        f"{name} is not there: make its environment with benchmarks/make_peers.sh."
        for name in absent
    ]


def _cores(text: str) -> set[int]:
    """Reads numbers with commas between them."""
    return {int(number) for number in text.split(",")}


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--size",
        nargs="+",
        choices=SHAPES,
        default=["4m", "demo"],
        help="what is measured; tiny, without peers, shows that it runs (default: 4m demo)",
    )
    parser.add_argument("--repeats", type=int, default=15, help="timed iterations (default: 15)")
    parser.add_argument("--cores", type=_cores, help="numbers of the cores, as 0,1 (default: all)")
    parser.add_argument("--results", type=Path, help="folder for numbers, tables and figure")
    options = parser.parse_args(argv)
    if options.repeats < 1:
        parser.error(f"--repeats must be 1 or more; got {options.repeats}.")
    if options.cores and not options.cores <= os.sched_getaffinity(0):
        given, there = sorted(options.cores), sorted(os.sched_getaffinity(0))
        parser.error(f"--cores must be out of {there}; got {given}.")
    return options


def _sides(size: str) -> list[Side]:
    """Returns who is measured at a size: all whose environment is there."""
    if size == "tiny":
        return [OURS, dataclasses.replace(OURS, name="jaxreason, 2 seeds", seeds=2)]
    alone = len(os.sched_getaffinity(0)) == 1
    return [side for side in SIDES if side.python.exists() and not (alone and side.threads)]


def _better(first: Machine, second: Machine) -> Machine:
    """Returns the better measurement of each limit: the machine can do that much."""
    names = [field.name for field in dataclasses.fields(Machine) if field.name != "device"]
    best = {name: max(getattr(first, name), getattr(second, name)) for name in names}
    return dataclasses.replace(first, **best)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints the tables and, if asked, writes them."""
    options = _parse(argv)
    if options.cores:
        os.sched_setaffinity(0, options.cores)
    small = options.size == ["tiny"]
    limits = {"matmul_size": 64, "copy_bytes": 2**16, "rounds": 1} if small else {"rounds": 3}
    machine = measure_machine(**limits)
    rows = [row for size in options.size for row in measure(size, _sides(size), options.repeats)]
    machine = _better(machine, measure_machine(**limits))
    rate = machine.matmul_flops_per_second
    floors = {size: operations(SHAPES[size]) / rate for size in options.size}
    tables = [
        format_size(size, [row for row in rows if row.size == size], floor)
        for size, floor in floors.items()
    ]
    text = "\n\n".join([*missing(SIDES), format_machine(machine), *tables])
    print(text, end="\n\n")
    config = {
        "repeats": options.repeats,
        "cores": sorted(os.sched_getaffinity(0)),
        "shapes": {size: dataclasses.asdict(SHAPES[size]) for size in floors},
        "versions": {row.side.split(",")[0]: row.facts["versions"] for row in rows},
        "machine": dataclasses.asdict(machine),
        "floor_seconds": floors,
    }
    if options.results:
        write_folder(options.results, config, rows, floors, text)
    print(json.dumps(config | {"rows": [dataclasses.asdict(row) for row in rows]}))


if __name__ == "__main__":
    main()
