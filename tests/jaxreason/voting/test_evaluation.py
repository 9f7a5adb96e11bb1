import numpy as np
import pandas as pd
import pytest

from jaxreason.voting import evaluation
from jaxreason.voting.evaluation import evaluate
from jaxreason.voting.methods import METHODS
from jaxreason.voting.table import tabulate
from jaxreason.voting.table_rules import fit_table, vote_on_table

# Right answers are 0. Worker a is always right, b on 3 of 5 labelled tasks, c on 2.
ANSWERS = {"a": [0, 0, 0, 0, 0, 1], "b": [0, 0, 0, 1, 1, 1], "c": [0, 1, 1, 1, 0, 0]}
VOTES = pd.DataFrame({"task": list("uvwxyz")} | ANSWERS)
TRUTH = pd.Series(0, list("uvwxy"))
TABLE = tabulate(VOTES, TRUTH)


def test_the_majority_is_judged_on_the_labelled_tasks():
    found = evaluate(METHODS["majority"], TABLE)
    assert (found.labelled, found.folds) == (5, 5)
    assert found.majority.mean == pytest.approx(4 / 5)  # wrong on x alone
    # Wilson's interval of 4 of 5: (4 + z^2 / 2) / (5 + z^2) -+ ...
    assert found.majority.low == pytest.approx(0.3755, abs=1e-4)
    assert found.majority.high == pytest.approx(0.9638, abs=1e-4)
    assert found.rule == found.majority
    assert found.without_labels is None
    assert found.gain.mean == 0.0


@pytest.fixture
def few_will_do(monkeypatch):
    monkeypatch.setattr(evaluation, "MIN_JUDGED", 1)


@pytest.mark.usefixtures("few_will_do")
def test_the_best_worker_is_picked_by_the_other_labels():
    found = evaluate(METHODS["isp"], TABLE)
    assert found.picked == ("a",)
    assert found.best_worker.mean == 1.0
    # Each is right on two tasks, so that without a task it got right the other one leads.
    answers = {"b": [0, 0, 1, 1], "c": [1, 1, 0, 0]}
    found = evaluate(
        METHODS["isp"], tabulate(pd.DataFrame({"task": list("uvwx")} | answers), TRUTH)
    )
    assert found.picked == ("b", "c")
    assert found.best_worker.mean == 0.0


def test_nobody_is_the_best_worker_by_fewer_than_ten_labels():
    tasks = list(range(12))
    votes = pd.DataFrame({"task": tasks, "a": [0] * 9 + 3 * [None], "b": [0] * 6 + 6 * [1]})
    found = evaluate(METHODS["majority"], tabulate(votes, pd.Series(0, tasks)))
    assert found.picked == ("b",)  # a, right on all nine, answered too few
    assert found.best_worker.mean == 0.5
    alone = evaluate(METHODS["majority"], tabulate(votes.drop(columns="b"), pd.Series(0, tasks)))
    assert (alone.picked, alone.best_worker) == ((), None)


@pytest.mark.usefixtures("few_will_do")
def test_a_tie_counts_in_part_and_an_abstention_of_a_worker_as_wrong():
    votes = pd.DataFrame({"task": ["u", "v"], "a": [0, 0], "b": [1, None]})
    found = evaluate(METHODS["majority"], tabulate(votes, pd.Series({"u": 0, "v": 0})))
    assert found.majority.mean == pytest.approx(3 / 4)
    lonely = pd.DataFrame({"task": ["u", "v"], "a": [0, None], "b": [1, 1]})
    found = evaluate(METHODS["majority"], tabulate(lonely, pd.Series({"u": 0, "v": 0})))
    assert found.best_worker.mean == pytest.approx(1 / 2)


@pytest.mark.parametrize("name", ["ow", "one-coin"])
def test_what_learns_from_labels_is_judged_on_tasks_whose_label_it_did_not_see(name):
    method = METHODS[name]
    rights = []
    for task in range(5):  # five labelled tasks are five parts
        truth = np.where(np.arange(6) == task, -1, TABLE.truth)
        votes = vote_on_table(method, fit_table(method, TABLE, truth), TABLE)
        rights.append(float(votes.winners[task, 0]))
    found = evaluate(method, TABLE)
    assert found.rule.mean == pytest.approx(np.mean(rights))
    assert (found.without_labels is None) == (name == "ow")
    if name == "one-coin":
        blind = vote_on_table(method, fit_table(method, TABLE, np.full(6, -1)), TABLE)
        assert found.without_labels.mean == pytest.approx(float(blind.winners[:5, 0].mean()))


def test_the_gain_has_the_interval_of_paired_shares():
    # Of 5 differences 4 are 0 and one is 1; with +1 and -1 added: mean 1 / 7, mean square 3 / 7.
    found = evaluate(METHODS["ow"], TABLE)
    assert found.gain.mean == pytest.approx(1 / 5)
    half = 1.959964 * np.sqrt((3 / 7 - 1 / 49) / 7)
    assert found.gain.low == pytest.approx(1 / 7 - half, abs=1e-6)
    assert found.gain.high == pytest.approx(1 / 7 + half, abs=1e-6)


def test_one_label_judges_only_what_reads_none():
    table = tabulate(VOTES, TRUTH[:1])
    found = evaluate(METHODS["ow"], table)
    assert (found.folds, found.rule, found.best_worker, found.gain) == (0, None, None, None)
    assert found.picked == ()
    assert evaluate(METHODS["isp"], table).rule.mean == 1.0


def test_parts_are_at_random_by_the_seed_and_cover_every_labelled_task():
    rng = np.random.default_rng(0)
    answers = rng.integers(2, size=(50, 3))
    table = tabulate(
        pd.DataFrame(
            {"task": range(50), "a": answers[:, 0], "b": answers[:, 1], "c": answers[:, 2]}
        ),
        pd.Series(rng.integers(2, size=40), range(40)),
    )
    runs = [evaluate(METHODS["ow"], table, seed=seed) for seed in (1, 1, 2, 3)]
    assert runs[0] == runs[1]
    assert len({run.rule.mean for run in runs} | {run.best_worker.mean for run in runs}) > 2
    assert all((run.labelled, run.folds) == (40, 5) for run in runs)
