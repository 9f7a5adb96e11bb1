"""Products with weights: what they compute, and that no weight is widened in memory for them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.model.products import multiply, multiply_quantized, project

DIM, FEATURES = 48, 80


def text_of(function, *arguments):
    shapes = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in arguments]
    return jax.jit(function).lower(*shapes).compile().as_text()


def widened(text):
    """Whether an array of the weight's shape has 32 bits."""
    return any(f"{kind}[{DIM},{FEATURES}]" in text for kind in ("f32", "s32"))


@pytest.mark.parametrize("rows", [1, 5])
def test_no_weight_is_widened(rows):
    inputs = ((rows, 1, DIM), jnp.bfloat16)
    text = text_of(project, inputs, ((DIM, FEATURES), jnp.bfloat16))
    assert not widened(text)
    few = text_of(
        multiply_quantized, inputs, ((DIM, FEATURES), jnp.int8), ((FEATURES,), jnp.float32)
    )
    assert not widened(few)
    assert widened(text_of(lambda x, w: x @ w, inputs, ((DIM, FEATURES), jnp.bfloat16)))


def test_nor_are_the_factors_of_gradients():
    """In training, with a batch and a time axis; results are float32 before they are rounded."""

    def gradients(inputs, weight, output):
        return jax.vjp(project, inputs, weight)[1](output)

    half = jnp.bfloat16
    text = text_of(
        gradients, ((2, 4, DIM), half), ((DIM, FEATURES), half), ((2, 4, FEATURES), half)
    )
    # The results are f32[8,48] and f32[48,80].
    assert "f32[8,80]" not in text and "f32[48,8]" not in text and "f32[80,48]" not in text


@pytest.mark.parametrize("shape", [(1, DIM), (1, 1, DIM), (3, 2, DIM), (DIM,)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_products_are_those_of_float64(shape, dtype):
    key, weight_key = jax.random.split(jax.random.key(0))
    inputs = jax.random.normal(key, shape).astype(dtype)
    weight = jax.random.normal(weight_key, (DIM, FEATURES)).astype(dtype)
    exact = np.asarray(inputs, np.float64) @ np.asarray(weight, np.float64)
    product = jax.jit(multiply)(inputs, weight)
    assert product.dtype == jnp.float32
    np.testing.assert_allclose(product, exact, atol=1e-4)
    np.testing.assert_allclose(multiply(inputs, weight.T, axis=1), exact, atol=1e-4)
    assert project(inputs, weight).dtype == dtype
