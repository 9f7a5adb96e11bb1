"""OW-L and OW-I: golden values, Eq. 7 in two forms, what is not identified, and fixed points."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxreason.voting.agreement import Agreement, pairwise_agreement
from jaxreason.voting.low_rank import (
    DEFAULT_SKILL,
    MARGIN,
    fit_accuracies_by_conditionals,
    fit_rank_one,
    fit_skills,
    fit_skills_by_isp,
    ow_i,
    ow_l,
)
from jaxreason.voting.majority import majority
from jaxreason.voting.second_order import isp
from jaxreason.voting.weighted import ow

ROWS = ["0001", "1101", "0010", "1111", "1010", "0000", "1110", "0100"]
TINY = jnp.array([[int(answer) for answer in row] for row in ROWS])
fit = jax.jit(fit_rank_one)


def fit_accuracies(answers, num_options):
    """In terms of accuracies, as Eq. 7 is."""
    skills = fit_skills(answers, num_options)
    return skills + (1 - skills) / num_options


def simulate(accuracies, num_options, questions, seed=0):
    """Answers of independent agents, and the truth; `num_options` may be an array."""
    rng = np.random.default_rng(seed)
    k = np.broadcast_to(num_options, questions)[:, None]
    truth = rng.integers(0, k, (questions, 1))
    right = rng.random((questions, len(accuracies))) < np.asarray(accuracies)
    wrong = (truth + rng.integers(1, k, right.shape)) % k
    return np.where(right, truth, wrong), truth[:, 0]


def simulate_guessers(skills, num_options, seed=0):
    """Agents that know an answer with probability t, and guess otherwise."""
    rng = np.random.default_rng(seed)
    k = np.asarray(num_options)[:, None]
    truth = rng.integers(0, k)
    knows = rng.random((len(k), len(skills))) < np.asarray(skills)
    return np.where(knows, truth, rng.integers(0, k, knows.shape)), truth[:, 0]


def exact_rows(tenths):
    """All answers to two options, each as often as agents so accurate (in tenths) give it."""
    rows = []
    for errors in itertools.product((0, 1), repeat=len(tenths)):
        often = np.prod([10 - x if error else x for x, error in zip(tenths, errors, strict=True)])
        rows += [errors] * often + [[1 - error for error in errors]] * often
    return jnp.array(rows)


def descend_by_coordinates(rates, counts, sweeps=3000):
    """One coordinate at a time: t_i = sum_j c_ij t_j r_ij / sum_j c_ij t_j^2, within [0, 1]."""
    rates, counts = np.asarray(rates, float), np.array(counts, float)
    np.fill_diagonal(counts, 0.0)
    skills = np.full(len(rates), 0.5)
    for _ in range(sweeps):
        for i in range(len(rates)):
            size = (counts[i] * skills**2).sum()
            if size > 0:
                skills[i] = np.clip((counts[i] * skills * rates[i]).sum() / size, 0.0, 1.0)
    return skills


@pytest.mark.parametrize(
    ("agreeing", "num_options", "skills"),
    [
        ((0.74, 0.66, 0.62), 2, (0.8, 0.6, 0.4)),
        ((0.7266667, 0.64, 0.58), 4, (0.8666667, 0.7333333, 0.6)),
    ],
)
def test_triplets(agreeing, num_options, skills):
    """x = (.9, .8, .7): P(A_i = A_j) of pairs 12, 13, 23, and t = (K x - 1) / (K - 1)."""
    rates = np.eye(3)
    for (i, j), q in zip([(0, 1), (0, 2), (1, 2)], agreeing, strict=True):
        rates[i, j] = rates[j, i] = (num_options * q - 1) / (num_options - 1)
    found = fit(Agreement(jnp.array(rates, jnp.float32), jnp.full((3, 3), 7.0)))
    np.testing.assert_allclose(found, skills, atol=1e-5)


@pytest.mark.parametrize("estimate", [fit_accuracies, fit_accuracies_by_conditionals])
def test_exact_frequencies_give_the_accuracies(estimate):
    found = estimate(exact_rows((9, 8, 7)), 2)
    np.testing.assert_allclose(found, [0.9, 0.8, 0.7], atol=1e-5)


def test_heywood_case_is_clipped():
    """r = (.8, .8, .4): t_1 would be sqrt(1.6); at 1, t_2 = t_3 solve t^3 + .6 t = .8."""
    rates = jnp.array([[1.0, 0.8, 0.8], [0.8, 1.0, 0.4], [0.8, 0.4, 1.0]])
    (t,) = (root.real for root in np.roots([1, 0, 0.6, -0.8]) if abs(root.imag) < 1e-9)
    np.testing.assert_allclose(fit(Agreement(rates, jnp.ones((3, 3)))), [1.0, t, t], atol=1e-5)


@pytest.mark.parametrize("estimate", [fit_accuracies, fit_accuracies_by_conditionals])
def test_tiny_data_set(estimate):
    found = estimate(TINY, 2)
    np.testing.assert_allclose(found, [1.0, 0.737834, 0.674496, 0.607955], atol=1e-5)


@pytest.mark.parametrize(
    ("accuracies", "num_options", "questions"),
    [
        ((0.6, 0.7, 0.8, 0.9), 2, 200),
        ((0.6, 0.7, 0.8, 0.9), 4, 50),
        ((0.5, 0.6, 0.4, 0.9, 0.7), 3, 25),
        ((0.3, 0.3, 0.9, 0.8, 0.2, 0.6), 5, 60),
        ((0.97, 0.95, 0.6), 4, 40),
    ],
)
def test_rank_one_form_minimises_equation_7(accuracies, num_options, questions):
    """The two forms agree within 1e-4, among them agents at chance and a Heywood case."""
    answers = jnp.array(simulate(accuracies, num_options, questions)[0])
    found = fit_accuracies(answers, num_options)
    expected = fit_accuracies_by_conditionals(answers, num_options)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_matches_coordinate_descent_with_abstentions_and_varying_options(seed):
    num_options = np.tile([2, 3, 5], 100)
    answers, _ = simulate_guessers((0.3, 0.5, 0.7, 0.9, 0.6), num_options, seed)
    abstains = np.random.default_rng(seed).random(answers.shape) < [0.0, 0.1, 0.3, 0.5, 0.9]
    answers = jnp.array(np.where(abstains, -1, answers))
    agreement = pairwise_agreement(answers, jnp.array(num_options), max_options=5)
    np.testing.assert_allclose(fit(agreement), descend_by_coordinates(*agreement), atol=2e-4)


@given(
    answers=hnp.arrays(np.int32, (12, 4), elements=st.integers(-1, 2)),
)
def test_no_coordinate_can_be_improved(answers):
    """Whatever the data, f(t) cannot be lowered by more than 1e-4 by moving a single t_i."""
    rates, counts = pairwise_agreement(jnp.array(answers), 3)
    skills = np.asarray(fit(Agreement(rates, counts)), float)
    weights = np.where(np.eye(4), 0.0, counts) / max(1.0, float(counts.max()))

    def loss(skills):
        return (weights * (np.outer(skills, skills) - rates) ** 2).sum()

    for i in range(4):
        size = (weights[i] * skills**2).sum()
        if size > 0:
            best = skills.copy()
            best[i] = np.clip((weights[i] * skills * np.asarray(rates[i])).sum() / size, 0.0, 1.0)
            assert loss(skills) <= loss(best) + 1e-4


def test_one_agent():
    answers = jnp.array([[2], [0], [-1]])
    assert fit_skills(answers, 4).tolist() == [DEFAULT_SKILL]
    expected = DEFAULT_SKILL + (1 - DEFAULT_SKILL) / 4
    np.testing.assert_allclose(fit_accuracies_by_conditionals(answers, 4), [expected])
    votes = ow_l(answers, 4)
    assert votes.answers.tolist() == [2, 0, -1]
    np.testing.assert_allclose(votes.posterior[0], [0.125, 0.125, 0.625, 0.125], atol=1e-6)


def test_two_agents_share_their_product():
    """They agree on 3 of 4 questions of two options: r = 1/2."""
    answers = jnp.array([[0, 0, -1], [1, 1, -1], [0, 1, -1], [1, 1, -1]])
    by_question = fit_skills(answers[:, :2], jnp.full(4, 2), max_options=2)
    np.testing.assert_allclose(by_question, [np.sqrt(0.5)] * 2, rtol=1e-5)
    label_wise = fit_skills(answers[:, :2], 2)
    assert label_wise[0] == label_wise[1]


def test_two_agents_that_disagree_are_at_chance_and_still_vote():
    answers = jnp.array([[0, 1], [1, 0], [2, 1], [2, -1]])
    votes = ow_l(answers, 3)
    np.testing.assert_allclose(votes.accuracies, MARGIN + (1 - MARGIN) / 3, rtol=1e-4)
    np.testing.assert_array_equal(votes.winners, majority(answers, 3).winners)


def test_an_agent_that_never_answers_gets_the_default():
    answers, _ = simulate((0.9, 0.8, 0.7), 3, 50)
    answers = jnp.array(np.c_[answers, np.full(50, -1)])
    found = fit_skills(answers, 3)
    assert found[3] == DEFAULT_SKILL
    np.testing.assert_allclose(found[:3], fit_skills(answers[:, :3], 3), atol=1e-6)


def test_pools_that_never_meet_are_fitted_apart():
    first, _ = simulate((0.9, 0.8, 0.7), 3, 40)
    second, _ = simulate((0.6, 0.9, 0.8), 3, 60, seed=1)
    answers = np.full((100, 6), -1)
    answers[:40, :3], answers[40:, 3:] = first, second
    settings = {"num_options": jnp.full(100, 3), "max_options": 3}
    found = fit_skills(jnp.array(answers), **settings)
    for rows, columns in ((slice(0, 40), slice(0, 3)), (slice(40, 100), slice(3, 6))):
        alone = jnp.array(answers[rows, columns])
        expected = fit_skills(alone, jnp.full(len(alone), 3), max_options=3)
        np.testing.assert_allclose(found[columns], expected, atol=1e-4)


def test_agents_below_chance_are_put_at_chance():
    """Always wrong among two options, where others are right nine times in ten."""
    answers, truth = simulate((0.9, 0.9, 0.9, 0.9), 2, 100)
    answers[:, 3] = 1 - truth
    found = fit_skills(jnp.array(answers), 2)
    np.testing.assert_allclose(found, [0.8, 0.8, 0.8, 0.0], atol=0.12)
    assert found[3] == 0


def test_skills_are_recovered_from_questions_of_many_kinds():
    """20,000 questions: standard errors are below 0.005."""
    skills = np.array([0.3, 0.5, 0.7, 0.9])
    num_options = np.tile([2, 3, 10, 10], 5000)
    answers, _ = simulate_guessers(skills, num_options)
    found = fit_skills(jnp.array(answers), jnp.array(num_options), max_options=10)
    np.testing.assert_allclose(found, skills, atol=0.02)


def test_questions_with_one_option_say_nothing():
    num_options = np.tile([2, 3, 10, 10], 50)
    answers, _ = simulate_guessers([0.3, 0.5, 0.7, 0.9], num_options)
    some = jnp.array(answers), jnp.array(num_options)
    more = jnp.array(np.r_[answers, np.zeros((100, 4), int)]), jnp.array([*num_options, *[1] * 100])
    for rule in (ow_l, ow_i):
        alone, together = rule(*some, max_options=10), rule(*more, max_options=10)
        np.testing.assert_allclose(together.weights[:200], alone.weights, rtol=1e-5)
        assert (together.answers[200:] == 0).all()


def test_weights_of_varying_options():
    """ln((1 + (K - 1) t) / (1 - t)), and accuracies over the questions that an agent answered."""
    answers = jnp.array([[0, 1, 1], [1, 2, -1], [3, 3, -1]])
    num_options = jnp.array([2, 3, 5])
    skills = np.array([0.4, 0.8, 0.6])
    k = np.array([[2], [3], [5]])
    by_question = skills + (1 - skills) / k
    accuracies = jnp.array([*by_question[:, :2].mean(axis=0), by_question[0, 2]], jnp.float32)
    votes = ow_l(answers, num_options, skills=jnp.array(skills, jnp.float32), max_options=5)
    np.testing.assert_allclose(votes.weights, np.log((1 + (k - 1) * skills) / (1 - skills)), 1e-5)
    np.testing.assert_allclose(votes.accuracies, accuracies, rtol=1e-5)


@pytest.mark.parametrize("by_question", [False, True])
def test_fitted_skills_can_be_given(by_question):
    answers = jnp.array(simulate((0.6, 0.7, 0.8, 0.9), 3, 30)[0])
    settings = {"num_options": 3}
    if by_question:
        settings = {"num_options": jnp.array([3, 4, 5] * 10), "max_options": 5}
    fitted = fit_skills(answers, **settings)
    votes, given_them = ow_l(answers, **settings), ow_l(answers, skills=fitted, **settings)
    np.testing.assert_array_equal(votes.scores, given_them.scores)


@pytest.mark.parametrize("estimate", [fit_skills, fit_skills_by_isp])
def test_skills_serve_questions_with_other_numbers_of_options(estimate):
    """What is fitted on ten options votes on two as what is fitted on two."""
    skills, questions = (0.2, 0.25, 0.3, 0.45, 0.35), 4000
    ten, two = (simulate_guessers(skills, np.full(questions, k), k) for k in (10, 2))
    votes = ow_l(jnp.array(two[0]), 2, skills=estimate(jnp.array(ten[0]), 10))
    own = ow_l(jnp.array(two[0]), 2, skills=estimate(jnp.array(two[0]), 2))
    accuracy, expected = (
        np.take_along_axis(np.asarray(v.winners), two[1][:, None], axis=1).mean()
        for v in (votes, own)
    )
    np.testing.assert_allclose(accuracy, expected, atol=0.02)
    both = jnp.array(np.stack([ten[0], two[0]], 1).reshape(-1, 5)[:600])
    num_options = jnp.array([10, 2] * 300)
    fitted = estimate(both, num_options, max_options=10)
    together = ow_l(both, num_options, skills=fitted, max_options=10)
    apart = ow_l(both[1::2], num_options[1::2], skills=fitted, max_options=10)
    np.testing.assert_allclose(apart.scores, together.scores[1::2], rtol=1e-5)


@pytest.mark.parametrize("num_options", [2, 4, 10])
def test_four_good_agents_overrule_a_perfect_one(num_options):
    accuracies = jnp.array([1.0, 0.9, 0.9, 0.9, 0.9])
    skills = (num_options * accuracies - 1) / (num_options - 1)
    votes = ow_l(jnp.array([[0, 1, 1, 1, 1]]), num_options, skills=skills)
    assert votes.answers.tolist() == [1]


@pytest.mark.parametrize(("num_options", "of_ow_i"), [(2, 0.902), (4, 0.946933)])
def test_accuracy_of_simulated_votes(num_options, of_ow_i):
    """OW-L reaches OW with the true accuracies; OW-I does for K = 4, and is ISP for K = 2.

    20,000 questions: the exact accuracies (0.912 and 0.946933 of OW) within 4 s.d. of 0.002.
    """
    answers, truth = simulate((0.6, 0.7, 0.8, 0.9), num_options, 20_000)
    of_ow = {2: 0.912, 4: 0.946933}[num_options]
    for rule, expected in ((ow_l, of_ow), (ow_i, of_ow_i)):
        votes = rule(jnp.array(answers), num_options)
        accuracy = np.take_along_axis(np.asarray(votes.winners), truth[:, None], axis=1).mean()
        np.testing.assert_allclose(accuracy, expected, atol=0.008)


def test_ow_i_of_the_tiny_data_set():
    votes = ow_i(TINY, 2)
    np.testing.assert_allclose(votes.accuracies, [1 - MARGIN / 2, 0.75, 0.75, 0.625], rtol=1e-6)
    np.testing.assert_array_equal(votes.answers, isp(TINY, 2).answers)
    assert votes.weights.shape == (4,)


def test_agreement_with_a_tie_counts_by_its_share():
    """The first question is a tie; the other two are not."""
    answers = jnp.array([[0, 1], [1, 1], [0, 0]])
    for ties in ("split", "first", "random"):
        votes = ow_i(answers, 2, ties=ties, key=jax.random.key(0))
        np.testing.assert_allclose(votes.accuracies, [5 / 6, 5 / 6], rtol=1e-6)


def test_iterations():
    """The last agent contradicts the best one: it is put next to chance, 1 / 3."""
    answers, _ = simulate((0.3, 0.5, 0.6, 0.9, 0.0), 3, 60)
    answers[:, 4] = (answers[:, 3] + 1) % 3
    answers = jnp.array(answers)

    def again(votes):
        rates = jnp.take_along_axis(votes.winners, answers, axis=1).mean(axis=0)
        return ow(answers, 3, jnp.clip(rates, (1 + 2 * MARGIN) / 3, 1 - MARGIN * 2 / 3))

    expected = isp(answers, 3)
    for iterations in (1, 2, 3):
        expected = again(expected)
        votes = ow_i(answers, 3, max_iterations=iterations)
        np.testing.assert_allclose(votes.scores, expected.scores, atol=1e-4)
    np.testing.assert_allclose(votes.accuracies[4], (1 + 2 * MARGIN) / 3, rtol=1e-6)
    votes = ow_i(answers, 3, max_iterations=100)
    np.testing.assert_array_equal(votes.winners, again(votes).winners)


@pytest.mark.parametrize("by_question", [False, True])
def test_a_lone_vote_counts_however_rarely_its_agent_sides_with_others(by_question):
    """The last agent contradicts the others wherever they vote: 1 / 4 agree, the lone vote."""
    answers = jnp.array([[0, 0, 0, 1], [1, 1, 1, 0], [1, 1, 1, 0], [-1, -1, -1, 1]])
    settings, chance = {"num_options": 3}, 1 / 3
    if by_question:
        settings = {"num_options": jnp.array([2, 2, 4, 2]), "max_options": 4}
        chance = (1 / 2 + 1 / 2 + 1 / 4 + 1 / 2) / 4
    votes = ow_i(answers, **settings)
    assert votes.answers.tolist() == [0, 1, 1, 1]
    np.testing.assert_allclose(votes.accuracies[3], MARGIN + (1 - MARGIN) * chance, rtol=1e-5)


def test_wrong_iterations_and_skills():
    with pytest.raises(ValueError, match="max_iterations must be at least 1; got 0"):
        ow_i(TINY, 2, max_iterations=0)
    with pytest.raises((ValueError, TypeError), match="skills"):
        ow_l(TINY, 2, skills=jnp.full(3, 0.5))
