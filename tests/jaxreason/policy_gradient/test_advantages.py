"""Golden values are derived by hand: s is the sample standard deviation of the group."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxreason.policy_gradient import (
    MovingBaseline,
    grpo,
    has_spread,
    reinforce,
    reinforce_with_moving_baseline,
    rloo,
    soft_overlong_penalty,
)

ESTIMATORS = [reinforce, rloo, grpo]
REWARDS = hnp.arrays(np.float32, (2, 3, 4), elements=st.integers(-4, 4).map(lambda n: n / 4))
MASKS = hnp.arrays(bool, (2, 3, 4))


@pytest.mark.parametrize(
    ("estimator", "rewards", "expected"),
    [
        # Mean 1/4, s = 1/2, so 0.75 / (0.5 + 1e-6).
        (grpo, [1, 0, 0, 0], [1.499997, -0.499999, -0.499999, -0.499999]),
        (rloo, [1, 0, 0, 0], [1, -1 / 3, -1 / 3, -1 / 3]),
        (reinforce, [1, 0, 0, 0], [0.75, -0.25, -0.25, -0.25]),
        # Mean 1/2, s = sqrt(1/3).
        (grpo, [1, 1, 0, 0], [0.866024, 0.866024, -0.866024, -0.866024]),
        (rloo, [1, 1, 0, 0], [2 / 3, 2 / 3, -2 / 3, -2 / 3]),
        (reinforce, [1, 1, 0, 0], [0.5, 0.5, -0.5, -0.5]),
        # Rewards of abstractions: means of eight solutions each.
        (grpo, [0.625, 0.25, 0.875, 0.5], [0.240191, -1.200957, 1.200957, -0.240191]),
        (rloo, [0.625, 0.25, 0.875, 0.5], [1 / 12, -5 / 12, 5 / 12, -1 / 12]),
        (reinforce, [0.625, 0.25, 0.875, 0.5], [0.0625, -0.3125, 0.3125, -0.0625]),
    ],
)
def test_golden_values(estimator, rewards, expected):
    advantages = estimator(jnp.array(rewards, jnp.float32))
    np.testing.assert_allclose(advantages, expected, atol=1.5e-6)


def test_grpo_adds_epsilon_to_the_deviation():
    advantages = grpo(jnp.array([1.0, 0.0, 0.0, 0.0]), epsilon=1e-4)
    np.testing.assert_allclose(advantages, [1.499700, -0.4999, -0.4999, -0.4999], atol=1e-6)


def test_group_over_two_axes():
    """Eight solutions of one problem: mean 3/8, s = sqrt(15/56)."""
    rewards = jnp.array([[[1, 1, 0, 0], [0, 0, 0, 1]]], jnp.float32)
    expected = np.where(rewards == 1, 1.207612, -0.724567)
    np.testing.assert_allclose(grpo(rewards, axis=(-2, -1)), expected, atol=3e-6)


def test_reinforce_without_baseline_returns_the_rewards():
    rewards = jnp.array([1.0, 0.5, 0.0])
    where = jnp.array([True, True, False])
    assert reinforce(rewards, baseline="none", where=where).tolist() == [1.0, 0.5, 0.0]
    assert reinforce(rewards, baseline="none", where=~where).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1 / 3, 1e6])
def test_equal_rewards_give_exactly_zero(estimator, value):
    advantages = estimator(jnp.full((2, 7), value))
    assert advantages.tolist() == np.zeros((2, 7)).tolist()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_group_of_one_gives_zero(estimator):
    assert estimator(jnp.array([[1.0], [0.3]])).tolist() == [[0.0], [0.0]]
    where = jnp.array([[True, False, False]])
    assert estimator(jnp.array([[1.0, 0.0, 2.0]]), where=where).tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_empty_groups(estimator):
    assert estimator(jnp.zeros((3, 0))).shape == (3, 0)
    nothing = jnp.zeros((1, 2), bool)
    assert estimator(jnp.array([[1.0, 0.0]]), where=nothing).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@given(rewards=REWARDS, where=MASKS)
def test_masked_entries_are_left_out(estimator, rewards, where):
    """Each group gives what its valid entries alone would give; NaN elsewhere does no harm."""
    poisoned = jnp.array(np.where(where, rewards, np.nan))
    advantages = np.asarray(estimator(poisoned, where=jnp.array(where)))
    assert (advantages[~where] == 0).all()
    for group in np.ndindex(2, 3):
        alone = estimator(jnp.array(rewards[group][where[group]]))
        np.testing.assert_allclose(advantages[group][where[group]], alone, atol=1e-5)


@given(rewards=REWARDS)
def test_estimators_agree_up_to_scale(rewards):
    """RLOO = G / (G - 1) (r - mean), and GRPO = (r - mean) / s, against numpy."""
    centered = rewards - rewards.mean(axis=1, keepdims=True)
    deviation = rewards.astype(np.float64).std(axis=1, ddof=1, keepdims=True)
    np.testing.assert_allclose(rloo(jnp.array(rewards), axis=1), centered * 1.5, atol=1e-6)
    np.testing.assert_allclose(
        grpo(jnp.array(rewards), axis=1), centered / (deviation + 1e-6), atol=1e-4
    )


@pytest.mark.parametrize("estimator", ESTIMATORS)
@given(rewards=REWARDS, shift=st.integers(-3, 3))
def test_advantages_sum_to_zero_and_ignore_a_shift(estimator, rewards, shift):
    advantages = estimator(jnp.array(rewards))
    np.testing.assert_allclose(advantages.sum(-1), 0.0, atol=1e-5)
    np.testing.assert_allclose(estimator(jnp.array(rewards) + shift), advantages, atol=1e-5)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_axis_under_jit_and_vmap(estimator):
    rewards = jax.random.uniform(jax.random.key(0), (3, 4, 5))
    expected = jnp.swapaxes(estimator(jnp.swapaxes(rewards, 1, 2)), 1, 2)
    by_axis = jax.jit(lambda rewards: estimator(rewards, axis=1))(rewards)
    np.testing.assert_allclose(by_axis, expected, atol=1e-6)
    mapped = jax.vmap(lambda rewards: estimator(rewards, axis=0))(rewards)
    np.testing.assert_allclose(mapped, expected, atol=1e-6)


@pytest.mark.parametrize("rewards", [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0]])
def test_gradient_is_finite(rewards):
    jacobian = jax.jacobian(grpo)(jnp.array(rewards))
    assert jnp.isfinite(jacobian).all()


def test_gradient_of_centered_rewards():
    """d (r_i - mean) / d r_j = 1{i = j} - 1/3."""
    jacobian = jax.jacobian(reinforce)(jnp.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(jacobian, np.eye(3) - 1 / 3, atol=1e-6)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="baseline must be one of .* got 'median'"):
        reinforce(jnp.zeros(2), baseline="median")
    with pytest.raises((ValueError, TypeError), match="where"):
        rloo(jnp.zeros((2, 3)), where=jnp.ones(3, bool))


def test_moving_baseline_follows_the_batches_before():
    """With decay 1/2: 0, then 1, then (1/2 * 1 + 0) / (1/2 + 1) = 1/3."""
    batches = [jnp.array([1.0, 1.0]), jnp.array([0.0, 0.0]), jnp.array([1.0, 0.0])]
    baseline, found = MovingBaseline.start(), []
    for rewards in batches:
        advantages, baseline = reinforce_with_moving_baseline(rewards, baseline, decay=0.5)
        found.append(advantages)
    np.testing.assert_allclose(found, [[1, 1], [-1, -1], [2 / 3, -1 / 3]], rtol=1e-6)


def test_moving_baseline_ignores_what_does_not_count():
    rewards, where = jnp.array([1.0, jnp.nan, 0.5]), jnp.array([True, False, True])
    advantages, baseline = reinforce_with_moving_baseline(
        rewards, MovingBaseline.start(), where=where
    )
    assert advantages.tolist() == [1.0, 0.0, 0.5] and baseline.value == 0.75
    _, same = reinforce_with_moving_baseline(rewards, baseline, where=jnp.zeros(3, bool))
    assert same == baseline
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\); got 1"):
        reinforce_with_moving_baseline(rewards, baseline, decay=1.0)


def test_moving_baseline_under_scan():
    rewards = jnp.array([[1.0], [0.0], [1.0]])

    def step(baseline, batch):
        advantages, baseline = reinforce_with_moving_baseline(batch, baseline, decay=0.5)
        return baseline, advantages

    _, advantages = jax.lax.scan(step, MovingBaseline.start(), rewards)
    np.testing.assert_allclose(advantages[:, 0], [1, -1, 2 / 3], rtol=1e-6)


@given(rewards=REWARDS, where=MASKS)
def test_groups_without_spread_are_those_whose_advantages_are_zero(rewards, where):
    kept = np.asarray(has_spread(jnp.array(rewards), where=jnp.array(where)))
    advantages = np.asarray(rloo(jnp.array(rewards), where=jnp.array(where)))
    assert kept[~where].all()  # bare prompts stay for their KL
    differ = np.any(advantages != 0, axis=-1, keepdims=True)
    np.testing.assert_array_equal(kept[where], np.broadcast_to(differ, where.shape)[where])


@pytest.mark.parametrize(
    ("length", "penalty"), [(16384, 0), (17408, -0.25), (18432, -0.5), (20480, -1), (21000, -1)]
)
def test_soft_overlong_penalty_golden_values(length, penalty):
    found = soft_overlong_penalty(jnp.array([length, 0]), max_length=20480, buffer=4096)
    assert found.tolist() == [penalty, 0]
    with pytest.raises(ValueError, match=r"buffer must lie in 1..max_length=8; got 9"):
        soft_overlong_penalty(jnp.array([1]), max_length=8, buffer=9)
