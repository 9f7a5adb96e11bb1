"""Golden values for pi = (0.7, 0.3) and ref = (0.5, 0.5), whose divergence is 0.082283."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.policy_gradient import k1, k2, k3

LOGITS = jnp.log(jnp.array([0.7, 0.3]))
REFERENCE = jnp.log(jnp.array([0.5, 0.5]))


@pytest.mark.parametrize(
    ("estimator", "expected", "swapped"),
    [(k1, 0.5, -0.5), (k2, 0.125, 0.125), (k3, 0.106531, 0.148721)],
)
def test_golden_values(estimator, expected, swapped):
    log_probs, ref_log_probs = jnp.array(-1.0), jnp.array(-1.5)
    np.testing.assert_allclose(estimator(log_probs, ref_log_probs), expected, atol=1e-6)
    np.testing.assert_allclose(estimator(ref_log_probs, log_probs), swapped, atol=1e-6)


@pytest.mark.parametrize(("estimator", "value"), [(k1, 0.082283), (k2, 0.078766), (k3, 0.082283)])
def test_expected_values(estimator, value):
    expectation = jnp.sum(jnp.exp(LOGITS) * estimator(LOGITS, REFERENCE))
    np.testing.assert_allclose(expectation, value, atol=1e-6)


@pytest.mark.parametrize(
    ("estimator", "gradient"),
    # 0.177933 = 0.7 * 0.3 * ln(7 / 3) is that of KL(pi || ref), 0.2 = 0.7 - 0.5 of KL(ref || pi).
    [(k1, 0.0), (k2, 0.177933), (k3, 0.2)],
)
def test_expected_gradients_as_a_loss(estimator, gradient):
    """The gradient with respect to the first logit, over samples that don't depend on it."""

    def loss(logits):
        samples = jax.lax.stop_gradient(jax.nn.softmax(logits))
        return jnp.sum(samples * estimator(jax.nn.log_softmax(logits), REFERENCE))

    np.testing.assert_allclose(jax.grad(loss)(LOGITS)[0], gradient, atol=1e-6)


@given(st.floats(-50, 0, width=32), st.floats(-50, 0, width=32))
def test_k2_and_k3_are_not_negative(log_prob, ref_log_prob):
    log_probs, ref_log_probs = jnp.array(log_prob), jnp.array(ref_log_prob)
    assert k2(log_probs, ref_log_probs) >= 0
    assert k3(log_probs, ref_log_probs) >= 0


def test_k3_keeps_small_differences():
    """k3 = d^2 / 2 - ...; computed as exp(-d) - 1 + d, float32 would lose it."""
    np.testing.assert_allclose(k3(jnp.array(-1e-3), jnp.array(0.0)), 5.0017e-7, rtol=1e-3)


def test_k3_does_not_overflow():
    value, gradient = jax.value_and_grad(k3)(jnp.array(-200.0), jnp.array(0.0))
    np.testing.assert_allclose(value, np.exp(20.0) - 21.0, rtol=1e-6)
    assert gradient == 0.0
