"""Calibrations: the unbiased m x k estimate against all subsets, best abstractions, and costs."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxreason.rlad import pass_at_k, play
from jaxreason.rlad.allocation import (
    Calibration,
    abstraction_accuracy,
    bare_calibration,
    calibration_of,
    check_calibration,
    expected_tokens,
    pass_at_mk,
    pass_of_rates,
)
from jaxreason.rollout import Sampling

estimate = jax.jit(pass_at_mk, static_argnames=("m", "k"))


def all_outcomes(abstractions, solutions):
    """Every pattern of right and wrong solutions, as problems."""
    cells = list(itertools.product([False, True], repeat=abstractions * solutions))
    return np.array(cells).reshape(-1, abstractions, solutions)


def share_of_draws(correct, m, k):
    """The share of draws, without replacement, that hold a right solution."""
    abstractions, solutions = correct.shape
    hits = []
    for rows in itertools.combinations(range(abstractions), m):
        for columns in itertools.product(itertools.combinations(range(solutions), k), repeat=m):
            drawn = [correct[row, list(column)] for row, column in zip(rows, columns, strict=True)]
            hits.append(np.any(drawn))
    return np.mean(hits)


@pytest.mark.parametrize(("m", "k"), list(itertools.product([1, 2, 3], repeat=2)))
def test_pass_at_mk_counts_draws(m, k):
    outcomes = all_outcomes(3, 3)[::7]
    expected = [share_of_draws(correct, m, k) for correct in outcomes]
    np.testing.assert_allclose(estimate(jnp.asarray(outcomes), m=m, k=k), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("m", "k", "expected"),
    # Right ones in [[x, .], [., .]]: one of 4 cells; one of the 2 x 2 rows' first or second
    # cells; the first of 2 rows; all.
    [(1, 1, 0.25), (2, 1, 0.5), (1, 2, 0.5), (2, 2, 1.0)],
)
def test_golden_pass_at_mk(m, k, expected):
    correct = jnp.array([[[1.0, 0.0], [0.0, 0.0]]])
    np.testing.assert_allclose(pass_at_mk(correct, m=m, k=k), [expected], atol=1e-6)


@pytest.mark.parametrize(("m", "k"), list(itertools.product([1, 2], [1, 2, 3])))
@given(rates=st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_pass_at_mk_is_unbiased(m, k, rates):
    """Its mean over all outcomes is the mean over choices of m abstractions of known success."""
    outcomes = all_outcomes(2, 3)
    chances = np.where(outcomes, np.array(rates)[:, None], 1 - np.array(rates)[:, None])
    mean = chances.prod((1, 2)) @ np.asarray(estimate(jnp.asarray(outcomes), m=m, k=k))
    chosen = jnp.array(list(itertools.combinations(rates, m)), jnp.float32)
    assert abs(mean - float(pass_of_rates(chosen, k=k).mean())) < 1e-5


@given(arrays(bool, (3, 4, 5)), st.integers(1, 5))
def test_one_abstraction_is_the_mean_of_pass_at_k(correct, k):
    counts = jnp.asarray(correct.sum(-1, dtype=np.int32))
    np.testing.assert_allclose(
        estimate(jnp.asarray(correct), m=1, k=k), pass_at_k(counts, 5, k).mean(-1), atol=1e-6
    )


@given(arrays(bool, (2, 4, 3)))
def test_more_of_either_never_lowers_pass(correct):
    table = jnp.stack(
        [
            jnp.stack([estimate(jnp.asarray(correct), m=m, k=k) for k in (1, 2, 3)])
            for m in (1, 2, 3, 4)
        ]
    )
    assert (jnp.diff(table, axis=0) >= -1e-6).all()
    assert (jnp.diff(table, axis=1) >= -1e-6).all()
    np.testing.assert_allclose(table[-1, -1], correct.any((1, 2)), atol=1e-6)


def test_many_abstractions_stay_exact():
    """64 of 256 abstractions, one of which is right: 1/4, although C(256, 64) overflows."""
    correct = jnp.zeros((1, 256, 1)).at[0, 17].set(1.0)
    np.testing.assert_allclose(pass_at_mk(correct, m=64, k=1), [0.25], atol=1e-5)


def test_golden_rates():
    """1 - .25 x .81 x 1 x .5625 = .886094; eight samples at the mean .2125: 1 - .7875^8."""
    rates = jnp.array([0.5, 0.1, 0.0, 0.25])
    np.testing.assert_allclose(pass_of_rates(rates, k=2), 0.886094, atol=1e-6)
    np.testing.assert_allclose(pass_of_rates(rates.mean(keepdims=True), k=8), 0.852088, atol=1e-6)


@pytest.mark.parametrize(("m", "k"), [(0, 1), (3, 1), (1, 0), (1, 4)])
def test_draws_that_the_calibration_does_not_hold_are_refused(m, k):
    name = "m" if m != 1 else "k"
    with pytest.raises(ValueError, match=rf"{name} must be in \[1, .*; got {m if m != 1 else k}"):
        pass_at_mk(jnp.ones((1, 2, 3)), m=m, k=k)


def test_golden_average_and_best():
    """Successes .25, .5, 0 and .75 of four solutions each: mean .375, best .75."""
    correct = jnp.arange(4)[None, None, :] < jnp.array([1, 2, 0, 3])[None, :, None]
    accuracy = abstraction_accuracy(correct)
    np.testing.assert_allclose(accuracy.average, [0.375], atol=1e-6)
    np.testing.assert_allclose(accuracy.best, [0.75], atol=1e-6)


def test_useless_abstractions_raise_the_best_but_not_the_selected():
    """Two abstractions of two solutions, all right with chance 1/2.

    The most right ones of the two abstractions are 2 with chance 1 - (3/4)^2 = 7/16 and 0 with
    (1/4)^2 = 1/16, otherwise 1: (7/16 x 2 + 8/16) / 2 = .6875.
    """
    accuracy = abstraction_accuracy(jnp.asarray(all_outcomes(2, 2)))
    np.testing.assert_allclose(accuracy.average.mean(), 0.5, atol=1e-6)
    np.testing.assert_allclose(accuracy.selected.mean(), 0.5, atol=1e-6)
    np.testing.assert_allclose(accuracy.best.mean(), 0.6875, atol=1e-6)


def test_selecting_gains_where_abstractions_differ():
    accuracy = abstraction_accuracy(jnp.array([[[1.0] * 3, [0.0] * 3]]))
    assert accuracy.average.tolist() == [0.5]
    assert accuracy.selected.tolist() == accuracy.best.tolist() == [1.0]


@given(arrays(bool, (3, 4, 1)))
def test_one_solution_selects_nothing(correct):
    accuracy = abstraction_accuracy(jnp.asarray(correct))
    np.testing.assert_allclose(accuracy.selected, accuracy.average, atol=1e-6)


CALIBRATION = Calibration(
    jnp.zeros((2, 2, 1), bool),
    jnp.array([[10, 20], [30, 40]]),
    jnp.array([[[100], [200]], [[300], [400]]]),
    bare=bare_calibration(jnp.zeros((2, 2), bool), jnp.array([[60, 80], [100, 120]])),
)


@pytest.mark.parametrize(
    ("m", "k", "expected"), [(1, 1, 275), (2, 1, 550), (1, 2, 525), (2, 3, 1550), (0, 3, 270)]
)
def test_golden_tokens(m, k, expected):
    """Means 25, 250 and, of plain samples, 90: m x 25 + m k x 250, or k x 90."""
    assert float(expected_tokens(CALIBRATION, m=m, k=k)) == expected


def test_plain_samples_must_be_there_to_cost():
    with pytest.raises(ValueError, match="m=0 needs plain samples"):
        expected_tokens(dataclasses.replace(CALIBRATION, bare=None), m=0, k=1)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"correct": jnp.zeros((2, 2))}, r"correct must have shape \[problem, abstraction, sol"),
        ({"correct": jnp.zeros((2, 0, 1))}, "correct must hold a solution at least"),
        ({"abstraction_tokens": jnp.zeros((2, 3))}, r"abstraction_tokens must have shape \[2, 2\]"),
        ({"solution_tokens": jnp.zeros((2, 2, 2))}, r"solution_tokens must have shape \[2, 2, 1\]"),
        ({"answers": jnp.zeros((2, 2), int)}, r"answers must have shape \[2, 2, 1\]"),
        (
            {"bare": bare_calibration(jnp.zeros((3, 1)), jnp.zeros((3, 1)))},
            "bare must be of the same 2 problems; got 3",
        ),
    ],
)
def test_wrong_shapes_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        check_calibration(dataclasses.replace(CALIBRATION, **changes))


@pytest.fixture(scope="module")
def lottery_and_play(lottery, model, params):
    """A play of a task whose every solution's first token is an answer, unless it is odd."""
    task = dataclasses.replace(
        lottery, answer=lambda solution: (solution.tokens[:1], solution.tokens[0] % 2 == 0)
    )
    keys = jax.random.split(jax.random.key(0), 3)

    @jax.jit
    def run(keys):
        problems = jax.vmap(lambda key: task.sample(key, "train"))(keys)
        return play(
            task, (model, model), params, problems, keys,
            abstractions=2, solutions=3, bare=2, sampling=(Sampling(), Sampling()),
        )  # fmt: skip

    return task, run(keys)


