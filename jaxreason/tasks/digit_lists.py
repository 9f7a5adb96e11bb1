"""Primitives on short lists of digits, and their compositions, as jittable functions."""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class DigitList:
    """A list of digits in a fixed width; entries from `length` on are 0.

    Attributes:
        digits: Digits 0 to 9, `[..., width]`.
        length: Number of digits that count, `[...]`.
    """

    digits: Int[Array, "..."]
    length: Int[Array, "..."]

    @property
    def mask(self) -> Bool[Array, "*batch width"]:
        """True where a digit counts, `[..., width]`."""
        return jnp.arange(self.digits.shape[-1]) < self.length[..., None]


Primitive = Callable[[DigitList], DigitList]


def _canonical(digits: Array, length: Array) -> DigitList:
    length = length.astype(jnp.int32)
    keep = jnp.arange(digits.shape[-1]) < length
    return DigitList(jnp.where(keep, digits, 0).astype(jnp.int32), length)


def _gather(values: DigitList, index: Array, length: Array) -> DigitList:
    return _canonical(values.digits[jnp.clip(index, 0, values.digits.shape[-1] - 1)], length)


def _positions(values: DigitList) -> Array:
    return jnp.arange(values.digits.shape[-1])


def _reverse(values: DigitList) -> DigitList:
    return _gather(values, values.length - 1 - _positions(values), values.length)


def _sort(values: DigitList) -> DigitList:
    return _canonical(jnp.sort(jnp.where(values.mask, values.digits, 10)), values.length)


def _swap(values: DigitList) -> DigitList:
    position = _positions(values)
    first_two = (values.length >= 2) & (position < 2)
    return _gather(values, jnp.where(first_two, 1 - position, position), values.length)


def _repeat(values: DigitList) -> DigitList:
    length = jnp.minimum(2 * values.length, values.digits.shape[-1])
    return _gather(values, _positions(values) % jnp.maximum(values.length, 1), length)


def _keep_even(values: DigitList) -> DigitList:
    keep = values.mask & (values.digits % 2 == 0)
    return _gather(values, jnp.argsort(~keep, stable=True), keep.sum())


def _rotate(amount: int) -> Primitive:
    def rotate(values: DigitList) -> DigitList:
        index = (_positions(values) + amount) % jnp.maximum(values.length, 1)
        return _gather(values, index, values.length)

    return rotate


def _take(count: int) -> Primitive:
    return lambda values: _canonical(values.digits, jnp.minimum(values.length, count))


def _drop(count: int) -> Primitive:
    return lambda values: _gather(
        values, _positions(values) + count, jnp.maximum(values.length - count, 0)
    )


def _each(function: Callable[[Array], Array]) -> Primitive:
    return lambda values: _canonical(function(values.digits), values.length)


PRIMITIVES: Mapping[str, Primitive] = MappingProxyType(
    {
        "reverse": _reverse,
        "sort": _sort,
        "rotate 1": _rotate(1),
        "rotate 2": _rotate(2),
        "swap": _swap,
        "add 1": _each(lambda digits: (digits + 1) % 10),
        "add 3": _each(lambda digits: (digits + 3) % 10),
        "add 5": _each(lambda digits: (digits + 5) % 10),
        "double": _each(lambda digits: 2 * digits % 10),
        "flip": _each(lambda digits: 9 - digits),
        "round down": _each(lambda digits: digits - digits % 2),
        "take 2": _take(2),
        "drop 1": _drop(1),
        "repeat": _repeat,
        "keep even": _keep_even,
    }
)
"""Every primitive by its name in words: `rotate` turns to the left, `swap` exchanges the first
two, `add` and `double` are modulo 10, `flip` is 9 minus the digit, `round down` is to even,
`repeat` appends the list to itself as far as the width allows."""


def apply_primitive(names: tuple[str, ...], index: Int[Array, ""], values: DigitList) -> DigitList:
    """Applies the primitive `names[index]`; a negative index leaves the list as it is.

    Args:
        names: Names out of `PRIMITIVES`; static.
        index: Which of them, or negative.
        values: An unbatched list, `[width]`.

    Returns:
        The transformed list, of the same width.

    Example:
        >>> numbers = DigitList(jnp.array([3, 1, 2, 0]), jnp.array(3))
        >>> apply_primitive(("sort", "repeat"), jnp.array(0), numbers).digits.tolist()
        [1, 2, 3, 0]
    """
    branches = [lambda values: _canonical(values.digits, values.length)]
    branches += [PRIMITIVES[name] for name in names]
    return jax.lax.switch(jnp.maximum(index, -1) + 1, branches, values)


def apply_rule(names: tuple[str, ...], rule: Int[Array, "step"], values: DigitList) -> DigitList:
    """Applies a composition of primitives, keeping every intermediate list.

    Args:
        names: Names out of `PRIMITIVES`; static.
        rule: Indices into `names` in the order of application; negative entries do nothing.
        values: An unbatched list, `[width]`.

    Returns:
        The list after each step, `[step, width]`; the last row is the result.

    Example:
        >>> numbers = DigitList(jnp.array([3, 1, 2]), jnp.array(3))
        >>> apply_rule(("sort", "add 1"), jnp.array([0, 1]), numbers).digits.tolist()
        [[1, 2, 3], [2, 3, 4]]
    """

    def step(current: DigitList, index: Array) -> tuple[DigitList, DigitList]:
        after = apply_primitive(names, index, current)
        return after, after

    return jax.lax.scan(step, _canonical(values.digits, values.length), rule)[1]
