"""Hand-made problems."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.tasks import DigitList, Problem, RuleInductionConfig


@pytest.fixture
def make_lists():
    """`make(lists, width)` gives a `DigitList` with one row a list."""

    def make(lists, width):
        digits = np.zeros((len(lists), width), np.int32)
        for row, values in zip(digits, lists, strict=True):
            row[: len(values)] = values
        lengths = jnp.array([len(values) for values in lists], jnp.int32)
        return DigitList(jnp.asarray(digits), lengths)

    return make


@pytest.fixture
def worked():
    """The config of the problem below."""
    return RuleInductionConfig(primitives=("reverse", "add 3", "keep even", "repeat"), max_steps=3)


@pytest.fixture
def problem(worked, make_lists):
    """`reverse then keep even`, with two examples and the query 1 3 4."""
    inputs, outputs = [[3, 1, 2], [5, 7, 9], [1, 3, 4]], [[2], [], [4]]
    return Problem(
        rule=jnp.array([0, 2, -1]),
        inputs=make_lists(inputs, worked.width),
        outputs=make_lists(outputs, worked.width),
        trace=make_lists([[4, 3, 1], [4], [4]], worked.width),
    )
