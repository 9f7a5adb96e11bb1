"""The stream of training batches: packed sources in an order that follows from the index alone."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import grain
import numpy as np

from data.cache import digest
from jaxreason.mixture import (
    Location,
    OnCap,
    Packed,
    Schedule,
    SourceSize,
    StageSize,
    allocate,
    locate,
    positions_of,
    realised_density,
    rebase,
)

FIELDS = tuple(field.name for field in dataclasses.fields(Packed))
CHUNK = 1024  # sequences whose places are looked up at a time


@dataclasses.dataclass(frozen=True)
class PackedSource:
    """One source of a stream, packed on its own.

    Raises:
        ValueError: If it has no sequences or no loss-bearing tokens.
    """

    name: str
    """What tables call it; its order follows from it."""
    packed: Packed
    """Its sequences; arrays or memory maps."""
    is_reasoning: bool
    """Whether its tokens count towards the reasoning density."""
    num_documents: int
    """Documents that were packed."""
    weight: float = 1.0
    """Its share of the tokens of its group (reasoning or base), not necessarily normalised."""
    max_passes: float = float("inf")
    """How often the stream may pass through it."""
    num_tokens: int = 0
    """Tokens that are not padding; counted if not given."""
    loss_tokens: int = 0
    """Loss-bearing tokens; counted if not given."""
    fingerprint: str = ""
    """A hash of its contents; computed if not given."""

    def __post_init__(self) -> None:
        counted = {
            "num_tokens": self.num_tokens or int(np.sum(self.packed.segment_ids > 0)),
            "loss_tokens": self.loss_tokens or int(np.sum(self.packed.loss_mask)),
            "fingerprint": self.fingerprint or fingerprint(self.packed),
        }
        for name, value in counted.items():
            object.__setattr__(self, name, value)
        if self.loss_tokens == 0:
            raise ValueError(f"source {self.name} is empty: no token of it bears loss.")

    @property
    def num_sequences(self) -> int:
        """Number of packed sequences."""
        return len(self.packed.tokens)

    @property
    def size(self) -> SourceSize:
        """What an allocation needs to know."""
        return SourceSize(
            name=self.name,
            is_reasoning=self.is_reasoning,
            num_sequences=self.num_sequences,
            loss_tokens=self.loss_tokens,
            weight=self.weight,
            max_passes=self.max_passes,
        )


def fingerprint(packed: Packed) -> str:
    """Returns a hash of packed sequences, whatever integer types hold them."""
    arrays = hashlib.sha256()
    for name in FIELDS:
        for row in getattr(packed, name):
            arrays.update(row.astype(np.int32))
    return arrays.hexdigest()[:32]


class Stream:
    """Sequences of several sources, each a pure function of its index.

    Args:
        sources: The packed sources, all of one sequence length.
        schedule: Their order.

    Raises:
        ValueError: If the sources' lengths differ, or the schedule is not theirs.
    """

    def __init__(self, sources: Sequence[PackedSource], schedule: Schedule) -> None:
        lengths = {source.name: source.packed.tokens.shape[1] for source in sources}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"all sources must have one sequence length; got {lengths}.")
        sizes = {source.name: source.num_sequences for source in sources}
        planned = dict(zip(schedule.names, schedule.sequences_per_source, strict=True))
        if list(sizes.items()) != list(planned.items()):
            raise ValueError(f"the schedule is of sources {planned}, not of {sizes}.")
        self.sources = tuple(sources)
        self.schedule = schedule
        self._arrays = {
            name: [np.asarray(getattr(source.packed, name)) for source in sources]
            for name in FIELDS
        }
        self._chunk = functools.lru_cache(maxsize=8)(functools.partial(_located, schedule))

    def __len__(self) -> int:
        return self.schedule.num_sequences

    @property
    def sequence_length(self) -> int:
        """Tokens in a sequence."""
        return self.sources[0].packed.tokens.shape[1]

    @cached_property
    def description(self) -> dict[str, Any]:
        """What the stream depends on, so that two can be told apart and compared."""
        description = dataclasses.asdict(self.schedule)
        keys = [source.fingerprint for source in self.sources]
        return description | {"sources": dict(zip(self.schedule.names, keys, strict=True))}

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the stream: two streams with the same one have the same sequences."""
        return digest(**self.description)

    @property
    def densities(self) -> list[float]:
        """The reasoning sources' share of the loss-bearing tokens, a stage."""
        rates = [source.loss_tokens / source.num_sequences for source in self.sources]
        return [
            realised_density(stage, rates, self.schedule.is_reasoning)
            for stage in self.schedule.stages
        ]

    def rows(self, index: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """Returns sequences.

        Args:
            index: [batch], places in the stream.

        Returns:
            `tokens`, `segment_ids`, `positions` (int32) and `loss_mask` (bool) of shape
            [batch, time], and `source_id`, `pass_index` and `stage` of shape [batch].

        Raises:
            IndexError: If a place is not in the stream.
        """
        where = self.locate(np.asarray(index, np.int64))
        rows = {name: self._gathered(name, where) for name in FIELDS}
        return rows | {
            "positions": positions_of(rows["segment_ids"]),
            "source_id": where.source.astype(np.int32),
            "pass_index": where.pass_index.astype(np.int32),
            "stage": where.stage.astype(np.int32),
        }

    def locate(self, index: np.ndarray) -> Location:
        """Finds where sequences come from; looks up a chunk of the order at a time."""
        if len(index) == 0 or index.min() < 0 or index.max() >= len(self):
            return locate(self.schedule, index)  # nothing, or an error
        chunks = index // CHUNK
        found = {chunk: self._chunk(chunk) for chunk in set(chunks.tolist())}
        fields = [field.name for field in dataclasses.fields(Location)]
        parts = {name: np.zeros(len(index), np.int64) for name in fields}
        for chunk, location in found.items():
            chosen = chunks == chunk
            for name in fields:
                parts[name][chosen] = getattr(location, name)[index[chosen] - chunk * CHUNK]
        return Location(**parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return Stream, (self.sources, self.schedule)

    def _gathered(self, name: str, where: Location) -> np.ndarray:
        """Gathers one array's rows from the sources."""
        arrays = self._arrays[name]
        dtype = bool if arrays[0].dtype == bool else np.int32
        rows = np.empty((len(where.item), self.sequence_length), dtype)
        places = zip(where.source.tolist(), where.item.tolist(), strict=True)
        for row, (source, item) in enumerate(places):
            rows[row] = arrays[source][item]
        return rows

    def summary(self) -> list[dict[str, Any]]:
        """Returns a table of the sources.

        Returns:
            One row a source: its name, group, documents, tokens, sequences, padding share, its
            realised share of the stream's loss-bearing tokens, and the passes over it.
        """
        counts = np.sum(self.schedule.stages, axis=0)
        rates = [source.loss_tokens / source.num_sequences for source in self.sources]
        shares = counts * rates / np.sum(counts * rates)
        return [
            {
                "source": source.name,
                "group": "reasoning" if source.is_reasoning else "base",
                "documents": source.num_documents,
                "tokens": source.num_tokens,
                "sequences": source.num_sequences,
                "padding": 1 - source.num_tokens / source.packed.tokens.size,
                "token_share": float(share),
                "passes": float(count / source.num_sequences),
            }
            for source, count, share in zip(self.sources, counts, shares, strict=True)
        ]


def _located(schedule: Schedule, chunk: int) -> Location:
    end = min((chunk + 1) * CHUNK, schedule.num_sequences)
    return locate(schedule, np.arange(chunk * CHUNK, end))


def mix(
    sources: Sequence[PackedSource],
    stages: Sequence[StageSize],
    *,
    block_size: int,
    seed: int,
    on_cap: OnCap = "error",
) -> Stream:
    """Mixes packed sources into a stream with exact shares.

    Args:
        sources: The sources, all of one sequence length.
        stages: Length and reasoning density of each stage.
        block_size: Sequences in a block; shares are exact to one sequence in every block.
        seed: Seed of the order.
        on_cap: What to do if a source's passes would be exceeded, see `allocate`.

    Returns:
        The stream.

    Raises:
        ValueError: If a density can't be had from the sources, or their lengths differ.
    """
    allocation = allocate([source.size for source in sources], stages, on_cap=on_cap)
    schedule = Schedule(
        names=tuple(source.name for source in sources),
        is_reasoning=tuple(source.is_reasoning for source in sources),
        sequences_per_source=tuple(source.num_sequences for source in sources),
        stages=allocation.sequences,
        block_size=block_size,
        seed=seed,
    )
    return Stream(sources, schedule)


def rebased(stream: Stream, index: int, new: Stream) -> Stream:
    """Makes a changed stream go on where another one stopped: every source keeps its place.

    Args:
        stream: The stream so far.
        index: How many sequences of it were read.
        new: The stream from there on.

    Returns:
        `new`, in which no sequence of a source comes twice in a pass, and none is left out.

    Raises:
        ValueError: If the seed or the contents of a source changed.
    """
    old = {source.name: source.fingerprint for source in stream.sources}
    for source in new.sources:
        if old.get(source.name, source.fingerprint) != source.fingerprint:
            raise ValueError(
                f"source {source.name} has other contents now, so that its place means nothing;"
                " give it a new name to start it at its beginning."
            )
    return Stream(new.sources, rebase(stream.schedule, index, new.schedule))


class Batches:
    """A stream cut into batches, of which this process reads its part; a data source for grain.

    Args:
        stream: The stream.
        batch_size: Sequences in a batch of all processes together.
        process: Which process this is.
        num_processes: How many there are; it divides `batch_size`.

    Raises:
        ValueError: If the sizes don't fit.
    """

    def __init__(
        self, stream: Stream, batch_size: int, *, process: int = 0, num_processes: int = 1
    ) -> None:
        if batch_size < 1 or batch_size % num_processes or not 0 <= process < num_processes:
            raise ValueError(
                "batch_size must be a positive multiple of num_processes, and process one of them;"
                f" got batch_size {batch_size} and process {process} of {num_processes}."
            )
        if len(stream) < batch_size:
            raise ValueError(
                f"the stream has {len(stream)} sequences, less than one batch of {batch_size}."
            )
        self.stream, self.batch_size = stream, batch_size
        share = batch_size // num_processes
        self._own = np.arange(process * share, (process + 1) * share)

    def __len__(self) -> int:
        return len(self.stream) // self.batch_size

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        if not 0 <= step < len(self):
            raise IndexError(f"batches run from 0 to {len(self) - 1}; got {step}.")
        return self.stream.rows(step * self.batch_size + self._own)


class BatchIterator(grain.DatasetIterator):
    """Batches one after the other, prepared ahead by a thread; its state fits any batch size.

    Grain's checkpoints take it as they take any of grain's iterators.

    Args:
        batches: The batches.
        prefetch: How many are prepared ahead.
    """

    def __init__(self, batches: Batches, *, prefetch: int = 4) -> None:
        super().__init__()
        self._batches = batches
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=prefetch)
        self._inner = iter(grain.MapDataset.source(batches).to_iter_dataset(options))

    def __next__(self) -> dict[str, np.ndarray]:
        return next(self._inner)

    def get_state(self) -> dict[str, Any]:
        """Returns how many sequences were read, and of what stream."""
        steps = self._inner.get_state()["next_index"]
        return {
            "sequences": steps * self._batches.batch_size,
            "fingerprint": self._batches.stream.fingerprint,
            "description": self._batches.stream.description,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes to where a state was taken.

        Raises:
            ValueError: If it was taken of another stream, or not between two batches.
        """
        stream = self._batches.stream
        if state["fingerprint"] != stream.fingerprint:
            changes = "; ".join(differences(state["description"], stream.description))
            raise ValueError(
                f"the stream is not the one that was read: {changes}. Keep it, or carry the"
                " sources' places over with `rebased`."
            )
        step, rest = divmod(state["sequences"], self._batches.batch_size)
        if rest:
            raise ValueError(
                f"{state['sequences']} sequences were read, which is no whole number of batches of"
                f" {self._batches.batch_size}; choose a batch size that divides it."
            )
        self._inner.set_state({"next_index": step})


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Lists what two descriptions differ in, in words."""
    found = []
    for name in dict.fromkeys([*old, *new]):
        before, after = _plain(old.get(name)), _plain(new.get(name))
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found.append(f"{prefix}{name} was {before}, is {after}")
    return found


def _plain(value: Any) -> Any:
    """Returns lists for tuples, as JSON does."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
