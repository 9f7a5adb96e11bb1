"""Exact accuracies and advantages against golden values, and the theorems by enumeration."""

import itertools
import math
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.voting import blocks, theory
from jaxreason.voting.majority import majority
from jaxreason.voting.second_order import isp, pairwise_conditionals, sp
from jaxreason.voting.theory import (
    exact_accuracy,
    expected_advantages,
    population_conditionals,
    second_order_weights,
    skill,
    theorem_2_gaps,
)
from jaxreason.voting.weighted import ow

FOUR = (0.6, 0.7, 0.8, 0.9)
POOLS = st.lists(st.floats(0.05, 0.95), min_size=1, max_size=4)


def informed_rules(accuracies, num_options):
    """The rules of the paper, which are given what they would have to learn."""
    conditionals = population_conditionals(accuracies, num_options)
    return {
        "majority": majority,
        "sp": partial(sp, conditionals=conditionals),
        "isp": partial(isp, conditionals=conditionals),
        "ow": partial(ow, accuracies=accuracies),
    }


def exact_accuracies(accuracies, num_options):
    x = jnp.array(accuracies, jnp.float32)
    return {
        name: float(exact_accuracy(rule, x, num_options))
        for name, rule in informed_rules(x, num_options).items()
    }


@pytest.mark.parametrize(
    ("num_options", "of_majority", "of_sp", "of_isp", "of_ow"),
    [
        (2, "85.0000", "79.8000", "90.2000", "91.2000"),
        (3, "90.3600", "87.7600", "92.9600", "93.5800"),
        (4, "92.3711", "90.4933", "94.3600", "94.6933"),
        (6, "94.0608", "92.7088", "95.6528", "95.8528"),
        (8, "94.8069", "93.6661", "96.2539", "96.3967"),
        (10, "95.2272", "94.2000", "96.6000", "96.7111"),
    ],
)
def test_exact_accuracies_to_the_printed_digit(num_options, of_majority, of_sp, of_isp, of_ow):
    """What Table 2 of the paper estimates with 10,000 questions."""
    found = exact_accuracies(FOUR, num_options)
    printed = {name: f"{100 * accuracy:.4f}" for name, accuracy in found.items()}
    assert printed == {"majority": of_majority, "sp": of_sp, "isp": of_isp, "ow": of_ow}


@pytest.mark.parametrize(
    ("accuracies", "num_options", "expected"),
    [
        ((0.9, 0.6, 0.6), 2, {"ow": "9/10", "majority": "99/125", "sp": "99/125", "isp": "99/125"}),
        ((0.9, 0.6, 0.6), 3, {"ow": "9/10", "majority": "103/125", "isp": "108/125"}),
        ((0.9, 0.6, 0.6), 3, {"sp": "201/250"}),
        ((0.7, 0.7, 0.7), 2, dict.fromkeys(("ow", "majority", "sp", "isp"), "98/125")),
        ((0.4, 0.7, 0.7), 2, {"ow": "371/500", "majority": "329/500"}),
        ((0.9, 0.6, 0.6, 0.6, 0.6), 2, {"ow": "9/10", "majority": "2457/3125"}),
        ((0.9, 0.6, 0.6, 0.6, 0.6), 2, {"isp": "2457/3125"}),
        # Example 1 of the paper
        ((1.0, 1.0, 0.5, 0.5), 2, {"ow": "1", "isp": "1", "majority": "7/8", "sp": "3/4"}),
        ((0.8,), 5, dict.fromkeys(("ow", "majority", "sp", "isp"), "4/5")),
        ((0.8, 0.6), 2, {"ow": "4/5", "majority": "7/10"}),
    ],
)
def test_exact_accuracies_of_small_pools(accuracies, num_options, expected):
    found = exact_accuracies(accuracies, num_options)
    for name, accuracy in expected.items():
        np.testing.assert_allclose(found[name], float(Fraction(accuracy)), atol=1e-6)


