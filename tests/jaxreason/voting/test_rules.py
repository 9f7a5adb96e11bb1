"""What holds for every rule, and majority and OW against golden values."""

import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxreason.voting.dawid_skene import dawid_skene, one_coin_dawid_skene
from jaxreason.voting.item_response import item_response
from jaxreason.voting.low_rank import ow_i, ow_l
from jaxreason.voting.majority import majority
from jaxreason.voting.options import shuffle_labels, unshuffle_labels
from jaxreason.voting.result import Votes
from jaxreason.voting.second_order import isp, pairwise_conditionals, sp
from jaxreason.voting.wawa import wawa
from jaxreason.voting.weighted import (
    confidence_weighted,
    estimate_accuracies,
    optimal_weights,
    ow,
)

ACCURACIES = np.array([0.6, 0.7, 0.8, 0.9])
ANSWERS = hnp.arrays(np.int32, (6, 4), elements=st.integers(-1, 2))


def compiled(rule):
    """The rule under jit, with a static number of options or one a question."""
    static = jax.jit(rule, static_argnames=("num_options", "max_options", "ties"))
    dynamic = jax.jit(rule, static_argnames=("max_options", "ties"))

    def vote(answers, num_options, **settings):
        call = static if isinstance(num_options, int) else dynamic
        return call(answers, num_options=num_options, **settings)

    return vote


def ow_by_category(answers, num_options, **settings):
    table = jnp.array([ACCURACIES, ACCURACIES[::-1]], jnp.float32).T[: answers.shape[1]]
    categories = jnp.arange(answers.shape[0]) % 2
    return ow(answers, num_options, table, categories=categories, **settings)


def by_confidence(answers, num_options, **settings):
    confidences = (jnp.arange(answers.shape[0] * 4.0).reshape(-1, 4) % 5)[:, : answers.shape[1]]
    return confidence_weighted(answers, num_options, confidences, **settings)


RULES = {
    "majority": majority,
    "wawa": wawa,
    "ow": lambda answers, num_options, **settings: ow(
        answers,
        num_options,
        jnp.array(ACCURACIES, jnp.float32)[: answers.shape[1]],
        **settings,
    ),
    "ow by category": ow_by_category,
    "confidence": by_confidence,
    "sp": sp,
    "isp": isp,
    "ow_l": ow_l,
    "ow_i": ow_i,
    "ow_i to a fixed point": lambda answers, num_options, **settings: ow_i(
        answers, num_options, max_iterations=100, **settings
    ),
}
MODELS = {
    "one coin": one_coin_dawid_skene,
    "Dawid-Skene": dawid_skene,
    "item response": item_response,
}
"""Tested for the same symmetries where they are, with answers that tell one optimum."""
RULES = {name: compiled(rule) for name, rule in RULES.items()}
MODELS = {name: compiled(rule) for name, rule in MODELS.items()}
LABEL_WISE = ("sp", "isp", "ow_l", "ow_i", "ow_i to a fixed point")
"""Rules that count how often each label goes with each, if there is one number of options."""
AGENTS_APART = ("ow", "ow by category", "confidence")
"""Rules that are given something for each agent."""
every_rule = pytest.mark.parametrize("rule", (RULES | MODELS).values(), ids=RULES | MODELS)
without_models = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def assert_same_up_to_ties(votes, others):
    """The scores agree, and who wins in one is at most a rounding error behind in the other."""
    np.testing.assert_allclose(others.scores, votes.scores, atol=5e-3)
    for one, other in ((votes, others), (others, votes)):
        behind = one.scores.max(axis=1, keepdims=True) - one.scores
        assert (np.where(other.winners > 0, behind, 0.0) < 5e-3).all()
    np.testing.assert_allclose(others.winners.sum(axis=1), votes.winners.sum(axis=1), atol=1e-6)


def outcomes(accuracies, num_options):
    """All answers to a question whose truth is 0, and their probabilities."""
    answers = np.array(list(itertools.product(range(num_options), repeat=len(accuracies))))
    wrong = (1 - np.asarray(accuracies)) / (num_options - 1)
    return answers, np.where(answers == 0, accuracies, wrong).prod(axis=1)


