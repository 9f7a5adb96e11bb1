"""The forward pass against an implementation of its own in float64 NumPy."""

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.model import (
    attention_mask,
    forward,
    init,
    logical_axes,
    num_parameters,
    positions_of,
    score_logits,
)
from jaxreason.model.layers import attend, attend_cached, project
from jaxreason.model.rope import rotate

logits_of = jax.jit(forward, static_argnums=0)

TOKENS = jax.random.randint(jax.random.key(1), (2, 9), 0, 37)


def numpy_norm(config, hidden, scale):
    scale = scale + 1 if config.zero_centered_norms else scale
    return hidden / np.sqrt((hidden**2).mean(-1, keepdims=True) + config.norm_epsilon) * scale


def numpy_frequencies(config, layer):
    """Radians for each pair of dimensions and position."""
    half = config.head_dim // 2
    if config.has_window(layer) and config.local_rope_theta:
        return config.local_rope_theta ** (-np.arange(half) / half)
    plain = config.rope_theta ** (-np.arange(half) / half)
    scaling, scaled = config.rope_scaling, []
    for frequency in plain:
        turns = scaling.original_length * frequency / (2 * np.pi)
        low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
        if scaling.kind == "none" or turns > high:
            scaled.append(frequency)
        elif turns < low:
            scaled.append(frequency / scaling.factor)
        else:
            share = (turns - low) / (high - low)
            scaled.append(share * frequency + (1 - share) * frequency / scaling.factor)
    return np.array(scaled)


def numpy_rotate(values, positions, frequencies):
    """Rotary embeddings as products of complex numbers, `[time, head, head_dim]`."""
    half = values.shape[-1] // 2
    turns = np.exp(1j * positions[:, None, None] * frequencies)
    turned = (values[..., :half] + 1j * values[..., half:]) * turns
    return np.concatenate([turned.real, turned.imag], axis=-1)


def numpy_cap(scores, cap):
    return scores if cap is None else cap * np.tanh(scores / cap)


def numpy_attention(config, weights, hidden, layer):
    """Each head by itself, each query over its own past."""
    time, width = len(hidden), config.head_dim
    heads = {
        name: (hidden @ weights[name] + weights.get(f"{name}_bias", 0)).reshape(time, -1, width)
        for name in ("query", "key", "value")
    }
    if config.qk_norm:
        for name in ("query", "key"):
            heads[name] = numpy_norm(config, heads[name], weights[f"{name}_norm"]["scale"])
    query, key = (
        numpy_rotate(heads[name], np.arange(time), numpy_frequencies(config, layer))
        for name in ("query", "key")
    )
    mixed = np.zeros((time, config.num_heads, width))
    for head in range(config.num_heads):
        shared = head // (config.num_heads // config.num_kv_heads)
        for now in range(time):
            first = max(0, now - config.window + 1) if config.has_window(layer) else 0
            scores = key[first : now + 1, shared] @ query[now, head]
            scores = scores / math.sqrt(config.query_scalar or width)
            scores = numpy_cap(scores, config.attention_soft_cap)
            weight = np.exp(scores - scores.max())
            seen = heads["value"][first : now + 1, shared]
            mixed[now, head] = weight / weight.sum() @ seen
    return mixed.reshape(time, -1) @ weights["out"]


def numpy_feed_forward(config, weights, hidden):
    gate = hidden @ weights["gate"]
    if config.activation == "silu":
        gated = gate / (1 + np.exp(-gate))
    else:
        gated = gate / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
    return gated * (hidden @ weights["up"]) @ weights["down"]


def numpy_forward(config, params, tokens):
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    norm = lambda name, hidden: numpy_norm(config, hidden, params[name]["scale"])  # noqa: E731
    hidden = params["embedding"][np.asarray(tokens)]
    if config.scale_embeddings:
        hidden = hidden * math.sqrt(config.dim)
    for layer in range(config.num_layers):
        for part, block in (
            ("attention", partial(numpy_attention, layer=layer)),
            ("feed_forward", numpy_feed_forward),
        ):
            before = norm(f"layer_{layer}_{part}_norm", hidden)
            added = block(config, params[f"layer_{layer}_{part}"], before)
            if config.sandwich_norms:
                added = norm(f"layer_{layer}_post_{part}_norm", added)
            hidden = hidden + added
    output = params["embedding" if config.tie_embeddings else "output"]
    return numpy_cap(norm("norm", hidden) @ output.T, config.logit_soft_cap)


def test_forward_equals_numpy(config, params):
    logits = logits_of(config, params, TOKENS)
    expected = np.stack([numpy_forward(config, params, row) for row in TOKENS])
    assert np.ptp(expected) > 5
    np.testing.assert_allclose(logits, expected, atol=2e-5)


def test_tied_and_untied_parameters(config, params):
    assert ("output" in params) == (not config.tie_embeddings)
    assert num_parameters(config) == sum(leaf.size for leaf in jax.tree.leaves(params))
    extra = 0 if config.tie_embeddings else config.vocab_size * config.dim
    head = config.head_size or config.dim // config.num_heads
    width, kv_width = config.num_heads * head, config.num_kv_heads * head
    block = 2 * config.dim * (width + kv_width) + 3 * config.dim * config.hidden_dim
    block += (width + 2 * kv_width) * config.qkv_bias + 2 * head * config.qk_norm
    norms = ((4 if config.sandwich_norms else 2) * config.num_layers + 1) * config.dim
    table = config.vocab_size * config.dim
    assert num_parameters(config) == table + extra + config.num_layers * block + norms