@given(accuracies=POOLS, num_options=st.integers(2, 3))
@settings(max_examples=15)
def test_exact_accuracy_is_the_sum_over_outcomes(accuracies, num_options):
    """Votes counted in plain Python, for the truth 0; majority treats all options alike."""
    expected = 0.0
    for answers in itertools.product(range(num_options), repeat=len(accuracies)):
        chances = [
            x if answer == 0 else (1 - x) / (num_options - 1)
            for x, answer in zip(accuracies, answers, strict=True)
        ]
        counts = [answers.count(option) for option in range(num_options)]
        share = (counts[0] == max(counts)) / counts.count(max(counts))
        expected += math.prod(chances) * share
    found = exact_accuracy(majority, jnp.array(accuracies), num_options)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_exact_accuracy_averages_over_the_truth():
    """A rule that always answers 0 (the first of ties, without agents) is right at chance."""

    def stubborn(answers, num_options):
        return majority(jnp.zeros_like(answers), num_options)

    accuracy = exact_accuracy(stubborn, jnp.array([0.9, 0.8]), 4)
    np.testing.assert_allclose(accuracy, 0.25, atol=1e-6)


def test_exact_accuracy_in_blocks_under_jit(monkeypatch):
    """3^4 outcomes in blocks of 10 are the same, and the accuracies may be traced."""
    monkeypatch.setattr(blocks, "BALLOTS_PER_BLOCK", 120)
    x = jnp.array(FOUR, jnp.float32)
    found = jax.jit(lambda x: exact_accuracy(partial(ow, accuracies=x), x, 3))(x)
    np.testing.assert_allclose(found, 0.9358, atol=1e-6)


def test_exact_accuracy_says_when_there_are_too_many_outcomes(monkeypatch):
    monkeypatch.setattr(theory, "MAX_OUTCOMES", 15)
    with pytest.raises(ValueError, match="4 agents with 2 options have 16 ways .* simulate"):
        exact_accuracy(majority, jnp.array(FOUR), 2)
    with pytest.raises(ValueError, match="at least 2; got 1"):
        exact_accuracy(majority, jnp.array(FOUR), 1)


@given(accuracies=POOLS, num_options=st.integers(2, 4))
def test_no_rule_beats_optimal_weights(accuracies, num_options):
    """Theorem 1, agents worse than chance included."""
    found = exact_accuracies(accuracies, num_options)
    assert all(accuracy <= found["ow"] + 2e-6 for accuracy in found.values())
    assert found["ow"] >= max(accuracies) - 2e-6


