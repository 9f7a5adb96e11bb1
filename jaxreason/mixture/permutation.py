"""Keyed permutations of `range(size)` evaluated at single points, in constant memory (NumPy).

Host code in 64-bit integers: the order of a stream is looked up while a step runs, and a corpus of
more than 2**31 tokens needs numbers that jax has not got unless x64 is on.
"""

from typing import Any

import numpy as np
from jaxtyping import Int64, UInt64

NUM_ROUNDS = 64
_STEP = np.uint64(0x9E3779B97F4A7C15)


def fold_in(key: Any, data: Any) -> UInt64[np.ndarray, "*shape"]:
    """Derives a key from a key and a number; both may be arrays.

    Args:
        key: Keys, unsigned 64-bit.
        data: Numbers that tell the new keys apart, from 0.

    Returns:
        New keys, of the two shapes broadcast together.

    Example:
        >>> int(fold_in(0, 1)) == int(fold_in(0, 1)), int(fold_in(0, 1)) == int(fold_in(0, 2))
        (True, False)
    """
    with np.errstate(over="ignore"):
        started = np.asarray(key, np.uint64) + _STEP
    return np.asarray(_mixed(_mixed(started) ^ np.asarray(data, np.uint64)))


def permuted_index(key: Any, index: Any, size: Any) -> Int64[np.ndarray, "*shape"]:
    """Evaluates keyed permutations of `range(size)` at single places.

    A swap-or-not shuffle: every round pairs `x` with `shift - x` (modulo `size`) and swaps the
    pair if a hash of the larger member says so. A round is its own inverse, so the whole is a
    bijection for every size and key. Nothing of length `size` is ever built.

    See "An Enciphering Scheme Based on a Card Shuffle" by Hoang, Morris and Rogaway
    (https://arxiv.org/abs/1208.1176).

    Args:
        key: Unsigned 64-bit keys; each names a permutation.
        index: Places, in [0, size).
        size: The numbers of elements, at least 1 and below 2**63.

    Returns:
        The elements at those places, in [0, size), of the three shapes broadcast together.

    Example:
        >>> sorted(permuted_index(0, np.arange(5), 5).tolist())
        [0, 1, 2, 3, 4]
    """
    key, x, size = np.broadcast_arrays(
        np.asarray(key, np.uint64), np.asarray(index, np.uint64), np.asarray(size, np.uint64)
    )
    # few permutations stand for many places: what depends on them alone is computed once each
    pairs = np.stack([key.reshape(-1), size.reshape(-1)], axis=1)
    (keys, sizes), which = _unique_rows(pairs)
    which = which.reshape(x.shape)
    for round_index in range(NUM_ROUNDS):
        salts = fold_in(keys, round_index)
        salt, shift = salts[which], (fold_in(salts, 0) % sizes)[which]
        partner = (shift + size - x) % size
        swap = _mixed(np.maximum(x, partner) ^ salt) >> np.uint64(63)
        x = np.where(swap == 1, partner, x)
    return x.astype(np.int64)


def _unique_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the columns of the different rows, and which of them each row is."""
    different, which = np.unique(rows, axis=0, return_inverse=True)
    return different.T, which


def _mixed(bits: Any) -> Any:
    """Spreads every input bit over all output bits (the finaliser of SplitMix64)."""
    with np.errstate(over="ignore"):
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
