"""How whole sequences are split between sources, so that tokens have the shares asked for."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from jaxreason.checks import check_that

Real = int | float
Counts = tuple[tuple[int, ...], ...]
"""[stage, source], sequences."""


@dataclasses.dataclass(frozen=True)
class SourceSize:
    """What an allocation needs to know of a packed source.

    Raises:
        ValueError: If the source is empty, or a number is out of range.
    """

    name: str
    """What messages call it."""
    is_reasoning: bool
    """Whether its tokens count towards the reasoning density."""
    num_sequences: int
    """Its packed sequences."""
    loss_tokens: int
    """Loss-bearing tokens in all of them."""
    weight: Real = 1.0
    """Its share of its group's loss-bearing tokens, not necessarily normalised."""
    max_passes: Real = math.inf
    """How often the stream may pass through it."""

    def __post_init__(self) -> None:
        check_that(
            self.num_sequences > 0 and self.loss_tokens > 0,
            f"source {self.name} is empty: it has {self.num_sequences} sequences and"
            f" {self.loss_tokens} loss-bearing tokens.",
        )
        check_that(
            self.weight >= 0 and math.isfinite(self.weight),
            f"the weight of source {self.name} must be 0 or more; got {self.weight:g}.",
        )
        check_that(
            self.max_passes > 0,
            f"max_passes of source {self.name} must be above 0; got {self.max_passes:g}.",
        )

    @property
    def tokens_per_sequence(self) -> float:
        """The mean number of loss-bearing tokens in a sequence."""
        return self.loss_tokens / self.num_sequences

    @property
    def limit(self) -> float:
        """The most sequences that its passes allow."""
        passes = float(self.max_passes * self.num_sequences)
        return passes if math.isinf(passes) else float(math.floor(passes * (1 + 1e-12)))


@dataclasses.dataclass(frozen=True)
class StageSize:
    """One stage of the stream.

    Raises:
        ValueError: If a number is out of range.
    """

    num_sequences: int
    """Its length."""
    reasoning_token_share: Real
    """The share of its loss-bearing tokens that come from reasoning sources, in [0, 1]."""

    def __post_init__(self) -> None:
        check_that(
            self.num_sequences >= 1,
            f"a stage must have 1 sequence or more; got {self.num_sequences}.",
        )
        check_that(
            0 <= self.reasoning_token_share <= 1,
            f"reasoning_token_share must lie in [0, 1]; got {self.reasoning_token_share:g}.",
        )


def realised_density(
    counts: Sequence[int], tokens_per_sequence: Sequence[Real], is_reasoning: Sequence[bool]
) -> float:
    """Computes the share of loss-bearing tokens that reasoning sources have.

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


def split_stages(
    sources: Sequence[SourceSize],
    stages: Sequence[StageSize],
    given: Mapping[int, Sequence[int]] = MappingProxyType({}),
) -> Counts:
    """Splits the stages between the sources; those that give all they may have a given part."""
    return tuple(_stage_counts(sources, stage, given, n) for n, stage in enumerate(stages))


def _stage_counts(
    sources: Sequence[SourceSize],
    stage: StageSize,
    given: Mapping[int, Sequence[int]],
    number: int,
) -> tuple[int, ...]:
    """Splits a stage between the sources: of the splits near to the ideal one, the nearest."""
    counts = [given[s][number] if s in given else 0 for s in range(len(sources))]
    shares = {flag: _sequence_shares(sources, flag, given) for flag in (True, False)}
    rest = stage.num_sequences - sum(counts)
    rates = [source.tokens_per_sequence for source in sources]
    is_reasoning = [source.is_reasoning for source in sources]

    def split(reasoning: int) -> tuple[int, ...]:
        parts = (shares[True], reasoning), (shares[False], rest - reasoning)
        columns = zip(counts, *(largest_remainder(*part) for part in parts), strict=True)
        return tuple(sum(column) for column in columns)

    def tokens_off(split: Sequence[int]) -> float:
        density = realised_density(split, rates, is_reasoning)
        tokens = sum(count * rate for count, rate in zip(split, rates, strict=True))
        return abs(density - stage.reasoning_token_share) * tokens

    near = _near(sources, stage.reasoning_token_share, counts, shares, rest)
    splits = [counts for counts in map(split, near) if sum(counts) == stage.num_sequences]
    best = min(splits, key=tokens_off, default=None)
    # what caps leave may be too little; without them the nearest is as near as it gets
    if best is None or (given and tokens_off(best) > max(rates)):
        raise ValueError(_used_up_message([sources[s].name for s in given], stage, number))
    return best


def _near(
    sources: Sequence[SourceSize],
    density: Real,
    counts: Sequence[int],
    shares: Mapping[bool, Sequence[float]],
    rest: int,
) -> list[int]:
    """Returns how many of `rest` sequences reasoning sources might fill, near the ideal number."""
    if density in (0, 1):
        return [rest if density else 0]
    ideal = math.floor(_reasoning_part(sources, density, counts, shares, rest))
    reach = 1 + len(sources)  # each source is rounded, and their sequences differ in tokens
    return [n for n in range(ideal - reach, ideal + reach + 1) if 0 <= n <= rest]


def _used_up_message(names: Sequence[str], stage: StageSize, number: int) -> str:
    return (
        f"source {' and source '.join(names)} can give no more than max_passes allow, and the"
        f" others can't fill the {stage.num_sequences} sequences of stage {number} at a"
        f" reasoning_token_share of {stage.reasoning_token_share:g}; raise max_passes, ask for"
        " fewer tokens, or set on_cap to 'shrink'."
    )


def _sequence_shares(
    sources: Sequence[SourceSize], is_reasoning: bool, given: Mapping[int, Sequence[int]]
) -> list[float]:
    """Returns the shares of a group's sequences that its sources get, those not given yet."""
    shares = [
        source.weight / source.tokens_per_sequence
        if source.is_reasoning == is_reasoning and s not in given
        else 0.0
        for s, source in enumerate(sources)
    ]
    total = sum(shares)
    return [share / total for share in shares] if total else shares


def _reasoning_part(
    sources: Sequence[SourceSize],
    density: Real,
    counts: Sequence[int],
    shares: Mapping[bool, Sequence[float]],
    rest: int,
) -> float:
    """Solves for how many of `rest` sequences, unrounded, reasoning sources must fill."""
    rates = [source.tokens_per_sequence for source in sources]
    given, rate = {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}
    for s, source in enumerate(sources):
        given[source.is_reasoning] += counts[s] * rates[s]
        rate[source.is_reasoning] += shares[source.is_reasoning][s] * rates[s]
    if not (rate[True] and rate[False]):  # only one group has sources left
        return rest if rate[True] else 0.0
    base_if_none = given[False] + rate[False] * rest
    wanted = density * base_if_none - (1 - density) * given[True]
    part = wanted / ((1 - density) * rate[True] + density * rate[False])
    return min(max(part, 0.0), float(rest))


def largest_remainder(shares: Sequence[Real], total: int) -> list[int]:
    """Rounds `total * shares / sum(shares)` to integers that sum to `total`; 0 of no shares."""
    whole = sum(shares)
    if total == 0 or whole == 0:
        return [0] * len(shares)
    quotas = [total * share / whole for share in shares]
    counts = [math.floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda s: counts[s] - quotas[s])
    for source in by_remainder[: total - sum(counts)]:
        counts[source] += 1
    return counts
