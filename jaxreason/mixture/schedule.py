"""The order of a stream: which sequence stands at an index follows from the index alone (NumPy).

Whole sequences of several sources are interleaved. Each stage of the stream holds an exact number
of sequences of every source; each block of a stage holds its exact part of them, in an order of
its own. Each source is passed through in a fresh permutation, and a pass ends before the next one
begins. Seeking costs the same everywhere, so a resume needs an index and nothing else.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from jaxreason.checks import check_that
from jaxreason.mixture.permutation import fold_in, permuted_index

MAX_SEQUENCES = 2**31 - 1  # in a stage: twice the product of two counts stays below 2**63
_BLOCK_STREAM, _PASS_STREAM = 0, 1


@dataclasses.dataclass(frozen=True)
class Schedule:
    """What the order of a mixture depends on.

    Raises:
        ValueError: If the parts don't have one entry a source, or a source that has a place in the
            stream has no sequences.
    """

    names: tuple[str, ...]
    """[source], names; a source's permutations follow from its name and the seed."""
    is_reasoning: tuple[bool, ...]
    """[source], which sources count towards the reasoning density."""
    sequences_per_source: tuple[int, ...]
    """[source], how many packed sequences each source has."""
    stages: tuple[tuple[int, ...], ...]
    """[stage, source], sequences of each source in each stage of the stream."""
    block_size: int
    """Sequences in a block; a stage's last block may be shorter."""
    seed: int = 0
    """Seed of all permutations."""
    cursors: tuple[int, ...] = ()
    """[source], sequences of each source read before the stream starts; none if empty."""

    def __post_init__(self) -> None:
        sources = len(self.names)
        per_source = (self.is_reasoning, self.sequences_per_source, *self.stages)
        check_that(
            sources > 0 and all(len(part) == sources for part in per_source),
            "names, is_reasoning, sequences_per_source and every stage must have one entry a"
            f" source; got {sources} names and parts of {[len(part) for part in per_source]}.",
        )
        check_that(
            len(set(self.names)) == sources,
            f"names of sources must differ; got {list(self.names)}.",
        )
        check_that(self.block_size >= 1, f"block_size must be 1 or more; got {self.block_size}.")
        check_that(
            all(min(stage) >= 0 and 0 < sum(stage) <= MAX_SEQUENCES for stage in self.stages)
            and len(self.stages) > 0,
            f"every stage must hold from 1 to {MAX_SEQUENCES} sequences and none below 0 of a"
            f" source; got {self.stages}.",
        )
        check_that(0 <= self.seed < 2**64, f"seed must be from 0 to 2**64 - 1; got {self.seed}.")
        check_that(
            len(self.cursors) in (0, sources) and min(self.cursors, default=0) >= 0,
            f"cursors must have one entry a source, 0 or more, or none; got {self.cursors}.",
        )
        wanted = np.sum(self.stages, axis=0).tolist()
        for name, count, size in zip(self.names, wanted, self.sequences_per_source, strict=True):
            check_that(
                count == 0 or size > 0,
                f"source {name} has {count} places in the stream but no sequences to fill them.",
            )

    @property
    def num_sequences(self) -> int:
        """The length of the stream."""
        return int(np.sum(self.stages))


@dataclasses.dataclass(frozen=True)
class Location:
    """Where sequences of the stream come from; all fields have the shape of the index."""

    stage: Int64[np.ndarray, "*shape"]
    """The index of the stage."""
    source: Int64[np.ndarray, "*shape"]
    """The index of the source."""
    pass_index: Int64[np.ndarray, "*shape"]
    """How many times the source has been passed through before."""
    item: Int64[np.ndarray, "*shape"]
    """The sequence's index within its source."""


