"""A round of the game where Python judges the solutions: compiled, host, compiled."""

import dataclasses
from collections.abc import Callable
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


class HostRound:
    """One iteration whose solutions are judged on the host.

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
    """

    def __init__(
        self,
        config: GameConfig,
        task: Task,
        players: tuple[Player, Player],
        judge: Judge,
        *,
        find_leaks: FindLeaks | None = None,
    ) -> None:
        self._config, self._judge, self._find_leaks = config, judge, find_leaks

        def play(state: GameState, base: Any, keys: jax.Array, problems: Any) -> Any:
            whole = dataclasses.replace(state, base=base)
            return play_round(config, task, players, whole, keys, problems=problems)

        def teach(state: GameState, base: Any, played: Play, **judged: Any) -> Any:
            whole = dataclasses.replace(state, base=base)
            new, metrics = learn(config, task, players, whole, played, **judged)
            return dataclasses.replace(new, base=None), metrics

        models = (each.model for each in players)
        self._play: Any = jax.jit(play)
        self._teach: Any = jax.jit(teach, donate_argnums=0, compiler_options=least_memory(*models))

    def compile(self, state: GameState, keys: jax.Array, problems: Any = None) -> int:
        """Compiles both halves for arguments like these, arrays or shapes, ahead of the first call.

        To be called once; from then on other shapes are refused.

        Returns:
            The bytes that the larger half works in, beside its arguments.
        """
        base, state = state.base, dataclasses.replace(state, base=None)
        played, leaked = jax.eval_shape(self._play, state, base, keys, problems)
        if self._find_leaks is not None:
            shape = self._config.problems, self._config.abstractions
            leaked = jax.ShapeDtypeStruct(shape, jnp.bool)
        valid = jax.ShapeDtypeStruct(played.rewards.shape, jnp.bool)
        self._play = self._play.lower(state, base, keys, problems).compile()
        self._teach = self._teach.lower(state, base, played, valid=valid, leaked=leaked).compile()
        halves = self._play, self._teach
        return max(half.memory_analysis().temp_size_in_bytes for half in halves)

    def __call__(
        self, state: GameState, keys: jax.Array, problems: Any = None
    ) -> tuple[GameState, dict[str, Any]]:
        """Plays a round and learns from it.

        Args:
            state: The players; donated, all but a base beside adapters, which is never copied.
            keys: A random key for each problem.
            problems: The problems; None draws fresh ones.

        Returns:
            The new state, and metrics.
        """
        base, state = state.base, dataclasses.replace(state, base=None)
        played, leaked = self._play(state, base, keys, problems)
        verdicts = self._judge(played)
        if self._find_leaks is not None:
            leaked = jnp.asarray(self._find_leaks(played))
        shape = played.rewards.shape
        judged = dataclasses.replace(played, rewards=jnp.asarray(verdicts.rewards).reshape(shape))
        valid = jnp.asarray(verdicts.valid).reshape(shape)
        state, metrics = self._teach(state, base, judged, valid=valid, leaked=leaked)
        return dataclasses.replace(state, base=base), metrics | verdicts.shares()
