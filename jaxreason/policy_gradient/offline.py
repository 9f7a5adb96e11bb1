"""Offline losses: learning from sequences that were sampled and scored before.

Losses return a `WeightedSum` to be minimised. Where a mask is false, nothing in any argument
reaches the value or the gradient.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.checks import check_shape, check_that
from jaxreason.policy_gradient.aggregation import WeightedSum, aggregate


def rejection_fine_tuning(
    log_probs: Float[Array, "batch time"],
    kept: Bool[Array, " batch"],
    mask: Bool[Array, "batch time"],
    *,
    aggregation: str = "token",
    length: int | None = None,
) -> WeightedSum:
    """Computes the negative log-likelihood of the sequences that were kept (RFT).

    Those that were not kept add neither sum nor weight. RLAD keeps an abstraction whose success
    rate is above the one without it.

    See "Scaling Relationship on Learning Mathematical Reasoning with Large Language Models" by Yuan
    et al. (https://arxiv.org/abs/2308.01825).

    Args:
        log_probs: Log-probs of the tokens under the policy that is trained.
        kept: Which sequences to learn from.
        mask: Which tokens to learn.
        aggregation: How tokens are averaged, see `aggregate`.
        length: The divisor of aggregation `"constant"`.

    Returns:
        The sum and weight of the loss.

    Raises:
        ValueError: If a shape or the aggregation is wrong.

    Example:
        >>> log_probs = jnp.array([[-1.0, -2.0], [-5.0, -5.0]])
        >>> mask = jnp.ones((2, 2), bool)
        >>> loss = rejection_fine_tuning(log_probs, jnp.array([True, False]), mask)
        >>> loss.sum.item(), loss.weight.item()
        (3.0, 2.0)
    """
    shape = check_shape("mask", mask, ("batch", "time"))
    check_shape("log_probs", log_probs, shape)
    check_shape("kept", kept, shape[:1])
    return aggregate(-log_probs, mask & kept[:, None], mode=aggregation, length=length)


class Preferred(NamedTuple):
    """The tokens of one side of preference pairs.

    Attributes:
        log_probs: Their log-probs under the policy that is trained, `[pair, time]`.
        ref_log_probs: Their log-probs under the reference, `[pair, time]`.
        mask: Which tokens count, `[pair, time]`.
    """

    log_probs: Float[Array, "pair time"]
    ref_log_probs: Float[Array, "pair time"]
    mask: Bool[Array, "pair time"]


def preference(
    winner: Preferred,
    loser: Preferred,
    *,
    beta: float = 0.1,
    likelihood_coef: float = 0.0,
) -> tuple[WeightedSum, dict[str, WeightedSum]]:
    """Computes DPO's loss, and adds the winner's negative log-likelihood if it is to.

    It is -log sigmoid(beta (margin of w - margin of l)) - likelihood_coef / |w| log pi(w) for a
    winner w and a loser l, where a margin is log pi - log ref of the whole sequence. With a
    coefficient it is the loss of iterative reasoning preference optimisation. The two sides may be
    padded to different lengths.

    See "Direct Preference Optimization: Your Language Model is Secretly a Reward Model" by Rafailov
    et al. (https://arxiv.org/abs/2305.18290), Eq. 7, and "Iterative Reasoning Preference
    Optimization" by Pang et al. (https://arxiv.org/abs/2404.19733), Eq. 1.

    Args:
        winner: The better sequences.
        loser: The worse ones, pair by pair.
        beta: How much a margin weighs.
        likelihood_coef: Coefficient of the winner's likelihood, a mean over its tokens.

    Returns:
        The sum over the pairs and their number, and two metrics, each a mean over pairs: `accuracy`
        (the winner has the larger margin) and `margin` (by how much, in nats). Pairs of which a
        side has no token count as padding.

    Raises:
        ValueError: If a shape is wrong or `beta` is not positive.

    Example:
        >>> mask = jnp.ones((1, 1), bool)
        >>> side = Preferred(jnp.array([[-1.0]]), jnp.array([[-1.0]]), mask)
        >>> loss, _ = preference(side, side)
        >>> print(loss.mean().round(4))  # log 2
        0.6931
    """
    check_that(beta > 0, f"beta must be positive; got {beta}.")
    margins = [_margins(name, side) for name, side in (("winner", winner), ("loser", loser))]
    check_shape("the loser's mask", loser.mask, (winner.mask.shape[0], "time"))
    valid = jnp.any(winner.mask, axis=-1) & jnp.any(loser.mask, axis=-1)
    margin = margins[0] - margins[1]
    likelihood = _row_means(winner.log_probs, winner.mask)
    values = -jax.nn.log_sigmoid(beta * margin) - likelihood_coef * likelihood
    metrics = {"accuracy": (margin > 0).astype(margin.dtype), "margin": margin}
    pairs = valid[:, None]
    return (
        aggregate(values[:, None], pairs),
        {name: aggregate(metric[:, None], pairs) for name, metric in metrics.items()},
    )


def best_and_worst(
    rewards: Float[Array, "*problem candidate"],
    *,
    where: Bool[Array, "*problem candidate"] | None = None,
) -> tuple[Int[Array, "*problem"], Int[Array, "*problem"], Bool[Array, "*problem"]]:
    """Chooses a preference pair for each problem: the candidates of highest and lowest reward.

    Args:
        rewards: The reward of each candidate, such as an abstraction's success rate.
        where: Candidates that count.

    Returns:
        The indices of the best and of the worst, the first of equals, and where there is a pair:
        where their rewards differ.

    Raises:
        ValueError: If `where` has another shape than `rewards`.

    Example:
        >>> best, worst, differ = best_and_worst(jnp.array([[0.5, 1.0, 0.0], [1.0, 1.0, 1.0]]))
        >>> best.tolist(), worst.tolist(), differ.tolist()
        ([1, 0], [2, 0], [True, False])
    """
    if where is not None:
        check_shape("where", where, rewards.shape)
    counted = jnp.ones(rewards.shape, bool) if where is None else where
    highest = jnp.where(counted, rewards, -jnp.inf)
    lowest = jnp.where(counted, rewards, jnp.inf)
    best, worst = jnp.argmax(highest, axis=-1), jnp.argmin(lowest, axis=-1)
    return best, worst, jnp.max(highest, axis=-1) > jnp.min(lowest, axis=-1)


def _margins(name: str, side: Preferred) -> Array:
    """Returns log pi - log ref of each sequence."""
    shape = check_shape(f"the {name}'s mask", side.mask, ("pair", "time"))
    check_shape(f"the {name}'s log_probs", side.log_probs, shape)
    check_shape(f"the {name}'s ref_log_probs", side.ref_log_probs, shape)
    log_probs, ref_log_probs = (
        jnp.where(side.mask, array, 0.0)
        for array in (side.log_probs, jax.lax.stop_gradient(side.ref_log_probs))
    )
    return jnp.sum(log_probs - ref_log_probs, axis=-1)


def _row_means(values: Array, mask: Array) -> Array:
    """Returns the mean of each row's valid values, 0 in a row without one."""
    count = jnp.sum(mask, axis=-1, dtype=values.dtype)
    return jnp.sum(jnp.where(mask, values, 0.0), axis=-1) / jnp.maximum(count, 1.0)
