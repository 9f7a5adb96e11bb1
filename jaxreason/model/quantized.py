"""Parameters with 8-bit weights, for decoding: a quarter of float32's memory and traffic."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int8

from jaxreason.checks import check_that
from jaxreason.model.lora import TARGETS
from jaxreason.model.transformer import Params

TABLES = ("embedding", "output")
"""Matrices whose output channels are rows, one for each token id."""
LEVELS = 127
"""The largest 8-bit weight; -128 is not used."""


def quantize(params: Params) -> Params:
    """Returns parameters with 8-bit matrices, as every function of the model takes them.

    Beside each matrix stands the scale of its output channels, float32: weight / scale is rounded,
    so that no weight moves by more than half a scale, 1/254 of the largest of its channel. Norms
    and biases stay as they are. Products are `multiply_quantized`. Adapters can be put beside the
    result by `attach`; `merge` them before.

    Args:
        params: From `init` or a checkpoint.

    Returns:
        A tree with an int8 matrix and `NAME_scale` for each matrix `NAME`.

    Raises:
        ValueError: If they are quantised already.

    Example:
        >>> import jax
        >>> from jaxreason.model import ModelConfig, init
        >>> few = quantize(init(ModelConfig(num_layers=1), jax.random.key(0)))
        >>> few["embedding"].dtype, few["embedding_scale"].shape
        (dtype('int8'), (512,))
    """
    is_new = not any(f"{name}_scale" in params for name in TABLES)
    check_that(is_new, "params are quantized already.")
    changed: dict[str, Params] = {}
    for name, held in params.items():
        if name in TABLES:
            changed[name], changed[f"{name}_scale"] = quantize_matrix(held, axis=1)
        elif isinstance(held, dict):
            changed[name] = _quantize_layer(held)
        else:
            changed[name] = held
    return changed


def _quantize_layer(weights: dict[str, Array]) -> dict[str, Array]:
    changed = {}
    for name, held in weights.items():
        if name in TARGETS:
            changed[name], changed[f"{name}_scale"] = quantize_matrix(held, axis=0)
        else:
            changed[name] = held
    return changed


def quantize_matrix(
    weight: Float[Array, "rows columns"], *, axis: int
) -> tuple[Int8[Array, "rows columns"], Float[Array, "features"]]:
    """Rounds a matrix to multiples of a scale for each output channel.

    Args:
        weight: The matrix.
        axis: The axis that products contract.

    Returns:
        Multiples in [-127, 127], and scales.

    Example:
        >>> rounded, scale = quantize_matrix(jnp.array([[127.0], [-1.6]]), axis=0)
        >>> rounded.tolist(), scale.tolist()
        ([[127], [-2]], [1.0])
    """
    wide = weight.astype(jnp.float32)
    largest = jnp.abs(wide).max(axis, keepdims=True)
    scale = jnp.where(largest > 0, largest, 1.0) / LEVELS
    return jnp.round(wide / scale).astype(jnp.int8), scale.squeeze(axis)
