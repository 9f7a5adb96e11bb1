"""Rotary positions: frequencies, their scaling, and the rotation."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxreason.model.config import RopeScaling


def rotate(
    values: Float[Array, "batch time head head_dim"],
    positions: Int[Array, "batch time"],
    theta: float,
    scaling: RopeScaling = RopeScaling(),
) -> Float[Array, "batch time head head_dim"]:
    """Applies rotary position embeddings, pairing dimension i with i + head_dim / 2.

    See "RoFormer: Enhanced Transformer with Rotary Position Embedding" by Su et al.
    (https://arxiv.org/abs/2104.09864).

    Example:
        >>> values = jnp.ones((1, 1, 1, 2))
        >>> rotate(values, jnp.zeros((1, 1), jnp.int32), 1e4).tolist()
        [[[[1.0, 1.0]]]]
    """
    frequency = frequencies(values.shape[-1], theta, scaling)
    angle = positions[..., None, None].astype(jnp.float32) * frequency
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    first, second = jnp.split(values.astype(jnp.float32), 2, axis=-1)
    turned = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate(turned, axis=-1).astype(values.dtype)


def frequencies(
    head_dim: int, theta: float, scaling: RopeScaling = RopeScaling()
) -> Float[Array, "half"]:
    """Returns the radians that each pair of dimensions turns by from one position to the next.

    See "Extending Context Window of Large Language Models via Positional Interpolation" by Chen et
    al. (https://arxiv.org/abs/2306.15595) for linear scaling, and "The Llama 3 Herd of Models"
    (https://arxiv.org/abs/2407.21783), whose released code has the other.

    Args:
        head_dim: Width of a head.
        theta: Base of the wavelengths.
        scaling: How frequencies are lowered.

    Returns:
        Frequencies in falling order.

    Example:
        >>> frequencies(4, 100.0, RopeScaling(kind="linear", factor=2.0)).tolist()
        [0.5, 0.05]
    """
    half = head_dim // 2
    plain = theta ** -(jnp.arange(half, dtype=jnp.float32) / half)
    if scaling.kind == "none":
        return plain
    if scaling.kind == "linear":
        return plain / scaling.factor
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    turns = plain * (scaling.original_length / (2 * math.pi))
    kept = jnp.clip((turns - low) / (high - low), 0.0, 1.0)
    return kept * plain + (1.0 - kept) * plain / scaling.factor