def test_logical_axes_have_one_name_for_each_axis(config, params):
    axes = logical_axes(config)
    jax.tree.map(lambda leaf, names: leaf.shape[len(names) - 1], params, axes)
    assert all(
        leaf.ndim == len(names)
        for leaf, names in zip(jax.tree.leaves(params), jax.tree.leaves(axes), strict=True)
    )


def test_initial_loss_is_that_of_guessing(config):
    """Every token starts with a probability near 1 / vocab."""
    logits = logits_of(config, jax.jit(init, static_argnums=0)(config, jax.random.key(0)), TOKENS)
    loss = -score_logits(logits[:, :-1], TOKENS[:, 1:]).log_probs.mean()
    assert abs(float(loss) - math.log(config.vocab_size)) < 0.05


def test_positions():
    segments = jnp.array([[0, 1, 1, 0, 1, 3, 3, 0], [2, 2, 2, 2, 1, 1, 0, 0]])
    assert positions_of(segments).tolist() == [[0, 0, 1, 0, 2, 0, 1, 0], [0, 1, 2, 3, 0, 1, 0, 0]]
    assert positions_of(jnp.zeros((1, 3), jnp.int32)).tolist() == [[0, 0, 0]]


def test_attention_mask():
    mask = attention_mask(jnp.array([[1, 0, 1, 2]]))[0]
    assert mask.astype(int).tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]


def test_attending_to_nothing_is_finite():
    values = jax.random.normal(jax.random.key(0), (1, 3, 2, 4))

    def total(values):
        return attend(values, values, values, jnp.zeros((1, 3, 3), bool)).sum()

    value, gradient = jax.jit(jax.value_and_grad(total))(values)
    assert jnp.isfinite(value) and jnp.isfinite(gradient).all()


def test_attending_to_a_cache_is_attending():
    """Grouped queries, any mask, 16-bit types: two kernels, one result."""
    keys = jax.random.split(jax.random.key(0), 4)
    query = jax.random.normal(keys[0], (2, 3, 6, 4))
    key, value = (jax.random.normal(each, (2, 5, 2, 4)) for each in keys[1:3])
    mask = jax.random.bernoulli(keys[3], 0.5, (2, 3, 5)).at[..., 1].set(True)
    for dtype, atol in ((jnp.float32, 1e-6), (jnp.bfloat16, 2e-2)):
        q, k, v = (leaf.astype(dtype) for leaf in (query, key, value))
        cached = k.transpose(0, 2, 3, 1), v.transpose(0, 2, 1, 3)
        mixed = attend_cached(q, cached, mask)
        assert mixed.dtype == dtype
        close = partial(np.testing.assert_allclose, atol=atol)
        close(*(leaf.astype(jnp.float32) for leaf in (mixed, attend(q, k, v, mask))))


@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 3), (0, 3)])
def test_projections_have_the_gradients_of_a_product(shape):
    keys = jax.random.split(jax.random.key(0), 3)
    inputs, weight = jax.random.normal(keys[0], shape), jax.random.normal(keys[1], (3, 5))
    above = jax.random.normal(keys[2], (*shape[:-1], 5))
    gradients = [
        jax.jit(jax.grad(lambda *given, f=f: (above * f(*given)).sum(), argnums=(0, 1)))(
            inputs, weight
        )
        for f in (project, jnp.matmul)
    ]
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), *gradients)


def test_rotation_depends_on_distances_only():
    query, key = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 8))
    dot = lambda a, b: jnp.vdot(  # noqa: E731
        rotate(query, jnp.array([[a]]), 1e4), rotate(key, jnp.array([[b]]), 1e4)
    )
    np.testing.assert_allclose(dot(7, 3), dot(104, 100), atol=1e-4)
    assert abs(dot(7, 3) - dot(7, 4)) > 1e-3


def test_given_positions_count(config, params):
    shifted = logits_of(config, params, TOKENS, positions=jnp.tile(jnp.arange(9) + 5, (2, 1)))
    np.testing.assert_allclose(shifted, logits_of(config, params, TOKENS), atol=1e-5)
    stretched = logits_of(config, params, TOKENS, positions=jnp.tile(jnp.arange(9) * 2, (2, 1)))
    assert abs(stretched - shifted).max() > 1e-2


def test_bfloat16_keeps_logits_in_float32(config, params):
    half = dataclasses.replace(config, dtype="bfloat16")
    logits = logits_of(half, params, TOKENS)
    assert logits.dtype == jnp.float32
    full = logits_of(config, params, TOKENS)
    assert 0 < abs(logits - full).max() < 0.05 * abs(full).max()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"tokens": TOKENS[0]}, r"tokens must have shape \[batch, time\]; got \[9\]"),
        ({"segment_ids": jnp.ones((2, 8), jnp.int32)}, r"segment_ids must have shape \[2, 9\]"),
        ({"positions": jnp.ones((1, 9), jnp.int32)}, r"positions must have shape \[2, 9\]"),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_shapes_are_named(config, params, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        forward(config, params, **({"tokens": TOKENS} | arguments))
