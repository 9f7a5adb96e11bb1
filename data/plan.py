"""The plan of a mixture: how much of each source stands where. Arithmetic on an inventory.

`python -m data.plan NAME` prints it; nothing is packed or written for it.
"""

import bisect
import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.inventory import take_inventory
from data.mixture_config import MixtureConfig, Source, sequences_of
from data.program import run
from data.selection import Selection
from data.tables import table
from jaxreason.mixture import (
    Allocation,
    Fitted,
    SourceSize,
    StageSize,
    allocate,
    fit,
    packed_size,
    passes_needed,
    realised_density,
)

MATCHING_ROUNDS = 20  # fewer documents have other tokens a sequence, which changes the shares


@dataclasses.dataclass(frozen=True)
class PlannedSource:
    """What a mixture takes of one source."""

    config: Source
    available: Selection
    """The documents to choose from."""
    selection: Selection
    """Those that are taken: all, or so many that they are passed through as often as asked."""
    num_sequences: int
    """Its packed sequences."""
    loss_tokens: int
    """Loss-bearing tokens in them."""
    overlong: int
    """Documents longer than a sequence."""
    tokens_lost: int
    """Tokens that were truncated or dropped with them."""

    @property
    def size(self) -> SourceSize:
        """What an allocation needs to know."""
        return SourceSize(
            name=self.config.name,
            is_reasoning=self.config.is_reasoning,
            num_sequences=self.num_sequences,
            loss_tokens=self.loss_tokens,
            weight=self.config.weight,
            max_passes=math.inf if self.config.match_passes else self.config.max_passes,
        )


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much of each source stands in each stage."""

    config: MixtureConfig
    sources: tuple[PlannedSource, ...]
    allocation: Allocation
    uncapped: Allocation
    """What it would be if sources could be passed through as often as one likes."""

    @property
    def stage_sequences(self) -> list[int]:
        """Sequences of each stage."""
        return [sum(stage) for stage in self.allocation.sequences]

    @property
    def densities(self) -> list[float]:
        """The reasoning sources' realised share of the loss-bearing tokens, a stage."""
        groups = [source.config.is_reasoning for source in self.sources]
        return [realised_density(stage, self._rates, groups) for stage in self.allocation.sequences]

    def rows(self) -> list[dict[str, Any]]:
        """Returns a table of the sources; all tokens in it bear loss, but for those lost."""
        sequences = np.sum(self.allocation.sequences, axis=0)
        given = sequences * self._rates
        requested = np.sum(self.uncapped.sequences, axis=0) * self._rates
        return [
            {
                "source": source.config.name,
                "group": source.config.group,
                "documents": len(source.selection.chosen),
                "unique": source.loss_tokens,
                "requested": round(float(requested[number])),
                "given": round(float(given[number])),
                "share": float(given[number] / given.sum()),
                "passes": float(sequences[number] / source.num_sequences),
                "capped": "yes" if self.allocation.capped[number] else "",
                "sequences": int(sequences[number]),
                "overlong": source.overlong,
                "tokens lost": source.tokens_lost,
            }
            for number, source in enumerate(self.sources)
        ]

    @property
    def _rates(self) -> list[float]:
        return [source.loss_tokens / source.num_sequences for source in self.sources]


def plan(config: MixtureConfig, selections: Sequence[Selection]) -> Plan:
    """Plans a mixture.

    Args:
        config: The mixture.
        selections: The documents of each source, in the order of `config.sources`.

    Returns:
        The plan.

    Raises:
        ValueError: If a share can't be had, a cap binds, a source is too small to be passed through
            as seldom as asked, or a document is too long and its source says that this is an error.
    """
    length = config.sequence_length
    sources = [
        _not_empty(_sized(source, selection, selection, length), length)
        for source, selection in zip(config.sources, selections, strict=True)
    ]
    for number in range(MATCHING_ROUNDS):
        allocation = _allocated(config, [source.size for source in sources])
        wanted = np.sum(allocation.sequences, axis=0).tolist()
        is_late = number >= MATCHING_ROUNDS // 2
        matched = [
            _matched(source, count, length, is_late=is_late)
            for source, count in zip(sources, wanted, strict=True)
        ]
        if all(new is old for new, old in zip(matched, sources, strict=True)):
            break
        sources = matched
    else:
        raise ValueError(
            "match_passes can't be met, since fewer documents change the shares that decide how"
            " many are needed; ask for more tokens, or leave match_passes out."
        )
    sizes = [dataclasses.replace(source.size, max_passes=math.inf) for source in sources]
    return Plan(config, tuple(sources), allocation, _allocated(config, sizes))


