"""Rematerialisation: the same loss and gradients from less memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.model import LoRAConfig, ModelConfig, attach, init, init_adapters
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
    return program(*inputs), program.memory_analysis().temp_size_in_bytes


@pytest.fixture(scope="module")
def kept(inputs):
    return gradients_and_memory("none", inputs)


@pytest.mark.parametrize(("remat", "share"), [("dots", 0.8), ("full", 0.6)])
def test_less_memory_for_the_same_gradients(inputs, kept, remat, share):
    values, memory = gradients_and_memory(remat, inputs)
    expected, most = kept
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), values[0], expected[0])
    for value, other in zip(*map(jax.tree.leaves, (values[1], expected[1])), strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-3, atol=1e-4 * abs(other).max())
    assert float(jnp.abs(values[1]["layer_0_attention"]["query_b"]).max()) > 0
    assert memory < share * most


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match=r"remat must be one of .*'full'\); got 'all'\."):
        ModelConfig(remat="all")
