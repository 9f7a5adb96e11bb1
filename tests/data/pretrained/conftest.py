"""A tiny decoder in a folder as on the Hugging Face hub."""

import jax
import pytest

from data.pretrained.save import save_pretrained
from jaxreason.model import ModelConfig, init

CONFIG = ModelConfig(vocab_size=11, dim=8, num_layers=2, num_heads=2, num_kv_heads=1, hidden_dim=12)


@pytest.fixture
def config():
    return CONFIG


@pytest.fixture(scope="session")
def params():
    return jax.jit(init, static_argnums=0)(CONFIG, jax.random.key(0))


@pytest.fixture
def folder(params, tmp_path):
    save_pretrained(tmp_path / "model", CONFIG, params)
    return tmp_path / "model"


@pytest.fixture
def sharded(params, tmp_path):
    save_pretrained(tmp_path / "sharded", CONFIG, params, shard_bytes=1000)
    return tmp_path / "sharded"
