"""Votes of dealt answers, against the voting rule and against all subsets."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxreason.rlad.voted import deal_cells, voted_accuracy
from jaxreason.voting import majority

KEY = jax.random.key(0)
estimate = jax.jit(voted_accuracy, static_argnames=("sizes", "by_abstraction", "draws"))


def vote(correct, answers, m, k, **how):
    return estimate(correct, answers, sizes=((m, k),), key=KEY, **how)[:, 0]


answer_tables = arrays(np.int32, (3, 2, 3), elements=st.integers(-1, 3))


def commonest(answers):
    """Each answer's share of the win, by counting."""
    given = [a for a in answers if a >= 0]
    counts = {a: given.count(a) for a in given}
    best = [a for a in counts if counts[a] == max(counts.values())]
    return {a: 1 / len(best) for a in best}


def score(rows, truth, by_abstraction):
    """The win of the truth in one draw: rows of answers."""
    if not by_abstraction:
        return commonest([a for row in rows for a in row]).get(truth, 0.0)
    votes = {}
    for row in rows:
        for answer, share in commonest(row).items():
            votes[answer] = votes.get(answer, 0.0) + share
    best = [a for a in votes if votes[a] > max(votes.values()) - 1e-9]
    return (truth in best) / len(best) if best else 0.0


def mean_over_draws(table, truth, m, k, by_abstraction):
    scores = []
    for rows in itertools.combinations(range(table.shape[0]), m):
        for columns in itertools.product(
            itertools.combinations(range(table.shape[1]), k), repeat=m
        ):
            drawn = [list(table[r, list(c)]) for r, c in zip(rows, columns, strict=True)]
            scores.append(score(drawn, truth, by_abstraction))
    return np.mean(scores)


@pytest.mark.parametrize("by_abstraction", [False, True])
@given(answer_tables)
def test_all_answers_are_the_vote_itself(by_abstraction, answers):
    """Nothing is left to chance where all M x K answers are dealt."""
    got = vote(
        jnp.asarray(answers == 0), jnp.asarray(answers), m=2, k=3,
        by_abstraction=by_abstraction, draws=2,
    )  # fmt: skip
    expected = [score(table.tolist(), 0, by_abstraction) for table in answers]
    np.testing.assert_allclose(got, expected, atol=1e-5)


@given(answer_tables)
def test_it_is_the_rule_of_the_voting_room(answers):
    flat = jnp.asarray(answers).reshape(3, 6)
    got = vote(jnp.asarray(answers == 0), jnp.asarray(answers), m=2, k=3, draws=1)
    np.testing.assert_allclose(got, majority(flat, 4).winners[:, 0], atol=1e-6)


@given(answer_tables)
def test_dealing_everything_twice_changes_nothing(answers):
    deal = lambda m, k: vote(  # noqa: E731
        jnp.asarray(answers == 0), jnp.asarray(answers), m=m, k=k, draws=2
    )
    np.testing.assert_allclose(deal(4, 6), deal(2, 3), atol=1e-6)


TABLE = jnp.array(
    [
        [[0, 0, 1], [1, 1, 1], [0, 2, -1]],
        [[2, 1, 0], [-1, -1, -1], [0, 3, 3]],
    ]
)


SIZES = ((1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (2, 3), (3, 2))


@pytest.mark.parametrize("by_abstraction", [False, True])
def test_less_is_the_mean_over_all_draws(by_abstraction):
    """Without bias: 4,000 deals come within four standard errors, at most .5 / sqrt(4000) each."""
    got = estimate(
        TABLE == 0, TABLE, sizes=SIZES, key=KEY, by_abstraction=by_abstraction, draws=4000
    )
    expected = [
        [mean_over_draws(np.asarray(table), 0, m, k, by_abstraction) for m, k in SIZES]
        for table in TABLE
    ]
    np.testing.assert_allclose(got, expected, atol=4 * 0.5 / 4000**0.5)


def test_golden_split_votes():
    """Together 0: 3, 1: 4, 2: 1 votes, so 1 wins; by abstraction 0: 1.5, 1: 1, 2: .5, so 0."""
    deal = lambda **how: vote(TABLE == 0, TABLE, m=3, k=3, draws=1, **how)  # noqa: E731
    assert deal()[0] == 0.0
    assert deal(by_abstraction=True)[0] == 1.0


@pytest.mark.parametrize("by_abstraction", [False, True])
def test_nobody_wins_without_answers(by_abstraction):
    none = jnp.full((2, 2, 2), -1)
    got = vote(jnp.ones((2, 2, 2)), none, m=3, k=1, by_abstraction=by_abstraction)
    assert got.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (5, 5)])
def test_all_right(size):
    m, k = size
    right = jnp.ones((2, 2, 2), bool)
    got = vote(right, jnp.full((2, 2, 2), 7), m=m, k=k, draws=8)
    assert got.tolist() == [1.0, 1.0]


def test_several_answers_may_be_right():
    """0 and 1 tie and both are right, such as a half and two quarters."""
    answers = jnp.array([[[0, 0, 1, 1, 2]]])
    got = vote(answers < 2, answers, m=1, k=5, draws=1)
    assert got.tolist() == [1.0]


@given(answer_tables, st.permutations([3, 11, 5, 8]))
def test_names_of_options_do_not_matter(answers, names):
    renamed = np.where(answers >= 0, np.array(names, np.int32)[answers], -1)
    deal = lambda table: vote(  # noqa: E731
        jnp.asarray(answers == 0), jnp.asarray(table), m=2, k=2, draws=16
    )
    np.testing.assert_allclose(deal(renamed), deal(answers), atol=1e-6)


@pytest.mark.parametrize(("m", "k"), [(2, 3), (3, 4), (5, 2), (7, 9)])
def test_cards_come_back_only_when_all_were_dealt(m, k):
    dealt = np.asarray(deal_cells(KEY, 3, 4, m=m, k=k, draws=5))
    assert dealt.shape == (5, m, k) and len(np.unique(dealt, axis=0)) > 1
    for cells in dealt:
        rows, columns = cells // 4, cells % 4
        assert (rows == rows[:, :1]).all()
        for cards, number in ((rows[:, 0], 3), *((row, 4) for row in columns)):
            counts = np.bincount(cards, minlength=number)
            assert counts.max() - counts.min() <= 1


@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"answers must have shape \[2, 3, 3\]"):
        voted_accuracy(TABLE == 0, TABLE[:1], sizes=((1, 1),), key=KEY)
    with pytest.raises(ValueError, match="sizes must be 1 or more; got m=0, k=1"):
        voted_accuracy(TABLE == 0, TABLE, sizes=((2, 2), (0, 1)), key=KEY)
    with pytest.raises(ValueError, match="draws must be 1 or more; got 0"):
        voted_accuracy(TABLE == 0, TABLE, sizes=((1, 1),), key=KEY, draws=0)