def population_conditionals(accuracies, num_options):
    """P(A_i = s | A_j = a) at `[i, s, j, a]`: given A_j = a, the truth t has P(A_j = a | t)."""
    x = np.asarray(accuracies)
    wrong = (1 - x) / (num_options - 1)
    given_truth = np.where(np.eye(num_options), x[:, None, None], wrong[:, None, None])
    return jnp.array(np.einsum("ist,jat->isja", given_truth, given_truth), jnp.float32)


def exact_accuracy(votes: Votes, probabilities) -> float:
    return float((np.asarray(votes.winners)[:, 0] * probabilities).sum())


@pytest.mark.parametrize(
    "answers, num_options, settings, words",
    [
        (
            jnp.array([[0, 1], [1, 2]]),
            2,
            {},
            "got 2 for a question of 2 options (question 1, agent",
        ),
        (
            jnp.array([[0, -2]]),
            2,
            {},
            "got -2 for a question of 2 options (question 0, agent 1; 1 in",
        ),
        (
            jnp.array([[2, 2], [2, -1]]),
            jnp.array([3, 2]),
            {"max_options": 4},
            "of 2 options (question",
        ),
    ],
)
def test_answers_that_name_no_option_are_refused(answers, num_options, settings, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        majority(answers, num_options, **settings)


@pytest.mark.parametrize(
    ("num_options", "of_majority", "of_sp", "of_isp", "of_ow"),
    [
        (2, 0.85, 0.798, 0.902, 0.912),
        (3, 0.9036, 0.8776, 0.9296, 0.9358),
        (4, 0.923711, 0.904933, 0.9436, 0.946933),
        (6, 0.940608, 0.927088, 0.956528, 0.958528),
        (8, 0.948069, 0.936661, 0.962539, 0.963967),
        (10, 0.952272, 0.942, 0.966, 0.967111),
    ],
)
def test_exact_accuracies(num_options, of_majority, of_sp, of_isp, of_ow):
    """The simulation of the paper (Section 5.1, Table 2), by enumeration with split ties."""
    answers, probabilities = outcomes(ACCURACIES, num_options)
    answers = jnp.array(answers)
    conditionals = population_conditionals(ACCURACIES, num_options)
    votes = {
        of_majority: majority(answers, num_options),
        of_sp: sp(answers, num_options, conditionals=conditionals),
        of_isp: isp(answers, num_options, conditionals=conditionals),
        of_ow: ow(answers, num_options, jnp.array(ACCURACIES, jnp.float32)),
    }
    for expected, result in votes.items():
        np.testing.assert_allclose(exact_accuracy(result, probabilities), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("accuracies", "num_options", "of_majority", "of_sp", "of_isp", "of_ow"),
    [
        ((0.9, 0.6, 0.6), 2, 99 / 125, 99 / 125, 99 / 125, 9 / 10),
        ((0.9, 0.6, 0.6), 3, 103 / 125, 201 / 250, 108 / 125, 9 / 10),
        ((0.7, 0.7, 0.7), 2, 98 / 125, 98 / 125, 98 / 125, 98 / 125),
        ((0.4, 0.7, 0.7), 2, 329 / 500, None, None, 371 / 500),
        ((0.9, 0.6, 0.6, 0.6, 0.6), 2, 2457 / 3125, None, 2457 / 3125, 0.9),
        ((1.0, 1.0, 0.5, 0.5), 2, 7 / 8, 3 / 4, 1.0, 1.0),
    ],
)
def test_exact_accuracies_of_small_pools(
    accuracies, num_options, of_majority, of_sp, of_isp, of_ow
):
    answers, probabilities = outcomes(accuracies, num_options)
    answers = jnp.array(answers)
    result = exact_accuracy(majority(answers, num_options), probabilities)
    np.testing.assert_allclose(result, of_majority, atol=1e-6)
    result = exact_accuracy(ow(answers, num_options, jnp.array(accuracies)), probabilities)
    np.testing.assert_allclose(result, of_ow, atol=1e-6)
    conditionals = population_conditionals(accuracies, num_options)
    for rule, expected in ((sp, of_sp), (isp, of_isp)):
        if expected is not None:
            votes = rule(answers, num_options, conditionals=conditionals)
            np.testing.assert_allclose(exact_accuracy(votes, probabilities), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("num_options", "accuracy", "weight"),
    [
        (2, 0.9, math.log(9)),
        (2, 0.8, 1.386294),
        (2, 0.7, 0.847298),
        (2, 0.6, 0.405465),
        (4, 0.9, math.log(27)),
        (4, 0.25, 0.0),
        (3, 0.9, math.log(18)),
        (10, 0.6, 2.602690),
    ],
)
def test_optimal_weights(num_options, accuracy, weight):
    weights = optimal_weights(jnp.array([accuracy]), num_options)
    np.testing.assert_allclose(weights, [weight], atol=2e-6)
    by_question = optimal_weights(jnp.array([accuracy]), jnp.array([num_options, 2]))
    np.testing.assert_allclose(by_question[0], weights, atol=1e-6)


def test_optimal_weights_are_finite_and_odd_at_the_ends():
    weights = optimal_weights(jnp.array([0.0, 1.0]), 2)
    assert jnp.isfinite(weights).all()
    np.testing.assert_allclose(weights[0], -weights[1], rtol=1e-2)


@pytest.mark.parametrize(
    ("accuracies", "answer"), [((0.9, 0.6, 0.6), 0), ((0.8, 0.7, 0.7), 1), ((0.1, 0.5, 0.5), 1)]
)
def test_ow_golden_answers(accuracies, answer):
    """2.197 > 0.811, 1.386 < 1.695, and -2.197 < 0 < 0."""
    votes = ow(jnp.array([[0, 1, 1]]), 2, jnp.array(accuracies))
    assert votes.answers.tolist() == [answer]


def test_ow_scores_are_sums_of_weights():
    answers = jnp.array([[0, 2, 2, -1]])
    votes = ow(answers, 3, jnp.array(ACCURACIES, jnp.float32))
    expected = np.log(2 * ACCURACIES / (1 - ACCURACIES))
    np.testing.assert_allclose(votes.weights, expected, rtol=1e-5)
    np.testing.assert_allclose(
        votes.scores, [[expected[0], 0.0, expected[1] + expected[2]]], rtol=1e-5
    )


@given(answers=ANSWERS)
def test_ow_of_equal_accuracies_is_the_majority(answers):
    expected = majority(jnp.array(answers), 3)
    votes = ow(jnp.array(answers), 3, jnp.full(4, 0.6))
    np.testing.assert_array_equal(votes.winners, expected.winners)


@pytest.mark.parametrize("rule", [sp, isp])
@given(answers=ANSWERS)
def test_uniform_conditionals_make_the_majority(rule, answers):
    expected = majority(jnp.array(answers), 3)
    votes = rule(jnp.array(answers), 3, conditionals=jnp.full((4, 3, 4, 3), 1 / 3))
    np.testing.assert_array_equal(votes.winners, expected.winners)


@without_models
@pytest.mark.parametrize("by_question", [False, True])
@given(answers=ANSWERS, permutation=st.permutations(range(3)))
def test_relabelling_permutes_the_winners(rule, by_question, answers, permutation):
    """One permutation for all questions, whether labels are told apart or not."""
    settings = {"num_options": 3}
    if by_question:
        settings = {"num_options": jnp.full(6, 3), "max_options": 3}
    permutation = np.array(permutation)
    relabelled = np.where(answers < 0, -1, permutation[answers])
    votes = rule(jnp.array(answers), **settings)
    others = rule(jnp.array(relabelled), **settings)
    mapped = (votes.scores, votes.winners, others.scores, others.winners)
    scores, winners, other_scores, other_winners = map(np.asarray, mapped)
    assert_same_up_to_ties(
        Votes(scores, votes.answers, winners),
        Votes(other_scores[:, permutation], others.answers, other_winners[:, permutation]),
    )


@pytest.mark.parametrize(
    ("name", "by_question"),
    [(name, True) for name in RULES] + [(name, False) for name in RULES if name not in LABEL_WISE],
)
@given(answers=ANSWERS, seed=st.integers(0, 2**16))
def test_shuffling_labels_changes_no_answer(name, by_question, answers, seed):
    """A permutation of its own for each question: no rule depends on it, up to ties.

    That is so by construction if rules don't tell labels apart, as with a number of options for
    each question. With one number for all, some count labels apart, as in the paper.
    """
    settings = {"num_options": jnp.tile(jnp.array([3, 2]), 3), "max_options": 3}
    answers = jnp.array(answers)
    if not by_question:
        settings = {"num_options": 3}
    shuffled, permutation = shuffle_labels(jax.random.key(seed), answers, **settings)
    votes, others = RULES[name](answers, **settings), RULES[name](shuffled, **settings)
    scores, winners = (
        np.take_along_axis(np.asarray(values), np.asarray(permutation), axis=1)
        for values in (others.scores, others.winners)
    )
    assert_same_up_to_ties(
        Votes(np.asarray(votes.scores), votes.answers, np.asarray(votes.winners)),
        Votes(scores, others.answers, winners),
    )
    alone = (np.asarray(votes.winners).max(axis=1) == 1) & (winners.max(axis=1) == 1)
    back = unshuffle_labels(others.answers, permutation)
    np.testing.assert_array_equal(back[alone], votes.answers[alone])


@pytest.mark.parametrize("name", LABEL_WISE)
def test_label_wise_statistics_of_shuffled_questions_differ_by_chance(name):
    """4000 simulated questions: at most one answer in a hundred changes."""
    keys = jax.random.split(jax.random.key(0), 4)
    truth = jax.random.randint(keys[0], (4000, 1), 0, 3)
    right = jax.random.bernoulli(keys[1], jnp.array(ACCURACIES, jnp.float32), (4000, 4))
    wrong = jax.random.randint(keys[2], (4000, 4), 1, 3)
    answers = jnp.where(right, truth, (truth + wrong) % 3)
    shuffled, permutation = shuffle_labels(keys[3], answers, 3)
    votes, others = RULES[name](answers, 3), RULES[name](shuffled, 3)
    back = unshuffle_labels(others.answers, permutation)
    assert (back == votes.answers).mean() > 0.99


@pytest.mark.parametrize("name", [name for name in RULES if name not in AGENTS_APART])
@pytest.mark.parametrize("by_question", [False, True])
@given(answers=ANSWERS, order=st.permutations(range(4)))
def test_order_of_agents_does_not_matter(name, by_question, answers, order):
    settings = {"num_options": 3}
    if by_question:
        settings = {"num_options": jnp.tile(jnp.array([3, 2]), 3), "max_options": 3}
    votes = RULES[name](jnp.array(answers), **settings)
    others = RULES[name](jnp.array(answers[:, np.array(order)]), **settings)
    assert_same_up_to_ties(votes, others)


@without_models
@given(answers=ANSWERS)
def test_an_agent_that_always_abstains_changes_nothing(rule, answers):
    answers[:, 3] = -1
    votes = rule(jnp.array(answers), 3)
    without = rule(jnp.array(answers[:, :3]), 3)
    np.testing.assert_allclose(votes.scores, without.scores, atol=5e-3)


@every_rule
def test_number_of_options_by_question(rule):
    """Options that do not exist score -inf, and votes for them are abstentions."""
    answers = jnp.array([[0, 1, 1, 0], [2, 2, 2, 1], [3, 3, 0, 2]])
    votes = rule(answers, jnp.array([2, 2, 4]), max_options=4)
    np.testing.assert_array_equal(
        jnp.isinf(votes.scores), [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]
    )
    assert votes.answers.tolist()[1] == 1
    np.testing.assert_allclose(votes.winners.sum(-1), 1.0)


@every_rule
def test_rules_are_pytrees_under_jit_and_vmap(rule):
    answers = jnp.array([[[0, 1, 1, -1], [2, 2, 0, 1]], [[1, 1, 1, 1], [-1, -1, -1, -1]]])
    mapped = jax.jit(jax.vmap(lambda answers: rule(answers, 3)))(answers)
    assert isinstance(mapped, Votes)
    for i in range(2):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], mapped)
        expected = rule(answers[i], 3)
        np.testing.assert_array_equal(one.answers, expected.answers)
        np.testing.assert_allclose(one.scores, expected.scores, atol=1e-5)
    assert jax.eval_shape(lambda answers: rule(answers, 3), answers[0]).answers.shape == (2,)


