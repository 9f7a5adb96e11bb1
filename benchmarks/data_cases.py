"""Measures reading a stream in a process of its own, whose peak memory is then its own.

`python -m benchmarks.data_cases iterate '{...}'`, a case as JSON, prints its numbers as JSON. Meant
for `benchmarks.data`.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import random
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import grain
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.voting_speed_case import peak_bytes
from data import build
from data.cache import cached
from data.mixture_config import MixtureConfig, Source, Stage
from data.readers import Docstrings
from data.stream import FIELDS, Batches, BatchIterator, PackedSource, mix
from jaxreason import mixture

OURS, PEER, PLAIN = "jaxreason", "grain", "plain loop"
WHOLE, CUT = f"{OURS} best_fit", f"{OURS} concatenate_and_cut"
PEER_CUT = f"{PEER} ConcatThenSplit"
DOCUMENTS = 8  # in a simulated sequence
VOCABULARY = 8192
LAYOUTS = 64  # different segment boundaries among the simulated sequences
BLOCK = 256
WIDTH = 256  # of the matrices that the simulated step multiplies

Batch = dict[str, np.ndarray]


def packers(documents: mixture.Documents, length: int, bins: int) -> dict[str, Callable[[], int]]:
    """Returns ways to pack documents that fit; each gives the number of sequences.

    Grain and the plain loop get tokens only, ours makes a loss mask as well.
    """
    spans = zip(documents.ends - documents.lengths, documents.ends, strict=True)
    pieces = [documents.tokens[start:end] for start, end in spans]
    lists = [piece.tolist() for piece in pieces]
    alone = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    elements = grain.MapDataset.source([{"tokens": piece} for piece in pieces])
    elements = elements.to_iter_dataset(alone)

    def ours(pack: Callable[..., Any]) -> Callable[[], int]:
        return lambda: len(pack(documents, length).tokens)

    def peer(pack: Callable[..., Any], **settings: Any) -> Callable[[], int]:
        return lambda: sum(1 for _ in pack(elements, length_struct={"tokens": length}, **settings))

    kinds = grain.experimental
    return {
        WHOLE: ours(mixture.best_fit),
        CUT: ours(mixture.concatenate_and_cut),
        f"{PEER} BestFit": peer(kinds.BestFitPackIterDataset, num_packing_bins=bins),
        f"{PEER} FirstFit": peer(kinds.FirstFitPackIterDataset, num_packing_bins=bins),
        PEER_CUT: peer(kinds.ConcatThenSplitIterDataset),
        PLAIN: lambda: len(_greedy(lists, length)[0]),
    }


def _greedy(pieces: Sequence[list[int]], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts a new sequence whenever a document does not fit the present one."""
    tokens, segment_ids, row, segments, number = [], [], [], [], 0
    for piece in [*pieces, [0] * (length + 1)]:  # the last one fits nowhere
        if len(row) + len(piece) > length:
            padding = [0] * (length - len(row))
            tokens.append(row + padding)
            segment_ids.append(segments + padding)
            row, segments, number = [], [], 0
        number += 1
        row += piece
        segments += [number] * len(piece)
    return np.array(tokens, np.int32), np.array(segment_ids, np.int32)


def write_packed(
    cache_dir: Path, name: str, num_sequences: int, length: int, *, sparse: bool = False
) -> Path:
    """Writes a source as `data.build` would: random tokens, or sparse files that take no room."""
    info = {
        "num_documents": num_sequences * DOCUMENTS,
        "num_tokens": num_sequences * length,
        "loss_tokens": num_sequences * (length - DOCUMENTS),
        "fingerprint": name,
    }

    def write(folder: Path) -> None:
        (folder / "info.json").write_text(json.dumps(info), encoding="utf-8")
        shape = (num_sequences, length)
        arrays = {
            field: np.lib.format.open_memmap(folder / f"{field}.npy", "w+", dtype, shape)
            for field, dtype in zip(FIELDS, (np.uint16, np.uint16, bool), strict=True)
        }
        if not sparse:
            _fill(**arrays)

    return cached(cache_dir, name, "simulated", write)


def _fill(tokens: np.ndarray, segment_ids: np.ndarray, loss_mask: np.ndarray) -> None:
    """Writes random tokens, in documents of random lengths."""
    num_sequences, length = tokens.shape
    rng = np.random.default_rng(0)
    first = np.zeros((LAYOUTS, length), bool)
    first[:, 0] = True
    for row in first:
        row[1 + rng.choice(length - 1, DOCUMENTS - 1, replace=False)] = True
    layout = np.arange(num_sequences) % LAYOUTS
    tokens[:] = rng.integers(1, VOCABULARY, tokens.shape, np.uint16)
    segment_ids[:] = np.cumsum(first, axis=1, dtype=np.uint16)[layout]
    loss_mask[:] = ~first[layout]


def weights(num_sources: int) -> list[float]:
    """Returns shares that are not round, up to ten times apart."""
    raw = [1 + 9 * (0.618034 * number % 1) for number in range(num_sources)]
    return [weight / sum(raw) for weight in raw]


