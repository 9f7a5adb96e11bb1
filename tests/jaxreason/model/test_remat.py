"""Rematerialisation: the same loss and gradients from less memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.model import LoRAConfig, ModelConfig, attach, forward, init, init_adapters
from jaxreason.training import next_token_loss

CONFIG = ModelConfig(
    vocab_size=64, dim=32, num_layers=4, num_heads=2, num_kv_heads=1, hidden_dim=64
)
# XLA's usual scheduler on a CPU computes again early, all at once, which saves nothing.
LEAST_MEMORY = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


@jax.jit
def draw(key):
    """Weights with adapters beside them."""
    params = init(CONFIG, key)
    return attach(params, init_adapters(LoRAConfig(rank=2), CONFIG, key))


@pytest.fixture(scope="module")
def inputs():
    tokens = jax.random.randint(jax.random.key(2), (8, 64), 0, 64)
    ones = jnp.ones_like(tokens)
    batch = {"tokens": tokens, "segment_ids": ones, "loss_mask": ones}
    return draw(jax.random.key(0)), batch | {"positions": ones.cumsum(1, dtype=jnp.int32) - 1}


def gradients_and_memory(remat, inputs):
    config = dataclasses.replace(CONFIG, remat=remat)
    program = jax.jit(
        jax.value_and_grad(lambda params, batch: next_token_loss(config, params, batch)[0].sum)
    )
    options = LEAST_MEMORY if jax.default_backend() == "cpu" else None
    program = program.lower(*inputs).compile(compiler_options=options)
    memory = program.memory_analysis().temp_size_in_bytes
    return program(*inputs), memory, program.cost_analysis()["flops"]


@pytest.fixture(scope="module")
def kept(inputs):
    return gradients_and_memory("none", inputs)


@pytest.mark.parametrize(("remat", "share"), [("dots", 0.8), ("full", 0.6)])
def test_less_memory_for_the_same_gradients(inputs, kept, remat, share):
    values, memory, _ = gradients_and_memory(remat, inputs)
    expected, most, _ = kept
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), values[0], expected[0])
    for value, other in zip(*map(jax.tree.leaves, (values[1], expected[1])), strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-3, atol=1e-4 * abs(other).max())
    assert float(jnp.abs(values[1]["layer_0_attention"]["query_b"]).max()) > 0
    assert memory < share * most


def test_products_are_kept_or_computed_again(inputs, kept):
    """`dots` computes no product with a weight again, `full` those of all layers."""
    dots, full = (gradients_and_memory(remat, inputs) for remat in ("dots", "full"))
    assert full[1] < dots[1]
    assert kept[2] < dots[2] < full[2]
    tokens, (_, batch) = 8 * 64, inputs
    assert batch["tokens"].size == tokens
    weights = 4 * (32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 64)  # of four layers, without adapters
    assert full[2] - dots[2] >= 0.9 * 2 * tokens * weights


def test_layers_are_traced_once(monkeypatch):
    """Whatever their number and the policy; the weights' own names make no difference."""
    calls = []
    silu = jax.nn.silu
    monkeypatch.setattr(jax.nn, "silu", lambda gate: (calls.append(1), silu(gate))[1])
    tokens = jnp.ones((1, 3), jnp.int32)
    for remat in ("none", "dots", "full"):
        # A shape that no other test has, so that nothing has been traced before.
        config = dataclasses.replace(CONFIG, num_layers=6, dim=24, remat=remat)
        params = jax.eval_shape(lambda config=config: init(config, jax.random.key(0)))
        calls.clear()
        jax.eval_shape(lambda params, config=config: forward(config, params, tokens), params)
        assert len(calls) == 1, remat


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match=r"remat must be one of .*'full'\); got 'all'\."):
        ModelConfig(remat="all")
