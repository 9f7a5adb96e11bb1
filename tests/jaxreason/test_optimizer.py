"""The optimiser, and updates that are skipped."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreason.optimizer import (
    OptimizerConfig,
    apply_gradients,
    make_optimizer,
    skipped_updates,
)

PARAMS = {"matrix": jnp.full((2, 2), 0.5), "norm": jnp.ones(2)}
GOOD = {"matrix": jnp.array([[0.1, -0.2], [0.3, 0.4]]), "norm": jnp.array([0.5, -0.1])}
LOSS = jnp.array(1.0)


def start(config, steps=10):
    optimizer = make_optimizer(config, steps)
    return optimizer, optimizer.init(PARAMS)


def moments(state):
    adam = optax.tree.get(state, "ScaleByAdamState")
    return adam.count, adam.mu, adam.nu


def assert_identical(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


BAD = {
    "infinite gradient": ({**GOOD, "norm": jnp.array([jnp.inf, 0.0])}, LOSS),
    "gradient that is no number": ({**GOOD, "matrix": jnp.full((2, 2), jnp.nan)}, LOSS),
    "infinite loss": (GOOD, jnp.array(jnp.inf)),
    "loss that is no number": (GOOD, jnp.array(jnp.nan)),
}


@pytest.mark.parametrize(("gradients", "loss"), BAD.values(), ids=BAD)
def test_bad_updates_are_skipped_and_counted(gradients, loss):
    optimizer, state = start(OptimizerConfig(warmup_steps=0))
    update = jax.jit(lambda *arguments: apply_gradients(optimizer, *arguments))
    params, state = update(PARAMS, state, GOOD, LOSS)
    before, moments_before = params, moments(state)
    for number in (1, 2):
        params, state = update(params, state, gradients, loss)
        assert [int(count) for count in skipped_updates(state)] == [number, number]
    assert_identical(params, before)
    assert_identical(moments(state), moments_before)
    params, state = update(params, state, GOOD, LOSS)
    assert [int(count) for count in skipped_updates(state)] == [0, 2]
    assert int(moments(state)[0]) == 2

    # As if the bad ones had never been.
    clean, clean_state = PARAMS, start(OptimizerConfig(warmup_steps=0))[1]
    for _ in range(2):
        clean, clean_state = update(clean, clean_state, GOOD, LOSS)
    assert_identical(params, clean)


def rates(config, steps):
    """What an optimiser without decay and clipping moves a number by: Adam's step is the rate."""
    optimizer = make_optimizer(config, steps)
    update = jax.jit(lambda *arguments: apply_gradients(optimizer, *arguments))
    params = {"number": jnp.zeros(())}
    state, moved = optimizer.init(params), []
    for _ in range(steps + 2):
        after, state = update(params, state, {"number": jnp.array(-1.0)}, LOSS)
        moved.append(float(after["number"] - params["number"]))
        params = after
    return moved


def test_schedule():
    """Up in a straight line from 0 over four updates, down along a cosine to a tenth."""
    config = OptimizerConfig(learning_rate=0.1, warmup_steps=4, b1=0.0, b2=0.0, clip_norm=10.0)
    moved = rates(config, 10)
    cosine = 0.01 + 0.09 * (1 + np.cos(np.pi * np.arange(7) / 6)) / 2
    expected = [0, 0.025, 0.05, 0.075, *cosine, 0.01]
    np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-7)


def test_constant_rate_without_warmup():
    config = OptimizerConfig(learning_rate=0.1, warmup_steps=0, final_fraction=1.0)
    np.testing.assert_allclose(rates(config, 5), 0.1, rtol=1e-4)


def test_warmup_longer_than_the_run():
    config = OptimizerConfig(learning_rate=0.1, warmup_steps=8)
    np.testing.assert_allclose(rates(config, 4), 0.1 * np.arange(6) / 8, rtol=1e-4, atol=1e-7)


def test_decay_is_for_matrices_only():
    optimizer, state = start(OptimizerConfig(learning_rate=0.1, warmup_steps=0, weight_decay=0.5))
    nothing = jax.tree.map(jnp.zeros_like, PARAMS)
    params, _ = apply_gradients(optimizer, PARAMS, state, nothing, LOSS)
    np.testing.assert_allclose(params["matrix"], 0.5 * (1 - 0.1 * 0.5), rtol=1e-6)
    np.testing.assert_array_equal(params["norm"], PARAMS["norm"])


def test_gradients_are_clipped_by_their_global_norm():
    """With a memory of nothing but this update, the first moment is the clipped gradient."""
    optimizer, state = start(OptimizerConfig(clip_norm=0.5, b1=0.0))
    _, state = apply_gradients(optimizer, PARAMS, state, GOOD, LOSS)
    norm = np.sqrt(0.01 + 0.04 + 0.09 + 0.16 + 0.25 + 0.01)
    expected = jax.tree.map(lambda leaf: leaf * 0.5 / norm, GOOD)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), moments(state)[1], expected
    )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be above 0; got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0; got nan"),
        ({"clip_norm": -1.0}, "clip_norm must be above 0; got -1.0"),
        ({"warmup_steps": -1}, "warmup_steps must be 0 or more; got -1"),
        ({"final_fraction": 1.5}, r"final_fraction must be in \[0, 1\]; got 1.5"),
        ({"weight_decay": -0.1}, "weight_decay must be 0 or more; got -0.1"),
        ({"b1": 1.0}, r"b1 must be in \[0, 1\); got 1.0"),
        ({"b2": -0.5}, r"b2 must be in \[0, 1\); got -0.5"),
    ],
)
def test_bad_configs_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        OptimizerConfig(**settings)
