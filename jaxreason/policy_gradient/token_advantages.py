"""Advantages of single tokens: rewards on the way, whitening, generalised advantages."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxreason.checks import check_shape, check_that
from jaxreason.policy_gradient.advantages import reinforce
from jaxreason.policy_gradient.kl import k1


def whiten(
    values: Float[Array, "*shape"], mask: Bool[Array, "*shape"], *, epsilon: float = 1e-8
) -> Float[Array, "*shape"]:
    """Subtracts the mean of all valid values and divides by their sample deviation (divisor N - 1).

    Equal values give exactly 0. Values in another part of the batch count, too: on several devices
    or micro-batches, gather them first. OpenRLHF divides by N, verl by N - 1 as here.

    Args:
        values: Values, of any shape.
        mask: Which of them count; the others get 0.
        epsilon: Added to the variance.

    Returns:
        Whitened values; 0 if fewer than two are valid.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> print(whiten(jnp.array([1.0, 0.0, 0.5, 0.5]), jnp.ones(4, bool)).round(6))
        [ 1.224745 -1.224745  0.        0.      ]
    """
    check_shape("mask", mask, values.shape)
    flat = reinforce(values.reshape(-1), where=mask.reshape(-1))
    count = jnp.sum(mask, dtype=values.dtype)
    variance = jnp.sum(jnp.square(flat)) / jnp.maximum(count - 1.0, 1.0)
    return (flat * jax.lax.rsqrt(variance + epsilon)).reshape(values.shape)


def reinforce_plus_plus(
    rewards: Float[Array, " batch"],
    log_probs: Float[Array, "batch time"],
    ref_log_probs: Float[Array, "batch time"],
    mask: Bool[Array, "batch time"],
    *,
    kl_coef: float,
) -> Float[Array, "batch time"]:
    """Computes REINFORCE++'s advantages: r - kl_coef sum_{u >= t} k1_u, whitened over all tokens.

    The penalty is in the reward, so no KL term belongs in the loss. `log_probs` are those of the
    policy that sampled. A sequence whose reward must not count (a bare prompt of RLAD) is left out
    by its mask, not by a reward of 0, which whitening would turn into something else.

    See "REINFORCE++: An Efficient RLHF Algorithm with Robustness to Both Prompt and Reward Models"
    by Hu et al. (https://arxiv.org/abs/2501.03262).

    Args:
        rewards: The reward of each sequence, paid at its last token.
        log_probs: Log-probs of the sampled tokens under the policy.
        ref_log_probs: Their log-probs under the reference.
        mask: True where the policy sampled the token.
        kl_coef: Coefficient of the penalty.

    Returns:
        One advantage a token; no gradient flows through it.

    Raises:
        ValueError: If shapes disagree.

    Example:
        >>> log_probs, mask = jnp.zeros((2, 2)), jnp.ones((2, 2), bool)
        >>> rewards = jnp.array([1.0, 0.0])
        >>> print(reinforce_plus_plus(rewards, log_probs, log_probs, mask, kl_coef=0.1).round(4))
        [[ 0.866  0.866]
         [-0.866 -0.866]]
    """
    returns = penalised_returns(rewards, log_probs, ref_log_probs, mask, kl_coef=kl_coef)
    return whiten(returns, mask)


def penalised_returns(
    rewards: Float[Array, " batch"],
    log_probs: Float[Array, "batch time"],
    ref_log_probs: Float[Array, "batch time"],
    mask: Bool[Array, "batch time"],
    *,
    kl_coef: float,
) -> Float[Array, "batch time"]:
    """Computes r - kl_coef sum_{u >= t} k1_u at each token: the KL as a part of the reward.

    Used as advantages, without gradient, they give the exact gradient of
    E[r] - kl_coef KL(policy || reference) in expectation; of the estimators in a loss only k2 gives
    the same.

    See "Approximating KL Divergence" by Schulman (http://joschu.net/blog/kl-approx.html).

    Args:
        rewards: The reward of each sequence, paid at its last token.
        log_probs: Log-probs of the sampled tokens under the policy.
        ref_log_probs: Their log-probs under the reference.
        mask: True where the policy sampled the token.
        kl_coef: Coefficient of the penalty.

    Returns:
        The return from each token on, 0 where the mask is false; no gradient flows through it.

    Raises:
        ValueError: If shapes disagree.

    Example:
        >>> k1 = jnp.array([[0.2, -0.1]])
        >>> mask = jnp.ones((1, 2), bool)
        >>> print(penalised_returns(jnp.ones(1), k1, jnp.zeros((1, 2)), mask, kl_coef=0.1))
        [[0.99 1.01]]
    """
    shape = check_shape("mask", mask, ("batch", "time"))
    check_shape("rewards", rewards, shape[:1])
    for name, array in (("log_probs", log_probs), ("ref_log_probs", ref_log_probs)):
        check_shape(name, array, shape)
    penalty = jnp.where(mask, k1(log_probs, ref_log_probs), 0.0)
    to_come = jnp.cumsum(penalty[:, ::-1], axis=-1)[:, ::-1]
    returns = jnp.where(mask, rewards[:, None] - kl_coef * to_come, 0.0)
    return jax.lax.stop_gradient(returns)


def reinforce_plus_plus_baseline(
    rewards: Float[Array, "*group solution"], mask: Bool[Array, "*group solution time"]
) -> Float[Array, "*group solution time"]:
    """Computes the baseline variant of REINFORCE++: r less its group's mean, whitened over tokens.

    There is no division by a group's deviation, so easy and hard groups keep their sizes. The KL
    goes in the loss, with k2 for its exact gradient.

    See "REINFORCE++: An Efficient RLHF Algorithm with Robustness to Both Prompt and Reward Models"
    by Hu et al. (https://arxiv.org/abs/2501.03262).

    Args:
        rewards: The reward of each sequence; a group lies along the last axis.
        mask: True where the policy sampled the token.

    Returns:
        One advantage a token; 0 where the mask is false. A sequence without a token is left out
        of its group.

    Raises:
        ValueError: If shapes disagree.

    Example:
        >>> mask = jnp.ones((1, 2, 1), bool)
        >>> print(reinforce_plus_plus_baseline(jnp.array([[1.0, 0.0]]), mask).round(4).ravel())
        [ 0.7071 -0.7071]
    """
    check_that(
        mask.shape[:-1] == rewards.shape,
        f"mask must have shape {[*rewards.shape, 'time']}; got {list(mask.shape)}.",
    )
    centered = reinforce(rewards, where=jnp.any(mask, axis=-1))
    return whiten(jnp.where(mask, centered[..., None], 0.0), mask)


def generalised_advantages(
    rewards: Float[Array, "batch time"],
    values: Float[Array, "batch time"],
    mask: Bool[Array, "batch time"],
    *,
    discount: float = 1.0,
    decay: float = 0.95,
) -> tuple[Float[Array, "batch time"], Float[Array, "batch time"]]:
    """Computes generalised advantage estimates (GAE), and the returns for a value head to learn.

    delta_t = r_t + discount v_{t+1} - v_t and A_t = delta_t + discount decay A_{t+1}, over the
    valid tokens of each sequence; after the last one there is no value. Places between valid
    tokens are skipped as if they were not there.

    See "High-Dimensional Continuous Control Using Generalized Advantage Estimation" by Schulman et
    al. (https://arxiv.org/abs/1506.02438), Eq. 16.

    Args:
        rewards: The reward at each token, such as a verdict at the last one less a KL penalty.
        values: The value head's estimate before each token.
        mask: True where the policy sampled the token.
        discount: Discount of later rewards.
        decay: The lambda of the paper: 0 trusts the values, 1 the rewards.

    Returns:
        Advantages, and returns A_t + v_t; both 0 where the mask is false, without gradient.

    Raises:
        ValueError: If shapes disagree, or a factor lies outside [0, 1].

    Example:
        >>> rewards, values = jnp.array([[0.0, 1.0]]), jnp.array([[0.5, 0.5]])
        >>> mask = jnp.ones((1, 2), bool)
        >>> advantages, returns = generalised_advantages(rewards, values, mask, decay=0.5)
        >>> advantages.tolist(), returns.tolist()
        ([[0.25, 0.5]], [[0.75, 1.0]])
    """
    shape = check_shape("mask", mask, ("batch", "time"))
    for name, array in (("rewards", rewards), ("values", values)):
        check_shape(name, array, shape)
    for name, factor in (("discount", discount), ("decay", decay)):
        check_that(0 <= factor <= 1, f"{name} must lie in [0, 1]; got {factor}.")

    def before(later: tuple[Array, Array], token: tuple[Array, ...]) -> tuple[tuple, Array]:
        next_advantage, next_value = later
        reward, value, valid = token
        delta = reward + discount * next_value - value
        advantage = delta + discount * decay * next_advantage
        kept = jnp.where(valid, advantage, next_advantage), jnp.where(valid, value, next_value)
        return kept, jnp.where(valid, advantage, 0.0)

    rewards, values = (jnp.where(mask, array, 0.0) for array in (rewards, values))
    nothing = jnp.zeros(shape[0], rewards.dtype)
    by_time = tuple(jnp.moveaxis(array, 1, 0) for array in (rewards, values, mask))
    _, advantages = jax.lax.scan(before, (nothing, nothing), by_time, reverse=True)
    advantages = jnp.moveaxis(advantages, 0, 1)
    return jax.lax.stop_gradient((advantages, advantages + values))
