"""Estimators of the divergence KL(policy || reference) from samples of the policy, a token each.

With d = log pi - log ref at a token that was sampled from pi:

| estimator | value | E[value] | E[gradient], used as a loss on policy |
| --- | --- | --- | --- |
| k1 | d | KL(pi || ref) | 0 |
| k2 | d^2 / 2 | biased | that of KL(pi || ref) |
| k3 | exp(-d) - 1 + d | KL(pi || ref) | that of KL(ref || pi) |

So k1 is for a penalty in the reward (without gradient), k2 and k3 are for losses. See
"Approximating KL Divergence" by Schulman (http://joschu.net/blog/kl-approx.html).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

MAX_LOG_RATIO = 20.0
"""Log-ratios are clipped to +-20 before an exponential, so that no token overflows float32."""


def k1(
    log_probs: Float[Array, "*shape"], ref_log_probs: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Returns d: unbiased, of either sign; its expected gradient as a loss is 0.

    Subtract it from the reward, without gradient, for the exact gradient of KL(pi || ref).

    Args:
        log_probs: Log-probs of the sampled tokens under the policy.
        ref_log_probs: Their log-probs under the reference.

    Returns:
        The estimate at each token.

    Example:
        >>> k1(jnp.array(-1.0), jnp.array(-1.5)).item()
        0.5
    """
    return log_probs - ref_log_probs


def k2(
    log_probs: Float[Array, "*shape"], ref_log_probs: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Returns d^2 / 2: biased but never negative; as a loss it has the gradient of KL(pi || ref).

    Args:
        log_probs: Log-probs of the sampled tokens under the policy.
        ref_log_probs: Their log-probs under the reference.

    Returns:
        The estimate at each token.

    Example:
        >>> k2(jnp.array(-1.0), jnp.array(-1.5)).item()
        0.125
    """
    return 0.5 * jnp.square(log_probs - ref_log_probs)


def k3(
    log_probs: Float[Array, "*shape"], ref_log_probs: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Returns exp(-d) - 1 + d: unbiased and never negative.

    As a loss it has the gradient of the forward divergence KL(ref || pi), not of its value. Beyond
    |d| = 20 (`MAX_LOG_RATIO`) the value is held constant and the gradient is 0.

    Args:
        log_probs: Log-probs of the sampled tokens under the policy.
        ref_log_probs: Their log-probs under the reference.

    Returns:
        The estimate at each token.

    Example:
        >>> print(k3(jnp.array(-1.0), jnp.array(-1.5)).round(6))
        0.106531
    """
    difference = jnp.clip(log_probs - ref_log_probs, -MAX_LOG_RATIO, MAX_LOG_RATIO)
    return jnp.expm1(-difference) + difference
