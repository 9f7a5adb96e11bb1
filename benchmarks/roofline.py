"""Measures what the machine can do at most: its matmul rates and its memory bandwidth.

Both are measured with compiled jax code on the default device, since that is what a compiled step
could reach. `python -m benchmarks.roofline` prints them, then how fast a few rows go through
weights that no cache holds, which is what decoding does, and one JSON line last.
"""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import jax
import jax.numpy as jnp

from benchmarks.timing import format_table, time_compiled
from jaxreason.model.products import multiply

PASSES = 4  # of the same work in one program, so that starting it weighs little


@dataclass(frozen=True)
class Machine:
    """The measured limits of one device.

    Attributes:
        device: Its kind, in jax's words.
        matmul_flops_per_second: Of float32 products, at jax's default precision.
        bfloat16_matmul_flops_per_second: Of bfloat16 products.
        bandwidth_bytes_per_second: Read and written together.
    """

    device: str
    matmul_flops_per_second: float
    bfloat16_matmul_flops_per_second: float
    bandwidth_bytes_per_second: float


def measure_machine(
    *, matmul_size: int | None = None, copy_bytes: int = 2**28, rounds: int = 7
) -> Machine:
    """Measures the default device; the three measurements take turns, their medians count.

    Args:
        matmul_size: Side of the square matrices; None takes 2048 on a CPU and 8192 elsewhere.
        copy_bytes: Size of the array that is updated in memory; it must not fit the caches.
        rounds: How often each is measured.

    Returns:
        The measured limits.
    """
    device = jax.devices()[0]
    size = matmul_size or (2048 if device.platform == "cpu" else 8192)
    keys = jax.random.split(jax.random.key(0))
    factors = [jax.random.normal(key, (size, size)) / size**0.5 for key in keys]
    vector = jnp.zeros(copy_bytes // 4, jnp.float32)
    matmul_flops = PASSES * 2.0 * size**3
    copied_bytes = PASSES * 2.0 * vector.nbytes
    seconds = _interleaved_medians(
        [
            partial(_time_once, _multiply, *factors),
            partial(_time_once, _multiply, *(factor.astype(jnp.bfloat16) for factor in factors)),
            partial(_time_once, _update, vector),
        ],
        rounds,
    )
    return Machine(
        device=device.device_kind,
        matmul_flops_per_second=matmul_flops / seconds[0],
        bfloat16_matmul_flops_per_second=matmul_flops / seconds[1],
        bandwidth_bytes_per_second=copied_bytes / seconds[2],
    )


@jax.jit
def _multiply(x: jax.Array, y: jax.Array) -> jax.Array:
    return jax.lax.fori_loop(0, PASSES, lambda _, product: product @ y, x)


@partial(jax.jit, donate_argnums=0)
def _update(x: jax.Array) -> jax.Array:
    # In place: writing to new memory would measure how fast the system hands out pages.
    return jax.lax.fori_loop(0, PASSES, lambda _, x: x + 1.0, x)


def _time_once(function: Callable[..., jax.Array], *args: jax.Array) -> float:
    return time_compiled(function, *args, repeats=1).median_seconds


def _interleaved_medians(measurements: list[Callable[[], float]], rounds: int) -> list[float]:
    seconds = [[measure() for measure in measurements] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*seconds, strict=True)]


@dataclass(frozen=True)
class ThinProduct:
    """A few rows through the weights of many layers, one after the other.

    Attributes:
        dtype: Of rows and weights.
        rows: How many.
        flops_per_second: Operations.
        bytes_per_second: Of weights, each counted once.
    """

    dtype: str
    rows: int
    flops_per_second: float
    bytes_per_second: float


def measure_thin_products(
    rows: Sequence[int],
    dtypes: Sequence[str] = ("float32", "bfloat16"),
    *,
    widths: tuple[int, int] = (576, 1536),
    layers: int = 48,
    rounds: int = 7,
) -> list[ThinProduct]:
    """Measures products as in decoding; all of a type take turns, their medians count.

    Args:
        rows: Numbers of rows.
        dtypes: Types.
        widths: Of the stream and of the layers between, by default those of SmolLM2-135M.
        layers: Pairs of weights; all together they must not fit the caches.
        rounds: How often each is measured.
    """
    found = []
    keys = jax.random.split(jax.random.key(0), layers)
    for dtype in dtypes:
        weights = [
            (jax.random.normal(key, widths, dtype), jax.random.normal(key, widths[::-1], dtype))
            for key in keys
        ]
        inputs = [jnp.zeros((count, widths[0]), dtype) for count in rows]
        seconds = _interleaved_medians(
            [partial(_time_once, _pass_through, each, weights) for each in inputs], rounds
        )
        size = sum(leaf.size for leaf in jax.tree.leaves(weights))
        for count, taken in zip(rows, seconds, strict=True):
            read = size * jnp.dtype(dtype).itemsize
            found.append(ThinProduct(dtype, count, 2.0 * size * count / taken, read / taken))
    return found


@jax.jit
def _pass_through(x: jax.Array, weights: list[tuple[jax.Array, jax.Array]]) -> jax.Array:
    for up, down in weights:
        x = multiply(multiply(x, up).astype(x.dtype), down).astype(x.dtype)
    return x


def format_thin_products(measured: Sequence[ThinProduct]) -> str:
    """Returns what was measured as a table."""
    rows = [
        (
            each.dtype,
            str(each.rows),
            f"{each.flops_per_second / 1e9:,.0f} GFLOP/s",
            f"{each.bytes_per_second / 1e9:,.1f} GB/s",
        )
        for each in measured
    ]
    return format_table(("products of few rows", "rows", "operations", "weights read"), rows)


def format_machine(machine: Machine) -> str:
    """Returns the limits as a table."""
    rows = [
        ("matmul, float32", f"{machine.matmul_flops_per_second / 1e9:,.0f} GFLOP/s"),
        ("matmul, bfloat16", f"{machine.bfloat16_matmul_flops_per_second / 1e9:,.0f} GFLOP/s"),
        ("memory, read + written", f"{machine.bandwidth_bytes_per_second / 1e9:,.1f} GB/s"),
    ]
    return format_table((f"limits of {machine.device}", "measured"), rows)


def main() -> None:
    """Prints the limits of this machine."""
    machine, thin = measure_machine(), measure_thin_products((1, 2, 16, 64, 256))
    print(format_machine(machine), end="\n\n")
    print(format_thin_products(thin))
    print(json.dumps(asdict(machine) | {"thin_products": [asdict(each) for each in thin]}))


if __name__ == "__main__":
    main()
