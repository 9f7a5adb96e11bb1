"""Policy-gradient losses: functions of log-probs, advantages and a mask.

All are to be minimised and return a `WeightedSum`. Gradients flow through `log_probs` (and
`entropy`) alone; advantages, old and reference log-probs are constants. Where the mask is false,
nothing in any argument, not even an infinity or NaN, reaches the value or the gradient.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxreason.checks import check_shape, check_that
from jaxreason.policy_gradient.aggregation import WeightedSum, aggregate
from jaxreason.policy_gradient.kl import MAX_LOG_RATIO, k3

Advantages = Float[Array, " batch"] | Float[Array, "batch time"]


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
    (log_probs,) = _masked(mask, log_probs=log_probs)
    values = -_per_token(advantages, mask) * log_probs
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
    log_probs, old_log_probs = _masked(mask, log_probs=log_probs, old_log_probs=old_log_probs)
    ratio = _ratio(log_probs, old_log_probs)
    values, _ = _clip(ratio, _per_token(advantages, mask), clip_low, clip_high, dual_clip)
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
    log_probs, old_log_probs = _masked(mask, log_probs=log_probs, old_log_probs=old_log_probs)
    lengths = jnp.maximum(jnp.sum(mask, axis=-1, keepdims=True), 1).astype(log_probs.dtype)
    mean = jnp.sum(log_probs - old_log_probs, axis=-1, keepdims=True) / lengths
    constant = jax.lax.stop_gradient(mean - log_probs)
    ratio = _ratio(log_probs + constant, jnp.zeros_like(log_probs))
    values, _ = _clip(ratio, _per_token(advantages, mask), clip_low, clip_high)
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
    log_probs, old_log_probs = _masked(mask, log_probs=log_probs, old_log_probs=old_log_probs)
    ratio = jnp.clip(_ratio(log_probs, old_log_probs), 1.0 - clip_low, 1.0 + clip_high)
    values = -jax.lax.stop_gradient(ratio) * _per_token(advantages, mask) * log_probs
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
    log_probs, sampler = _masked(mask, log_probs=log_probs, sampler_log_probs=sampler_log_probs)
    weights = jnp.minimum(_ratio(jax.lax.stop_gradient(log_probs), sampler), limit)
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
    values, old_values, returns = _masked(
        mask, values=values, old_values=old_values, returns=returns
    )
    old_values, returns = jax.lax.stop_gradient((old_values, returns))
    near = old_values + jnp.clip(values - old_values, -clip, clip)
    errors = jnp.maximum(jnp.square(values - returns), jnp.square(near - returns))
    return aggregate(0.5 * errors, mask, mode=aggregation, length=length)


def player_loss(
    log_probs: Float[Array, "batch time"],
    old_log_probs: Float[Array, "batch time"],
    ref_log_probs: Float[Array, "batch time"],
    entropy: Float[Array, "batch time"],
    advantages: Advantages,
    mask: Bool[Array, "batch time"],
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.5,
    kl_coef: float = 0.001,
    entropy_coef: float = 0.001,
    aggregation: str = "token",
    length: int | None = None,
) -> tuple[WeightedSum, dict[str, WeightedSum]]:
    """Computes the loss of one player: clipped surrogate + kl_coef k3 - entropy_coef H.

    The three terms share one mask: a sequence of advantage 0, such as the answer to a bare prompt,
    has no surrogate but keeps its KL and entropy terms. Defaults are those of the paper.

    See "RLAD: Training LLMs to Discover Abstractions for Solving Reasoning Problems" by Qu et al.
    (https://arxiv.org/abs/2510.02263).

    Args:
        log_probs: Log-probs of the sampled tokens under the policy that is trained.
        old_log_probs: Their log-probs under the policy that sampled them.
        ref_log_probs: Their log-probs under the reference that KL holds the policy near to.
        entropy: Entropy of the policy's distribution at each token.
        advantages: One advantage a sequence, or one a token.
        mask: True where the policy sampled the token.
        clip_low: How far below 1 the ratio still counts.
        clip_high: How far above 1 the ratio still counts.
        kl_coef: Coefficient of k3.
        entropy_coef: Coefficient of the entropy bonus.
        aggregation: How tokens are averaged, see `aggregate`.
        length: The divisor of aggregation `"constant"`.

    Returns:
        The sum and weight of the loss, and those of four metrics, each a mean over tokens:
        `clip_fraction` (tokens whose gradient the clip removed), `entropy`, `kl` (k3) and `ratio`.

    Raises:
        ValueError: If a shape or the aggregation is wrong.

    Example:
        >>> log_probs, mask = jnp.full((2, 3), -1.0), jnp.ones((2, 3), bool)
        >>> loss, metrics = player_loss(
        ...     log_probs, log_probs, log_probs, jnp.ones((2, 3)), jnp.array([1.0, 0.0]), mask
        ... )
        >>> print(loss.mean().round(4))  # -(3 * 1 + 3 * 0) / 6 - 0.001
        -0.501
        >>> sorted(metrics)
        ['clip_fraction', 'entropy', 'kl', 'ratio']
    """
    log_probs, old_log_probs, ref_log_probs, entropy = _masked(
        mask,
        log_probs=log_probs,
        old_log_probs=old_log_probs,
        ref_log_probs=ref_log_probs,
        entropy=entropy,
    )
    ratio = _ratio(log_probs, old_log_probs)
    surrogate, clipped = _clip(ratio, _per_token(advantages, mask), clip_low, clip_high)
    kl = k3(log_probs, jax.lax.stop_gradient(ref_log_probs))
    values = surrogate + kl_coef * kl - entropy_coef * entropy
    metrics = {"clip_fraction": clipped, "entropy": entropy, "kl": kl, "ratio": ratio}
    return (
        aggregate(values, mask, mode=aggregation, length=length),
        {name: aggregate(metric, mask) for name, metric in metrics.items()},
    )


def _masked(mask: Array, **arrays: Array) -> tuple[Array, ...]:
    """Checks that all shapes agree and returns the arrays with 0 where `mask` is false.

    Garbage must go before the arithmetic: masking the result alone would still multiply its
    gradient, 0, by a derivative that is not finite.
    """
    shape = check_shape("mask", mask, ("batch", "time"))
    for name, array in arrays.items():
        check_shape(name, array, shape)
    return tuple(jnp.where(mask, array, 0.0) for array in arrays.values())


def _per_token(advantages: Array, mask: Array) -> Array:
    """Returns one constant advantage a token, 0 where `mask` is false."""
    batch, time = mask.shape
    if advantages.ndim == 1:
        check_shape("advantages", advantages, (batch,))
        advantages = advantages[:, None]
    else:
        check_shape("advantages", advantages, (batch, time))
    return jnp.where(mask, jax.lax.stop_gradient(advantages), 0.0)


def _ratio(log_probs: Array, old_log_probs: Array) -> Array:
    """Returns pi / pi_old, with its logarithm clipped so that it stays finite."""
    log_ratio = log_probs - jax.lax.stop_gradient(old_log_probs)
    return jnp.exp(jnp.clip(log_ratio, -MAX_LOG_RATIO, MAX_LOG_RATIO))


def _clip(
    ratio: Array,
    advantages: Array,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
) -> tuple[Array, Array]:
    """Returns each token's clipped loss, and 1 where a clip took its gradient, else 0."""
    unclipped = -ratio * advantages
    clipped = -jnp.clip(ratio, 1.0 - clip_low, 1.0 + clip_high) * advantages
    binds = clipped > unclipped
    values = jnp.where(binds, clipped, unclipped)
    if dual_clip is not None:
        check_that(dual_clip > 1, f"dual_clip must be above 1; got {dual_clip}.")
        limit = -dual_clip * advantages
        too_large = (advantages < 0) & (values > limit)
        values, binds = jnp.where(too_large, limit, values), binds | too_large
    return values, binds.astype(ratio.dtype)
