"""How many sequences of each source a stream holds, so that its reasoning density is exact.

Density is the share of loss-bearing *tokens* that come from reasoning sources. Each source is
packed on its own, so a density becomes a number of whole sequences. Nothing is read here: the
sizes of the sources decide.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

from jaxreason.checks import check_that
from jaxreason.mixture.shares import (
    Counts,
    SourceSize,
    StageSize,
    largest_remainder,
    split_stages,
)

OnCap = Literal["error", "shrink", "redistribute"]


@dataclasses.dataclass(frozen=True)
class Allocation:
    """How many sequences of each source stand in each stage."""

    sequences: Counts
    """[stage, source]."""
    scale: float
    """What all stages were shrunk by, 1 if no cap made it necessary."""
    capped: tuple[bool, ...]
    """[source], whether the shares ask for more of it than its `max_passes` allow."""


def allocate(
    sources: Sequence[SourceSize], stages: Sequence[StageSize], *, on_cap: OnCap = "error"
) -> Allocation:
    """Computes how many sequences of each source stand in each stage of the stream.

    A stage is split between reasoning and base sources such that the reasoning sources' share of
    loss-bearing tokens comes as near to the stage's as whole sequences allow. Inside a group,
    sources share the tokens in proportion to their weights. Sequences are rounded by largest
    remainder (Hamilton), so each stage has exactly its length.

    See "Front-Loading Reasoning" by Akter et al. (https://arxiv.org/abs/2510.03264), section 3.

    Args:
        sources: The sources.
        stages: The stages, in order.
        on_cap: What to do if a source would be passed through more often than it may: "error";
            "shrink" (all stages by one factor, so all shares stay); "redistribute" (the source
            gives what it may, the others of its group give the rest, so the density stays).

    Returns:
        The sequences of each source in each stage.

    Raises:
        ValueError: If a share can't be had: a group that must supply tokens has no source, a
            source that must supply tokens would get no sequence, or a cap binds and `on_cap` is
            "error", or nothing would be left, or no source is left to give the rest.

    Example:
        Reasoning sequences carry half the tokens, so an even split takes twice as many of them.

        >>> text = SourceSize("text", False, num_sequences=100, loss_tokens=12_800)
        >>> math = SourceSize("math", True, num_sequences=100, loss_tokens=6_400)
        >>> allocate([text, math], [StageSize(9, 0.5)]).sequences
        ((3, 6),)
    """
    check_that(on_cap in get_args(OnCap), f"on_cap must be one of {get_args(OnCap)}; got {on_cap}.")
    _check(sources, stages)
    counts = split_stages(sources, stages)
    over = _over(sources, counts)
    scale = 1.0
    if over and on_cap == "redistribute":
        counts, over = _redistributed(sources, stages, counts)
    elif over:
        fitting = _fitting(sources, stages)
        message = _cap_message(sources, stages, counts, over, fitting)
        check_that(on_cap == "shrink" and len(fitting) > 0, message)
        scale = max(map(_length, fitting)) / max(map(_length, stages))
        counts = split_stages(sources, fitting)
    _check_not_starved(sources, stages, counts)
    return Allocation(counts, scale, tuple(s in over for s in range(len(sources))))


def _check(sources: Sequence[SourceSize], stages: Sequence[StageSize]) -> None:
    """Checks the arguments of `allocate`; raises `ValueError` in one sentence."""
    check_that(len(stages) > 0, "there are no stages; the stream needs at least one.")
    for number, stage in enumerate(stages):
        density = stage.reasoning_token_share
        for flag, share, group in ((True, density, "reasoning"), (False, 1 - density, "base")):
            supplied = sum(source.weight for source in sources if source.is_reasoning == flag)
            check_that(
                share == 0 or supplied > 0,
                f"stage {number} with a reasoning_token_share of {density:g} needs a {group}"
                " source of positive weight; got none.",
            )


def _over(sources: Sequence[SourceSize], counts: Counts) -> list[int]:
    """Returns the sources that would be passed through more often than they may, tightest first."""
    totals = _totals(counts)
    over = [s for s, total in enumerate(totals) if total > sources[s].limit]
    return sorted(over, key=lambda s: sources[s].limit / totals[s])


def _totals(counts: Counts) -> list[int]:
    return [sum(column) for column in zip(*counts, strict=True)]


def _redistributed(
    sources: Sequence[SourceSize], stages: Sequence[StageSize], counts: Counts
) -> tuple[Counts, list[int]]:
    """Lets sources give what they may and others of their group the rest; also tells which."""
    given: dict[int, Sequence[int]] = {}
    while over := _over(sources, counts):
        tightest = over[0]
        column = [stage[tightest] for stage in counts]
        given[tightest] = largest_remainder(column, int(sources[tightest].limit))
        counts = split_stages(sources, stages, given)
    return counts, list(given)


def _fitting(sources: Sequence[SourceSize], stages: Sequence[StageSize]) -> list[StageSize]:
    """Returns the stages, shrunk by one factor as little as caps allow; none if they allow none."""
    longest = max(map(_length, stages))
    fits, too_long = 0, longest
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if _over(sources, split_stages(sources, _shrunk(stages, middle, longest))):
            too_long = middle
        else:
            fits = middle
    return _shrunk(stages, fits, longest) if fits else []


def _shrunk(stages: Sequence[StageSize], part: int, whole: int) -> list[StageSize]:
    return [
        dataclasses.replace(stage, num_sequences=max(1, _length(stage) * part // whole))
        for stage in stages
    ]


def _length(stage: StageSize) -> int:
    return stage.num_sequences


def _cap_message(
    sources: Sequence[SourceSize],
    stages: Sequence[StageSize],
    counts: Counts,
    over: Sequence[int],
    fitting: Sequence[StageSize],
) -> str:
    """Says which source binds, what is attainable and which caps would do."""
    totals = _totals(counts)
    caps = [passes_needed(totals[s], sources[s].num_sequences) for s in over]
    raised = [f"{cap} for {sources[s].name}" for cap, s in zip(caps, over, strict=True)]
    tightest = sources[over[0]]
    return (
        f"source {tightest.name} would be passed through"
        f" {totals[over[0]] / tightest.num_sequences:.4g} times, more than its max_passes of"
        f" {tightest.max_passes:g}: at these shares the caps allow a stream of"
        f" {sum(map(_length, fitting))} sequences of the {sum(map(_length, stages))}; raise"
        f" max_passes to {' and '.join(raised)}, ask for fewer tokens, or set on_cap to 'shrink'"
        " or 'redistribute'."
    )


def passes_needed(num_wanted: int, num_sequences: int) -> str:
    """Writes how many passes give so many sequences, rounded up to two decimals.

    Example:
        >>> passes_needed(807, 100), passes_needed(2, 3), passes_needed(800, 100)
        ('8.07', '0.67', '8')
    """
    hundredths = -(-100 * num_wanted // num_sequences)
    return f"{hundredths // 100}.{hundredths % 100:02}".rstrip("0").rstrip(".")


def _check_not_starved(
    sources: Sequence[SourceSize], stages: Sequence[StageSize], counts: Counts
) -> None:
    """Refuses an allocation in which a source that must supply tokens gets no sequence."""
    densities = [stage.reasoning_token_share for stage in stages]
    for source, total in zip(sources, _totals(counts), strict=True):
        needed = max(densities) > 0 if source.is_reasoning else min(densities) < 1
        check_that(
            total > 0 or not needed or source.weight == 0,
            f"source {source.name} must supply tokens but gets 0 of the {sum(map(sum, counts))}"
            " sequences of the stream; ask for more tokens, shorter sequences, or give it weight"
            " 0.",
        )
