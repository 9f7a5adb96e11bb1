"""Checks at trace time, with messages that name the argument, what was expected and what came."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp


def check_that(condition: bool, message: str) -> None:
    """Raises `ValueError(message)` unless `condition` holds.

    Args:
        condition: A Python bool, known at trace time.
        message: One sentence: what was expected, what came, what to do.

    Raises:
        ValueError: If `condition` is false.

    Example:
        >>> check_that(2 + 2 == 4, "arithmetic must hold")
    """
    if not condition:
        raise ValueError(message)


def check_shape(name: str, array: Any, axes: Sequence[str | int]) -> tuple[int, ...]:
    """Checks an array's shape against named or fixed axes and returns it.

    Args:
        name: The argument's name, for the message.
        array: Anything with a shape.
        axes: One entry an axis: a name (any size, but the same name must have the same size
            wherever it stands) or a fixed size.

    Returns:
        The shape of `array`.

    Raises:
        ValueError: If the rank, a fixed size or a repeated name does not match.

    Example:
        >>> check_shape("rewards", jnp.zeros((2, 3)), ("problem", 3))
        (2, 3)
    """
    shape = jnp.shape(array)
    expected = "[" + ", ".join(str(axis) for axis in axes) + "]"
    sizes: dict[str, int] = {}
    matches = len(shape) == len(axes) and all(
        size == (axis if isinstance(axis, int) else sizes.setdefault(axis, size))
        for axis, size in zip(axes, shape, strict=True)
    )
    check_that(matches, f"{name} must have shape {expected}; got {list(shape)}.")
    return shape
