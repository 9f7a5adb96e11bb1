"""GSPO, CISPO, the dual clip, importance weights and the value loss: by hand and by NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.policy_gradient import (
    cispo,
    clipped_surrogate,
    gspo,
    policy_gradient,
    truncated_importance_weights,
    value_loss,
)

dual = functools.partial(clipped_surrogate, dual_clip=3.0)
wide_gspo = functools.partial(gspo, clip_low=0.2, clip_high=0.3)
LOSSES = {"dual": dual, "gspo": wide_gspo, "cispo": functools.partial(cispo, clip_high=0.3)}


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    log_probs = rng.normal(-1.5, 0.5, (6, 5))
    mask = rng.random((6, 5)) < 0.7
    mask[3] = False
    mask[4] = [False, True, False, False, False]
    return {
        "log_probs": log_probs,
        "old_log_probs": log_probs + rng.normal(0, 0.6, (6, 5)),
        "advantages": np.array([1.0, -1.0, 0.0, 2.0, -0.5, 0.7]),
        "mask": mask,
    }


def run(loss, batch):
    floats = {
        name: jnp.array(array, jnp.float32) for name, array in batch.items() if name != "mask"
    }
    return loss(**floats, mask=jnp.array(batch["mask"]))


def gradient_of(loss, batch):
    def total(log_probs):
        arrays = {name: jnp.asarray(array) for name, array in batch.items()}
        floats = {name: jnp.float32(array) for name, array in arrays.items() if name != "mask"}
        return loss(**floats | {"log_probs": log_probs}, mask=arrays["mask"]).sum

    return jax.grad(total)(jnp.array(batch["log_probs"], jnp.float32))


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected", "slope"),
    [(4.0, -1.0, 3.0, 0.0), (2.5, -1.0, 2.5, 2.5), (4.0, 1.0, -1.2, 0.0), (0.5, -1.0, 0.8, 0.0)],
)
def test_dual_clip_golden_values(ratio, advantage, expected, slope):
    batch = {
        "log_probs": np.log([[ratio]]),
        "old_log_probs": np.zeros((1, 1)),
        "advantages": np.array([advantage]),
        "mask": np.ones((1, 1), bool),
    }
    np.testing.assert_allclose(run(dual, batch).sum, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient_of(dual, batch), [[slope]], rtol=1e-6)


def test_gspo_golden_value():
    """The ratio of [0.1, -0.2, 0.4] is e^{0.1}, not its tokens' product, e^{0.3}."""
    batch = {
        "log_probs": np.array([[0.1, -0.2, 0.4]]),
        "old_log_probs": np.zeros((1, 3)),
        "advantages": np.array([-1.0]),
        "mask": np.ones((1, 3), bool),
    }
    np.testing.assert_allclose(run(gspo, batch).sum, 1.105171, rtol=1e-6)
    np.testing.assert_allclose(gradient_of(gspo, batch), np.full((1, 3), 1.105171 / 3), rtol=1e-6)


def test_gspo_matches_its_definition(batch):
    """Value and gradient of -min(s A, clip(s) A), s a function of the whole sequence (Eq. 5)."""

    def reference(log_probs):
        total = 0.0
        for row in range(6):
            valid = batch["mask"][row]
            if valid.any():
                ratio = np.exp((log_probs - batch["old_log_probs"])[row, valid].mean())
                advantage = batch["advantages"][row]
                total -= min(ratio * advantage, np.clip(ratio, 0.8, 1.3) * advantage)
        return total

    loss = run(wide_gspo, batch)
    np.testing.assert_allclose(loss.sum, reference(batch["log_probs"]), rtol=1e-5)
    assert loss.weight == 5
    gradient = gradient_of(wide_gspo, batch)
    for index in np.ndindex(6, 5):
        step = np.zeros((6, 5))
        step[index] = 1e-6
        slope = reference(batch["log_probs"] + step) - reference(batch["log_probs"] - step)
        np.testing.assert_allclose(gradient[index], slope / 2e-6, atol=1e-4)


def test_gspo_with_token_advantages_is_that_with_sequence_advantages_where_they_agree(batch):
    tokens = batch | {"advantages": np.repeat(batch["advantages"][:, None], 5, axis=1)}
    assert run(wide_gspo, tokens) == run(wide_gspo, batch)
    np.testing.assert_array_equal(gradient_of(wide_gspo, tokens), gradient_of(wide_gspo, batch))


@pytest.mark.parametrize(("clip_high", "expected"), [(0.28, 2.56), (4.0, 3.0)])
def test_cispo_golden_values(clip_high, expected):
    """w = 1.5, A = 1, log pi = -2."""
    batch = {
        "log_probs": np.array([[-2.0]]),
        "old_log_probs": np.array([[-2.0 - np.log(1.5)]]),
        "advantages": np.array([1.0]),
        "mask": np.ones((1, 1), bool),
    }
    loss = functools.partial(cispo, clip_high=clip_high)
    np.testing.assert_allclose(run(loss, batch).sum, expected, rtol=1e-6)
    # The clipped token keeps its gradient.
    np.testing.assert_allclose(gradient_of(loss, batch), [[-expected / 2]], rtol=1e-6)


