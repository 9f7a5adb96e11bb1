"""Who earned what: from rewards of solutions to the advantages of both players."""

import dataclasses
from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxreason.checks import check_shape, check_that
from jaxreason.policy_gradient import grpo, has_spread, reinforce, rloo

Estimator = Callable[..., Float[Array, "..."]]
_plain: Estimator = partial(reinforce, baseline="none")
ESTIMATORS: MappingProxyType[str, Estimator] = MappingProxyType(
    {
        "none": _plain,
        "reinforce": reinforce,
        "rloo": rloo,
        "grpo": grpo,
        "reinforce++": _plain,
        "reinforce++-baseline": reinforce,
    }
)
"""Advantages of sequences by name. Those of the two REINFORCE++ are whitened over all tokens by the
update, once log-probs are known."""
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
        abstraction_earning: Whether the reward counts, `[problem, abstraction]`: not where bare,
            or where no solution could be judged, or where the abstraction was dropped.
        abstraction_kept: Whether the abstraction is in the loss at all, `[problem, abstraction]`.
        solution_advantages: `[problem, abstraction, solution]`; 0 where masked.
        solution_earning: Whether the reward counts, `[problem, abstraction, solution]`.
        solution_kept: Whether the solution is in the loss at all,
            `[problem, abstraction, solution]`: bare ones are, for their KL and entropy.
    """

    abstraction_rewards: Float[Array, "..."]
    abstraction_advantages: Float[Array, "..."]
    abstraction_earning: Bool[Array, "..."]
    abstraction_kept: Bool[Array, "..."]
    solution_advantages: Float[Array, "..."]
    solution_earning: Bool[Array, "..."]
    solution_kept: Bool[Array, "..."]


def assign_credit(
    rewards: Float[Array, "problem abstraction solution"],
    bare: Bool[Array, "problem abstraction"],
    *,
    valid: Bool[Array, "problem abstraction solution"] | None = None,
    dropped: Bool[Array, "problem abstraction"] | None = None,
    penalties: Float[Array, "problem abstraction"] | None = None,
    weights: Float[Array, " problem"] | None = None,
    abstraction_estimator: str = "rloo",
    solution_estimator: str = "grpo",
    solution_group: str = "abstraction",
    mask_bare: bool = True,
    dynamic_sampling: bool = False,
) -> Credit:
    """Turns the success of solutions into advantages of both players.

    The abstraction generator is rewarded with r(x, z) = mean_j Acc(y_j), the success of the
    solutions under its abstraction; the solution generator with Acc where it was given an
    abstraction. Bare prompts are masked out: their advantage is 0 and they enter no baseline or
    deviation, so that the solver can gain by using abstractions only. They stay in the loss.

    See "RLAD: Training LLMs to Discover Abstractions for Solving Reasoning Problems" by Qu et al.
    (https://arxiv.org/abs/2510.02263), section 4.

    Args:
        rewards: Success of each solution.
        bare: Which slots were solved without an abstraction.
        valid: Which solutions could be judged; the others, whose verifier failed, are left out of
            every mean and of the loss.
        dropped: Abstractions that nobody learns from, such as those that leak the answer.
        penalties: Taken from the abstractions' rewards.
        weights: What each problem counts, by which its advantages are multiplied.
        abstraction_estimator: Out of `ESTIMATORS`, over a problem's abstractions.
        solution_estimator: Likewise, over the group of solutions.
        solution_group: `abstraction`: the solutions under one abstraction are compared, as in the
            paper; `problem`: all of a problem's, which also works with one solution each.
        mask_bare: False lets solutions without an abstraction earn their success, the paper's
            naive reward.
        dynamic_sampling: Whether groups whose rewards are all equal leave the loss; bare prompts
            that earn nothing stay.

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
    problems, slots, solutions = check_shape(
        "rewards", rewards, ("problem", "abstraction", "solution")
    )
    check_shape("bare", bare, (problems, slots))
    for name in (abstraction_estimator, solution_estimator):
        check_that(name in ESTIMATORS, f"estimator must be in {tuple(ESTIMATORS)}; got {name!r}.")
    check_that(
        solution_group in SOLUTION_GROUPS,
        f"solution_group must be in {SOLUTION_GROUPS}; got {solution_group!r}.",
    )
    valid = _given("valid", valid, rewards.shape, True)
    dropped = _given("dropped", dropped, bare.shape, False)
    weights = _given("weights", weights, (problems,), 1.0)
    penalties = _given("penalties", penalties, bare.shape, 0.0)

    judged = valid.any(-1)
    proposed = ~bare & judged & ~dropped
    count = jnp.maximum(valid.sum(-1, dtype=rewards.dtype), 1.0)
    means = jnp.where(valid, rewards, 0.0).sum(-1) / count - penalties
    means = jnp.where(bare | ~judged, 0.0, means)
    earning = valid & ~dropped[..., None]
    if mask_bare:
        earning &= ~bare[..., None]
    axes = -1 if solution_group == "abstraction" else (-2, -1)
    abstraction_kept = proposed
    solution_kept = valid & ~dropped[..., None]
    if dynamic_sampling:
        abstraction_kept &= has_spread(means, axis=-1, where=proposed)
        solution_kept &= has_spread(rewards, axis=axes, where=earning)
    by_abstraction = ESTIMATORS[abstraction_estimator](means, axis=-1, where=proposed)
    by_solution = ESTIMATORS[solution_estimator](rewards, axis=axes, where=earning)
    return Credit(
        abstraction_rewards=means,
        abstraction_advantages=by_abstraction * weights[:, None],
        abstraction_earning=proposed,
        abstraction_kept=abstraction_kept,
        solution_advantages=by_solution * weights[:, None, None],
        solution_earning=earning,
        solution_kept=solution_kept,
    )


def _given(name: str, array: Array | None, shape: tuple[int, ...], default: bool | float) -> Array:
    """Returns the array, checked, or one that is `default` throughout."""
    if array is None:
        return jnp.full(shape, default)
    check_shape(name, array, shape)
    return array