@every_rule
def test_wrong_numbers_of_options(rule):
    answers = jnp.zeros((3, 4), int)
    with pytest.raises(ValueError, match="at least 2; got 1"):
        rule(answers, 1)
    with pytest.raises(ValueError, match="needs max_options"):
        rule(answers, jnp.array([2, 2, 2]))
    with pytest.raises(ValueError, match="max_options is for an array"):
        rule(answers, 2, max_options=3)
    with pytest.raises((ValueError, TypeError), match="num_options"):
        rule(answers, jnp.array([2, 2]), max_options=2)


@every_rule
@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_narrow_integers_are_as_good_as_wide_ones(rule, dtype):
    """200 options and a question of 300: indices and sizes that an int8 does not hold."""
    answers = np.array([[0, 100, 100, 120], [3, 3, 2, 127], [1, 1, 1, 0]])
    settings = {"num_options": jnp.array([200, 300, 200]), "max_options": 300}
    expected = rule(jnp.array(answers), **settings)
    votes = rule(jnp.array(answers.astype(dtype)), **settings)
    np.testing.assert_allclose(votes.scores, expected.scores, rtol=1e-6)
    np.testing.assert_array_equal(votes.answers, expected.answers)
    assert votes.answers.dtype == jnp.int32


@every_rule
def test_answers_that_are_no_integers_or_of_nobody(rule, as_users_run_it):
    with pytest.raises(ValueError, match="answers must be integers.* got float32"):
        rule(jnp.zeros((3, 4)), 3)
    with pytest.raises(ValueError, match="one agent or more"):
        rule(jnp.zeros((3, 0), int), 3)


