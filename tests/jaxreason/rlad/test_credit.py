"""Credit: golden values, plain Python, and exact expectations of small games."""

import itertools
import statistics
from functools import partial

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
    reinforce,
    reinforce_with_moving_baseline,
    whiten,
)
from jaxreason.rlad import assign_credit

ESTIMATORS = ("reinforce", "rloo", "grpo")
NAMES = (
    *("abstraction_estimator", "solution_estimator", "solution_group"),
    *("mask_bare", "dynamic_sampling"),
)
assign = jax.jit(assign_credit, static_argnames=NAMES)
NOT_BARE = jnp.zeros((1, 2), bool)


def test_golden_hierarchical_values():
    """Success 3/8: mean .375 and s = .517549 over all eight; abstractions .5 and .25."""
    rewards = jnp.array([[[1, 1, 0, 0], [0, 0, 0, 1]]], jnp.float32)
    credit = assign_credit(
        rewards, NOT_BARE, abstraction_estimator="grpo", solution_group="problem"
    )
    np.testing.assert_allclose(credit.abstraction_rewards, [[0.5, 0.25]])
    # 0.125 / (0.176777 + 1e-6).
    np.testing.assert_allclose(credit.abstraction_advantages, [[0.707103, -0.707103]], atol=1e-6)
    expected = np.where(rewards == 1, 1.207612, -0.724567)
    np.testing.assert_allclose(credit.solution_advantages, expected, atol=3e-6)


def test_golden_masking():
    """A bare slot, however right, has no advantage and changes none."""
    rewards = jnp.array([[[1, 0], [1, 0]]], jnp.float32)
    credit = assign_credit(rewards, jnp.array([[False, True]]))
    expected = [[[0.707106, -0.707106], [0, 0]]]
    np.testing.assert_allclose(credit.solution_advantages, expected, atol=1e-6)
    assert credit.abstraction_rewards.tolist() == [[0.5, 0.0]]
    assert credit.abstraction_advantages.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        ("grpo", [0.240191, -1.200957, 1.200957, -0.240191]),
        ("rloo", [1 / 12, -5 / 12, 5 / 12, -1 / 12]),
        ("reinforce", [0.0625, -0.3125, 0.3125, -0.0625]),
    ],
)
@pytest.mark.parametrize("base_rate", [0.0, 0.4])
def test_golden_abstraction_advantages(estimator, expected, base_rate):
    """Successes of 5, 2, 7 and 4 out of 8. Subtracting the bare success rate changes nothing."""
    right = jnp.arange(8) < jnp.array([[5], [2], [7], [4]])
    rewards = right[None].astype(jnp.float32) - base_rate
    credit = assign_credit(rewards, jnp.zeros((1, 4), bool), abstraction_estimator=estimator)
    np.testing.assert_allclose(credit.abstraction_advantages[0], expected, atol=3e-6)


@pytest.mark.parametrize("group", ["abstraction", "problem"])
def test_one_abstraction_is_grpo(group):
    rewards = jax.random.bernoulli(jax.random.key(0), 0.4, (5, 1, 6)).astype(jnp.float32)
    credit = assign_credit(rewards, jnp.zeros((5, 1), bool), solution_group=group)
    np.testing.assert_array_equal(credit.solution_advantages[:, 0], grpo(rewards[:, 0]))
    assert (credit.abstraction_advantages == 0).all()


def python_advantages(rewards, estimator):
    if not rewards:
        return []
    mean, others = statistics.fmean(rewards), max(len(rewards) - 1, 1)
    centered = [reward - mean for reward in rewards]
    if estimator == "rloo":
        return [value * len(rewards) / others for value in centered]
    if estimator == "grpo":
        deviation = statistics.stdev(rewards) if len(rewards) > 1 else 0.0
        return [value / (deviation + 1e-6) for value in centered]
    return centered


