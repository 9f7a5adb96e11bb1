"""The game of two adapters on one frozen base."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxreason.model import LoRAConfig, init_adapters, merge
from jaxreason.rlad import GameConfig, init_game, iterate, play_turns

LORA = LoRAConfig(rank=2, alpha=3.0)
KEYS = jax.random.split(jax.random.key(0), 4)
GAME = GameConfig(problems=4, abstractions=3, solutions=2, bare=1, kl_coef=0.1)
run = jax.jit(iterate, static_argnums=(0, 1, 2))


def drawn(model, seed):
    """Adapters that have learned something: their second factors are not 0."""
    adapters = init_adapters(LORA, model, jax.random.key(seed))
    noise = lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(seed + 1), leaf.shape)  # noqa: E731
    return jax.tree.map(noise, adapters)


@pytest.fixture(scope="module")
def pair(model):
    return drawn(model, 10), drawn(model, 20)


@pytest.fixture(scope="module")
def base(params):
    return params[0]


@pytest.fixture(scope="module")
def start(players, pair, base):
    return init_game(players, *pair, base=base)


@pytest.fixture(scope="module")
def after(lottery, players, start):
    return run(GAME, lottery, players, start, KEYS)


def test_players_are_their_base_with_their_adapters(start, pair, base):
    for whole, adapters in zip(start.params, pair, strict=True):
        weights, factors = whole["layer_0_attention"], adapters.factors["layer_0_attention"]
        np.testing.assert_array_equal(weights["query"], base["layer_0_attention"]["query"])
        np.testing.assert_array_equal(weights["query_a"], factors["query"]["a"])


def test_a_step_is_the_merged_players_step_seen_through_the_factors(
    lottery, players, pair, base, start, after
):
    """By descent at rate 1 a weight moves by its gradient G, a factor b by scale * a^T G."""
    merged = init_game(players, *(merge(base, adapters) for adapters in pair))
    moved, metrics = run(GAME, lottery, players, merged, KEYS)
    for name in ("abstraction", "solution"):
        old, new, apart = (getattr(each, name).train.params for each in (merged, moved, after[0]))
        before = getattr(start, name).train.params
        for layer, projections in before.factors.items():
            for projection, factors in projections.items():
                change = new[layer][projection] - old[layer][projection]
                expected = factors["b"] + before.scale * factors["a"].T @ change
                got = apart.factors[layer][projection]["b"]
                np.testing.assert_allclose(got, expected, atol=2e-5)
    played = {name for name in metrics if not name.endswith("gradient_norm")}
    for name in played:
        np.testing.assert_allclose(after[1][name], metrics[name], atol=1e-4, err_msg=name)


def test_the_base_stays_as_it_is(base, start, after):
    jax.tree.map(np.testing.assert_array_equal, after[0].base, base)
    for name in ("abstraction", "solution"):
        before, now = (getattr(each, name).train.params for each in (start, after[0]))
        changed = [
            abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (before, now)), strict=True)
        ]
        assert max(changed) > 1e-4


@pytest.mark.parametrize("update", ["rft", "preference"])
def test_adapters_learn_offline_too(lottery, players, base, start, update):
    config = dataclasses.replace(GAME, schedule="alternating", turn=1, abstraction_update=update)
    keys = jax.random.split(jax.random.key(2), (2, 4))
    play = jax.jit(play_turns, static_argnums=(0, 1, 2))
    new, metrics = play(config, lottery, players, start, keys)
    assert all(np.isfinite(value) for value in metrics.values())
    jax.tree.map(np.testing.assert_array_equal, new.base, base)
    for name in ("abstraction", "solution"):
        before, now = (getattr(each, name).train.params for each in (start, new))
        assert any(
            abs(a - b).max() > 1e-6
            for a, b in zip(*map(jax.tree.leaves, (before, now)), strict=True)
        )


def test_one_pair_of_adapters_can_be_a_shared_model(lottery, players, base, pair):
    state = init_game(players, None, pair[0], base=base)
    config = dataclasses.replace(GAME, shared=True, leak_samples=1)
    new, metrics = run(config, lottery, players, state, KEYS)
    assert new.abstraction is None and np.isfinite(metrics["shared/loss"])
    assert isinstance(new.solution.train.params, type(pair[0]))


def test_what_does_not_go_together_is_refused(players, params, pair):
    sentence = "adapters need a base beside them"
    with pytest.raises(ValueError, match=sentence):
        init_game(players, *pair)
    with pytest.raises(ValueError, match=sentence):
        init_game(players, *params, base=params[0])
