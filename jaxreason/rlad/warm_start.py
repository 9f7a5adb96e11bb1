"""Which of a teacher's abstractions are worth learning from: those that raise success."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key, PyTree

from jaxreason.checks import check_shape, check_that
from jaxreason.model import ModelConfig, Params
from jaxreason.rlad.play import solve
from jaxreason.rollout import Sampling
from jaxreason.sequences import Sequence
from jaxreason.tasks import Task


def raises_success(
    task: Task,
    model: ModelConfig,
    params: Params,
    problems: PyTree,
    abstractions: Sequence,
    keys: Key[Array, "problem"],
    *,
    samples: int,
    margin: float = 0.0,
    sampling: Sampling = Sampling(),
) -> Bool[Array, "problem abstraction"]:
    """Finds abstractions with which a solver succeeds more often than without, strictly.

    The definition of a good abstraction, E[Acc | x, z] > E[Acc | x], with both sides estimated
    from samples: few samples also keep some that were lucky.

    See "RLAD: Training LLMs to Discover Abstractions for Solving Reasoning Problems" by Qu et al.
    (https://arxiv.org/abs/2510.02263), section 3.

    Args:
        task: The family of problems.
        model: The solver's shape; in the paper one weaker than the teacher.
        params: Its parameters.
        problems: Problems with one batch axis.
        abstractions: A teacher's abstractions, `[problem, abstraction]`.
        keys: One key for each problem.
        samples: Solutions with each abstraction, and without; static.
        margin: By how much success must rise.
        sampling: The distribution to draw from; static.

    Returns:
        Which abstractions to keep.

    Raises:
        ValueError: If shapes disagree, no sample is asked for, or the task has no reward.

    Example:
        >>> from jaxreason.model import init
        >>> from jaxreason.tasks import RuleInductionConfig, make_rule_induction
        >>> task, config = make_rule_induction(RuleInductionConfig()), ModelConfig()
        >>> def run(key):
        ...     keys, params = jax.random.split(key, 3), init(config, key)
        ...     problems = jax.vmap(lambda key: task.sample(key, "train"))(keys)
        ...     right = jax.vmap(task.abstraction)(problems)
        ...     abstractions = jax.tree.map(lambda leaf: leaf[:, None], right)
        ...     return raises_success(
        ...         task, config, params, problems, abstractions, keys, samples=4)
        >>> jax.eval_shape(run, jax.random.key(0)).shape
        (3, 1)
    """
    check_that(samples >= 1, f"samples must be 1 or more; got {samples}.")
    task.asked("reward")
    (count,) = check_shape("keys", keys, ("problem",))
    _, slots, _ = check_shape("abstractions", abstractions.tokens, (count, "abstraction", "time"))
    with_bare = jax.tree.map(
        lambda leaf: jnp.concatenate([leaf, leaf[:, :1]], axis=1), abstractions
    )
    bare = jnp.broadcast_to(jnp.arange(slots + 1) == slots, (count, slots + 1))
    _, _, rewards = solve(
        task, model, params, problems, with_bare, bare, keys, solutions=samples, sampling=sampling
    )
    success = rewards.mean(-1)
    return success[:, :-1] > success[:, -1:] + margin
