"""Families: the tree against all trees, and which copies are found."""

import functools
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxreason.voting.agreement import pairwise_agreement
from jaxreason.voting.em import gather_questions
from jaxreason.voting.families import find_parents, spanning_tree
from jaxreason.voting.response_fit import climb
from jaxreason.voting.response_model import Coefficients
from jaxreason.voting.simulation import (
    copy_answers,
    simulate_clones,
    simulate_difficulty,
    simulate_independent,
)

AGENTS = 4
PAIRS = list(combinations(range(AGENTS), 2))


def is_tree(edges):
    """Three edges connect four agents if they reach all of them."""
    reached = {0}
    for _ in edges:
        reached |= {agent for edge in edges if reached & set(edge) for agent in edge}
    return len(reached) == AGENTS


TREES = [edges for edges in combinations(PAIRS, AGENTS - 1) if is_tree(edges)]


def test_four_agents_have_sixteen_trees():
    assert len(TREES) == 16  # Cayley: 4 ** (4 - 2)


@given(hnp.arrays(np.float32, (AGENTS, AGENTS), elements=st.floats(-1, 1, width=16)))
def test_no_tree_weighs_more(weights):
    weights = weights + weights.T
    parents = jax.jit(spanning_tree)(jnp.asarray(weights)).tolist()
    edges = [tuple(sorted((agent, parent))) for agent, parent in enumerate(parents) if parent >= 0]
    assert is_tree(edges)
    best = max(sum(weights[edge] for edge in tree) for tree in TREES)
    np.testing.assert_allclose(sum(weights[edge] for edge in edges), best, atol=1e-5)
    sums = weights.sum(0) - np.diag(weights)
    assert sums[parents.index(-1)] > sums.max() - 1e-5


def test_agents_without_a_common_question_are_still_joined():
    weights = jnp.full((4, 4), -jnp.inf).at[0, 1].set(0.5).at[1, 0].set(0.5)
    parents = spanning_tree(weights).tolist()
    assert is_tree([(agent, parent) for agent, parent in enumerate(parents) if parent >= 0])
    assert (0, 1) in {(0, parents[0]), (parents[1], 1)}


QUESTIONS = 600
X = jnp.array([0.4, 0.5, 0.5, 0.6, 0.7, 0.6])


@jax.jit
def find(answers):
    questions = gather_questions(answers, 4, None, None)
    start = Coefficients(
        jnp.tile(jnp.array([1.5, 1.0]), (6, 1)), jnp.tile(jnp.array([0.5, 0.0]), (6, 1))
    )
    fit = functools.partial(climb, sizes=jnp.array([4.0]), difficulty=True, dependence=True)
    return find_parents(questions, pairwise_agreement(answers, 4), start, fit)


def families(parents):
    """The sets of agents that copies connect."""
    sets = [{agent} for agent in range(len(parents))]
    for agent, parent in enumerate(parents):
        if parent >= 0:
            joined = sets[agent] | sets[parent]
            for member in joined:
                sets[member] = joined
    return {frozenset(family) for family in sets if len(family) > 1}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("parents", "expected"),
    [
        ((0, 0, 2, 3, 4, 5), [{0, 1}]),
        ((0, 0, 0, 3, 4, 5), [{0, 1, 2}]),
        ((0, 0, 2, 3, 4, 3), [{0, 1}, {3, 5}]),
    ],
    ids=["a pair", "three", "two pairs"],
)
def test_copies_are_found(parents, expected, seed):
    key = jax.random.key(seed)
    answers, _ = simulate_clones(key, X, 4, QUESTIONS, parents=jnp.array(parents), rho=0.9)
    assert families(find(answers).tolist()) == set(map(frozenset, expected))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("spread", [0.0, 2.0])
def test_who_knows_the_same_is_no_family(spread, seed):
    key = jax.random.key(seed)
    independent, _ = simulate_independent(key, X, 4, QUESTIONS)
    graded, _ = simulate_difficulty(key, X, 4, QUESTIONS, spread=spread, distractor=0.3)
    for answers in (independent, graded):
        assert families(find(answers).tolist()) == set()


def test_copies_are_found_on_questions_of_varying_difficulty():
    key = jax.random.key(3)
    answers, _ = simulate_difficulty(key, X, 4, QUESTIONS, spread=2.0, distractor=0.3)
    copied = copy_answers(key, answers, parents=jnp.array([0, 0, 2, 3, 4, 5]), rho=0.9)
    copied = copied.at[::7, 3].set(-1)
    assert families(find(copied).tolist()) == {frozenset({0, 1})}
