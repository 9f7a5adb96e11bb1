"""Density: exact to one sequence, extremes included, and what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.mixture import realised_density, sequences_per_block

BASE_AND_REASONING = [False, True]


def test_hand_derived_counts():
    # 20% of the tokens, reasoning sequences 20 times as long: for every 80 sequences of 1 token
    # one of 20 is needed, 80 / (80 + 20) = 4/5. A block of 81 holds exactly that.
    counts = sequences_per_block([1, 20], BASE_AND_REASONING, [1, 1], density=0.2, block_size=81)
    assert counts == (80, 1)
    assert realised_density(counts, [1, 20], BASE_AND_REASONING) == pytest.approx(0.2)


def test_weights_share_a_groups_tokens():
    # Base tokens 3:1 between sources of 100 and 50 tokens: sequences 3/100 : 1/50 = 3 : 2.
    # Reasoning needs as many tokens as the base's 3 * 100 + 2 * 50 = 400: four of 100.
    counts = sequences_per_block(
        [100, 50, 100], [False, False, True], [3, 1, 1], density=0.5, block_size=9
    )
    assert counts == (3, 2, 4)


@pytest.mark.parametrize("density", [0.01, 0.2, 0.5, 0.99])
@pytest.mark.parametrize("lengths", [(1, 20), (20, 1), (600, 12_000), (128, 128)])
def test_exact_to_one_sequence_at_lengths_twenty_times_apart(density, lengths):
    size = 4096
    counts = sequences_per_block(
        lengths, BASE_AND_REASONING, [1, 1], density=density, block_size=size
    )
    tokens = counts[0] * lengths[0] + counts[1] * lengths[1]
    assert sum(counts) == size
    assert abs(counts[1] * lengths[1] - density * tokens) <= max(lengths) / 2


@settings(max_examples=25, deadline=None)
@given(
    sources=st.lists(
        st.tuples(st.integers(5, 100), st.booleans(), st.floats(0.2, 1)), min_size=2, max_size=6
    ),
    density=st.floats(0.1, 0.9),
)
def test_any_mixture_is_exact_to_one_sequence(sources, density):
    sources = [(60, True, 1.0), (60, False, 1.0), *sources]
    tokens, is_reasoning, weights = (list(column) for column in zip(*sources, strict=True))
    counts = sequences_per_block(tokens, is_reasoning, weights, density=density, block_size=1000)
    assert sum(counts) == 1000 and min(counts) > 0
    total = sum(c * t for c, t in zip(counts, tokens, strict=True))
    realised = realised_density(counts, tokens, is_reasoning)
    assert abs(realised - density) * total <= max(tokens)


@pytest.mark.parametrize(("density", "expected"), [(0, (4, 0)), (1, (0, 4))])
def test_pure_mixtures_leave_the_other_group_out(density, expected):
    counts = sequences_per_block(
        [10, 10], BASE_AND_REASONING, [1, 1], density=density, block_size=4
    )
    assert counts == expected


def test_a_single_group_may_stand_alone():
    assert sequences_per_block([7, 7], [True, True], [7, 1], density=1, block_size=8) == (7, 1)


def test_a_source_of_weight_zero_is_left_out():
    counts = sequences_per_block(
        [9, 9, 9], [False, False, True], [1, 0, 1], density=0.5, block_size=6
    )
    assert counts == (3, 0, 3)


@pytest.mark.parametrize("density", [-0.1, 1.5, float("nan")])
def test_density_outside_the_unit_interval_is_refused(density):
    with pytest.raises(ValueError, match=r"density must lie in \[0, 1\]; got"):
        sequences_per_block([1, 1], BASE_AND_REASONING, [1, 1], density=density, block_size=8)


def test_a_starved_source_is_refused_and_the_suggested_block_size_works():
    arguments = ([10, 10], BASE_AND_REASONING, [1, 1])
    with pytest.raises(ValueError, match="source 1 .* use a block size of 100 or more"):
        sequences_per_block(*arguments, density=0.01, block_size=8)
    assert sequences_per_block(*arguments, density=0.01, block_size=100) == (99, 1)


def test_a_missing_group_is_refused():
    with pytest.raises(ValueError, match="needs a reasoning source of positive weight"):
        sequences_per_block([1, 1], [False, False], [1, 1], density=0.5, block_size=8)


@pytest.mark.parametrize(
    ("tokens", "weights", "block_size", "message"),
    [
        ([1], [1, 1], 8, "one entry a source"),
        ([1, 1], [1, -1], 8, "must not be negative"),
        ([0, 1], [1, 1], 8, "must have loss-bearing tokens"),
        ([1, 1], [1, 1], 0, "block_size must be at least 1"),
    ],
)
def test_malformed_sources_are_refused(tokens, weights, block_size, message):
    with pytest.raises(ValueError, match=message):
        sequences_per_block(tokens, BASE_AND_REASONING, weights, density=0.5, block_size=block_size)