def python_credit(rewards, bare, estimators, group):
    shape = np.array(rewards).shape
    means, abstraction = np.zeros(shape[:2]), np.zeros(shape[:2])
    solution = np.zeros(shape)
    for problem in range(shape[0]):
        slots = [slot for slot in range(shape[1]) if not bare[problem][slot]]
        for slot in slots:
            means[problem, slot] = statistics.fmean(rewards[problem][slot])
        earned = python_advantages([means[problem, slot] for slot in slots], estimators[0])
        abstraction[problem, slots] = earned
        groups = [[slot] for slot in slots] if group == "abstraction" else [slots]
        for members in groups:
            flat = [reward for slot in members for reward in rewards[problem][slot]]
            earned = python_advantages(flat, estimators[1])
            solution[problem, members] = np.reshape(earned, (len(members), shape[2]))
    return means, abstraction, solution


@given(
    hnp.arrays(np.float32, (2, 3, 2), elements=st.integers(0, 1)),
    hnp.arrays(bool, (2, 3)),
    st.sampled_from(list(itertools.product(ESTIMATORS, repeat=2))),
    st.sampled_from(["abstraction", "problem"]),
)
def test_credit_equals_plain_python(rewards, bare, estimators, group):
    credit = assign(
        rewards,
        bare,
        abstraction_estimator=estimators[0],
        solution_estimator=estimators[1],
        solution_group=group,
    )
    expected = python_credit(rewards.tolist(), bare.tolist(), estimators, group)
    given = (credit.abstraction_rewards, credit.abstraction_advantages, credit.solution_advantages)
    for values, reference in zip(given, expected, strict=True):
        np.testing.assert_allclose(values, reference, atol=3e-6)


@given(
    hnp.arrays(np.float32, (2, 3, 2), elements=st.integers(0, 1)),
    hnp.arrays(np.float32, (2, 3, 2), elements=st.floats(-5, 5, width=16)),
    hnp.arrays(bool, (2, 3)),
)
def test_rewards_of_bare_slots_do_not_matter(rewards, other, bare):
    changed = np.where(bare[..., None], other, rewards)
    left, right = assign(rewards, bare), assign(changed, bare)
    jax.tree.map(np.testing.assert_array_equal, left, right)
    assert (np.asarray(left.solution_advantages)[bare] == 0).all()
    assert (np.asarray(left.abstraction_advantages)[bare] == 0).all()


SUCCESS = np.array([0.75, 0.25])  # of a solution under each of the two abstractions


def enumerate_game(**estimators):
    """Exact expected gradients of a game of two abstractions and two solutions under each.

    The generator chooses each abstraction with probability 1/2 = softmax((0, 0)); the solver is
    right with probability sigmoid(theta_z). A bare slot, always right, stands by.
    """
    proposal = solver = 0.0
    for chosen in itertools.product((0, 1), repeat=2):
        for right in itertools.product((0, 1), repeat=4):
            outcome = np.reshape(right, (2, 2))
            p = SUCCESS[list(chosen)][:, None]
            probability = 0.25 * np.prod(np.where(outcome, p, 1 - p))
            rewards = np.concatenate([outcome, np.ones((1, 2))]).astype(np.float32)
            credit = assign(rewards[None], np.array([[False, False, True]]), **estimators)
            gradient = np.eye(2)[list(chosen)] - 0.5  # of log softmax
            advantages = np.asarray(credit.abstraction_advantages)[0, :2]
            proposal = proposal + probability * (advantages @ gradient) / 2
            scores = (outcome - p) * np.asarray(credit.solution_advantages)[0, :2]
            by_choice = [scores[np.array(chosen) == z].sum() for z in (0, 1)]
            solver = solver + probability * np.array(by_choice) / 4
    return proposal, solver


# J = (p_1 + p_2) / 2, so dJ/dphi = pi_z (p_z - J) and dJ/dtheta_z = pi_z p_z (1 - p_z).
EXACT = (np.array([0.125, -0.125]), np.array([0.09375, 0.09375]))


@pytest.mark.parametrize("group", ["abstraction", "problem"])
def test_rloo_is_unbiased(group):
    gradients = enumerate_game(
        abstraction_estimator="rloo", solution_estimator="rloo", solution_group=group
    )
    np.testing.assert_allclose(gradients, EXACT, atol=1e-6)


