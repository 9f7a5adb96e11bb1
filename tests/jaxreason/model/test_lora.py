"""Adapters: nothing at first, the same apart and merged, gradients to them alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.model import (
    LoRAConfig,
    attach,
    decode_step,
    forward,
    init_adapters,
    merge,
    prefill,
    score_logits,
)

TOKENS = jax.random.randint(jax.random.key(1), (2, 7), 0, 37)
logits_of = jax.jit(forward, static_argnums=0)


def drawn(lora, config, seed=3):
    """Adapters whose second factors are not 0."""
    adapters = init_adapters(lora, config, jax.random.key(seed))
    leaves, tree = jax.tree.flatten(adapters)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    noisy = [
        leaf + 0.3 * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(tree, noisy)


def test_new_adapters_change_nothing(config, params):
    adapters = init_adapters(LoRAConfig(rank=3), config, jax.random.key(0))
    plain = logits_of(config, params, TOKENS)
    np.testing.assert_array_equal(logits_of(config, attach(params, adapters), TOKENS), plain)
    np.testing.assert_array_equal(logits_of(config, merge(params, adapters), TOKENS), plain)


@pytest.mark.parametrize("targets", [("query",), ("value", "down"), LoRAConfig.targets])
def test_apart_and_merged_are_one_model(config, params, targets):
    """Read whole and token by token; every target counts."""
    adapters = drawn(LoRAConfig(rank=2, alpha=3.0, targets=targets), config)
    apart, merged = attach(params, adapters), merge(params, adapters)
    logits = logits_of(config, apart, TOKENS)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    close(logits, logits_of(config, merged, TOKENS))
    assert abs(logits - logits_of(config, params, TOKENS)).max() > 1e-2
    whole = jnp.ones((2, 6), bool)
    start = jax.jit(prefill, static_argnums=0, static_argnames="num_slots")
    first, cache = start(config, apart, TOKENS[:, :6], whole, num_slots=7)
    second, _ = jax.jit(decode_step, static_argnums=0)(config, apart, TOKENS[:, 6], cache)
    close(first, logits[:, 5])
    close(second, logits[:, 6])


def test_the_product_is_scaled_by_alpha_over_rank(config, params):
    adapters = drawn(LoRAConfig(rank=4, alpha=2.0, targets=("up",)), config)
    factors = adapters.factors["layer_0_feed_forward"]["up"]
    weight = merge(params, adapters)["layer_0_feed_forward"]["up"]
    expected = params["layer_0_feed_forward"]["up"] + 0.5 * (factors["a"] @ factors["b"])
    np.testing.assert_allclose(weight, expected, atol=1e-6)


def test_gradients_of_adapters_are_those_through_the_merged_weights(config, params):
    adapters = drawn(LoRAConfig(rank=2), config)

    def loss(adapters, put):
        logits = forward(config, put(params, adapters), TOKENS)
        return -score_logits(logits[:, :-1], TOKENS[:, 1:]).log_probs.mean()

    apart, merged = (jax.jit(jax.grad(partial(loss, put=put)))(adapters) for put in (attach, merge))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3), apart, merged)
    assert all(abs(leaf).max() > 1e-2 for leaf in jax.tree.leaves(apart))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rank": 0}, "rank must be 1 or more; got 0"),
        ({"alpha": 0.0}, "alpha must be above 0; got 0.0"),
        ({"targets": ("query", "norm")}, "targets must be some of .* got .'query', 'norm'."),
        ({"targets": ()}, "targets must be some of"),
    ],
)
def test_what_can_not_be_adapted_is_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        LoRAConfig(**changes)