def locate(schedule: Schedule, index: Any) -> Location:
    """Finds the sequences that stand at places of the stream.

    Args:
        schedule: The order's description.
        index: [*shape], places in the stream, from 0 to below `schedule.num_sequences`.

    Returns:
        Stage, source, pass and item, each of the index's shape.

    Raises:
        IndexError: If a place is not in the stream.

    Example:
        >>> schedule = Schedule(("text", "math"), (False, True), (6, 2), ((6, 2),), block_size=4)
        >>> location = locate(schedule, np.arange(8))
        >>> location.source.reshape(2, 4).sum(axis=1), np.sort(location.item[location.source == 0])
        (array([1, 1]), array([0, 1, 2, 3, 4, 5]))
    """
    index = np.asarray(index, np.int64)
    flat = index.reshape(-1)
    if flat.size and not (flat.min() >= 0 and flat.max() < schedule.num_sequences):
        raise IndexError(
            f"places in this stream run from 0 to {schedule.num_sequences - 1}; got"
            f" {flat.min()} to {flat.max()}."
        )
    ends = np.cumsum(np.sum(schedule.stages, axis=1))
    stage = np.searchsorted(ends, flat, side="right")
    within = flat - (ends - np.sum(schedule.stages, axis=1))[stage]
    source, running = np.zeros_like(flat), np.zeros_like(flat)
    block = within // schedule.block_size
    for this_stage, this_block in set(zip(stage.tolist(), block.tolist(), strict=True)):
        chosen = (stage == this_stage) & (block == this_block)
        order, places = _block(schedule, this_stage, this_block)
        slot = within[chosen] - this_block * schedule.block_size
        source[chosen], running[chosen] = order[slot], places[slot]
    size = np.array(schedule.sequences_per_source, np.int64)[source]
    pass_index, place = np.divmod(running, np.maximum(size, 1))
    keys = np.array([_source_key(schedule.seed, name) for name in schedule.names], np.uint64)
    item = permuted_index(fold_in(keys[source], pass_index), place, np.maximum(size, 1))
    parts = (stage, source, pass_index, item)
    return Location(*(part.astype(np.int64).reshape(index.shape) for part in parts))


def read_before(schedule: Schedule, index: int) -> tuple[int, ...]:
    """Counts the sequences of each source that stand before a place of the stream.

    Args:
        schedule: The order's description.
        index: A place, from 0 to `schedule.num_sequences` (the end).

    Returns:
        [source], with `schedule.cursors` counted in: where each source stands.

    Raises:
        IndexError: If the place is not in the stream.

    Example:
        >>> schedule = Schedule(("text", "math"), (False, True), (6, 2), ((6, 2),), block_size=4)
        >>> read_before(schedule, 4)
        (3, 1)
    """
    if not 0 <= index <= schedule.num_sequences:
        raise IndexError(
            f"places in this stream run from 0 to {schedule.num_sequences}; got {index}."
        )
    total = np.zeros(len(schedule.names), np.int64)
    for number, stage in enumerate(schedule.stages):
        within, index = min(index, sum(stage)), index - min(index, sum(stage))
        block, slots = divmod(within, schedule.block_size)
        total += _stage_counts(schedule, number, block * schedule.block_size)
        if slots:
            order, _ = _block(schedule, number, block)
            total += np.bincount(order[:slots], minlength=len(total))
    return tuple((total + _start(schedule)).tolist())