def fitted(source: Source, selection: Selection, length: int) -> Fitted:
    """Returns the documents of a source as they are packed.

    Raises:
        ValueError: If one is too long and the source says that this is an error.
    """
    documents = selection.documents()
    if not source.packs_whole:  # nothing is lost, they go on in the next sequence
        overlong = int(np.sum(documents.lengths > length))
        return Fitted(documents, np.arange(len(documents)), overlong, 0)
    try:
        return fit(documents, length, overlong=source.overlong)
    except ValueError as error:
        raise ValueError(f"source {source.name}: {error}") from error


def _sized(
    source: Source, available: Selection, selection: Selection, length: int
) -> PlannedSource:
    made, size = fitted(source, selection, length), (0, 0)
    if len(made.documents):
        size = packed_size(made.documents, length, whole=source.packs_whole)
    return PlannedSource(source, available, selection, *size, made.num_overlong, made.tokens_lost)


def _not_empty(source: PlannedSource, length: int) -> PlannedSource:
    if source.num_sequences == 0:
        raise ValueError(
            f"every document of source {source.config.name} is longer than {length} tokens and"
            " dropped; use longer sequences, or overlong='split'."
        )
    return source


def _allocated(config: MixtureConfig, sizes: Sequence[SourceSize]) -> Allocation:
    length = config.sequence_length
    stages = [
        StageSize(sequences_of(stage.tokens, length), float(stage.reasoning_token_share))
        for stage in config.stages
    ]
    try:
        return allocate(sizes, stages, on_cap=config.on_cap)
    except ValueError as error:
        message = str(error).removesuffix(".")
        raise ValueError(f"{message} (a sequence has {length} tokens).") from error


def _matched(source: PlannedSource, count: int, length: int, *, is_late: bool) -> PlannedSource:
    """Takes so many documents that `count` sequences pass through them `match_passes` times.

    It is met to one packed sequence, or to one document where that is longer; where two numbers of
    documents take turns, it stays with one of them once it is late.
    """
    target = source.config.match_passes
    if target is None or abs(count / target - source.num_sequences) <= 1:
        return source
    available = len(source.available.chosen)
    whole = _taking(source, available, length)
    if count / target > whole.num_sequences + 1:
        raise ValueError(
            f"source {source.config.name} is too small for match_passes = {target:g}: the stream"
            f" passes through all of its {available} documents"
            f" {count / whole.num_sequences:.4g} times; raise match_passes to"
            f" {passes_needed(count, whole.num_sequences)}, or ask for fewer tokens."
        )
    found = _filling(source, count / target, length)
    now, then = len(source.selection.chosen), len(found.selection.chosen)
    if then == now or (is_late and abs(then - now) == 1):
        return source
    is_far = now < available and abs(then - now) > 1
    return _taking(source, (now + then) // 2, length) if is_far else found  # so that it settles


def _filling(source: PlannedSource, wanted: float, length: int) -> PlannedSource:
    """Takes the number of documents that comes nearest to filling so many sequences."""

    def size(number: int) -> int:
        return _taking(source, number, length).num_sequences

    fewer = bisect.bisect_left(range(1, len(source.available.chosen)), wanted, key=size)
    sizes = {number: size(number) for number in (fewer, fewer + 1) if number}
    possible = [number for number in sizes if sizes[number]]  # of those first, all may be dropped
    best = min(possible, key=lambda number: abs(wanted - sizes[number]))
    return _taking(source, best, length)


def _taking(source: PlannedSource, number: int, length: int) -> PlannedSource:
    return _sized(source.config, source.available, source.available.take(number), length)


def main(config: MixtureConfig, cache_dir: Path) -> None:
    """Prints the plan of a mixture."""
    print_plan(plan(config, take_inventory(config, cache_dir).selections()))


def print_plan(planned: Plan) -> None:
    """Prints what a mixture takes of every source, and the density of every stage."""
    config = planned.config
    print(table(planned.rows()))
    print("\nunique, requested, given, share: loss-bearing tokens.\n")
    stages = zip(planned.stage_sequences, config.stages, planned.densities, strict=True)
    rows = [
        {
            "stage": number,
            "asked tokens": stage.tokens,
            "tokens": sequences * config.sequence_length,
            "asked": stage.reasoning_token_share,
            "density": density,
        }
        for number, (sequences, stage, density) in enumerate(stages)
    ]
    print(table(rows))
    if planned.allocation.scale < 1:
        print(f"\nCaps shrank every stage to {planned.allocation.scale:.1%} of what was asked for.")


if __name__ == "__main__":
    run("plan", "Plans how much of each source a mixture takes.", main, sys.argv[1:])
