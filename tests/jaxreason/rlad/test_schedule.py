"""Turns and rounds: the same as iterations made one by one."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreason.policy_gradient import rejection_fine_tuning
from jaxreason.rlad import (
    GameConfig,
    Player,
    init_game,
    iterate,
    iterations_per_round,
    play_round,
    play_turns,
    train_game,
    updates_per_round,
)
from jaxreason.rollout import completion_log_probs

COUNT, TURN = 4, 2
GAME = GameConfig(problems=COUNT, abstractions=3, solutions=2, bare=1, turn=TURN)
TURNS = dataclasses.replace(GAME, schedule="alternating")
KEYS = jax.random.split(jax.random.key(3), (2 * TURN, COUNT))
STATIC = {"static_argnums": (0, 1, 2)}

one = jax.jit(iterate, **STATIC, static_argnames="learners")
turns = jax.jit(play_turns, **STATIC)
close = partial(np.testing.assert_allclose, atol=1e-6)


def moved(before, after):
    leaves = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    return any(bool((a != b).any()) for a, b in leaves)


def test_turns_are_iterations_with_one_learner(lottery, players, state):
    new, metrics = turns(TURNS, lottery, players, state, KEYS)
    by_hand = state
    for number, keys in enumerate(KEYS):
        learner = "abstraction" if number < TURN else "solution"
        by_hand, _ = one(TURNS, lottery, players, by_hand, keys, learners=(learner,))
    jax.tree.map(close, new, by_hand)
    assert {"abstraction/loss", "solution/loss"} <= set(metrics)


def test_an_offline_turn_learns_the_likelihood_of_what_helped(lottery, players, state):
    """One pass in one update: gathered by hand, the step is the gradient of RFT's loss."""
    config = dataclasses.replace(TURNS, abstraction_update="rft", offline_epochs=1, turn=1)
    keys = KEYS[:2]
    new, metrics = turns(config, lottery, players, state, keys)
    played, _ = jax.jit(play_round, **STATIC)(config, lottery, players, state, keys[0])
    base = played.rewards[:, 3].mean(-1, keepdims=True)
    kept = (played.rewards[:, :3].mean(-1) > base).reshape(-1)
    fold = lambda leaf: leaf.reshape(-1, leaf.shape[-1])  # noqa: E731
    prompts, written = jax.tree.map(fold, (played.abstraction_prompts, played.abstractions))

    def loss(weights):
        completion = written.completion
        scores = completion_log_probs(players[0].model, weights, prompts, completion)
        return rejection_fine_tuning(scores.log_probs, kept, completion.mask).mean()

    old = state.abstraction.train.params
    expected = jax.tree.map(jnp.subtract, old, jax.jit(jax.grad(loss))(old))
    jax.tree.map(close, new.abstraction.train.params, expected)
    np.testing.assert_allclose(metrics["abstraction/kept"], kept.mean(), atol=1e-6)
    assert 0 < kept.sum() < len(kept)


def test_preference_prefers_what_helped(lottery, params, model):
    """After some passes the margin of the better abstraction is positive."""
    config = dataclasses.replace(TURNS, abstraction_update="preference", offline_epochs=20)
    pair = (Player(model, optax.adam(1e-2)),) * 2
    state = init_game(pair, *params)
    new, metrics = turns(config, lottery, pair, state, KEYS)
    assert metrics["abstraction/preference_margin"] > 0
    assert metrics["abstraction/preference_accuracy"] > 0.5
    assert moved(state.abstraction.train.params, new.abstraction.train.params)


def test_rounds_in_one_program_are_rounds_one_by_one(lottery, players, state):
    key = jax.random.key(5)
    train = jax.jit(partial(train_game, GAME, lottery, players, rounds=3))
    new, metrics = train(state, key)
    by_hand = state
    for number, each in enumerate(jax.random.split(key, 3)):
        by_hand, measured = one(
            GAME, lottery, players, by_hand, jax.random.split(each, (1, COUNT))[0]
        )
        np.testing.assert_allclose(
            metrics["success/with_abstraction"][number],
            measured["success/with_abstraction"],
            atol=1e-6,
        )
    jax.tree.map(close, new, by_hand)


@pytest.mark.parametrize("update", ["online", "rft"])
def test_seeds_side_by_side(lottery, params, model, update):
    """`vmap` over states and keys gives what each gives alone, whole turns included."""
    config = dataclasses.replace(TURNS, abstraction_update=update)
    pair = (Player(model, optax.sgd(1e-2)),) * 2
    state = init_game(pair, *params)
    states = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.9 * leaf]), state)
    keys = jax.random.split(jax.random.key(6), 2)
    train = partial(train_game, config, lottery, pair, rounds=1)
    together, _ = jax.jit(jax.vmap(train))(states, keys)
    for number in range(2):
        take = lambda tree, number=number: jax.tree.map(lambda leaf: leaf[number], tree)  # noqa: E731
        alone, _ = jax.jit(train)(take(states), keys[number])
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), take(together), alone)


def test_counts_of_updates():
    assert (iterations_per_round(GAME), iterations_per_round(TURNS)) == (1, 4)
    assert updates_per_round(dataclasses.replace(TURNS, minibatches=2), "solution") == 4
    offline = dataclasses.replace(TURNS, abstraction_update="preference", offline_epochs=3)
    assert updates_per_round(offline, "abstraction") == 6
    assert updates_per_round(offline, "solution") == 2


@pytest.mark.usefixtures("as_users_run_it")
def test_a_wrong_number_of_iterations_is_refused(lottery, players, state):
    with pytest.raises(ValueError, match=r"keys must have shape \[4, problem\]; got \[3, 4\]"):
        play_turns(TURNS, lottery, players, state, KEYS[:3])
