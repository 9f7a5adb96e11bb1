"""Advantages of whole sequences: functions of rewards and the axes that make a group.

`reinforce` with the mean as baseline is also the advantage of Dr. GRPO, which goes with aggregation
`"constant"`; see "Understanding R1-Zero-Like Training: A Critical Perspective" by Liu et al.
(https://arxiv.org/abs/2503.20783). Libraries' options of that name may keep the deviation: TRL's
`loss_type="dr_grpo"` does unless `scale_rewards="none"`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

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


class MovingBaseline(NamedTuple):
    """A baseline that follows the rewards of the batches so far, with a forgetting average.

    Attributes:
        sum: The rewards so far, each batch's mean discounted by its age, `[]`.
        weight: The discounts added up, `[]`, so that the first batches are not drawn to 0.
    """

    sum: Float[Array, ""]
    weight: Float[Array, ""]

    @classmethod
    def start(cls) -> "MovingBaseline":
        """Returns the baseline before the first batch, which is 0."""
        return cls(jnp.zeros(()), jnp.zeros(()))

    @property
    def value(self) -> Float[Array, ""]:
        """The baseline, `[]`: 0 before the first batch."""
        return self.sum / jnp.where(self.weight > 0, self.weight, 1.0)


def reinforce_with_moving_baseline(
    rewards: Float[Array, "*shape"],
    baseline: MovingBaseline,
    *,
    decay: float = 0.95,
    where: Bool[Array, "*shape"] | None = None,
) -> tuple[Float[Array, "*shape"], MovingBaseline]:
    """Computes r_i - b, with b the moving average of the batches before this one.

    Since b does not depend on this batch, the gradient is unbiased, also for a single sample.

    See "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning"
    by Williams (https://doi.org/10.1007/BF00992696), section 5, "reinforcement comparison".

    Args:
        rewards: Rewards, of any shape.
        baseline: From `MovingBaseline.start` or the batch before.
        decay: What is left of a batch's weight after the next one, in [0, 1).
        where: Entries that count; the others get 0 and don't move the baseline.

    Returns:
        Advantages, in the shape of the rewards, and the baseline for the next batch; the old one if
        nothing counts.

    Raises:
        ValueError: If `decay` is out of range or `where` has another shape than `rewards`.

    Example:
        >>> start = MovingBaseline.start()
        >>> first, baseline = reinforce_with_moving_baseline(jnp.array([1.0, 0.0]), start)
        >>> second, _ = reinforce_with_moving_baseline(jnp.array([1.0, 0.0]), baseline)
        >>> first.tolist(), second.tolist()
        ([1.0, 0.0], [0.5, -0.5])
    """
    check_that(0 <= decay < 1, f"decay must lie in [0, 1); got {decay}.")
    where = _valid(rewards, where)
    advantages = jnp.where(where, rewards - baseline.value, 0.0)
    count = jnp.sum(where, dtype=rewards.dtype)
    mean = jnp.sum(jnp.where(where, rewards, 0.0)) / jnp.maximum(count, 1.0)
    moved = MovingBaseline(decay * baseline.sum + mean, decay * baseline.weight + 1.0)
    return advantages, jax.tree.map(
        lambda new, old: jnp.where(count > 0, new, old), moved, baseline
    )


def has_spread(
    rewards: Float[Array, "*shape"],
    *,
    axis: Axis = -1,
    where: Bool[Array, "*shape"] | None = None,
) -> Bool[Array, "*shape"]:
    """Tells which groups have rewards that differ: DAPO's dynamic sampling, as a mask.

    Groups without spread have advantages of 0 and only dilute the loss. Entries outside `where`
    are kept: the bare prompts of RLAD, whose advantage is 0 by design, must stay for their KL.

    See "DAPO: An Open-Source LLM Reinforcement Learning System at Scale" by Yu et al.
    (https://arxiv.org/abs/2503.14476), Eq. 11; there such groups are replaced by new samples.

    Args:
        rewards: Rewards, of any shape.
        axis: The axis or axes along which a group lies.
        where: Entries that count.

    Returns:
        True where a sequence stays in the loss, in the shape of the rewards.

    Raises:
        ValueError: If `where` has another shape than `rewards`.

    Example:
        >>> has_spread(jnp.array([[1.0, 0.0], [1.0, 1.0]])).tolist()
        [[True, True], [False, False]]
    """
    where = _valid(rewards, where)
    centered, _ = _center(rewards, axis, where)
    return jnp.any(centered != 0, axis=axis, keepdims=True) | ~where


def soft_overlong_penalty(
    lengths: Int[Array, "*shape"], *, max_length: int, buffer: int
) -> Float[Array, "*shape"]:
    """Computes DAPO's penalty of long sequences, to be added to their rewards.

    It is 0 up to `max_length - buffer`, falls linearly to -1 at `max_length`, and stays there; the
    implementations of verl and Tunix go on falling.

    See "DAPO: An Open-Source LLM Reinforcement Learning System at Scale" by Yu et al.
    (https://arxiv.org/abs/2503.14476), Eq. 13.

    Args:
        lengths: Tokens in each sequence.
        max_length: The length from which on the penalty is -1.
        buffer: Over how many tokens it falls.

    Returns:
        The penalties, in [-1, 0].

    Raises:
        ValueError: Unless 0 < buffer <= max_length.

    Example:
        >>> lengths = jnp.array([16384, 18432, 20480, 21000])
        >>> soft_overlong_penalty(lengths, max_length=20480, buffer=4096).tolist()
        [0.0, -0.5, -1.0, -1.0]
    """
    check_that(
        0 < buffer <= max_length,
        f"buffer must lie in 1..max_length={max_length}; got {buffer}.",
    )
    room = (max_length - buffer - lengths).astype(jnp.float32)
    return jnp.clip(room / buffer, -1.0, 0.0)


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
