"""Rank-one fits against exact matrices, clones, and linear algebra for what is identified."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxreason.voting.robust_skills import (
    fit_robust_skills,
    fit_signed_skills,
    identified_agents,
)

SKILLS = hnp.arrays(np.float32, 6, elements=st.floats(0.25, 0.9375, width=32))
ONES = jnp.ones((6, 6))
fit = jax.jit(fit_signed_skills)
fit_robust = jax.jit(fit_robust_skills)


def with_copies(skills, groups, agreement):
    """t_i t_j, but for agents of a group, who agree as given."""
    rates = np.outer(skills, skills)
    for group in groups:
        for i in group:
            for j in group:
                rates[i, j] = agreement
    return jnp.asarray(rates, jnp.float32)


@given(SKILLS)
def test_both_fits_recover_what_is_of_rank_one(skills):
    rates = with_copies(skills, [], 0.0)
    np.testing.assert_allclose(fit(rates, ONES), skills, atol=1e-3)
    np.testing.assert_allclose(fit_robust(rates, ONES), skills, atol=1e-3)


def test_an_agent_worse_than_chance_gets_a_negative_skill():
    skills = np.array([0.8, 0.6, -0.3, 0.5, 0.7, 0.6], np.float32)
    np.testing.assert_allclose(fit_robust(with_copies(skills, [], 0), ONES), skills, atol=1e-4)


def test_the_sign_makes_most_of_the_skill_positive():
    skills = -np.array([0.8, 0.6, -0.3, 0.5, 0.7, 0.6], np.float32)
    np.testing.assert_allclose(fit(with_copies(skills, [], 0), ONES), -skills, atol=1e-4)


@pytest.mark.parametrize("groups", [[(0, 1)], [(0, 1), (2, 3)], [(4, 5)]])
def test_copies_do_not_move_the_robust_fit(groups):
    skills = np.array([0.3, 0.3, 0.35, 0.7, 0.6, 0.5], np.float32)
    rates = with_copies(skills, groups, 0.95)
    np.testing.assert_allclose(fit_robust(rates, ONES), skills, atol=0.01)
    assert np.max(np.abs(np.asarray(fit(rates, ONES)) - skills)) > 0.1


def test_pairs_without_questions_do_not_count():
    skills = np.array([0.8, 0.7, 0.6, 0.5, 0.4, 0.3], np.float32)
    rates = with_copies(skills, [(0, 5)], -1.0)
    weights = ONES.at[0, 5].set(0.0).at[5, 0].set(0.0)
    np.testing.assert_allclose(fit(rates, weights), skills, atol=1e-3)
    alone = jnp.zeros((6, 6)).at[:5, :5].set(1.0)
    np.testing.assert_allclose(fit(rates, alone)[:5], skills[:5], atol=1e-3)


@pytest.mark.parametrize(
    "skills", [(0.05, 0.2, 0.9), (0.1, 0.3, 0.9), (0.05, 0.05, 0.05, 0.1, 0.95)]
)
def test_it_goes_on_until_weak_agents_are_fitted_too(skills):
    t = jnp.array(skills)
    np.testing.assert_allclose(fit(jnp.outer(t, t), jnp.ones((len(t),) * 2)), t, atol=2e-3)


def test_a_skill_that_would_exceed_1_is_1():
    rates = jnp.array([[1.0, 0.8, 0.8], [0.8, 1.0, 0.4], [0.8, 0.4, 1.0]])  # sqrt(1.6)
    np.testing.assert_allclose(fit(rates, jnp.ones((3, 3)))[0], 1.0, atol=1e-6)


@given(hnp.arrays(bool, (6, 6)))
def test_identified_agents_are_those_whose_log_skill_is_in_the_row_space(pairs):
    pairs = np.triu(pairs, 1)
    rows = np.array([np.eye(6)[i] + np.eye(6)[j] for i, j in np.argwhere(pairs)]).reshape(-1, 6)
    rank = np.linalg.matrix_rank(rows) if len(rows) else 0
    expected = [np.linalg.matrix_rank(np.vstack([rows, row])) == rank for row in np.eye(6)]
    assert identified_agents(jnp.asarray(pairs | pairs.T)).tolist() == expected
