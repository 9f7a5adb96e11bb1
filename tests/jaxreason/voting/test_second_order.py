"""SP and ISP against hand-counted values, plain loops and the paper's theorem on advantages."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxreason.voting.majority import majority
from jaxreason.voting.second_order import isp, pairwise_conditionals, sp

ROWS = ["0001", "1101", "0010", "1111", "1010", "0000", "1110", "0100"]
TINY = jnp.array([[int(answer) for answer in row] for row in ROWS])
ANSWERS = hnp.arrays(np.int32, (7, 4), elements=st.integers(-1, 2))


def count_conditionals(answers, num_options):
    agents = answers.shape[1]
    table = np.full((agents, num_options, agents, num_options), 1 / num_options)
    for i, j, a in np.ndindex(agents, agents, num_options):
        given_a = answers[(answers[:, j] == a) & (answers[:, i] >= 0), i]
        if len(given_a):
            table[i, :, j, a] = [np.mean(given_a == s) for s in range(num_options)]
    return table


def predict(conditionals, answer, counterfactual):
    """P(A_i = s | A_j = a) at the answer given, or the mean of it at those not given."""
    if not counterfactual:
        return conditionals[answer]
    return np.delete(conditionals, answer).mean()


def loop(answers, num_options, counterfactual):
    """SP, or ISP by equations 5 and 6, one term at a time."""
    conditionals = count_conditionals(answers, num_options)
    scores = np.zeros((len(answers), num_options))
    for q, s in np.ndindex(scores.shape):
        voters = [i for i in range(answers.shape[1]) if answers[q, i] >= 0]
        for i in voters:
            terms = [
                predict(conditionals[i, s, j], answers[q, j], counterfactual)
                for j in voters
                if j != i
            ]
            predicted = np.mean(terms) if terms else 1 / num_options
            scores[q, s] += (answers[q, i] == s) - predicted
    return scores


def loop_symmetric(answers, num_options, counterfactual):
    """The same with P(A_i = A_j) = 1 / K + (K - 1) / K r_ij and one K a question."""
    questions, agents = answers.shape
    scores = np.full((questions, max(num_options)), -np.inf)
    agreement = np.zeros((agents, agents))
    for i, j in np.ndindex(agents, agents):
        both = [q for q in range(questions) if answers[q, i] >= 0 and answers[q, j] >= 0]
        normalised = [
            (num_options[q] * (answers[q, i] == answers[q, j]) - 1) / (num_options[q] - 1)
            for q in both
        ]
        agreement[i, j] = np.mean(normalised) if both else 0.0
    for q in range(questions):
        k = num_options[q]
        voters = [i for i in range(agents) if answers[q, i] >= 0]
        scores[q, :k] = 0.0
        for s in range(k):
            for i in voters:
                terms = []
                for j in (j for j in voters if j != i):
                    same = 1 / k + (k - 1) / k * max(agreement[i, j], -1 / (k - 1))
                    table = np.full((k, k), (1 - same) / (k - 1))
                    np.fill_diagonal(table, same)
                    terms.append(predict(table[s], answers[q, j], counterfactual))
                predicted = np.mean(terms) if terms else 1 / k
                scores[q, s] += (answers[q, i] == s) - predicted
    return scores


def population(accuracies, num_options):
    x = np.asarray(accuracies)
    wrong = (1 - x) / (num_options - 1)
    given_truth = np.where(np.eye(num_options), x[:, None, None], wrong[:, None, None])
    return jnp.array(np.einsum("ist,jat->isja", given_truth, given_truth), jnp.float32)


def test_hand_counted_conditionals():
    conditionals = np.array(pairwise_conditionals(TINY, 2))
    zero_given_zero = [
        [3 / 4, 3 / 4, 3 / 5],
        [3 / 4, 1 / 2, 3 / 5],
        [3 / 4, 1 / 2, 2 / 5],
        [3 / 4, 3 / 4, 1 / 2],
    ]
    one_given_one = [
        [3 / 4, 3 / 4, 2 / 3],
        [3 / 4, 1 / 2, 2 / 3],
        [3 / 4, 1 / 2, 1 / 3],
        [1 / 2, 1 / 2, 1 / 4],
    ]
    others = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(
        conditionals[:, 0, :, 0][others].reshape(4, 3), zero_given_zero, atol=1e-6
    )
    np.testing.assert_allclose(
        conditionals[:, 1, :, 1][others].reshape(4, 3), one_given_one, atol=1e-6
    )


def test_hand_counted_advantages():
    fractions = ["73/60", "-29/20", "11/9", "-38/15", "-7/36", "83/36", "-13/9", "19/18"]
    expected = [float(Fraction(fraction)) for fraction in fractions]
    votes = isp(TINY, 2)
    np.testing.assert_allclose(votes.scores[:, 0], expected, atol=1e-5)
    np.testing.assert_allclose(votes.scores[:, 1], np.negative(expected), atol=1e-5)
    assert votes.answers.tolist() == [0, 1, 0, 1, 1, 0, 1, 0]
    assert votes.weights is None
    assert majority(TINY, 2).winners[4].tolist() == [0.5, 0.5]  # ISP breaks this tie


def test_hand_counted_advantages_of_sp():
    fractions = ["5/9", "-7/9", "11/20", "-61/36", "-1/30", "22/15", "-47/60", "43/60"]
    expected = [float(Fraction(fraction)) for fraction in fractions]
    votes = sp(TINY, 2)
    np.testing.assert_allclose(votes.scores[:, 0], expected, atol=1e-5)
    np.testing.assert_allclose(votes.scores[:, 1], np.negative(expected), atol=1e-5)
    assert votes.weights is None


RULES = pytest.mark.parametrize(("rule", "counterfactual"), [(sp, False), (isp, True)])


@RULES
@given(answers=ANSWERS)
def test_matches_plain_loops(rule, counterfactual, answers):
    np.testing.assert_allclose(
        pairwise_conditionals(jnp.array(answers), 3), count_conditionals(answers, 3), atol=1e-6
    )
    expected = loop(answers, 3, counterfactual)
    np.testing.assert_allclose(rule(jnp.array(answers), 3).scores, expected, atol=1e-5)


@RULES
@given(answers=ANSWERS)
def test_symmetric_form_matches_plain_loops(rule, counterfactual, answers):
    num_options = np.array([2, 3, 4, 2, 3, 4, 5])
    answers = np.where(answers < num_options[:, None], answers, -1)
    votes = rule(jnp.array(answers), jnp.array(num_options), max_options=5)
    expected = loop_symmetric(answers, num_options, counterfactual)
    np.testing.assert_allclose(votes.scores, expected, atol=1e-5)


@pytest.mark.parametrize("rule", [sp, isp])
@pytest.mark.parametrize("by_question", [False, True])
@given(answers=ANSWERS)
def test_advantages_sum_to_zero(rule, by_question, answers):
    if by_question:
        votes = rule(jnp.array(answers), jnp.full(7, 3), max_options=3)
    else:
        votes = rule(jnp.array(answers), 3)
    np.testing.assert_allclose(votes.scores.sum(-1), 0.0, atol=1e-5)


@pytest.mark.parametrize(
    ("rule", "num_options", "weights"),
    [
        (isp, 2, (1.32, 1.28, 1.213333, 1.12)),
        (isp, 4, (1.173333, 1.157531, 1.137778, 1.114074)),
        (sp, 2, (0.68, 0.72, 0.786667, 0.88)),
    ],
)
def test_population_conditionals_make_a_weighted_vote(rule, num_options, weights):
    """w_j = 1 + t_j mean_{i != j} t_i / (K - 1), or 1 - ..., with t = (K x - 1) / (K - 1)."""
    conditionals = population((0.9, 0.8, 0.7, 0.6), num_options)
    answers = jax.random.randint(jax.random.key(0), (20, 4), 0, num_options)
    weighted = jnp.einsum("qjs,j->qs", jax.nn.one_hot(answers, num_options), jnp.array(weights))
    difference = rule(answers, num_options, conditionals=conditionals).scores - weighted
    np.testing.assert_allclose(difference - difference[:, :1], 0.0, atol=1e-5)


def test_a_tie_goes_to_the_better_connected_pair():
    """x = (.9, .8, .7, .6), K = 2: agents 2 and 3 have 2.4933 against 2.44 of 1 and 4.

    For SP they have 1.5067 against 1.56.
    """
    conditionals = population((0.9, 0.8, 0.7, 0.6), 2)
    assert sp(jnp.array([[0, 1, 1, 0]]), 2, conditionals=conditionals).answers.tolist() == [0]
    votes = isp(jnp.array([[0, 1, 1, 0]]), 2, conditionals=conditionals)
    assert votes.answers.tolist() == [1]
    np.testing.assert_allclose(votes.scores[0, 1] - votes.scores[0, 0], 2.493333 - 2.44, atol=1e-5)


@pytest.mark.parametrize(
    ("num_options", "of_sp", "of_isp"),
    [
        (2, 11 / 15, 19 / 15),
        (3, 1.0, 2.0),
        (4, 148 / 135, 932 / 405),
        (6, 147 / 125, 1603 / 625),
    ],
)
def test_expected_advantage_of_the_truth(num_options, of_sp, of_isp):
    """Theorem 2, for x = (.6, .7, .8, .9), by enumeration of all answers to truth 0."""
    x = np.array([0.6, 0.7, 0.8, 0.9])
    answers = np.stack(np.meshgrid(*[range(num_options)] * 4, indexing="ij"), -1).reshape(-1, 4)
    probabilities = np.where(answers == 0, x, (1 - x) / (num_options - 1)).prod(1)
    for rule, advantage in ((sp, of_sp), (isp, of_isp)):
        votes = rule(jnp.array(answers), num_options, conditionals=population(x, num_options))
        expectation = (probabilities * np.asarray(votes.scores)[:, 0]).sum()
        np.testing.assert_allclose(expectation, advantage, atol=1e-5)


@pytest.mark.parametrize(
    ("rule", "num_options", "expected"),
    [(isp, 2, 0.902), (isp, 4, 0.9436), (sp, 2, 0.798), (sp, 4, 0.904933)],
)
def test_conditionals_from_the_same_questions(rule, num_options, expected):
    """20,000 simulated questions: the exact accuracy within 4 s.d. of about 0.002."""
    keys = jax.random.split(jax.random.key(0), 3)
    truth = jax.random.randint(keys[0], (20_000, 1), 0, num_options)
    right = jax.random.bernoulli(keys[1], jnp.array([[0.6, 0.7, 0.8, 0.9]]), (20_000, 4))
    wrong = jax.random.randint(keys[2], (20_000, 4), 1, num_options)
    answers = jnp.where(right, truth, (truth + wrong) % num_options)
    by_question = jnp.full(20_000, num_options)
    for votes in (rule(answers, num_options), rule(answers, by_question, max_options=num_options)):
        accuracy = jnp.take_along_axis(votes.winners, truth, axis=1).mean()
        np.testing.assert_allclose(accuracy, expected, atol=0.008)


@pytest.mark.parametrize("answers", [[[1], [0], [-1]], [[1, -1], [0, -1], [-1, -1]]])
@pytest.mark.parametrize("by_question", [False, True])
@pytest.mark.parametrize("rule", [sp, isp])
def test_a_lone_voter_decides(answers, by_question, rule):
    answers = jnp.array(answers)
    votes = rule(answers, jnp.array([3, 2, 2]), max_options=3) if by_question else rule(answers, 3)
    assert votes.answers.tolist() == [1, 0, -1]
    np.testing.assert_array_equal(votes.scores[2, :2], 0.0)


def test_symmetric_weights():
    """Two agents that agree on 3 of 4 questions of two options: r = 1/2, w = 1 + r or 1 - r."""
    answers = jnp.array([[0, 0], [1, 1], [0, 1], [1, 1]])
    for rule, weight in ((isp, 1.5), (sp, 0.5)):
        votes = rule(answers, jnp.full(4, 2), max_options=2)
        np.testing.assert_allclose(votes.weights, np.full((4, 2), weight), rtol=1e-6)


def test_agents_that_always_agree_cancel_in_sp():
    answers = jnp.array([[0, 0], [1, 1], [2, 2]])
    np.testing.assert_allclose(sp(answers, 3).scores, 0.0, atol=1e-6)
    np.testing.assert_allclose(sp(answers, jnp.full(3, 3), max_options=3).scores, 0.0, atol=1e-6)


def test_wrong_conditionals():
    with pytest.raises((ValueError, TypeError), match="conditionals"):
        isp(TINY, 2, conditionals=jnp.full((4, 3, 4, 3), 1 / 3))
    with pytest.raises(ValueError, match="num_options is an array"):
        conditionals = jnp.full((4, 2, 4, 2), 0.5)
        isp(TINY, jnp.full(8, 2), conditionals=conditionals, max_options=2)
