"""Dawid-Skene against enumeration, golden values, its invariances, and crowd-kit."""

import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.voting import em
from jaxreason.voting.dawid_skene import (
    DawidSkene,
    OneCoin,
    dawid_skene,
    fit_dawid_skene,
    fit_one_coin,
    one_coin_dawid_skene,
)
from jaxreason.voting.majority import majority

MODELS = {
    "one-coin": (fit_one_coin, one_coin_dawid_skene),
    "full": (fit_dawid_skene, dawid_skene),
}
both_models = pytest.mark.parametrize(("fit", "rule"), MODELS.values(), ids=MODELS)
NUM_OPTIONS = jnp.array([2, 4, 3, 4])


def simulate(seed, questions, accuracies, num_options, abstain=0.0):
    """Truths, and answers of agents that err independently, alike on each wrong option."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(num_options, size=questions)
    shape = (questions, len(accuracies))
    right = generator.random(shape) < accuracies
    wrong = (truth[:, None] + generator.integers(1, num_options, shape)) % num_options
    answers = np.where(right, truth[:, None], wrong)
    answers[generator.random(shape) < abstain] = -1
    return truth, answers


def random_parameters(seed, agents, options):
    generator = np.random.default_rng(seed)
    return OneCoin(
        jnp.array(generator.uniform(0.2, 0.9, agents), jnp.float32),
        jnp.array(generator.dirichlet(np.ones(options)), jnp.float32),
    ), DawidSkene(
        jnp.array(generator.dirichlet(np.ones(options), (agents, options)), jnp.float32),
        jnp.array(generator.dirichlet(np.ones(options)), jnp.float32),
    )


def likelihoods(parameters, answers, num_options):
    """P(truth, answers) by definition, `[question, option]`."""
    joint = np.zeros((len(answers), max(num_options)))
    for (q, row), k in itertools.product(enumerate(answers), range(max(num_options))):
        options = num_options[q]
        if k >= options:
            continue
        priors = parameters.priors
        joint[q, k] = 1 / options if priors is None else priors[k]
        for agent, given in enumerate(row):
            if 0 <= given < options:
                if isinstance(parameters, DawidSkene):
                    joint[q, k] *= parameters.confusions[agent, k, given]
                else:
                    x = float(parameters.accuracies[agent])
                    joint[q, k] *= x if given == k else (1 - x) / (options - 1)
    return joint


def enumerate_truths(joint):
    """ln P(answers) and the posterior of each question, by summing over all truths of all."""
    questions, options = joint.shape
    truths = np.array(list(itertools.product(range(options), repeat=questions)))
    weights = joint[np.arange(questions), truths].prod(axis=1)
    posterior = np.stack(
        [[weights[truths[:, q] == k].sum() for k in range(options)] for q in range(questions)]
    )
    return np.log(weights.sum()), posterior / weights.sum()


@pytest.mark.parametrize("vary", [False, True], ids=["one K", "K varies"])
@pytest.mark.parametrize("model", [0, 1], ids=MODELS)
def test_posterior_is_that_of_enumeration(model, vary):
    answers = np.array([[0, 1, 1], [2, -1, 3], [1, 0, -1 if vary else 3], [-1, 2, -1]])
    parameters = random_parameters(0, 3, 4)[model]
    if vary and model == 0:
        parameters = parameters._replace(priors=None)
    settings = (NUM_OPTIONS, 4) if vary else (4, None)
    votes = list(MODELS.values())[model][1](
        jnp.array(answers), settings[0], max_options=settings[1], parameters=parameters
    )
    joint = likelihoods(parameters, answers, NUM_OPTIONS.tolist() if vary else [4] * 4)
    _, posterior = enumerate_truths(joint)
    np.testing.assert_allclose(votes.posterior, posterior, atol=2e-6)
    assert votes.answers.tolist() == posterior.argmax(axis=1).tolist()


@pytest.mark.parametrize("vary", [False, True], ids=["one K", "K varies"])
@both_models
def test_log_likelihood_is_that_of_enumeration(fit, rule, vary):
    answers = np.array([[0, 1, 1], [2, -1, 3], [1, 0, -1 if vary else 3], [-1, 2, -1]])
    settings = (NUM_OPTIONS, 4) if vary else (4, None)
    parameters = fit(
        jnp.array(answers), settings[0], max_options=settings[1], tolerance=-1.0, max_iterations=2
    )
    joint = likelihoods(parameters, answers, NUM_OPTIONS.tolist() if vary else [4] * 4)
    log_likelihood, _ = enumerate_truths(joint)
    np.testing.assert_allclose(parameters.log_likelihood, log_likelihood / 4, rtol=1e-5)
    assert parameters.iterations == 2


def test_first_estimates_by_hand():
    # The shares of the votes are (1, 0), (0, 1) and (1/2, 1/2).
    answers = jnp.array([[0, 0], [1, 1], [0, 1]])
    one_coin = fit_one_coin(answers, 2, max_iterations=1)
    np.testing.assert_allclose(one_coin.accuracies, [2.5 / 3, 2.5 / 3], rtol=1e-6)
    np.testing.assert_allclose(one_coin.priors, [0.5, 0.5], rtol=1e-6)
    # x^2 / 2 + (1 - x)^2 / 2 twice, and x (1 - x) for the answers that differ; x = 5 / 6.
    expected = (2 * np.log(26 / 72) + np.log(5 / 36)) / 3
    np.testing.assert_allclose(one_coin.log_likelihood, expected, rtol=1e-5)
    full = fit_dawid_skene(answers, 2, max_iterations=1)
    confusions = [[[1, 0], [1 / 3, 2 / 3]], [[2 / 3, 1 / 3], [0, 1]]]
    np.testing.assert_allclose(full.confusions, confusions, atol=1e-6)
    np.testing.assert_allclose(full.log_likelihood, np.log(1 / 3), rtol=1e-5)  # 1/3 each


@pytest.mark.parametrize("abstain", [0.0, 0.6])
@both_models
def test_likelihood_never_falls(fit, rule, abstain, as_users_run_it):
    _, answers = simulate(3, 40, [0.4, 0.5, 0.6, 0.7], 3, abstain)

    def after(iterations):
        settings = {"tolerance": -1.0, "max_iterations": iterations}
        return fit(jnp.array(answers), 3, **settings).log_likelihood

    rises = np.diff(jax.vmap(after)(jnp.arange(1, 13)))
    assert (rises > -1e-6).all()
    assert rises[0] > 1e-3


@both_models
def test_it_stops_when_the_likelihood_does_not_rise(fit, rule):
    _, answers = simulate(4, 60, [0.9, 0.8, 0.8, 0.7], 3)
    answers = jnp.array(answers)
    stopped = fit(answers, 3, tolerance=1e-4)
    n = int(stopped.iterations)
    before, after = (
        fit(answers, 3, tolerance=-1.0, max_iterations=m).log_likelihood for m in (n - 2, n - 1)
    )
    assert 2 < n < 100
    assert stopped.log_likelihood - after < 1e-4 <= after - before
    assert fit(answers, 3, max_iterations=3).iterations == 3


@both_models
def test_accuracies_are_found(fit, rule):
    accuracies = [0.9, 0.3, 0.6, 0.75, 0.8]
    _, answers = simulate(5, 1500, accuracies, 4, abstain=0.2)
    votes = rule(jnp.array(answers), 4)
    np.testing.assert_allclose(votes.accuracies, accuracies, atol=0.05)


def test_one_accuracy_holds_for_every_number_of_options():
    # Two agents of accuracy x on questions of 2 and of 8 options: with labels, the share of right.
    generator = np.random.default_rng(6)
    num_options = generator.choice([2, 8], 2000)
    accuracies = np.array([0.85, 0.6, 0.7, 0.8])
    truth = generator.integers(num_options)
    offset = generator.integers(1, num_options[:, None], (2000, 4))
    wrong = (truth[:, None] + offset) % num_options[:, None]
    answers = np.where(generator.random((2000, 4)) < accuracies, truth[:, None], wrong)
    fitted = fit_one_coin(jnp.array(answers), jnp.array(num_options), max_options=8)
    np.testing.assert_allclose(fitted.accuracies, accuracies, atol=0.04)
    assert fitted.priors is None


@both_models
def test_parameters_apply_to_other_questions(fit, rule):
    _, answers = simulate(7, 30, [0.9, 0.6, 0.5, 0.7], 3)
    answers = jnp.array(answers)
    whole = rule(answers, 3)
    part = rule(answers[:5], 3, parameters=fit(answers, 3))
    np.testing.assert_allclose(part.posterior, whole.posterior[:5], atol=1e-6)
    alone = rule(answers[:5], 3)
    assert jnp.abs(alone.posterior - part.posterior).max() > 1e-3


@both_models
def test_all_labels_give_the_shares_of_right_answers(fit, rule):
    truth, answers = simulate(8, 50, [0.3, 0.6, 0.9], 3, abstain=0.3)
    answered = answers >= 0
    votes = rule(jnp.array(answers), 3, truth=jnp.array(truth))
    right = ((answers == truth[:, None]) & answered).sum(axis=0) / answered.sum(axis=0)
    np.testing.assert_allclose(votes.posterior, np.eye(3)[truth], atol=1e-6)
    if fit is fit_one_coin:
        np.testing.assert_allclose(votes.accuracies, right, rtol=1e-5)
        return
    confusions = np.zeros((3, 3, 3))
    for q, agent in zip(*np.nonzero(answered), strict=True):
        confusions[agent, truth[q], answers[q, agent]] += 1
    confusions /= confusions.sum(axis=-1, keepdims=True)
    fitted = fit(jnp.array(answers), 3, truth=jnp.array(truth))
    np.testing.assert_allclose(fitted.confusions, confusions, atol=1e-6)


@both_models
def test_a_few_labels_right_a_wrong_majority(fit, rule):
    # Three agents that mostly err outvote two good ones; with two options that has two solutions.
    truth, answers = simulate(9, 400, [0.2, 0.25, 0.3, 0.9, 0.85], 2)
    labels = np.where(np.arange(400) < 40, truth, -1)
    answers = jnp.array(answers)
    without, with_labels = (
        np.mean(rule(answers, 2, truth=given).answers[40:] == truth[40:])
        for given in (None, jnp.array(labels))
    )
    assert without < 0.2
    assert with_labels > 0.9


@both_models
def test_no_label_is_no_truth(fit, rule):
    _, answers = simulate(10, 20, [0.7, 0.8, 0.6], 3)
    answers = jnp.array(answers)
    plain = rule(answers, 3)
    for none in (-1, 3):
        same = rule(answers, 3, truth=jnp.full(20, none))
        np.testing.assert_array_equal(same.posterior, plain.posterior)


@both_models
def test_renamed_options_and_agents_change_nothing(fit, rule):
    _, answers = simulate(11, 40, [0.5, 0.6, 0.8, 0.9], 3, abstain=0.2)
    plain = rule(jnp.array(answers), 3)
    names, agents = np.array([2, 0, 1]), np.array([3, 1, 0, 2])
    renamed = np.where(answers >= 0, names[answers], -1)[:, agents]
    other = rule(jnp.array(renamed), 3)
    np.testing.assert_allclose(other.posterior[:, names], plain.posterior, atol=1e-4)
    np.testing.assert_allclose(other.accuracies, plain.accuracies[agents], atol=1e-4)


def test_shuffled_labels_change_nothing_without_learned_priors():
    _, answers = simulate(12, 40, [0.5, 0.6, 0.8, 0.9], 3)
    shifts = np.random.default_rng(0).integers(3, size=(40, 1))
    num_options = jnp.full(40, 3)
    plain = one_coin_dawid_skene(jnp.array(answers), num_options, max_options=3)
    shifted = one_coin_dawid_skene(jnp.array((answers + shifts) % 3), num_options, max_options=3)
    moved = np.take_along_axis(np.asarray(shifted.posterior), (np.arange(3) + shifts) % 3, axis=1)
    np.testing.assert_allclose(moved, plain.posterior, atol=1e-4)


@both_models
def test_abstentions_say_nothing(fit, rule):
    _, answers = simulate(13, 30, [0.7, 0.8, 0.6], 3)
    silent = np.full((30, 1), -1)
    unanswered = np.full((4, 4), -1)
    padded = np.concatenate([np.concatenate([answers, silent], axis=1), unanswered])
    plain, more = rule(jnp.array(answers), 3), rule(jnp.array(padded), 3)
    np.testing.assert_allclose(more.posterior[:30], plain.posterior, atol=1e-5)
    np.testing.assert_allclose(more.accuracies[:3], plain.accuracies, atol=1e-5)
    assert more.answers[30:].tolist() == [-1] * 4
    fits = fit(jnp.array(answers), 3), fit(jnp.array(padded), 3)
    np.testing.assert_allclose(fits[1].log_likelihood, fits[0].log_likelihood, rtol=1e-5)


@both_models
def test_blocks_add_up(fit, rule, monkeypatch):
    truth, answers = simulate(14, 23, [0.7, 0.8, 0.6], 3, abstain=0.2)
    labels = jnp.array(np.where(np.arange(23) % 5 == 0, truth, -1))

    def run():
        settings = {"truth": labels, "tolerance": -1.0, "max_iterations": 4}
        parameters = fit(jnp.array(answers), 3, **settings)
        return parameters, rule(jnp.array(answers), 3, parameters=parameters, truth=labels)

    whole = run()
    monkeypatch.setattr(em, "questions_per_block", lambda agents, options: 5)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(run()), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@both_models
def test_jit_and_vmap(fit, rule):
    batch = np.stack([simulate(seed, 20, [0.7, 0.8, 0.6], 3)[1] for seed in (15, 16)])
    mapped = jax.jit(jax.vmap(lambda answers: rule(answers, 3)))(jnp.array(batch))
    for i, answers in enumerate(batch):
        np.testing.assert_allclose(
            mapped.posterior[i], rule(jnp.array(answers), 3).posterior, atol=1e-5
        )


@both_models
def test_memory_is_bounded(fit, rule):
    shape = jax.ShapeDtypeStruct((1_000_000, 32), jnp.int32)
    compiled = jax.jit(lambda answers: rule(answers, 10)).lower(shape).compile()
    memory = compiled.memory_analysis()
    everything = 1_000_000 * 32 * 10 * 4
    assert memory.temp_size_in_bytes + memory.output_size_in_bytes < everything / 2


EDGES = {
    "one question": ([[0, 1, 1]], 2),
    "one agent": ([[0], [1], [1], [2]], 3),
    "one answer": ([[1]], 2),
    "everybody abstained": ([[-1, -1], [-1, -1]], 3),
    "always right": ([[0, 0, 0, 1], [1, 1, 1, 0], [2, 2, 2, 1], [0, 0, 0, 0]], 3),
    "all ties": ([[0, 1], [1, 0], [0, 1]], 2),
    "an agent that never answers": ([[0, -1, 0], [1, -1, 0], [1, -1, 1]], 2),
    "an option that nobody gives": ([[0, 1], [1, 1], [0, 0]], 5),
}


@pytest.mark.parametrize(("answers", "num_options"), EDGES.values(), ids=EDGES)
@both_models
def test_edges_are_finite(fit, rule, answers, num_options):
    answers = jnp.array(answers)
    for options, width in ((num_options, None), (jnp.full(len(answers), num_options), num_options)):
        votes = rule(answers, options, max_options=width)
        parameters = fit(answers, options, max_options=width)
        for leaf in jax.tree.leaves((votes.posterior, votes.accuracies, parameters)):
            assert jnp.isfinite(leaf).all()
        np.testing.assert_allclose(votes.posterior.sum(axis=1), 1.0, rtol=1e-5)
        voted = ((answers >= 0) & (answers < num_options)).any(axis=1)
        assert ((votes.answers >= 0) == voted).all()


def test_an_agent_that_never_answers_gets_the_accuracy_of_all_votes():
    fitted = fit_one_coin(jnp.array([[0, 0, -1], [1, 1, -1], [1, 1, -1]]), 2)
    np.testing.assert_allclose(fitted.accuracies, [1, 1, 6.5 / 7], atol=1e-5)
    fitted = fit_dawid_skene(jnp.array([[0, 0, -1], [1, 1, -1]]), 2)
    np.testing.assert_allclose(fitted.confusions[2], np.full((2, 2), 0.5), rtol=1e-6)


def test_zero_probabilities_given_do_not_make_nan():
    parameters = DawidSkene(jnp.eye(2)[None].repeat(2, axis=0), jnp.array([1.0, 0.0]))
    votes = dawid_skene(jnp.array([[0, 1], [1, 1], [0, 0]]), 2, parameters=parameters)
    assert jnp.isfinite(votes.posterior).all()
    assert votes.answers[1:].tolist() == [1, 0]


@both_models
def test_wrong_shapes_are_named(fit, rule, as_users_run_it):
    answers = jnp.zeros((3, 2), int)
    with pytest.raises(ValueError, match=r"truth must have shape \[3\]; got \[2\]"):
        fit(answers, 2, truth=jnp.zeros(2, int))
    with pytest.raises(ValueError, match=r"parameters\.\w+ must have shape \[2.*; got \[3"):
        rule(answers, 2, parameters=fit(jnp.zeros((3, 3), int), 2))


@pytest.fixture
def peers():
    """crowd-kit and pandas; pandas warns of what crowd-kit does."""
    aggregation = pytest.importorskip("crowdkit.aggregation")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield aggregation, pytest.importorskip("pandas")


def as_table(pandas, answers):
    task, worker = np.nonzero(answers >= 0)
    return pandas.DataFrame({"task": task, "worker": worker, "label": answers[task, worker]})


CROWDS = {
    "dense": {"questions": 80, "accuracies": [0.4, 0.9, 0.6, 0.7, 0.5], "num_options": 3},
    "sparse": {
        "questions": 150,
        "accuracies": np.linspace(0.4, 0.95, 20),
        "num_options": 3,
        "abstain": 0.75,
    },
    "binary": {"questions": 60, "accuracies": [0.6, 0.7, 0.8, 0.9], "num_options": 2},
}


@pytest.mark.parametrize("crowd", CROWDS.values(), ids=CROWDS)
@both_models
def test_each_iteration_is_that_of_crowd_kit(fit, rule, crowd, peers):
    aggregation, pandas = peers
    _, answers = simulate(17, **crowd)
    answers, options = answers[(answers >= 0).any(axis=1)], crowd["num_options"]
    name = "OneCoinDawidSkene" if fit is fit_one_coin else "DawidSkene"
    peer = getattr(aggregation, name)(n_iter=6, tol=-np.inf).fit(as_table(pandas, answers))
    # crowd-kit's parameters are one step after those of its posterior.
    parameters, next_ones = (
        fit(jnp.array(answers), options, tolerance=-1.0, max_iterations=n) for n in (6, 7)
    )
    votes = rule(jnp.array(answers), options, parameters=parameters)
    np.testing.assert_allclose(votes.posterior, peer.probas_[range(options)], atol=2e-5)
    np.testing.assert_allclose(next_ones.priors, peer.priors_[range(options)], atol=1e-5)
    if fit is fit_one_coin:
        np.testing.assert_allclose(next_ones.accuracies, peer.skills_.sort_index(), atol=1e-5)
    else:
        errors = peer.errors_.sort_index()[range(options)].to_numpy()
        errors = errors.reshape(-1, options, options).swapaxes(1, 2)
        np.testing.assert_allclose(next_ones.confusions, errors, atol=1e-4)


@both_models
def test_answers_by_default_are_those_of_crowd_kit(fit, rule, peers):
    aggregation, pandas = peers
    _, answers = simulate(18, 200, [0.5, 0.9, 0.6, 0.7, 0.8, 0.4], 4)
    name = "OneCoinDawidSkene" if fit is fit_one_coin else "DawidSkene"
    peer = getattr(aggregation, name)().fit(as_table(pandas, answers))
    votes = rule(jnp.array(answers), 4)
    clear = jnp.max(votes.posterior, axis=1) > 0.6
    assert clear.mean() > 0.9
    assert (votes.answers == peer.labels_.to_numpy())[clear].all()


def test_labels_count_as_in_crowd_kit(peers):
    aggregation, pandas = peers
    truth, answers = simulate(19, 60, [0.5, 0.9, 0.6, 0.7], 3)
    table, labels = as_table(pandas, answers), pandas.Series(truth[:15])
    peer = aggregation.DawidSkene(n_iter=5, tol=-np.inf).fit(table, true_labels=labels)
    labels = jnp.array(np.where(np.arange(60) < 15, truth, -1))
    settings = {"truth": labels, "tolerance": -1.0, "max_iterations": 5}
    parameters = fit_dawid_skene(jnp.array(answers), 3, **settings)
    votes = dawid_skene(jnp.array(answers), 3, parameters=parameters, truth=labels)
    np.testing.assert_allclose(votes.posterior, peer.probas_[range(3)], atol=2e-5)


def test_majority_is_that_of_crowd_kit_but_for_ties(peers):
    # There the first of its columns wins, whose order depends on the data.
    aggregation, pandas = peers
    _, answers = simulate(20, 100, [0.4, 0.4, 0.4, 0.4], 3)
    votes = majority(jnp.array(answers), 3)
    labels = aggregation.MajorityVote().fit_predict(as_table(pandas, answers)).to_numpy()
    shares = np.asarray(votes.winners)[np.arange(100), labels]
    assert (shares > 0).all()
    assert (shares == 1).sum() > 50
