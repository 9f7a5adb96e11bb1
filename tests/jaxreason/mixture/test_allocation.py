"""Allocation: density exact to one sequence, totals exact, caps, and what is refused."""

import dataclasses
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.mixture import (
    SourceSize,
    StageSize,
    allocate,
    passes_needed,
    realised_density,
)


def size(name, is_reasoning, tokens_per_sequence, *, sequences=10**6, weight=1.0, passes=math.inf):
    return SourceSize(
        name, is_reasoning, sequences, sequences * tokens_per_sequence, weight, passes
    )


def density_of(counts, sources):
    rates = [source.tokens_per_sequence for source in sources]
    return realised_density(counts, rates, [source.is_reasoning for source in sources])


def test_hand_derived_counts():
    # 20% of the tokens, reasoning sequences 20 times as long: for every 80 sequences of 1 token
    # one of 20 is needed, 80 / (80 + 20) = 4/5. A stage of 81 holds exactly that.
    sources = [size("text", False, 1), size("math", True, 20)]
    (counts,) = allocate(sources, [StageSize(81, 0.2)]).sequences
    assert counts == (80, 1)
    assert density_of(counts, sources) == pytest.approx(0.2)


def test_weights_share_a_groups_tokens():
    # Base tokens 3:1 between sources of 100 and 50 tokens: sequences 3/100 : 1/50 = 3 : 2.
    # Reasoning needs as many tokens as the base's 3 * 100 + 2 * 50 = 400: four of 100.
    sources = [size("a", False, 100, weight=3), size("b", False, 50), size("c", True, 100)]
    assert allocate(sources, [StageSize(9, 0.5)]).sequences == ((3, 2, 4),)


def test_two_stages_are_the_papers_schedule():
    # 600 and 400 sequences, the second at 20%: 80 of 1,000 are reasoning, 8% (600B, then 400B).
    sources = [size("text", False, 100), size("math", True, 100)]
    stages = [StageSize(600, 0.0), StageSize(400, 0.2)]
    assert allocate(sources, stages).sequences == ((600, 0), (320, 80))


@pytest.mark.parametrize("density", [0.001, 0.01, 0.2, 0.5, 0.99, 0.999])
@pytest.mark.parametrize("lengths", [(1, 20), (20, 1), (600, 12_000), (128, 128)])
def test_exact_to_one_sequence_at_lengths_twenty_times_apart(density, lengths):
    sources = [size("text", False, lengths[0]), size("math", True, lengths[1])]
    (counts,) = allocate(sources, [StageSize(65_536, density)]).sequences
    tokens = counts[0] * lengths[0] + counts[1] * lengths[1]
    assert sum(counts) == 65_536
    assert abs(counts[1] * lengths[1] - density * tokens) <= max(lengths) / 2


sources_of = st.lists(
    st.tuples(st.integers(5, 100), st.booleans(), st.floats(0.2, 1)), min_size=2, max_size=6
)


def made(sources, **more):
    sources = [(60, True, 1.0), (60, False, 1.0), *sources]
    return [
        size(str(index), flag, tokens, weight=weight, **more)
        for index, (tokens, flag, weight) in enumerate(sources)
    ]


@settings(max_examples=50, deadline=None)
@given(sources=sources_of, density=st.floats(0.1, 0.9), length=st.integers(1000, 5000))
def test_any_mixture_is_exact_to_one_sequence(sources, density, length):
    sources = made(sources)
    (counts,) = allocate(sources, [StageSize(length, density)]).sequences
    assert sum(counts) == length and min(counts) > 0
    total = sum(c * s.tokens_per_sequence for c, s in zip(counts, sources, strict=True))
    error = abs(density_of(counts, sources) - density)
    assert error * total <= max(source.tokens_per_sequence for source in sources)


@settings(max_examples=30, deadline=None)
@given(
    rates=st.lists(st.integers(1, 2000), min_size=20, max_size=40),
    density=st.floats(0.2, 0.8),
    length=st.integers(20_000, 10**6),
)
def test_many_sources_of_very_different_lengths_are_exact_to_one_sequence(rates, density, length):
    sources = [size(str(n), n % 2 == 0, rate) for n, rate in enumerate(rates)]
    (counts,) = allocate(sources, [StageSize(length, density)]).sequences
    tokens = sum(count * rate for count, rate in zip(counts, rates, strict=True))
    assert sum(counts) == length
    assert abs(density_of(counts, sources) - density) * tokens <= max(rates)


@settings(max_examples=50, deadline=None)
@given(
    sources=sources_of,
    densities=st.lists(st.floats(0.1, 0.9), min_size=1, max_size=3),
    passes=st.floats(0.3, 3),
)
def test_redistribution_keeps_density_lengths_and_caps(sources, densities, passes):
    sources = made(sources, sequences=500)
    sources[2] = SourceSize(**vars(sources[2]) | {"max_passes": passes})
    stages = [StageSize(1000, density) for density in densities]
    if sources[2].weight == 1 and len(sources) < 4:
        return
    allocation = allocate(sources, stages, on_cap="redistribute")
    totals = [sum(column) for column in zip(*allocation.sequences, strict=True)]
    assert all(total <= s.limit for total, s in zip(totals, sources, strict=True))
    for counts, stage in zip(allocation.sequences, stages, strict=True):
        assert sum(counts) == stage.num_sequences
        tokens = sum(c * s.tokens_per_sequence for c, s in zip(counts, sources, strict=True))
        error = abs(density_of(counts, sources) - stage.reasoning_token_share)
        assert error * tokens <= max(source.tokens_per_sequence for source in sources)