def test_reinforce_is_unbiased_up_to_its_own_part_of_the_baseline():
    """Groups of two: a factor (2 - 1) / 2 for both players."""
    gradients = enumerate_game(abstraction_estimator="reinforce", solution_estimator="reinforce")
    np.testing.assert_allclose(gradients, np.multiply(EXACT, 0.5), atol=1e-6)


def enumerate_policy(advantages_of, count):
    """Exact expected gradient dJ/dphi of the same game with `count` abstractions drawn.

    The reward of an abstraction is its success probability itself, p = (0.75, 0.25).
    """
    total = 0.0
    for chosen in itertools.product((0, 1), repeat=count):
        rewards = jnp.asarray(SUCCESS[list(chosen)], jnp.float32)[None]
        gradient = np.eye(2)[list(chosen)] - 0.5
        total = total + 0.5**count * (np.asarray(advantages_of(rewards))[0] @ gradient) / count
    return total


def test_the_raw_reward_is_unbiased():
    """REINFORCE without a baseline, also for a single abstraction."""
    for count in (1, 3):
        gradient = enumerate_policy(partial(reinforce, baseline="none"), count)
        np.testing.assert_allclose(gradient, EXACT[0], atol=1e-6)


def test_a_moving_baseline_is_unbiased():
    """Whatever the batches before were: here rewards of 0.9."""
    _, before = reinforce_with_moving_baseline(jnp.full((4,), 0.9), MovingBaseline.start())
    advantages = lambda rewards: reinforce_with_moving_baseline(rewards, before)[0]  # noqa: E731
    np.testing.assert_allclose(enumerate_policy(advantages, 2), EXACT[0], atol=1e-6)


def test_grpo_and_whitening_keep_the_direction():
    """Dividing by a deviation changes the size: two that differ get +-1/sqrt(2), half the time.

    So the expected gradient is (1/4) sqrt(2) / 2 * (1, -1) = 0.176777 (1, -1), up to epsilon.
    """
    expected = np.array([1.0, -1.0]) * np.sqrt(2) / 8
    np.testing.assert_allclose(enumerate_policy(grpo, 2), expected, atol=1e-5)
    whitened = lambda rewards: whiten(rewards, jnp.ones(rewards.shape, bool))  # noqa: E731
    np.testing.assert_allclose(enumerate_policy(whitened, 2), expected, atol=1e-5)


def test_naive_rewards_pay_bare_slots():
    rewards = jnp.array([[[1, 0], [1, 0]]], jnp.float32)
    credit = assign_credit(rewards, jnp.array([[False, True]]), mask_bare=False)
    expected = [[[0.707106, -0.707106]] * 2]
    np.testing.assert_allclose(credit.solution_advantages, expected, atol=1e-6)
    assert credit.abstraction_advantages.tolist() == [[0.0, 0.0]]
    assert credit.solution_earning.all()


def test_one_policy_of_bare_prompts_is_grpo():
    rewards = jax.random.bernoulli(jax.random.key(1), 0.4, (5, 1, 6)).astype(jnp.float32)
    credit = assign_credit(rewards, jnp.ones((5, 1), bool), mask_bare=False)
    np.testing.assert_array_equal(credit.solution_advantages[:, 0], grpo(rewards[:, 0]))


def test_a_failed_verifier_is_no_wrong_answer():
    """Abstraction 0 is judged by its first solution alone, abstraction 1 by none."""
    rewards = jnp.array([[[1, jnp.nan, 0], [jnp.nan] * 3, [1, 0, 0]]], jnp.float32)
    valid = jnp.array([[[True, False, False], [False] * 3, [True] * 3]])
    credit = assign_credit(rewards, jnp.zeros((1, 3), bool), valid=valid)
    np.testing.assert_allclose(credit.abstraction_rewards, [[1.0, 0.0, 1 / 3]], atol=1e-6)
    # Two abstractions are left: 1 - 1/3 = 2/3 either way.
    np.testing.assert_allclose(credit.abstraction_advantages, [[2 / 3, 0, -2 / 3]], atol=1e-6)
    assert credit.abstraction_kept.tolist() == [[True, False, True]]
    assert (credit.solution_kept == valid).all()
    assert credit.solution_advantages[0, :2].tolist() == [[0.0] * 3] * 2
    assert np.isfinite(credit.solution_advantages).all()


