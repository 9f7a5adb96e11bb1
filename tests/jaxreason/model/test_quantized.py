"""8-bit weights: how far they may be off, by hand, and that every way to the logits takes them."""

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
    quantize,
)
from jaxreason.model.products import multiply_quantized
from jaxreason.model.quantized import quantize_matrix
from jaxreason.rollout import Sampling, generate
from jaxreason.sequences import Sequence

TOKENS = jax.random.randint(jax.random.key(1), (2, 7), 0, 37)
logits_of = jax.jit(forward, static_argnums=0)


def dequantize(few):
    """What the rounded weights stand for, as plain parameters."""
    plain = {}
    for name, held in few.items():
        if isinstance(held, dict):
            plain[name] = {
                key: leaf.astype(jnp.float32) * held[f"{key}_scale"]
                if f"{key}_scale" in held
                else leaf
                for key, leaf in held.items()
                if not key.endswith("_scale")
            }
        elif f"{name}_scale" in few:
            plain[name] = held.astype(jnp.float32) * few[f"{name}_scale"][:, None]
        elif not name.endswith("_scale"):
            plain[name] = held
    return plain


def test_a_matrix_by_hand():
    # Column 0: the scale is 254 / 127 = 2, so 254 -> 127, -3 -> -1.5, to the even -2; column 1 is
    # 0, and its scale must not be.
    rounded, scale = quantize_matrix(jnp.array([[254.0, 0.0], [-3.0, 0.0]]), axis=0)
    assert rounded.tolist() == [[127, 0], [-2, 0]] and rounded.dtype == jnp.int8
    assert scale.tolist() == [2.0, np.float32(1 / 127)]


def test_no_weight_moves_by_more_than_half_a_scale():
    weight = jax.random.normal(jax.random.key(0), (50, 20))
    for axis in (0, 1):
        rounded, scale = quantize_matrix(weight, axis=axis)
        wide = jnp.expand_dims(scale, axis)
        moved = abs(rounded.astype(jnp.float32) * wide - weight)
        assert (moved <= 0.5001 * wide).all() and moved.max() > 0.4 * scale.min()
        np.testing.assert_allclose(scale, abs(weight).max(axis) / 127, rtol=1e-6)


def test_a_product_by_hand():
    # unit = 1; 100.5 is 100 and, as round half to even goes, 127 / 254; so (100 + 0.5) * 3 * 10,
    # and 127 * 4 * 10.
    inputs = jnp.array([[100.5, 127.0]])
    weight = jnp.array([[3, 0], [0, 4]], jnp.int8)
    product = multiply_quantized(inputs, weight, jnp.array([10.0, 10.0]))
    np.testing.assert_allclose(product, [[3015.0, 5080.0]], rtol=1e-6)
    assert multiply_quantized(jnp.zeros((1, 2)), weight, jnp.ones(2)).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("rows", [1, 5])
def test_products_are_as_near_as_two_digits_allow(rows):
    """One digit would be off 254 times as far."""
    weight_key, key = jax.random.split(jax.random.key(0))
    weight = jax.random.randint(weight_key, (64, 9), -127, 128).astype(jnp.int8)
    inputs = jax.random.normal(key, (rows, 64))
    exact = np.asarray(inputs, np.float64) @ np.asarray(weight, np.float64)
    product = jax.jit(multiply_quantized)(inputs, weight, jnp.ones(9))
    most = abs(inputs).max(1, keepdims=True) / 64_516 * abs(weight.astype(jnp.float32)).sum(0)
    assert (abs(product - exact) <= most + 1e-3).all()
    turned = jax.jit(partial(multiply_quantized, axis=1))(inputs, weight.T, jnp.ones(9))
    np.testing.assert_array_equal(turned, product)


def test_logits_are_those_of_the_weights_that_it_stands_for(config, params):
    few = quantize(params)
    logits = logits_of(config, few, TOKENS)
    expected = logits_of(config, dequantize(few), TOKENS)
    np.testing.assert_allclose(logits, expected, atol=2e-3 * np.ptp(expected))
    original = logits_of(config, params, TOKENS)
    off = np.abs(logits - original).max() / np.ptp(original)
    assert 1e-4 < off < 0.1


def test_every_way_to_the_logits_takes_them(config, params):
    few = quantize(params)
    logits = logits_of(config, few, TOKENS)
    start = jax.jit(prefill, static_argnums=0, static_argnames="num_slots")
    first, cache = start(config, few, TOKENS[:, :6], jnp.ones((2, 6), bool), num_slots=7)
    second, _ = jax.jit(decode_step, static_argnums=0)(config, few, TOKENS[:, 6], cache)
    close = partial(np.testing.assert_allclose, atol=5e-3 * np.ptp(logits))
    close(first, logits[:, 5])
    close(second, logits[:, 6])
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), few)
    mapped = jax.jit(jax.vmap(partial(forward, config), (0, None)))(both, TOKENS)
    close(mapped[1], logits)


def test_generate_takes_them(config, params):
    few, prompts = quantize(params), Sequence(TOKENS, TOKENS >= 0)
    how = {"max_new_tokens": 3, "stop_tokens": (), "sampling": Sampling(temperature=0.0)}
    run = jax.jit(lambda params: generate(config, params, prompts, jax.random.key(0), **how))
    tokens = run(few).completion.tokens
    whole = logits_of(config, few, jnp.concatenate([TOKENS, tokens], 1))
    margin = jnp.sort(whole[:, 6:-1], -1)[..., -2:]
    clear = margin[..., 1] - margin[..., 0] > 1e-2 * np.ptp(whole)
    assert clear.sum() >= 3
    np.testing.assert_array_equal(whole[:, 6:-1].argmax(-1)[clear], tokens[clear])


def test_memory(config, params):
    """A quarter, but for norms, biases and the scales: 4 of 4 * rows bytes for each channel."""
    sizes = [
        sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) for tree in (params, quantize(params))
    ]
    matrices = sum(leaf.nbytes for leaf in jax.tree.leaves(params) if leaf.ndim == 2)
    scales = sum(
        4 * leaf.shape["embedding" not in str(path) and "output" not in str(path)]
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if leaf.ndim == 2
    )
    assert sizes[1] == sizes[0] - matrices * 3 // 4 + scales


def test_gradients_reach_adapters_through_them(config, params):
    few = quantize(params)
    adapters = init_adapters(LoRAConfig(rank=2), config, jax.random.key(0))

    def loss(adapters, base):
        return forward(config, attach(base, adapters), TOKENS)[..., 3].mean()

    found, expected = (jax.jit(jax.grad(loss))(adapters, base) for base in (few, dequantize(few)))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-2 * abs(other).max() + 1e-6)
    assert any(abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(found))


def test_what_makes_no_sense_is_refused(config, params):
    few = quantize(params)
    with pytest.raises(ValueError, match="params are quantized already"):
        quantize(few)
    adapters = init_adapters(LoRAConfig(), config, jax.random.key(0))
    with pytest.raises(ValueError, match="merge, then quantize"):
        merge(few, adapters)
