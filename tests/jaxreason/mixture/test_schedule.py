"""The order of a mixture: exact blocks, whole passes, and seeking."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.mixture import Schedule, locate, permuted_index

SCHEDULE = Schedule(counts_per_block=(3, 1, 4), sequences_per_source=(7, 2, 11), seed=3)


def stream(schedule, size):
    """The first `size` locations as rows of (source, pass, item)."""
    location = locate(schedule, jnp.arange(size))
    return np.stack([location.source, location.pass_index, location.item], axis=1)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_permuted_index_is_a_bijection(size):
    permute = jax.jit(jax.vmap(permuted_index, in_axes=(None, 0, None)))
    for seed in range(3):
        items = permute(jax.random.key(seed), jnp.arange(size), jnp.int32(size))
        np.testing.assert_array_equal(np.sort(items), np.arange(size))


def test_permutations_are_uniform_over_items_and_places():
    # 5 items, 4,000 keys: each of the 25 cells expects 800 with a standard deviation of 25.3.
    permute = jax.vmap(permuted_index, in_axes=(None, 0, None))
    keys = jax.random.split(jax.random.key(0), 4000)
    items = jax.jit(jax.vmap(permute, in_axes=(0, None, None)))(keys, jnp.arange(5), jnp.int32(5))
    counts = np.stack([np.bincount(items[:, place], minlength=5) for place in range(5)])
    assert np.abs(counts - 800).max() < 5 * 25.3


def test_every_block_has_exactly_its_counts():
    rows = stream(SCHEDULE, 8 * 20).reshape(20, 8, 3)
    for block in rows:
        np.testing.assert_array_equal(np.bincount(block[:, 0], minlength=3), [3, 1, 4])


def test_blocks_differ_in_order():
    orders = {tuple(block) for block in stream(SCHEDULE, 8 * 20)[:, 0].reshape(20, 8)}
    assert len(orders) > 10


def test_passes_are_whole_and_in_a_fresh_order():
    rows = stream(SCHEDULE, 8 * 40)
    for source, size in enumerate(SCHEDULE.sequences_per_source):
        own = rows[rows[:, 0] == source]
        assert (np.diff(own[:, 1]) >= 0).all()  # no pass begins before the one before it ends
        passes = [own[own[:, 1] == p, 2] for p in range(own[:, 1].max())]
        for items in passes:
            np.testing.assert_array_equal(np.sort(items), np.arange(size))
        assert len({tuple(items) for items in passes}) > 1


def test_seeking_gives_what_reading_gives():
    rows = stream(SCHEDULE, 50)
    one_by_one = [locate(SCHEDULE, jnp.int32(index)) for index in range(50)]
    singles = np.array([[x.source, x.pass_index, x.item] for x in one_by_one])
    np.testing.assert_array_equal(singles, rows)


def test_vmap_and_any_shape():
    grid = jnp.arange(12).reshape(3, 4)
    direct = locate(SCHEDULE, grid)
    mapped = jax.jit(jax.vmap(partial(locate, SCHEDULE)))(grid)
    assert direct.item.shape == (3, 4)
    for ours, theirs in zip(jax.tree.leaves(direct), jax.tree.leaves(mapped), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_order_is_the_same_on_every_version():
    # Recorded once; a run must be able to resume after the libraries were upgraded.
    rows = stream(Schedule((2, 1), (50_000, 3), seed=1), 6)
    assert rows.tolist() == GOLDEN


def test_seeds_differ():
    other = Schedule(SCHEDULE.counts_per_block, SCHEDULE.sequences_per_source, seed=4)
    assert (stream(SCHEDULE, 64) != stream(other, 64)).any()


def test_far_positions_stay_in_range():
    schedule = Schedule((2, 1), (50_000, 3), seed=1)
    location = locate(schedule, jnp.int32(2**31 - 2))
    assert 0 <= int(location.item) < schedule.sequences_per_source[int(location.source)]


@pytest.mark.parametrize(
    ("counts", "sizes", "message"),
    [
        ((1, 1), (5,), "one entry a source"),
        ((0, 0), (5, 5), "at least one sequence"),
        ((1, 1), (5, 0), "source 1 has 1 places in a block but no sequences"),
    ],
)
def test_impossible_schedules_are_refused(counts, sizes, message):
    with pytest.raises(ValueError, match=message):
        Schedule(counts, sizes)


GOLDEN = [[1, 0, 0], [0, 0, 18806], [0, 0, 34884], [0, 0, 27826], [1, 0, 1], [0, 0, 45977]]
