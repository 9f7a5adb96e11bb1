"""The benchmark on real answers, on made-up ones: pools, scores, intervals, what it writes."""

import dataclasses
import importlib.util
import json
import math

import numpy as np
import pytest

from benchmarks import voting_mmlu_pro
from benchmarks.voting_mmlu_pro import (
    AUTO,
    DATA,
    RULES,
    SMALL,
    Pool,
    Sizes,
    draw_pools,
    load,
    main,
    measure,
)
from benchmarks.voting_mmlu_pro_scores import MAJORITY, PICKED, Score, score_pool, summarise

FEW = (MAJORITY, "ISP", "OW, labels", PICKED)
installed = pytest.mark.skipif(not importlib.util.find_spec("crowdkit"), reason="no crowd-kit")


@pytest.fixture
def file(tmp_path):
    """Six models, right by 0.3 to 0.8, on questions of 3 to 10 options."""
    rng = np.random.default_rng(0)
    num_options = rng.integers(3, 11, 201)
    truth = rng.integers(num_options)
    others = rng.integers(1, num_options[:, None], (201, 6))
    right = rng.random((201, 6)) < np.linspace(0.3, 0.8, 6)
    answers = (truth[:, None] + np.where(right, 0, others)) % num_options[:, None]
    answers[rng.random((201, 6)) < 0.05] = -1
    models = np.array([f"model {i}" for i in range(6)])
    path = tmp_path / "answers.npz"
    np.savez(path, answers=answers, truth=truth, num_options=num_options, models=models)
    return path


@pytest.fixture
def few_rules(monkeypatch):
    monkeypatch.setattr(voting_mmlu_pro, "RULES", {name: RULES[name] for name in FEW})
    monkeypatch.setattr(voting_mmlu_pro, "AUTO", {})
    monkeypatch.setattr(voting_mmlu_pro, "PEERS", ("MajorityVote",))


def test_the_halves_share_no_question_and_drop_none(file):
    everything = dict(np.load(file))
    halves = [load(file, Sizes(half=half)) for half in ("chosen", "reported")]
    assert [len(half.truth) for half in halves] == [100, 101]
    rows = np.concatenate(
        [np.c_[half.truth, half.num_options, half.answers] for half in halves]
    ).tolist()
    expected = np.c_[everything["truth"], everything["num_options"], everything["answers"]].tolist()
    assert sorted(rows) == sorted(expected)


@pytest.mark.skipif(not DATA.is_file(), reason=f"the real answers are not at {DATA}")
def test_the_real_answers_are_what_the_report_says():
    halves = [load(DATA, Sizes(half=half)) for half in ("chosen", "reported")]
    assert sum(len(half.truth) for half in halves) == 5895
    for half in halves:
        assert len(half.models) == half.answers.shape[1] == 29
        assert (half.answers < half.num_options[:, None]).all()
        assert (half.truth < half.num_options).all() and (half.truth >= 0).all()
        assert half.num_options.max() == voting_mmlu_pro.MAX_OPTIONS


def test_pools_are_drawn_by_the_seed_without_repetition():
    sizes = Sizes(pools=5, draws=3, sizes=(4, 7))
    pools = draw_pools(sizes, 29)
    assert [pool.family for pool in pools] == ["all 29"] * 3 + ["4 random"] * 5 + ["7 random"] * 5
    assert all(len(set(pool.members)) == len(pool.members) for pool in pools)
    again, other = draw_pools(sizes, 29), draw_pools(dataclasses.replace(sizes, seed=1), 29)
    assert all((a.members == b.members).all() for a, b in zip(pools, again, strict=True))
    assert any((a.members != b.members).any() for a, b in zip(pools, other, strict=True))


def test_labelled_questions_are_not_judged_and_hard_ones_share_a_wrong_option():
    # Agents 0 and 1 share a wrong option on the first two questions; 2 is always right.
    answers = np.array([[1, 1, 0], [2, 2, 1], [0, 1, 2], [0, 0, 0]])
    truth = np.array([0, 1, 2, 0])
    judged = np.array([False, True, True, True])
    right = {MAJORITY: np.array([1.0, 0.0, 1 / 3, 1.0]), "x": np.array([0.0, 1.0, 1 / 3, 1.0])}
    of_majority, of_x = score_pool(("p", 0), answers, truth, judged, right, {"x": "y"})
    assert (of_majority.took, of_x.took) == (None, "y")
    assert (of_majority.accuracy, of_x.accuracy) == pytest.approx((4 / 9, 7 / 9))
    assert (of_majority.hard, of_x.hard, of_x.hard_questions) == (0.0, 1.0, 1)
    assert of_majority.gain_error == 0.0
    assert of_x.gain_error == pytest.approx(1 / 3)  # differences 1, 0, 0: sd 1 / sqrt 3, n = 3


