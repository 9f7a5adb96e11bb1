"""Tiny decoders of every kind, with logits that are far from uniform."""

import zlib

import jax
import pytest

from jaxreason.model import ModelConfig, RopeScaling, init

CONFIGS = {
    "grouped": ModelConfig(
        vocab_size=37, dim=16, num_layers=2, num_heads=4, num_kv_heads=2, hidden_dim=24
    ),
    "multi-head untied": ModelConfig(
        vocab_size=37,
        dim=16,
        num_layers=1,
        num_heads=2,
        num_kv_heads=2,
        hidden_dim=24,
        tie_embeddings=False,
    ),
    "with everything": ModelConfig(
        vocab_size=37,
        dim=16,
        num_layers=3,
        num_heads=4,
        num_kv_heads=2,
        head_size=6,
        hidden_dim=24,
        activation="gelu_tanh",
        qkv_bias=True,
        qk_norm=True,
        query_scalar=5,
        attention_soft_cap=3.0,
        window=3,
        window_pattern=(True, False),
        rope_theta=500.0,
        rope_scaling=RopeScaling(kind="llama3", factor=4.0, original_length=100),
        local_rope_theta=50.0,
        zero_centered_norms=True,
        sandwich_norms=True,
        scale_embeddings=True,
        logit_soft_cap=9.0,
    ),
}


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS, scope="session")
def config(request):
    return request.param


@pytest.fixture(scope="session")
def params(config):
    drawn = jax.jit(init, static_argnums=0)(config, jax.random.key(0))
    tables = {name: 25 * drawn[name] for name in ("embedding", "output") if name in drawn}
    return jax.tree_util.tree_map_with_path(_stirred, drawn | tables)


def _stirred(path, leaf):
    """Vectors that start at 0 or 1, scales and biases, would go unseen."""
    if leaf.ndim > 1:
        return leaf
    key = jax.random.key(zlib.crc32(jax.tree_util.keystr(path).encode()))
    return leaf + jax.random.uniform(key, leaf.shape, minval=-0.5, maxval=0.5)
