"""Documents packed into one row have nothing to do with one another."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.model import forward, positions_of, token_log_probs
from jaxreason.training import next_token_loss

LENGTHS = (5, 1, 4)
TIME = 12
DOCUMENTS = [jax.random.randint(jax.random.key(length), (length,), 0, 37) for length in LENGTHS]

scores_of = jax.jit(token_log_probs, static_argnums=0)


def batch_of(tokens, segment_ids):
    return {
        "tokens": tokens,
        "segment_ids": segment_ids,
        "positions": positions_of(segment_ids),
        "loss_mask": jnp.ones(tokens.shape, bool),
    }


def packed():
    tokens = jnp.pad(jnp.concatenate(DOCUMENTS), (0, TIME - sum(LENGTHS)))
    segments = jnp.array([1] * 5 + [2] + [3] * 4 + [0] * 2)
    return batch_of(tokens[None], segments[None])


def unpacked():
    tokens = jnp.stack([jnp.pad(document, (0, TIME - len(document))) for document in DOCUMENTS])
    return batch_of(tokens, (jnp.arange(TIME) < jnp.array(LENGTHS)[:, None]).astype(jnp.int32))


def test_log_probs_are_those_of_the_documents(config, params):
    together, apart = (
        scores_of(config, params, batch["tokens"], segment_ids=batch["segment_ids"]).log_probs
        for batch in (packed(), unpacked())
    )
    np.testing.assert_allclose(together[0, :4], apart[0, :4], atol=1e-5)
    np.testing.assert_allclose(together[0, 6:9], apart[2, :3], atol=1e-5)


def test_loss_and_gradient_are_those_of_the_documents(config, params):
    def total(params, batch):
        loss, _ = next_token_loss(config, params, batch)
        return loss.sum, loss.weight

    run = jax.jit(jax.value_and_grad(total, has_aux=True))
    (together, weight), gradient = run(params, packed())
    (apart, weight_apart), gradient_apart = run(params, unpacked())
    # The first token of a document has nothing to be predicted from.
    assert weight == weight_apart == sum(LENGTHS) - len(LENGTHS)
    np.testing.assert_allclose(together, apart, rtol=1e-6)
    jax.tree.map(partial(np.testing.assert_allclose, atol=2e-5), gradient, gradient_apart)


def test_a_document_does_not_feel_another(config, params):
    """Bit for bit: logits of the third document, whatever the first one says."""
    batch = packed()
    run = jax.jit(lambda tokens: forward(config, params, tokens, segment_ids=batch["segment_ids"]))
    changed = batch["tokens"].at[0, :5].set((batch["tokens"][0, :5] + 7) % 37)
    before, after = run(batch["tokens"]), run(changed)
    assert (before[0, :5] != after[0, :5]).any(-1).all()
    np.testing.assert_array_equal(before[0, 5:10], after[0, 5:10])
