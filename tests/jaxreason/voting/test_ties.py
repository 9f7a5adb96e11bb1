import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.voting.dawid_skene import dawid_skene, one_coin_dawid_skene
from jaxreason.voting.item_response import item_response
from jaxreason.voting.low_rank import ow_i, ow_l
from jaxreason.voting.majority import majority
from jaxreason.voting.second_order import isp, sp
from jaxreason.voting.ties import best_options, share_win
from jaxreason.voting.wawa import wawa
from jaxreason.voting.weighted import confidence_weighted, ow

RULES = [
    majority,
    lambda answers, num_options, **settings: ow(
        answers, num_options, jnp.full(answers.shape[1], 0.7), **settings
    ),
    lambda answers, num_options, **settings: confidence_weighted(
        answers, num_options, jnp.ones(answers.shape), **settings
    ),
    isp,
    sp,
    ow_l,
    ow_i,
    wawa,
    one_coin_dawid_skene,
    dawid_skene,
    item_response,
]
TIE = jnp.array([[2, 0, 1, 2, 0]])
"""Options 0 and 2 of four tie, for agents of equal weight."""


@pytest.mark.parametrize("rule", RULES[:3])
def test_split_shares_the_win(rule):
    votes = rule(TIE, 4)
    assert votes.winners.tolist() == [[0.5, 0.0, 0.5, 0.0]]
    assert votes.answers.tolist() == [0]


@pytest.mark.parametrize("rule", RULES[:3])
def test_first_takes_the_lowest_index(rule):
    votes = rule(TIE, 4, ties="first")
    assert votes.winners.tolist() == [[1.0, 0.0, 0.0, 0.0]]
    assert votes.answers.tolist() == [0]


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule is not sp])
def test_random_takes_each_tied_option_as_often(rule):
    """2000 questions with a symmetric tie: the share of each is 1/2 +- 4.5 s.d. of 0.011.

    SP is left out: it takes each of two agents that never agree to say what the other does not.
    """
    answers = jnp.tile(jnp.array([[0, 1], [1, 0]]), (1000, 1))
    votes = rule(answers, 3, ties="random", key=jax.random.key(0))
    np.testing.assert_allclose(votes.winners.mean(0), [0.5, 0.5, 0.0], atol=0.05)
    np.testing.assert_array_equal(votes.winners, jax.nn.one_hot(votes.answers, 3))
    again = rule(answers, 3, ties="random", key=jax.random.key(0))
    other = rule(answers, 3, ties="random", key=jax.random.key(1))
    assert (again.answers == votes.answers).all()
    assert (other.answers != votes.answers).any()


@pytest.mark.parametrize("ties", ["split", "random", "first"])
@pytest.mark.parametrize("rule", RULES)
def test_everybody_abstained(rule, ties):
    answers = jnp.array([[-1, -1, -1], [1, -1, 1], [1, -1, 0], [0, -1, 1]])
    votes = rule(answers, 3, ties=ties, key=jax.random.key(0))
    assert votes.answers[:2].tolist() == [-1, 1]
    assert votes.winners[:2].tolist() == [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    assert jnp.isfinite(votes.scores).all()


@pytest.mark.parametrize("ties", ["split", "random", "first"])
@pytest.mark.parametrize("rule", RULES)
def test_all_tie(rule, ties):
    """Three agents, three answers, symmetric over three questions."""
    answers = jnp.array([[0, 1, 2], [1, 2, 0], [2, 0, 1]])
    votes = rule(answers, 3, ties=ties, key=jax.random.key(0))
    np.testing.assert_allclose(votes.winners.sum(-1), 1.0, rtol=1e-6)
    expected = {"split": 3, "random": 1, "first": 1}[ties]
    assert (votes.winners > 0).sum(-1).tolist() == [expected] * 3


def test_tolerance_is_relative_above_one_vote():
    scores = jnp.array([[1e4, 1e4 + 0.05, 0.0], [1.0, 1.05, 0.0], [1e-6, 0.0, -1.0]])
    expected = [[True, True, False], [False, True, False], [True, True, False]]
    assert best_options(scores).tolist() == expected


def test_a_hopeless_option_makes_no_ties():
    scores = jnp.array([[-0.704, -0.683, -4476.0]])
    assert best_options(scores).tolist() == [[False, True, False]]


def test_options_that_do_not_exist_never_win():
    scores = jnp.array([[-3.0, -3.0, -jnp.inf]])
    assert share_win(scores, ties="split").tolist() == [[0.5, 0.5, 0.0]]


def test_random_draws_differ_between_questions_under_vmap():
    keys = jax.random.split(jax.random.key(0), 64)
    draw = jax.vmap(lambda key: share_win(jnp.zeros((1, 2)), ties="random", key=key))
    assert set(draw(keys)[:, 0, 0].tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("rule", RULES)
def test_wrong_ties(rule):
    with pytest.raises(ValueError, match="ties must be one of .* got 'last'"):
        rule(TIE, 4, ties="last")
    with pytest.raises(ValueError, match="ties='random' needs a key"):
        rule(TIE, 4, ties="random")
