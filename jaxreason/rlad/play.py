"""Playing the game: abstractions for each problem, solutions under each abstraction."""

import dataclasses
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxreason.checks import check_shape, check_that
from jaxreason.model import ModelConfig, Params
from jaxreason.rollout import Rollout, Sampling, generate
from jaxreason.sequences import Sequence
from jaxreason.tasks import Task


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class Play:
    """What both players wrote, and how it went.

    Attributes:
        problems: The problems, `[problem]`.
        abstraction_prompts: `[problem]`.
        abstractions: What the abstraction generator wrote, `[problem, abstraction]`.
        solution_prompts: `[problem, abstraction + bare]`.
        solutions: What the solution generator wrote, `[problem, abstraction + bare, solution]`.
        rewards: 1.0 where the answer is right, `[problem, abstraction + bare, solution]`; NaN if
            the task has no reward, until a verifier's are put there.
        bare: Which slots had no abstraction, `[problem, abstraction + bare]`; the last ones.
        given: The abstraction of each slot, `[problem, abstraction + bare]`; where bare, it was
            withheld.
    """

    problems: PyTree
    abstraction_prompts: Sequence
    abstractions: Rollout
    solution_prompts: Sequence
    solutions: Rollout
    rewards: Float[Array, "..."]
    bare: Bool[Array, "..."]
    given: Sequence


def fold(tree: PyTree, axes: int) -> PyTree:
    """Merges the first `axes` axes of every leaf into one.

    Example:
        >>> fold(jnp.zeros((2, 3, 4)), 2).shape
        (6, 4)
    """
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[axes:]), tree)


def unfold(tree: PyTree, shape: tuple[int, ...]) -> PyTree:
    """Splits the first axis of every leaf into `shape`; undoes `fold`.

    Example:
        >>> unfold(jnp.zeros((6, 4)), (2, 3)).shape
        (2, 3, 4)
    """
    return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), tree)


def propose(
    task: Task,
    config: ModelConfig,
    params: Params,
    problems: PyTree,
    keys: Key[Array, "problem"],
    *,
    abstractions: int,
    sampling: Sampling,
) -> tuple[Sequence, Rollout]:
    """Writes abstractions for each problem.

    Args:
        task: The family of problems.
        config: The abstraction generator's shape.
        params: Its parameters.
        problems: Problems with one batch axis.
        keys: One key for each problem.
        abstractions: How many for each problem; static.
        sampling: The distribution to draw from; static.

    Returns:
        Prompts, `[problem]`, and what was written, `[problem, abstraction]`.

    Raises:
        ValueError: If `keys` has not one axis, or no abstraction is asked for.

    Example:
        >>> from jaxreason.model import init
        >>> from jaxreason.tasks import RuleInductionConfig, make_rule_induction
        >>> task, config = make_rule_induction(RuleInductionConfig()), ModelConfig()
        >>> def run(key):
        ...     keys, params = jax.random.split(key, 3), init(config, key)
        ...     problems = jax.vmap(lambda key: task.sample(key, "train"))(keys)
        ...     return propose(
        ...         task, config, params, problems, keys, abstractions=4, sampling=Sampling())
        >>> prompts, rollout = jax.eval_shape(run, jax.random.key(0))
        >>> rollout.log_probs.shape
        (3, 4, 4)
    """
    (count,) = check_shape("keys", keys, ("problem",))
    check_that(abstractions >= 1, f"abstractions must be 1 or more; got {abstractions}.")
    prompts = jax.vmap(task.abstraction_prompt)(problems)
    row_keys = jax.vmap(lambda key: jax.random.split(key, abstractions))(keys)
    rollout = generate(
        config,
        params,
        prompts,
        row_keys.reshape(-1),
        max_new_tokens=task.abstraction_length,
        stop_tokens=task.abstraction_stops,
        samples=abstractions,
        sampling=sampling,
    )
    return prompts, unfold(rollout, (count, abstractions))


def solve(
    task: Task,
    config: ModelConfig,
    params: Params,
    problems: PyTree,
    abstractions: Sequence,
    bare: Bool[Array, "problem abstraction"],
    keys: Key[Array, "problem"],
    *,
    solutions: int,
    sampling: Sampling,
) -> tuple[Sequence, Rollout, Float[Array, "problem abstraction solution"]]:
    """Writes and checks solutions under each abstraction.

    Args:
        task: The family of problems.
        config: The solution generator's shape.
        params: Its parameters.
        problems: Problems with one batch axis.
        abstractions: Abstractions `[problem, abstraction]`.
        bare: Where the abstraction is withheld.
        keys: One key for each problem.
        solutions: How many under each abstraction; static.
        sampling: The distribution to draw from; static.

    Returns:
        Prompts, `[problem, abstraction]`; what was written, and the rewards, `[problem,
        abstraction, solution]`.

    Raises:
        ValueError: If shapes disagree.

    Example:
        >>> from jaxreason.model import init
        >>> from jaxreason.tasks import RuleInductionConfig, make_rule_induction
        >>> task, config = make_rule_induction(RuleInductionConfig()), ModelConfig()
        >>> def run(key):
        ...     keys, params = jax.random.split(key, 3), init(config, key)
        ...     problems = jax.vmap(lambda key: task.sample(key, "train"))(keys)
        ...     right = jax.vmap(task.abstraction)(problems)
        ...     abstractions = jax.tree.map(lambda leaf: leaf[:, None], right)
        ...     bare = jnp.zeros((3, 1), bool)
        ...     return solve(
        ...         task, config, params, problems, abstractions, bare, keys,
        ...         solutions=5, sampling=Sampling())
        >>> prompts, rollout, rewards = jax.eval_shape(run, jax.random.key(0))
        >>> rewards.shape
        (3, 1, 5)
    """
    count, _ = check_shape("bare", bare, ("problem", "abstraction"))
    check_shape("keys", keys, (count,))
    prompt_of = jax.vmap(jax.vmap(task.solution_prompt, (None, 0, 0)))
    prompts = prompt_of(problems, abstractions, bare)
    return write_solutions(
        task, config, params, problems, prompts, keys, solutions=solutions, sampling=sampling
    )


