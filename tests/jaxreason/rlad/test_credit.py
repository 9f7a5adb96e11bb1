"""Credit: golden values, plain Python, and exact expectations of small games."""

import itertools
import statistics

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxreason.policy_gradient import grpo
from jaxreason.rlad import assign_credit

ESTIMATORS = ("reinforce", "rloo", "grpo")
NAMES = ("abstraction_estimator", "solution_estimator", "solution_group")
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
