"""Tiny decoders of every kind, with logits that are far from uniform."""

import jax
import pytest

from jaxreason.model import ModelConfig, init

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
}


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS, scope="session")
def config(request):
    return request.param


@pytest.fixture(scope="session")
def params(config):
    drawn = jax.jit(init, static_argnums=0)(config, jax.random.key(0))
    tables = [name for name in ("embedding", "output") if name in drawn]
    return drawn | {name: 25 * drawn[name] for name in tables}
