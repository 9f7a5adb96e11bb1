"""Controls: every abstraction is whose it says it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.rlad import CONTROLS, control_abstractions
from jaxreason.sequences import Sequence

TOKENS = jnp.array(
    [[[1, 0, 2], [3, 4, 0]], [[5, 0, 0], [1, 2, 0]], [[6, 7, 8], [0, 1, 2]]], jnp.int32
)
WRITTEN = Sequence(TOKENS, TOKENS > 0)


@pytest.fixture(scope="module")
def problems(task):
    keys = jax.random.split(jax.random.key(0), 3)
    return jax.vmap(lambda key: task.sample(key, "train"))(keys)


def test_the_partner_is_left_alone(task, problems):
    given, withheld = control_abstractions(task, "partner", problems, WRITTEN)
    assert given is WRITTEN and withheld is False
    assert control_abstractions(task, "none", problems, WRITTEN) == (WRITTEN, True)


def test_shuffled_are_the_same_texts_of_other_problems(task, problems):
    given, _ = control_abstractions(task, "shuffled", problems, WRITTEN)
    np.testing.assert_array_equal(given.tokens[jnp.array([1, 2, 0])], TOKENS)


def test_generic_is_the_commonest_text_wherever_its_padding_stands(task, problems):
    """1 2 is written three times, each time with a gap elsewhere."""
    given, _ = control_abstractions(task, "generic", problems, WRITTEN)
    assert (given.tokens == jnp.array([1, 2, 0])).all()
    assert (given.mask == jnp.array([True, True, False])).all()


def test_the_oracle_is_right(task, problems):
    given, _ = control_abstractions(task, "oracle", problems, WRITTEN)
    right = jax.vmap(jax.vmap(task.abstraction_is_right, (None, 0)))(problems, given)
    assert right.shape == (3, 2) and right.all()


@pytest.mark.parametrize("control", CONTROLS)
def test_shapes_are_those_of_the_generator(task, problems, control):
    written = jax.vmap(task.abstraction)(problems)
    written = jax.tree.map(lambda leaf: leaf[:, None], written)
    given, _ = control_abstractions(task, control, problems, written)
    assert given.tokens.shape == written.tokens.shape


def test_wrong_arguments_are_refused(task, problems):
    with pytest.raises(ValueError, match="control must be in .*; got 'placebo'"):
        control_abstractions(task, "placebo", problems, WRITTEN)
    one = jax.tree.map(lambda leaf: leaf[:1], WRITTEN)
    with pytest.raises(ValueError, match="needs two problems or more; got 1"):
        control_abstractions(task, "shuffled", problems, one)
