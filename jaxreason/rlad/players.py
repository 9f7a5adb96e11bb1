"""The two players: what is fixed about them, and what changes."""

import dataclasses
from typing import no_type_check

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from jaxreason.checks import check_that
from jaxreason.model import Adapters, ModelConfig, Params, attach
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
        base: The frozen parameters beside which the adapters of both players work; None where the
            players hold all of their parameters.
    """

    abstraction: PlayerState | None
    solution: PlayerState
    base: PyTree = None

    @property
    def params(self) -> tuple[PyTree, PyTree]:
        """What writes abstractions, and what writes solutions, as the model takes them."""
        solution = beside(self.base, self.solution.train.params)
        if self.abstraction is None:
            return solution, solution
        return beside(self.base, self.abstraction.train.params), solution


def beside(base: Params | None, params: Params | Adapters) -> Params:
    """Returns parameters as the model takes them: adapters are attached to their base.

    Args:
        base: Frozen parameters, or None.
        params: Adapters, or, without a base, parameters.

    Raises:
        ValueError: If adapters have no base, or parameters have one.

    Example:
        >>> float(beside(None, {"scale": jnp.array(2.0)})["scale"])
        2.0
    """
    check_that(
        (base is not None) == isinstance(params, Adapters),
        "adapters need a base beside them, and parameters of a whole model none; give init_game"
        " one or the other.",
    )
    return attach(base, params) if isinstance(params, Adapters) else params


def init_game(
    players: tuple[Player, Player],
    abstraction_params: Params | Adapters | None,
    solution_params: Params | Adapters,
    *,
    base: Params | None = None,
) -> GameState:
    """Starts the game from two warm starts, which also become the references of the KL terms.

    Args:
        players: The abstraction and the solution generator; their models may differ in size.
        abstraction_params: The first one's warm start; None where one model plays both parts, or
            where there are no abstractions.
        solution_params: The second one's warm start.
        base: Frozen parameters that both share, if the warm starts are adapters; they can be new
            ones, see `model.init_adapters`.

    Returns:
        The state before the first iteration. It holds copies, so it may be donated.

    Raises:
        ValueError: If adapters come without a base, or a base without adapters.

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
    for params in (abstraction_params, solution_params):
        if params is not None:
            beside(base, params)
    abstraction = None if abstraction_params is None else start(players[0], abstraction_params)
    return GameState(abstraction, start(players[1], solution_params), copy(base))