def open_packed(folder: Path, num_sources: int) -> list[PackedSource]:
    """Opens written sequences as several sources, whose memory is that of one."""
    one = build.read_packed(folder, "source", False, 1.0)
    return [
        dataclasses.replace(one, name=f"source{number}", weight=weight)
        for number, weight in enumerate(weights(num_sources))
    ]


@dataclasses.dataclass(frozen=True)
class Reading:
    """What is read, and how much of it: `calls` times so many batches are timed."""

    folder: str
    num_sources: int
    batch_size: int
    batches: int
    calls: int
    prefetch: int

    @property
    def total(self) -> int:
        """Batches in all; those before the timed ones fill what is prepared ahead."""
        return 2 * self.prefetch + self.calls * self.batches


@dataclasses.dataclass(frozen=True)
class Iterate(Reading):
    """Reads batches in one way, a key of `READERS`."""

    method: str

    def measure(self) -> dict[str, Any]:
        """Returns seconds a call, memory, and how far the sources' shares are off."""
        sources = open_packed(Path(self.folder), self.num_sources)
        for name in FIELDS:  # so that the pages of the data are not counted
            np.count_nonzero(getattr(sources[0].packed, name))
        before = fresh_peak()
        batches = READERS[self.method](sources, self)
        seen = [next(batches)["source_id"] for _ in range(2 * self.prefetch)]
        seconds = []
        for _ in range(self.calls):
            start = time.perf_counter()
            seen += [next(batches)["source_id"] for _ in range(self.batches)]
            seconds.append(time.perf_counter() - start)
        peak = peak_bytes() / 2**20
        counts = np.bincount(np.concatenate(seen), minlength=self.num_sources)
        wanted = np.array(weights(self.num_sources)) * counts.sum()
        return {
            "seconds": seconds,
            "used_mib": max(peak - before, 0.0),
            "peak_mib": peak,
            "sequences_off": float(np.abs(counts - wanted).max()),
            "relative_off": float(np.abs(counts / wanted - 1).max()),
        }


