"""Python between the halves of an iteration: the same numbers as the compiled one."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data.verdicts import Outcome, summarized
from data.verifier_pool import VerifierPool
from data.verifiers import NumberVerifier
from jaxreason.model import ModelConfig, init
from jaxreason.rlad import GameConfig, Player, init_game, iterate
from jaxreason.tasks import RuleInductionConfig, decode, make_rule_induction
from train.host_round import HostRound

MODEL = ModelConfig(vocab_size=40, dim=16, num_layers=1, num_heads=2, num_kv_heads=1, hidden_dim=16)
PLAYERS = (Player(MODEL, optax.sgd(0.1)),) * 2
GAME = GameConfig(problems=4, abstractions=3, solutions=2, bare=1)
TASK = make_rule_induction(
    RuleInductionConfig(primitives=("reverse", "add 1"), max_steps=1, list_length=2, num_examples=1)
)
KEYS = jax.random.split(jax.random.key(0), 4)


def wins(tokens):
    return tokens[..., 0] < 20


LOTTERY = dataclasses.replace(
    TASK, reward=lambda problem, solution: wins(solution.tokens).astype(jnp.float32)
)


def start():
    return init_game(PLAYERS, *(init(MODEL, jax.random.key(seed)) for seed in (0, 1)))


def judge(played, failing=()):
    right = np.asarray(wins(played.solutions.completion.tokens)).reshape(-1)
    return summarized(
        [
            Outcome(None, "it broke") if number in failing else Outcome(float(won))
            for number, won in enumerate(right)
        ]
    )


def test_it_is_the_compiled_iteration():
    """The task's own reward, judged by Python instead, gives the same state and metrics."""
    step = HostRound(GAME, TASK, PLAYERS, judge)
    state, metrics = step(start(), KEYS)
    expected, measured = jax.jit(partial(iterate, GAME, LOTTERY, PLAYERS))(start(), KEYS)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), state, expected)
    for name, value in measured.items():
        np.testing.assert_allclose(metrics[name], value, atol=1e-5)
    assert metrics["verifier/failed"] == metrics["verifier/timed_out"] == 0


def test_compiled_ahead_it_is_the_same():
    """From shapes alone; what it works in holds at least a player's gradients."""
    ahead = HostRound(GAME, TASK, PLAYERS, judge)
    working = ahead.compile(jax.eval_shape(start), KEYS)
    begun = start()
    assert working > sum(leaf.nbytes for leaf in jax.tree.leaves(begun.solution.train.params))
    state, metrics = HostRound(GAME, TASK, PLAYERS, judge)(start(), KEYS)
    compiled, measured = ahead(begun, KEYS)
    jax.tree.map(np.testing.assert_array_equal, (compiled, measured), (state, metrics))
    with pytest.raises(TypeError):  # the halves are compiled for these shapes
        ahead(start(), KEYS[:2])


def test_a_solution_that_could_not_be_judged_is_masked():
    """Half of them fail: whatever they say, nobody learns from them, and it shows."""
    failing = range(0, 32, 2)
    states = []
    for other in (0.0, 1.0):

        def verdicts(played, other=other):
            found = judge(played, failing)
            rewards = np.where(found.valid, found.rewards, other)
            return dataclasses.replace(found, rewards=rewards.astype(np.float32))

        state, metrics = HostRound(GAME, TASK, PLAYERS, verdicts)(start(), KEYS)
        states.append(state)
        assert metrics["verifier/failed"] == 0.5
    jax.tree.map(np.testing.assert_array_equal, *states)


@pytest.mark.parametrize("reference", ["7", "seven"])
def test_a_pool_judges_texts(reference):
    """Numbers read from decoded solutions; a reference without one fails them all."""
    with VerifierPool(NumberVerifier(), workers=2, time_limit=10.0) as pool:

        def ask(played):
            written = played.solutions.completion
            flat = jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), written)
            return pool.score(decode(flat), [reference] * len(flat.tokens))

        state, metrics = HostRound(GAME, TASK, PLAYERS, ask)(start(), KEYS)
    failed = reference == "seven"
    assert metrics["verifier/failed"] == float(failed)
    if failed:  # nobody earned anything: no advantage, and no sample in the loss
        assert metrics["solution/loss"] == metrics["abstraction/loss"] == 0
