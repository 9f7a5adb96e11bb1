"""Policy-gradient losses: functions of log-probs, advantages and a mask.

All are to be minimised and return a `WeightedSum`. Gradients flow through `log_probs` (and
`entropy`) alone; advantages, old and reference log-probs are constants. Where the mask is false,
nothing in any argument, not even an infinity or NaN, reaches the value or the gradient.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxreason.checks import check_that
from jaxreason.policy_gradient.aggregation import WeightedSum, aggregate
from jaxreason.policy_gradient.surrogates import (
    Advantages,
    clipped_ratio,
    masked,
    per_token,
    ratio_of,
    sequence_ratio,
    weighted_log_probs,
)


def policy_gradient(
    log_probs: Float[Array, "batch time"],
    advantages: Advantages,
    mask: Bool[Array, "batch time"],
    *,
    aggregation: str = "token",
    length: int | None = None,
) -> WeightedSum:
    """Computes the REINFORCE loss, -A log pi, of tokens sampled from the policy itself.

    See "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning"
    by Williams (https://doi.org/10.1007/BF00992696).

    Args:
        log_probs: Log-probs of the sampled tokens.
        advantages: One advantage a sequence, or one a token.
        mask: True where the policy sampled the token.
        aggregation: How tokens are averaged, see `aggregate`.
        length: The divisor of aggregation `"constant"`.

    Returns:
        The sum and weight of the loss.

    Raises:
        ValueError: If a shape or the aggregation is wrong.

    Example:
        >>> log_probs = jnp.array([[-1.0, -2.0], [-0.5, 0.0]])
        >>> mask = jnp.array([[True, True], [True, False]])
        >>> loss = policy_gradient(log_probs, jnp.array([1.0, -1.0]), mask)
        >>> loss.sum.item(), loss.weight.item()
        (2.5, 3.0)
    """
    (log_probs,) = masked(mask, log_probs=log_probs)
    values = -per_token(advantages, mask) * log_probs
    return aggregate(values, mask, mode=aggregation, length=length)


def clipped_surrogate(
    log_probs: Float[Array, "batch time"],
    old_log_probs: Float[Array, "batch time"],
    advantages: Advantages,
    mask: Bool[Array, "batch time"],
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = None,
    aggregation: str = "token",
    length: int | None = None,
) -> WeightedSum:
    """Computes the clipped surrogate loss, -min(w A, clip(w, 1 - clip_low, 1 + clip_high) A).

    Here w = pi / pi_old at each token; its logarithm is clipped to +-20. For one update a batch,
    `log_probs` may stand for `old_log_probs`: w is then 1 and the gradient is REINFORCE's.

    See "Proximal Policy Optimization Algorithms" by Schulman et al.
    (https://arxiv.org/abs/1707.06347), Eq. 7; for separate clips "DAPO: An Open-Source LLM
    Reinforcement Learning System at Scale" by Yu et al. (https://arxiv.org/abs/2503.14476); for the
    dual clip "Mastering Complex Control in MOBA Games with Deep Reinforcement Learning" by Ye et
    al. (https://arxiv.org/abs/1912.09729), Eq. 3.

    Args:
        log_probs: Log-probs of the sampled tokens under the policy that is trained.
        old_log_probs: Their log-probs under the policy that sampled them.
        advantages: One advantage a sequence, or one a token.
        mask: True where the policy sampled the token.
        clip_low: How far below 1 the ratio still counts.
        clip_high: How far above 1 the ratio still counts.
        dual_clip: The largest ratio, above 1, that a negative advantage is multiplied by; None for
            no limit.
        aggregation: How tokens are averaged, see `aggregate`.
        length: The divisor of aggregation `"constant"`.

    Returns:
        The sum and weight of the loss.

    Raises:
        ValueError: If a shape or the aggregation is wrong.

    Example:
        >>> ratio = jnp.array([[1.5, 0.5]])
        >>> loss = clipped_surrogate(
        ...     jnp.log(ratio), jnp.zeros((1, 2)), jnp.ones(1), jnp.ones((1, 2), bool)
        ... )
        >>> print(loss.sum)  # -1.2 (clipped) - 0.5
        -1.7
    """
    log_probs, old_log_probs = masked(mask, log_probs=log_probs, old_log_probs=old_log_probs)
    ratio = ratio_of(log_probs, old_log_probs)
    values, _ = clipped_ratio(ratio, per_token(advantages, mask), clip_low, clip_high, dual_clip)
    return aggregate(values, mask, mode=aggregation, length=length)


def gspo(
    log_probs: Float[Array, "batch time"],
    old_log_probs: Float[Array, "batch time"],
    advantages: Advantages,
    mask: Bool[Array, "batch time"],
    *,
    clip_low: float = 3e-4,
    clip_high: float = 4e-4,
) -> WeightedSum:
    """Computes the loss of GSPO: the clipped surrogate with one ratio a sequence.

    The ratio is s = (pi(o) / pi_old(o))^(1 / |o|), the geometric mean of the tokens' ratios. With
    one advantage a token it is GSPO-token: the ratio of a token has the value of s, and its own
    gradient; with one a sequence both have the same value and the same gradient. Every sequence
    counts the same.

    See "Group Sequence Policy Optimization" by Zheng et al. (https://arxiv.org/abs/2507.18071),
    Eq. 5 and 13.

    Args:
        log_probs: Log-probs of the sampled tokens under the policy that is trained.
        old_log_probs: Their log-probs under the policy that sampled them.
        advantages: One advantage a sequence, or one a token.
        mask: True where the policy sampled the token.
        clip_low: How far below 1 the ratio still counts.
        clip_high: How far above 1 the ratio still counts.

    Returns:
        The sum and weight of the loss.

    Raises:
        ValueError: If a shape is wrong.

    Example:
        >>> log_probs = jnp.array([[0.1, -0.2, 0.4]])
        >>> mask = jnp.ones((1, 3), bool)
        >>> loss = gspo(log_probs, jnp.zeros((1, 3)), -jnp.ones(1), mask)
        >>> print(loss.sum.round(6))  # e^{0.1}
        1.105171
    """
    log_probs, old_log_probs = masked(mask, log_probs=log_probs, old_log_probs=old_log_probs)
    ratio = sequence_ratio(log_probs, old_log_probs, mask)
    values, _ = clipped_ratio(ratio, per_token(advantages, mask), clip_low, clip_high)
    return aggregate(values, mask, mode="sequence")


def cispo(
    log_probs: Float[Array, "batch time"],
    old_log_probs: Float[Array, "batch time"],
    advantages: Advantages,
    mask: Bool[Array, "batch time"],
    *,
    clip_low: float = 1.0,
    clip_high: float = 4.0,
    aggregation: str = "token",
    length: int | None = None,
) -> WeightedSum:
    """Computes the loss of CISPO, -clip(w, 1 - clip_low, 1 + clip_high) A log pi.

    The clipped ratio is a constant, so that no token loses its gradient. The default bounds the
    ratio by 5, as "The Art of Scaling Reinforcement Learning Compute for LLMs" by Khatri et al.
    (https://arxiv.org/abs/2510.13786) does; TRL states that bound itself, 5, as `epsilon_high`.

    See "MiniMax-M1: Scaling Test-Time Compute Efficiently with Lightning Attention" by MiniMax
    (https://arxiv.org/abs/2506.13585), Eq. 4 and 5.

    Args:
        log_probs: Log-probs of the sampled tokens under the policy that is trained.
        old_log_probs: Their log-probs under the policy that sampled them.
        advantages: One advantage a sequence, or one a token.
        mask: True where the policy sampled the token.
        clip_low: How far below 1 the ratio may be; 1 for no limit.
        clip_high: How far above 1 the ratio may be.
        aggregation: How tokens are averaged, see `aggregate`.
        length: The divisor of aggregation `"constant"`.

    Returns:
        The sum and weight of the loss.

    Raises:
        ValueError: If a shape or the aggregation is wrong.

    Example:
        >>> log_probs, old = jnp.array([[-2.0]]), jnp.array([[-2.0]]) - jnp.log(1.5)
        >>> loss = cispo(log_probs, old, jnp.ones(1), jnp.array([[True]]), clip_high=0.28)
        >>> print(loss.sum.round(6))  # 1.28 * 2
        2.56
    """
    log_probs, old_log_probs = masked(mask, log_probs=log_probs, old_log_probs=old_log_probs)
    advantages = per_token(advantages, mask)
    values, _ = weighted_log_probs(log_probs, old_log_probs, advantages, clip_low, clip_high)
    return aggregate(values, mask, mode=aggregation, length=length)


def truncated_importance_weights(
    log_probs: Float[Array, "batch time"],
    sampler_log_probs: Float[Array, "batch time"],
    mask: Bool[Array, "batch time"],
    *,
    limit: float = 2.0,
) -> Float[Array, "batch time"]:
    """Computes min(pi / sampler, limit), for tokens from a sampler that is not quite the policy.

    An inference engine, or lower precision, gives other log-probs than the trainer has for the
    same weights. Multiply token advantages by these weights; every loss here is then corrected,
    since it is homogeneous in the advantages.

    See "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training" by Yao et al.
    (https://fengyao.notion.site/off-policy-rl).

    Args:
        log_probs: Log-probs of the sampled tokens as the trainer computes them, before the update.
        sampler_log_probs: Their log-probs as the sampler gave them.
        mask: True where the token was sampled.
        limit: The largest weight.

    Returns:
        One weight a token, 0 where the mask is false; no gradient flows through it.

    Raises:
        ValueError: If shapes disagree or the limit is not positive.

    Example:
        >>> log_probs = jnp.log(jnp.array([[0.2, 0.9]]))
        >>> sampler = jnp.log(jnp.array([[0.4, 0.3]]))
        >>> print(truncated_importance_weights(log_probs, sampler, jnp.ones((1, 2), bool)).round(4))
        [[0.5 2. ]]
    """
    check_that(limit > 0, f"limit must be positive; got {limit}.")
    log_probs, sampler = masked(mask, log_probs=log_probs, sampler_log_probs=sampler_log_probs)
    weights = jnp.minimum(ratio_of(jax.lax.stop_gradient(log_probs), sampler), limit)
    return jnp.where(mask, weights, 0.0)


def value_loss(
    values: Float[Array, "batch time"],
    old_values: Float[Array, "batch time"],
    returns: Float[Array, "batch time"],
    mask: Bool[Array, "batch time"],
    *,
    clip: float = 0.2,
    aggregation: str = "token",
    length: int | None = None,
) -> WeightedSum:
    """Computes PPO's loss of a value head, max((v - R)^2, (clip(v, v_old +- clip) - R)^2) / 2.

    See "Implementation Matters in Deep Policy Gradients: A Case Study on PPO and TRPO" by Engstrom
    et al. (https://arxiv.org/abs/2005.12729), section 3, which describes this clip.

    Args:
        values: The value head's estimates.
        old_values: Its estimates when the advantages were computed.
        returns: What it should learn, see `generalised_advantages`.
        mask: True where the policy sampled the token.
        clip: How far the value may move from the old one.
        aggregation: How tokens are averaged, see `aggregate`.
        length: The divisor of aggregation `"constant"`.

    Returns:
        The sum and weight of the loss.

    Raises:
        ValueError: If a shape or the aggregation is wrong.

    Example:
        >>> one = jnp.ones((1, 1))
        >>> loss = value_loss(one, 0 * one, 2 * one, one > 0)
        >>> print(loss.sum.round(4))  # (0.2 - 2)^2 / 2
        1.62
    """
    values, old_values, returns = masked(
        mask, values=values, old_values=old_values, returns=returns
    )
    old_values, returns = jax.lax.stop_gradient((old_values, returns))
    near = old_values + jnp.clip(values - old_values, -clip, clip)
    errors = jnp.maximum(jnp.square(values - returns), jnp.square(near - returns))
    return aggregate(0.5 * errors, mask, mode=aggregation, length=length)
