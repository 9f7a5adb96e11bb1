"""A small world: docstrings of one package, and a rule corpus of a few problems."""

import json

import pytest

import data.docstrings
from data.config import DataConfig
from data.tokenizer import Tokenizer, train_tokenizer
from jaxreason.tasks import SYMBOLS, RuleInductionConfig

TASK = RuleInductionConfig(primitives=("reverse", "sort", "add 1"), list_length=3, num_examples=2)
CONFIG = DataConfig(
    vocab_size=360,
    sequence_length=64,
    reasoning_density=0.5,
    num_problems=60,
    sft_problems=40,
    block_size=16,
)


@pytest.fixture
def task():
    return TASK


@pytest.fixture
def config():
    return CONFIG


@pytest.fixture
def small_library(monkeypatch):
    """Makes the docstring corpus read the package `json` only."""
    root = data.docstrings.Path(json.__file__).parent
    monkeypatch.setattr(data.docstrings, "SOURCE_ROOT", root)
    return root


@pytest.fixture(scope="session")
def tokenizer():
    text = (json.__doc__ or "") + (json.dumps.__doc__ or "") + (json.loads.__doc__ or "")
    return Tokenizer(train_tokenizer(text.splitlines(), vocab_size=360, symbols=SYMBOLS))
