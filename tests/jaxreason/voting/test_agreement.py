"""Pairwise agreement: exact where it can be, and to the digits of float32 on many questions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.voting.agreement import pairwise_agreement
from jaxreason.voting.simulation import simulate_independent


def loop(answers, num_options):
    """The definition, in float64."""
    answers, options = np.asarray(answers), np.asarray(num_options, float)[:, None, None]
    both = (answers[:, :, None] >= 0) & (answers[:, None, :] >= 0) & (options >= 2)
    same = answers[:, :, None] == answers[:, None, :]
    excess = (options * same - 1) / np.maximum(options - 1, 1)
    counts = both.sum(axis=0)
    return np.where(both, excess, 0.0).sum(axis=0) / np.maximum(counts, 1), counts


def draw(num_options, questions, agents=3):
    x = jnp.linspace(0.5, 0.8, agents)
    answers, _ = simulate_independent(jax.random.key(0), x, num_options, questions)
    gone = jax.random.uniform(jax.random.key(1), answers.shape) < 0.2
    return jnp.where(gone, -1, answers)


def test_it_is_the_mean_of_the_definition_for_any_number_of_options():
    num_options = jnp.array([1, 2, 3, 5] * 30)
    answers = draw(num_options, 120)
    found = pairwise_agreement(answers, num_options, max_options=7)
    rates, counts = loop(answers, num_options)
    np.testing.assert_allclose(found.rates, rates, atol=1e-6)
    np.testing.assert_array_equal(found.counts, counts)


@pytest.mark.parametrize("by_question", [False, True])
def test_agents_that_never_differ_agree_exactly(by_question):
    own = draw(4, 5000)
    answers = jnp.concatenate([own, own[:, :1]], axis=1)
    options = jnp.where(jnp.arange(5000) % 3 == 0, 6, 4) if by_question else 4
    settings = {"max_options": 6} if by_question else {}
    rates = pairwise_agreement(answers, options, **settings).rates
    assert float(rates[0, 3]) == 1.0
    assert float(pairwise_agreement(answers[:, :3], options, **settings).rates.max()) == 1.0


@pytest.mark.parametrize("by_question", [False, True])
def test_many_questions_lose_no_digits(by_question):
    questions = 262_144
    numbers = jnp.where(jnp.arange(questions) % 2 == 0, 3, 4)
    answers = draw(numbers if by_question else 4, questions, agents=2)
    if by_question:
        found = pairwise_agreement(answers, numbers, max_options=4)
        rates, _ = loop(answers, numbers)
    else:
        found = pairwise_agreement(answers, 4)
        rates, _ = loop(answers, np.full(questions, 4))
    np.testing.assert_allclose(found.rates, rates, atol=2e-6)


def test_agents_without_a_common_question_do_not_agree():
    rates, counts = pairwise_agreement(jnp.array([[0, -1], [-1, 1], [-1, -1]]), 2)
    assert rates.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert counts.tolist() == [[1.0, 0.0], [0.0, 1.0]]
