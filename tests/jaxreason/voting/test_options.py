import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxreason.voting import (
    blocks,
    index_answers,
    isp,
    majority,
    shuffle_labels,
    unshuffle_labels,
)

RESPONSES = hnp.arrays(np.int32, (3, 5, 2), elements=st.integers(0, 1))
VALID = hnp.arrays(bool, (3, 5))


def index_by_dictionary(responses, valid):
    answers = np.full(valid.shape, -1)
    for q, question in enumerate(responses):
        labels = {}
        for i, response in enumerate(question):
            if valid[q, i]:
                answers[q, i] = labels.setdefault(tuple(response), len(labels))
    return answers


@given(responses=RESPONSES, valid=VALID)
def test_index_answers_matches_a_dictionary(responses, valid):
    expected = index_by_dictionary(responses, valid)
    answers, num_options = jax.jit(index_answers)(jnp.array(responses), jnp.array(valid))
    np.testing.assert_array_equal(answers, expected)
    np.testing.assert_array_equal(num_options, np.maximum(expected.max(axis=1) + 1, 2))


def test_indexed_answers_can_be_voted_on():
    """Responses [7], [3], [3], [7], [3] and an invalid one; then nobody."""
    responses = jnp.array([[7, 3, 3, 7, 3, 3], [1, 2, 3, 4, 5, 6]])[:, :, None]
    valid = jnp.array([[True] * 5 + [False], [False] * 6])
    answers, num_options = index_answers(responses, valid)
    for rule in (majority, isp):
        votes = rule(answers, num_options, max_options=6)
        assert votes.answers.tolist() == [1, -1]


def test_index_answers_compares_the_whole_response():
    responses = jnp.array([[[1, 2, 0], [1, 2, 3], [1, 2, 0]]])
    answers, num_options = index_answers(responses, jnp.ones((1, 3), bool))
    assert (answers.tolist(), num_options.tolist()) == ([[0, 1, 0]], [2])


def test_index_answers_goes_through_in_blocks(monkeypatch):
    responses = jax.random.randint(jax.random.key(0), (23, 4, 2), 0, 2)
    valid = jax.random.uniform(jax.random.key(1), (23, 4)) < 0.8
    expected = index_answers(responses, valid)
    monkeypatch.setattr(blocks, "BALLOTS_PER_BLOCK", 5 * 16 * 2)
    for whole, cut in zip(expected, index_answers(responses, valid), strict=True):
        np.testing.assert_array_equal(whole, cut)


def test_wrong_shape():
    with pytest.raises((ValueError, TypeError), match="valid"):
        index_answers(jnp.zeros((2, 3, 1), int), jnp.ones((2, 2), bool))


@pytest.mark.parametrize("by_question", [False, True])
def test_shuffling_is_undone(by_question):
    answers = jax.random.randint(jax.random.key(0), (50, 4), -1, 3)
    settings = {"num_options": 3}
    if by_question:
        settings = {"num_options": jnp.full(50, 3), "max_options": 5}
    shuffled, permutation = shuffle_labels(jax.random.key(1), answers, **settings)
    assert (shuffled != answers).any()
    np.testing.assert_array_equal(jnp.sort(permutation[:, :3]), np.tile(np.arange(3), (50, 1)))
    np.testing.assert_array_equal(
        permutation[:, 3:], np.tile([[3, 4]], (50, 1))[:, : 2 * by_question]
    )
    np.testing.assert_array_equal(unshuffle_labels(shuffled, permutation), answers)


def test_votes_in_shuffled_labels_map_back():
    answers = jax.random.randint(jax.random.key(0), (50, 5), -1, 3)
    shuffled, permutation = shuffle_labels(jax.random.key(1), answers, 3)
    expected, votes = majority(answers, 3), majority(shuffled, 3)
    winners = jnp.take_along_axis(votes.winners, permutation, axis=1)
    np.testing.assert_array_equal(winners, expected.winners)
    alone = expected.winners.max(axis=1) == 1
    mapped = unshuffle_labels(votes.answers, permutation)
    np.testing.assert_array_equal(mapped[alone], expected.answers[alone])


def test_every_permutation_is_as_likely():
    """3000 draws of six permutations: each 1/6 +- 5 s.d. of 0.0068."""
    _, permutation = shuffle_labels(jax.random.key(0), jnp.zeros((3000, 1), int), 3)
    _, counts = np.unique(permutation, axis=0, return_counts=True)
    np.testing.assert_allclose(counts / 3000, np.full(6, 1 / 6), atol=0.034)


def test_answers_that_name_no_option_become_abstentions():
    answers = jnp.array([[0, 2, 7, -1], [2, 3, 1, -5]])
    shuffled, _ = shuffle_labels(jax.random.key(0), answers, jnp.array([2, 3]), max_options=4)
    np.testing.assert_array_equal(shuffled >= 0, [[1, 0, 0, 0], [1, 0, 1, 0]])
    assert shuffled.min() == -1
