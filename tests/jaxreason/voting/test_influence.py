"""Dictators, and weights that never change the majority's answer, against all ways to answer."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxreason.voting.influence import differs_from_majority, is_dictator, overturns_plurality
from jaxreason.voting.theory import exact_accuracy, second_order_weights
from jaxreason.voting.weighted import ow

# Small integers tie often; some agents vote against themselves.
WEIGHTS = st.lists(st.sampled_from([-2, -1, 0, 1, 2, 3, 5]), min_size=1, max_size=6)
PER_OPTIONS = {  # one program a shape
    options: (
        jax.jit(partial(overturns_plurality, num_options=options)),
        jax.jit(partial(differs_from_majority, num_options=options)),
    )
    for options in (2, 3, 4)
}


def compare_all(weights, num_options):
    """Whether the winners are ever others than the majority's, and whether all of them are."""
    answers = np.array(list(itertools.product(range(num_options), repeat=len(weights))))
    ballots = np.eye(num_options, dtype=int)[answers]
    counts, scores = ballots.sum(axis=1), np.einsum("qas,a->qs", ballots, weights)
    most = counts == counts.max(axis=1, keepdims=True)
    best = scores == scores.max(axis=1, keepdims=True)
    return bool((~(most & best).any(axis=1)).any()), bool((most != best).any())


@given(weights=WEIGHTS, num_options=st.integers(2, 4))
@example(weights=[-1, -1, -1, -1], num_options=2)
@example(weights=[0], num_options=3)
@example(weights=[2, 1, 1], num_options=2)  # makes a tie, and no more
@example(weights=[3, 3, 2, 2, 2], num_options=2)  # 6 = 2 + 2 + 2
@example(weights=[3, 3, 2, 2, 1, 1], num_options=3)
@settings(max_examples=150)
def test_all_ways_to_answer(weights, num_options):
    overturns, differs = PER_OPTIONS[num_options]
    found = bool(overturns(jnp.array(weights, float))), bool(differs(jnp.array(weights, float)))
    assert found == compare_all(weights, num_options)


@pytest.mark.parametrize("agents", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("num_options", [2, 3, 10])
def test_equal_weights_are_the_majority(agents, num_options):
    weights = jnp.full(agents, 0.7)
    assert not overturns_plurality(weights, num_options)
    assert not differs_from_majority(weights, num_options)


def test_isp_of_three_agents_and_two_options_is_the_majority():
    _, weights = second_order_weights(jnp.array([0.95, 0.6, 0.55]), 2)
    assert not differs_from_majority(weights, 2)
    _, weights = second_order_weights(jnp.array([0.95, 0.6, 0.55, 0.55]), 2)
    assert differs_from_majority(weights, 2)
    assert not overturns_plurality(weights, 2)


@pytest.mark.parametrize(("num_options", "least"), [(2, 9), (3, 12)])
def test_fewest_agents_of_which_isp_can_overturn_a_plurality(num_options, least):
    """ISP weights lie in [1, 1 + 1 / (K - 1)]; agents that know or guess are the extreme case."""
    overturns = jax.jit(overturns_plurality, static_argnums=1)
    found = []
    for agents in range(2, least + 1):
        for knowing in range(agents + 1):
            x = jnp.where(jnp.arange(agents) < knowing, 1.0, 1 / num_options)
            if overturns(second_order_weights(x, num_options)[1], num_options):
                found.append(agents)
    assert set(found) == {least}


@given(
    accuracies=st.lists(st.floats(0.05, 0.95), min_size=1, max_size=4),
    num_options=st.integers(2, 3),
)
@example(accuracies=[0.5, 0.5], num_options=2)
@example(accuracies=[0.8, 0.8], num_options=2)
@example(accuracies=[0.9, 0.05, 0.6], num_options=3)
@example(accuracies=[0.2], num_options=3)
def test_optimal_weights_beat_every_agent_but_a_dictator(accuracies, num_options):
    """Proposition 2, agents worse than chance included. The gain may be less than rounding."""
    x = jnp.array(accuracies)
    gains = exact_accuracy(partial(ow, accuracies=x), x, num_options) - x
    dictators = is_dictator(x, num_options)
    np.testing.assert_allclose(jnp.where(dictators, gains, 0.0), 0.0, atol=2e-6)
    weights = jnp.log((num_options - 1) * x / (1 - x))
    margins = jnp.sum(jnp.abs(weights)) - jnp.abs(weights) - weights
    clear = margins > 0.3
    assert not jnp.any(clear & dictators)
    assert jnp.all(jnp.where(clear, gains > 1e-6, True))


@pytest.mark.parametrize(
    ("accuracies", "num_options", "expected"),
    [
        ((0.9, 0.6, 0.6), 2, [True, False, False]),
        ((0.8, 0.7, 0.7), 2, [False, False, False]),
        ((1.0, 0.6, 0.6), 4, [True, False, False]),
        ((0.7, 0.7), 2, [True, True]),
        ((0.7, 0.6), 2, [True, False]),
        ((1 / 3, 1 / 3, 1 / 3), 3, [True, True, True]),
        ((1 / 3, 0.4, 1 / 3), 3, [False, True, False]),
        ((0.9, 0.05), 2, [False, False]),  # ln 9 < ln 19
        ((0.6,), 2, [True]),
        ((0.4,), 2, [False]),
    ],
)
def test_dictators(accuracies, num_options, expected):
    assert is_dictator(jnp.array(accuracies), num_options).tolist() == expected


def test_a_product_tells_the_dictator():
    """Proposition 2 without logarithms: (K - 1) x_i / (1 - x_i) against the others' product."""
    x = np.random.default_rng(0).uniform(0.5, 0.99, (200, 3))
    odds = x / (1 - x)
    expected = odds**2 >= odds.prod(axis=1, keepdims=True)
    found = jax.vmap(lambda x: is_dictator(x, 2))(jnp.array(x, jnp.float32))
    np.testing.assert_array_equal(found, expected)
    assert 0.1 < expected.any(axis=1).mean() < 0.9


def test_wrong_shapes():
    with pytest.raises(ValueError, match="at least 2; got 1"):
        overturns_plurality(jnp.ones(3), 1)
    with pytest.raises((ValueError, TypeError), match="weights"):
        differs_from_majority(jnp.ones((2, 3)), 2)
