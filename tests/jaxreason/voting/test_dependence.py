"""Dependence between agents: population values by hand, shared errors by plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxreason.voting.agreement import Agreement
from jaxreason.voting.dependence import (
    agreement_errors,
    copying_rate,
    effective_agents,
    measure_dependence,
    shared_errors,
)
from jaxreason.voting.tetrads import predict_from_tetrads

BINARY = jnp.array(1.0)  # 1 / (K - 1)
measure = jax.jit(
    lambda agreement: measure_dependence(agreement, BINARY, threshold=3.0, min_copying=0.15)
)


def population(skills, copies=(), questions=1000.0):
    """Agreement of agents of which some pairs (i, j, rho) answer alike at a rate rho."""
    rates = np.outer(skills, skills)
    for i, j, rho in copies:
        rates[i, j] = rates[j, i] = rho + (1 - rho) * rates[i, j]
    np.fill_diagonal(rates, 1.0)
    counts = np.full_like(rates, questions)
    return Agreement(jnp.asarray(rates, jnp.float32), jnp.asarray(counts, jnp.float32))


def loop_shared_errors(answers, num_options):
    agents = answers.shape[1]
    shares = np.full((agents, agents), np.nan)
    for i, j in np.ndindex(agents, agents):
        outcomes = []
        for row in answers:
            others = [row[k] for k in range(agents) if k not in (i, j) and row[k] >= 0]
            votes = np.bincount(others, minlength=num_options)
            answered = i != j and row[i] >= 0 and row[j] >= 0
            if answered and votes.max() > max(votes[row[i]], votes[row[j]]):
                outcomes.append(row[i] == row[j])
        if outcomes:
            shares[i, j] = np.mean(outcomes)
    return shares


@given(hnp.arrays(np.int32, (12, 5), elements=st.integers(-1, 2)))
def test_shared_errors_are_those_of_a_loop(answers):
    expected = loop_shared_errors(answers, 3)
    np.testing.assert_allclose(shared_errors(jnp.asarray(answers), 3), expected, rtol=1e-6)


def test_shared_errors_of_two_agents_are_unknown():
    assert np.isnan(shared_errors(jnp.array([[0, 1], [1, 1]]), 2)).all()


def test_standard_errors_are_those_of_the_binomial():
    """K = 4, 7 of 8 answers equal: r = (4 * 7/8 - 1) / 3; one more each way makes 8 of 10."""
    rates = jnp.full((2, 2), (4 * 7 / 8 - 1) / 3)
    errors = agreement_errors(Agreement(rates, jnp.full((2, 2), 8.0)), jnp.array(1 / 3))
    np.testing.assert_allclose(errors, 4 / 3 * np.sqrt(0.8 * 0.2 / 10), rtol=1e-5)


def test_copying_is_the_rate_that_makes_the_agreement():
    predicted = jnp.array([[0.0, 0.3], [0.3, 0.9]])
    np.testing.assert_allclose(
        copying_rate(0.4 + 0.6 * predicted, predicted), jnp.full((2, 2), 0.4), rtol=1e-5
    )


def test_agents_that_never_differ_copy_even_if_they_could_be_perfect():
    assert float(copying_rate(jnp.ones((1, 1)), jnp.ones((1, 1)))[0, 0]) == 1.0


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("pair", [(0, 1), (2, 3), (0, 4)])
def test_one_pair_of_five_that_copies_is_found_and_measured(rho, pair):
    skills = np.array([0.3, 0.35, 0.7, 0.6, 0.5])
    found = measure(population(skills, [(*pair, rho)], questions=10_000.0))
    assert np.argwhere(np.triu(found.suspected)).tolist() == [list(pair)]
    np.testing.assert_allclose(found.copying[pair], rho, atol=0.02)
    np.testing.assert_allclose(found.skills, skills, atol=0.02)


def test_independent_agents_leave_nothing():
    found = measure(population(np.array([0.3, 0.35, 0.7, 0.6, 0.5])))
    assert not found.suspected.any()
    np.testing.assert_allclose(found.copying[np.triu_indices(5, 1)], 0.0, atol=1e-3)


def test_an_excess_that_the_whole_pool_shows_is_not_suspected():
    rng = np.random.default_rng(0)
    agreement = population(np.linspace(0.4, 0.7, 8), questions=1e6)
    noise = rng.normal(0.0, 0.02, (8, 8))
    rates = agreement.rates + jnp.asarray(noise + noise.T, jnp.float32)
    found = measure(Agreement(rates, agreement.counts))
    assert not found.suspected.any()
    assert 0.01 < float(found.spread) < 0.05
    found = measure(Agreement(rates.at[0, 1].set(0.8).at[1, 0].set(0.8), agreement.counts))
    assert np.argwhere(np.triu(found.suspected)).tolist() == [[0, 1]]


def test_four_agents_leave_open_which_pair_copies():
    """x = (.6, .6, .8, .8), K = 4, two copy at rate 0.9, and two seem to.

    t = (7/15, 7/15, 11/15, 11/15). Either t_1 t_2 = (r_13)^2 / r_34 = (7/15)^2, or the others'
    t_3 t_4 = (r_13)^2 / r_12.
    """
    skills = np.array([7, 7, 11, 11]) / 15
    agreement = population(skills, [(0, 1, 0.9)])
    found = measure(agreement)
    assert np.argwhere(np.triu(found.suspected)).tolist() == [[0, 1], [2, 3]]
    np.testing.assert_allclose(found.predicted[0, 1], 49 / 225, rtol=1e-4)
    other = (77 / 225) ** 2 / float(agreement.rates[0, 1])
    np.testing.assert_allclose(found.predicted[2, 3], other, rtol=1e-4)
    np.testing.assert_allclose(found.copying[0, 1], 0.9, rtol=1e-3)


@pytest.mark.parametrize("shared", [0.0, 20.0])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_fifth_that_hardly_answers_does_not_decide_which_pair_copies(shared, place):
    agreement = population(np.array([7, 7, 11, 11]) / 15, [(0, 1, 0.9)])
    alone = measure(agreement)
    rates, counts = (np.insert(np.insert(m, place, 0.3, 0), place, 0.3, 1) for m in agreement)
    counts[place] = counts[:, place] = shared
    found = measure(Agreement(jnp.array(rates), jnp.array(counts)))
    kept = np.delete(np.arange(5), place)
    for name in ("suspected", "predicted", "copying", "testable", "counted"):
        of_four = np.asarray(getattr(found, name))[np.ix_(kept, kept)]
        np.testing.assert_allclose(of_four, getattr(alone, name), atol=1e-5)
    assert not found.testable[place].any() and not found.counted[place].any()
    agreement = Agreement(jnp.array(rates), jnp.array(np.where(counts == shared, 100.0, counts)))
    assert not measure(agreement).quartet.alone


def test_tetrads_predict_each_rate_from_the_others():
    skills = jnp.array([0.9, 0.7, 0.5, 0.3])
    rates = jnp.outer(skills, skills).at[0, 1].set(0.0).at[1, 0].set(0.0)
    np.testing.assert_allclose(predict_from_tetrads(rates)[0, 1], 0.63, rtol=1e-5)


@pytest.mark.parametrize("agents", [1, 2, 3])
def test_fewer_than_four_agents_can_not_be_tested(agents):
    found = measure(population(np.full(agents, 0.5), [(0, 1, 0.9)] if agents > 1 else []))
    assert not found.suspected.any() and not found.testable.any()
    assert np.isnan(found.copying).all() and np.isnan(effective_agents(found.copying))


def test_agents_without_common_questions_can_not_be_tested():
    agreement = population(np.full(6, 0.6))
    counts = agreement.counts.at[:3, 3:].set(0.0).at[3:, :3].set(0.0)
    found = measure(Agreement(agreement.rates, counts))
    assert not found.testable.any() and not found.suspected.any()


def test_effective_agents_of_copies_independent_agents_and_two_families():
    assert float(effective_agents(jnp.ones((7, 7)))) == 1.0
    assert float(effective_agents(jnp.eye(7))) == 7.0
    families = jnp.kron(jnp.eye(2), jnp.ones((2, 2)))  # mean copying 1/3: 4 / (1 + 3/3)
    np.testing.assert_allclose(effective_agents(families), 2.0, rtol=1e-6)


def test_agents_of_whom_nothing_is_known_are_not_effective():
    copying = jnp.full((20, 20), jnp.nan).at[:5, :5].set(0.0)
    assert float(effective_agents(copying)) == 5.0


def test_shared_errors_of_many_options_take_little_memory():
    answers = jax.ShapeDtypeStruct((5000, 3), jnp.int32)
    compiled = jax.jit(shared_errors, static_argnums=1).lower(answers, 600).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 200 * 2**20


def test_effective_agents_is_the_ratio_of_variances():
    """Agents that copy one common source at rate sqrt(c) have errors of correlation c."""
    rng = np.random.default_rng(0)
    source, own = rng.random((20_000, 1)) < 0.7, rng.random((20_000, 6)) < 0.7
    right = np.where(rng.random((20_000, 6)) < np.sqrt(0.4), source, own)
    ratio = np.var(own[:, 0]) / np.var(right.mean(axis=1))
    np.testing.assert_allclose(effective_agents(jnp.full((6, 6), 0.4)), ratio, rtol=0.05)
