"""Reasoning density: how many sequences of each source a block of the stream holds.

Density is the share of loss-bearing *tokens* that come from reasoning sources. Each source is
packed on its own and whole sequences are interleaved, so a density becomes a number of sequences
of each source in every block.
"""

import math
from collections.abc import Sequence

from jaxreason.checks import check_that

Real = int | float


def sequences_per_block(
    tokens_per_sequence: Sequence[Real],
    is_reasoning: Sequence[bool],
    weights: Sequence[Real],
    *,
    density: Real,
    block_size: int,
) -> tuple[int, ...]:
    """Computes how many sequences of each source make up one block of the stream.

    The block is split between reasoning and base sources such that the reasoning sources' share
    of loss-bearing tokens comes as near to `density` as whole sequences allow. Inside a group,
    sources share the tokens in proportion to their weights, rounded by largest remainder.

    See "Front-Loading Reasoning" by Akter et al. (https://arxiv.org/abs/2510.03264), section 3.

    Args:
        tokens_per_sequence: [source], the mean number of loss-bearing tokens in a packed sequence.
        is_reasoning: [source], whether the source belongs to the reasoning group.
        weights: [source], each source's share of its group's tokens, not necessarily normalised.
        density: The share of loss-bearing tokens that comes from reasoning sources, in [0, 1].
        block_size: The number of sequences in a block.

    Returns:
        [source], counts that sum to `block_size`.

    Raises:
        ValueError: If the density is outside [0, 1], a group that must supply tokens has no
            source, or a source that must supply tokens rounds to 0 sequences.

    Example:
        Reasoning sequences carry half the tokens, so an even split takes twice as many of them.

        >>> sequences_per_block([128, 64], [False, True], [1, 1], density=0.5, block_size=9)
        (3, 6)
    """
    _check_sources(tokens_per_sequence, is_reasoning, weights, density, block_size)
    shares = _sequence_shares(tokens_per_sequence, is_reasoning, weights, density)

    def error(counts: tuple[int, ...]) -> float:
        return abs(realised_density(counts, tokens_per_sequence, is_reasoning) - density)

    def nearest(size: int) -> tuple[int, ...]:
        splits = range(size if density == 1 else 0, (0 if density == 0 else size) + 1)
        return min((_split(shares, is_reasoning, n, size) for n in splits), key=error)

    counts = nearest(block_size)
    starved = _starved(shares, counts)
    if starved:
        enough = max(block_size, math.ceil(1 / min(share for share in shares if share > 0)))
        while _starved(shares, nearest(enough)):
            enough *= 2
        check_that(
            False,
            f"source {starved[0]} must supply tokens but gets 0 of the {block_size} sequences of"
            f" a block at density {density:g}; use a block size of {enough} or more, or weight 0.",
        )
    return counts


def realised_density(
    counts: Sequence[int], tokens_per_sequence: Sequence[Real], is_reasoning: Sequence[bool]
) -> float:
    """Computes the share of loss-bearing tokens that reasoning sources have in a block.

    Args:
        counts: [source], sequences of each source.
        tokens_per_sequence: [source], the mean number of loss-bearing tokens in a sequence.
        is_reasoning: [source], whether the source belongs to the reasoning group.

    Returns:
        The density, between 0 and 1.

    Example:
        >>> realised_density([3, 6], [128, 64], [False, True])
        0.5
    """
    tokens = [count * size for count, size in zip(counts, tokens_per_sequence, strict=True)]
    reasoning = sum(size for size, flag in zip(tokens, is_reasoning, strict=True) if flag)
    return reasoning / sum(tokens)


def _check_sources(
    tokens_per_sequence: Sequence[Real],
    is_reasoning: Sequence[bool],
    weights: Sequence[Real],
    density: Real,
    block_size: int,
) -> None:
    """Checks the arguments of `sequences_per_block`; raises `ValueError` in one sentence."""
    check_that(0 <= density <= 1, f"density must lie in [0, 1]; got {density:g}.")
    check_that(block_size >= 1, f"block_size must be at least 1; got {block_size}.")
    lengths = (len(tokens_per_sequence), len(is_reasoning), len(weights))
    check_that(
        len(set(lengths)) == 1,
        "tokens_per_sequence, is_reasoning and weights must have one entry a source; got"
        f" {lengths[0]}, {lengths[1]} and {lengths[2]} entries.",
    )
    check_that(min(weights, default=0) >= 0, f"weights must not be negative; got {list(weights)}.")
    check_that(
        min(tokens_per_sequence, default=1) > 0,
        "every source must have loss-bearing tokens; got tokens_per_sequence"
        f" {list(tokens_per_sequence)}.",
    )
    for wanted, share, group in ((True, density, "reasoning"), (False, 1 - density, "base")):
        supplied = sum(w for w, flag in zip(weights, is_reasoning, strict=True) if flag == wanted)
        check_that(
            share == 0 or supplied > 0,
            f"density {density:g} needs a {group} source of positive weight; got none.",
        )


def _sequence_shares(
    tokens_per_sequence: Sequence[Real],
    is_reasoning: Sequence[bool],
    weights: Sequence[Real],
    density: Real,
) -> list[float]:
    """Returns each source's share of the sequences, before rounding."""
    totals = {
        flag: sum(w for w, other in zip(weights, is_reasoning, strict=True) if other == flag)
        for flag in (True, False)
    }
    group_share = {True: density, False: 1 - density}
    shares = [
        group_share[flag] * weight / totals[flag] / tokens if weight and group_share[flag] else 0.0
        for weight, flag, tokens in zip(weights, is_reasoning, tokens_per_sequence, strict=True)
    ]
    return [share / sum(shares) for share in shares]


def _split(
    shares: Sequence[float], is_reasoning: Sequence[bool], num_reasoning: int, block_size: int
) -> tuple[int, ...]:
    """Gives `num_reasoning` sequences to the reasoning sources and the rest to the others."""
    reasoning = _largest_remainder(
        [share if flag else 0.0 for share, flag in zip(shares, is_reasoning, strict=True)],
        num_reasoning,
    )
    base = _largest_remainder(
        [0.0 if flag else share for share, flag in zip(shares, is_reasoning, strict=True)],
        block_size - num_reasoning,
    )
    return tuple(r + b for r, b in zip(reasoning, base, strict=True))


def _largest_remainder(shares: Sequence[float], total: int) -> list[int]:
    """Rounds `total * shares / sum(shares)` to integers that sum to `total` (Hamilton)."""
    if total == 0:
        return [0] * len(shares)
    quotas = [total * share / sum(shares) for share in shares]
    counts = [math.floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda s: counts[s] - quotas[s])
    for source in by_remainder[: total - sum(counts)]:
        counts[source] += 1
    return counts


def _starved(shares: Sequence[float], counts: Sequence[int]) -> list[int]:
    """Lists the sources that should supply tokens but got no sequence."""
    pairs = enumerate(zip(shares, counts, strict=True))
    return [source for source, (share, count) in pairs if share > 0 and count == 0]
