"""A keyed permutation of `range(size)` evaluated at single points, in constant memory."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, UInt32

NUM_ROUNDS = 64


def permuted_index(
    key: Key[Array, ""], index: Int[Array, ""], size: Int[Array, ""]
) -> Int[Array, ""]:
    """Evaluates a keyed permutation of `range(size)` at one index.

    A swap-or-not shuffle: every round pairs `x` with `shift - x` (modulo `size`) and swaps the
    pair if a hash of the larger member says so. A round is its own inverse, so the whole is a
    bijection for every size and key. Nothing of length `size` is ever built.

    See "An Enciphering Scheme Based on a Card Shuffle" by Hoang, Morris and Rogaway
    (https://arxiv.org/abs/1208.1176).

    Args:
        key: A typed PRNG key; it names the permutation.
        index: The position, in [0, size).
        size: The number of elements, at least 1 and below 2**31. It may be traced.

    Returns:
        The element at that position, in [0, size).

    Example:
        >>> key = jax.random.key(0)
        >>> permute = jax.vmap(permuted_index, in_axes=(None, 0, None))
        >>> sorted(permute(key, jnp.arange(5), jnp.int32(5)).tolist())
        [0, 1, 2, 3, 4]
    """
    size = jnp.asarray(size).astype(jnp.uint32)
    shifts, salts = jax.random.bits(key, (2, NUM_ROUNDS), jnp.uint32)

    def swap_or_not(round_index: Array, x: Array) -> Array:
        partner = (shifts[round_index] % size + size - x) % size
        swap = _mixed(jnp.maximum(x, partner) ^ salts[round_index]) >> 31
        return jnp.where(swap == 1, partner, x)

    start = jnp.asarray(index).astype(jnp.uint32)
    return jax.lax.fori_loop(0, NUM_ROUNDS, swap_or_not, start).astype(jnp.int32)


def _mixed(bits: UInt32[Array, ""]) -> UInt32[Array, ""]:
    """Spreads every input bit over all output bits (MurmurHash3's 32-bit finaliser)."""
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> 13)) * jnp.uint32(0xC2B2AE35)
    return bits ^ (bits >> 16)
