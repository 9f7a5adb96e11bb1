"""The pool of problems, and which of them are drawn."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.rlad import (
    ProblemPool,
    draw_problems,
    make_pool,
    pool_weights,
    raises_success,
    solve,
)
from jaxreason.rollout import Sampling

RATES = jnp.array([0.0, 0.1, 0.125, 0.5, 0.75, 1.0])
POOL = ProblemPool(jax.random.split(jax.random.key(0), 6), RATES)


def test_golden_weights():
    """Middling (0.125, 0.5], then easy above 0.5; settled problems keep the floor."""
    weights = pool_weights(RATES, low=0.125, high=0.5, floor=0.25)
    assert weights.tolist() == [0.25, 0.0, 0.0, 1.0, 0.0, 0.25]
    weights = pool_weights(RATES, low=0.5, floor=0.0)
    assert weights.tolist() == [0.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def test_problems_are_counted():
    counts = {name: int(count) for name, count in POOL.counts(0.125, 0.5).items()}
    assert counts == {"never": 1, "always": 1, "in_band": 1}


def test_draws_follow_the_weights():
    """Weights 1 : 3, from 4,000 draws: 1,000 with a deviation of 27."""
    weights = jnp.array([0.0, 1.0, 0.0, 3.0, 0.0, 0.0])
    keys = draw_problems(POOL, jax.random.key(1), 4000, weights)
    data = jax.random.key_data(keys)
    count = [(data == jax.random.key_data(key)).all(-1).sum() for key in POOL.keys]
    assert count[1] + count[3] == 4000 and abs(int(count[1]) - 1000) < 150


def test_without_weights_all_are_drawn():
    keys = draw_problems(POOL, jax.random.key(1), 200, jnp.zeros(6))
    assert len(np.unique(jax.random.key_data(keys), axis=0)) == 6


@given(st.floats(0, 0.9), st.floats(0, 1))
def test_weights_lie_between_zero_and_one(low, floor):
    weights = pool_weights(RATES, low=low, high=1.0, floor=floor)
    assert ((weights >= 0) & (weights <= 1)).all()


def test_rates_are_those_of_solving_without_an_abstraction(task, model, params):
    """A solver whose luck is in the problem: right exactly where the first input is below 5."""
    rigged = dataclasses.replace(
        task,
        reward=lambda problem, _: (problem.inputs.digits[0, 0] < 5).astype(jnp.float32),
    )
    make = partial(make_pool, rigged, model, problems=12, samples=2)
    pool = jax.jit(make)(params[0], jax.random.key(2))
    problems = jax.vmap(lambda key: task.sample(key, "train"))(pool.keys)
    expected = (problems.inputs.digits[:, 0, 0] < 5).astype(jnp.float32)
    np.testing.assert_array_equal(pool.rates, expected)
    assert 0 < expected.sum() < 12


def test_an_abstraction_is_useful_if_it_raises_success_strictly(lottery, task, model, params):
    """The same solutions written and compared here; equal success is no rise."""
    keys = jax.random.split(jax.random.key(0), 8)
    problems = jax.vmap(lambda key: task.sample(key, "train"))(keys)
    right = jax.vmap(task.abstraction)(problems)
    given = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3, axis=1), right)
    bare = jnp.broadcast_to(jnp.array([False, False, True]), (8, 3))
    _, _, rewards = solve(
        lottery, model, params[0], problems, given, bare, keys, solutions=4, sampling=Sampling()
    )
    success = np.asarray(rewards.mean(-1))
    abstractions = jax.tree.map(lambda leaf: leaf[:, :2], given)
    kept = raises_success(lottery, model, params[0], problems, abstractions, keys, samples=4)
    np.testing.assert_array_equal(kept, success[:, :2] > success[:, 2:])
    assert (success[:, :2] == success[:, 2:]).any() and kept.any() and not kept.all()


@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_arguments_are_refused(task, model, params):
    with pytest.raises(ValueError, match="0 <= low < high <= 1 must hold; got 0.5 and 0.5"):
        pool_weights(RATES, low=0.5, high=0.5)
    with pytest.raises(ValueError, match=r"floor must be in \[0, 1\]; got 2"):
        pool_weights(RATES, floor=2.0)
    with pytest.raises(ValueError, match="samples must be 1 or more; got 0"):
        make_pool(task, model, params[0], jax.random.key(0), problems=2, samples=0)
    with pytest.raises(ValueError, match=r"weights must have shape \[6\]; got \[5\]"):
        draw_problems(POOL, jax.random.key(0), 2, jnp.ones(5))
