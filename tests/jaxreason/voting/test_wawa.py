"""Wawa against hand-counted rates and crowd-kit."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.voting.majority import majority
from jaxreason.voting.wawa import wawa

ANSWERS = jnp.array([[0, 0, 1, -1], [1, 1, 1, -1], [2, 0, -1, -1], [-1, 2, 2, -1]])


def test_hand_counted_rates():
    """Agents agree on 2.5 of 3, 3.5 of 4 and 2 of 3 questions (the third is a tie): 8 of 10."""
    votes = wawa(ANSWERS, 3)
    rates = [2.5 / 3, 3.5 / 4, 2 / 3, 0.8]
    np.testing.assert_allclose(votes.accuracies, rates, rtol=1e-6)
    np.testing.assert_array_equal(votes.weights, votes.accuracies)
    np.testing.assert_allclose(votes.scores[2], [3.5 / 4, 0.0, 2.5 / 3], rtol=1e-6)
    assert votes.answers.tolist() == [0, 1, 0, 2]
    assert votes.posterior is None


@pytest.mark.parametrize("ties", ["first", "random"])
def test_ties_are_broken_at_the_end_only(ties):
    """So that the expectation of random answers is that of `split`."""
    votes = wawa(ANSWERS, 3, ties=ties, key=jax.random.key(0))
    np.testing.assert_array_equal(votes.accuracies, wawa(ANSWERS, 3).accuracies)


def test_rates_of_other_questions():
    votes = wawa(ANSWERS, 3, accuracies=jnp.array([0.25, 0.5, 1.0, 0.5]))
    assert votes.scores.tolist()[0] == [0.75, 1.0, 0.0]
    with pytest.raises((ValueError, TypeError), match="accuracies"):
        wawa(ANSWERS, 3, accuracies=jnp.array([0.25, 0.5]))


def test_nobody_ever_answered():
    votes = wawa(jnp.full((3, 2), -1), 2)
    assert votes.accuracies.tolist() == [0.5, 0.5]
    assert votes.answers.tolist() == [-1, -1, -1]


@pytest.mark.parametrize("agents", [3, 6])
def test_matches_crowd_kit(agents):
    """Without ties, which it breaks by the order in which labels appear."""
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(agents)
    truth = rng.integers(0, 4, (300, 1))
    right = rng.random((300, agents)) < np.linspace(0.3, 0.8, agents)
    answers = np.where(right, truth, rng.integers(0, 4, right.shape))
    answers = np.where(rng.random(answers.shape) < 0.2, -1, answers)
    winners = majority(jnp.array(answers), 4).winners.max(axis=1)
    answers = answers[np.asarray(winners) == 1]
    task, worker = np.nonzero(answers >= 0)
    table = pandas.DataFrame({"task": task, "worker": worker, "label": answers[task, worker]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = pytest.importorskip("crowdkit.aggregation").Wawa().fit(table)
        shares = model.predict_proba(table).sort_index().sort_index(axis=1)
    votes = wawa(jnp.array(answers), 4)
    np.testing.assert_allclose(votes.accuracies, model.skills_.sort_index(), rtol=1e-6)
    found = votes.scores / votes.scores.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, shares, atol=1e-6)
    np.testing.assert_array_equal(votes.answers, model.labels_.sort_index())