def fresh_peak() -> float:
    """Forgets the most MiB that this process has held, where that can be, and returns it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes() / 2**20


def _ours(sources: Sequence[PackedSource], case: Reading) -> Batches:
    stage = mixture.StageSize(case.total * case.batch_size, 0.0)
    return Batches(mix(sources, [stage], block_size=BLOCK, seed=0), case.batch_size)


def _prefetched(sources: Sequence[PackedSource], case: Reading) -> Iterator[Batch]:
    return BatchIterator(_ours(sources, case), prefetch=case.prefetch)


def _inline(sources: Sequence[PackedSource], case: Reading) -> Iterator[Batch]:
    return iter(_ours(sources, case))


class Sequences:
    """The sequences of a source one at a time, for grain and the plain loop."""

    def __init__(self, source: PackedSource, number: int) -> None:
        self._arrays = {name: np.asarray(getattr(source.packed, name)) for name in FIELDS}
        self._number = np.int32(number)

    def __len__(self) -> int:
        return len(self._arrays["tokens"])

    def __getitem__(self, index: int) -> Batch:
        row = {name: array[index] for name, array in self._arrays.items()}
        return row | {"source_id": self._number}


def _completed(batch: Batch) -> Batch:
    """Gives a batch what ours have: 32-bit integers and positions."""
    segment_ids = batch["segment_ids"].astype(np.int32)
    return batch | {
        "tokens": batch["tokens"].astype(np.int32),
        "segment_ids": segment_ids,
        "positions": mixture.positions_of(segment_ids),
    }


def _grain(
    sources: Sequence[PackedSource],
    case: Reading,
    *,
    complete: bool = True,
    options: grain.ReadOptions | None = None,
) -> Iterator[Batch]:
    """Mixes by grain; each source is shuffled anew in every pass, as ours are."""
    passes = [
        grain.MapDataset.source(Sequences(source, number)).seed(number).shuffle().repeat()
        for number, source in enumerate(sources)
    ]
    mixed = grain.MapDataset.mix(passes, [source.weight for source in sources])
    batched = mixed.batch(case.batch_size)
    batched = batched.map(_completed) if complete else batched
    ahead = grain.ReadOptions(num_threads=1, prefetch_buffer_size=case.prefetch)
    return iter(batched.to_iter_dataset(options or ahead))


def _plain(sources: Sequence[PackedSource], case: Reading) -> Iterator[Batch]:
    """Draws the source of every sequence; each has one order."""
    rng = random.Random(0)
    readers = [Sequences(source, number) for number, source in enumerate(sources)]
    orders = [itertools.cycle(rng.sample(range(len(reader)), len(reader))) for reader in readers]
    shares = [source.weight for source in sources]
    while True:
        drawn = rng.choices(range(len(sources)), shares, k=case.batch_size)
        rows = [readers[number][next(orders[number])] for number in drawn]
        yield _completed({name: np.stack([row[name] for row in rows]) for name in rows[0]})


READERS: Mapping[str, Callable[..., Iterator[Batch]]] = types.MappingProxyType(
    {
        OURS: _prefetched,
        f"{OURS}, no prefetch": _inline,
        f"{PEER} mix": _grain,
        f"{PEER} mix, stored arrays": functools.partial(_grain, complete=False),
        f"{PEER} mix, default threads": functools.partial(_grain, options=grain.ReadOptions()),
        PLAIN: _plain,
    }
)


@dataclasses.dataclass(frozen=True)
class Prefetch(Reading):
    """Runs a step of about so many seconds on batches that are there, prepared ahead, or made."""

    step_seconds: float

    def measure(self) -> dict[str, Any]:
        """Returns for each way the seconds of every step, and those until its batch was there."""
        sources = open_packed(Path(self.folder), self.num_sources)
        batches = _ours(sources, self)
        ways = {
            "from memory": itertools.cycle([batches[number] for number in range(4)]),
            "prefetched": _prefetched(sources, self),
            "not prefetched": _inline(sources, self),
        }
        step = _sized_step(self.step_seconds, batches[0])
        times: dict[str, Any] = {name: {"step": [], "wait": []} for name in ways}
        next(ways["prefetched"])  # its thread begins
        for name in list(ways) * self.calls:
            for _ in range(self.batches):
                start = time.perf_counter()
                batch = next(ways[name])
                ready = time.perf_counter()
                step(batch)
                times[name]["step"].append(time.perf_counter() - start)
                times[name]["wait"].append(ready - start)
        return times


def _sized_step(seconds: float, batch: Batch) -> Callable[[Batch], Any]:
    """Returns a step of products of matrices that takes about so long, and waits for it."""

    @jax.jit
    def multiply(batch: dict[str, jax.Array], times: jax.Array) -> jax.Array:
        means = [jnp.mean(leaf.astype(jnp.float32)) for leaf in jax.tree.leaves(batch)]
        weight = jnp.eye(WIDTH) + sum(means) / 1e9
        return jax.lax.fori_loop(0, times, lambda _, x: jnp.tanh(x @ weight), weight)

    def timed(times: int) -> float:
        start = time.perf_counter()
        multiply(batch, np.int32(times)).block_until_ready()
        return time.perf_counter() - start

    timed(1)
    each = statistics.median(timed(8) for _ in range(5)) / 8
    times = np.int32(max(1, round(seconds / each)))
    return lambda batch: multiply(batch, times).block_until_ready()


@dataclasses.dataclass(frozen=True)
class Open:
    """Opens the stream of so many tokens that `write_index` simulated, and reads far places."""

    cache_dir: str
    tokens: int
    num_sources: int
    sequence_length: int
    batch_size: int
    reads: int

    @property
    def config(self) -> MixtureConfig:
        """The mixture; no text of its sources is ever read."""
        sources = [Source(f"source{number}", Docstrings()) for number in range(self.num_sources)]
        return MixtureConfig(tuple(sources), (Stage(self.tokens, 0.0),), self.sequence_length)

    def write_index(self, model: bytes) -> None:
        """Puts the stream into the cache as `open_stream` would, with files that take no room."""
        each = -(-self.tokens // (self.num_sources * self.sequence_length))
        names = tuple(source.name for source in self.config.sources)
        counts, cache_dir = (each,) * len(names), Path(self.cache_dir)
        schedule = mixture.Schedule(names, (False,) * len(names), counts, (counts,), BLOCK)
        folders = [
            write_packed(cache_dir, name, each, self.sequence_length, sparse=True).name
            for name in names
        ]
        manifest = {"schedule": dataclasses.asdict(schedule), "folders": folders}
        manifest["weights"] = [1.0] * len(names)
        simulated = {
            "take_inventory": lambda *_: mock.Mock(tokenizer=mock.Mock(model=model)),
            "plan": mock.Mock(),
            "write_stream": lambda *_: manifest,
        }
        with mock.patch.multiple(build, **simulated):
            build.open_stream(self.config, cache_dir)

    def measure(self) -> dict[str, Any]:
        """Returns the seconds to open and to read, and memory."""
        before = fresh_peak()
        start = time.perf_counter()
        stream = build.open_stream(self.config, Path(self.cache_dir)).stream
        opened, peak = time.perf_counter() - start, peak_bytes() / 2**20
        batches, reads = Batches(stream, self.batch_size), []
        for step in np.random.default_rng(0).integers(len(batches), size=self.reads).tolist():
            start = time.perf_counter()
            batches[step]
            reads.append(time.perf_counter() - start)
        return {
            "tokens": len(stream) * stream.sequence_length,
            "open_seconds": opened,
            "read_seconds": reads,
            "opened_mib": max(peak - before, 0.0),
            "process_mib": peak,
            "peak_mib": peak_bytes() / 2**20,
        }


CASES = types.MappingProxyType({"iterate": Iterate, "prefetch": Prefetch, "open": Open})


def main(argv: Sequence[str] | None = None) -> None:
    """Measures a case and prints its numbers."""
    name, text = sys.argv[1:] if argv is None else argv
    print(json.dumps(CASES[name](**json.loads(text)).measure()))


if __name__ == "__main__":
    main()
