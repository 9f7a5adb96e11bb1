"""The order of a stream: exact stages and blocks, whole passes, seeking, and going on."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.mixture import (
    Schedule,
    fold_in,
    locate,
    permuted_index,
    read_before,
    rebase,
    running_counts,
)

SCHEDULE = Schedule(
    names=("text", "code", "math"),
    is_reasoning=(False, False, True),
    sequences_per_source=(7, 2, 11),
    stages=((30, 10, 0), (30, 11, 40)),
    block_size=8,
    seed=3,
)


def stream(schedule, places=None):
    """Locations as rows of (source, pass, item)."""
    places = np.arange(schedule.num_sequences) if places is None else places
    location = locate(schedule, places)
    return np.stack([location.source, location.pass_index, location.item], axis=-1)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_permuted_index_is_a_bijection(size):
    for key in range(3):
        items = permuted_index(key, np.arange(size), size)
        np.testing.assert_array_equal(np.sort(items), np.arange(size))


def test_permutations_are_uniform_over_items_and_places():
    # 5 items, 4,000 keys: each of the 25 cells expects 800 with a standard deviation of 25.3.
    items = permuted_index(np.arange(4000)[:, None], np.arange(5), 5)
    counts = np.stack([np.bincount(items[:, place], minlength=5) for place in range(5)])
    assert np.abs(counts - 800).max() < 5 * 25.3


def test_permutations_of_more_than_four_billion():
    items = permuted_index(0, np.arange(1000), 2**40)
    assert len(set(items.tolist())) == 1000 and items.min() >= 0 and items.max() < 2**40
    assert items.max() > 2**39


def test_keys_differ():
    keys = fold_in(np.arange(100)[:, None], np.arange(100))
    assert len(np.unique(keys)) == 10_000


@settings(max_examples=50, deadline=None)
@given(totals=st.lists(st.integers(0, 300), min_size=1, max_size=32).filter(any))
def test_running_counts_are_even(totals):
    whole = sum(totals)
    counts = running_counts(totals, np.arange(whole + 1))
    np.testing.assert_array_equal(counts.sum(axis=1), np.arange(whole + 1))
    np.testing.assert_array_equal(counts[-1], totals)
    steps = np.diff(counts, axis=0)
    assert steps.min() >= 0 and steps.max() <= 1
    exact = np.arange(whole + 1)[:, None] * np.array(totals) / whole
    levels = max(1, int(np.ceil(np.log2(len(totals)))))
    assert np.abs(counts - exact).max() <= levels / 2 + 1e-9


def test_stages_hold_exactly_their_sequences():
    rows = stream(SCHEDULE)
    for start, stage in ((0, SCHEDULE.stages[0]), (40, SCHEDULE.stages[1])):
        part = rows[start : start + sum(stage), 0]
        np.testing.assert_array_equal(np.bincount(part, minlength=3), stage)


@pytest.mark.parametrize("share", [1, 50, 999])
def test_every_block_has_its_share_to_one_sequence(share):
    schedule = Schedule(
        ("text", "math"), (False, True), (500, 500), ((64_000 - 64 * share, 64 * share),), 64
    )
    reasoning = locate(schedule, np.arange(64_000)).source.reshape(1000, 64).sum(axis=1)
    exact = share * 64 / 1000
    assert np.abs(reasoning - exact).max() < 1
    edges = np.cumsum(reasoning) - exact * np.arange(1, 1001)
    assert np.abs(edges).max() <= 0.5  # half a sequence off at any block's edge, ever


def test_blocks_differ_in_order():
    schedule = Schedule(("a", "b"), (False, True), (9, 9), ((80, 80),), block_size=8)
    orders = {tuple(block) for block in stream(schedule)[:, 0].reshape(20, 8)}
    assert len(orders) > 10


def test_passes_are_whole_and_in_a_fresh_order():
    schedule = dataclasses.replace(SCHEDULE, stages=((140, 20, 220),))
    rows = stream(schedule)
    for source, size in enumerate(schedule.sequences_per_source):
        own = rows[rows[:, 0] == source]
        assert (np.diff(own[:, 1]) >= 0).all()  # no pass begins before the one before it ends
        passes = [own[own[:, 1] == p, 2] for p in range(own[:, 1].max() + 1)]
        for items in passes:
            np.testing.assert_array_equal(np.sort(items), np.arange(size))
        assert len({tuple(items) for items in passes}) > 1


def test_passes_go_on_across_stages():
    rows = stream(SCHEDULE)
    own = rows[rows[:, 0] == 0]
    np.testing.assert_array_equal(own[:, 1], np.arange(60) // 7)


def test_seeking_gives_what_reading_gives():
    rows = stream(SCHEDULE)
    singles = np.stack([stream(SCHEDULE, place) for place in range(SCHEDULE.num_sequences)])
    np.testing.assert_array_equal(singles, rows)
    shuffled = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_array_equal(stream(SCHEDULE, shuffled), rows[shuffled])
    assert stream(SCHEDULE, np.arange(12).reshape(3, 4)).shape == (3, 4, 3)


def test_counts_read_so_far():
    rows = stream(SCHEDULE)
    for place in range(len(rows) + 1):
        counted = np.bincount(rows[:place, 0], minlength=3)
        np.testing.assert_array_equal(read_before(SCHEDULE, place), counted)


def test_a_source_keeps_its_order_whatever_stands_beside_it():
    alone = Schedule(("math",), (True,), (11,), ((22,),), block_size=4, seed=3)
    rows = stream(SCHEDULE)
    beside = rows[rows[:, 0] == 2][:22, 1:]
    np.testing.assert_array_equal(stream(alone)[:, 1:], beside)


@pytest.mark.parametrize("stop", [0, 13, 40, 57])
def test_a_changed_stream_goes_on_where_the_other_stopped(stop):
    new = Schedule(
        ("math", "poems", "text"), (True, False, False), (11, 5, 7), ((24, 8, 16),), 6, seed=3
    )
    going_on = stream(rebase(SCHEDULE, stop, new))
    before = stream(SCHEDULE)[:stop]
    for name, size in (("math", 11), ("text", 7), ("poems", 5)):
        items = [
            *(before[before[:, 0] == SCHEDULE.names.index(name), 2] if name != "poems" else []),
            *going_on[going_on[:, 0] == new.names.index(name), 2],
        ]
        for start in range(0, len(items) - size, size):  # every whole pass, across the change
            np.testing.assert_array_equal(np.sort(items[start : start + size]), np.arange(size))
        rest = items[len(items) // size * size :]
        assert len(set(rest)) == len(rest)


def test_a_source_left_out_for_a_while_goes_on_where_it_was():
    names = dict(zip(SCHEDULE.names, SCHEDULE.sequences_per_source, strict=True))
    pause = Schedule(tuple(names), (False, False, True), tuple(names.values()), ((0, 3, 9),), 4, 3)
    back = dataclasses.replace(pause, stages=((9, 1, 2),))
    first = rebase(SCHEDULE, 57, pause)
    second = rebase(first, 12, back)
    parts = stream(SCHEDULE)[:57], stream(first), stream(second)
    for source, size in enumerate(SCHEDULE.sequences_per_source):
        items = np.concatenate([rows[rows[:, 0] == source, 2] for rows in parts])
        for start in range(0, len(items) - size, size):
            np.testing.assert_array_equal(np.sort(items[start : start + size]), np.arange(size))


def test_going_on_with_other_sequences_is_refused():
    other = dataclasses.replace(SCHEDULE, sequences_per_source=(7, 2, 12))
    with pytest.raises(ValueError, match="source math had 11 sequences and has 12 now"):
        rebase(SCHEDULE, 3, other)
    with pytest.raises(ValueError, match="must keep its seed, 3; got 4"):
        rebase(SCHEDULE, 3, dataclasses.replace(SCHEDULE, seed=4))


def test_order_is_the_same_on_every_version():
    # Recorded once; a run must be able to resume after the libraries were upgraded.
    schedule = Schedule(("a", "b"), (False, True), (50_000, 3), ((8, 4),), block_size=3, seed=1)
    assert stream(schedule, np.arange(6)).tolist() == GOLDEN


def test_seeds_differ():
    other = dataclasses.replace(SCHEDULE, seed=4)
    assert (stream(SCHEDULE) != stream(other)).any()


def test_far_places_of_a_long_stream():
    length = 2**31 - 1
    schedule = Schedule(("a", "b"), (False, True), (10**9, 10**6), ((length - 2**20, 2**20),), 64)
    rows = stream(schedule, np.arange(length - 64, length))
    assert (rows[:, 2] < np.array(schedule.sequences_per_source)[rows[:, 0]]).all()
    assert read_before(schedule, length) == schedule.stages[0]


@pytest.mark.parametrize("is_reasoning", [True, False])
def test_counts_of_the_longest_stage_do_not_overflow(is_reasoning):
    length = 2**31 - 1
    schedule = Schedule(("a",), (is_reasoning,), (10**9,), ((length,), (length,)), 64)
    assert read_before(schedule, 2 * length) == (2 * length,)
    assert read_before(schedule, length - 1) == (length - 1,)
    rows = stream(schedule, np.arange(2 * length - 64, 2 * length))
    assert (rows[:, 1] == 4).all() and len(set(rows[:, 2])) == 64
    with pytest.raises(ValueError, match="from 1 to 2147483647 sequences"):
        dataclasses.replace(schedule, stages=((length + 1,),))


def test_places_outside_the_stream_are_refused():
    for place in (-1, SCHEDULE.num_sequences):
        with pytest.raises(IndexError, match="run from 0 to 120; got"):
            locate(SCHEDULE, place)
    with pytest.raises(IndexError, match="run from 0 to 121; got 122"):
        read_before(SCHEDULE, 122)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"is_reasoning": (True,)}, "one entry a source"),
        ({"names": ("a", "a", "b")}, "names of sources must differ"),
        ({"stages": ((0, 0, 0),)}, "from 1 to 2"),
        ({"stages": ()}, "from 1 to 2"),
        ({"block_size": 0}, "block_size must be 1 or more"),
        ({"seed": -1}, "seed must be from 0 to 2"),
        ({"cursors": (1,)}, "cursors must have one entry a source"),
        ({"sequences_per_source": (7, 2, 0)}, "source math has 40 places in the stream but no"),
    ],
)
def test_impossible_schedules_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SCHEDULE, **change)


GOLDEN = [[0, 0, 27929], [1, 0, 2], [0, 0, 9741], [0, 0, 20924], [0, 0, 27654], [1, 0, 0]]