@given(
    hnp.arrays(np.float32, (2, 3, 2), elements=st.integers(0, 1)),
    hnp.arrays(bool, (2, 3, 2)),
    hnp.arrays(np.float32, (2, 3, 2), elements=st.floats(-5, 5, width=16)),
)
def test_rewards_that_could_not_be_judged_do_not_matter(rewards, valid, other):
    bare = np.zeros((2, 3), bool)
    left = assign(rewards, bare, valid=valid)
    right = assign(np.where(valid, rewards, other), bare, valid=valid)
    jax.tree.map(np.testing.assert_array_equal, left, right)


def test_dropped_abstractions_teach_nobody():
    rewards = jnp.array([[[1, 1], [1, 0], [0, 0]]], jnp.float32)
    dropped = jnp.array([[True, False, False]])
    credit = assign_credit(rewards, jnp.zeros((1, 3), bool), dropped=dropped)
    np.testing.assert_allclose(credit.abstraction_advantages, [[0.0, 0.5, -0.5]])
    assert credit.abstraction_kept.tolist() == [[False, True, True]]
    assert credit.solution_kept[0, :, 0].tolist() == [False, True, True]
    assert not credit.solution_advantages[0, 0].any()


def test_penalties_are_taken_from_the_abstraction_alone():
    rewards = jnp.array([[[1, 1], [1, 0]]], jnp.float32)
    plain = assign_credit(rewards, NOT_BARE)
    credit = assign_credit(rewards, NOT_BARE, penalties=jnp.array([[1.0, 0.0]]))
    assert credit.abstraction_rewards.tolist() == [[0.0, 0.5]]
    np.testing.assert_array_equal(credit.solution_advantages, plain.solution_advantages)


def test_dynamic_sampling_leaves_bare_prompts_in():
    """Groups without spread go: slot 1's solutions, but not the abstractions, which differ."""
    rewards = jnp.array([[[1, 0], [1, 1], [1, 1]]], jnp.float32)
    bare = jnp.array([[False, False, True]])
    credit = assign_credit(rewards, bare, dynamic_sampling=True)
    assert credit.solution_kept[0].tolist() == [[True] * 2, [False] * 2, [True] * 2]
    assert credit.abstraction_kept.tolist() == [[True, True, False]]
    flat = assign_credit(jnp.ones((1, 3, 2)), bare, dynamic_sampling=True)
    assert flat.abstraction_kept.tolist() == [[False] * 3]
    assert flat.solution_kept[0].any(-1).tolist() == [False, False, True]


def test_weights_multiply_advantages():
    rewards = jax.random.bernoulli(jax.random.key(0), 0.5, (2, 3, 4)).astype(jnp.float32)
    bare, weights = jnp.zeros((2, 3), bool), jnp.array([0.5, 2.0])
    plain, weighted = assign_credit(rewards, bare), assign_credit(rewards, bare, weights=weights)
    np.testing.assert_allclose(
        weighted.solution_advantages, plain.solution_advantages * weights[:, None, None]
    )
    np.testing.assert_allclose(
        weighted.abstraction_advantages, plain.abstraction_advantages * weights[:, None]
    )


@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_arguments_are_refused():
    rewards = jnp.zeros((1, 2, 2))
    with pytest.raises(ValueError, match="estimator must be in .*; got 'ppo'"):
        assign_credit(rewards, NOT_BARE, abstraction_estimator="ppo")
    with pytest.raises(ValueError, match="solution_group must be in .*; got 'batch'"):
        assign_credit(rewards, NOT_BARE, solution_group="batch")
    with pytest.raises(ValueError, match=r"bare must have shape \[1, 2\]; got \[1, 3\]"):
        assign_credit(rewards, jnp.zeros((1, 3), bool))
    with pytest.raises(ValueError, match=r"rewards must have shape \[problem, abstraction, sol"):
        assign_credit(rewards[0], NOT_BARE)
