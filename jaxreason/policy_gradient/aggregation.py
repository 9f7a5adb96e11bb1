"""From one value a token to a sum and the weight that it is to be divided by, once, at the end."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxreason.checks import check_shape, check_that

AGGREGATIONS = ("token", "sequence", "constant")


class WeightedSum(NamedTuple):
    """A sum and its weight, from any part of a batch.

    Add sums to sums and weights to weights over micro-batches and devices, then divide once.
    The result is then the same however the batch was split.

    Attributes:
        sum: The sum of weighted values, `[]`.
        weight: The sum of the weights, `[]`.
    """

    sum: Float[Array, ""]
    weight: Float[Array, ""]

    def mean(self) -> Float[Array, ""]:
        """Returns sum / weight, and 0 where the weight is 0.

        Example:
            >>> WeightedSum(jnp.array(6.0), jnp.array(4.0)).mean().item()
            1.5
        """
        empty = self.weight == 0
        return jnp.where(empty, 0.0, self.sum / jnp.where(empty, 1.0, self.weight))


def aggregate(
    values: Float[Array, "batch time"],
    mask: Bool[Array, "batch time"],
    *,
    mode: str = "token",
    length: int | None = None,
) -> WeightedSum:
    """Adds up one value a token, where the mask holds, in at least float32.

    Modes, for a batch of sequences o_i with values l_it:

    - `"token"`: sum_it l_it, weight sum_i |o_i|. Every token counts the same. See "DAPO: An
      Open-Source LLM Reinforcement Learning System at Scale" by Yu et al.
      (https://arxiv.org/abs/2503.14476).
    - `"sequence"`: sum_i (1 / |o_i|) sum_t l_it, weight the number of sequences. Every sequence
      counts the same, so a token counts less in a long one. See "DeepSeekMath: Pushing the Limits
      of Mathematical Reasoning in Open Language Models" by Shao et al.
      (https://arxiv.org/abs/2402.03300).
    - `"constant"`: sum_it l_it / `length`, weight the number of sequences. See "Understanding
      R1-Zero-Like Training: A Critical Perspective" by Liu et al.
      (https://arxiv.org/abs/2503.20783).

    A sequence without a valid token counts as padding: it adds neither sum nor weight.

    Args:
        values: One value a token.
        mask: True where a token counts. Values elsewhere are ignored, even if not finite.
        mode: One of the above.
        length: The constant divisor of mode `"constant"`, such as the longest completion allowed.

    Returns:
        The sum and the weight.

    Raises:
        ValueError: If the shapes differ, the mode is unknown, or `length` is missing from mode
            `"constant"` or given to another.

    Example:
        >>> values = jnp.array([[1.0, 1.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0]])
        >>> mask = jnp.array([[True, True, False, False], [True, True, True, True]])
        >>> [x.item() for x in aggregate(values, mask)]
        [10.0, 6.0]
        >>> aggregate(values, mask, mode="sequence").mean().item()
        1.5
        >>> aggregate(values, mask, mode="constant", length=8).mean().item()
        0.625
    """
    check_shape("mask", mask, check_shape("values", values, ("batch", "time")))
    _check_mode(mode, length)
    dtype = values.dtype if jnp.finfo(values.dtype).bits > 32 else jnp.float32
    lengths = jnp.sum(mask, axis=-1, dtype=dtype)
    sums = jnp.sum(jnp.where(mask, values, 0.0), axis=-1, dtype=dtype)
    if mode == "token":
        return WeightedSum(jnp.sum(sums), jnp.sum(lengths))
    divisor = jnp.maximum(lengths, 1.0) if length is None else length
    return WeightedSum(jnp.sum(sums / divisor), jnp.sum(lengths > 0, dtype=dtype))


def _check_mode(mode: str, length: int | None) -> None:
    """Raises `ValueError` unless the mode is known and `length` is there exactly if it is used."""
    check_that(
        mode in AGGREGATIONS, f"The aggregation must be one of {AGGREGATIONS}; got {mode!r}."
    )
    if mode == "constant":
        check_that(
            length is not None and length > 0,
            f"Aggregation 'constant' needs a positive length to divide by; got {length}.",
        )
    else:
        check_that(
            length is None,
            f"length={length} is for aggregation 'constant' only; leave it out of {mode!r}.",
        )