def test_cispo_matches_its_definition(batch):
    ratio = np.clip(np.exp(batch["log_probs"] - batch["old_log_probs"]), 0.0, 1.3)
    slopes = -ratio * batch["advantages"][:, None] * batch["mask"]
    loss = run(LOSSES["cispo"], batch)
    np.testing.assert_allclose(loss.sum, np.sum(slopes * batch["log_probs"]), rtol=1e-5)
    assert loss.weight.item() == batch["mask"].sum()
    np.testing.assert_allclose(gradient_of(LOSSES["cispo"], batch), slopes, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_on_policy_all_have_the_gradient_of_reinforce(batch, name):
    """At ratio 1 each is REINFORCE, averaged in its own way."""
    on_policy = batch | {"old_log_probs": batch["log_probs"]}
    mode = "sequence" if name == "gspo" else "token"
    plain = functools.partial(policy_gradient, aggregation=mode)
    without_old = {name: array for name, array in on_policy.items() if name != "old_log_probs"}
    np.testing.assert_allclose(
        gradient_of(LOSSES[name], on_policy), gradient_of(plain, without_old), atol=1e-6
    )


@pytest.mark.parametrize("name", LOSSES)
def test_padding_and_garbage_change_nothing(batch, name):
    padded = {
        key: np.pad(array, ((0, 2), (1, 3))[: array.ndim])
        if key in ("mask", "advantages")
        else np.pad(
            np.where(batch["mask"], array, np.nan), ((0, 2), (1, 3)), constant_values=np.inf
        )
        for key, array in batch.items()
    }
    np.testing.assert_allclose(run(LOSSES[name], padded), run(LOSSES[name], batch), rtol=1e-5)
    gradient = gradient_of(LOSSES[name], padded)
    assert jnp.isfinite(gradient).all() and (gradient[~padded["mask"]] == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_micro_batches_add_up(batch, name):
    whole = run(LOSSES[name], batch)
    parts = [
        run(LOSSES[name], {key: array[rows] for key, array in batch.items()})
        for rows in (slice(0, 1), slice(1, 4), slice(4, 6))
    ]
    np.testing.assert_allclose(np.sum(parts, axis=0), whole, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("log_ratio", [-500.0, 500.0])
def test_extreme_ratios_stay_finite(name, log_ratio):
    batch = {
        "log_probs": np.full((1, 2), log_ratio),
        "old_log_probs": np.zeros((1, 2)),
        "advantages": np.array([-1.0]),
        "mask": np.ones((1, 2), bool),
    }
    assert jnp.isfinite(run(LOSSES[name], batch).sum)
    assert jnp.isfinite(gradient_of(LOSSES[name], batch)).all()


@pytest.mark.parametrize("name", LOSSES)
def test_no_valid_token(batch, name):
    nothing = batch | {"mask": np.zeros((6, 5), bool)}
    assert run(LOSSES[name], nothing) == (0, 0)
    assert (gradient_of(LOSSES[name], nothing) == 0).all()


def test_importance_weights_correct_any_loss(batch):
    """Tokens from a sampler q, weighted by p / q, give the expectation under p."""
    p, q = np.array([0.2, 0.3, 0.5]), np.array([0.4, 0.4, 0.2])
    log_p, log_q = (jnp.log(jnp.array([x], jnp.float32)) for x in (p, q))
    mask = jnp.ones((1, 3), bool)
    weights = truncated_importance_weights(log_p, log_q, mask, limit=10.0)
    np.testing.assert_allclose(weights, [p / q], rtol=1e-6)
    np.testing.assert_allclose(jnp.sum(weights * q), 1.0, rtol=1e-6)
    limited = truncated_importance_weights(log_p, log_q, mask)
    np.testing.assert_allclose(limited, [[0.5, 0.75, 2.0]], rtol=1e-6)
    gradient = jax.grad(lambda x: truncated_importance_weights(x, log_q, mask).sum())(log_p)
    assert (gradient == 0).all()


def test_importance_weights_may_multiply_the_advantages(batch):
    """The losses are homogeneous in the advantages."""
    weights = np.random.default_rng(1).random((6, 5)) * 2
    scaled = batch | {"advantages": weights * batch["advantages"][:, None]}
    ratio = np.exp(batch["log_probs"] - batch["old_log_probs"])
    advantages = batch["advantages"][:, None]
    token = -np.minimum(ratio * advantages, np.clip(ratio, 0.8, 1.2) * advantages)
    expected = np.sum((token * weights)[batch["mask"]])
    np.testing.assert_allclose(run(clipped_surrogate, scaled).sum, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("value", "old", "target", "expected"),
    [
        (1.0, 0.0, 2.0, 1.62),  # moved past 0.2: (0.2 - 2)^2 / 2
        (0.1, 0.0, 2.0, 1.805),  # within: (0.1 - 2)^2 / 2
        (3.0, 0.0, 2.0, 1.62),  # (0.2 - 2)^2 beats (3 - 2)^2
        (-1.0, 0.0, 2.0, 4.5),  # further away than clipped
    ],
)
def test_value_loss_golden_values(value, old, target, expected):
    arrays = (jnp.array([[number]]) for number in (value, old, target))
    loss = value_loss(*arrays, jnp.array([[True]]))
    np.testing.assert_allclose(loss.sum, expected, rtol=1e-5)


def test_value_loss_ignores_what_is_masked():
    values = jnp.array([[1.0, jnp.nan]])
    mask = jnp.array([[True, False]])

    def total(values):
        return value_loss(values, values * 0, values * 0 + 1.1, mask, clip=5.0).sum

    np.testing.assert_allclose(jax.grad(total)(values), [[-0.1, 0.0]], atol=1e-6)


def test_wrong_settings(batch):
    with pytest.raises(ValueError, match="dual_clip must be above 1; got 0.5"):
        run(functools.partial(clipped_surrogate, dual_clip=0.5), batch)
    ones = jnp.ones((1, 1))
    with pytest.raises(ValueError, match="limit must be positive; got 0"):
        truncated_importance_weights(ones, ones, ones > 0, limit=0.0)
