"""A round of the game where Python judges the solutions: compiled, host, compiled."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from data.verdicts import Verdicts
from jaxreason.rlad import GameConfig, GameState, Play, Player, learn, play_round
from jaxreason.tasks import Task

Judge = Callable[[Play], Verdicts]
"""Judges a round: one verdict for each solution, in the order of its array of rewards, flattened.
It is the place to turn tokens into text and to ask a `data.verifier_pool.VerifierPool`."""


def make_host_round(
    config: GameConfig, task: Task, players: tuple[Player, Player], judge: Judge
) -> Callable[[GameState, jax.Array], tuple[GameState, dict[str, Any]]]:
    """Returns one iteration whose solutions are judged on the host.

    The same functions as in the compiled iteration, cut in two where Python comes in. A solution
    that the verifier failed on, or took too long for, is masked: it enters no mean, no baseline
    and no loss, and the shares of such solutions are among the metrics.

    Args:
        config: The game.
        task: The family of problems; its `reward` is not asked.
        players: The abstraction and the solution generator.
        judge: Judges a round.

    Returns:
        `(state, keys) -> (state, metrics)`; the state is donated.
    """
    play = jax.jit(partial(play_round, config, task, players))
    teach = jax.jit(partial(learn, config, task, players), donate_argnums=0)

    def step(state: GameState, keys: jax.Array) -> tuple[GameState, dict[str, Any]]:
        played, leaked = play(state, keys)
        verdicts = judge(played)
        shape = played.rewards.shape
        judged = dataclasses.replace(played, rewards=jnp.asarray(verdicts.rewards).reshape(shape))
        valid = jnp.asarray(verdicts.valid).reshape(shape)
        state, metrics = teach(state, judged, valid=valid, leaked=leaked)
        return state, metrics | verdicts.shares()

    return step
