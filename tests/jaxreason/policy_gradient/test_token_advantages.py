"""Token advantages: golden values by hand, and references in plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.policy_gradient import (
    generalised_advantages,
    penalised_returns,
    reinforce_plus_plus,
    reinforce_plus_plus_baseline,
    whiten,
)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    mask = rng.random((5, 6)) < 0.7
    mask[2] = False
    arrays = {name: rng.normal(size=(5, 6)) for name in ("rewards", "values", "log_probs", "ref")}
    return {name: jnp.array(x, jnp.float32) for name, x in arrays.items()} | {
        "mask": jnp.array(mask)
    }


def test_whiten_golden_values():
    # Mean 1/2, variance 1/2 / 3.
    whitened = whiten(jnp.array([[1.0, 0.0], [0.5, 0.5]]), jnp.ones((2, 2), bool))
    np.testing.assert_allclose(whitened, [[1.224745, -1.224745], [0, 0]], atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_equal_values_are_whitened_to_zero(value):
    mask = jnp.array([[True, True, False]])
    values = jnp.array([[value, value, jnp.nan]])
    assert whiten(values, mask).tolist() == [[0, 0, 0]]
    assert whiten(values, jnp.array([[True, False, False]])).tolist() == [[0, 0, 0]]
    assert whiten(values, jnp.zeros((1, 3), bool)).tolist() == [[0, 0, 0]]


@given(st.lists(st.integers(-8, 8), min_size=2, max_size=9).filter(lambda x: len(set(x)) > 1))
def test_whitened_values_have_mean_0_and_variance_1(numbers):
    values = jnp.array(numbers, jnp.float32)
    whitened = np.asarray(whiten(values, jnp.ones(values.shape, bool)), np.float64)
    assert abs(whitened.mean()) < 1e-5 and abs(whitened.var(ddof=1) - 1) < 1e-4


def test_reinforce_plus_plus_golden_values():
    """Token rewards -0.02 and 1.01, so the returns are 0.99 and 1.01."""
    k1, zeros, mask = jnp.array([[0.2, -0.1]]), jnp.zeros((1, 2)), jnp.ones((1, 2), bool)
    returns = penalised_returns(jnp.ones(1), k1, zeros, mask, kl_coef=0.1)
    np.testing.assert_allclose(returns, [[0.99, 1.01]], rtol=1e-6)
    advantages = reinforce_plus_plus(jnp.ones(1), k1, zeros, mask, kl_coef=0.1)
    np.testing.assert_allclose(advantages, [[-0.70707, 0.70707]], atol=1e-4)


def test_a_reward_of_zero_is_no_mask():
    """Bare prompts with reward 0 would be pushed down; left out by the mask they are not."""
    rewards, zeros = jnp.array([1.0, 0.0, 0.0, 0.0]), jnp.zeros((4, 1))
    with_bare = reinforce_plus_plus(rewards, zeros, zeros, jnp.ones((4, 1), bool), kl_coef=0.0)
    np.testing.assert_allclose(with_bare[:, 0], [1.5, -0.5, -0.5, -0.5], rtol=1e-6)
    mask = jnp.array([[True], [True], [False], [False]])
    without = reinforce_plus_plus(rewards, zeros, zeros, mask, kl_coef=0.0)
    np.testing.assert_allclose(without[:, 0], [0.707107, -0.707107, 0, 0], atol=1e-6)


def test_penalised_returns_add_up_from_the_end(batch):
    rewards = batch["rewards"][:, 0]
    found = penalised_returns(rewards, batch["log_probs"], batch["ref"], batch["mask"], kl_coef=0.3)
    for row in range(5):
        to_come = 0.0
        for t in reversed(range(6)):
            if batch["mask"][row, t]:
                to_come += float(batch["log_probs"][row, t] - batch["ref"][row, t])
                np.testing.assert_allclose(found[row, t], rewards[row] - 0.3 * to_come, rtol=1e-4)
            else:
                assert found[row, t] == 0


def test_penalised_returns_give_the_exact_gradient_of_the_divergence():
    """Over all sequences of two tokens out of three, second token's logits depending on the first.

    The expected gradient of sum_t A_t log pi_t equals that of E[r] - c KL(pi || ref).
    """
    keys = jax.random.split(jax.random.key(0), 4)
    logits = (jax.random.normal(keys[0], (3,)), jax.random.normal(keys[1], (3, 3)))
    reference = (jax.random.normal(keys[2], (3,)), jnp.zeros((3, 3)))
    rewards = jax.random.normal(keys[3], (9,))
    first, second = (part.reshape(-1) for part in jnp.indices((3, 3)))

    def token_log_probs(logits):
        one, two = jax.nn.log_softmax(logits[0]), jax.nn.log_softmax(logits[1])
        return jnp.stack([one[first], two[first, second]], axis=-1)

    ref_log_probs = token_log_probs(reference)

    def objective(logits):
        log_probs = token_log_probs(logits)
        whole, ref = log_probs.sum(-1), ref_log_probs.sum(-1)
        return jnp.sum(jnp.exp(whole) * (rewards - 0.3 * (whole - ref)))

    def surrogate(logits):
        log_probs = token_log_probs(logits)
        advantages = penalised_returns(
            rewards, log_probs, ref_log_probs, jnp.ones((9, 2), bool), kl_coef=0.3
        )
        probability = jax.lax.stop_gradient(jnp.exp(log_probs.sum(-1)))
        return jnp.sum(probability * jnp.sum(advantages * log_probs, axis=-1))

    for found, wanted in zip(jax.grad(surrogate)(logits), jax.grad(objective)(logits), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_reinforce_plus_plus_baseline_centres_groups_and_whitens_tokens():
    """Rewards [1, 0] and [1, 1]: centred 1/2, -1/2, 0, 0; lengths 2, 1, 1, 0."""
    rewards = jnp.array([[1.0, 0.0], [1.0, jnp.nan]])
    mask = jnp.array([[[1, 1], [1, 0]], [[1, 0], [0, 0]]], bool)
    tokens = np.array([0.5, 0.5, -0.5, 0.0])
    expected = (tokens - tokens.mean()) / np.sqrt(tokens.var(ddof=1) + 1e-8)
    found = reinforce_plus_plus_baseline(rewards, mask)
    np.testing.assert_allclose(found[mask], expected, rtol=1e-5)
    assert (found[~mask] == 0).all()


def reference_gae(rewards, values, mask, discount, decay):
    """Sums of deltas over each sequence's valid tokens, by the definition (Eq. 16)."""
    advantages = np.zeros_like(rewards)
    for row in range(len(rewards)):
        places = np.flatnonzero(mask[row])
        v = [*values[row, places], 0.0]
        deltas = [rewards[row, p] + discount * v[i + 1] - v[i] for i, p in enumerate(places)]
        for i, place in enumerate(places):
            later = deltas[i:]
            advantages[row, place] = sum((discount * decay) ** n * d for n, d in enumerate(later))
    return advantages