@pytest.mark.parametrize(
    ("num_options", "of_majority", "of_sp", "of_isp"),
    [
        (2, "1", "11/15", "19/15"),
        (3, "5/3", "1", "2"),
        (4, "2", "148/135", "932/405"),
        (6, "7/3", "147/125", "1603/625"),
    ],
)
def test_expected_advantages(num_options, of_majority, of_sp, of_isp):
    found = expected_advantages(jnp.array(FOUR), num_options)
    expected = [float(Fraction(value)) for value in (of_majority, of_sp, of_isp)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("num_options", "isp_gap", "sp_gap"),
    [
        (2, "4/15", "4/15"),
        (3, "1/3", "2/3"),
        (4, "122/405", "122/135"),
        (6, "434/1875", "434/375"),
        (8, "379/2058", "379/294"),
        (10, "1664/10935", "1664/1215"),
    ],
)
def test_theorem_2_gaps(num_options, isp_gap, sp_gap):
    found = theorem_2_gaps(jnp.array(FOUR), num_options)
    expected = [float(Fraction(gap)) for gap in (isp_gap, sp_gap)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@given(accuracies=POOLS, num_options=st.integers(2, 4))
def test_advantages_are_the_mean_scores_of_the_right_option(accuracies, num_options):
    """The closed forms are what SP and ISP score on average, and the gaps are in order."""
    x = jnp.array(accuracies)
    rules = informed_rules(x, num_options)
    outcomes = list(itertools.product(range(num_options), repeat=len(accuracies)))
    answers = jnp.array(outcomes)
    wrong = (1 - np.asarray(accuracies)) / (num_options - 1)
    chances = np.where(np.array(outcomes) == 0, accuracies, wrong).prod(axis=1)
    means = [chances @ np.asarray(rules[name](answers, num_options).scores)[:, 0] for name in rules]
    advantages = expected_advantages(x, num_options)
    np.testing.assert_allclose(
        [means[0] - len(accuracies) / num_options, *means[1:3]], advantages, atol=1e-5
    )
    if min(accuracies) >= 1 / num_options:
        assert advantages.isp >= advantages.majority - 1e-6
        assert advantages.majority >= advantages.sp - 1e-6


@given(accuracies=POOLS, num_options=st.integers(2, 4))
def test_sp_and_isp_are_weighted_votes_and_a_constant(accuracies, num_options):
    x = jnp.array(accuracies)
    rules = informed_rules(x, num_options)
    answers = jnp.array(list(itertools.product(range(num_options), repeat=len(accuracies))))
    ballots = jax.nn.one_hot(answers, num_options)
    weights = second_order_weights(x, num_options)
    for name, weights_of_rule in zip(("sp", "isp"), weights, strict=True):
        scores = rules[name](answers, num_options).scores
        rest = scores - jnp.einsum("qas,a->qs", ballots, weights_of_rule)
        np.testing.assert_allclose(rest, jnp.broadcast_to(rest[:, :1], rest.shape), atol=1e-5)


def test_weights_of_second_order_rules():
    x = jnp.array([0.9, 0.8, 0.7, 0.6])
    of_sp, of_isp = second_order_weights(x, 2)
    np.testing.assert_allclose(of_isp, [1.32, 1.28, 1.213333, 1.12], atol=1e-6)
    np.testing.assert_allclose(of_sp, [0.68, 0.72, 0.786667, 0.88], atol=1e-6)
    _, of_isp = second_order_weights(x, 4)
    np.testing.assert_allclose(of_isp, [1.173333, 1.157531, 1.137778, 1.114074], atol=1e-6)
    assert second_order_weights(x[:1], 4)[1].tolist() == [1.0]


def test_population_conditionals_are_what_counting_finds():
    """Every outcome as often as it is likely, for either truth."""
    x, answers = (0.5, 0.75), np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    counts = np.array([3, 1, 3, 1])  # eighths, given the truth 0
    rows = np.repeat(answers, counts, axis=0)
    counted = pairwise_conditionals(jnp.array(np.concatenate([rows, 1 - rows])), 2)
    np.testing.assert_allclose(population_conditionals(jnp.array(x), 2), counted, atol=1e-6)


@given(accuracies=POOLS, num_options=st.integers(2, 5))
def test_population_conditionals_follow_from_the_truth(accuracies, num_options):
    """P(A_i = s | A_j = a) = sum_t P(A_i = s | t) P(t | A_j = a), and answers are uniform."""
    x = np.asarray(accuracies)
    wrong = (1 - x) / (num_options - 1)
    given_truth = np.where(np.eye(num_options), x[:, None, None], wrong[:, None, None])
    expected = np.einsum("ist,jat->isja", given_truth, given_truth)
    found = population_conditionals(jnp.array(accuracies), num_options)
    others = ~np.eye(len(x), dtype=bool)
    np.testing.assert_allclose(
        np.moveaxis(np.asarray(found), 2, 1)[others], np.moveaxis(expected, 2, 1)[others], atol=1e-6
    )
    np.testing.assert_allclose(jnp.sum(found, axis=1), 1.0, atol=1e-6)


def test_skill():
    np.testing.assert_allclose(
        skill(jnp.array([0.0, 0.25, 0.7, 1.0]), 4), [-1 / 3, 0.0, 0.6, 1.0], atol=1e-6
    )


@pytest.mark.parametrize(
    "function", [skill, population_conditionals, second_order_weights, theorem_2_gaps]
)
def test_one_option_is_refused(function):
    with pytest.raises(ValueError, match="at least 2; got 1"):
        function(jnp.array(FOUR), 1)
