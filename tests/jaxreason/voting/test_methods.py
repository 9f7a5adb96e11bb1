import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.voting.ballots import option_mask
from jaxreason.voting.dawid_skene import dawid_skene, one_coin_dawid_skene
from jaxreason.voting.low_rank import ow_i, ow_l
from jaxreason.voting.majority import majority
from jaxreason.voting.methods import METHODS, find_method, probabilities
from jaxreason.voting.second_order import isp, sp
from jaxreason.voting.wawa import wawa
from jaxreason.voting.weighted import estimate_accuracies, ow

ACCURACIES = jnp.array([0.9, 0.8, 0.6, 0.55, 0.5])
DIRECT = {
    "majority": majority,
    "wawa": wawa,
    "sp": sp,
    "isp": isp,
    "ow-l": ow_l,
    "ow-i": ow_i,
    "ow-i-iterated": lambda *data, **options: ow_i(*data, max_iterations=100, **options),
    "one-coin": one_coin_dawid_skene,
    "dawid-skene": dawid_skene,
}


def draw(questions=40, options=3, abstain=0.1, seed=0):
    """Answers of independent agents, some left out, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(options, size=questions)
    shift = rng.integers(1, options, (questions, len(ACCURACIES)))
    right = rng.random(shift.shape) < np.array(ACCURACIES)
    answers = np.where(right, truth[:, None], (truth[:, None] + shift) % options)
    answers[rng.random(answers.shape) < abstain] = -1
    answers[0] = -1
    return jnp.array(answers, jnp.int32), jnp.array(truth, jnp.int32)


def options_of(kind, questions=40):
    if kind == "one":
        return {"num_options": 3, "max_options": None}
    return {"num_options": jnp.where(jnp.arange(questions) % 2, 3, 4), "max_options": 4}


def run(name, answers, truth=None, *, fitted_to=None, ties="split", **options):
    """Both steps of a method."""
    method = METHODS[name]
    given = truth if method.truth == "required" else None
    parameters = method.fit(answers if fitted_to is None else fitted_to, truth=given, **options)
    key = jax.random.key(3) if ties == "random" else None
    return method.vote(parameters, answers, ties=ties, key=key, **options)


@pytest.mark.parametrize("kind", ["one", "several"])
@pytest.mark.parametrize("name", DIRECT)
def test_both_steps_together_are_the_rule(name, kind):
    answers, _ = draw()
    options = options_of(kind)
    votes = run(name, answers, **options)
    expected = DIRECT[name](answers, options["num_options"], max_options=options["max_options"])
    np.testing.assert_array_equal(votes.answers, expected.answers)
    np.testing.assert_allclose(votes.winners, expected.winners)
    np.testing.assert_allclose(votes.scores, expected.scores, rtol=1e-4, atol=1e-4)
    if expected.accuracies is not None:
        np.testing.assert_allclose(votes.accuracies, expected.accuracies, atol=1e-5)


@pytest.mark.parametrize("kind", ["one", "several"])
def test_ow_goes_by_the_labelled_questions_alone(kind):
    answers, truth = draw()
    options = options_of(kind)
    labelled = jnp.where(jnp.arange(len(truth)) < 10, truth, -1)
    votes = run("ow", answers, labelled, **options)
    accuracies = estimate_accuracies(answers[:10], truth[:10])
    expected = ow(answers, options["num_options"], accuracies, max_options=options["max_options"])
    np.testing.assert_allclose(votes.accuracies, accuracies, rtol=1e-6)
    np.testing.assert_array_equal(votes.answers, expected.answers)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_votes_on_other_questions_and_breaks_ties(name):
    answers, truth = draw()
    options = options_of("one")
    votes = run(name, answers[:7], truth, fitted_to=answers, ties="random", **options)
    assert votes.answers.shape == (7,)
    assert int(votes.answers[0]) == -1
    assert set(np.unique(votes.winners)) <= {0.0, 1.0}


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS[name].truth == "optional"])
def test_methods_that_may_read_the_truth_do(name):
    answers, truth = draw(questions=12)
    options = options_of("one")
    without = METHODS[name].fit(answers, truth=None, **options)
    with_truth = METHODS[name].fit(answers, truth=truth, **options)
    pairs = zip(jax.tree.leaves(without), jax.tree.leaves(with_truth), strict=True)
    assert any(float(jnp.max(jnp.abs(one - other))) > 0.01 for one, other in pairs)


@pytest.mark.parametrize("kind", ["one", "several"])
@pytest.mark.parametrize("name", METHODS)
def test_probabilities_sum_to_one_and_favour_a_winner(name, kind):
    answers, truth = draw()
    options = options_of(kind)
    votes = run(name, answers, truth, **options)
    shares = probabilities(votes, answers, **options)
    exists = option_mask(options["num_options"], options["max_options"], len(answers))
    np.testing.assert_allclose(shares.sum(1), 1.0, rtol=1e-5)
    assert float(shares.min()) >= 0.0
    assert not bool(jnp.any(jnp.where(exists, 0.0, shares)))
    if votes.posterior is None:  # one may know a prior
        uniform = np.asarray(exists[0], float) / int(exists[0].sum())
        np.testing.assert_allclose(shares[0], uniform, rtol=1e-6)
    best = jnp.take_along_axis(shares[1:], votes.answers[1:, None], 1)[:, 0]
    np.testing.assert_allclose(shares[1:].max(1), best, atol=1e-4)


def test_probabilities_of_isp_are_its_advantages_around_the_mean():
    rows = ("0001", "1101", "0010", "1111", "1010", "0000", "1110", "0100")
    answers = jnp.array([[int(answer) for answer in row] for row in rows])
    shares = probabilities(isp(answers, 2), answers, 2)
    np.testing.assert_allclose(shares[0], [0.5 + 73 / 240, 0.5 - 73 / 240], rtol=1e-5)


def test_each_method_has_a_name_a_summary_and_a_use_of_the_truth():
    assert {method.truth for method in METHODS.values()} == {"ignored", "optional", "required"}
    for name, method in METHODS.items():
        assert find_method(name) is method
        assert method.name == name
        assert 0 < len(method.summary) < 80


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(ValueError, match="no method 'dawidskene'; did you mean dawid-skene"):
        find_method("dawidskene")


def test_a_step_is_compiled_once_for_the_same_shapes(compilations):
    answers, _ = draw()
    options = options_of("several")
    first = run("one-coin", answers, **options)
    count = len(compilations)
    second = run("one-coin", (answers + 1) % 3, **options)
    assert len(compilations) <= count + 2  # of (answers + 1) % 3 itself
    assert first.scores.shape == second.scores.shape
