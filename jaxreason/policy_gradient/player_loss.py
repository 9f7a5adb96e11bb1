"""The whole loss of one player of the game: a surrogate, the KL to a reference, and entropy."""

from types import MappingProxyType
from typing import Literal

import jax
from jaxtyping import Array, Bool, Float

from jaxreason.checks import check_that
from jaxreason.policy_gradient.aggregation import WeightedSum, aggregate
from jaxreason.policy_gradient.kl import k2, k3
from jaxreason.policy_gradient.surrogates import (
    Advantages,
    Tokens,
    clipped_ratio,
    masked,
    per_token,
    ratio_of,
    sequence_ratio,
    weighted_log_probs,
)

SURROGATES = ("clip", "gspo", "cispo", "policy_gradient")
Surrogate = Literal["clip", "gspo", "cispo", "policy_gradient"]
KL_ESTIMATORS = MappingProxyType({"k2": k2, "k3": k3})
"""The estimators that make sense in a loss; k1 has no gradient there, see `kl`."""


def player_loss(
    log_probs: Float[Array, "batch time"],
    old_log_probs: Float[Array, "batch time"],
    ref_log_probs: Float[Array, "batch time"],
    entropy: Float[Array, "batch time"],
    advantages: Advantages,
    mask: Bool[Array, "batch time"],
    *,
    surrogate: Surrogate = "clip",
    clip_low: float = 0.2,
    clip_high: float = 0.5,
    dual_clip: float | None = None,
    kl: str = "k3",
    kl_coef: float = 0.001,
    entropy_coef: float = 0.001,
    aggregation: str = "token",
    length: int | None = None,
) -> tuple[WeightedSum, dict[str, WeightedSum]]:
    """Computes the loss of one player: surrogate + kl_coef KL - entropy_coef H.

    The three terms share one mask: a sequence of advantage 0, such as the answer to a bare prompt,
    has no surrogate but keeps its KL and entropy terms. Defaults are those of the paper, which
    also has a dual clip of 3 in its code.

    See "RLAD: Training LLMs to Discover Abstractions for Solving Reasoning Problems" by Qu et al.
    (https://arxiv.org/abs/2510.02263).

    Args:
        log_probs: Log-probs of the sampled tokens under the policy that is trained.
        old_log_probs: Their log-probs under the policy that sampled them.
        ref_log_probs: Their log-probs under the reference that KL holds the policy near to.
        entropy: Entropy of the policy's distribution at each token.
        advantages: One advantage a sequence, or one a token.
        mask: True where the policy sampled the token.
        surrogate: `clip` (see `clipped_surrogate`), `gspo`, `cispo` or `policy_gradient`.
        clip_low: How far below 1 the ratio still counts.
        clip_high: How far above 1 the ratio still counts.
        dual_clip: The largest ratio that a negative advantage is multiplied by; for `clip` only.
        kl: The estimator in the loss, `k2` or `k3`.
        kl_coef: Its coefficient.
        entropy_coef: Coefficient of the entropy bonus.
        aggregation: How tokens are averaged, see `aggregate`.
        length: The divisor of aggregation `"constant"`.

    Returns:
        The sum and weight of the loss, and those of four metrics, each a mean over tokens:
        `clip_fraction` (tokens whose ratio is beyond a clip that binds), `entropy`, `kl` (k3) and
        `ratio`.

    Raises:
        ValueError: If a shape, a name or a combination of them is wrong.

    Example:
        >>> import jax.numpy as jnp
        >>> log_probs, mask = jnp.full((2, 3), -1.0), jnp.ones((2, 3), bool)
        >>> loss, metrics = player_loss(
        ...     log_probs, log_probs, log_probs, jnp.ones((2, 3)), jnp.array([1.0, 0.0]), mask
        ... )
        >>> print(loss.mean().round(4))  # -(3 * 1 + 3 * 0) / 6 - 0.001
        -0.501
        >>> sorted(metrics)
        ['clip_fraction', 'entropy', 'kl', 'ratio']
    """
    check_loss(surrogate, kl, dual_clip, aggregation)
    log_probs, old_log_probs, ref_log_probs, entropy = masked(
        mask,
        log_probs=log_probs,
        old_log_probs=old_log_probs,
        ref_log_probs=ref_log_probs,
        entropy=entropy,
    )
    advantages = per_token(advantages, mask)
    ref_log_probs = jax.lax.stop_gradient(ref_log_probs)
    ratio = ratio_of(log_probs, old_log_probs)
    if surrogate == "gspo":
        ratio = sequence_ratio(log_probs, old_log_probs, mask)
    if surrogate == "policy_gradient":
        values, clipped = -advantages * log_probs, 0.0 * ratio
    elif surrogate == "cispo":
        values, clipped = weighted_log_probs(
            log_probs, old_log_probs, advantages, clip_low, clip_high
        )
    else:
        values, clipped = clipped_ratio(ratio, advantages, clip_low, clip_high, dual_clip)
    values = values + kl_coef * KL_ESTIMATORS[kl](log_probs, ref_log_probs)
    values = values - entropy_coef * entropy
    metrics: dict[str, Tokens] = {
        "clip_fraction": clipped,
        "entropy": entropy,
        "kl": k3(log_probs, ref_log_probs),
        "ratio": ratio,
    }
    return (
        aggregate(values, mask, mode=aggregation, length=length),
        {name: aggregate(metric, mask) for name, metric in metrics.items()},
    )


def check_loss(surrogate: str, kl: str, dual_clip: float | None, aggregation: str) -> None:
    """Raises `ValueError` unless the names of a loss are known and go together."""
    check_that(surrogate in SURROGATES, f"surrogate must be in {SURROGATES}; got {surrogate!r}.")
    check_that(
        kl in KL_ESTIMATORS,
        f"kl must be in {tuple(KL_ESTIMATORS)}; got {kl!r}: k1 has no gradient in a loss, it "
        "belongs into the reward.",
    )
    check_that(
        surrogate != "gspo" or aggregation == "sequence",
        f"gspo weighs every sequence equally: set aggregation to 'sequence'; got {aggregation!r}.",
    )
    check_that(
        dual_clip is None or surrogate == "clip",
        f"dual_clip is for the surrogate clip; got {dual_clip} with {surrogate!r}.",
    )
