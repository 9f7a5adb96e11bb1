"""Block-deterministic order: which sequence stands at an index follows from the index alone.

Every block of the stream holds exactly `counts_per_block[source]` sequences of each source, in
an order of its own. Each source is passed through in a fresh permutation, and a pass ends before
the next one begins. Seeking is O(block), so a resume needs the step number and nothing else.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxreason.checks import check_that
from jaxreason.mixture.permutation import permuted_index

_BLOCK_STREAM, _PASS_STREAM = 0, 1


@dataclasses.dataclass(frozen=True)
class Schedule:
    """What the order of a mixture depends on; hashable, so it can be a static argument.

    Raises:
        ValueError: If the two tuples differ in length, or a source that has a place in the block
            has no sequences.
    """

    counts_per_block: tuple[int, ...]
    """[source], sequences of each source in every block."""
    sequences_per_source: tuple[int, ...]
    """[source], how many packed sequences each source has."""
    seed: int = 0
    """Seed of all permutations."""

    def __post_init__(self) -> None:
        counts, sizes = self.counts_per_block, self.sequences_per_source
        check_that(
            len(counts) == len(sizes),
            "counts_per_block and sequences_per_source must have one entry a source; got"
            f" {len(counts)} and {len(sizes)} entries.",
        )
        check_that(
            min(counts, default=0) >= 0 and sum(counts) > 0,
            f"counts_per_block must hold at least one sequence and none below 0; got {counts}.",
        )
        for source, (count, size) in enumerate(zip(counts, sizes, strict=True)):
            check_that(
                count == 0 or size > 0,
                f"source {source} has {count} places in a block but no sequences to fill them.",
            )

    @property
    def block_size(self) -> int:
        """The number of sequences in a block."""
        return sum(self.counts_per_block)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Location:
    """Where a sequence of the stream comes from."""

    source: Int[Array, "..."]
    """The index of the source."""
    pass_index: Int[Array, "..."]
    """How many times the source has been passed through before."""
    item: Int[Array, "..."]
    """The sequence's index within its source."""


@partial(jax.jit, static_argnums=0)
def locate(schedule: Schedule, index: Int[Array, "*shape"]) -> Location:
    """Finds the sequence that stands at an index of the stream.

    Args:
        schedule: The order's description (static: each one compiles once a shape).
        index: Positions in the stream, of any shape, from 0 to below 2**31.

    Returns:
        Source, pass and item, each of the index's shape.

    Example:
        >>> schedule = Schedule(counts_per_block=(3, 1), sequences_per_source=(6, 2), seed=7)
        >>> block = locate(schedule, jnp.arange(4))
        >>> sorted(block.source.tolist()), block.pass_index.tolist()
        ([0, 0, 0, 1], [0, 0, 0, 0])
    """
    index = jnp.asarray(index, jnp.int32)
    located = jax.vmap(partial(_locate_one, schedule))(index.reshape(-1))
    return jax.tree.map(lambda leaf: leaf.reshape(index.shape), located)


def _locate_one(schedule: Schedule, index: Int[Array, ""]) -> Location:
    """Finds the sequence at one index."""
    counts = np.array(schedule.counts_per_block, np.int32)
    sizes = np.maximum(np.array(schedule.sequences_per_source, np.int32), 1)
    key = jax.random.key(schedule.seed, impl="threefry2x32")
    block, slot = jnp.divmod(index, schedule.block_size)

    block_key = jax.random.fold_in(jax.random.fold_in(key, _BLOCK_STREAM), block)
    order = jax.random.permutation(block_key, np.repeat(np.arange(len(counts)), counts))
    source = order[slot].astype(jnp.int32)
    before = jnp.sum((order == source) & (jnp.arange(schedule.block_size) < slot), dtype=jnp.int32)

    running = block * jnp.asarray(counts)[source] + before
    size = jnp.asarray(sizes)[source]
    pass_index, place = jnp.divmod(running, size)
    pass_key = jax.random.fold_in(jax.random.fold_in(key, _PASS_STREAM), source)
    item = permuted_index(jax.random.fold_in(pass_key, pass_index), place, size)
    return Location(source=source, pass_index=pass_index, item=item)
