"""Diagnoses of simulated pools with known faults, of edge cases, and of 29 real models."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.voting.diagnostics import diagnose
from jaxreason.voting.low_rank import ow_l
from jaxreason.voting.recommendation import recommend
from jaxreason.voting.simulation import copy_answers, simulate_difficulty, simulate_independent

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "mmlu_pro_answers.npz"
K = 4
X = jnp.array([0.45, 0.5, 0.6, 0.7, 0.75, 0.8])
ALONE = jnp.arange(6)


def draw(key, parents, rho, spread, accuracies=X, questions=600):
    of_answers, of_copies = jax.random.split(key)
    answers, truth = simulate_difficulty(
        of_answers, accuracies, K, questions, spread=spread, distractor=0.1 * spread
    )
    return copy_answers(of_copies, answers, parents=parents, rho=rho), truth


@jax.jit
def diagnose_pools(parents, rho, spread):
    """Diagnoses twelve pools of six agents."""

    def one(key):
        of_answers, of_bootstrap = jax.random.split(key)
        answers, truth = draw(of_answers, parents, rho, spread)
        return diagnose(answers, K, truth=truth, key=of_bootstrap, resamples=50)

    return jax.lax.map(one, jax.random.split(jax.random.key(3), 12))


run = jax.jit(diagnose, static_argnames=("num_options", "max_options", "resamples"))
run_varying = jax.jit(diagnose, static_argnames=("max_options", "resamples"))
UNLABELLED = jnp.full(600, -1)


def flagged(clones):
    return [tuple(pair) for pair in np.argwhere(np.triu(clones)).tolist()]


@pytest.mark.parametrize("rho, found", [(0.3, 9), (0.6, 12), (0.9, 12)])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_two_copies_of_a_weak_agent_are_found(rho, found, spread):
    diagnoses = diagnose_pools(ALONE.at[1].set(0), rho, spread)
    pairs = [flagged(clones) for clones in np.asarray(diagnoses.clones)]
    assert sum(pair == [(0, 1)] for pair in pairs) >= found
    np.testing.assert_allclose(diagnoses.copying[:, 0, 1].mean(), rho, atol=0.08)


def test_two_pairs_of_copies_are_found():
    diagnoses = diagnose_pools(ALONE.at[1].set(0).at[5].set(4), 0.8, 0.0)
    pairs = [flagged(clones) for clones in np.asarray(diagnoses.clones)]
    assert all((0, 1) in pair for pair in pairs)
    # Two copies of a good agent may still pass for two very good ones, who make (2, 3) the copies.
    assert sum(pair == [(0, 1), (4, 5)] for pair in pairs) >= 8


@pytest.mark.parametrize("spread", [0.0, 2.0])
def test_neither_chance_nor_difficulty_makes_clones(spread):
    diagnoses = diagnose_pools(ALONE, 0.0, spread)
    assert np.asarray(diagnoses.clones).any(axis=(1, 2)).sum() <= 1
    np.testing.assert_allclose(diagnoses.effective, 6.0, atol=0.5)


def test_difficulty_is_told_from_its_absence():
    equal, varied = diagnose_pools(ALONE, 0.0, 0.0), diagnose_pools(ALONE, 0.0, 2.0)
    assert np.sum(equal.difficulty_bounds[:, 0] > 0.1) <= 1
    assert np.all(varied.difficulty_bounds[:, 0] > 0.1)
    assert (
        float(varied.labelled_effective.max()) < 4.0 < 5.5 < float(equal.labelled_effective.min())
    )


def test_intervals_hold_the_accuracies_of_independent_agents():
    diagnoses = diagnose_pools(ALONE, 0.0, 0.0)
    for bounds in (diagnoses.accuracy_bounds, diagnoses.labelled_bounds):
        held = (bounds[..., 0] <= X) & (bounds[..., 1] >= X)
        assert float(held.mean()) > 0.85
        assert float(jnp.max(bounds[..., 1] - bounds[..., 0])) < 0.2
    np.testing.assert_allclose(diagnoses.accuracies.mean(0), X, atol=0.03)
    np.testing.assert_allclose(diagnoses.labelled_accuracies.mean(0), X, atol=0.03)


def test_copies_do_not_raise_the_accuracy_of_what_they_copy():
    diagnoses = diagnose_pools(ALONE.at[1].set(0), 0.9, 0.0)
    np.testing.assert_allclose(diagnoses.accuracies.mean(0)[1:], X[1:], atol=0.06)
    np.testing.assert_allclose(diagnoses.accuracies.mean(0)[:2], 0.45, atol=0.06)


def test_one_of_two_pairs_of_four_agents_copies_and_there_are_no_accuracies():
    """The example of a wrong crown: two copies of a weak agent beside two good ones."""
    x, parents = jnp.array([0.6, 0.6, 0.8, 0.8]), jnp.array([0, 0, 2, 3])
    for rho in (0.3, 0.6, 0.9):
        answers, _ = draw(jax.random.key(0), parents, rho, 0.0, x, 1000)
        diagnosis = run(answers, K, key=jax.random.key(1), resamples=50)
        assert flagged(diagnosis.clones) == [(0, 1), (2, 3)]
        assert np.isnan(diagnosis.accuracies).all() and np.isnan(diagnosis.accuracy_bounds).all()
    answers, _ = draw(jax.random.key(0), ALONE[:4], 0.0, 0.0, x, 1000)
    diagnosis = run(answers, K, key=jax.random.key(1), resamples=50)
    assert flagged(diagnosis.clones) == []
    np.testing.assert_allclose(diagnosis.accuracies, x, atol=0.08)


@pytest.mark.parametrize("answered", [0, 20])
def test_a_fifth_that_hardly_answers_leaves_open_which_pair_copies(answered):
    x, parents = jnp.array([0.5, 0.5, 0.8, 0.8]), jnp.array([0, 0, 2, 3])
    answers, truth = draw(jax.random.key(0), parents, 0.9, 0.0, x, 2000)
    few = jnp.where(jnp.arange(2000) < answered, truth, -1)
    diagnosis = run(jnp.c_[answers, few], K, key=jax.random.key(1), resamples=20)
    assert flagged(diagnosis.clones) == [(0, 1), (2, 3)]
    assert np.isnan(diagnosis.accuracies).all()
    either = "Not independent: either A and B, or C and D, agree too often."
    assert any(text.startswith(either) for text in recommend(diagnosis, list("ABCDE")))


def test_accuracies_of_weak_agents_are_those_of_ow_l():
    x = jnp.array([0.55, 0.6, 0.97])
    answers, _ = simulate_independent(jax.random.key(0), x, 2, 20_000)
    diagnosis = run(answers, 2, key=jax.random.key(1), resamples=50)
    np.testing.assert_allclose(diagnosis.accuracies, ow_l(answers, 2).accuracies, atol=3e-3)
    low, high = np.asarray(diagnosis.accuracy_bounds).T
    assert (low < x).all() and (x < high).all()


def test_bounds_hold_the_truth_as_often_as_they_say():
    x = jnp.array([0.6, 0.7, 0.8])

    def covers(key):
        of_answers, of_bootstrap = jax.random.split(key)
        answers, _ = simulate_independent(of_answers, x, 2, 400)
        bounds = diagnose(answers, 2, key=of_bootstrap, resamples=100).accuracy_bounds
        return (bounds[:, 0] <= x) & (x <= bounds[:, 1])

    held = jax.jit(lambda keys: jax.lax.map(covers, keys))(jax.random.split(jax.random.key(7), 100))
    # 0.95 less three standard deviations of a share of 100, and what a bootstrap lacks.
    assert (np.asarray(held).mean(axis=0) > 0.82).all()


def test_a_truth_that_names_no_option_is_no_label():
    answers, _ = draw(jax.random.key(0), ALONE, 0.0, 0.0, questions=300)
    found = run(answers, K, truth=jnp.full(300, 9), key=jax.random.key(1), resamples=5)
    assert not found.labels.any() and not found.worse_than_chance.any()


def test_standard_errors_rest_on_questions_that_tell_of_agreement():
    answers, _ = draw(jax.random.key(0), ALONE, 0.0, 0.0, questions=300)
    settings = {"max_options": K, "key": jax.random.key(1), "resamples": 20}
    known = run_varying(answers, jnp.full(300, K), **settings).standard_errors
    more = jnp.concatenate([answers, jnp.zeros((300, 6), int), jnp.full((300, 6), -1)])
    options = jnp.repeat(jnp.array([K, 1, 2]), 300)
    found = run_varying(more, options, **settings).standard_errors
    np.testing.assert_allclose(found, known, rtol=0.25)  # another bootstrap
    assert abs(float(np.nanmean(found) / np.nanmean(known)) - 1.0) < 0.1


def test_an_agent_worse_than_chance_is_marked_with_labels_and_without():
    x = X.at[2].set(0.02)
    answers, truth = simulate_independent(jax.random.key(0), x, K, 600)
    expected = [False, False, True, False, False, False]
    for labels in (UNLABELLED, truth, jnp.where(jnp.arange(600) < 100, truth, -1)):
        diagnosis = run(answers, K, truth=labels, key=jax.random.key(1), resamples=30)
        assert diagnosis.worse_than_chance.tolist() == expected
    assert diagnosis.labels.tolist() == [100.0] * 6


@pytest.mark.parametrize("agents", [4, 6])
def test_agents_that_never_differ_count_as_one(agents):
    answers, truth = simulate_independent(jax.random.key(0), jnp.array([0.6]), K, 600)
    answers = jnp.tile(answers, (1, agents))
    diagnosis = run(answers, K, truth=truth, key=jax.random.key(1), resamples=30)
    np.testing.assert_allclose(diagnosis.effective, 1.0, atol=0.01)
    np.testing.assert_allclose(diagnosis.labelled_effective, 1.0, atol=0.01)
    assert flagged(diagnosis.clones) == []


def test_a_pool_of_copies_beside_others_counts_as_few():
    """Three exact copies and four others: mean copying 6 / 42, 7 / (1 + 6 / 7) agents."""
    x = jnp.full(7, 0.65)
    answers, _ = draw(jax.random.key(5), jnp.array([0, 0, 0, 3, 4, 5, 6]), 1.0, 0.0, x, 2000)
    diagnosis = run(answers, K, key=jax.random.key(1), resamples=20)
    assert flagged(diagnosis.clones) == [(0, 1), (0, 2), (1, 2)]
    np.testing.assert_allclose(diagnosis.effective, 7 / (1 + 6 / 7), atol=0.15)


def test_a_question_with_one_option_does_not_count():
    answers, truth = draw(jax.random.key(0), ALONE, 0.0, 0.0, questions=200)
    settings = {"max_options": K, "key": jax.random.key(1), "resamples": 5}
    late = jnp.arange(200) >= 190
    less = run_varying(jnp.where(late[:, None], -1, answers), jnp.full(200, K), **settings)
    diagnosis = run_varying(jnp.where(late[:, None], 0, answers), jnp.where(late, 1, K), **settings)
    for name in ("agreement", "counts", "votes", "abstentions", "shared_errors", "accuracies"):
        expected = getattr(less, name)
        np.testing.assert_allclose(getattr(diagnosis, name), expected, rtol=1e-4, atol=1e-4)


def test_turnout_is_counted_and_agents_apart_are_isolated():
    answers, _ = draw(jax.random.key(0), ALONE, 0.0, 0.0, questions=100)
    early = (jnp.arange(100) < 60)[:, None]
    last = jnp.arange(6) == 5
    answers = jnp.where(early != last, answers, -1).at[0].set(-1).at[:, 2].set(-1)
    diagnosis = run(answers, K, key=jax.random.key(1), resamples=10)
    assert diagnosis.votes.tolist() == [59.0, 59.0, 0.0, 59.0, 59.0, 40.0]
    np.testing.assert_allclose(diagnosis.abstentions[jnp.array([0, 2, 5])], [40 / 99, 1, 59 / 99])
    assert diagnosis.isolated.tolist() == [False, False, True, False, False, True]
    assert np.isnan(diagnosis.accuracies).tolist() == diagnosis.isolated.tolist()


def test_agreement_gives_accuracies_from_ten_answers_on_and_none_above_1():
    answers = jnp.tile(jnp.arange(40)[:, None] % 3, (1, 5))  # all agree
    answers = answers.at[9:, 0].set(-1).at[10:, 1].set(-1)
    diagnosis = run(answers, K, key=jax.random.key(0), resamples=10)
    assert np.isnan(diagnosis.accuracies).tolist() == [True, False, False, False, False]
    assert np.isnan(diagnosis.accuracy_bounds).all(axis=1).tolist() == [True] + 4 * [False]
    noisy = np.random.default_rng(0).integers(2, size=(12, 5))  # chance may look like anything
    found = run(jnp.array(noisy), 2, key=jax.random.key(0), resamples=40)
    rates = np.append(np.asarray(found.accuracies), np.asarray(found.accuracy_bounds))
    assert np.nanmin(rates) >= 0.0 and np.nanmax(rates) <= 1.0


@pytest.mark.parametrize(
    "answers",
    [
        jnp.array([[0], [1], [1]]),
        jnp.array([[0, 1], [1, 1], [1, -1]]),
        jnp.array([[0, 1, 1]]),
        jnp.array([[0, 1, 1, 2, 1]]),
        jnp.full((1, 5), -1),
        jnp.ones((1, 5), int),
    ],
    ids=["one agent", "two agents", "one question", "one of five", "nobody", "all the same"],
)
def test_edge_cases_flag_nothing(answers):
    for label in (-1, 1):
        truth = jnp.full(len(answers), label)
        diagnosis = run(answers, 3, truth=truth, key=jax.random.key(0), resamples=5)
        assert flagged(diagnosis.clones) == []
        assert not diagnosis.worse_than_chance.any()
        assert np.isfinite(diagnosis.abstentions).all() and np.isfinite(diagnosis.chance).all()
        assert diagnosis.labels.tolist() == [
            votes * (label > 0) for votes in diagnosis.votes.tolist()
        ]
    if answers.shape[1] < 3:
        assert np.isnan(diagnosis.accuracies).all()


@pytest.mark.parametrize(
    "answers, settings, message",
    [
        (jnp.zeros((0, 3), int), {}, "answers must not be empty"),
        (jnp.zeros(3, int), {}, "answers must have shape"),
        (jnp.zeros((2, 3), int), {"truth": jnp.zeros(3, int)}, "truth must have shape"),
    ],
)
def test_wrong_shapes_are_named(answers, settings, message, as_users_run_it):
    with pytest.raises(ValueError, match=message):
        diagnose(answers, 2, key=jax.random.key(0), **settings)


@pytest.fixture(scope="module")
def real():
    if not REAL.exists():
        pytest.skip(f"the answers of 29 models are not at {REAL}")
    data = np.load(REAL)
    names = [str(name) for name in data["models"]]
    chosen = [
        *("Llama-2-13b-hf", "Llama-2-7b-hf", "Meta-Llama-3-70B", "Meta-Llama-3_1-70B"),
        *("Mistral-7B-v0.1", "Mistral-7B-v0.2-hf", "Yi-6B", "Yi-6b-Chat"),
        *("Phi-3-mini-4k-instruct", "Qwen1.5-110B", "c4ai-command-r-v01", "jamba-1.5-large"),
        *("gemma-7b", "mathstral-7B"),
    ]
    columns = [names.index(name) for name in chosen]
    some = slice(None, None, 3)
    arrays = [data["answers"][some][:, columns], data["num_options"][some], data["truth"][some]]
    answers, num_options, truth = (jnp.asarray(array, jnp.int32) for array in arrays)
    key = jax.random.key(0)
    return chosen, run_varying(
        answers, num_options, max_options=10, truth=truth, key=key, resamples=30
    )


def test_families_of_real_models_are_found(real):
    names, diagnosis = real
    found = {tuple(names[i] for i in pair) for pair in flagged(diagnosis.clones)}
    assert {
        ("Meta-Llama-3-70B", "Meta-Llama-3_1-70B"),
        ("Mistral-7B-v0.1", "Mistral-7B-v0.2-hf"),
        ("Yi-6B", "Yi-6b-Chat"),
    } <= found
    assert len(found) <= 5


def test_real_questions_differ_in_difficulty_and_the_order_of_models_is_right(real):
    _, diagnosis = real
    assert float(diagnosis.difficulty_bounds[0]) > 0.3
    assert float(diagnosis.labelled_effective) < 5.0
    ranks = [
        np.argsort(np.argsort(x)) for x in (diagnosis.accuracies, diagnosis.labelled_accuracies)
    ]
    assert np.corrcoef(*ranks)[0, 1] > 0.9
    assert np.all(diagnosis.accuracies > diagnosis.labelled_bounds[:, 1])
