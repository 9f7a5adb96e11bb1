"""Losses against golden values, a numpy reference in float64 and finite differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.policy_gradient import clipped_surrogate, player_loss, policy_gradient

MODES = [("token", None), ("sequence", None), ("constant", 8)]
COEFFICIENTS = {"clip_low": 0.2, "clip_high": 0.5, "kl_coef": 0.3, "entropy_coef": 0.1}
ARGUMENTS = ["log_probs", "old_log_probs", "ref_log_probs", "entropy", "advantages", "mask"]


@pytest.fixture
def batch():
    """Six sequences of five tokens: advantages of both signs, one of 0, and an empty row."""
    rng = np.random.default_rng(0)
    log_probs = rng.normal(-1.5, 0.5, (6, 5))
    mask = rng.random((6, 5)) < 0.7
    mask[3] = False
    arrays = {
        "log_probs": log_probs,
        "old_log_probs": log_probs + rng.normal(0, 0.4, (6, 5)),
        "ref_log_probs": log_probs + rng.normal(0, 0.4, (6, 5)),
        "entropy": rng.random((6, 5)),
        "advantages": np.array([1.0, -1.0, 0.0, 2.0, -0.5, 0.7]),
    }
    return {name: jnp.array(x, jnp.float32) for name, x in arrays.items()} | {
        "mask": jnp.array(mask)
    }


def reference_loss(log_probs, batch, mode="token", length=None):
    """The same loss, token by token, in float64."""
    x = {name: np.asarray(array, np.float64) for name, array in batch.items()}
    total, weight = 0.0, 0.0
    for i in range(len(log_probs)):
        valid = [t for t in range(log_probs.shape[1]) if batch["mask"][i, t]]
        values = []
        for t in valid:
            ratio = np.exp(log_probs[i, t] - x["old_log_probs"][i, t])
            advantage, d = x["advantages"][i], log_probs[i, t] - x["ref_log_probs"][i, t]
            surrogate = min(ratio * advantage, np.clip(ratio, 0.8, 1.5) * advantage)
            values.append(-surrogate + 0.3 * (np.exp(-d) - 1 + d) - 0.1 * x["entropy"][i, t])
        divisor = {"token": 1, "sequence": max(len(valid), 1), "constant": length}[mode]
        total += sum(values) / divisor
        weight += len(valid) if mode == "token" else float(len(valid) > 0)
    return total, weight


def run(batch, **settings):
    return player_loss(*(batch[name] for name in ARGUMENTS), **COEFFICIENTS | settings)


@pytest.mark.parametrize(
    ("ratio", "advantage", "low", "high", "expected"),
    [
        (1.5, 1.0, 0.2, 0.2, -1.2),
        (1.5, 1.0, 0.2, 0.28, -1.28),
        (1.5, 1.0, 0.2, 0.5, -1.5),
        (1.6, 1.0, 0.2, 0.5, -1.5),
        (1.5, -1.0, 0.2, 0.2, 1.5),
        (4.0, -1.0, 0.2, 0.2, 4.0),
        (0.5, 1.0, 0.2, 0.2, -0.5),
        (0.5, -1.0, 0.2, 0.2, 0.8),
    ],
)
def test_clipped_surrogate_golden_values(ratio, advantage, low, high, expected):
    loss = clipped_surrogate(
        jnp.log(jnp.array([[ratio]])) - 1.0,
        jnp.array([[-1.0]]),
        jnp.array([advantage]),
        jnp.array([[True]]),
        clip_low=low,
        clip_high=high,
    )
    np.testing.assert_allclose(loss.sum, expected, rtol=1e-6)


def test_policy_gradient_golden_value_and_gradient():
    log_probs = jnp.array([[-1.0, -2.0], [-0.5, -4.0]])
    advantages, mask = jnp.array([2.0, -1.0]), jnp.array([[True, True], [True, False]])
    (total, gradient) = jax.value_and_grad(
        lambda log_probs: policy_gradient(log_probs, advantages, mask).sum
    )(log_probs)
    assert total == 2 * (1 + 2) - 0.5
    assert gradient.tolist() == [[-2.0, -2.0], [1.0, 0.0]]


@pytest.mark.parametrize(("mode", "length"), MODES)
def test_player_loss_matches_the_reference(batch, mode, length):
    loss, _ = run(batch, aggregation=mode, length=length)
    log_probs = np.asarray(batch["log_probs"], np.float64)
    np.testing.assert_allclose(loss, reference_loss(log_probs, batch, mode, length), rtol=1e-5)


def test_gradient_matches_finite_differences(batch):
    gradient = jax.grad(lambda x: run(batch | {"log_probs": x})[0].sum)(batch["log_probs"])
    log_probs = np.asarray(batch["log_probs"], np.float64)
    for index in np.ndindex(log_probs.shape):
        step = np.zeros_like(log_probs)
        step[index] = 1e-6
        above = reference_loss(log_probs + step, batch)[0]
        below = reference_loss(log_probs - step, batch)[0]
        np.testing.assert_allclose(gradient[index], (above - below) / 2e-6, atol=1e-4)


def test_gradient_flows_through_log_probs_and_entropy_alone(batch):
    def total(floats):
        return run(floats | {"mask": batch["mask"]})[0].sum

    floats = {name: array for name, array in batch.items() if name != "mask"}
    gradients = jax.grad(total)(floats)
    moved = {name for name, gradient in gradients.items() if jnp.any(gradient != 0)}
    assert moved == {"log_probs", "entropy"}
    np.testing.assert_allclose(gradients["entropy"], np.where(batch["mask"], -0.1, 0.0))


def test_metrics(batch):
    """Each is a sum over the valid tokens, whatever the aggregation of the loss."""
    _, metrics = run(batch, aggregation="sequence")
    mask = np.asarray(batch["mask"])
    ratio = np.exp(np.asarray(batch["log_probs"] - batch["old_log_probs"]))
    advantages = np.asarray(batch["advantages"])[:, None]
    clipped = np.where(advantages > 0, ratio > 1.5, (ratio < 0.8) & (advantages < 0))
    d = np.asarray(batch["log_probs"] - batch["ref_log_probs"])
    expected = {
        "clip_fraction": clipped,
        "entropy": np.asarray(batch["entropy"]),
        "kl": np.exp(-d) - 1 + d,
        "ratio": ratio,
    }
    assert 0 < clipped[mask].sum() < mask.sum()
    assert set(metrics) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(metrics[name], (values[mask].sum(), mask.sum()), rtol=1e-5)


def test_advantage_zero_keeps_kl_and_entropy(batch):
    bare = batch | {"advantages": jnp.zeros(6)}
    loss, metrics = run(bare)
    expected = 0.3 * metrics["kl"].sum - 0.1 * metrics["entropy"].sum
    np.testing.assert_allclose(loss.sum, expected, rtol=1e-5)
    assert expected != 0
    assert metrics["clip_fraction"].sum == 0


def test_on_policy_gradient_is_reinforce(batch):
    advantages, mask = batch["advantages"], batch["mask"]
    surrogate = jax.grad(lambda x: clipped_surrogate(x, x, advantages, mask).sum)
    reinforce = jax.grad(lambda x: policy_gradient(x, advantages, mask).sum)
    np.testing.assert_allclose(
        surrogate(batch["log_probs"]), reinforce(batch["log_probs"]), atol=1e-6
    )


def test_advantages_by_token_or_by_sequence(batch):
    by_token = jnp.broadcast_to(batch["advantages"][:, None], (6, 5))
    assert run(batch | {"advantages": by_token})[0] == run(batch)[0]


@pytest.mark.parametrize("garbage", [jnp.nan, jnp.inf, -jnp.inf])
@pytest.mark.parametrize(("mode", "length"), MODES)
def test_garbage_outside_the_mask_is_harmless(batch, garbage, mode, length):
    def total(log_probs, batch):
        return run(batch | {"log_probs": log_probs}, aggregation=mode, length=length)[0].sum

    mask = batch["mask"]
    by_token = jnp.broadcast_to(batch["advantages"][:, None], (6, 5))
    clean = batch | {"advantages": by_token}
    dirty = {
        name: array if name == "mask" else jnp.where(mask, array, garbage)
        for name, array in clean.items()
    }
    expected = jax.value_and_grad(total)(clean["log_probs"], clean)
    value, gradient = jax.value_and_grad(total)(dirty["log_probs"], dirty)
    assert value == expected[0]
    np.testing.assert_array_equal(gradient, expected[1])
    np.testing.assert_array_equal(gradient[~mask], 0.0)


@pytest.mark.parametrize(("mode", "length"), MODES)
def test_padding_changes_nothing(batch, mode, length):
    padded = {name: jnp.pad(array, ((0, 2), (1, 3))[: array.ndim]) for name, array in batch.items()}
    settings = {"aggregation": mode, "length": length}
    loss, metrics = run(batch, **settings)
    padded_loss, padded_metrics = run(padded, **settings)
    np.testing.assert_allclose(padded_loss, loss, rtol=1e-6)
    for name, metric in metrics.items():
        np.testing.assert_allclose(padded_metrics[name], metric, rtol=1e-6)


@pytest.mark.parametrize(("mode", "length"), MODES)
@pytest.mark.parametrize("rows", [[2, 2, 2], [1, 4, 1]])
def test_micro_batches_give_the_gradient_of_the_batch(batch, rows, mode, length):
    """Sums, weights and gradients are added up and divided once."""

    @functools.partial(jax.value_and_grad, has_aux=True)
    def part(log_probs, batch):
        total, weight = run(batch | {"log_probs": log_probs}, aggregation=mode, length=length)[0]
        return total, weight

    (total, weight), gradient = part(batch["log_probs"], batch)
    starts = np.cumsum([0, *rows])
    parts = []
    for start, stop in zip(starts[:-1], starts[1:], strict=True):
        piece = {name: array[start:stop] for name, array in batch.items()}
        parts.append(part(piece["log_probs"], piece))
    np.testing.assert_allclose(sum(p[0][0] for p in parts), total, rtol=1e-5)
    assert sum(p[0][1] for p in parts) == weight
    np.testing.assert_allclose(
        np.concatenate([p[1] for p in parts]) / weight, gradient / weight, atol=1e-6
    )


@pytest.mark.parametrize(("mode", "length"), MODES)
def test_no_valid_token(batch, mode, length):
    def loss(log_probs):
        nothing = batch | {"log_probs": log_probs, "mask": jnp.zeros((6, 5), bool)}
        return run(nothing, aggregation=mode, length=length)[0]

    assert loss(batch["log_probs"]) == (0.0, 0.0)
    gradient = jax.grad(lambda log_probs: loss(log_probs).mean())(batch["log_probs"])
    np.testing.assert_array_equal(gradient, np.zeros((6, 5)))


def test_one_valid_token(batch):
    mask = jnp.zeros((6, 5), bool).at[0, 2].set(True)
    loss = policy_gradient(batch["log_probs"], batch["advantages"], mask)
    assert loss == (-batch["log_probs"][0, 2], 1.0)


@pytest.mark.parametrize("log_ratio", [-500.0, 500.0])
@pytest.mark.parametrize("advantage", [-1.0, 0.0, 1.0])
def test_extreme_ratios_stay_finite(log_ratio, advantage):
    def total(log_probs):
        zeros = jnp.zeros((1, 1))
        advantages, mask = jnp.array([advantage]), jnp.array([[True]])
        return player_loss(log_probs, zeros, zeros, zeros, advantages, mask)[0].sum

    value, gradient = jax.value_and_grad(total)(jnp.array([[log_ratio]]))
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()


def test_under_jit_and_vmap(batch):
    doubled = jax.tree.map(lambda array: jnp.stack([array, array]), batch)
    losses, _ = jax.jit(jax.vmap(run))(doubled)
    expected = run(batch)[0]
    np.testing.assert_allclose(losses.sum, [expected.sum] * 2, rtol=1e-6)


@pytest.mark.parametrize("name", ["old_log_probs", "ref_log_probs", "entropy", "advantages"])
def test_wrong_shape_names_the_argument(batch, name):
    with pytest.raises((ValueError, TypeError), match=name):
        run(batch | {name: batch[name][:4]})


def test_unknown_aggregation(batch):
    with pytest.raises(ValueError, match="must be one of .* got 'mean'"):
        run(batch, aggregation="mean")
