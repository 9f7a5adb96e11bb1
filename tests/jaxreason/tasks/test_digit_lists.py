"""Primitives and compositions against plain Python on plain lists."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jaxreason.tasks import PRIMITIVES, DigitList, apply_primitive, apply_rule

NAMES = tuple(PRIMITIVES)


def rotate(values, amount):
    amount %= max(len(values), 1)
    return values[amount:] + values[:amount]


REFERENCE = {
    "reverse": lambda values, width: values[::-1],
    "sort": lambda values, width: sorted(values),
    "rotate 1": lambda values, width: rotate(values, 1),
    "rotate 2": lambda values, width: rotate(values, 2),
    "swap": lambda values, width: values[1::-1] + values[2:] if len(values) > 1 else values,
    "add 1": lambda values, width: [(value + 1) % 10 for value in values],
    "add 3": lambda values, width: [(value + 3) % 10 for value in values],
    "add 5": lambda values, width: [(value + 5) % 10 for value in values],
    "double": lambda values, width: [2 * value % 10 for value in values],
    "flip": lambda values, width: [9 - value for value in values],
    "round down": lambda values, width: [value // 2 * 2 for value in values],
    "take 2": lambda values, width: values[:2],
    "drop 1": lambda values, width: values[1:],
    "repeat": lambda values, width: (values + values)[:width],
    "keep even": lambda values, width: [value for value in values if value % 2 == 0],
}

DIGITS = st.lists(st.integers(0, 9), max_size=6)
SURPLUS = st.sampled_from([0, 1, 3, 6])


@jax.jit
def apply_each(values):
    """Applies nothing and then every primitive by itself."""
    indices = jnp.arange(-1, len(NAMES))
    return jax.vmap(lambda index: apply_primitive(NAMES, index, values))(indices)


@jax.jit
def apply_steps(values, rule):
    return apply_rule(NAMES, rule, values)


def padded(digits, width, filler=0):
    row = np.full(width, filler, np.int32)
    row[: len(digits)] = digits
    return DigitList(jnp.asarray(row), jnp.array(len(digits), jnp.int32))


def assert_rows(lists, expected):
    """Checks the digits, the lengths, and that the places after a list hold 0."""
    width = lists.digits.shape[-1]
    rows = [list(row) + [0] * (width - len(row)) for row in expected]
    np.testing.assert_array_equal(lists.digits, rows)
    np.testing.assert_array_equal(lists.length, [len(row) for row in expected])


def test_every_primitive_has_a_reference():
    assert set(REFERENCE) == set(PRIMITIVES)


@given(DIGITS, SURPLUS, st.sampled_from([0, 7]))
@example([], 1, 7)
@example([5], 0, 0)
@example([9, 9, 0], 3, 7)
def test_primitives(digits, surplus, filler):
    """Whatever stands in the places after the list has no influence."""
    width = max(len(digits) + surplus, 1)
    after = apply_each(padded(digits, width, filler))
    assert_rows(after, [digits] + [REFERENCE[name](digits, width) for name in NAMES])


@given(DIGITS, SURPLUS, st.lists(st.integers(-1, len(NAMES) - 1), min_size=3, max_size=3))
@example([1, 2, 3], 3, [NAMES.index("repeat")] * 3)
@example([1, 3, 5], 3, [NAMES.index("keep even"), NAMES.index("repeat"), NAMES.index("reverse")])
@example([4, 2], 0, [-1, NAMES.index("sort"), -1])
def test_compositions(digits, surplus, rule):
    width = max(len(digits) + surplus, 1)
    current, expected = digits, []
    for index in rule:
        if index >= 0:
            current = REFERENCE[NAMES[index]](current, width)
        expected.append(current)
    assert_rows(apply_steps(padded(digits, width), jnp.array(rule)), expected)


def test_outside_jit_and_with_a_batch():
    values = DigitList(jnp.array([[3, 1, 2], [9, 0, 0]]), jnp.array([3, 1]))
    rule = jnp.array([NAMES.index("sort"), NAMES.index("add 1")])
    after = jax.vmap(lambda one: apply_rule(NAMES, rule, one))(values)
    assert after.digits.tolist() == [[[1, 2, 3], [2, 3, 4]], [[9, 0, 0], [0, 0, 0]]]
    assert after.length.tolist() == [[3, 3], [1, 1]]


@pytest.mark.parametrize("index", [-1, -7])
def test_negative_index_changes_nothing(index):
    values = padded([4, 5], 3)
    assert_rows(
        jax.tree.map(lambda leaf: leaf[None], apply_primitive(("sort",), jnp.array(index), values)),
        [[4, 5]],
    )


def test_mask():
    values = DigitList(jnp.zeros((2, 3), jnp.int32), jnp.array([0, 2]))
    assert values.mask.tolist() == [[False] * 3, [True, True, False]]
