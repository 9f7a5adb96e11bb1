"""The distribution, and drawing from it exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.rollout import Sampling, sample_token

LOGITS = jnp.log(jnp.array([0.1, 0.4, 0.15, 0.3, 0.05]))
LARGEST = np.nextafter(np.float32(1), np.float32(0))  # of the uniform numbers

draw = jax.jit(jax.vmap(sample_token, (None, 0)))


def probabilities(sampling, logits=LOGITS):
    return np.asarray(jax.nn.softmax(sampling.transform(logits)))


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), [0.1, 0.4, 0.15, 0.3, 0.05]),
        # Squares: 0.01, 0.16, 0.0225, 0.09, 0.0025 of 0.285.
        (Sampling(temperature=0.5), np.array([0.01, 0.16, 0.0225, 0.09, 0.0025]) / 0.285),
        (Sampling(top_k=2), [0, 4 / 7, 0, 3 / 7, 0]),
        (Sampling(top_k=1), [0, 1, 0, 0, 0]),
        (Sampling(top_k=99), [0.1, 0.4, 0.15, 0.3, 0.05]),
        # 0.4 + 0.3 falls short of 0.75, so the next is kept too.
        (Sampling(top_p=0.75), [0, 0.4 / 0.85, 0.15 / 0.85, 0.3 / 0.85, 0]),
        (Sampling(top_p=0.69), [0, 4 / 7, 0, 3 / 7, 0]),
        (Sampling(top_p=1e-6), [0, 1, 0, 0, 0]),
        # Of the three that top-k leaves (16, 9 and 2.25 of 27.25), two reach 0.9.
        (Sampling(temperature=0.5, top_k=3, top_p=0.9), [0, 16 / 25, 0, 9 / 25, 0]),
        (Sampling(temperature=0.0), [0, 1, 0, 0, 0]),
        (Sampling(temperature=0.0, top_k=3, top_p=0.5), [0, 1, 0, 0, 0]),
    ],
)
def test_distribution(sampling, expected):
    np.testing.assert_allclose(probabilities(sampling), expected, atol=1e-6)


def test_ties():
    """The first of equals is the greedy choice; top-k keeps all that tie for the last place."""
    tied = jnp.array([0.0, 1.0, 1.0, 0.0])
    assert probabilities(Sampling(temperature=0.0), tied).tolist() == [0, 1, 0, 0]
    assert (probabilities(Sampling(top_k=3), tied) > 0).all()
    np.testing.assert_allclose(probabilities(Sampling(top_k=1), tied), [0, 0.5, 0.5, 0])


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(0.5, top_k=3), Sampling(top_p=0.75), Sampling(0.0)]
)
def test_drawing_inverts_the_distribution(sampling):
    """A grid of uniform numbers hits every token in proportion to its probability."""
    count = 20_000
    grid = (jnp.arange(count, dtype=jnp.float32) + 0.5) / count
    tokens = draw(sampling.transform(LOGITS), grid)
    share = np.bincount(tokens, minlength=5) / count
    np.testing.assert_allclose(share, probabilities(sampling), atol=2 / count)


@pytest.mark.parametrize("vocab", [2, 7, 512, 4096])
def test_excluded_tokens_are_never_drawn(vocab):
    """Uniform numbers at, just below and just above each step of the cumulative distribution.

    A parallel cumulative sum may rise by a rounding error where a token is excluded.
    """
    rng = np.random.default_rng(vocab)
    logits = rng.normal(size=vocab).astype(np.float32)
    excluded = rng.random(vocab) < 0.5
    excluded[rng.integers(vocab)] = False
    logits[excluded] = -np.inf
    steps = np.asarray(jnp.cumsum(jnp.exp(logits - logits.max())))
    steps = (steps / steps[-1]).astype(np.float32)[: 3 * 512]
    near = [steps, np.nextafter(steps, np.float32(0)), np.nextafter(steps, np.float32(2))]
    uniform = np.clip(np.concatenate([*near, [0, LARGEST]]), 0, LARGEST).astype(np.float32)
    tokens = np.asarray(draw(jnp.asarray(logits), jnp.asarray(uniform)))
    assert not excluded[tokens].any()
    assert tokens[-1] == np.flatnonzero(~excluded)[-1]
    assert tokens[-2] == np.flatnonzero(~excluded)[0]


@given(
    st.lists(st.sampled_from([-np.inf, -200.0, -3.0, 0.0, 1.0, 40.0]), min_size=5, max_size=5),
    st.floats(0, float(LARGEST), width=32),
)
def test_any_logits(logits, uniform):
    if max(logits) == -np.inf:
        return
    token = int(draw(jnp.array(logits), jnp.array([uniform], jnp.float32))[0])
    assert logits[token] > -np.inf


@pytest.mark.parametrize("vocab", [1, 2, 3, 4, 5, 16, 17, 1000])
def test_blocks_of_any_number_of_tokens_give_the_inverse(vocab):
    """The inverse in float64; numbers next to a boundary, where rounding decides, are left out."""
    rng = np.random.default_rng(vocab)
    logits = rng.normal(size=vocab).astype(np.float32) * 3
    logits[rng.random(vocab) < 0.3] = -np.inf
    logits[vocab // 2] = 0.0
    uniform = rng.random(500).astype(np.float32)
    weights = np.exp(logits.astype(np.float64))
    cumulative = np.cumsum(weights) / weights.sum()
    clear = abs(uniform[:, None] - cumulative).min(-1) > 1e-5
    expected = np.searchsorted(cumulative, uniform, side="right")
    drawn = draw(jnp.array(logits), jnp.array(uniform))
    np.testing.assert_array_equal(np.asarray(drawn)[clear], expected[clear])
    assert clear.mean() > 0.9


def test_drawing_works_over_batches():
    logits = jnp.stack([LOGITS, LOGITS[::-1]])
    assert sample_token(logits, jnp.array([0.0, 0.0])).tolist() == [0, 0]
    assert sample_token(logits, jnp.array([0.3, 0.3])).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"temperature": -0.1}, "temperature must be 0 or more; got -0.1"),
        ({"temperature": float("nan")}, "temperature must be 0 or more; got nan"),
        ({"top_k": 0}, "top_k must be 1 or more, or None; got 0"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\]; got 0.0"),
        ({"top_p": 1.5}, r"top_p must be in \(0, 1\]; got 1.5"),
    ],
)
def test_bad_settings_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        Sampling(**settings)