def rebase(schedule: Schedule, index: int, new: Schedule) -> Schedule:
    """Makes a changed stream go on where another one stopped: every source keeps its place.

    Sources are matched by name. Each goes on in its current pass where it was, so none of its
    sequences is lost or repeated; a source that is new starts at its beginning. To leave a source
    out for a while, keep it in `new` with no sequences: one that is not there loses its place.
    `max_passes` holds for each stream alone; their passes add up.

    Args:
        schedule: The order so far.
        index: How many sequences of it were read.
        new: The order from there on; only its stages, block size and sources' weights are new.

    Returns:
        `new` with the sources' cursors.

    Raises:
        ValueError: If the seed, or a source's number of sequences, is another one: then its
            permutation is, too.

    Example:
        >>> schedule = Schedule(("text", "math"), (False, True), (6, 2), ((6, 2),), block_size=4)
        >>> new = Schedule(("math", "text"), (True, False), (2, 6), ((4, 0),), block_size=2)
        >>> rebase(schedule, 4, new).cursors
        (1, 3)
    """
    check_that(
        schedule.seed == new.seed,
        f"a stream that goes on must keep its seed, {schedule.seed}; got {new.seed}.",
    )
    read = dict(zip(schedule.names, read_before(schedule, index), strict=True))
    sizes = dict(zip(schedule.names, schedule.sequences_per_source, strict=True))
    for name, size in zip(new.names, new.sequences_per_source, strict=True):
        check_that(
            sizes.get(name, size) == size,
            f"source {name} had {sizes.get(name)} sequences and has {size} now, so that its place"
            " means nothing; give it a new name to start it at its beginning.",
        )
    return dataclasses.replace(new, cursors=tuple(read.get(name, 0) for name in new.names))


def running_counts(totals: Sequence[int], taken: Any) -> Int64[np.ndarray, "*shape source"]:
    """Spreads sources evenly: how many of each stand among the first `taken` of a sequence.

    The sources are split into halves, each of which gets its rounded part, and so on. So counts
    never fall, they sum to `taken`, end at `totals`, and each source stays within half a sequence
    a level of its exact part.

    Args:
        totals: [source], how many there are of each.
        taken: [*shape], from 0 to `sum(totals)`, which is below 2**31.

    Returns:
        The counts.

    Example:
        >>> running_counts([6, 2], np.arange(0, 9, 4))
        array([[0, 0],
               [3, 1],
               [6, 2]])
    """
    taken = np.asarray(taken, np.int64)
    if len(totals) == 1:
        return taken[..., None]
    half = len(totals) // 2
    left = _part(taken, sum(totals[:half]), sum(totals))
    halves = (totals[:half], left), (totals[half:], taken - left)
    return np.concatenate([running_counts(*half) for half in halves], axis=-1)


def _part(taken: Any, part: int, total: int) -> Any:
    """Returns `taken * part / total`, rounded; exact in 64 bits."""
    return (2 * taken * part + total) // max(2 * total, 1)


def _stage_counts(schedule: Schedule, stage: int, taken: int) -> Int64[np.ndarray, " source"]:
    """Counts the sequences of each source in the first blocks of a stage, groups split first."""
    totals, reasoning = np.array(schedule.stages[stage]), np.array(schedule.is_reasoning)
    left = _part(taken, int(totals[reasoning].sum()), int(totals.sum()))
    counts = np.zeros(len(totals), np.int64)
    for group, members in ((left, reasoning), (taken - left, ~reasoning)):
        if members.any():
            counts[members] = running_counts(totals[members].tolist(), group)
    return counts


def _block(schedule: Schedule, stage: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a block's order: for each slot its source, and how much of that was read before."""
    end = min((block + 1) * schedule.block_size, sum(schedule.stages[stage]))
    first = _stage_counts(schedule, stage, block * schedule.block_size)
    counts = _stage_counts(schedule, stage, end) - first
    in_order = np.repeat(np.arange(len(counts)), counts)
    earlier = np.sum(schedule.stages[:stage], axis=0, dtype=np.int64) + _start(schedule)
    key = fold_in(fold_in(fold_in(schedule.seed, _BLOCK_STREAM), stage), block)
    order = in_order[np.argsort(fold_in(key, np.arange(len(in_order))), kind="stable")]
    places = np.zeros(len(order), np.int64)
    for source in np.flatnonzero(counts):
        places[order == source] = earlier[source] + first[source] + np.arange(counts[source])
    return order, places


def _start(schedule: Schedule) -> np.ndarray:
    return np.array(schedule.cursors or [0] * len(schedule.names), np.int64)


def _source_key(seed: int, name: str) -> int:
    """Returns a source's key, which doesn't depend on what other sources there are."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return int(fold_in(fold_in(fold_in(seed, _PASS_STREAM), number), 0))
