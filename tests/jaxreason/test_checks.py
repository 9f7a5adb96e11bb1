import jax
import jax.numpy as jnp
import pytest

from jaxreason.checks import check_shape, check_that


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((), ()), ((2, 3), ("batch", 3)), ((0,), ("batch",)), ((2, 2), ("option", "option"))],
)
def test_right_shapes_are_returned(shape, axes):
    assert check_shape("array", jnp.zeros(shape), axes) == shape


@pytest.mark.parametrize(
    ("shape", "axes", "sentence"),
    [
        ((2, 3), ("batch", 4), r"array must have shape \[batch, 4\]; got \[2, 3\]\."),
        ((2,), ("batch", "time"), r"array must have shape \[batch, time\]; got \[2\]\."),
        ((2, 3), ("option", "option"), r"must have shape \[option, option\]; got \[2, 3\]\."),
        ((), ("batch",), r"array must have shape \[batch\]; got \[\]\."),
    ],
)
def test_wrong_shapes_are_named(shape, axes, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_shape("array", jnp.zeros(shape), axes)


def test_shapes_are_checked_while_tracing():
    with pytest.raises(ValueError, match=r"got \[3\]"):
        jax.jit(lambda array: check_shape("array", array, (2,)))(jnp.zeros(3))


def test_check_that():
    check_that(True, "unseen")
    with pytest.raises(ValueError, match="seen"):
        check_that(False, "seen")
