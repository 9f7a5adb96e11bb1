"""Where rules differ from the majority: hand-counted questions, and what can never differ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.voting import majority, ow
from jaxreason.voting.low_rank import chance_of_agents
from jaxreason.voting.rule_effects import (
    compare_rules,
    compare_with_majority,
    skill_to_accuracy,
)
from jaxreason.voting.simulation import simulate_independent


def test_shares_are_of_the_questions_tied_and_not_tied():
    """The first agent outweighs two: 2.197 > 0.405 + 0.405, not 0.405 + 0.405 + 1.735."""
    answers = jnp.array(
        [
            [0, 1, 1, -1],  # overturned
            [0, 1, 1, 1],  # not
            [0, 0, 0, 1],  # not
            [0, 1, -1, -1],  # a tie, broken
            [-1, 0, 1, -1],  # a tie that stays
            [-1, -1, -1, -1],  # nobody
        ]
    )
    x = jnp.array([0.9, 0.6, 0.6, 0.85])
    votes = ow(answers, 2, x)
    effect = compare_with_majority(votes, majority(answers, 2), votes.weights, 2)
    np.testing.assert_allclose([effect.overturned, effect.ties_broken], [1 / 3, 1 / 2])


def test_without_questions_of_a_kind_the_share_is_unknown():
    votes = majority(jnp.array([[0, 0, 0]]), 2)
    effect = compare_with_majority(votes, votes, jnp.ones(3), 2)
    assert float(effect.overturned) == 0.0 and np.isnan(effect.ties_broken)
    assert not effect.can_differ and not effect.can_overturn


@pytest.mark.parametrize("num_options", [2, 4])
def test_isp_of_three_agents_overturns_nothing(num_options):
    x = jnp.array([0.9, 0.6, 0.6])
    answers, _ = simulate_independent(jax.random.key(0), x, num_options, 400)
    rules = compare_rules(answers, num_options)
    assert not rules.isp.can_overturn
    assert float(rules.isp.overturned) == 0.0
    assert bool(rules.isp.can_differ) == (num_options > 2)  # three-way ties


def test_a_best_agent_that_outweighs_the_others_is_a_dictator():
    x = jnp.array([0.97, 0.6, 0.6, 0.6])
    answers, _ = simulate_independent(jax.random.key(0), x, 2, 1000)
    rules = compare_rules(answers, 2)
    assert rules.dictators.tolist() == [True, False, False, False]
    assert rules.ow_l.can_overturn and float(rules.ow_l.overturned) > 0.05
    assert float(rules.questions) == 1000.0


def test_rules_of_one_agent_are_all_the_majority():
    rules = compare_rules(jnp.array([[0], [1], [-1]]), 2)
    assert float(rules.questions) == 2.0 and float(rules.tied) == 0.0
    assert not rules.dictators.any()
    assert float(rules.ow_l.overturned) == float(rules.isp.overturned) == 0.0


def test_questions_with_different_numbers_of_options_are_compared():
    numbers = jnp.where(jnp.arange(300) % 3 == 0, 2, 5)
    x = jnp.array([0.9, 0.5, 0.5, 0.5])
    answers, _ = simulate_independent(jax.random.key(0), x, numbers, 300)
    rules = compare_rules(answers, numbers, max_options=5)
    assert 0.0 < float(rules.tied) < 1.0
    assert rules.ow_l.can_overturn and not rules.isp.can_overturn
    assert rules.mixed
    unseen = jnp.where(numbers[:, None] == 2, -1, answers)
    assert not compare_rules(unseen, numbers, max_options=5).mixed
    assert not compare_rules(answers, 5).mixed


def test_chance_is_the_mean_over_the_questions_answered():
    answers = jnp.array([[0, -1, -1], [1, 1, -1], [2, -1, -1]])
    found = chance_of_agents(answers, jnp.array([2, 4, 5]), max_options=5)
    everywhere = (1 / 2 + 1 / 4 + 1 / 5) / 3
    np.testing.assert_allclose(found, [everywhere, 1 / 4, everywhere], rtol=1e-6)


def test_an_agent_without_skill_is_right_by_chance():
    found = skill_to_accuracy(jnp.array([0.0, 1.0, 0.5]), jnp.array(0.2))
    np.testing.assert_allclose(found, [0.2, 1.0, 0.6], rtol=1e-6)
