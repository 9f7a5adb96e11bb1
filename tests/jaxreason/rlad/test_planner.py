"""Plans under a budget: the choice, the table, and intervals against known populations."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.rlad.allocation import Calibration, bare_calibration, expected_tokens
from jaxreason.rlad.planner import default_candidates, plan
from jaxreason.rlad.success import predict_pass
from jaxreason.rlad.voted import voted_accuracy

KEY = jax.random.key(0)


def calibrate(correct, answers=None, abstraction_tokens=20, solution_tokens=100, bare=None):
    """A calibration of fixed lengths."""
    return Calibration(
        correct,
        jnp.full(correct.shape[:2], abstraction_tokens),
        jnp.full(correct.shape, solution_tokens),
        answers,
        bare,
    )


def draw(key, shape, concentration):
    """Draws right and wrong solutions of problems whose mean success is the square of a uniform."""
    of_means, of_rates, of_solutions = jax.random.split(key, 3)
    means = jax.random.uniform(of_means, (shape[0], 1)) ** 2
    rates = jax.random.beta(of_rates, concentration * means, concentration * (1 - means), shape[:2])
    return jax.random.uniform(of_solutions, shape) < rates[..., None]


def true_pass(m, k, concentration):
    """1 - E[(1 - p)^k]^m, E[(1 - p)^k] = prod_i (b + i) / (a + b + i), at 4,000 midpoints."""
    means = ((np.arange(4000) + 0.5) / 4000) ** 2
    i = np.arange(k)[:, None]
    fails = ((concentration * (1 - means) + i) / (concentration + i)).prod(0)
    return float(np.mean(1 - fails**m))


@pytest.mark.parametrize("concentration", [3.0, 50.0])
def test_intervals_cover_the_truth_and_choices_are_good(concentration):
    """60 calibrations of 4 x 4: pass@(8, 8) is in most intervals, and little is lost by choosing.

    Of 60 intervals of exactly 95%, fewer than 51 would cover with a chance of .001.
    """
    budget, repetitions = 2000, 60
    sizes = ((8, 8), (1, 16), (2, 8), (4, 4), (8, 2), (16, 1))
    covered, lost = 0, []
    for key in jax.random.split(jax.random.key(1), repetitions):
        correct = draw(key, (50, 4, 4), concentration)
        planned = plan(calibrate(correct), budget, key=key, candidates=sizes, resamples=100)
        truth = true_pass(8, 8, concentration)
        covered += bool(planned.low[0] <= truth) and bool(truth <= planned.high[0])
        affordable = [true_pass(m, k, concentration) for m, k in sizes[1:]]
        lost.append(max(affordable) - true_pass(*planned.allocation, concentration))
    assert covered >= 0.85 * repetitions
    assert np.mean(lost) < 0.01


def test_the_table_holds_what_the_estimators_say():
    answers = jax.random.randint(KEY, (12, 3, 4), -1, 3)
    calibration = calibrate(answers == 0, answers)
    sizes = ((1, 1), (3, 4), (2, 2))
    table = plan(calibration, 10_000, key=KEY, candidates=sizes)
    assert table.abstractions.tolist() == [1, 3, 2] and table.solutions.tolist() == [1, 4, 2]
    assert table.tokens.tolist() == [120.0, 1260.0, 440.0]
    assert table.tokens.tolist() == [
        float(expected_tokens(calibration, m=m, k=k)) for m, k in sizes
    ]
    predicted = predict_pass(calibration.correct, jnp.ones((1, 12)), sizes=sizes)
    np.testing.assert_allclose(table.mean, predicted[0], atol=1e-4)
    for by_abstraction, measure in ((False, "vote"), (True, "vote_by_abstraction")):
        table = plan(calibration, 10_000, key=KEY, candidates=sizes, measure=measure)
        scores = voted_accuracy(
            calibration.correct, answers, sizes=((3, 4),), key=KEY, draws=1,
            by_abstraction=by_abstraction,
        )  # fmt: skip
        np.testing.assert_allclose(table.mean[1], scores.mean(), atol=1e-5)


@pytest.mark.parametrize("measure", ["pass", "vote", "vote_by_abstraction"])
def test_intervals_hold_the_mean_and_narrow_with_problems(measure):
    widths = []
    for problems in (20, 320):
        answers = jax.random.randint(KEY, (problems, 2, 2), 0, 3)
        calibration = calibrate(answers == 0, answers)
        table = plan(calibration, 1e9, key=KEY, measure=measure, candidates=((1, 1), (2, 2)))
        assert ((table.low <= table.mean) & (table.mean <= table.high)).all()
        widths.append(float((table.high - table.low)[1]))
    assert 2.5 < widths[0] / widths[1] < 6.5  # a quarter, up to chance: sqrt(20 / 320)


def test_golden_interval_of_a_vote():
    """Half of 100 problems solved: .5 +- 1.96 x .5 / sqrt(100)."""
    answers = jnp.broadcast_to((jnp.arange(100) % 2)[:, None, None], (100, 2, 2))
    table = plan(calibrate(answers == 0, answers), 1e9, key=KEY, measure="vote", resamples=2000)
    np.testing.assert_allclose(table.mean, 0.5, atol=1e-6)
    np.testing.assert_allclose(table.low, 0.402, atol=0.02)
    np.testing.assert_allclose(table.high, 0.598, atol=0.02)


def test_equal_predictions_go_to_the_fewest_tokens():
    answers = jnp.zeros((4, 2, 2), int)
    for measure in ("pass", "vote", "vote_by_abstraction"):
        table = plan(calibrate(answers == 0, answers), 1000, key=KEY, measure=measure)
        np.testing.assert_allclose(table.mean, 1.0, atol=1e-3)
        assert table.allocation == (1, 1)


def test_a_budget_binds():
    """Candidates over the budget stay in a table that was asked for, but aren't chosen."""
    correct = draw(KEY, (30, 4, 4), 3.0)
    sizes = ((4, 4), (1, 1), (2, 2))
    table = plan(calibrate(correct), 450, key=KEY, candidates=sizes)
    assert table.mean.argmax() == 0 and table.allocation == (2, 2)
    assert (plan(calibrate(correct), 450, key=KEY).tokens <= 450).all()


