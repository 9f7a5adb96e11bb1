"""What a person sees while a program runs: a plan of the stages, then the progress of each."""

import abc
import dataclasses
import math
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TextIO

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0


@dataclasses.dataclass(frozen=True)
class PlannedStage:
    """A stage that is about to run; `seconds` is how long that should take, None if unknown."""

    stage: str
    steps: int | None = None
    seconds: float | None = None


def print_plan(stages: Sequence[PlannedStage], file: TextIO | None = None) -> None:
    """Prints the stages with their steps and expected times, and the total if all are known."""
    rows = [("Stage", "Steps", "Expected time")]
    for planned in stages:
        steps = "" if planned.steps is None else f"{planned.steps:,}"
        rows.append((planned.stage, steps, _about(planned.seconds)))
    seconds = [planned.seconds for planned in stages if planned.seconds is not None]
    rows.append(("total", "", _about(sum(seconds) if len(seconds) == len(stages) else None)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for stage, steps, expected in rows:
        print(f"  {stage:<{widths[0]}}  {steps:>{widths[1]}}  {expected}".rstrip(), file=file)
    print(file=file)


def track(stage: str, total: int, initial: int = 0, file: TextIO | None = None) -> "Progress":
    """Returns the progress of a stage, to be entered with `with` and iterated or advanced.

    On a terminal it is a bar with the steps a second and the elapsed and expected time; elsewhere
    a line about every ten seconds.

    Args:
        stage: Its name.
        total: How many steps the stage has.
        initial: How many an earlier start has done.
        file: Where it is shown; standard error by default.
    """
    shown = file or sys.stderr
    return (Bar if shown.isatty() else Lines)(stage, total, initial, shown)


class Progress(abc.ABC):
    """Counts the steps of a stage and shows them; see `track`."""

    def __init__(self, stage: str, total: int, initial: int, file: TextIO) -> None:
        self._stage, self._total, self._initial, self._file = stage, total, initial, file
        self._done = initial
        self._metrics: dict[str, float] = {}

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()

    def __iter__(self) -> Iterator[int]:
        """Yields the numbers of the steps still to do and counts each as done after its turn."""
        for step in range(self._done, self._total):
            yield step
            self.advance()

    def advance(self, steps: int = 1, **metrics: float) -> None:
        """Counts steps as done; metrics are as in `show`."""
        self._done += steps
        self._metrics |= metrics
        self._update(steps)

    def show(self, **metrics: float) -> None:
        """Sets the few values shown behind the time."""
        self._metrics |= metrics

    def _postfix(self) -> str:
        return ", ".join(f"{name} {value:.4g}" for name, value in self._metrics.items())

    @abc.abstractmethod
    def _update(self, steps: int) -> None:
        """Shows that so many more steps are done."""

    @abc.abstractmethod
    def _finish(self) -> None:
        """Shows that the stage has ended."""


class Bar(Progress):
    """A bar that redraws itself."""

    def __init__(self, stage: str, total: int, initial: int, file: TextIO) -> None:
        super().__init__(stage, total, initial, file)
        self._bar = tqdm(
            total=total, initial=initial, desc=stage, unit="step", file=file, dynamic_ncols=True
        )

    def _update(self, steps: int) -> None:
        self._bar.set_postfix_str(self._postfix(), refresh=False)
        self._bar.update(steps)

    def _finish(self) -> None:
        self._bar.close()


class Lines(Progress):
    """A line now and then, for logs. The speed leaves out the first step, which compiles."""

    def __init__(self, stage: str, total: int, initial: int, file: TextIO) -> None:
        super().__init__(stage, total, initial, file)
        self._started = self._printed = time.monotonic()
        self._first: tuple[float, int] | None = None  # when the first step was done, and its number

    def _update(self, steps: int) -> None:
        now = time.monotonic()
        self._first = self._first or (now, self._done)
        if now - self._printed >= SECONDS_BETWEEN_LINES and self._done < self._total:
            self._printed = now
            self._print(
                f"{100 * self._done / self._total:.0f}% ({self._done:,} of {self._total:,}"
                f" steps), {self._forecast(now)}"
            )

    def _forecast(self, now: float) -> str:
        since, first = self._first or (now, self._done)
        if self._done == first or now == since:
            return "remaining time not known yet"
        speed = (self._done - first) / (now - since)
        return f"{speed:.3g} steps/s, about {clock((self._total - self._done) / speed)} left"

    def _finish(self) -> None:
        taken = clock(time.monotonic() - self._started)
        if self._done >= self._total:
            self._print(f"done, {self._done - self._initial:,} steps in {taken}")
        else:
            self._print(f"stopped after {self._done:,} of {self._total:,} steps and {taken}")

    def _print(self, text: str) -> None:
        postfix = f" | {self._postfix()}" if self._metrics else ""
        print(f"{self._stage}: {text}{postfix}", file=self._file, flush=True)


def clock(seconds: float) -> str:
    """Returns a duration as m:ss, or h:mm:ss from one hour on.

    It rounds to whole seconds.
    """
    minutes, rest = divmod(math.floor(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _about(seconds: float | None) -> str:
    return "not known" if seconds is None else f"about {clock(seconds)}"
