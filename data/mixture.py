"""The input pipeline: packed sources interleaved by a schedule, addressed by the step number."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import grain
import jax
import numpy as np

from data.cache import digest
from jaxreason.mixture import Packed, Schedule, locate, realised_density, sequences_per_block

MAX_SEQUENCES = 2**31 - 1  # positions in the stream are 32-bit integers
FIELDS = tuple(field.name for field in dataclasses.fields(Packed))


@dataclasses.dataclass(frozen=True)
class PackedSource:
    """One source of a mixture, packed on its own.

    Raises:
        ValueError: If it has no sequences or no loss-bearing tokens.
    """

    name: str
    """What tables call it."""
    packed: Packed
    """Its sequences."""
    is_reasoning: bool
    """Whether its tokens count towards the reasoning density."""
    num_documents: int
    """Documents that were packed."""
    weight: float = 1.0
    """Its share of the tokens of its group (reasoning or base), not necessarily normalised."""

    def __post_init__(self) -> None:
        if self.loss_tokens == 0:
            raise ValueError(f"source {self.name} is empty: no token of it bears loss.")

    @property
    def num_sequences(self) -> int:
        """Number of packed sequences."""
        return len(self.packed.tokens)

    @cached_property
    def loss_tokens(self) -> int:
        """Number of loss-bearing tokens."""
        return int(np.sum(self.packed.loss_mask))

    @cached_property
    def num_tokens(self) -> int:
        """Number of tokens that are not padding."""
        return int(np.sum(self.packed.segment_ids > 0))


class PackedMixture:
    """A stream of batches with an exact reasoning density, each a pure function of its step.

    Args:
        sources: The packed sources, all of one sequence length.
        density: The share of loss-bearing tokens that comes from reasoning sources.
        block_size: Sequences in a block; the density is exact to one sequence in every block.
        batch_size: Sequences in a batch.
        seed: Seed of the order.

    Raises:
        ValueError: If the density can't be had from the sources, or their lengths differ.
    """

    def __init__(
        self,
        sources: Sequence[PackedSource],
        *,
        density: float,
        block_size: int,
        batch_size: int,
        seed: int,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1; got {batch_size}.")
        lengths = {source.name: source.packed.tokens.shape[1] for source in sources}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"all sources must have one sequence length; got {lengths}.")
        self.sources = tuple(sources)
        self.batch_size = batch_size
        counts = sequences_per_block(
            self._tokens_per_sequence,
            [source.is_reasoning for source in sources],
            [source.weight for source in sources],
            density=density,
            block_size=block_size,
        )
        self.schedule = Schedule(counts, tuple(source.num_sequences for source in sources), seed)

    @property
    def _tokens_per_sequence(self) -> list[float]:
        return [source.loss_tokens / source.num_sequences for source in self.sources]

    @property
    def density(self) -> float:
        """The share of loss-bearing tokens of a block that comes from reasoning sources."""
        is_reasoning = [source.is_reasoning for source in self.sources]
        counts = self.schedule.counts_per_block
        return realised_density(counts, self._tokens_per_sequence, is_reasoning)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the stream: two mixtures with the same one give the same batches."""
        arrays = hashlib.sha256()
        for source in self.sources:
            for name in FIELDS:
                arrays.update(np.ascontiguousarray(getattr(source.packed, name)))
        names = [source.name for source in self.sources]
        return digest(
            schedule=self.schedule,
            batch_size=self.batch_size,
            sources=names,
            arrays=arrays.hexdigest(),
        )

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Returns the batch of a step.

        Args:
            step: The step number, from 0.

        Returns:
            `tokens`, `segment_ids`, `positions` and `loss_mask` of shape [batch, time], and
            `source_id` of shape [batch], an index into `sources`.
        """
        start = step * self.batch_size
        if not 0 <= start <= MAX_SEQUENCES - self.batch_size:
            raise ValueError(
                f"step must be from 0 to {MAX_SEQUENCES // self.batch_size - 1}; got {step}."
            )
        with jax.default_device(_host_device()):
            location = locate(self.schedule, start + np.arange(self.batch_size, dtype=np.int32))
        source_id, item = np.asarray(location.source), np.asarray(location.item)
        rows = {name: self._rows(name, source_id, item) for name in FIELDS}
        return rows | {"source_id": source_id}

    def _rows(self, name: str, source_id: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Gathers one array's rows from the sources."""
        arrays = [getattr(source.packed, name) for source in self.sources]
        rows = np.empty((len(item), arrays[0].shape[1]), arrays[0].dtype)
        for source, array in enumerate(arrays):
            chosen = source_id == source
            rows[chosen] = array[item[chosen]]
        return rows

    def iterate(self, start_step: int = 0, *, prefetch: int = 4) -> Iterator[dict[str, np.ndarray]]:
        """Iterates over the batches from a step on, without end.

        Args:
            start_step: The first batch; a resumed run passes the step that it stopped at.
            prefetch: Batches that a thread prepares ahead.

        Returns:
            An iterator over what `batch` returns for `start_step`, `start_step + 1`, ...
        """
        steps = grain.MapDataset.range(start_step, MAX_SEQUENCES // self.batch_size)
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=prefetch)
        return iter(steps.map(self.batch).to_iter_dataset(options))

    def summary(self, num_steps: int) -> list[dict[str, Any]]:
        """Returns a table of the sources.

        Args:
            num_steps: The length of the run, for the number of passes over each source.

        Returns:
            One row a source: its name, group, documents, tokens, sequences, padding share, its
            realised share of loss-bearing tokens, and the passes over it in `num_steps` steps.
        """
        counts = self.schedule.counts_per_block
        tokens = np.multiply(counts, self._tokens_per_sequence)
        blocks = num_steps * self.batch_size / self.schedule.block_size
        return [
            {
                "source": source.name,
                "group": "reasoning" if source.is_reasoning else "base",
                "documents": source.num_documents,
                "tokens": source.num_tokens,
                "sequences": source.num_sequences,
                "padding": 1 - source.num_tokens / source.packed.tokens.size,
                "token_share": float(share),
                "passes": blocks * count / source.num_sequences,
            }
            for source, count, share in zip(
                self.sources, counts, tokens / tokens.sum(), strict=True
            )
        ]


def _host_device() -> jax.Device:
    """Returns the CPU, so that looking up the order never waits behind a training step."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # the CPU backend was switched off
        return jax.local_devices()[0]
