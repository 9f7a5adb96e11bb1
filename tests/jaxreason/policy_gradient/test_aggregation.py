import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.policy_gradient import WeightedSum, aggregate

MODES = [("token", None), ("sequence", None), ("constant", 8)]
VALUES = jnp.array([[1.0, 1.0, 9.0, 9.0], [2.0, 2.0, 2.0, 2.0]])
MASK = jnp.array([[True, True, False, False], [True, True, True, True]])


@pytest.mark.parametrize(
    ("mode", "length", "total", "weight"),
    [
        ("token", None, 10.0, 6.0),
        ("sequence", None, 3.0, 2.0),  # 1 + 2
        ("constant", 1, 10.0, 2.0),
        ("constant", 8, 1.25, 2.0),  # 2/8 + 8/8
    ],
)
def test_golden_values(mode, length, total, weight):
    result = aggregate(VALUES, MASK, mode=mode, length=length)
    assert (result.sum, result.weight, result.mean()) == (total, weight, total / weight)


@pytest.mark.parametrize(("mode", "length"), MODES)
def test_padding_changes_nothing(mode, length):
    """Neither more places, at either side, nor rows without a token."""
    padded = jnp.pad(VALUES, ((0, 3), (2, 1)), constant_values=jnp.nan)
    mask = jnp.pad(MASK, ((0, 3), (2, 1)))
    expected = aggregate(VALUES, MASK, mode=mode, length=length)
    assert aggregate(padded, mask, mode=mode, length=length) == expected


@pytest.mark.parametrize(("mode", "length"), MODES)
def test_parts_add_up_to_the_whole(mode, length):
    keys = jax.random.split(jax.random.key(0))
    values = jax.random.normal(keys[0], (6, 5))
    mask = jax.random.bernoulli(keys[1], 0.6, (6, 5))
    whole = aggregate(values, mask, mode=mode, length=length)
    parts = [
        aggregate(values[i : i + 2], mask[i : i + 2], mode=mode, length=length) for i in (0, 2, 4)
    ]
    total = jax.tree.map(lambda *leaves: jnp.sum(jnp.stack(leaves)), *parts)
    np.testing.assert_allclose(total, whole, rtol=1e-6)


@pytest.mark.parametrize(("mode", "length"), MODES)
def test_no_token_gives_zero_and_a_finite_gradient(mode, length):
    def mean(values):
        return aggregate(values, jnp.zeros((2, 3), bool), mode=mode, length=length).mean()

    value, gradient = jax.value_and_grad(mean)(jnp.ones((2, 3)))
    assert value == 0.0
    assert gradient.tolist() == np.zeros((2, 3)).tolist()


@pytest.mark.parametrize(("mode", "length"), MODES)
def test_sums_in_float32(mode, length):
    """1000 tokens of 1 and 1 of 1/2: bfloat16 would round the sum to 1000."""
    values = jnp.ones((1, 1001), jnp.bfloat16).at[0, 0].set(0.5)
    result = aggregate(values, jnp.ones((1, 1001), bool), mode=mode, length=length)
    assert result.sum.dtype == result.weight.dtype == jnp.float32
    divisor = {"token": 1, "sequence": 1001, "constant": 8}[mode]
    np.testing.assert_allclose(result.sum, 1000.5 / divisor, rtol=1e-6)


def test_under_vmap():
    mapped = jax.vmap(aggregate)(jnp.stack([VALUES, 2 * VALUES]), jnp.stack([MASK, MASK]))
    assert isinstance(mapped, WeightedSum)
    assert mapped.sum.tolist() == [10.0, 20.0]


@pytest.mark.parametrize(
    ("mode", "length", "message"),
    [
        ("mean", None, "must be one of .* got 'mean'"),
        ("constant", None, "needs a positive length"),
        ("constant", 0, "needs a positive length"),
        ("token", 8, "length=8 is for aggregation 'constant' only"),
    ],
)
def test_wrong_settings(mode, length, message):
    with pytest.raises(ValueError, match=message):
        aggregate(VALUES, MASK, mode=mode, length=length)


def test_wrong_shape():
    with pytest.raises((ValueError, TypeError), match="mask"):
        aggregate(VALUES, MASK[:, :2])