@pytest.mark.parametrize(("density", "expected"), [(0, (4, 0)), (1, (0, 4))])
def test_pure_mixtures_leave_the_other_group_out(density, expected):
    sources = [size("text", False, 10), size("math", True, 10)]
    assert allocate(sources, [StageSize(4, density)]).sequences == (expected,)


def test_a_single_group_may_stand_alone():
    sources = [size("a", True, 7, weight=7), size("b", True, 7)]
    assert allocate(sources, [StageSize(8, 1)]).sequences == ((7, 1),)


def test_a_source_of_weight_zero_is_left_out():
    sources = [size("a", False, 9), size("b", False, 9, weight=0), size("c", True, 9)]
    assert allocate(sources, [StageSize(6, 0.5)]).sequences == ((3, 0, 3),)


CAPPED = [
    size("text", False, 10, sequences=1000),
    size("math", True, 10, sequences=25, passes=4),
    size("code", True, 10, sequences=500),
]  # 800 sequences at 50%: math and code 200 each, but math may give 100


def test_a_cap_that_binds_names_the_source_what_is_attainable_and_the_cap_that_would_do():
    # Half of 401 sequences round to 201 and 100 + 100.
    message = (
        r"source math would be passed through 8 times, more than its max_passes of 4: .* allow a"
        r" stream of 401 sequences of the 800; raise max_passes to 8 for math, ask for fewer"
    )
    with pytest.raises(ValueError, match=message):
        allocate(CAPPED, [StageSize(800, 0.5)])
    enough = [*CAPPED[:1], size("math", True, 10, sequences=25, passes=8), *CAPPED[2:]]
    assert allocate(enough, [StageSize(800, 0.5)]).sequences == ((400, 200, 200),)


caps_of = st.tuples(
    st.lists(st.tuples(st.integers(5, 100), st.floats(0.3, 3)), min_size=2, max_size=4),
    st.lists(st.floats(0.2, 0.8), min_size=1, max_size=3),
    st.integers(500, 3000),
)


def capped(case):
    """Sources that may be passed through as often as the case says, and stages."""
    caps, densities, length = case
    sources = [
        SourceSize(str(n), n % 2 == 0, 150, 150 * rate, 1.0, passes)
        for n, (rate, passes) in enumerate(caps)
    ]
    return sources, [StageSize(length - 100 * n, d) for n, d in enumerate(densities)]


def shrunk(stages, length):
    """All stages by one factor, such that the first has this length."""
    shares = [stage.reasoning_token_share for stage in stages]
    return [StageSize(*size) for size in zip(lengths_of(stages, length), shares, strict=True)]


