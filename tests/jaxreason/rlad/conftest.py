"""A tiny game whose rewards an untrained model can win."""

import dataclasses

import jax
import optax
import pytest

from jaxreason.model import ModelConfig, init
from jaxreason.rlad import Player, init_game
from jaxreason.tasks import RuleInductionConfig, make_rule_induction

MODEL = ModelConfig(vocab_size=40, dim=16, num_layers=1, num_heads=2, num_kv_heads=1, hidden_dim=16)


@pytest.fixture(scope="session")
def task():
    return make_rule_induction(
        RuleInductionConfig(
            primitives=("reverse", "add 1"), max_steps=1, list_length=2, num_examples=1
        )
    )


@pytest.fixture(scope="session")
def lottery(task):
    """The task, won by every solution that begins with one of the first 20 tokens."""
    return dataclasses.replace(
        task, reward=lambda problem, solution: (solution.tokens[0] < 20).astype("float32")
    )


@pytest.fixture(scope="session")
def model():
    return MODEL


@pytest.fixture(scope="session")
def params():
    draw = jax.jit(init, static_argnums=0)
    return tuple(draw(MODEL, jax.random.key(seed)) for seed in (0, 1))


@pytest.fixture(scope="session")
def players():
    """Plain gradient descent: a step is the gradient, unlike Adam's."""
    return (Player(MODEL, optax.sgd(1.0)), Player(MODEL, optax.sgd(1.0)))


@pytest.fixture(scope="session")
def state(players, params):
    return init_game(players, *params)