def write_solutions(
    task: Task,
    config: ModelConfig,
    params: Params,
    problems: PyTree,
    prompts: Sequence,
    keys: Key[Array, "problem"],
    *,
    solutions: int,
    sampling: Sampling,
) -> tuple[Sequence, Rollout, Float[Array, "problem abstraction solution"]]:
    """Writes and checks solutions for given prompts of each problem; see `solve`.

    Args:
        task: The family of problems.
        config: The solution generator's shape.
        params: Its parameters.
        problems: Problems with one batch axis.
        prompts: Prompts `[problem, abstraction]`.
        keys: One key for each problem.
        solutions: How many for each prompt; static.
        sampling: The distribution to draw from; static.

    Returns:
        Prompts, `[problem, abstraction]`; what was written, and the rewards, `[problem,
        abstraction, solution]`.

    Example:
        See `solve`, which calls it.
    """
    count, slots = prompts.tokens.shape[:2]
    row_keys = jax.vmap(lambda key: jax.random.split(key, slots * solutions))(keys)
    rollout = generate(
        config,
        params,
        fold(prompts, 2),
        row_keys.reshape(-1),
        max_new_tokens=task.solution_length,
        stop_tokens=task.solution_stops,
        samples=solutions,
        sampling=sampling,
    )
    rollout = unfold(rollout, (count, slots, solutions))
    if task.reward is None:
        return prompts, rollout, jnp.full((count, slots, solutions), jnp.nan)
    reward_of = jax.vmap(jax.vmap(jax.vmap(task.reward, (None, 0)), (None, 0)))
    return prompts, rollout, reward_of(problems, rollout.completion)


def play(
    task: Task,
    models: tuple[ModelConfig, ModelConfig],
    params: tuple[Params, Params],
    problems: PyTree,
    keys: Key[Array, "problem"],
    *,
    abstractions: int,
    solutions: int,
    bare: int,
    sampling: tuple[Sampling, Sampling],
) -> Play:
    """Plays one round: abstractions, then solutions under each and, `bare` times, without.

    Args:
        task: The family of problems.
        models: The shapes of the abstraction and the solution generator.
        params: Their parameters.
        problems: Problems with one batch axis.
        keys: One key for each problem: nothing depends on how the batch is cut.
        abstractions: Abstractions for each problem, 0 or more; static.
        solutions: Solutions under each abstraction; static.
        bare: Slots without an abstraction for each problem; static.
        sampling: The distributions of the two players; static.

    Returns:
        The play.

    Raises:
        ValueError: If `keys` has not one axis.

    Example:
        >>> from jaxreason.model import init
        >>> from jaxreason.tasks import RuleInductionConfig, make_rule_induction
        >>> task, config = make_rule_induction(RuleInductionConfig()), ModelConfig()
        >>> def run(key):
        ...     keys, params = jax.random.split(key, 3), init(config, key)
        ...     problems = jax.vmap(lambda key: task.sample(key, "train"))(keys)
        ...     return play(
        ...         task, (config, config), (params, params), problems, keys,
        ...         abstractions=4, solutions=2, bare=1, sampling=(Sampling(), Sampling()))
        >>> played = jax.eval_shape(run, jax.random.key(0))
        >>> played.rewards.shape, played.bare.shape
        ((3, 5, 2), (3, 5))
    """
    (count,) = check_shape("keys", keys, ("problem",))
    both = jax.vmap(jax.random.split)(keys)
    write = lambda number: propose(  # noqa: E731
        task,
        models[0],
        params[0],
        problems,
        both[:, 0],
        abstractions=number,
        sampling=sampling[0],
    )
    if abstractions:
        prompts, written = write(abstractions)
        slots = jnp.minimum(jnp.arange(abstractions + bare), abstractions - 1)
        given = jax.tree.map(lambda leaf: leaf[:, slots], written.completion)
    else:
        prompts = jax.vmap(task.abstraction_prompt)(problems)
        shapes = jax.eval_shape(lambda: write(bare)[1])
        empty = lambda leaf: jnp.zeros((count, 0, *leaf.shape[2:]), leaf.dtype)  # noqa: E731
        written = jax.tree.map(empty, shapes)
        withheld = lambda leaf: jnp.zeros(leaf.shape, leaf.dtype)  # noqa: E731
        given = jax.tree.map(withheld, shapes.completion)
    is_bare = jnp.arange(abstractions + bare) >= abstractions
    is_bare = jnp.broadcast_to(is_bare, (count, abstractions + bare))
    solution_prompts, solved, rewards = solve(
        task,
        models[1],
        params[1],
        problems,
        given,
        is_bare,
        both[:, 1],
        solutions=solutions,
        sampling=sampling[1],
    )
    return Play(problems, prompts, written, solution_prompts, solved, rewards, is_bare, given)
