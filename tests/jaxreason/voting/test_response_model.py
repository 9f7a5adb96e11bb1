"""The item response model against enumeration of every key, lure and ease, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxreason.voting.em import gather_questions
from jaxreason.voting.response_fit import (
    CENTRES,
    HONEST_PAIRS,
    PULLS,
    SPREADS,
    cast,
    climb,
    maximise,
    option_counts,
)
from jaxreason.voting.response_model import (
    IMPOSSIBLE,
    Coefficients,
    Copies,
    _others,
    believe,
    count_block,
    quadrature,
)

AGENTS, OPTIONS = 4, 4
NUM_OPTIONS = np.array([2, 3, 4, 4, 3, 2])
NODES, LOG_WEIGHTS = quadrature(True)
PARENTS = (-1, 0, -1, 1)
RATES = (0.0, 0.6, 0.0, 0.3)


def enumerate_questions(terms, rates, parents, answers, num_options, possible):
    """P(right, lure, ease, answers) by definition, `[question, right, lure, node]`."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(7)
    weights = weights / weights.sum()
    joint = np.zeros((len(answers), possible.shape[1], possible.shape[1], len(nodes)))
    odds = np.exp(terms[:, [0, 2], None] + terms[:, [1, 3], None] * nodes)  # [agent, kind, node]
    for q, (row, k) in enumerate(zip(answers, num_options, strict=True)):
        for right in np.flatnonzero(possible[q, :k]):
            for lure in set(range(k)) - {right}:
                chance = weights / (k * (k - 1))
                for agent, vote in enumerate(row):
                    if not 0 <= vote < k:
                        continue
                    of_right, of_lure = odds[agent]
                    given = of_right if vote == right else of_lure if vote == lure else 1.0
                    own = given / (of_right + of_lure + k - 2)
                    parent = parents[agent]
                    if parent >= 0 and 0 <= row[parent] < k:
                        own = (1 - rates[agent]) * own + rates[agent] * (vote == row[parent])
                    chance = chance * own
                joint[q, right, lure] = chance
    return joint


def random_terms(seed):
    return np.random.default_rng(seed).normal((1, 0.7, 0.5, -0.3), 1.0, (AGENTS, 4))


def as_coefficients(terms, rates=None):
    terms = jnp.asarray(terms, jnp.float32)
    copies = (
        Copies(jnp.array(PARENTS), jnp.asarray(rates, jnp.float32)) if rates is not None else None
    )
    return Coefficients(terms[:, :2], terms[:, 2:], copies)


@jax.jit
def believe_all(coefficients, answers, possible):
    sizes, options = jnp.array([2.0, 3.0, 4.0]), jnp.asarray(NUM_OPTIONS, jnp.float32)
    model = (coefficients, NODES, LOG_WEIGHTS, sizes)
    return believe(*model, cast(answers, OPTIONS), possible.T, options)


answer_rows = hnp.arrays(np.int32, (6, AGENTS), elements=st.integers(-1, 3))
labels = hnp.arrays(np.int32, 6, elements=st.integers(-3, 1))
chances = st.tuples(st.just(0.0), st.floats(0, 0.98), st.just(0.0), st.floats(0, 0.98))


@given(answer_rows, labels, st.integers(0, 1000), st.none() | chances)
def test_beliefs_are_those_of_enumeration(answers, labels, seed, rates):
    answers = np.where(answers < NUM_OPTIONS[:, None], answers, -1)
    exists = np.arange(OPTIONS) < NUM_OPTIONS[:, None]
    possible = np.where((labels >= 0)[:, None], np.arange(OPTIONS) == labels[:, None], exists)
    terms = random_terms(seed)
    parents = PARENTS if rates else (-1,) * AGENTS
    joint = enumerate_questions(terms, rates, parents, answers, NUM_OPTIONS, possible)
    total = joint.sum((1, 2, 3))
    posterior = joint / total[:, None, None, None]
    beliefs, copied = believe_all(
        as_coefficients(terms, rates), jnp.asarray(answers), jnp.asarray(possible)
    )
    np.testing.assert_allclose(beliefs.right, posterior.sum(2).T, atol=2e-5)
    np.testing.assert_allclose(beliefs.lure, posterior.sum(1).T, atol=2e-5)
    np.testing.assert_allclose(beliefs.log_likelihood, np.log(total), rtol=1e-5, atol=2e-5)
    assert (copied is None) == (rates is None)


