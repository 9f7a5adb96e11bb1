"""Advantages: functions of rewards and the axes that make a group."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxreason.checks import check_shape, check_that

Axis = int | tuple[int, ...]

BASELINES = ("mean", "none")


def reinforce(
    rewards: Float[Array, "*shape"],
    *,
    axis: Axis = -1,
    baseline: str = "mean",
    where: Bool[Array, "*shape"] | None = None,
) -> Float[Array, "*shape"]:
    """Computes REINFORCE advantages, r_i - b.

    The mean baseline contains the entry's own reward, which scales the expected gradient by
    (G - 1) / G; `rloo` does not.

    See "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning"
    by Williams (https://doi.org/10.1007/BF00992696).

    Args:
        rewards: Rewards, of any shape.
        axis: The axis or axes along which a group lies.
        baseline: `"mean"` subtracts the mean of the group, `"none"` subtracts nothing.
        where: Entries that count; the others get 0 and are left out of the baseline.

    Returns:
        Advantages, in the shape of the rewards.

    Raises:
        ValueError: If the baseline is unknown or `where` has another shape than `rewards`.

    Example:
        >>> reinforce(jnp.array([1.0, 0.0, 0.0, 0.0])).tolist()
        [0.75, -0.25, -0.25, -0.25]
    """
    check_that(baseline in BASELINES, f"The baseline must be one of {BASELINES}; got {baseline!r}.")
    where = _valid(rewards, where)
    if baseline == "none":
        return jnp.where(where, rewards, 0.0)
    return _center(rewards, axis, where)[0]


def rloo(
    rewards: Float[Array, "*shape"],
    *,
    axis: Axis = -1,
    where: Bool[Array, "*shape"] | None = None,
) -> Float[Array, "*shape"]:
    """Computes leave-one-out advantages, r_i - mean_{j != i} r_j.

    See "Back to Basics: Revisiting REINFORCE Style Optimization for Learning from Human Feedback
    in LLMs" by Ahmadian et al. (https://arxiv.org/abs/2402.14740).

    Args:
        rewards: Rewards, of any shape.
        axis: The axis or axes along which a group lies.
        where: Entries that count; the others get 0 and are left out of every baseline.

    Returns:
        Advantages, in the shape of the rewards; 0 in a group of one, which has no baseline.

    Raises:
        ValueError: If `where` has another shape than `rewards`.

    Example:
        >>> print(rloo(jnp.array([1.0, 1.0, 0.0, 0.0])))
        [ 0.6666667  0.6666667 -0.6666667 -0.6666667]
    """
    centered, count = _center(rewards, axis, _valid(rewards, where))
    return centered * (count / jnp.maximum(count - 1.0, 1.0))


def grpo(
    rewards: Float[Array, "*shape"],
    *,
    axis: Axis = -1,
    where: Bool[Array, "*shape"] | None = None,
    epsilon: float = 1e-6,
) -> Float[Array, "*shape"]:
    """Computes group-relative advantages, (r_i - mean) / (s + epsilon).

    Here s is the sample standard deviation of the group (divisor G - 1). Equal rewards give
    exactly 0, whatever their value.

    See "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models" by
    Shao et al. (https://arxiv.org/abs/2402.03300).

    Args:
        rewards: Rewards, of any shape.
        axis: The axis or axes along which a group lies.
        where: Entries that count; the others get 0 and are left out of mean and deviation.
        epsilon: Added to the standard deviation.

    Returns:
        Advantages, in the shape of the rewards; 0 in a group of one.

    Raises:
        ValueError: If `where` has another shape than `rewards`.

    Example:
        >>> print(grpo(jnp.array([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])).round(4))
        [[ 0.866  0.866 -0.866 -0.866]
         [ 0.     0.     0.     0.   ]]
    """
    centered, count = _center(rewards, axis, _valid(rewards, where))
    squares = jnp.sum(jnp.square(centered), axis=axis, keepdims=True)
    variance = squares / jnp.maximum(count - 1.0, 1.0)
    spread = variance > 0
    # The inner where keeps the gradient of the square root finite at 0.
    deviation = jnp.where(spread, jnp.sqrt(jnp.where(spread, variance, 1.0)), 0.0)
    return centered / (deviation + epsilon)


def _valid(rewards: Array, where: Array | None) -> Array:
    """Returns `where`, checked against the rewards; everything counts if it is None."""
    if where is None:
        return jnp.ones(rewards.shape, bool)
    check_shape("where", where, rewards.shape)
    return where


def _center(rewards: Array, axis: Axis, where: Array) -> tuple[Array, Array]:
    """Returns the rewards less their group mean, 0 outside `where`, and the size of each group."""
    count = jnp.sum(where, axis=axis, keepdims=True, dtype=rewards.dtype)
    lowest = jnp.min(rewards, axis=axis, keepdims=True, where=where, initial=jnp.inf)
    # Measured from the lowest reward, equal rewards are exactly 0, and so is their mean; the
    # lowest is constant for the gradient, because it cancels.
    above = jnp.where(where, rewards - jax.lax.stop_gradient(lowest), 0.0)
    mean = jnp.sum(above, axis=axis, keepdims=True) / jnp.maximum(count, 1.0)
    return jnp.where(where, above - mean, 0.0), count
