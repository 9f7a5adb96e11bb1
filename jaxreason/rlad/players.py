"""The two players: what is fixed about them, and what changes."""

import dataclasses
from typing import no_type_check

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from jaxreason.model import ModelConfig, Params
from jaxreason.training import TrainState, init_state


@dataclasses.dataclass(frozen=True)
class Player:
    """What is fixed about a player: the shape of its model and how it is updated."""

    model: ModelConfig
    optimizer: optax.GradientTransformation


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class PlayerState:
    """What changes about a player, and the warm start that KL holds it near to."""

    train: TrainState
    reference: PyTree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class GameState:
    """The two players: separate parameters, separate optimiser states.

    Attributes:
        abstraction: The abstraction generator; None where one model plays both parts, or where
            there are no abstractions.
        solution: The solution generator, or the shared model.
    """

    abstraction: PlayerState | None
    solution: PlayerState

    @property
    def params(self) -> tuple[PyTree, PyTree]:
        """What writes abstractions, and what writes solutions."""
        solution = self.solution.train.params
        return (solution if self.abstraction is None else self.abstraction.train.params), solution


def init_game(
    players: tuple[Player, Player], abstraction_params: Params | None, solution_params: Params
) -> GameState:
    """Starts the game from two warm starts, which also become the references of the KL terms.

    Args:
        players: The abstraction and the solution generator; their models may differ in size.
        abstraction_params: The first one's warm start; None where one model plays both parts, or
            where there are no abstractions.
        solution_params: The second one's warm start.

    Returns:
        The state before the first iteration. It holds copies, so it may be donated.

    Example:
        >>> from jaxreason.model import init
        >>> from jaxreason.optimizer import OptimizerConfig, make_optimizer
        >>> player = Player(ModelConfig(), make_optimizer(OptimizerConfig(), total_steps=10))
        >>> def start(key):
        ...     params = init(player.model, key)
        ...     return init_game((player, player), params, params)
        >>> state = jax.eval_shape(start, jax.random.key(0))
        >>> state.solution.reference["embedding"].shape
        (512, 128)
    """
    copy = lambda params: jax.tree.map(jnp.copy, params)  # noqa: E731
    start = lambda player, params: PlayerState(  # noqa: E731
        init_state(player.optimizer, copy(params)), copy(params)
    )
    abstraction = None if abstraction_params is None else start(players[0], abstraction_params)
    return GameState(abstraction, start(players[1], solution_params))