def test_the_chances_of_all_answers_add_up_to_one():
    every = np.stack(np.meshgrid(*[range(3)] * AGENTS), axis=-1).reshape(-1, AGENTS)
    questions = gather_questions(jnp.asarray(every), 3, None, None)
    for rates in (None, RATES):
        beliefs, _ = jax.jit(believe)(
            as_coefficients(random_terms(0), rates),
            NODES,
            LOG_WEIGHTS,
            jnp.array([3.0]),
            cast(questions.answers, 3),
            questions.possible.T,
            questions.options,
        )
        np.testing.assert_allclose(jnp.exp(beliefs.log_likelihood).sum(), 1.0, rtol=1e-5)


def test_a_shared_error_is_weaker_evidence_by_hand():
    # Four options, odds 4 : 2 : 1 : 1. Both say 0: right (4/8)^2 = 1/4; if another option is right,
    # 1/3 (2/8)^2 + 2/3 (1/8)^2 = 1/32. Posterior 1/4 : 3/32, where independence has 1/4 : 3/36.
    terms = np.log([[4.0, 1.0, 2.0, 1.0]] * 2)
    coefficients = as_coefficients(terms)
    for lure, expected in ((coefficients.lure, 8 / 11), (jnp.zeros((2, 2)), None)):
        model = (coefficients._replace(lure=lure), *quadrature(False), jnp.array([4.0]))
        questions = gather_questions(jnp.array([[0, 0]]), 4, None, None)
        ballots, possible = cast(questions.answers, 4), questions.possible.T
        beliefs, _ = believe(*model, ballots, possible, questions.options)
        # Without a lure the odds are 4 : 1 : 1 : 1, and the posterior is 16 : 3.
        expected = expected or 16 / 19
        np.testing.assert_allclose(beliefs.right[0, 0, 0], expected, rtol=1e-5)


values = st.floats(-600, 600, width=32) | st.just(IMPOSSIBLE)


@pytest.mark.parametrize("options", [2, 4])
@given(st.data())
def test_the_log_sum_over_the_others(options, data):
    given = data.draw(hnp.arrays(np.float32, (2, options, 3), elements=values))
    found = jax.jit(_others)(jnp.asarray(given))
    for option in range(options):
        others = np.delete(given.astype(np.float64), option, axis=1)
        expected = np.logaddexp.reduce(others, axis=1)
        np.testing.assert_allclose(found[:, option], expected, rtol=2e-6, atol=2e-6)


def test_equal_values_far_from_zero_keep_their_digits():
    np.testing.assert_allclose(_others(jnp.full((1, 3, 1), -700.0)), np.log(2) - 700, rtol=1e-7)


def penalised(terms, rates, parents, data):
    """ln P(answers) + ln prior, where the pool's means are the most probable ones."""
    answers, num_options, possible = data
    joint = enumerate_questions(terms, rates, parents, answers, num_options, possible)
    answered = ((answers >= 0) & (answers < num_options[:, None])).any(1)
    return np.log(joint.sum((1, 2, 3)))[answered].sum() + log_prior(terms, rates)


def log_prior(terms, rates):
    centres, pulls, spreads = np.array(CENTRES), np.array(PULLS), np.array(SPREADS)
    means = (terms.sum(0) + pulls * centres) / (len(terms) + pulls)
    misses = ((terms - means) ** 2).sum(0) + pulls * (means - centres) ** 2
    return HONEST_PAIRS * np.log1p(-np.array(rates)).sum() - 0.5 * (misses / spreads**2).sum()


