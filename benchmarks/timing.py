"""Times compiled functions: compilation apart, each call waited for, medians with their spread."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Timing:
    """How long one compiled function takes.

    Attributes:
        compile_seconds: Tracing, lowering and compiling. With a persistent compile cache that holds
            the function already this is the time to load it.
        median_seconds: Median over the timed calls.
        low: First quartile, in seconds.
        high: Third quartile, in seconds.
        calls: Number of timed calls; one more ran before them.
    """

    compile_seconds: float
    median_seconds: float
    low: float
    high: float
    calls: int


def time_compiled(
    function: Callable[..., Any], *args: Any, repeats: int = 9, **static: Any
) -> Timing:
    """Compiles a function for its arguments and times calls of the compiled program.

    Arguments that the function donates are copied before each call, outside the measured time.

    Args:
        function: A jitted function, or a plain one, which is jitted without options.
        *args: Its arguments, pytrees of arrays.
        repeats: Number of timed calls, at least 1.
        **static: Keyword arguments that the jitted function declares static.

    Returns:
        The times.

    Raises:
        ValueError: If `repeats` is less than 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1; got {repeats}.")
    jitted = function if hasattr(function, "lower") else jax.jit(function)
    start = time.perf_counter()
    lowered = jitted.lower(*args, **static)
    compiled = lowered.compile()
    compile_seconds = time.perf_counter() - start
    donated = jax.tree.map(lambda info: info.donated, lowered.args_info[0])
    # A first call pays for what is set up once.
    _, *seconds = (_time_call(compiled, args, donated) for _ in range(repeats + 1))
    low, median, high = quartiles(seconds)
    return Timing(compile_seconds, median, low, high, repeats)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Returns the first quartile, the median and the third quartile, interpolated."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def _time_call(compiled: Callable[..., Any], args: Any, donated: Any) -> float:
    fresh = jax.tree.map(lambda given, leaf: jnp.copy(leaf) if given else leaf, donated, args)
    jax.block_until_ready(fresh)
    start = time.perf_counter()
    jax.block_until_ready(compiled(*fresh))
    return time.perf_counter() - start


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lays out a table as text: first column to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    lines = []
    for first, *others in (header, rule, *rows):
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)
