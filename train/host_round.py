"""A round of the game where Python judges the solutions: compiled, host, compiled."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data.verdicts import Verdicts
from jaxreason.rlad import GameConfig, GameState, Play, Player, learn, play_round
from jaxreason.tasks import Task
from train.memory import least_memory

Judge = Callable[[Play], Verdicts]
"""Judges a round: one verdict for each solution, in the order of its array of rewards, flattened.
It is the place to turn tokens into text and to ask a `data.verifier_pool.VerifierPool`."""
FindLeaks = Callable[[Play], np.ndarray]
"""Finds abstractions that give the answer away, bool `[problem, abstraction]`, by their texts."""


def make_host_round(
    config: GameConfig,
    task: Task,
    players: tuple[Player, Player],
    judge: Judge,
    *,
    find_leaks: FindLeaks | None = None,
) -> Callable[..., tuple[GameState, dict[str, Any]]]:
    """Returns one iteration whose solutions are judged on the host.

    The same functions as in the compiled iteration, cut in two where Python comes in. A solution
    that the verifier failed on, or took too long for, is masked: it enters no mean, no baseline
    and no loss, and the shares of such solutions are among the metrics.

    Args:
        config: The game.
        task: The family of problems; its `reward` is not asked.
        players: The abstraction and the solution generator.
        judge: Judges a round.
        find_leaks: Finds leaks after it was judged; None leaves that to the task, or to the base
            model, as in the compiled iteration.

    Returns:
        `(state, keys, problems) -> (state, metrics)`; without problems fresh ones are drawn. The
        players' state is donated. A base beside adapters is not, and it is never copied.
    """

    @jax.jit
    def play(state: GameState, base: Any, keys: jax.Array, problems: Any) -> Any:
        whole = dataclasses.replace(state, base=base)
        return play_round(config, task, players, whole, keys, problems=problems)

    @partial(
        jax.jit, donate_argnums=0, compiler_options=least_memory(*(each.model for each in players))
    )
    def teach(state: GameState, base: Any, played: Play, **judged: Any) -> Any:
        whole = dataclasses.replace(state, base=base)
        new, metrics = learn(config, task, players, whole, played, **judged)
        return dataclasses.replace(new, base=None), metrics

    def step(
        state: GameState, keys: jax.Array, problems: Any = None
    ) -> tuple[GameState, dict[str, Any]]:
        base, state = state.base, dataclasses.replace(state, base=None)
        played, leaked = play(state, base, keys, problems)
        verdicts = judge(played)
        if find_leaks is not None:
            leaked = jnp.asarray(find_leaks(played))
        shape = played.rewards.shape
        judged = dataclasses.replace(played, rewards=jnp.asarray(verdicts.rewards).reshape(shape))
        valid = jnp.asarray(verdicts.valid).reshape(shape)
        state, metrics = teach(state, base, judged, valid=valid, leaked=leaked)
        return dataclasses.replace(state, base=base), metrics | verdicts.shares()

    return step