def differentiate(function, at, step=1e-4):
    """Central differences."""
    slopes = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        move = np.zeros_like(at)
        move[index] = step
        slopes[index] = (function(at + move) - function(at - move)) / (2 * step)
    return slopes


def copied_answers():
    """Forty questions; agent 1 copies agent 0, agent 3 nobody; four labels, some abstentions."""
    generator = np.random.default_rng(1)
    num_options = generator.integers(2, OPTIONS + 1, 40)
    truth = generator.integers(num_options)
    errors = generator.integers(1, num_options[:, None], (40, AGENTS))
    wrong = (truth[:, None] + errors) % num_options[:, None]
    right = generator.random((40, AGENTS)) < (0.4, 0.5, 0.7, 0.6)
    answers = np.where(right, truth[:, None], wrong)
    copies = generator.random(40) < 0.85
    answers[copies, 1] = answers[copies, 0]
    answers[generator.random((40, AGENTS)) < 0.1] = -1
    labels = np.where(np.arange(40) < 4, truth, -1)
    exists = np.arange(OPTIONS) < num_options[:, None]
    possible = np.where((labels >= 0)[:, None], np.arange(OPTIONS) == labels[:, None], exists)
    return (answers, num_options, possible), jnp.asarray(labels)


DATA, LABELS = copied_answers()
FREE = jnp.ones(4, bool)
SIZES = jnp.array([2.0, 3.0, 4.0])


def count(coefficients):
    questions = gather_questions(jnp.asarray(DATA[0]), jnp.asarray(DATA[1]), OPTIONS, LABELS)
    model = (coefficients, NODES, LOG_WEIGHTS, SIZES, cast(questions.answers, OPTIONS))
    return count_block(*model, questions.possible.T, questions.options, jnp.zeros(()))


@jax.jit
def iterate(coefficients):
    return maximise(coefficients, count(coefficients), NODES, SIZES, FREE)


def gather(coefficients):
    """Coefficients in float64: one row an agent, and the rates."""
    terms = np.concatenate([coefficients.right, coefficients.lure], axis=1).astype(np.float64)
    return terms, np.asarray(coefficients.copies.rates, np.float64)


START = as_coefficients(np.tile([1.5, 1.0, 0.5, 0.0], (AGENTS, 1)), (0, 0.3, 0, 0.3))


def test_the_penalised_likelihood_never_falls():
    # With the pool's means at their best: both halves of a step are ascents, in the means (which
    # are exact) and in the coefficients. Rounding leaves 1e-6 of the coefficients.
    found, coefficients = [], START
    for _ in range(12):
        found.append(penalised(*gather(coefficients), PARENTS, DATA))
        coefficients = iterate(coefficients)
    rises = np.diff(found)
    assert (rises > -1e-4).all()
    assert rises[0] > 0.5


def test_it_ends_where_the_penalised_likelihood_is_flat():
    coefficients = jax.jit(
        lambda start: jax.lax.fori_loop(0, 500, lambda _, at: iterate(at), start)
    )(START)
    terms, rates = gather(coefficients)

    def of_terms(at):
        return penalised(at, rates, PARENTS, DATA)

    def of_rates(at):
        return penalised(terms, np.array([0.0, at[0], 0.0, at[1]]), PARENTS, DATA)

    assert np.abs(differentiate(of_terms, gather(START)[0])).max() > 1.5
    np.testing.assert_allclose(differentiate(of_terms, terms), 0.0, atol=0.01)
    # Agent 1 copies; agent 3 does not, and a share of copies would make things worse.
    copier, other = differentiate(of_rates, rates[[1, 3]])
    assert 0.1 < rates[1] < 0.9
    assert abs(copier) < 0.05
    assert rates[3] < 1e-3
    assert other < -1.0