@every_rule
def test_no_questions(rule):
    votes = rule(jnp.zeros((0, 4), int), 3)
    assert votes.answers.shape == (0,) and votes.scores.shape == (0, 3)


def test_one_accuracy_an_agent():
    with pytest.raises((ValueError, TypeError), match="accuracies"):
        ow(jnp.zeros((3, 4), int), 2, jnp.full(3, 0.5))


def test_estimated_accuracies():
    """Right 2 of 2, 1 of 3 and 0 of 0: p = 3.5 / 6; (2 + p) / 3, (1 + p) / 4, p."""
    answers = jnp.array([[0, 0, -1], [1, 0, -1], [-1, 2, -1], [0, 0, 0]])
    truth = jnp.array([0, 1, 1, 0])
    where = jnp.array([True, True, True, False])
    p = 3.5 / 6
    estimates = estimate_accuracies(answers, truth, where)
    np.testing.assert_allclose(estimates, [(2 + p) / 3, (1 + p) / 4, p], rtol=1e-6)


@pytest.mark.parametrize("truth", [0, 1])
def test_estimated_accuracies_are_never_certain(truth):
    estimates = estimate_accuracies(jnp.zeros((5, 2), int), jnp.full(5, truth))
    assert ((estimates > 0) & (estimates < 1)).all()
    unlabelled = estimate_accuracies(jnp.zeros((5, 2), int), jnp.full(5, truth), jnp.zeros(5, bool))
    assert unlabelled.tolist() == [0.5, 0.5]


def test_conditionals_of_the_population_are_consistent():
    """The reference used above agrees with what counting finds in exact frequencies."""
    answers, probabilities = outcomes((0.5, 0.75), 2)
    counts = np.rint(probabilities * 8).astype(int)
    rows = np.repeat(answers, counts, axis=0)
    both_truths = jnp.array(np.concatenate([rows, 1 - rows]))
    found = np.array(pairwise_conditionals(both_truths, 2))
    expected = np.asarray(population_conditionals((0.5, 0.75), 2))
    np.testing.assert_allclose(found[0, :, 1], expected[0, :, 1], atol=1e-6)
    np.testing.assert_allclose(found[1, :, 0], expected[1, :, 0], atol=1e-6)
