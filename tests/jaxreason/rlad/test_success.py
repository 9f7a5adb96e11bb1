"""The mixture of beta distributions: golden values, and predictions against unbiased estimates."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from jaxreason.rlad.allocation import pass_at_mk
from jaxreason.rlad.success import (
    CORRELATIONS,
    NUM_MEANS,
    component_likelihoods,
    component_pass,
    fit_shares,
    predict_pass,
)

predict = jax.jit(predict_pass, static_argnames="sizes")

MIDDLE = NUM_MEANS // 2 * len(CORRELATIONS)
"""The first component of mean 1/2."""


def test_golden_component():
    """Mean 1/2 and correlation 1/2 are Beta(1/2, 1/2): E[(1 - p)^2] = (1/2 x 3/2) / (1 x 2)."""
    component = MIDDLE + CORRELATIONS.index(0.5)
    chances = component_pass(((1, 1), (1, 2), (2, 2)))[component]
    np.testing.assert_allclose(chances, [0.5, 1 - 0.375, 1 - 0.375**2], atol=1e-6)


def test_components_without_correlation_are_independent_samples():
    chances = component_pass(((2, 3), (1, 6), (6, 1)))[MIDDLE]
    np.testing.assert_allclose(chances, [1 - 0.5**6] * 3, atol=1e-6)


def log_beta(a, b):
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def test_likelihoods_are_beta_binomial():
    """B(a + c, b + K - c) / B(a, b) for each abstraction, at mean 1/2: a = b = (1/rho - 1) / 2."""
    counts, solutions = [0, 3, 1], 4
    likelihoods = component_likelihoods(jnp.array([counts]), solutions=solutions)
    got = likelihoods[0, MIDDLE + 1 : MIDDLE + len(CORRELATIONS)]
    expected = []
    for rho in CORRELATIONS[1:]:
        a = 0.5 * (1 / rho - 1)
        logs = [log_beta(a + c, a + solutions - c) - log_beta(a, a) for c in counts]
        expected.append(math.exp(sum(logs)))
    np.testing.assert_allclose(got / got[0], np.array(expected) / expected[0], rtol=1e-4)


def test_shares_maximise_the_likelihood():
    """Of problems that fit a component alone: their shares; of one that fits both equally: none."""
    likelihoods = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    shares = fit_shares(likelihoods, jnp.array([[1.0, 3.0, 0.0], [1.0, 3.0, 5.0], [2.0, 0.0, 0.0]]))
    np.testing.assert_allclose(shares, [[0.25, 0.75], [0.25, 0.75], [1.0, 0.0]], atol=1e-5)


@given(arrays(bool, (4, 2, 3)))
def test_a_problem_that_counts_twice_is_two_problems(correct):
    sizes = ((1, 1), (4, 4))
    repeated = np.repeat(correct, [1, 3, 2, 1], axis=0)
    np.testing.assert_allclose(
        predict(jnp.asarray(correct), jnp.array([[1.0, 3.0, 2.0, 1.0]]), sizes=sizes),
        predict(jnp.asarray(repeated), jnp.ones((1, 7)), sizes=sizes),
        atol=1e-4,
    )


@given(arrays(bool, (3, 2, 2)))
def test_more_of_either_never_lowers_a_prediction(correct):
    sizes = tuple((m, k) for m in (1, 2, 4, 8, 16) for k in (1, 2, 4, 8, 16))
    values = predict(jnp.asarray(correct), jnp.ones((1, 3)), sizes=sizes).reshape(5, 5)
    assert (jnp.diff(values, axis=0) >= -1e-6).all() and (jnp.diff(values, axis=1) >= -1e-6).all()
    assert (values >= -1e-6).all() and (values <= 1 + 1e-6).all()


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("shape", [(20, 4, 4), (1, 4, 4), (5, 1, 8), (5, 8, 1)])
def test_all_alike_stays_so_within_what_was_sampled(right, shape):
    sizes = ((1, 1), shape[1:])
    values = predict_pass(jnp.full(shape, right), jnp.ones((1, shape[0])), sizes=sizes)
    np.testing.assert_allclose(values, jnp.full((1, 2), float(right)), atol=0.02)


def test_single_samples_say_no_more_than_the_mean():
    correct = (jnp.arange(10) < 3)[:, None, None]
    values = predict_pass(correct, jnp.ones((1, 10)), sizes=((1, 1),))
    np.testing.assert_allclose(values, [[0.3]], atol=1e-4)


def test_problems_that_a_resample_lacks_do_no_harm():
    """The one that is always solved is impossible once the others alone have set the shares."""
    correct = (jnp.arange(4) == 0)[:, None, None] & jnp.ones((4, 8, 8), bool)
    values = predict_pass(correct, jnp.array([[0.0, 2.0, 1.0, 1.0]]), sizes=((1, 1), (8, 8)))
    np.testing.assert_allclose(values, [[0.0, 0.0]], atol=0.02)


def test_predictions_agree_with_the_unbiased_estimate():
    """Of 400 problems, half of which no abstraction solves, where that has an estimate."""
    key_means, key_rates, key_correct = jax.random.split(jax.random.key(0), 3)
    means = jnp.where(jnp.arange(400) % 2, jax.random.uniform(key_means, (400,)), 0.0)[:, None]
    rates = jax.random.beta(key_rates, 3 * means + 1e-3, 3 * (1 - means), (400, 4))
    correct = jax.random.uniform(key_correct, (400, 4, 4)) < rates[..., None]
    sizes = tuple((m, k) for m in (1, 2, 4) for k in (1, 2, 4))
    expected = [float(pass_at_mk(correct, m=m, k=k).mean()) for m, k in sizes]
    values = predict_pass(correct, jnp.ones((1, 400)), sizes=sizes)
    np.testing.assert_allclose(values[0], expected, atol=0.015)


@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_shapes_and_sizes_are_named():
    with pytest.raises(ValueError, match=r"times must have shape \[resample, 2\]"):
        predict_pass(jnp.ones((2, 1, 1)), jnp.ones((1, 3)), sizes=((1, 1),))
    with pytest.raises(ValueError, match="sizes must be 1 or more; got m=0, k=2"):
        predict_pass(jnp.ones((2, 1, 1)), jnp.ones((1, 2)), sizes=((0, 2),))