def test_a_play_is_a_calibration(lottery_and_play):
    task, played = lottery_and_play
    calibration = jax.jit(lambda played: calibration_of(task, played))(played)
    assert check_calibration(calibration) == (3, 2, 3)
    assert check_calibration(calibration.bare) == (3, 1, 6)
    rewards = np.asarray(played.rewards)
    lengths = np.asarray(played.solutions.completion.mask.sum(-1))
    tokens = np.asarray(played.solutions.completion.tokens[..., 0])
    given_lengths = played.abstractions.completion.mask.sum(-1)
    assert (calibration.abstraction_tokens == given_lengths).all()
    for part, rows in ((calibration, slice(2)), (calibration.bare, slice(2, None))):
        shape = part.correct.shape
        assert (np.asarray(part.correct) == (rewards[:, rows] > 0).reshape(shape)).all()
        assert (np.asarray(part.solution_tokens) == lengths[:, rows].reshape(shape)).all()
        said = tokens[:, rows].reshape(3, -1)
        answers = np.asarray(part.answers).reshape(3, -1)
        assert ((answers == -1) == (said % 2 == 1)).all()
        same = answers[:, :, None] == answers[:, None, :]
        both = (answers >= 0)[:, :, None] & (answers >= 0)[:, None, :]
        assert (same == (said[:, :, None] == said[:, None, :]))[both].all()
    assert (calibration.bare.abstraction_tokens == 0).all()


def test_a_play_without_abstractions_is_refused(lottery_and_play):
    task, played = lottery_and_play
    none = jax.tree.map(lambda leaf: leaf[:, :0], played.abstractions)
    with pytest.raises(ValueError, match="must hold one abstraction or more"):
        calibration_of(task, dataclasses.replace(played, abstractions=none))