def test_every_rule_votes_and_the_picked_model_is_the_best_by_the_labels(file):
    questions = load(file, Sizes(questions=40))
    pool = Pool("6 random", 0, np.arange(6))
    scores = measure(questions, [pool], Sizes(labels=12))
    assert [score.rule for score in scores] == [*RULES, *AUTO]
    assert all(0.0 <= score.accuracy <= 1.0 for score in scores)
    of = {score.rule: score.accuracy for score in scores}
    for score in scores[len(RULES) :]:  # on 40 questions nothing is modelled
        assert score.took in (MAJORITY, "one-coin Dawid-Skene", "one-coin Dawid-Skene, labels")
        assert score.accuracy == of[score.took]
    known = np.random.default_rng(1).choice(40, 12, replace=False)
    right = questions.answers == questions.truth[:, None]
    best = int(np.argmax(right[known].sum(0)))
    rest = np.setdiff1d(np.arange(40), known)
    assert of[PICKED] == pytest.approx(right[rest, best].mean())


def test_intervals_are_over_pools_or_over_questions_where_all_vote():
    """Two pools: gains 0.1 and 0.3 over majority, t = 12.706, standard error 0.1."""

    def scores(family):
        for number, gain in enumerate((0.1, 0.3)):
            for rule, accuracy in ((MAJORITY, 0.5), (PICKED, 0.4), ("x", 0.5 + gain)):
                yield Score(family, number, rule, accuracy, 0.05, 0.2, 3)

    few, all_vote = (
        {s.rule: s for s in summarise(list(scores(family)))}["x"]
        for family in ("4 random", "all 6")
    )
    assert (few.gain, few.better, few.worst) == pytest.approx((0.2, 1.0, 0.1))
    assert few.margin == pytest.approx(1.2706, abs=1e-4)
    assert all_vote.margin == pytest.approx(1.96 * 0.05)
    assert (few.lead, few.lead_margin) == pytest.approx((0.3, 1.2706), abs=1e-4)


def test_it_says_where_it_looked_for_the_answers(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--data", str(tmp_path / "none.npz")])
    assert stopped.value.code == 2
    assert "none.npz; name it with --data." in capsys.readouterr().err


def test_without_crowd_kit_it_says_so(few_rules, monkeypatch, file, capsys):
    monkeypatch.setattr(voting_mmlu_pro, "SMALL", dataclasses.replace(SMALL, questions=60))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    main(["--small", "--data", str(file)])
    printed = capsys.readouterr().out
    assert printed.startswith("crowd-kit is not installed")
    assert "crowd-kit MajorityVote" not in printed


@installed
def test_what_it_prints_and_writes(few_rules, monkeypatch, file, tmp_path, capsys):
    monkeypatch.setattr(voting_mmlu_pro, "SMALL", dataclasses.replace(SMALL, questions=60))
    folder = tmp_path / "run"
    main(["--small", "--data", str(file), "--output", str(folder)])
    tables, last = capsys.readouterr().out.rstrip().rsplit("\n\n", 1)
    summaries = {(s["family"], s["rule"]): s for s in json.loads(last)}
    assert set(summaries) == {
        (family, rule)
        for family in ("all 6", "4 random")
        for rule in (*FEW, "crowd-kit MajorityVote")
    }
    ours, theirs = summaries["all 6", MAJORITY], summaries["all 6", "crowd-kit MajorityVote"]
    assert (ours["pools"], theirs["pools"]) == (2, 2)
    assert math.isclose(ours["accuracy"], theirs["accuracy"], abs_tol=0.15)  # ties
    for family, rule in summaries:
        assert f"Pools: {family} models" in tables and rule in tables
    assert (folder / "tables.txt").read_text().strip() == tables
    pools = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(pool["family"], pool["number"], len(pool["models"])) for pool in pools] == [
        *[("all 6", 0, 6), ("all 6", 1, 6), ("4 random", 0, 4), ("4 random", 1, 4)]
    ]
    assert set(pools[0]["rules"]) == {*FEW, "crowd-kit MajorityVote"}
    kept = [pool["rules"][MAJORITY][0] for pool in pools[:2]]
    assert np.mean(kept) == pytest.approx(ours["accuracy"], abs=1e-5)
    assert json.loads((folder / "config.json").read_text())["sizes"]["draws"] == 2
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
