"""The surrogate of each policy-gradient loss at each token, before tokens are averaged.

Each returns the values and 1 where a clip took a token's gradient, else 0.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxreason.checks import check_shape, check_that
from jaxreason.policy_gradient.kl import MAX_LOG_RATIO

Advantages = Float[Array, " batch"] | Float[Array, "batch time"]
Tokens = Float[Array, "batch time"]


def masked(mask: Bool[Array, "batch time"], **arrays: Tokens) -> tuple[Tokens, ...]:
    """Checks that all shapes agree and returns the arrays with 0 where `mask` is false.

    Garbage must go before the arithmetic: masking the result alone would still multiply its
    gradient, 0, by a derivative that is not finite.

    Example:
        >>> mask = jnp.array([[True, False]])
        >>> masked(mask, log_probs=jnp.array([[-1.0, jnp.nan]]))[0].tolist()
        [[-1.0, 0.0]]
    """
    shape = check_shape("mask", mask, ("batch", "time"))
    for name, array in arrays.items():
        check_shape(name, array, shape)
    return tuple(jnp.where(mask, array, 0.0) for array in arrays.values())


def per_token(advantages: Advantages, mask: Bool[Array, "batch time"]) -> Tokens:
    """Returns one constant advantage a token, 0 where `mask` is false.

    Example:
        >>> per_token(jnp.array([2.0]), jnp.array([[True, False]])).tolist()
        [[2.0, 0.0]]
    """
    batch, time = mask.shape
    if advantages.ndim == 1:
        check_shape("advantages", advantages, (batch,))
        advantages = advantages[:, None]
    else:
        check_shape("advantages", advantages, (batch, time))
    return jnp.where(mask, jax.lax.stop_gradient(advantages), 0.0)


def ratio_of(log_probs: Tokens, old_log_probs: Tokens) -> Tokens:
    """Returns pi / pi_old, with its logarithm clipped to +-20 so that it stays finite.

    Example:
        >>> ratio_of(jnp.array([[0.0]]), jnp.array([[-100.0]])).item() < 1e9
        True
    """
    log_ratio = log_probs - jax.lax.stop_gradient(old_log_probs)
    return jnp.exp(jnp.clip(log_ratio, -MAX_LOG_RATIO, MAX_LOG_RATIO))


def clipped_ratio(
    ratio: Tokens,
    advantages: Tokens,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
) -> tuple[Tokens, Tokens]:
    """Computes PPO's surrogate of given ratios; see `clipped_surrogate`.

    Example:
        >>> values, clipped = clipped_ratio(jnp.array([[1.5]]), jnp.ones((1, 1)), 0.2, 0.2)
        >>> print(values, clipped)
        [[-1.2]] [[1.]]
    """
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


def sequence_ratio(
    log_probs: Tokens, old_log_probs: Tokens, mask: Bool[Array, "batch time"]
) -> Tokens:
    """Returns GSPO's ratio of the sequence at each of its tokens, with that token's own gradient.

    Where the mask is false the log-probs must be 0; see `masked`.

    Example:
        >>> log_probs = jnp.array([[0.1, -0.2, 0.4]])
        >>> print(sequence_ratio(log_probs, jnp.zeros((1, 3)), jnp.ones((1, 3), bool)).round(4))
        [[1.1052 1.1052 1.1052]]
    """
    lengths = jnp.maximum(jnp.sum(mask, axis=-1, keepdims=True), 1).astype(log_probs.dtype)
    mean = jnp.sum(log_probs - old_log_probs, axis=-1, keepdims=True) / lengths
    constant = jax.lax.stop_gradient(mean - log_probs)
    return ratio_of(log_probs + constant, jnp.zeros_like(log_probs))


def weighted_log_probs(
    log_probs: Tokens,
    old_log_probs: Tokens,
    advantages: Tokens,
    clip_low: float,
    clip_high: float,
) -> tuple[Tokens, Tokens]:
    """Computes CISPO's surrogate; see `cispo`. A clip bounds the weight, it takes no gradient.

    The second value is 1 where the weight is at its bound.

    Example:
        >>> zero = jnp.zeros((1, 1))
        >>> values, clipped = weighted_log_probs(zero - 2.0, zero - 4.0, zero + 1.0, 1.0, 4.0)
        >>> print(values, clipped)  # 5 * 2
        [[10.]] [[1.]]
    """
    ratio = ratio_of(log_probs, old_log_probs)
    weight = jnp.clip(ratio, 1.0 - clip_low, 1.0 + clip_high)
    values = -jax.lax.stop_gradient(weight) * advantages * log_probs
    return values, (weight != ratio).astype(ratio.dtype)
