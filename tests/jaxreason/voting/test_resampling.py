"""The bootstrap over groups of questions: totals kept, and the variance of drawing questions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.voting.resampling import (
    bootstrap,
    count_groups,
    percentile_interval,
    sum_groups,
    wilson_interval,
)


@pytest.mark.parametrize("questions", [1, 2, 31, 999, 1000, 1001, 5895, 1_000_000])
@pytest.mark.parametrize("agents", [1, 29, 1000])
def test_groups_are_bounded_and_cover_the_questions(questions, agents):
    groups = count_groups(questions, agents**2)
    size = -(-questions // groups)
    assert (groups - 1) * size < questions <= groups * size
    assert min(questions, 17) <= groups <= 1000
    assert groups * agents**2 <= 2**25


@pytest.mark.parametrize("groups", [1, 3, 7, 11])
def test_every_question_is_in_one_group(groups):
    values = jnp.arange(11.0)
    numbers = jnp.arange(11)

    def total(values, numbers):
        return jnp.sum(jnp.where(numbers >= 0, values, 1000.0)), jnp.sum(numbers >= 0)

    sums, counts = sum_groups(total, values, numbers, groups=groups, key=jax.random.key(0))
    size = -(-11 // groups)
    filled = groups * size - 11
    assert sums.shape == (groups,)
    assert float(sums.sum()) == 55.0 + 1000.0 * filled
    assert int(counts.sum()) == 11


def test_groups_are_random():
    groups = sum_groups(jnp.sum, jnp.arange(100.0), groups=2, key=jax.random.key(0))
    assert 1225 + 500 < float(groups.min()) < float(groups.max()) < 3725 - 500


@pytest.mark.parametrize("groups", [500, 50])
def test_the_variance_is_that_of_a_mean(groups):
    values = jnp.asarray(np.random.default_rng(0).normal(size=500), jnp.float32)
    sums = sum_groups(jnp.sum, values, groups=groups, key=jax.random.key(0))
    means = bootstrap(lambda total: total / 500, sums, resamples=2000, key=jax.random.key(1))
    np.testing.assert_allclose(jnp.mean(means), jnp.mean(values), atol=0.01)
    np.testing.assert_allclose(jnp.std(means), jnp.std(values) / np.sqrt(500), rtol=0.25)


def test_percentiles_leave_out_as_much_on_both_sides():
    samples = jnp.stack([jnp.arange(1001.0), -jnp.arange(1001.0)], axis=1)
    np.testing.assert_allclose(percentile_interval(samples, 0.95), [[25, 975], [-975, -25]])


def test_wilson_interval_is_that_of_the_textbook():
    """Newcombe (1998): 81 of 263 gives 0.2553 to 0.3662, 0 of 20 gives 0 to 0.1611."""
    found = wilson_interval(jnp.array([81.0, 0.0, 0.0]), jnp.array([263.0, 20.0, 0.0]), 0.95)
    np.testing.assert_allclose(found, [[0.2553, 0.3662], [0.0, 0.1611], [0.0, 1.0]], atol=1e-4)