@pytest.mark.parametrize(("discount", "decay"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.7, 0.0)])
def test_generalised_advantages_match_their_definition(batch, discount, decay):
    chosen = batch["rewards"], batch["values"], batch["mask"]
    advantages, returns = generalised_advantages(*chosen, discount=discount, decay=decay)
    rewards, values, mask = (np.asarray(array) for array in chosen)
    expected = reference_gae(rewards.astype(np.float64), values, mask, discount, decay)
    np.testing.assert_allclose(advantages, expected, atol=1e-5)
    np.testing.assert_allclose(returns, np.where(mask, expected + values, 0), atol=1e-5)


def test_garbage_outside_the_mask_reaches_nothing(batch):
    mask = batch["mask"]
    poisoned = {name: jnp.where(mask, batch[name], jnp.nan) for name in batch if name != "mask"}
    for one, other in ((batch, poisoned),):
        plain = generalised_advantages(one["rewards"], one["values"], mask)
        dirty = generalised_advantages(other["rewards"], other["values"], mask)
        np.testing.assert_array_equal(plain[0], dirty[0])
        np.testing.assert_array_equal(plain[1], dirty[1])
    clean, dirty = (
        reinforce_plus_plus(jnp.ones(5), some["log_probs"], some["ref"], mask, kl_coef=0.1)
        for some in (batch, poisoned)
    )
    np.testing.assert_array_equal(clean, dirty)


@settings(max_examples=20, deadline=None)
@given(left=st.integers(0, 3), right=st.integers(0, 3))
def test_padding_changes_nothing(left, right):
    rng = np.random.default_rng(1)
    rewards, values = (jnp.array(rng.normal(size=(2, 4)), jnp.float32) for _ in range(2))
    mask = jnp.array([[1, 1, 0, 1], [0, 1, 1, 1]], bool)
    pad = ((0, 1), (left, right))
    plain = generalised_advantages(rewards, values, mask)
    padded = generalised_advantages(*(jnp.pad(array, pad) for array in (rewards, values, mask)))
    inside = (slice(0, 2), slice(left, left + 4))
    np.testing.assert_allclose(padded[0][inside], plain[0], atol=1e-6)
    assert (np.asarray(padded[0])[~np.asarray(jnp.pad(mask, pad))] == 0).all()


def test_nothing_is_differentiated(batch):
    def total(values):
        return sum(
            part.sum() for part in generalised_advantages(batch["rewards"], values, batch["mask"])
        )

    assert (jax.grad(total)(batch["values"]) == 0).all()


def test_wrong_arguments_are_named(batch):
    with pytest.raises((ValueError, TypeError), match="values"):
        generalised_advantages(batch["rewards"], batch["values"][:2], batch["mask"])
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\]; got 2"):
        generalised_advantages(batch["rewards"], batch["values"], batch["mask"], decay=2.0)
    with pytest.raises((ValueError, TypeError), match="mask"):
        reinforce_plus_plus_baseline(jnp.ones((2, 3)), jnp.ones((3, 2, 4), bool))
