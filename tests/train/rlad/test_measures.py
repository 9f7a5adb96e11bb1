"""Scores of a handful of samples, by hand."""

import jax
import jax.numpy as jnp
import pytest

from train.rlad import measures


def test_scores_over_chosen_problems():
    ones = jnp.ones((3,))
    sampled = measures.Sampled(
        correct=jnp.array([[[1.0, 0.0], [1.0, 1.0]], [[0.0, 0.0]] * 2, [[0.0, 1.0]] * 2]),
        answers=jnp.array([[[0, 1], [0, 0]], [[0, 1], [2, 3]], [[0, 1], [2, 1]]]),
        bare_correct=jnp.array([[1.0, 0.0, 0.0, 0.0]] * 3),
        bare_answers=jnp.array([[0, 1, 2, 3]] * 3),
        tokens={},
        right=jnp.array([1.0, 0.0, 0.0]),
        adherence=0.5 * ones,
    )
    scores = measures.score(sampled, jnp.array([True, True, False]), jax.random.key(0))
    assert float(scores["average"]) == pytest.approx((3 / 4 + 0) / 2)
    assert float(scores["best"]) == pytest.approx((1 + 0) / 2)
    assert float(scores["bare"]) == pytest.approx(1 / 4)
    assert float(scores["right"]) == pytest.approx(1 / 2)
    assert float(scores["pass/2 x 2"]) == pytest.approx(1 / 2)
    assert float(scores["pass/1 x 1"]) == pytest.approx(3 / 8)
    # Four of four different answers, of which one is right: certain to be among them.
    assert float(scores["pass/4"]) == pytest.approx(1.0)
    assert float(scores["vote/4"]) == pytest.approx(1 / 4)
    # Three of the four answers to the first problem are right, none to the second.
    assert float(scores["vote/2 x 2"]) == pytest.approx(1 / 2)
