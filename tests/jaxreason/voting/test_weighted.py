"""Accuracies by category, and votes weighted by given confidences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxreason.voting.low_rank import ow_l
from jaxreason.voting.majority import majority
from jaxreason.voting.weighted import (
    PRIOR_ANSWERS,
    confidence_weighted,
    estimate_accuracies,
    optimal_weights,
    ow,
)

ANSWERS = hnp.arrays(np.int32, (6, 3), elements=st.integers(-1, 2))
CATEGORIES = hnp.arrays(np.int32, 6, elements=st.integers(0, 1))
BY_CATEGORY = np.array([[0.9, 0.4], [0.6, 0.7], [0.5, 0.8]])
vote_by_confidence = jax.jit(confidence_weighted, static_argnames=("num_options", "temperature"))


@given(answers=ANSWERS, categories=CATEGORIES)
def test_categories_are_voted_on_apart(answers, categories):
    votes = ow(
        jnp.array(answers),
        3,
        jnp.array(BY_CATEGORY, jnp.float32),
        categories=jnp.array(categories),
    )
    for category in (0, 1):
        inside = categories == category
        if inside.any():
            accuracies = jnp.array(BY_CATEGORY[:, category], jnp.float32)
            expected = ow(jnp.array(answers[inside]), 3, accuracies)
            np.testing.assert_allclose(votes.scores[inside], expected.scores, atol=1e-5)
            np.testing.assert_array_equal(votes.winners[inside], expected.winners)
    for i in range(3):
        answered = answers[:, i] >= 0
        counted = answered if answered.any() else ~answered
        expected = BY_CATEGORY[i, categories[counted]].mean()
        np.testing.assert_allclose(votes.accuracies[i], expected, rtol=1e-5)


def test_weights_by_category_and_number_of_options():
    num_options, categories = jnp.array([2, 4, 3]), jnp.array([1, 0, 1])
    weights = optimal_weights(jnp.array([[0.9, 0.25]]), num_options, categories=categories)
    expected = [[np.log(1 / 3)], [np.log(27)], [np.log(2 / 3)]]
    np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_estimates_by_category():
    """Overall 3 of 4 and 0 of 1 with p = 3.5 / 6; by category 2 of 2, 1 of 2 and 0 of 0, 0 of 1."""
    answers = jnp.array([[0, -1], [1, -1], [1, 2], [0, -1], [2, 2]])
    truth = jnp.array([0, 1, 1, 1, 2])
    where = jnp.array([True, True, True, True, False])
    categories = jnp.array([0, 0, 1, 1, 1])
    settings = {"categories": categories, "num_categories": 3}
    p = 3.5 / 6
    first, second = (3 + p) / 5, (0 + p) / 2
    m = PRIOR_ANSWERS
    expected = [
        [(2 + m * first) / (2 + m), (1 + m * first) / (2 + m), first],
        [second, m * second / (1 + m), second],
    ]
    found = estimate_accuracies(answers, truth, where, **settings)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    overall = estimate_accuracies(answers, truth, where)
    np.testing.assert_allclose(overall, [first, second], rtol=1e-6)
    none = estimate_accuracies(answers, truth, jnp.zeros(5, bool), **settings)
    np.testing.assert_allclose(none, np.full((2, 3), 0.5))


def test_estimates_by_category_approach_the_truth():
    """1000 questions in each of two categories, as standard errors of 0.015 allow."""
    rng = np.random.default_rng(0)
    categories = np.repeat([0, 1], 1000)
    right = rng.random((2000, 3)) < BY_CATEGORY.T[categories]
    answers, truth = jnp.array(np.where(right, 0, 1)), jnp.zeros(2000, int)
    found = estimate_accuracies(answers, truth, categories=jnp.array(categories), num_categories=2)
    np.testing.assert_allclose(found, BY_CATEGORY, atol=0.05)


def test_an_unknown_category_has_the_mean_accuracy():
    """-1 and 2 of two: 0.6 = (0.9 + 0.3) / 2, and not that of the last or the first category."""
    by_category = jnp.array([[0.9, 0.3], [0.5, 0.7]])
    weights = optimal_weights(by_category, 3, categories=jnp.array([-1, 2, 0]))
    means = optimal_weights(jnp.array([0.6, 0.6]), 3)
    np.testing.assert_allclose(weights[:2], [means, means], rtol=1e-5)
    np.testing.assert_allclose(weights[2], optimal_weights(by_category[:, 0], 3), rtol=1e-5)


def test_wrong_categories():
    answers, truth, categories = jnp.zeros((3, 2), int), jnp.zeros(3, int), jnp.zeros(3, int)
    with pytest.raises(ValueError, match="categories need num_categories"):
        estimate_accuracies(answers, truth, categories=categories)
    with pytest.raises(ValueError, match="num_categories is for categories"):
        estimate_accuracies(answers, truth, num_categories=2)


def test_wrong_shapes(as_users_run_it):
    answers, categories = jnp.zeros((3, 2), int), jnp.zeros(3, int)
    with pytest.raises(ValueError, match=r"accuracies must have shape \[2, category\]; got \[2\]"):
        ow(answers, 2, jnp.full(2, 0.5), categories=categories)
    with pytest.raises(ValueError, match=r"accuracies must have shape \[2\]; got \[2, 4\]"):
        ow(answers, 2, jnp.full((2, 4), 0.5))
    with pytest.raises(ValueError, match=r"categories must have shape \[3\]; got \[2\]"):
        ow(answers, 2, jnp.full((2, 4), 0.5), categories=categories[:2])
    with pytest.raises(ValueError, match=r"num_options must have shape \[3\]; got \[4\]"):
        optimal_weights(jnp.full((2, 4), 0.5), jnp.full(4, 2), categories=categories)
    with pytest.raises(ValueError, match=r"confidences must have shape \[3, 2\]; got \[3\]"):
        confidence_weighted(answers, 2, jnp.ones(3))


@given(
    answers=ANSWERS,
    confidences=hnp.arrays(np.float32, (6, 3), elements=st.floats(-2, 2, width=16)),
)
def test_confidences_are_a_softmax_over_the_voters(answers, confidences):
    answered = answers >= 0
    votes = vote_by_confidence(
        jnp.array(answers),
        3,
        jnp.array(np.where(answered, confidences, np.nan)),
        temperature=0.5,
    )
    powers = np.where(answered, np.exp(confidences / 0.5, dtype=float), 0.0)
    totals = powers.sum(axis=1, keepdims=True)
    expected = np.divide(powers, totals, out=np.zeros((6, 3)), where=totals > 0)
    np.testing.assert_allclose(votes.weights, expected, atol=1e-6)
    scores = np.einsum("qis,qi->qs", answers[:, :, None] == np.arange(3), expected)
    np.testing.assert_allclose(votes.scores, scores, atol=1e-6)


@given(answers=ANSWERS)
def test_an_infinite_temperature_is_the_majority(answers):
    confidences = jnp.arange(18.0).reshape(6, 3)
    votes = vote_by_confidence(jnp.array(answers), 3, confidences, temperature=float("inf"))
    np.testing.assert_array_equal(votes.winners, majority(jnp.array(answers), 3).winners)


def test_a_low_temperature_follows_the_surest_agent():
    answers, confidences = jnp.array([[0, 1, 1], [2, 1, -1]]), jnp.array([[3.0, 2.9, 2.9]] * 2)
    assert confidence_weighted(answers, 3, confidences).answers.tolist() == [1, 2]
    low = confidence_weighted(answers, 3, confidences, temperature=1e-4)
    assert low.answers.tolist() == [0, 2]
    assert jnp.isfinite(low.scores).all()


def test_infinite_confidence_decides_alone():
    confidences = jnp.array([[jnp.inf, 0.1, 0.2], [jnp.inf, jnp.inf, 5.0], [-jnp.inf, 0.0, 0.0]])
    weights = confidence_weighted(jnp.array([[0, 1, 1]] * 3), 2, confidences).weights
    assert weights.tolist() == [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]


def test_a_temperature_may_be_traced():
    answers, confidences = jnp.array([[0, 1, 1]]), jnp.array([[0.9, 0.3, 0.2]])
    vote = lambda t: confidence_weighted(answers, 2, confidences, temperature=t).answers  # noqa: E731
    assert jax.vmap(vote)(jnp.array([0.5, 2.0])).tolist() == [[0], [1]]


def test_always_right_and_always_wrong_weigh_the_same():
    votes = ow(jnp.array([[0, 0], [0, 1]]), 2, jnp.array([1.0, 0.0]))
    assert votes.winners.tolist() == [[0.5, 0.5], [1.0, 0.0]]


def test_what_names_no_option_is_no_answer_and_no_label():
    answers, truth = jnp.array([[0, 1], [0, 3], [0, 0], [0, 1]]), jnp.array([0, 0, 5, 0])
    options = jnp.array([2, 2, 2, 1])
    found = estimate_accuracies(jnp.where(answers > 1, -1, answers), truth, num_options=2)
    expected = estimate_accuracies(
        jnp.array([[0, 1], [0, -1], [-1, -1], [0, 1]]), jnp.array([0, 0, -1, 0])
    )
    np.testing.assert_allclose(found, expected)
    estimate = jax.jit(estimate_accuracies, static_argnames="max_options")  # values are not known
    found = estimate(answers, truth, num_options=options, max_options=2)
    alone = estimate_accuracies(jnp.array([[0, 1], [0, -1]]), jnp.array([0, 0]))
    np.testing.assert_allclose(found, alone)


def test_single_options_make_no_accuracy():
    answers = jnp.concatenate(
        [jnp.array([[0, 0, 1, 2], [1, 1, 1, 3]] * 50), jnp.zeros((80, 4), int)]
    )
    options = jnp.where(jnp.arange(180) < 100, 4, 1)
    known = ow_l(answers[:100], options[:100], max_options=4).accuracies
    found = ow_l(answers, options, max_options=4).accuracies
    np.testing.assert_allclose(found, known, rtol=1e-5)


def test_narrow_integers_number_many_categories():
    categories = jnp.array([0, 1], jnp.int8)
    table = jnp.full((1, 200), 0.5).at[0, 1].set(0.9)
    weights = optimal_weights(table, 2, categories=categories)
    np.testing.assert_allclose(weights[:, 0], [0.0, np.log(9.0)], atol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_wrong_temperature(temperature):
    with pytest.raises(ValueError, match="temperature must be above 0; got"):
        confidence_weighted(jnp.zeros((1, 2), int), 2, jnp.ones((1, 2)), temperature=temperature)
