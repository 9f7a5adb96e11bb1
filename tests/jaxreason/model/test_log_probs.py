"""Log-probs of given tokens: values, gradients, and what is never held in memory."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.model import forward, score_hidden, score_logits, token_log_probs

TOKENS = jax.random.randint(jax.random.key(1), (3, 11), 0, 37)
COOLER = lambda logits: logits / 0.7  # noqa: E731


def plain_scores(config, params, tokens, transform=lambda logits: logits):
    """Straight from all logits."""
    logits = transform(forward(config, params, tokens)[:, :-1])
    log_probs = jax.nn.log_softmax(logits)
    chosen = jnp.take_along_axis(log_probs, tokens[:, 1:, None], -1)[..., 0]
    return chosen, -(jnp.exp(log_probs) * log_probs).sum(-1)


def weigh(log_probs, entropy):
    """A function of both whose gradient is different at every token."""
    weights = jnp.arange(log_probs.size, dtype=jnp.float32).reshape(log_probs.shape) / 10
    return (weights * log_probs + (1 + weights) * entropy).sum()


@pytest.fixture(scope="module")
def plain(config, params):
    def total(params):
        scores = plain_scores(config, params, TOKENS, COOLER)
        return weigh(*scores), scores

    return jax.jit(jax.grad(total, has_aux=True))(params)


@pytest.mark.parametrize("chunk_size", [1, 7, 4096])
def test_chunks_equal_the_plain_computation(config, params, plain, chunk_size):
    """Thirty tokens: chunks that divide them, that do not, and that are larger."""

    def chunked(params):
        scores = token_log_probs(config, params, TOKENS, transform=COOLER, chunk_size=chunk_size)
        return weigh(scores.log_probs, scores.entropy), scores

    gradient, scores = jax.jit(jax.grad(chunked, has_aux=True))(params)
    expected, (log_probs, entropy) = plain
    np.testing.assert_allclose(scores.log_probs, log_probs, atol=1e-5)
    np.testing.assert_allclose(scores.entropy, entropy, atol=1e-5)
    scale = max(float(abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6 * scale), gradient, expected
    )


def largest_with_vocab(function, *arguments, vocab):
    """The most numbers in an array with a `vocab` axis, in the compiled program."""
    text = jax.jit(function).lower(*arguments).compile().as_text()
    shapes = [[int(n) for n in shape.split(",")] for shape in re.findall(r"f32\[([\d,]+)\]", text)]
    return max(math.prod(shape) for shape in shapes if vocab in shape)


def test_no_array_of_all_logits_exists(config, params):
    """Forward and backward: nothing with the vocabulary is larger than a chunk or a table."""
    chunk = 5

    def chunked(params):
        scores = token_log_probs(config, params, TOKENS, chunk_size=chunk)
        return weigh(scores.log_probs, scores.entropy)

    def plain(params):
        return weigh(*plain_scores(config, params, TOKENS))

    vocab, all_logits = config.vocab_size, config.vocab_size * 30
    allowed = vocab * max(chunk, config.dim)
    assert allowed < all_logits
    assert largest_with_vocab(jax.grad(chunked), params, vocab=vocab) <= allowed
    assert largest_with_vocab(jax.grad(plain), params, vocab=vocab) >= all_logits


def test_uniform_distribution_has_entropy_ln_4():
    scores = score_logits(jnp.full((2, 4), 3.0), jnp.array([0, 3]))
    np.testing.assert_allclose(scores.entropy, 1.386294, atol=1e-6)
    np.testing.assert_allclose(scores.log_probs, -1.386294, atol=1e-6)


def test_excluded_tokens_leave_the_rest_finite():
    """ln 2 over the two that are left; the gradient of what is excluded is 0."""
    logits = jnp.array([1.0, -jnp.inf, 1.0, -jnp.inf])

    def total(logits):
        scores = score_logits(logits, jnp.array(2))
        return scores.log_probs + 3 * scores.entropy, scores

    gradient, scores = jax.grad(total, has_aux=True)(logits)
    np.testing.assert_allclose([scores.log_probs, scores.entropy], [-np.log(2), np.log(2)], 1e-6)
    # Of ln p_2: (-1/2, 1/2); the entropy is at its maximum.
    np.testing.assert_allclose(gradient, [-0.5, 0.0, 0.5, 0.0], atol=1e-6)


def test_an_excluded_target_has_probability_0_and_a_finite_gradient():
    logits = jnp.array([1.0, -jnp.inf, 0.0])
    value, gradient = jax.value_and_grad(lambda x: score_logits(x, jnp.array(1)).log_probs)(logits)
    assert value == -jnp.inf and jnp.isfinite(gradient).all()


def test_one_possible_token_has_entropy_0():
    scores = score_logits(jnp.array([-jnp.inf, 5.0]), jnp.array(1))
    assert scores.log_probs == 0 and scores.entropy == 0


def test_low_precision_logits_are_scored_in_float32():
    scores = score_logits(jnp.zeros((1, 3), jnp.bfloat16), jnp.array([0]))
    np.testing.assert_allclose(scores.log_probs, -math.log(3), atol=1e-6)


def test_padding_is_skipped(config, params):
    """A token is scored from the last valid one before it, wherever the padding stands."""
    valid = [1, 0, 1, 1, 1, 0, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0]
    places = np.flatnonzero(valid)
    tokens = jnp.full((3, len(valid)), 7).at[:, places].set(TOKENS)
    mask = jnp.tile(jnp.array(valid), (3, 1))
    run = jax.jit(token_log_probs, static_argnums=0, static_argnames="start")
    whole = run(config, params, TOKENS).log_probs
    for start in (1, 7):
        padded = run(config, params, tokens, start=start, segment_ids=mask).log_probs
        scored = places[places >= start]
        expected = whole[:, -len(scored) :]
        np.testing.assert_allclose(padded[:, scored - start], expected, atol=1e-5)


def test_no_rows(config, params):
    hidden = jnp.zeros((0, 5, config.dim))
    scores = score_hidden(config, params, hidden, jnp.zeros((0, 5), jnp.int32))
    assert scores.log_probs.shape == scores.entropy.shape == (0, 5)


@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_arguments_are_refused(config, params):
    with pytest.raises(ValueError, match=r"start must be in \[1, 11\); got 11"):
        token_log_probs(config, params, TOKENS, start=11)
    with pytest.raises(ValueError, match=r"start must be in \[1, 11\); got 0"):
        token_log_probs(config, params, TOKENS, start=0)
    hidden = jnp.zeros((1, 2, 16))
    with pytest.raises(ValueError, match="chunk_size must be 1 or more; got 0"):
        score_hidden(config, params, hidden, jnp.zeros((1, 2), jnp.int32), chunk_size=0)
    with pytest.raises(ValueError, match=r"hidden must have shape \[batch, time, 16\]"):
        score_hidden(config, params, jnp.zeros((1, 2, 8)), jnp.zeros((1, 2), jnp.int32))
    with pytest.raises(ValueError, match=r"targets must have shape \[1, 2\]; got \[1, 3\]"):
        score_hidden(config, params, hidden, jnp.zeros((1, 3), jnp.int32))


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_large_logits_are_scored_as_well_as_small_ones(offset):
    """Against float64."""
    rng = np.random.default_rng(0)
    logits = (rng.normal(size=(50, 1000)) * 3 + offset).astype(np.float32)
    targets = rng.integers(0, 1000, 50)
    exact = logits.astype(np.float64)
    log_probs = exact - np.log(np.exp(exact - exact.max(-1, keepdims=True)).sum(-1, keepdims=True))
    log_probs -= exact.max(-1, keepdims=True)
    scores = score_logits(jnp.asarray(logits), jnp.asarray(targets))
    expected = log_probs[np.arange(50), targets]
    np.testing.assert_allclose(scores.log_probs, expected, rtol=0, atol=2e-6)
    entropy = -(np.exp(log_probs) * log_probs).sum(-1)
    np.testing.assert_allclose(scores.entropy, entropy, rtol=0, atol=5e-6)
