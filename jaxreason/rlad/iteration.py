"""One iteration of two-player reinforcement learning, as one program."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxreason.checks import check_shape, check_that
from jaxreason.policy_gradient import soft_overlong_penalty
from jaxreason.rlad.config import OFFLINE, GameConfig
from jaxreason.rlad.credit import Credit, assign_credit
from jaxreason.rlad.leakage import find_leaks
from jaxreason.rlad.metrics import game_metrics
from jaxreason.rlad.play import Play, fold, play
from jaxreason.rlad.players import GameState, Player, beside
from jaxreason.rlad.updates import Proposals, Samples, learn_offline, learn_online
from jaxreason.rollout import Sampling
from jaxreason.tasks import Task
from jaxreason.training import Metrics

PARTS = ("abstraction", "solution")


def iterate(
    config: GameConfig,
    task: Task,
    players: tuple[Player, Player],
    state: GameState,
    keys: Key[Array, "problem"],
    *,
    problems: PyTree = None,
    learners: tuple[str, ...] = PARTS,
    axis_name: str | None = None,
) -> tuple[GameState, dict[str, Float[Array, ""]]]:
    """Plays one round and updates the players that learn.

    Abstraction rollout, prompt assembly, solution rollout, verification, credit and the updates
    are one program: under `jit` nothing crosses to the host. `play_round` and `learn` are its
    halves; where Python has to judge the solutions, it stands between them.

    See "RLAD: Training LLMs to Discover Abstractions for Solving Reasoning Problems" by Qu et al.
    (https://arxiv.org/abs/2510.02263).

    Args:
        config: Sizes, coefficients and the variant; static.
        task: A family of problems that verifies on the device; static.
        players: The abstraction and the solution generator; static.
        state: From `init_game` or the last iteration; donate it.
        keys: One key for each problem, `[problem]`.
        problems: Problems with one batch axis; fresh ones are drawn from the keys if None.
        learners: Who learns, out of `abstraction` and `solution`, unless the config freezes it;
            static.
        axis_name: The axis of `pmap` over which problems are spread, if any; static.

    Returns:
        The new state and the metrics of the iteration, see `game_metrics`.

    Raises:
        ValueError: If shapes disagree, the minibatches do not divide the problems, or the task has
            no reward.

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
        ...     keys = jax.random.split(key, config.problems)
        ...     return iterate(config, task, (player, player), state, keys)
        >>> state, metrics = jax.eval_shape(run, jax.random.key(0))
        >>> [name for name in sorted(metrics) if name.startswith("success")]
        ['success/best_abstraction', 'success/with_abstraction', 'success/without_abstraction']
    """
    task.asked("reward")
    played, leaked = play_round(config, task, players, state, keys, problems=problems)
    return learn(
        config,
        task,
        players,
        state,
        played,
        leaked=leaked,
        learners=learners,
        axis_name=axis_name,
    )


def play_round(
    config: GameConfig,
    task: Task,
    players: tuple[Player, Player],
    state: GameState,
    keys: Key[Array, "problem"],
    *,
    problems: PyTree = None,
) -> tuple[Play, Bool[Array, "problem abstraction"] | None]:
    """Plays one round and looks for leaks: the first half of `iterate`.

    Args:
        config: Sizes and the variant; static.
        task: A family of problems; static.
        players: The abstraction and the solution generator; static.
        state: The players.
        keys: One key for each problem.
        problems: As for `iterate`.

    Returns:
        The round, and which abstractions the base model leaks from; None if it was not asked.

    Raises:
        ValueError: If shapes disagree, or the minibatches do not divide the problems.

    Example:
        See `iterate`.
    """
    (count,) = check_shape("keys", keys, ("problem",))
    check_that(
        count % config.minibatches == 0,
        f"minibatches must divide the problems; got {config.minibatches} for {count} keys.",
    )
    check_that(
        config.abstractions == 0 or config.shared == (state.abstraction is None),
        "the state must hold an abstraction generator exactly if the model is not shared; give "
        "init_game its parameters, or None.",
    )
    both = jax.vmap(jax.random.split)(keys)
    if problems is None:
        problems = jax.vmap(lambda key: task.sample(key, "train"))(both[:, 0])
    writer = players[1] if state.abstraction is None else players[0]
    sampling = Sampling(temperature=config.temperature)
    played = play(
        task,
        (writer.model, players[1].model),
        state.params,
        problems,
        both[:, 1],
        abstractions=config.abstractions,
        solutions=config.solutions,
        bare=config.bare,
        sampling=(sampling, sampling),
    )
    if not (config.abstractions and config.leak_samples):
        return played, None
    leaked = find_leaks(
        task,
        players[1].model,
        beside(state.base, state.solution.reference),
        problems,
        played.abstractions.completion,
        jax.vmap(lambda key: jax.random.fold_in(key, 2))(keys),
        samples=config.leak_samples,
        sampling=sampling,
    )
    return played, leaked


def learn(
    config: GameConfig,
    task: Task,
    players: tuple[Player, Player],
    state: GameState,
    played: Play,
    *,
    valid: Bool[Array, "problem slot solution"] | None = None,
    leaked: Bool[Array, "problem abstraction"] | None = None,
    learners: tuple[str, ...] = PARTS,
    axis_name: str | None = None,
) -> tuple[GameState, dict[str, Float[Array, ""]]]:
    """Assigns credit and updates the players: the second half of `iterate`.

    Args:
        config: Sizes, coefficients and the variant; static.
        task: A family of problems; static.
        players: The abstraction and the solution generator; static.
        state: The players; donate it.
        played: From `play_round`; its rewards may have been replaced by those of a verifier.
        valid: Which solutions the verifier could judge, those of bare slots too; the others teach
            nobody anything.
        leaked: From `play_round`; None asks the task's own check of the text.
        learners: As for `iterate`; static.
        axis_name: As for `iterate`; static.

    Returns:
        The new state and metrics.

    Raises:
        ValueError: If shapes disagree.

    Example:
        See `iterate`.
    """
    credit, leaked = judge(config, task, played, valid=valid, leaked=leaked)
    metrics = game_metrics(
        task,
        played,
        credit,
        valid=valid,
        leaked=leaked,
        solution_group=config.solution_group,
    )
    proposed, solved = _samples(config, played, credit)
    abstraction, solution = state.abstraction, state.solution
    if config.shared and config.abstractions:
        solution, learned = learn_online(
            config, players[1], solution, (proposed, solved), base=state.base, axis_name=axis_name
        )
        metrics |= learned
    else:
        if _learns(config, "abstraction", learners) and abstraction is not None:
            if config.abstraction_update in OFFLINE:
                abstraction, learned = learn_offline(
                    config,
                    players[0],
                    abstraction,
                    proposals(played, credit),
                    updates=config.minibatches,
                    base=state.base,
                    axis_name=axis_name,
                )
            else:
                abstraction, learned = learn_online(
                    config,
                    players[0],
                    abstraction,
                    (proposed,),
                    base=state.base,
                    axis_name=axis_name,
                )
            metrics |= learned
        if _learns(config, "solution", learners):
            solution, learned = learn_online(
                config, players[1], solution, (solved,), base=state.base, axis_name=axis_name
            )
            metrics |= learned
    return GameState(abstraction, solution, state.base), means(metrics, axis_name)


def judge(
    config: GameConfig,
    task: Task,
    played: Play,
    *,
    valid: Array | None = None,
    leaked: Array | None = None,
) -> tuple[Credit, Array | None]:
    """Assigns the credit of a round by the rules of a config.

    Args:
        config: The rules; static.
        task: The family of problems.
        played: The round.
        valid: Which solutions could be judged.
        leaked: Which abstractions leak; None asks the task's own check of the text.

    Returns:
        The credit, and which abstractions leak, `[problem, abstraction]`; None without any, or if
        nobody looked for leaks and none is to be dropped or penalised.

    Raises:
        ValueError: If leaks are to be dropped or penalised and nothing finds them.

    Example:
        See `learn`, which calls it.
    """
    rewards = played.rewards
    if config.overlong_buffer:
        lengths = played.solutions.completion.length
        rewards = rewards + soft_overlong_penalty(
            lengths, max_length=task.solution_length, buffer=config.overlong_buffer
        )
    dropped = penalties = None
    if config.abstractions:
        if leaked is None and (task.leaks is not None or config.leak_rule != "keep"):
            leaks = jax.vmap(jax.vmap(task.asked("leaks"), (None, 0)))
            leaked = leaks(played.problems, played.abstractions.completion)
        if leaked is not None:
            everywhere = jnp.pad(leaked, ((0, 0), (0, config.bare)))
            if config.leak_rule == "drop":
                dropped = everywhere
            elif config.leak_rule == "penalise":
                penalties = config.leak_penalty * everywhere.astype(rewards.dtype)
    credit = assign_credit(
        rewards,
        played.bare,
        valid=valid,
        dropped=dropped,
        penalties=penalties,
        abstraction_estimator=config.abstraction_estimator,
        solution_estimator=config.solution_estimator,
        solution_group=config.solution_group,
        mask_bare=config.mask_bare,
        dynamic_sampling=config.dynamic_sampling,
    )
    return credit, leaked


def proposals(played: Play, credit: Credit) -> Proposals:
    """Returns what an abstraction generator learns offline from.

    Success without an abstraction is that of the bare solutions of the same round, 0 if there are
    none.

    Args:
        played: The round.
        credit: Its credit.

    Example:
        See `learn`, which calls it.
    """
    count = played.abstractions.log_probs.shape[1]
    bare = jnp.broadcast_to(played.bare[..., None], played.rewards.shape)
    total = bare.sum((1, 2), dtype=jnp.float32)
    base = jnp.where(bare, played.rewards, 0.0).sum((1, 2)) / jnp.maximum(total, 1.0)
    return Proposals(
        played.abstraction_prompts,
        played.abstractions,
        credit.abstraction_rewards[:, :count],
        base,
        credit.abstraction_earning[:, :count],
    )


def means(metrics: Metrics, axis_name: str | None = None) -> dict[str, Float[Array, ""]]:
    """Divides sums by weights, once, after they were added up over devices.

    Example:
        >>> from jaxreason.policy_gradient import WeightedSum
        >>> float(means({"reward": WeightedSum(jnp.array(3.0), jnp.array(4.0))})["reward"])
        0.75
    """
    if axis_name is not None:
        metrics = jax.lax.psum(metrics, axis_name)
    return {name: metric.mean() for name, metric in metrics.items()}


def _learns(config: GameConfig, part: str, learners: tuple[str, ...]) -> bool:
    check_that(set(learners) <= set(PARTS), f"learners must be out of {PARTS}; got {learners}.")
    return part in learners and getattr(config, f"{part}_update") != "frozen"


def _samples(config: GameConfig, played: Play, credit: Credit) -> tuple[Samples, Samples]:
    """Returns what the abstraction and the solution generator learn from."""
    count = config.abstractions
    proposed = Samples(
        prompts=played.abstraction_prompts,
        rollout=fold(played.abstractions, 2),
        advantages=credit.abstraction_advantages[:, :count].reshape(-1),
        earning=credit.abstraction_earning[:, :count].reshape(-1),
        kept=credit.abstraction_kept[:, :count].reshape(-1),
        part="abstraction",
        estimator=config.abstraction_estimator,
    )
    solved = Samples(
        prompts=fold(played.solution_prompts, 2),
        rollout=fold(played.solutions, 3),
        advantages=credit.solution_advantages.reshape(-1),
        earning=credit.solution_earning.reshape(-1),
        kept=credit.solution_kept.reshape(-1),
        part="solution",
        estimator=config.solution_estimator,
    )
    return proposed, solved
