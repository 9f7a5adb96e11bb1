"""Who earned what: from rewards of solutions to the advantages of both players."""

import dataclasses
from types import MappingProxyType
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxreason.checks import check_shape, check_that
from jaxreason.policy_gradient import grpo, reinforce, rloo

ESTIMATORS = MappingProxyType({"reinforce": reinforce, "rloo": rloo, "grpo": grpo})
SOLUTION_GROUPS = ("abstraction", "problem")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class Credit:
    """Rewards and advantages of the two players.

    Attributes:
        abstraction_rewards: Mean success of each abstraction's own solutions,
            `[problem, abstraction]`; 0 where bare.
        abstraction_advantages: `[problem, abstraction]`; 0 where bare.
        solution_advantages: `[problem, abstraction, solution]`; 0 where bare.
    """

    abstraction_rewards: Float[Array, "..."]
    abstraction_advantages: Float[Array, "..."]
    solution_advantages: Float[Array, "..."]


def assign_credit(
    rewards: Float[Array, "problem abstraction solution"],
    bare: Bool[Array, "problem abstraction"],
    *,
    abstraction_estimator: str = "rloo",
    solution_estimator: str = "grpo",
    solution_group: str = "abstraction",
) -> Credit:
    """Turns the success of solutions into advantages of both players.

    The abstraction generator is rewarded with r(x, z) = mean_j Acc(y_j), the success of the
    solutions under its abstraction; the solution generator with Acc where it was given an
    abstraction. Bare prompts are masked out: their advantage is 0 and they enter no baseline or
    deviation, so that the solver can gain by using abstractions only.

    See "RLAD: Training LLMs to Discover Abstractions for Solving Reasoning Problems" by Qu et al.
    (https://arxiv.org/abs/2510.02263), section 4.

    Args:
        rewards: Success of each solution.
        bare: Which slots were solved without an abstraction.
        abstraction_estimator: `reinforce`, `rloo` or `grpo`, over a problem's abstractions.
        solution_estimator: Likewise, over the group of solutions.
        solution_group: `abstraction`: the solutions under one abstraction are compared, as in the
            paper; `problem`: all of a problem's, which also works with one solution each.

    Returns:
        The credit of both players.

    Raises:
        ValueError: If shapes disagree or a name is unknown.

    Example:
        >>> rewards = jnp.array([[[1.0, 1.0], [1.0, 0.0], [1.0, 1.0]]])
        >>> credit = assign_credit(rewards, jnp.array([[False, False, True]]))
        >>> credit.abstraction_advantages.tolist()
        [[0.5, -0.5, 0.0]]
    """
    problems, slots, _ = check_shape("rewards", rewards, ("problem", "abstraction", "solution"))
    check_shape("bare", bare, (problems, slots))
    for name in (abstraction_estimator, solution_estimator):
        check_that(name in ESTIMATORS, f"estimator must be in {tuple(ESTIMATORS)}; got {name!r}.")
    check_that(
        solution_group in SOLUTION_GROUPS,
        f"solution_group must be in {SOLUTION_GROUPS}; got {solution_group!r}.",
    )
    means = jnp.where(bare, 0.0, rewards.mean(-1))
    played = jnp.broadcast_to(~bare[..., None], rewards.shape)
    axes = -1 if solution_group == "abstraction" else (-2, -1)
    return Credit(
        abstraction_rewards=means,
        abstraction_advantages=ESTIMATORS[abstraction_estimator](means, axis=-1, where=~bare),
        solution_advantages=ESTIMATORS[solution_estimator](rewards, axis=axes, where=played),
    )
