"""What one round of the game looks like, in numbers for each player."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxreason.policy_gradient import WeightedSum, has_spread
from jaxreason.rlad.credit import Credit
from jaxreason.rlad.play import Play
from jaxreason.sequences import Sequence, compact
from jaxreason.tasks import Task
from jaxreason.training import Metrics


def game_metrics(
    task: Task,
    played: Play,
    credit: Credit,
    *,
    valid: Array | None = None,
    leaked: Array | None = None,
    solution_group: str = "abstraction",
) -> Metrics:
    """Measures a round: success with and without abstractions, and what each player is like.

    Args:
        task: The family of problems.
        played: The round.
        credit: Who earned what.
        valid: Which solutions could be judged, `[problem, abstraction + bare, solution]`.
        leaked: Which abstractions give the answer away, `[problem, abstraction]`.
        solution_group: As for `assign_credit`.

    Returns:
        Sums and weights, named `part/metric`. `success/*` are shares of solutions that are right;
        `*/reward` is what a player was paid for, `*/zero_variance` the share of groups that gave
        it no advantage, `*/length` tokens a sequence, `*/generated` tokens a problem,
        `abstraction/distinct` the share of a problem's abstractions that differ from one another,
        `solution/adherence` that of solutions that do what their abstraction says, and
        `problems/never` and `problems/always` those that no or every solution got right.
        What the task can't tell is left out.

    Example:
        See `iterate`, which calls it.
    """
    rewards, bare = played.rewards, played.bare[..., None]
    valid = jnp.ones(rewards.shape, bool) if valid is None else valid
    judged = jnp.where(valid, rewards, 0.0)
    best, worst = _extremes(rewards, valid)
    axes = -1 if solution_group == "abstraction" else (-2, -1)
    spread = has_spread(rewards, axis=axes, where=credit.solution_earning)
    metrics = {
        "solution/reward": _mean(judged, credit.solution_earning),
        "solution/length": _mean(_floats(played.solutions.completion.length)),
        "solution/generated": _mean(_per_problem(played.solutions.completion)),
        "solution/zero_variance": _mean(_floats(~spread), credit.solution_earning),
        "problems/always": _mean(_floats(worst > 0)),
        "problems/never": _mean(_floats(best <= 0)),
    }
    count = played.abstractions.log_probs.shape[1]
    if played.bare.shape[1] > count:
        metrics["success/without_abstraction"] = _mean(judged, valid & bare)
    if count:
        metrics["success/with_abstraction"] = _mean(judged, valid & ~bare)
        success = judged.sum(-1) / jnp.maximum(_floats(valid).sum(-1), 1.0)
        metrics |= _abstraction_metrics(task, played, credit, success[:, :count], leaked)
    return metrics


def _abstraction_metrics(
    task: Task, played: Play, credit: Credit, success: Array, leaked: Array | None
) -> Metrics:
    completion = played.abstractions.completion
    count = completion.tokens.shape[1]
    means = credit.abstraction_rewards[:, :count]
    earning = credit.abstraction_earning[:, :count]
    spread = has_spread(means, axis=-1, where=earning)
    best = jnp.where(earning, success, 0.0).max(-1)
    return _told_by_the_task(task, played, leaked) | {
        "success/best_abstraction": _mean(best, earning.any(-1)),
        "abstraction/reward": _mean(means, earning),
        "abstraction/distinct": _mean(jax.vmap(_distinct)(completion)),
        "abstraction/length": _mean(_floats(completion.length)),
        "abstraction/generated": _mean(_per_problem(completion)),
        "abstraction/zero_variance": _mean(_floats(~spread), earning),
    }


def _told_by_the_task(task: Task, played: Play, leaked: Array | None) -> Metrics:
    """Measures what only some tasks can tell on the device."""
    completion, metrics = played.abstractions.completion, Metrics()
    of_each = lambda function: jax.vmap(jax.vmap(function, (None, 0)))  # noqa: E731
    if leaked is None and task.leaks is not None:
        leaked = of_each(task.leaks)(played.problems, completion)
    if leaked is not None:
        metrics["abstraction/leak"] = _mean(_floats(leaked))
    if task.abstraction_is_right is not None:
        right = of_each(task.abstraction_is_right)(played.problems, completion)
        metrics["abstraction/right"] = _mean(_floats(right))
    if task.follows is not None:
        follows = jax.vmap(of_each(task.follows))(played.given, played.solutions.completion)
        metrics["solution/adherence"] = _mean(_floats(follows), ~played.bare[..., None])
    return metrics


def _distinct(written: Sequence) -> Array:
    """Returns how many of a problem's abstractions are not a repetition, as a share."""
    texts = jax.vmap(compact)(written)
    same = (texts.tokens[:, None] == texts.tokens) & (texts.mask[:, None] == texts.mask)
    repeats = jnp.tril(same.all(-1), -1).any(-1)
    return 1.0 - _floats(repeats).mean()


def _extremes(rewards: Array, valid: Array) -> tuple[Array, Array]:
    """Returns the highest and the lowest reward of each problem, NaN-free; 0 if none is valid."""
    highest = jnp.where(valid, rewards, -jnp.inf).max((1, 2))
    lowest = jnp.where(valid, rewards, jnp.inf).min((1, 2))
    judged = valid.any((1, 2))
    return jnp.where(judged, highest, 0.0), jnp.where(judged, lowest, 0.0)


def _per_problem(written: Sequence) -> Array:
    return _floats(written.length.reshape(written.length.shape[0], -1).sum(-1))


def _floats(values: Array) -> Array:
    return values.astype(jnp.float32)


def _mean(values: Array, where: Array | None = None) -> WeightedSum:
    where = jnp.ones(values.shape, bool) if where is None else jnp.broadcast_to(where, values.shape)
    return WeightedSum(jnp.where(where, values, 0.0).sum(), where.sum(dtype=jnp.float32))
