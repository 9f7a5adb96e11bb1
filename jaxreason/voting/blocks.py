"""Large inputs go through in blocks of questions, so that memory stays bounded."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

Tree = TypeVar("Tree")

BALLOTS_PER_BLOCK = 2**21
"""One-hot entries (question x agent x option) that are held at a time: 8 MiB in float32."""


def questions_per_block(agents: int, options: int) -> int:
    """Returns how many questions' one-hot ballots make up a block, at least 1.

    Example:
        >>> questions_per_block(32, 10)
        6553
    """
    return max(1, BALLOTS_PER_BLOCK // max(1, agents * options))


def map_blocks(function: Callable[..., Tree], *arrays: jax.Array, block: int) -> Tree:
    """Applies a function to blocks of questions and joins what it returns.

    Args:
        function: Takes blocks of `arrays`, returns a pytree of arrays with one row a question.
        *arrays: Arrays whose first axis is the questions.
        block: Questions in a block; static.

    Returns:
        What `function` returns for all questions at once.

    Example:
        >>> map_blocks(lambda rows: rows.sum(-1), jnp.ones((5, 3)), block=2).tolist()
        [3.0, 3.0, 3.0, 3.0, 3.0]
    """
    questions = arrays[0].shape[0]
    if questions <= block:
        return function(*arrays)
    outcomes = jax.lax.map(lambda blocks: function(*blocks), _cut(arrays, block))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:questions], outcomes)


def sum_blocks(function: Callable[..., Tree], *arrays: jax.Array, block: int) -> Tree:
    """Applies a function to blocks of questions and adds up what it returns.

    The last block is filled up with rows of -1 (integers), False or 0.0, which must not count; no
    questions at all become one such row.

    Args:
        function: Takes blocks of `arrays`, returns a pytree of sums over the block's questions.
        *arrays: Arrays whose first axis is the questions.
        block: Questions in a block; static.

    Returns:
        What `function` returns for all questions at once.

    Example:
        >>> float(sum_blocks(lambda rows: rows.sum(), jnp.ones((5, 3)), block=2))
        15.0
    """
    questions = arrays[0].shape[0]
    if questions == 0:
        return function(*(_fill(array, 1) for array in arrays))
    if questions <= block:
        return function(*arrays)
    cut = _cut(arrays, block)

    def add(total: Tree, blocks: tuple[jax.Array, ...]) -> tuple[Tree, None]:
        return jax.tree.map(jnp.add, total, function(*blocks)), None

    first = function(*(leaf[0] for leaf in cut))
    return jax.lax.scan(add, first, tuple(leaf[1:] for leaf in cut))[0]


def _cut(arrays: tuple[jax.Array, ...], block: int) -> tuple[jax.Array, ...]:
    """Reshapes each array to `[number of blocks, block, ...]`, filled up at the end."""
    missing = -arrays[0].shape[0] % block
    return tuple(_fill(array, missing).reshape(-1, block, *array.shape[1:]) for array in arrays)


def _fill(array: jax.Array, missing: int) -> jax.Array:
    """Adds rows that say nothing at the end."""
    filler = -1 if jnp.issubdtype(array.dtype, jnp.integer) else 0
    widths = [(0, missing)] + [(0, 0)] * (array.ndim - 1)
    return jnp.pad(array, widths, constant_values=filler)