def lengths_of(stages, length):
    first = stages[0].num_sequences
    return [stage.num_sequences * length // first for stage in stages]


@settings(max_examples=12, deadline=None)
@given(case=caps_of)
def test_the_numbers_of_the_message_are_true(case):
    sources, stages = capped(case)
    try:
        allocate(sources, stages)
    except ValueError as error:
        message = str(error)
    else:
        return
    attainable, asked = map(int, re.search(r"of (\d+) sequences of the (\d+);", message).groups())
    assert asked == sum(stage.num_sequences for stage in stages)
    lengths = range(stages[0].num_sequences)
    first = next(n for n in lengths if sum(lengths_of(stages, n)) == attainable)
    allocate(sources, shrunk(stages, first))
    with pytest.raises(ValueError, match="would be passed through"):
        allocate(sources, shrunk(stages, first + 1))
    caps = {name: float(cap) for cap, name in re.findall(r"([\d.]+) for (\w+)", message)}
    raised = [replaced(source, caps.get(source.name)) for source in sources]
    assert total(stages) == sum(map(sum, allocate(raised, stages).sequences))
    for name, cap in caps.items():
        less = [replaced(s, cap - 0.01 if s.name == name else None) for s in raised]
        with pytest.raises(ValueError, match=f"source {name} would be passed through"):
            allocate(less, stages)


def total(stages):
    return sum(stage.num_sequences for stage in stages)


def replaced(source, max_passes):
    return dataclasses.replace(source, max_passes=max_passes or source.max_passes)


def test_caps_are_rounded_up_exactly():
    assert passes_needed(807, 100) == "8.07" and passes_needed(8_070_001, 10**6) == "8.08"
    for wanted, sequences in (
        (807, 100),
        (29, 100),
        (80_700_000, 10**7),
        (123_456_789, 10**4),
        (1, 3),
    ):
        cap = float(passes_needed(wanted, sequences))
        assert wanted <= SourceSize("x", True, sequences, 1, 1.0, cap).limit
        assert wanted > SourceSize("x", True, sequences, 1, 1.0, cap - 0.01).limit


@settings(max_examples=20, deadline=None)
@given(case=caps_of)
def test_shrinking_keeps_shares_and_caps_and_is_as_little_as_can_be(case):
    sources, stages = capped(case)
    allocation = allocate(sources, stages, on_cap="shrink")
    totals = [sum(column) for column in zip(*allocation.sequences, strict=True)]
    assert all(total <= s.limit for total, s in zip(totals, sources, strict=True))
    first = sum(allocation.sequences[0])
    assert allocation.scale == first / stages[0].num_sequences
    assert allocation.sequences == allocate(sources, shrunk(stages, first)).sequences
    assert any(allocation.capped) == (allocation.scale < 1)
    if allocation.scale < 1:
        with pytest.raises(ValueError, match="would be passed through"):
            allocate(sources, shrunk(stages, first + 1))


def test_shrinking_by_hand():
    stages = [StageSize(600, 0.0), StageSize(802, 0.5)]
    allocation = allocate(CAPPED, stages, on_cap="shrink")
    assert allocation.sequences == ((300, 0, 0), (201, 100, 100))
    assert allocation.scale == 0.5 and allocation.capped == (False, True, False)


def test_a_cap_that_leaves_nothing_is_refused():
    sources = [CAPPED[0], size("math", True, 10, sequences=2, passes=0.1)]
    with pytest.raises(ValueError, match="max_passes of 0.1: .* allow a stream of 0 sequences"):
        allocate(sources, [StageSize(2, 1.0)], on_cap="shrink")


def test_redistribution_stays_in_the_group():
    allocation = allocate(CAPPED, [StageSize(800, 0.5)], on_cap="redistribute")
    assert allocation.sequences == ((400, 100, 300),)
    assert allocation.capped == (False, True, False) and allocation.scale == 1


def test_redistribution_over_stages_keeps_each_stages_density():
    # Of math's 100 sequences each stage gets its part of the 40 : 200 that it would have had.
    stages = [StageSize(400, 0.2), StageSize(800, 0.5)]
    allocation = allocate(CAPPED, stages, on_cap="redistribute")
    assert allocation.sequences == ((320, 17, 63), (400, 83, 317))


def test_redistribution_may_bring_another_source_under_its_cap():
    # Short code sequences stand in for math's long ones: then fewer tokens of text are needed than
    # its cap allows, though at first it would be over.
    sources = [
        size("text", False, 10, sequences=300, passes=1),
        size("math", True, 10, sequences=50, passes=2),
        size("code", True, 1, sequences=10_000, weight=0.01),
    ]
    (counts,) = allocate(sources, [StageSize(800, 0.5)], on_cap="redistribute").sequences
    assert counts[0] <= 300 and counts[1] == 100 and sum(counts) == 800
    assert density_of(counts, sources) == pytest.approx(0.5, abs=0.005)


def test_a_group_that_is_used_up_is_refused():
    alone = CAPPED[:2]
    message = "source math can give no more than max_passes allow, .* the 800 sequences of stage 0"
    with pytest.raises(ValueError, match=message):
        allocate(alone, [StageSize(800, 0.5)], on_cap="redistribute")


@pytest.mark.usefixtures("as_users_run_it")
def test_an_unknown_way_to_treat_caps_is_refused():
    with pytest.raises(ValueError, match="on_cap must be one of .*; got redistrbute"):
        allocate(CAPPED, [StageSize(800, 0.5)], on_cap="redistrbute")


@pytest.mark.parametrize("density", [-0.1, 1.5, float("nan")])
def test_density_outside_the_unit_interval_is_refused(density):
    with pytest.raises(ValueError, match=r"reasoning_token_share must lie in \[0, 1\]; got"):
        StageSize(8, density)


def test_a_starved_source_is_refused():
    sources = [size("text", False, 10), size("math", True, 10)]
    with pytest.raises(ValueError, match="source math must supply tokens but gets 0 of the 8"):
        allocate(sources, [StageSize(8, 0.01)])
    assert allocate(sources, [StageSize(100, 0.01)]).sequences == ((99, 1),)


def test_a_missing_group_is_refused():
    with pytest.raises(ValueError, match="needs a reasoning source of positive weight"):
        allocate([size("text", False, 1)], [StageSize(8, 0.5)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x", True, 0, 10), "source x is empty"),
        (("x", True, 10, 0), "source x is empty"),
        (("x", True, 10, 10, -1.0), "weight of source x must be 0 or more"),
        (("x", True, 10, 10, 1.0, 0.0), "max_passes of source x must be above 0"),
    ],
)
def test_malformed_sources_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SourceSize(*arguments)


def test_malformed_requests_are_refused():
    with pytest.raises(ValueError, match="there are no stages"):
        allocate(CAPPED, [])
    with pytest.raises(ValueError, match="a stage must have 1 sequence or more"):
        StageSize(0, 0.5)
