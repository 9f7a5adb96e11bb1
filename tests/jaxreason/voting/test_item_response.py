"""Voting by the item response model: what it adds, what it reduces to, invariances, edges."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.voting import blocks, response_fit
from jaxreason.voting.dawid_skene import fit_one_coin, one_coin_dawid_skene
from jaxreason.voting.item_response import fit_item_response, item_response
from jaxreason.voting.simulation import (
    Simulated,
    copy_answers,
    simulate_clones,
    simulate_difficulty,
    simulate_independent,
)

QUESTIONS = 800
PARTS = {"neither": (False, False), "difficulty": (True, False), "dependence": (False, True)}


@functools.partial(jax.jit, static_argnames=("difficulty", "dependence"))
def fit_and_vote(answers, difficulty=True, dependence=True):
    """On answers of 800 questions by seven agents, of four options."""
    settings = {"difficulty": difficulty, "dependence": dependence}
    parameters = fit_item_response(answers, 4, **settings)
    return parameters, item_response(answers, 4, parameters=parameters, **settings)


@jax.jit
def one_coin(answers):
    """Like ours it does not learn how often each option is right."""
    return one_coin_dawid_skene(answers, jnp.full(QUESTIONS, 4), max_options=4)


def accuracy(votes, truth):
    return float(jnp.take_along_axis(votes.winners, truth[:, None], axis=1).mean())


# ---- What each part adds, in points of accuracy over the one-coin model

X = jnp.linspace(0.4, 0.8, 7)
PARENTS = jnp.array([0, 0, 0, 3, 4, 5, 6])


def independent(key):
    return simulate_independent(key, X, 4, QUESTIONS)


def graded(key):
    return simulate_difficulty(key, jnp.linspace(0.3, 0.9, 7), 4, QUESTIONS, spread=2.0)


def tempting(key):
    x = jnp.linspace(0.35, 0.75, 7)
    return simulate_difficulty(key, x, 4, QUESTIONS, spread=0.0, distractor=0.8)


def graded_and_tempting(key):
    x = jnp.linspace(0.35, 0.75, 7)
    return simulate_difficulty(key, x, 4, QUESTIONS, spread=2.0, distractor=0.7)


def cloned(key):
    x = jnp.array([0.3, 0.3, 0.5, 0.5, 0.5, 0.6, 0.6])
    return simulate_clones(key, x, 4, QUESTIONS, parents=PARENTS.at[2].set(2), rho=0.95)


def graded_and_cloned(key):
    x = jnp.array([0.3, 0.3, 0.3, 0.5, 0.6, 0.6, 0.7])
    answers, truth = simulate_difficulty(key, x, 4, QUESTIONS, spread=2.0)
    return Simulated(copy_answers(key, answers, parents=PARENTS, rho=0.9), truth)


def gain(simulate, **parts):
    """Over the one-coin model, in points, the mean of three data sets."""
    gains = []
    for seed in range(3):
        answers, truth = simulate(jax.random.key(seed))
        _, votes = fit_and_vote(answers, **parts)
        gains.append(accuracy(votes, truth) - accuracy(one_coin(answers), truth))
    return 100 * np.mean(gains)


@pytest.mark.parametrize(
    ("simulate", "least"),
    [
        (independent, -0.5),
        (graded, 4.0),
        (tempting, 4.0),
        (graded_and_tempting, 5.0),
        (cloned, 30.0),
        (graded_and_cloned, 20.0),
    ],
)
def test_it_is_right_more_often_than_one_coin(simulate, least):
    assert gain(simulate) > least


@pytest.mark.parametrize(
    ("simulate", "part", "least"),
    [
        (graded, "difficulty", 4.0),
        (tempting, "dependence", 4.0),
        (cloned, "dependence", 30.0),
    ],
)
def test_each_part_alone_is_right_more_often_than_one_coin(simulate, part, least):
    difficulty, dependence = PARTS[part]
    assert gain(simulate, difficulty=difficulty, dependence=dependence) > least


# ---- What it finds, and what it reduces to


def test_it_finds_the_coefficients_that_made_the_answers():
    generator = np.random.default_rng(5)
    spread, questions = np.array([0.8, 0.3, 0.5, 0.3]), np.arange(QUESTIONS)
    terms = np.array([1.5, 1.0, 0.5, 0.0]) + spread * generator.normal(size=(7, 4))
    ease = generator.normal(size=QUESTIONS)
    order = generator.permuted(np.tile(np.arange(4), (QUESTIONS, 1)), axis=1)
    odds = np.ones((QUESTIONS, 7, 4))
    for kind in range(2):  # right, lure
        chosen = terms[:, 2 * kind] + terms[:, 2 * kind + 1] * ease[:, None]
        odds[questions, :, order[:, kind]] = np.exp(chosen)
    draws = np.log(odds) + generator.gumbel(size=odds.shape)
    parameters, votes = fit_and_vote(jnp.asarray(draws.argmax(-1)))
    found = np.concatenate([parameters.right, parameters.lure], axis=1)
    # The standard errors are about 0.15.
    np.testing.assert_allclose(found, terms, atol=0.6)
    assert np.abs(found - terms).mean() < 0.15
    assert (parameters.copies.parents == -1).all()
    right = (draws.argmax(-1) == order[:, :1]).mean(0)
    np.testing.assert_allclose(votes.accuracies, right, atol=0.04)


def test_without_its_parts_it_is_the_one_coin_model():
    answers, _ = independent(jax.random.key(0))
    parameters, votes = fit_and_vote(answers, difficulty=False, dependence=False)
    theirs = one_coin(answers)
    odds = jnp.exp(parameters.right[:, 0])
    # The prior, of one answer's worth at most, moves an accuracy by less than 1 / 800.
    np.testing.assert_allclose(odds / (odds + 3), theirs.accuracies, atol=3e-3)
    np.testing.assert_allclose(votes.posterior, theirs.posterior, atol=0.03)
    assert (votes.answers == theirs.answers).mean() > 0.99
    likelihood = fit_one_coin(answers, jnp.full(QUESTIONS, 4), max_options=4).log_likelihood
    np.testing.assert_allclose(parameters.log_likelihood, likelihood, atol=1e-4)
    assert (parameters.right[:, 1] == 0).all()
    assert (parameters.lure == 0).all()


# ---- Sixty questions of two to four options, by five agents

ROWS, AGENTS = 60, 5
NUM_OPTIONS = np.random.default_rng(0).integers(2, 5, ROWS)
NO_LABEL = np.full(ROWS, -1)


def fit_few(answers, num_options, truth=None, max_iterations=40):
    """Always so many iterations: rounding would stop fits an iteration earlier or later."""
    settings = {"max_options": 4, "truth": truth}
    data = (answers, num_options)
    end = {"tolerance": -jnp.inf, "max_iterations": max_iterations}
    parameters = fit_item_response(*data, **settings, **end)
    return parameters, item_response(*data, **settings, parameters=parameters)


few = jax.jit(fit_few)


def vote(answers, num_options=NUM_OPTIONS, truth=NO_LABEL):
    return few(jnp.asarray(answers), jnp.asarray(num_options), jnp.asarray(truth))


def sixty(seed, accuracies=(0.5, 0.6, 0.7, 0.8, 0.9), abstain=0.1):
    generator = np.random.default_rng(seed)
    truth = generator.integers(NUM_OPTIONS)
    errors = generator.integers(1, NUM_OPTIONS[:, None], (ROWS, AGENTS))
    right = generator.random((ROWS, AGENTS)) < accuracies
    answers = (truth[:, None] + np.where(right, 0, errors)) % NUM_OPTIONS[:, None]
    answers[generator.random((ROWS, AGENTS)) < abstain] = -1
    return answers, truth


def test_labelled_questions_get_their_labels_and_change_the_others():
    # Three agents that err alike outvote two good ones, until a third of the truths is known.
    answers, truth = sixty(1, (0.2, 0.2, 0.2, 0.9, 0.9), abstain=0.0)
    shared = np.where(truth == 0, 1, 0)
    answers[:, :3] = np.where(answers[:, :3] == truth[:, None], truth[:, None], shared[:, None])
    labels = np.where(np.arange(ROWS) < 20, truth, -1)
    (_, without), (_, informed) = vote(answers), vote(answers, truth=labels)
    np.testing.assert_allclose(informed.posterior[:20], np.eye(4)[truth[:20]], atol=1e-6)
    assert informed.answers[:20].tolist() == truth[:20].tolist()
    assert (without.answers[20:] == truth[20:]).mean() < 0.5
    assert (informed.answers[20:] == truth[20:]).mean() > 0.8


def test_a_label_is_one_even_if_nobody_chose_it():
    answers, _ = sixty(2)
    answers[0], answers[1] = [1, 1, 1, 1, 1], [-1] * AGENTS
    _, votes = vote(answers, truth=np.where(np.arange(ROWS) < 2, 0, -1))
    assert votes.answers[:2].tolist() == [0, -1]  # nobody voted on the second
    np.testing.assert_allclose(votes.posterior[:2, 0], 1.0)


def test_without_labels_there_is_no_calibration_and_under_vmap_all_is_the_same():
    batch = np.stack([sixty(seed)[0] for seed in (3, 4)])

    run = jax.vmap(fit_few, in_axes=(0, None))
    _, mapped = jax.jit(run)(jnp.asarray(batch), jnp.asarray(NUM_OPTIONS))
    for i, answers in enumerate(batch):
        parameters, votes = vote(answers)
        assert parameters.calibration.trust == 1
        assert (parameters.calibration.weights == 0).all()
        np.testing.assert_allclose(mapped.posterior[i], votes.posterior, atol=1e-3)
        assert (mapped.answers[i] == votes.answers).all()


def test_renamed_options_and_agents_change_nothing():
    answers, truth = sixty(5)
    labels = np.where(np.arange(ROWS) < 5, truth, -1)
    agents, shift = np.array([3, 1, 4, 0, 2]), np.random.default_rng(0).integers(4, size=ROWS)
    moved = (answers + shift[:, None]) % NUM_OPTIONS[:, None]
    moved = np.where(answers >= 0, moved, -1)[:, agents]
    moved_labels = np.where(labels >= 0, (labels + shift) % NUM_OPTIONS, -1)
    # To the top: the start, a one-coin fit, and the way there depend a little on rounding.
    run = jax.jit(functools.partial(fit_few, max_iterations=400))
    _, plain = run(jnp.asarray(answers), jnp.asarray(NUM_OPTIONS), jnp.asarray(labels))
    _, other = run(jnp.asarray(moved), jnp.asarray(NUM_OPTIONS), jnp.asarray(moved_labels))
    np.testing.assert_allclose(other.accuracies, plain.accuracies[agents], atol=1e-3)
    for q, k in enumerate(NUM_OPTIONS):
        names = (np.arange(k) + shift[q]) % k
        np.testing.assert_allclose(other.posterior[q, names], plain.posterior[q, :k], atol=1e-3)


def test_unanswered_questions_and_options_that_do_not_exist_say_nothing():
    answers, _ = sixty(6)
    answers[40:] = -1
    other = answers.copy()
    other[40:50] = 7  # no option, nor is 4 one
    (before, plain), (after, votes) = vote(answers), vote(other, truth=np.full(ROWS, 4))
    np.testing.assert_allclose(votes.posterior, plain.posterior, atol=1e-6)
    np.testing.assert_allclose(after.log_likelihood, before.log_likelihood, rtol=1e-6)
    assert (votes.answers[40:] == -1).all()
    uniform = (np.arange(4) < NUM_OPTIONS[40:, None]) / NUM_OPTIONS[40:, None]
    np.testing.assert_allclose(votes.posterior[40:], uniform, atol=1e-5)


def test_labels_of_unanswered_questions_say_nothing_about_the_others():
    answers, truth = sixty(6)
    answers[40:] = -1
    labels = np.where(np.arange(ROWS) < 10, truth, -1)
    more = np.where(np.arange(ROWS) >= 40, truth, labels)
    (before, plain), (after, votes) = vote(answers, truth=labels), vote(answers, truth=more)
    np.testing.assert_allclose(votes.posterior[:40], plain.posterior[:40], atol=1e-6)
    np.testing.assert_allclose(votes.posterior[40:], np.eye(4)[truth[40:]], atol=1e-6)
    for one, other in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-6)


@pytest.mark.parametrize("labelled", [False, True], ids=["no labels", "labels"])
def test_right_options_are_those_with_more_votes(labelled):
    """On so little the first climb ends with the roles of right options and lures swapped."""
    rows = ["010-", "000-", "101-", "111-", "001-", "100-", "---0"]
    answers = jnp.array([[-1 if vote == "-" else int(vote) for vote in row] for row in rows])
    truth = jnp.where(jnp.arange(7) == 6, 0, -1) if labelled else None
    votes = item_response(answers, 2, truth=truth)
    assert votes.answers[:4].tolist() == [0, 0, 1, 1]
    assert (votes.accuracies[:3] > 0.4).all()


@pytest.mark.parametrize("label", [0, 2], ids=["nobody answered", "no option"])
def test_labels_that_say_nothing_leave_the_roles_of_right_options_and_lures(label):
    """Here the second climb falls back a little, which is kept only if no label speaks against."""
    rows = ["110", "101", "100", "101", "100", "000", "111", "100", "---"]
    answers = jnp.array([[-1 if vote == "-" else int(vote) for vote in row] for row in rows])
    question = len(rows) - 1 if label == 0 else 0
    run = jax.jit(lambda truth: fit_item_response(answers, 2, truth=truth))
    none = jnp.full(len(rows), -1)
    before, after = run(none), run(none.at[question].set(label))
    np.testing.assert_allclose(after.right, before.right, atol=1e-4)
    np.testing.assert_allclose(after.lure, before.lure, atol=1e-4)


def test_labels_may_say_that_most_votes_are_wrong():
    """Three agents share errors on most questions: labels on all say so."""
    answers, truth = sixty(1, (0.1, 0.1, 0.1, 0.9, 0.9), abstain=0.0)
    shared = np.where(truth == 0, 1, 0)
    answers[:, :3] = np.where(answers[:, :3] == truth[:, None], truth[:, None], shared[:, None])
    parameters, votes = vote(answers, truth=truth)
    assert votes.answers.tolist() == truth.tolist()
    assert (parameters.lure[:3, 0] > parameters.right[:3, 0]).all()


def test_blocks_add_up(monkeypatch):
    answers, truth = sixty(7)
    labels = jnp.asarray(np.where(np.arange(ROWS) < 10, truth, -1))
    _, votes = vote(answers, truth=labels)
    monkeypatch.setattr(blocks, "BALLOTS_PER_BLOCK", 7 * AGENTS * 4 * 25)  # 25 questions
    assert response_fit.questions_per_block(7 * AGENTS, 4) == 25
    _, parts = jax.jit(lambda *data: fit_few(*data))(
        jnp.asarray(answers), jnp.asarray(NUM_OPTIONS), labels
    )
    np.testing.assert_allclose(parts.posterior, votes.posterior, atol=1e-3)


def test_parameters_apply_to_other_questions():
    answers, truth = sixty(8)
    parameters, whole = vote(answers, truth=np.where(np.arange(ROWS) >= 50, truth, -1))
    some = jnp.asarray(answers[:9]), jnp.asarray(NUM_OPTIONS[:9])
    part = jax.jit(lambda parameters: item_response(*some, max_options=4, parameters=parameters))(
        parameters
    )
    np.testing.assert_allclose(part.posterior, whole.posterior[:9], atol=1e-5)
    with pytest.raises(ValueError, match=r"parameters\.right must have shape \[4, 2\]"):
        item_response(some[0][:, :4], some[1], max_options=4, parameters=parameters)


def clean(agents):
    """Everybody right but for some agents, which answer as given."""
    truth = np.random.default_rng(0).integers(NUM_OPTIONS)
    answers = np.tile(truth[:, None], (1, AGENTS))
    for agent, column in agents.items():
        answers[:, agent] = column if np.ndim(column) else column + 0 * truth
    return answers, truth


TRUTH = clean({})[1]
EDGES = {
    "everybody abstained": dict.fromkeys(range(AGENTS), -1),
    "all are identical": {},
    "all always say 0": dict.fromkeys(range(AGENTS), 0),
    "an agent that never answers": {2: -1},
    "one agent alone answers": dict.fromkeys(range(1, AGENTS), -1),
    "an agent that is always wrong": {1: (TRUTH + 1) % NUM_OPTIONS},
    "two pairs that never agree": dict.fromkeys((1, 2), (TRUTH + 1) % NUM_OPTIONS) | {4: -1},
    "agents that share no question": {
        agent: np.where(np.arange(ROWS) % 5 == agent, TRUTH, -1) for agent in range(AGENTS)
    },
    "one question answered": {a: np.where(np.arange(ROWS) == 0, 1, -1) for a in range(AGENTS)},
}


@pytest.mark.parametrize("labelled", [False, True], ids=["no labels", "labels"])
@pytest.mark.parametrize("agents", EDGES.values(), ids=EDGES)
def test_edges_are_finite(agents, labelled):
    answers, truth = clean(agents)
    parameters, votes = vote(answers, truth=truth if labelled else NO_LABEL)
    for leaf in jax.tree.leaves((parameters, votes.posterior, votes.accuracies)):
        assert jnp.isfinite(leaf).all()
    np.testing.assert_allclose(votes.posterior.sum(1), 1.0, rtol=1e-5)
    assert ((votes.answers >= 0) == (answers >= 0).any(1)).all()
    if labelled:
        voted = (answers >= 0).any(1)
        assert (votes.answers[voted] == truth[voted]).all()


@pytest.mark.parametrize(
    ("answers", "num_options", "expected"),
    [
        ([[0], [2], [-1]], 3, [0, 2, -1]),
        ([[1, 1]], 2, [1]),
    ],
    ids=["one agent", "two agents and one question"],
)
def test_few_agents(answers, num_options, expected):
    @jax.jit
    def run(answers):
        return fit_item_response(answers, num_options), item_response(answers, num_options)

    parameters, votes = run(jnp.array(answers))
    assert votes.answers.tolist() == expected
    for leaf in jax.tree.leaves((parameters, votes.posterior)):
        assert jnp.isfinite(leaf).all()


def test_memory_is_bounded():
    answers = jax.ShapeDtypeStruct((1_000_000, 32), jnp.int32)
    options = truth = jax.ShapeDtypeStruct((1_000_000,), jnp.int32)

    def run(answers, options, truth):
        return item_response(answers, options, max_options=10, truth=truth)

    memory = jax.jit(run).lower(answers, options, truth).compile().memory_analysis()
    total = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
    assert total < 2**30
