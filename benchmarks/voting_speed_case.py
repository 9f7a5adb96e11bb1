"""Measures one rule of one library in a process of its own, whose peak memory is then its own.

`python -m benchmarks.voting_speed_case '{...}'`, a `Case` as JSON, prints a `Result` as JSON. Meant
for `benchmarks.voting_speed`.
"""

import dataclasses
import json
import resource
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import quartiles

OURS, PEER = "jaxreason", "crowd-kit"
PEER_RULES = {
    "majority": "MajorityVote",
    "wawa": "Wawa",
    "one-coin": "OneCoinDawidSkene",
    "dawid-skene": "DawidSkene",
    "ow-l": "MMSR",
}
LABELLED = 1_000  # questions whose truth a rule that needs labels is given


@dataclasses.dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        library: `OURS` or `PEER`.
        rule: The name of the method.
        folder: Holds answers.npy and truth.npy; the given answers are written there too.
        num_options: The number of options of every question.
        calls: How many calls are timed at most.
        enough_seconds: No further call starts after so long.
        memory_limit: Bytes of address space that the process may use, None for no limit.
    """

    library: str
    rule: str
    folder: str
    num_options: int
    calls: int
    enough_seconds: float
    memory_limit: int | None = None

    @property
    def votes(self) -> Path:
        """The file with the answers that the rule gave."""
        return Path(self.folder) / f"{self.library}_{self.rule}.npy"


@dataclasses.dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        convert_seconds: From an array to what the library takes.
        compile_seconds: What the first call took longer than the others; 0 if nothing is compiled.
        median_seconds: Of a call, which fits the rule and gives the answers.
        low: First quartile.
        high: Third quartile.
        calls: The number of timed calls.
        iterations: Of the fit, if it has any.
        peak_bytes: The most memory that the process held, with the interpreter and libraries.
        used_bytes: The same less what it held after the imports, so the data and all work on it; of
            ours on an accelerator, the most that was in use there.
        device: What ran it.
        accuracy: The share of right answers.
    """

    convert_seconds: float
    compile_seconds: float
    median_seconds: float
    low: float
    high: float
    calls: int
    iterations: int | None
    peak_bytes: int
    used_bytes: int
    accuracy: float
    device: str


Step = Callable[[], tuple[np.ndarray, int | None]]


def measure(case: Case) -> Result:
    """Runs a case in this process and writes the answers that the rule gave."""
    imported = _import_ours() if case.library == OURS else _import_peer()
    before = peak_bytes()
    folder = Path(case.folder)
    answers, truth = np.load(folder / "answers.npy"), np.load(folder / "truth.npy")
    start = time.perf_counter()
    prepare = _prepare_ours if case.library == OURS else _prepare_peer
    step = prepare(imported, case, answers, truth)
    convert_seconds = time.perf_counter() - start
    given, iterations = np.empty(0), None
    seconds: list[float] = []
    first = None
    while len(seconds) < case.calls and (not seconds or sum(seconds) < case.enough_seconds):
        start = time.perf_counter()
        given, iterations = step()
        elapsed = time.perf_counter() - start
        if case.library == OURS and first is None:
            first = elapsed  # it compiles
        else:
            seconds.append(elapsed)
    np.save(case.votes, given)
    low, median, high = quartiles(seconds)
    peak = peak_bytes()
    device, used = _device() if case.library == OURS else ("cpu", None)
    return Result(
        convert_seconds=convert_seconds,
        compile_seconds=0.0 if first is None else max(first - median, 0.0),
        median_seconds=median,
        low=low,
        high=high,
        calls=len(seconds),
        iterations=iterations,
        peak_bytes=peak,
        used_bytes=peak - before if used is None else used,
        accuracy=float((given == truth).mean()),
        device=device,
    )


def _import_ours() -> Any:
    import jax

    from jaxreason.voting import methods

    jax.devices()
    return methods


def _import_peer() -> Any:
    import pandas
    from crowdkit import aggregation

    return pandas, aggregation


def _prepare_ours(methods: Any, case: Case, answers: np.ndarray, truth: np.ndarray) -> Step:
    """Puts the answers on the device."""
    import jax

    method = methods.find_method(case.rule)
    options = {"num_options": case.num_options, "max_options": None}
    labels = None
    if method.truth == "required":
        labels = jax.device_put(np.where(np.arange(len(truth)) < LABELLED, truth, -1))
    on_device = jax.block_until_ready(jax.device_put(answers))

    def step() -> tuple[np.ndarray, int | None]:
        parameters = method.fit(on_device, **options, truth=labels)
        votes = method.vote(parameters, on_device, **options, ties="first", key=None)
        jax.block_until_ready(votes)
        iterations = getattr(parameters, "iterations", None)
        return np.asarray(votes.answers), None if iterations is None else int(iterations)

    return step


def _prepare_peer(imported: Any, case: Case, answers: np.ndarray, truth: np.ndarray) -> Step:
    """Makes the table of task, worker and label."""
    pandas, aggregation = imported
    warnings.simplefilter("ignore")  # it uses what pandas deprecates
    task, worker = np.nonzero(answers >= 0)
    table = pandas.DataFrame({"task": task, "worker": worker, "label": answers[task, worker]})

    def step() -> tuple[np.ndarray, int | None]:
        rule = getattr(aggregation, PEER_RULES[case.rule])()
        labels = rule.fit_predict(table)
        history = getattr(rule, "loss_history_", None)
        given = np.full(len(truth), -1)
        given[labels.index] = labels
        return given, None if history is None else len(history)

    return step


def _device() -> tuple[str, int | None]:
    """Returns the device's kind and the most memory in use there; None for a CPU."""
    import jax

    (device, *_) = jax.devices()
    statistics = device.memory_stats() or {}
    return device.device_kind, statistics.get("peak_bytes_in_use")


def peak_bytes() -> int:
    """Returns the most memory that this process has held (its resident set)."""
    status = Path("/proc/self/status")
    if status.exists():  # there getrusage would count the parent process from before the exec
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return 1024 * int(fields["VmHWM"].split()[0])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(argv: Sequence[str] | None = None) -> None:
    """Measures a case and prints the result."""
    (text,) = sys.argv[1:] if argv is None else argv
    case = Case(**json.loads(text))
    if case.memory_limit is not None:
        resource.setrlimit(resource.RLIMIT_AS, (case.memory_limit, case.memory_limit))
    print(json.dumps(dataclasses.asdict(measure(case))))


if __name__ == "__main__":
    main()
