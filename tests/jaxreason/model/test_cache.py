"""Decoding with a cache against the forward pass over the whole sequence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.model import decode_step, extend, forward, prefill, read_prompts, unembed

TIME, STEPS = 6, 3
# Prompts of four tokens with gaps before, after and within.
MASK = jnp.array(
    [[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 0, 1, 0, 1, 1], [0, 1, 1, 1, 1, 0]], bool
)
TOKENS = jax.random.randint(jax.random.key(1), (4, TIME + STEPS), 0, 37)
VALID = jnp.concatenate([MASK, jnp.ones((4, STEPS), bool)], axis=1)

start = jax.jit(prefill, static_argnums=0, static_argnames="num_slots")
step = jax.jit(decode_step, static_argnums=0)
logits_of = jax.jit(forward, static_argnums=0)


@pytest.fixture(scope="module")
def decoded(config, params):
    """Logits after each prompt and after each further token, `[batch, 1 + STEPS, vocab]`."""
    logits, cache = start(config, params, TOKENS[:, :TIME], MASK, num_slots=TIME + STEPS)
    rows = [logits]
    for place in range(TIME, TIME + STEPS):
        logits, cache = step(config, params, TOKENS[:, place], cache)
        rows.append(logits)
    assert int(cache.next_slot) == TIME + STEPS
    assert cache.next_position.tolist() == [4 + STEPS] * 4
    return jnp.stack(rows, axis=1)


def test_logits_equal_the_forward_pass_without_padding(config, params, decoded):
    logits = logits_of(config, params, TOKENS[VALID].reshape(4, 4 + STEPS))
    np.testing.assert_allclose(decoded, logits[:, -(STEPS + 1) :], atol=1e-5)


def test_logits_equal_the_forward_pass_with_padding(config, params, decoded):
    logits = logits_of(config, params, TOKENS, segment_ids=VALID.astype(jnp.int32))
    np.testing.assert_allclose(decoded[:, 1:], logits[:, TIME:], atol=1e-5)


def test_tokens_in_padding_have_no_influence(config, params, decoded):
    prompts = TOKENS[:, :TIME]
    other = jnp.where(MASK, prompts, 36 - prompts)
    logits, _ = start(config, params, other, MASK, num_slots=TIME + STEPS)
    np.testing.assert_array_equal(logits, decoded[:, 0])


def test_several_tokens_at_once_equal_one_by_one(config, params, decoded):
    """Also with padding between them, which is neither seen nor counted."""
    last, cache = jax.jit(read_prompts, static_argnums=0, static_argnames="num_slots")(
        config, params, TOKENS[:, :TIME], MASK, num_slots=TIME + STEPS + 1
    )
    read = jnp.insert(TOKENS[:, TIME:], 1, 0, axis=1)
    mask = jnp.ones((4, STEPS + 1), bool).at[:, 1].set(False)
    hidden, cache = jax.jit(extend, static_argnums=0)(config, params, read, mask, cache)
    logits = unembed(config, params, jnp.concatenate([last[:, None], hidden], axis=1))
    np.testing.assert_allclose(jnp.delete(logits, 2, axis=1), decoded, atol=1e-5)
    assert cache.next_position.tolist() == [4 + STEPS] * 4
    np.testing.assert_array_equal(cache.valid[:, TIME:], mask)


def test_too_small_a_cache_is_refused(config, params):
    with pytest.raises(ValueError, match="num_slots must be at least the prompts' 6 tokens; got 5"):
        prefill(config, params, TOKENS[:, :TIME], MASK, num_slots=5)
