"""Products with weights, laid out so that XLA reads the weights as they lie."""

import math
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8, Shaped

FINE = 254
"""Steps of the second digit of an activation in one step of the first."""

Kept: TypeAlias = tuple[Array, Array]


def multiply(
    inputs: Shaped[Array, "*batch dim"], weight: Shaped[Array, "..."], *, axis: int = 0
) -> Shaped[Array, "*batch features"]:
    """Multiplies by a weight of the same type, contracting its axis; the result has 32 bits.

    XLA for a CPU has products of 16-bit floats, and of 8-bit integers, only with 32-bit results and
    two rows or more. All others it computes in 32 bits, after it has widened the whole weight. So a
    second row, of zeros, is added to a single one.

    Example:
        >>> ones = jnp.ones((1, 3), jnp.bfloat16)
        >>> multiply(ones, jnp.ones((2, 3), jnp.bfloat16), axis=1).tolist()
        [[3.0, 3.0]]
    """
    is_single = inputs.ndim > 1 and math.prod(inputs.shape[:-1]) == 1
    pads = is_single and weight.dtype.itemsize < 4
    if pads:
        inputs = jnp.pad(inputs, ((0, 1), *((0, 0),) * (inputs.ndim - 1)))
    wide = jnp.int32 if jnp.issubdtype(weight.dtype, jnp.integer) else jnp.float32
    contracted = (((inputs.ndim - 1,), (axis,)), ((), ()))
    product = jax.lax.dot_general(inputs, weight, contracted, preferred_element_type=wide)
    return product[:1] if pads else product


@jax.custom_vjp
def project(
    inputs: Float[Array, "*batch dim"], weight: Float[Array, "dim features"]
) -> Float[Array, "*batch features"]:
    """Multiplies by a weight; the gradients have a layout that a CPU computes faster.

    The usual gradient of the weight transposes what comes from above inside the loop that computes
    it, which on a CPU takes longer than the product. Here the inputs are transposed instead. Sums
    are kept in float32, see `multiply`.

    Example:
        >>> project(jnp.ones((2, 3)), jnp.ones((3, 1))).tolist()
        [[3.0], [3.0]]
    """
    return multiply(inputs, weight).astype(inputs.dtype)


def _project(inputs: Array, weight: Array) -> tuple[Array, Kept]:
    # Not `project`, whose product a policy of rematerialisation would not see.
    return multiply(inputs, weight).astype(inputs.dtype), (inputs, weight)


def _project_gradients(kept: Kept, output: Array) -> tuple[Array, Array]:
    (inputs, output), weight = jax.lax.optimization_barrier((kept[0], output)), kept[1]
    batch = tuple(range(inputs.ndim - 1))
    of_weight = jax.lax.dot_general(
        inputs, output, ((batch, batch), ((), ())), preferred_element_type=jnp.float32
    )
    of_inputs = multiply(output, weight, axis=1)
    return of_inputs.astype(inputs.dtype), of_weight.astype(weight.dtype)


project.defvjp(_project, _project_gradients)


def multiply_quantized(
    inputs: Float[Array, "*batch dim"],
    weight: Int8[Array, "..."],
    scale: Float[Array, "features"],
    *,
    axis: int = 0,
) -> Float[Array, "*batch features"]:
    """Multiplies by an 8-bit weight, whose output channels have a scale each, in integers.

    Inputs become two 8-bit digits, `unit * (coarse + fine / 254)`, which are two rows of the
    product: XLA for a CPU can't widen a weight while it multiplies, but it multiplies 8-bit
    integers as they are. The error of an input is at most 1/64,516 of the largest one in its row.
    The sums are exact for up to 131,000 inputs. Gradients are those of the exact product, to
    the inputs only.

    Args:
        inputs: What to multiply.
        weight: From -127 to 127.
        scale: What each output channel is multiplied by.
        axis: The axis of the weight that is contracted.

    Returns:
        The product, float32.

    Example:
        >>> two = jnp.full((3, 1), 2, jnp.int8)
        >>> multiply_quantized(jnp.ones((1, 3)), two, jnp.array([0.5])).tolist()
        [[3.0]]
    """
    return _multiply_quantized(inputs, weight, scale, axis)


def _quantized_product(inputs: Array, weight: Array, scale: Array, axis: int) -> Array:
    wide = inputs.astype(jnp.float32)
    largest = jnp.abs(wide).max(-1, keepdims=True)
    unit = jnp.where(largest > 0, largest, 1.0) / 127
    steps = wide / unit
    coarse = jnp.round(steps)
    fine = jnp.round((steps - coarse) * FINE)
    sums = multiply(jnp.stack([coarse, fine]).astype(jnp.int8), weight, axis=axis)
    digits = sums.astype(jnp.float32)
    return (digits[0] + digits[1] / FINE) * unit * scale


_multiply_quantized = jax.custom_vjp(_quantized_product, nondiff_argnums=(3,))


def _quantized_forward(
    inputs: Array, weight: Array, scale: Array, axis: int
) -> tuple[Array, tuple[Array, Array, Array]]:
    # The inputs are kept for their type.
    return _quantized_product(inputs, weight, scale, axis), (inputs, weight, scale)


def _quantized_gradients(
    axis: int, kept: tuple[Array, Array, Array], output: Array
) -> tuple[Array, None, None]:
    inputs, weight, scale = kept
    of_inputs = multiply(output * scale, weight.astype(jnp.float32), axis=1 - axis)
    return of_inputs.astype(inputs.dtype), None, None


_multiply_quantized.defvjp(_quantized_forward, _quantized_gradients)
