"""Calibration: its slope, golden values, and what labels add to a posterior that is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxreason.voting import calibration
from jaxreason.voting.calibration import SPREAD, calibrate, correct

calibrate_jitted = jax.jit(calibrate)
NUM_OPTIONS = np.array([2, 3, 4, 4, 3, 2, 4, 3])
EXISTS = np.arange(4) < NUM_OPTIONS[:, None]


def slope(fitted, log_posterior, answers, truth):
    """That of the penalised log-likelihood in trust and weights, from its definition."""
    trust, weights = np.float64(fitted.trust), np.asarray(fitted.weights, np.float64)
    total = np.append(1.0 - trust, -weights / SPREAD**2)
    for q, label in enumerate(truth):
        k = NUM_OPTIONS[q]
        if not 0 <= label < k:
            continue
        votes = answers[q][None, :] == np.arange(k)[:, None]
        features = np.concatenate([log_posterior[q, :k, None], votes], axis=1).astype(np.float64)
        scores = features @ np.append(trust, weights)
        chances = np.exp(scores - scores.max())
        total += features[label] - chances @ features / chances.sum()
    return total


@given(
    hnp.arrays(np.float32, (8, 4), elements=st.floats(-60, 0, width=16)),
    hnp.arrays(np.int32, (8, 3), elements=st.integers(-1, 4)),
    hnp.arrays(np.int32, 8, elements=st.integers(-1, 4)),
)
def test_it_ends_where_the_penalised_likelihood_is_flat(scores, answers, truth):
    log_posterior = np.array(jax.nn.log_softmax(jnp.where(EXISTS, scores, -1e9)))
    log_posterior = np.maximum(log_posterior, np.log(np.finfo(np.float32).tiny))
    answers = np.where(answers < NUM_OPTIONS[:, None], answers, -1)
    fitted = calibrate_jitted(*map(jnp.asarray, (log_posterior, answers, EXISTS, truth)))
    np.testing.assert_allclose(slope(fitted, log_posterior, answers, truth), 0.0, atol=2e-3)


def test_one_label_by_hand():
    # One agent, wrong at odds 1 : 1; w solves 1 / (1 + exp(-w)) = -4 w, and the trust is as before.
    even, exists = jnp.log(jnp.full((1, 2), 0.5)), jnp.ones((1, 2), bool)
    fitted = calibrate_jitted(even, jnp.array([[1]]), exists, jnp.array([0]))
    w = -0.11765
    np.testing.assert_allclose(1 / (1 + np.exp(-w)), -4 * w, atol=1e-4)
    np.testing.assert_allclose(fitted.weights, [w], atol=1e-4)
    np.testing.assert_allclose(fitted.trust, 1.0, atol=1e-6)
    posterior = jnp.exp(correct(fitted, even, jnp.array([[1]]), exists))
    np.testing.assert_allclose(posterior[0, 1], 1 / (1 + np.exp(-w)), atol=1e-4)


def test_without_labels_nothing_is_corrected():
    log_posterior = jax.nn.log_softmax(jnp.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]))
    answers, exists = jnp.array([[0, 1], [1, 0], [0, -1]]), jnp.ones((3, 2), bool)
    for none in (-1, 2):
        fitted = calibrate_jitted(log_posterior, answers, exists, jnp.full(3, none))
        assert fitted.trust == 1
        assert (fitted.weights == 0).all()
        corrected = correct(fitted, log_posterior, answers, exists)
        np.testing.assert_allclose(corrected, log_posterior, atol=1e-6)


def overconfident(questions):
    """Three agents that always agree count as three; the fourth knows better."""
    generator = np.random.default_rng(0)
    truth = generator.integers(2, size=questions)
    shared = np.where(generator.random(questions) < 0.6, truth, 1 - truth)
    other = np.where(generator.random(questions) < 0.8, truth, 1 - truth)
    answers = jnp.asarray(np.stack([shared] * 3 + [other], axis=1))
    votes = (answers[:, :, None] == jnp.arange(2)).sum(1).astype(jnp.float32)
    return jax.nn.log_softmax(2.0 * votes), answers, jnp.ones((questions, 2), bool), truth


def test_labels_help_a_posterior_that_is_wrong():
    log_posterior, answers, exists, truth = overconfident(1000)
    labels = jnp.asarray(np.where(np.arange(1000) < 100, truth, -1))
    fitted = calibrate_jitted(log_posterior, answers, exists, labels)
    corrected = correct(fitted, log_posterior, answers, exists)

    def rate(scores):
        return (jnp.argmax(scores, axis=1)[100:] == truth[100:]).mean()

    def cost(scores):
        return -jnp.take_along_axis(scores, jnp.asarray(truth)[:, None], axis=1)[100:].mean()

    assert rate(log_posterior) < 0.65
    assert rate(corrected) > 0.75
    assert cost(corrected) < 0.6 < np.log(2) < cost(log_posterior)
    assert fitted.trust < 0.7
    assert fitted.weights[3] > fitted.weights[:3].max()
    np.testing.assert_allclose(fitted.weights[:3], fitted.weights[0], atol=1e-4)


def test_blocks_add_up(monkeypatch):
    log_posterior, answers, exists, truth = overconfident(23)
    labels = jnp.asarray(np.where(np.arange(23) % 2 == 0, truth, -1))
    whole = calibrate_jitted(log_posterior, answers, exists, labels)
    monkeypatch.setattr(calibration, "questions_per_block", lambda agents, options: 5)
    parts = jax.jit(lambda: calibrate(log_posterior, answers, exists, labels))()
    np.testing.assert_allclose(parts.trust, whole.trust, atol=1e-4)
    np.testing.assert_allclose(parts.weights, whole.weights, atol=1e-4)
