"""One iteration of two-player reinforcement learning, as one program."""

import dataclasses
from typing import no_type_check

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from jaxreason.checks import check_shape, check_that
from jaxreason.model import ModelConfig, Params, TokenScores
from jaxreason.optimizer import apply_gradients
from jaxreason.policy_gradient import WeightedSum, player_loss
from jaxreason.rlad.config import GameConfig
from jaxreason.rlad.credit import assign_credit
from jaxreason.rlad.play import Play, fold, play
from jaxreason.rollout import Rollout, Sampling, completion_log_probs
from jaxreason.sequences import Sequence
from jaxreason.tasks import Task
from jaxreason.training import Metrics, TrainState, accumulate_gradients, init_state


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
    """The two players: separate parameters, separate optimiser states."""

    abstraction: PlayerState
    solution: PlayerState


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class _Samples:
    """What one player learns from."""

    prompts: Sequence
    rollout: Rollout
    advantages: Float[Array, "..."]


def init_game(
    players: tuple[Player, Player], abstraction_params: Params, solution_params: Params
) -> GameState:
    """Starts the game from two warm starts, which also become the references of the KL terms.

    Args:
        players: The abstraction and the solution generator.
        abstraction_params: The first one's warm start.
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
    states = [
        PlayerState(init_state(player.optimizer, copy(params)), copy(params))
        for player, params in zip(players, (abstraction_params, solution_params), strict=True)
    ]
    return GameState(*states)


def iterate(
    config: GameConfig,
    task: Task,
    players: tuple[Player, Player],
    state: GameState,
    keys: Key[Array, "problem"],
    *,
    axis_name: str | None = None,
) -> tuple[GameState, dict[str, Float[Array, ""]]]:
    """Plays one round on fresh problems and updates both players.

    Abstraction rollout, prompt assembly, solution rollout, verification, credit and both updates
    are one program: under `jit` nothing crosses to the host.

    See "RLAD: Training LLMs to Discover Abstractions for Solving Reasoning Problems" by Qu et al.
    (https://arxiv.org/abs/2510.02263). The paper updates the abstraction generator offline; here
    both players learn online and at the same time.

    Args:
        config: Sizes and coefficients; static.
        task: A family of problems that verifies on the device; static.
        players: The abstraction and the solution generator; static.
        state: From `init_game` or the last iteration; donate it.
        keys: One key for each problem, `[problem]`.
        axis_name: The axis of `pmap` over which problems are spread, if any; static.

    Returns:
        The new state and the metrics of the iteration.

    Raises:
        ValueError: If shapes disagree, or the minibatches do not divide the problems.

    Example:
        >>> from jaxreason.model import init
        >>> from jaxreason.optimizer import OptimizerConfig, make_optimizer
        >>> from jaxreason.tasks import RuleInductionConfig, make_rule_induction
        >>> config, task = GameConfig(problems=2), make_rule_induction(RuleInductionConfig())
        >>> player = Player(ModelConfig(), make_optimizer(OptimizerConfig(), total_steps=10))
        >>> def run(key):
        ...     params = init(player.model, key)
        ...     state = init_game((player, player), params, params)
        ...     keys = jax.random.split(key, config.problems)
        ...     return iterate(config, task, (player, player), state, keys)
        >>> state, metrics = jax.eval_shape(run, jax.random.key(0))
        >>> [name for name in sorted(metrics) if name.startswith("success")]
        ['success/best_abstraction', 'success/with_abstraction', 'success/without_abstraction']
    """
    (count,) = check_shape("keys", keys, ("problem",))
    check_that(
        count % config.minibatches == 0,
        f"minibatches must divide the problems; got {config.minibatches} for {count} keys.",
    )
    both = jax.vmap(jax.random.split)(keys)
    problems = jax.vmap(lambda key: task.sample(key, "train"))(both[:, 0])
    sampling = Sampling(temperature=config.temperature)
    played = play(
        task,
        (players[0].model, players[1].model),
        (state.abstraction.train.params, state.solution.train.params),
        problems,
        both[:, 1],
        abstractions=config.abstractions,
        solutions=config.solutions,
        bare=config.bare,
        sampling=(sampling, sampling),
    )
    credit = assign_credit(
        played.rewards,
        played.bare,
        abstraction_estimator=config.abstraction_estimator,
        solution_estimator=config.solution_estimator,
        solution_group=config.solution_group,
    )
    metrics = _game_metrics(task, played)
    advantages = credit.abstraction_advantages[:, : config.abstractions]
    proposed = _Samples(played.abstraction_prompts, played.abstractions, advantages)
    abstraction, learned = _update(
        config, players[0], state.abstraction, fold(proposed, 2), axis_name
    )
    metrics |= {f"abstraction/{name}": value for name, value in learned.items()}
    solved = _Samples(played.solution_prompts, played.solutions, credit.solution_advantages)
    solution, learned = _update(config, players[1], state.solution, fold(solved, 3), axis_name)
    metrics |= {f"solution/{name}": value for name, value in learned.items()}
    if axis_name is not None:
        metrics = jax.lax.psum(metrics, axis_name)
    return GameState(abstraction, solution), {name: m.mean() for name, m in metrics.items()}


def _update(
    config: GameConfig,
    player: Player,
    state: PlayerState,
    samples: _Samples,
    axis_name: str | None,
) -> tuple[PlayerState, Metrics]:
    """Makes `config.minibatches` updates of one player on its samples, `[batch]`."""
    sampling = Sampling(temperature=config.temperature)

    def score(params: Params, part: _Samples) -> TokenScores:
        completion = part.rollout.completion
        return completion_log_probs(
            player.model, params, part.prompts, completion, sampling=sampling
        )

    reference = score(state.reference, samples).log_probs
    parts = jax.tree.map(
        lambda leaf: leaf.reshape(config.minibatches, -1, *leaf.shape[1:]), (samples, reference)
    )

    def loss(params: Params, batch: tuple[_Samples, Array]) -> tuple[WeightedSum, Metrics]:
        part, reference = batch
        scored = score(params, part)
        return player_loss(
            scored.log_probs,
            part.rollout.log_probs,
            reference,
            scored.entropy,
            part.advantages,
            part.rollout.completion.mask,
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            kl_coef=config.kl_coef,
            entropy_coef=config.entropy_coef,
        )

    def step(train: TrainState, batch: tuple[_Samples, Array]) -> tuple[TrainState, Metrics]:
        gradients, total, metrics = accumulate_gradients(
            loss, train.params, batch, axis_name=axis_name
        )
        mean = total.mean()
        params, opt_state = apply_gradients(
            player.optimizer, train.params, train.opt_state, gradients, mean
        )
        metrics |= {"loss": total, "gradient_norm": _one(optax.tree.norm(gradients))}
        return TrainState(params, opt_state), metrics

    train, metrics = jax.lax.scan(step, state.train, parts)
    return PlayerState(train, state.reference), jax.tree.map(lambda leaf: leaf.sum(0), metrics)


def _one(value: Array) -> WeightedSum:
    return WeightedSum(value, jnp.ones_like(value))


def _mean(values: Array, where: Array | None = None) -> WeightedSum:
    where = jnp.ones(values.shape, bool) if where is None else jnp.broadcast_to(where, values.shape)
    return WeightedSum(jnp.where(where, values, 0.0).sum(), where.sum(dtype=jnp.float32))


def _game_metrics(task: Task, played: Play) -> Metrics:
    """Success with and without abstractions, and what the abstractions are like."""
    bare = played.bare[..., None]
    success = jnp.where(played.bare, 0.0, played.rewards.mean(-1))
    completion = played.abstractions.completion
    count = completion.tokens.shape[1]
    right = jax.vmap(jax.vmap(task.abstraction_is_right, (None, 0)))(played.problems, completion)
    given = success[:, :count]
    flat = given.max(-1) == given.min(-1)
    without = {"success/without_abstraction": _mean(played.rewards, bare)}
    return (without if played.bare.shape[1] > count else {}) | {
        "success/with_abstraction": _mean(played.rewards, ~bare),
        "success/best_abstraction": _mean(success.max(-1)),
        "abstraction/right": _mean(right.astype(jnp.float32)),
        "abstraction/length": _mean(completion.length.astype(jnp.float32)),
        "abstraction/zero_variance": _mean(flat.astype(jnp.float32)),
        "solution/length": _mean(played.solutions.completion.length.astype(jnp.float32)),
    }