def test_different_abstractions_are_worth_more_than_solutions():
    """Every abstraction solves all or nothing, so that a second solution under it adds nothing."""
    solves = jax.random.uniform(KEY, (400, 4, 1)) < 0.4
    calibration = calibrate(jnp.broadcast_to(solves, (400, 4, 4)), abstraction_tokens=1)
    table = plan(calibration, 410, key=KEY)
    assert table.allocation == (4, 1)
    np.testing.assert_allclose(table.mean[table.chosen], 1 - 0.6**4, atol=0.05)


@pytest.mark.parametrize("measure", ["pass", "vote"])
@pytest.mark.parametrize(("hinted", "plain"), [(0.1, 0.9), (0.9, 0.1)])
def test_plain_samples_compete(measure, hinted, plain):
    """An answer is right with a chance of .1 or .9, which decides, at about the same cost."""
    answers = (jax.random.uniform(KEY, (40, 2, 2)) >= hinted).astype(int)
    without = (jax.random.uniform(KEY, (40, 4)) >= plain).astype(int)
    bare = bare_calibration(without == 0, jnp.full((40, 4), 100), without)
    table = plan(calibrate(answers == 0, answers, bare=bare), 130, key=KEY, measure=measure)
    assert table.abstractions.tolist() == [0, 1] and table.solutions.tolist() == [1, 1]
    assert table.tokens.tolist() == [100.0, 120.0]
    assert table.allocation == ((0, 1) if plain > hinted else (1, 1))
    np.testing.assert_allclose(table.mean, [plain, hinted], atol=0.1)


@pytest.mark.parametrize("measure", ["pass", "vote", "vote_by_abstraction"])
@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("shape", [(1, 2, 3), (3, 1, 2), (3, 2, 1), (1, 1, 1)])
def test_small_and_one_sided_calibrations(measure, right, shape):
    correct = jnp.full(shape, right)
    answers = jnp.where(correct, 0, -1)
    table = plan(calibrate(correct, answers), 1e6, key=KEY, measure=measure, resamples=20, draws=4)
    first = table.tokens.argmin()
    np.testing.assert_allclose(table.mean[first], float(right), atol=0.02)
    assert jnp.isfinite(table.low).all() and jnp.isfinite(table.high).all()
    np.testing.assert_allclose(table.high - table.low, 0.0, atol=1e-4)


def test_problems_count_alike_whatever_the_key():
    calibration = calibrate(draw(KEY, (30, 2, 2), 3.0))
    first, again, other = (plan(calibration, 900, key=jax.random.key(n)) for n in (0, 0, 1))
    assert (first.low == again.low).all() and (first.mean == other.mean).all()
    assert (first.low != other.low).any()


def test_a_plan_is_a_pytree():
    table = plan(calibrate(jnp.ones((2, 1, 1))), 200, key=KEY)
    assert jax.tree.map(lambda leaf: leaf, table).allocation == table.allocation == (1, 1)


def test_default_candidates():
    calibration = calibrate(
        jnp.ones((1, 3, 2)), bare=bare_calibration(jnp.ones((1, 2)), jnp.ones((1, 2)))
    )
    votes = default_candidates(calibration, "vote")
    assert votes == ((0, 1), (0, 2), *((m, k) for m in (1, 2, 3) for k in (1, 2)))
    passes = default_candidates(calibration, "pass")
    assert {m for m, _ in passes} == {0, 1, 2, 3, 4, 8}
    assert {k for m, k in passes if m} == {k for m, k in passes if not m} == {1, 2, 4, 8}


CALIBRATION = calibrate(jnp.ones((2, 2, 2)), bare=None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": 119}, "the cheapest, m=1 x k=1, takes 120.0 tokens; got 119"),
        ({"measure": "best"}, "measure must be in .*; got 'best'"),
        ({"measure": "vote"}, "measure 'vote' needs answers in the calibration; got None"),
        ({"candidates": ()}, "candidates must hold one"),
        ({"candidates": ((1, 0),)}, r"candidates must be \(m, k\) .*; got \(1, 0\)"),
        ({"candidates": ((-1, 1),)}, r"candidates must be \(m, k\) .*; got \(-1, 1\)"),
        ({"candidates": ((0, 1),)}, r"\(0, 1\) needs plain samples"),
        ({"resamples": 0}, "resamples must be 1 or more; got 0"),
        ({"draws": 0}, "draws must be 1 or more; got 0"),
    ],
)
def test_wrong_input_is_named(changes, message):
    arguments = {"budget": 1000, "key": KEY} | changes
    with pytest.raises(ValueError, match=message):
        plan(CALIBRATION, **arguments)


def test_votes_of_plain_samples_need_their_answers():
    answers = jnp.zeros((2, 2, 2), int)
    bare = bare_calibration(jnp.ones((2, 1)), jnp.ones((2, 1)))
    calibration = dataclasses.replace(CALIBRATION, answers=answers, bare=bare)
    with pytest.raises(ValueError, match="needs answers in the calibration of plain samples"):
        plan(calibration, 1000, key=KEY, measure="vote")