def test_a_maximisation_ends_where_the_expected_log_likelihood_is_flat():
    counts = jax.jit(count)(START)
    again = jax.jit(
        lambda start: jax.lax.fori_loop(
            0, 200, lambda _, at: maximise(at, counts, NODES, SIZES, FREE), start
        )
    )
    terms, rates = gather(again(START))
    nodes, sizes = np.asarray(NODES, np.float64), np.asarray(SIZES, np.float64)
    of_right, of_lure, of_votes, *_ = (np.asarray(leaf, np.float64) for leaf in counts)

    def expected(terms):
        right, lure = terms[:, [0]] + terms[:, [1]] * nodes, terms[:, [2]] + terms[:, [3]] * nodes
        norm = np.log(np.exp(right)[..., None] + np.exp(lure)[..., None] + sizes - 2)
        chosen = (of_right * right + of_lure * lure).sum()
        return chosen - (of_votes * norm).sum() + log_prior(terms, rates)

    np.testing.assert_allclose(differentiate(expected, terms), 0.0, atol=5e-3)
    assert np.abs(differentiate(expected, gather(START)[0])).max() > 1.0


def test_expected_counts_are_those_of_enumeration():
    terms, rates = gather(START)
    answers, num_options, possible = DATA
    joint = enumerate_questions(terms, rates, PARENTS, answers, num_options, possible)
    posterior = joint / joint.sum((1, 2, 3), keepdims=True)
    right, lure = np.zeros((AGENTS, 7)), np.zeros((AGENTS, 7))
    votes, copied = np.zeros((AGENTS, 7, 3)), np.zeros(AGENTS)
    nodes = np.asarray(NODES, np.float64)
    for q, agent in zip(*np.nonzero(answers >= 0), strict=True):
        vote, parent, k = answers[q, agent], PARENTS[agent], num_options[q]
        for r, wrong in np.ndindex(OPTIONS, OPTIONS):
            if not (r < k and wrong < k and r != wrong):
                continue
            odds = np.ones((k, 7))
            odds[r] = np.exp(terms[agent, 0] + terms[agent, 1] * nodes)
            odds[wrong] = np.exp(terms[agent, 2] + terms[agent, 3] * nodes)
            own = (1 - rates[agent]) * odds[vote] / odds.sum(0)
            agrees = parent >= 0 and vote == answers[q, parent]
            copies = rates[agent] / (rates[agent] + own) if agrees else 0.0
            weight = posterior[q, r, wrong]
            copied[agent] += (weight * copies).sum()
            right[agent] += weight * (1 - copies) * (vote == r)
            lure[agent] += weight * (1 - copies) * (vote == wrong)
            votes[agent, :, k - 2] += weight * (1 - copies)
    assert ((answers[:, 1] >= 0) & (answers[:, 0] < 0)).any()
    found = jax.jit(count)(START)
    np.testing.assert_allclose(found.copies, copied, atol=1e-3)
    np.testing.assert_allclose(found.right, right, atol=1e-3)
    np.testing.assert_allclose(found.lure, lure, atol=1e-3)
    np.testing.assert_allclose(found.votes, votes, atol=1e-3)
    both = (answers >= 0) & (answers[:, PARENTS] >= 0) & (np.array(PARENTS) >= 0)
    np.testing.assert_allclose(found.pairs, both.sum(0))
    np.testing.assert_allclose(found.log_likelihood, np.log(joint.sum((1, 2, 3))).sum(), rtol=1e-5)


def test_the_log_likelihood_returned_is_that_of_the_coefficients():
    questions = gather_questions(jnp.asarray(DATA[0]), jnp.asarray(DATA[1]), OPTIONS, LABELS)
    fitted = jax.jit(
        lambda start: climb(
            questions,
            start,
            option_counts(jnp.asarray(DATA[1]), OPTIONS),
            difficulty=True,
            dependence=True,
            tolerance=1e-3,
            max_iterations=30,
        )
    )(START)
    terms, rates = gather(fitted.coefficients)
    joint = enumerate_questions(terms, rates, PARENTS, *DATA)
    answered = (DATA[0] >= 0).any(1).sum()
    expected = np.log(joint.sum((1, 2, 3))).sum() / answered
    np.testing.assert_allclose(fitted.log_likelihood, expected, rtol=1e-5)
    assert 2 < fitted.iterations < 30
