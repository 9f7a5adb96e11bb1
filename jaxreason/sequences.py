"""A token sequence with a mask: the currency between tasks, rollouts and losses."""

import dataclasses
from collections.abc import Sequence as Seq
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class Sequence:
    """Token ids and which of them count; padding may stand anywhere.

    Attributes:
        tokens: Token ids, `[..., time]`.
        mask: True where a token counts, `[..., time]`.
    """

    tokens: Int[Array, "..."]
    mask: Bool[Array, "..."]

    @property
    def length(self) -> Int[Array, "*batch"]:
        """The number of tokens that count, `[...]`."""
        return self.mask.sum(-1)


def constant_sequence(token: int) -> Sequence:
    """Returns the sequence of one given token, `[1]`.

    Example:
        >>> constant_sequence(7).tokens.tolist()
        [7]
    """
    return Sequence(jnp.full((1,), token, jnp.int32), jnp.ones((1,), bool))


def concatenate(parts: Seq[Sequence]) -> Sequence:
    """Joins sequences along time; leading axes broadcast.

    Args:
        parts: Sequences of shapes `[..., time_i]` with compatible leading axes.

    Returns:
        One sequence of shape `[..., sum(time_i)]`. Padding inside the parts stays where it is.

    Example:
        >>> joined = concatenate([constant_sequence(1), constant_sequence(2)])
        >>> joined.tokens.tolist()
        [1, 2]
    """
    batch = jnp.broadcast_shapes(*(part.tokens.shape[:-1] for part in parts))

    def join(leaves: Seq[Array]) -> Array:
        full = [jnp.broadcast_to(leaf, (*batch, leaf.shape[-1])) for leaf in leaves]
        return jnp.concatenate(full, axis=-1)

    return Sequence(join([p.tokens for p in parts]), join([p.mask for p in parts]))


def compact(sequence: Sequence) -> Sequence:
    """Moves the tokens that count to the front, in their order, `[time]`.

    Example:
        >>> compact(Sequence(jnp.array([0, 7, 0, 8]), jnp.array([False, True, False, True]))).tokens
        Array([7, 8, 0, 0], dtype=int32)
    """
    order = jnp.argsort(~sequence.mask, stable=True)
    mask = sequence.mask[order]
    return Sequence(jnp.where(mask, sequence.tokens[order], 0), mask)
