"""The voting simulation on a size of nothing: its numbers, its tables and what it writes."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import voting_simulation
from benchmarks.voting_simulation import (
    COPIES,
    CROWD,
    PAPER,
    RULES,
    WEAK_PAIR,
    Setting,
    Sizes,
    bayes_optimal,
    best_single,
    known_cells,
    largest_deviation,
    list_settings,
    mean_accuracies,
    model_of,
    ow_with_true_accuracies,
)

ACCURACIES = jnp.array([0.6, 0.7, 0.8, 0.9])
TINY = [
    Setting(PAPER, "K", 2, 40, 3, num_options=2),
    Setting("Few questions", "questions", 5, 5, 2, num_options=2),
    Setting(
        "Copies", "rho", 0.5, 40, 3, WEAK_PAIR, num_options=2, spread=1.0, parents=COPIES, rho=0.5
    ),
]


def every_answer(num_options):
    return jnp.array(list(itertools.product(range(num_options), repeat=4)))


def model(accuracies, spread, rho):
    return model_of(Setting("t", "v", 0, 1, 1, accuracies, spread=spread, parents=COPIES, rho=rho))


def test_the_exact_values_of_table_2():
    cells = known_cells()
    exact = {(cell.rule, cell.value): cell.accuracy for cell in cells if cell.source == "exact"}
    assert len(cells) == 2 * len(exact) == 50
    assert f"{100 * exact['SP', 4]:.4f}" == "90.4933"
    assert f"{100 * exact['OW, true accuracies', 10]:.4f}" == "96.7111"
    assert largest_deviation(cells) < 1.6


def test_the_settings():
    """Each table varies one thing, under the title and name of what it varies."""
    settings = list_settings(Sizes())
    assert [setting.value for setting in settings if setting.table == PAPER] == [2, 4, 6, 8, 10]
    for setting in settings:
        varied = {
            "K": setting.num_options,
            "questions": setting.questions,
            "answers": setting.questions * (setting.voters or 0) / len(setting.accuracies),
            "rho": setting.rho,
            "sd": setting.spread,
        }
        assert varied[setting.variable] == setting.value
    assert len({setting.table for setting in settings}) == 6


def test_accuracies_over_all_difficulties():
    np.testing.assert_allclose(mean_accuracies((0.6, 0.7, 0.8, 0.9), 0.0), ACCURACIES, atol=1e-6)
    found = mean_accuracies((0.6, 0.7, 0.8, 0.9), 3.0)
    np.testing.assert_allclose(found, [0.5465, 0.5963, 0.6550, 0.7362], atol=1e-4)


@pytest.mark.parametrize("spread", [0.0, 2.0])
def test_bayes_optimal_adds_up_the_chances_of_each_answer(spread):
    """The likelihood of all answers, given that 0 is right, is the simulation's distribution."""
    answers = every_answer(3)
    right, agree = np.asarray(answers == 0), np.asarray(answers[:, 0] == answers[:, 1])
    agreement = {}
    for rho in (0.0, 0.6):
        known = model(WEAK_PAIR, spread, rho)
        likelihood = np.exp(bayes_optimal(answers, 3, known).scores)
        np.testing.assert_allclose(likelihood.sum(axis=0), 1.0, rtol=1e-4)
        np.testing.assert_allclose(likelihood[:, 0] @ right, known.accuracies, rtol=1e-4)
        agreement[rho] = likelihood[:, 0] @ agree
    np.testing.assert_allclose(agreement[0.6], 0.6 + 0.4 * agreement[0.0], rtol=1e-4)


def test_bayes_optimal_is_ow_where_agents_are_independent():
    known = model((0.6, 0.7, 0.8, 0.9), 0.0, 0.0)
    answers = every_answer(3)
    np.testing.assert_array_equal(
        bayes_optimal(answers, 3, known).winners, ow_with_true_accuracies(answers, 3, known).winners
    )


def test_of_a_crowd_so_many_answer_each_question():
    known = model_of(Setting("t", "v", 0, 50, 2, CROWD, voters=5))
    keys = jax.random.split(jax.random.key(0), 2)
    answers, truth = voting_simulation._simulate(keys, known, 4, 50, 5)
    assert ((answers >= 0).sum(axis=2) == 5).all()
    assert ((answers >= 0).sum(axis=1) > 0).mean() > 0.8  # not always the same
    for own in answers:
        best, other = bayes_optimal(own, 4, known), ow_with_true_accuracies(own, 4, known)
        np.testing.assert_allclose(best.winners, other.winners)


def test_best_single_follows_the_most_accurate():
    answers = jnp.array([[0, 1, 0, 0], [1, 0, 1, 1]])
    votes = best_single(answers, 2, model((0.6, 0.9, 0.7, 0.8), 0.0, 0.0))
    assert votes.answers.tolist() == [1, 0]


def test_intervals_are_students():
    """Two data sets: mean 0.6, standard error 0.1, t = 12.706; the gain is the same in both."""
    setting = Setting("Few questions", "questions", 5, 5, 2)
    scores = {"majority": np.array([0.5, 0.7]), "SP": np.array([0.4, 0.6])}
    of_majority, of_sp = voting_simulation._summarise(setting, scores)
    np.testing.assert_allclose([of_majority.accuracy, of_majority.margin], [0.6, 1.2706], atol=1e-4)
    np.testing.assert_allclose([of_sp.gain, of_sp.gain_margin], [-0.1, 0.0], atol=1e-9)


def test_what_it_prints_and_writes(monkeypatch, capsys, tmp_path):
    few = ("majority", "best single", "SP", "OW-L", "OW, true accuracies")
    monkeypatch.setattr(voting_simulation, "RULES", {name: RULES[name] for name in few})
    monkeypatch.setattr(voting_simulation, "list_settings", lambda sizes: TINY)
    voting_simulation.main(["--small", "--seed", "3", "--output", str(tmp_path / "run")])
    printed = capsys.readouterr().out
    tables, last = printed.rstrip().rsplit("\n\n", 1)
    summary = json.loads(last)
    assert summary["sizes"]["seed"] == 3
    simulated = [cell for cell in summary["cells"] if cell["source"] == "simulated"]
    assert len(simulated) == len(few) * len(TINY)
    for cell in simulated:
        assert 0.0 <= cell["accuracy"] <= 1.0
        assert cell["rule"] in tables
    for setting in TINY:
        assert setting.table in tables
    assert "85.13" in tables and "85.00" in tables  # majority with two options, paper and exact
    folder = tmp_path / "run"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows == summary["cells"]
    assert json.loads((folder / "config.json").read_text())["sizes"]["seed"] == 3
    assert (folder / "tables.txt").read_text().strip() == tables
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_every_rule_votes_on_simulated_answers():
    """Rules that learn, in compiled form, mapped over data sets, and the same twice."""
    setting = Setting("Few questions", "questions", 8, 8, 2, num_options=2)
    once, again = (voting_simulation.measure([setting], seed=1) for _ in range(2))
    assert [cell.rule for cell in once] == list(RULES)
    assert once == again
