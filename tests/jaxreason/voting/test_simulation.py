"""Simulated answers have the distribution that their docstrings state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.voting.simulation import (
    copy_answers,
    simulate_clones,
    simulate_difficulty,
    simulate_independent,
)
from jaxreason.voting.theory import population_conditionals

KEY = jax.random.key(0)
QUESTIONS = 40_000
MANY = 4.5 / np.sqrt(QUESTIONS)  # 4.5 standard deviations of the mean of +-1, nine of a share


def right(simulated):
    return np.asarray(simulated.answers == simulated.truth[:, None])


def conditionals(answers, num_options):
    """P(A_i = s | A_j = a) of the agents (0, 1), by counting."""
    ballots = np.eye(num_options)[np.asarray(answers)[:, :2]]
    pairs = np.einsum("qs,qa->sa", ballots[:, 0], ballots[:, 1])
    return pairs / pairs.sum(axis=0)


def test_independent_agents():
    x = jnp.array([0.6, 0.9])
    simulated = simulate_independent(KEY, x, 4, QUESTIONS)
    np.testing.assert_allclose(right(simulated).mean(axis=0), x, atol=MANY)
    shares = np.bincount(np.asarray(simulated.truth), minlength=4) / QUESTIONS
    np.testing.assert_allclose(shares, 0.25, atol=MANY)
    expected = np.asarray(population_conditionals(x, 4))[0, :, 1]
    np.testing.assert_allclose(conditionals(simulated.answers, 4), expected, atol=2 * MANY)
    both = right(simulated).prod(axis=1).mean()
    np.testing.assert_allclose(both, 0.54, atol=MANY)


@pytest.mark.parametrize(("accuracy", "expected"), [(1.0, True), (0.0, False)])
def test_agents_that_are_always_right_or_wrong(accuracy, expected):
    for simulated in (
        simulate_independent(KEY, jnp.array([accuracy]), 3, 1000),
        simulate_difficulty(KEY, jnp.array([accuracy]), 3, 1000, spread=2.0),
    ):
        assert (right(simulated) == expected).all()
        assert ((simulated.answers >= 0) & (simulated.answers < 3)).all()


def test_number_of_options_by_question():
    num_options = jnp.array([2, 3, 10] * 4000)
    x = jnp.array([0.5, 0.0])
    answers, truth = simulate_independent(KEY, x, num_options, 12_000)
    assert ((answers >= 0) & (answers < num_options[:, None])).all()
    for number in (2, 3, 10):
        of_number = np.asarray(num_options) == number
        errors = np.asarray((answers[:, 1] - truth) % num_options)[of_number]
        shares = np.bincount(errors, minlength=number) / of_number.sum()
        np.testing.assert_allclose(shares, [0] + [1 / (number - 1)] * (number - 1), atol=0.04)
    with pytest.raises((ValueError, TypeError), match="num_options"):
        simulate_independent(KEY, x, num_options, 12_001)


def test_keys_and_transformations():
    x = jnp.array([0.6, 0.9])
    draw = jax.jit(lambda key: simulate_independent(key, x, 4, 50))
    once, again, other = draw(KEY), draw(KEY), draw(jax.random.key(1))
    np.testing.assert_array_equal(once.answers, again.answers)
    assert (once.answers != other.answers).any()
    batch = jax.vmap(draw)(jnp.stack([KEY, jax.random.key(1)]))
    np.testing.assert_array_equal(batch.answers[1], other.answers)
    assert once.answers.dtype == once.truth.dtype == jnp.int32


def test_clones():
    """Agent 1 agrees with its parent at rate rho + (1 - rho) q, and takes on its accuracy."""
    x = jnp.array([0.6, 0.9, 0.8])
    simulated = simulate_clones(KEY, x, 4, QUESTIONS, parents=jnp.array([0, 0, 2]), rho=0.3)
    np.testing.assert_allclose(
        right(simulated).mean(axis=0), [0.6, 0.7 * 0.9 + 0.3 * 0.6, 0.8], atol=MANY
    )
    agree = 0.6 * 0.9 + 0.4 * 0.1 / 3
    answers = np.asarray(simulated.answers)
    np.testing.assert_allclose(
        (answers[:, 0] == answers[:, 1]).mean(), 0.3 + 0.7 * agree, atol=MANY
    )
    agree = 0.6 * 0.8 + 0.4 * 0.2 / 3
    np.testing.assert_allclose((answers[:, 0] == answers[:, 2]).mean(), agree, atol=MANY)


def test_copies():
    answers = jnp.array([[0, 1, 2], [2, 1, 0]] * 200)
    parents = jnp.array([1, 2, 2])  # agent 0 copies what agent 1 says of its own accord
    rho = jnp.array([1.0, 1.0, 0.5])
    copied = copy_answers(KEY, answers, parents=parents, rho=rho)
    np.testing.assert_array_equal(copied, answers[:, parents])
    np.testing.assert_array_equal(copy_answers(KEY, answers, parents=parents, rho=0.0), answers)
    alone = copy_answers(KEY, answers, parents=jnp.array([-1, -1, 0]), rho=1.0)
    np.testing.assert_array_equal(alone, answers[:, jnp.array([0, 1, 0])])
    half = copy_answers(KEY, answers, parents=parents, rho=0.5)
    np.testing.assert_allclose((half == answers).mean(axis=0), [0.5, 0.5, 1.0], atol=0.12)
    with pytest.raises((ValueError, TypeError), match="parents"):
        copy_answers(KEY, answers, parents=parents[:2], rho=0.5)


@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0])
def test_difficulty(spread):
    """Accuracies, and joint ones, against Gauss-Hermite quadrature over the difficulty."""
    x = np.array([0.6, 0.9])
    simulated = simulate_difficulty(KEY, jnp.array(x, jnp.float32), 4, QUESTIONS, spread=spread)
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    chances = 1 / (1 + np.exp(spread * nodes[:, None] - np.log(x / (1 - x))))
    weights = weights / weights.sum()
    np.testing.assert_allclose(right(simulated).mean(axis=0), weights @ chances, atol=MANY)
    both = weights @ chances.prod(axis=1)
    np.testing.assert_allclose(right(simulated).prod(axis=1).mean(), both, atol=MANY)
    errors = np.asarray(simulated.answers[:, 0] - simulated.truth)[~right(simulated)[:, 0]] % 4
    np.testing.assert_allclose(np.bincount(errors, minlength=4)[1:] / len(errors), 1 / 3, atol=0.03)


@pytest.mark.parametrize("distractor", [0.0, 0.5, 1.0])
def test_popular_errors(distractor):
    """Two errors are the same if both are the popular one, else at chance among 3."""
    x = jnp.array([0.3, 0.4])
    simulated = simulate_difficulty(KEY, x, 4, QUESTIONS, spread=1.0, distractor=distractor)
    wrong = ~right(simulated).any(axis=1)
    answers = np.asarray(simulated.answers)[wrong]
    same = (answers[:, 0] == answers[:, 1]).mean()
    both = distractor**2
    np.testing.assert_allclose(same, both + (1 - both) / 3, atol=0.02)
    np.testing.assert_allclose(right(simulated).mean(axis=0), [0.33, 0.42], atol=0.02)
