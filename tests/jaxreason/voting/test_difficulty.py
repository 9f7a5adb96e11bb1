"""The statistic of varying difficulty: against loops over pairs of pairs, and known populations."""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxreason.voting.agreement import pairwise_agreement
from jaxreason.voting.ballots import option_mask
from jaxreason.voting.difficulty import PairProducts, sum_pair_products, varying_difficulty
from jaxreason.voting.simulation import simulate_difficulty, simulate_independent

NUM_OPTIONS = np.array([2, 4, 3, 4, 2, 4])


@given(
    hnp.arrays(np.int32, (6, 5), elements=st.integers(-1, 3)),
    hnp.arrays(np.float32, (5, 5), elements=st.floats(-1, 1, width=16)),
)
def test_the_sums_are_those_over_disjoint_pairs(answers, rates):
    rates = (rates + rates.T) / 2
    answers = np.where(answers < NUM_OPTIONS[:, None], answers, -1)
    expected = np.zeros(3)
    for row, k in zip(answers, NUM_OPTIONS, strict=True):
        voters = np.flatnonzero(row >= 0)
        pairs = list(combinations(voters, 2))
        for (i, j), (m, n) in combinations(pairs, 2):
            if len({i, j, m, n}) == 4:
                z = [(k * (row[a] == row[b]) - 1) / (k - 1) for a, b in ((i, j), (m, n))]
                expected += [z[0] * z[1], rates[i, j] * rates[m, n], 1]
    exists = option_mask(jnp.asarray(NUM_OPTIONS, jnp.int32), 4, 6)
    found = sum_pair_products(jnp.asarray(answers), exists, jnp.asarray(rates))
    np.testing.assert_allclose(jnp.stack(found), expected, atol=1e-3)


@jax.jit
def measured(answers):
    rates = pairwise_agreement(answers, 4).rates
    return varying_difficulty(sum_pair_products(answers, jnp.ones((5000, 4), bool), rates))


X = jnp.array([0.5, 0.6, 0.65, 0.7, 0.8])


def test_equally_hard_questions_give_zero():
    answers, _ = simulate_independent(jax.random.key(0), X, 4, 5000)
    assert abs(float(measured(answers))) < 0.05


def test_half_of_the_questions_known_to_all_give_one():
    """t = 1 or 0: E[r] = 1/2, E[z z] = 1/2, and 1/2 / 1/4 - 1 = 1."""
    answers, truth = simulate_independent(jax.random.key(0), jnp.full(5, 0.25), 4, 5000)
    known = jnp.arange(5000) % 2 == 0
    answers = jnp.where(known[:, None], truth[:, None], answers)
    np.testing.assert_allclose(measured(answers), 1.0, atol=0.1)


def test_it_grows_with_the_spread():
    found = [
        float(measured(simulate_difficulty(jax.random.key(1), X, 4, 5000, spread=spread).answers))
        for spread in (0.0, 1.0, 2.0)
    ]
    assert found[0] < 0.1 < found[1] < found[2]


@pytest.mark.parametrize("sums", [(1.0, 0.0, 9.0), (0.0, 0.0, 0.0), (1.0, -1.0, 9.0)])
def test_it_is_unknown_where_agents_hardly_agree(sums):
    assert np.isnan(varying_difficulty(PairProducts(*map(jnp.array, sums))))
