"""Many iterations as one program: turns of the players, and rounds under `scan`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from jaxreason.checks import check_shape
from jaxreason.rlad.config import OFFLINE, GameConfig
from jaxreason.rlad.iteration import iterate, judge, means, play_round, proposals
from jaxreason.rlad.metrics import game_metrics
from jaxreason.rlad.players import GameState, Player
from jaxreason.rlad.updates import Proposals, learn_offline
from jaxreason.tasks import Task
from jaxreason.training import Metrics

_Metrics = dict[str, Float[Array, ""]]
_Turn = Callable[..., tuple[GameState, _Metrics]]


def iterations_per_round(config: GameConfig) -> int:
    """Returns how many iterations `play_turns` makes of a config: 1, or a turn of each player.

    Example:
        >>> iterations_per_round(GameConfig(schedule="alternating", turn=8))
        16
    """
    return 1 if config.schedule == "simultaneous" else 2 * config.turn


def updates_per_round(config: GameConfig, part: str) -> int:
    """Returns how many updates `play_turns` makes of a player, for its learning rate's schedule.

    Args:
        config: The schedule.
        part: `abstraction` or `solution`.

    Example:
        >>> updates_per_round(GameConfig(abstraction_update="rft", minibatches=2), "abstraction")
        4
    """
    turn = 1 if config.schedule == "simultaneous" else config.turn
    offline = part == "abstraction" and config.abstraction_update in OFFLINE
    return turn * config.minibatches * (config.offline_epochs if offline else 1)


def play_turns(
    config: GameConfig,
    task: Task,
    players: tuple[Player, Player],
    state: GameState,
    keys: Key[Array, "iteration problem"],
    *,
    problems: PyTree = None,
) -> tuple[GameState, dict[str, Float[Array, ""]]]:
    """Plays the iterations after which every player has learned once.

    Simultaneous: one iteration. Alternating, as in the paper: the abstraction generator's turn,
    with the solver frozen, then the solver's, with the abstraction generator frozen. In its turn
    an abstraction generator that learns offline first gathers what its present policy writes,
    scored by the solver, and then makes several passes over it.

    See "RLAD: Training LLMs to Discover Abstractions for Solving Reasoning Problems" by Qu et al.
    (https://arxiv.org/abs/2510.02263), section 4.

    Args:
        config: Sizes, coefficients and the schedule; static.
        task: A family of problems that verifies on the device; static.
        players: The abstraction and the solution generator; static.
        state: From `init_game` or the last round; donate it.
        keys: A key for each problem of each iteration, `[iteration, problem]`, of as many
            iterations as `iterations_per_round` says.
        problems: Problems `[iteration, problem]`; fresh ones are drawn from the keys if None.

    Returns:
        The new state and the means of the metrics over the turns.

    Raises:
        ValueError: If shapes disagree.

    Example:
        >>> from jaxreason.model import ModelConfig, init
        >>> from jaxreason.optimizer import OptimizerConfig, make_optimizer
        >>> from jaxreason.rlad import init_game
        >>> from jaxreason.tasks import RuleInductionConfig, make_rule_induction
        >>> config = GameConfig(
        ...     problems=2, schedule="alternating", turn=2, abstraction_update="rft")
        >>> task = make_rule_induction(RuleInductionConfig())
        >>> player = Player(ModelConfig(), make_optimizer(OptimizerConfig(), total_steps=10))
        >>> def run(key):
        ...     params = init(player.model, key)
        ...     state = init_game((player, player), params, params)
        ...     keys = jax.random.split(key, (4, config.problems))
        ...     return play_turns(config, task, (player, player), state, keys)
        >>> "abstraction/kept" in jax.eval_shape(run, jax.random.key(0))[1]
        True
    """
    count = iterations_per_round(config)
    check_shape("keys", keys, (count, "problem"))
    rounds = (keys, problems)
    if config.schedule == "simultaneous":
        only = jax.tree.map(lambda leaf: leaf[0], rounds)
        return iterate(config, task, players, state, only[0], problems=only[1])
    first, second = (
        jax.tree.map(lambda leaf, half=half: leaf[half], rounds)
        for half in (slice(config.turn), slice(config.turn, None))
    )
    turn = _offline_turn if config.abstraction_update in OFFLINE else _online_turn("abstraction")
    state, proposing = turn(config, task, players, state, first)
    state, solving = _online_turn("solution")(config, task, players, state, second)
    shared = {name: (proposing[name] + solving[name]) / 2 for name in {*proposing} & {*solving}}
    return state, {**proposing, **solving, **shared}


def train_game(
    config: GameConfig,
    task: Task,
    players: tuple[Player, Player],
    state: GameState,
    key: Key[Array, ""],
    *,
    rounds: int,
) -> tuple[GameState, dict[str, Float[Array, " round"]]]:
    """Plays many rounds in one program; `vmap` it over states and keys to train several seeds.

    Args:
        config: Sizes, coefficients and the schedule; static.
        task: A family of problems that verifies on the device; static.
        players: The abstraction and the solution generator; static.
        state: From `init_game`; donate it.
        key: A random key.
        rounds: How many; static.

    Returns:
        The state at the end, and every metric of each round.

    Raises:
        ValueError: If shapes disagree.

    Example:
        >>> from jaxreason.model import ModelConfig, init
        >>> from jaxreason.optimizer import OptimizerConfig, make_optimizer
        >>> from jaxreason.rlad import init_game
        >>> from jaxreason.tasks import RuleInductionConfig, make_rule_induction
        >>> config, task = GameConfig(problems=2), make_rule_induction(RuleInductionConfig())
        >>> player = Player(ModelConfig(), make_optimizer(OptimizerConfig(), total_steps=10))
        >>> def run(key):
        ...     params = init(player.model, key)
        ...     state = init_game((player, player), params, params)
        ...     return train_game(config, task, (player, player), state, key, rounds=5)
        >>> seeds = jax.random.split(jax.random.key(0), 3)
        >>> _, metrics = jax.eval_shape(jax.vmap(run), seeds)
        >>> metrics["success/with_abstraction"].shape
        (3, 5)
    """
    shape = (iterations_per_round(config), config.problems)

    def step(state: GameState, key: Array) -> tuple[GameState, dict[str, Array]]:
        return play_turns(config, task, players, state, jax.random.split(key, shape))

    return jax.lax.scan(step, state, jax.random.split(key, rounds))


def _online_turn(part: str) -> _Turn:
    """Returns a turn in which one player learns from every iteration."""

    def turn(
        config: GameConfig,
        task: Task,
        players: tuple[Player, Player],
        state: GameState,
        rounds: tuple[Array, PyTree],
    ) -> tuple[GameState, dict[str, Array]]:
        def step(state: GameState, one: tuple[Array, PyTree]) -> tuple[GameState, dict[str, Array]]:
            keys, problems = one
            return iterate(config, task, players, state, keys, problems=problems, learners=(part,))

        state, metrics = jax.lax.scan(step, state, rounds)
        return state, {name: values.mean() for name, values in metrics.items()}

    return turn


def _offline_turn(
    config: GameConfig,
    task: Task,
    players: tuple[Player, Player],
    state: GameState,
    rounds: tuple[Array, PyTree],
) -> tuple[GameState, dict[str, Array]]:
    """Gathers scored abstractions over a turn, then learns from all of them."""
    generator = state.abstraction
    if generator is None:
        raise ValueError("the state must hold an abstraction generator, which learns offline.")
    task.asked("reward")

    def gather(_: None, one: tuple[Array, PyTree]) -> tuple[None, tuple[Proposals, Metrics]]:
        keys, problems = one
        played, leaked = play_round(config, task, players, state, keys, problems=problems)
        credit, leaked = judge(config, task, played, leaked=leaked)
        measured = game_metrics(
            task, played, credit, leaked=leaked, solution_group=config.solution_group
        )
        return None, (proposals(played, credit), measured)

    _, (gathered, measured) = jax.lax.scan(gather, None, rounds)
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), gathered)
    abstraction, learned = learn_offline(
        config,
        players[0],
        generator,
        flat,
        updates=config.turn * config.minibatches,
        base=state.base,
    )
    added = jax.tree.map(lambda leaf: jnp.sum(leaf, 0), measured)
    return GameState(abstraction, state.solution, state.base), means({**added, **learned})
