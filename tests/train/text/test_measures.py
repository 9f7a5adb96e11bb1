"""Measures of judged responses, by hand."""

import numpy as np

from train.text.measures import measures_of


def test_pass_at_k_is_without_bias():
    rewards = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]], np.float32)
    found = measures_of(rewards, np.ones((3, 4), bool))
    assert list(found) == ["accuracy", "pass@2", "pass@4"]
    np.testing.assert_allclose(found["accuracy"], [0.25, 0.5, 0])
    # 1 - C(3, 2) / C(4, 2) and 1 - C(2, 2) / C(4, 2)
    np.testing.assert_allclose(found["pass@2"], [1 / 2, 5 / 6, 0], rtol=1e-6)
    np.testing.assert_allclose(found["pass@4"], [1, 1, 0])


def test_a_response_that_was_not_judged_is_not_wrong():
    rewards = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]], np.float32)
    valid = np.array([[True, False, True], [True, False, False], [False, False, False]])
    found = measures_of(rewards, valid)
    np.testing.assert_allclose(found["accuracy"], [0.5, 1, np.nan])
    np.testing.assert_allclose(found["pass@2"], [1, np.nan, np.nan])
    np.testing.assert_allclose(found["pass@3"], [np.nan] * 3)


def test_part_of_a_reward_counts_in_the_score_only():
    rewards = np.array([[0.5, 1.0], [0.0, 0.25]], np.float32)
    found = measures_of(rewards, np.array([[True, True], [True, False]]))
    np.testing.assert_allclose(found["accuracy"], [0.5, 0])
    np.testing.assert_allclose(found["score"], [0.75, 0])
    assert "score" not in measures_of(np.eye(2, dtype=np.float32), np.ones((2, 2), bool))
