"""The cache is never copied while decoding, whatever its shape: as the compiled program says."""

import math
import re

import jax
import jax.numpy as jnp
import pytest

from jaxreason.model import ModelConfig, init
from jaxreason.rollout import generate
from jaxreason.sequences import Sequence

TIME, STEPS, WIDTH = 40, 61, 8


def compiled_text(rows, kv_heads, dtype):
    config = ModelConfig(
        vocab_size=40,
        dim=4 * WIDTH,
        num_layers=1,
        num_heads=4,
        num_kv_heads=kv_heads,
        hidden_dim=24,
        dtype=dtype,
    )

    def run(params, key):
        tokens = jnp.ones((rows, TIME), jnp.int32)
        prompts = Sequence(tokens, tokens > 0)
        return generate(config, params, prompts, key, max_new_tokens=STEPS, stop_tokens=(2,))

    params = jax.tree.map(lambda leaf: leaf.astype(dtype), init(config, jax.random.key(0)))
    return jax.jit(run).lower(params, jax.random.key(0)).compile().as_text()


def copies_in_loops(text, elements):
    """Instructions that copy arrays of so many elements or more, in the bodies of loops."""
    bodies = set(re.findall(r"body=%?([\w.\-]+)", text))
    inside = [
        found[0]
        for found in re.finditer(r"^%?([\w.\-]+) .*?^}", text, re.M | re.S)
        if found[1] in bodies
    ]
    assert inside
    found = re.findall(r"= \w+\[([\d,]+)\]\S* copy\(", "\n".join(inside))
    return [
        shape for shape in found if math.prod(int(size) for size in shape.split(",")) >= elements
    ]


@pytest.mark.parametrize(
    ("rows", "kv_heads", "dtype"),
    [(1, 1, "float32"), (1, 1, "bfloat16"), (1, 2, "float32"), (3, 1, "float32")],
)
def test_generate_copies_no_cache(rows, kv_heads, dtype):
    text = compiled_text(rows, kv_heads, dtype)
    assert "while" in text and f",{TIME + STEPS - 1}]" in text
    assert copies_in_loops(text, rows * kv_heads * WIDTH * (TIME + STEPS - 1)) == []


def test_the_check_sees_a_copy():
    """One that must be: a loop over rows that swaps them."""

    def run(first, second):
        return jax.lax.fori_loop(0, 9, lambda _, both: (both[1] + 1.0, both[0]), (first, second))

    ones = jnp.ones((50, 16))
    text = jax.jit(run).lower(ones, ones).compile().as_text()
    assert copies_in_loops(text, 800) != [] == copies_in_loops(text, 801)
