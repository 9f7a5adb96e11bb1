"""The speed benchmark on a size of nothing: what it measures, prints and writes."""

import dataclasses
import importlib.util
import json

import numpy as np
import pytest

from benchmarks import voting_speed
from benchmarks.voting_speed import Row, format_comparison, format_large, main
from benchmarks.voting_speed_case import OURS, PEER, Case, Result, measure, peak_bytes
from benchmarks.voting_speed_figure import save_figure

ANSWERS = np.array([[0, 0, 1], [1, 1, 1], [2, 0, 2], [1, 1, -1]], np.int32)
TRUTH = np.array([0, 1, 2, 0], np.int32)
RESULT = Result(0.1, 2.0, 0.25, 0.2, 0.3, 5, 10, 2**30, 2**20, 0.5, "cpu")
installed = pytest.mark.skipif(not importlib.util.find_spec("crowdkit"), reason="no crowd-kit")


@pytest.fixture
def few_rules(monkeypatch):
    monkeypatch.setattr(voting_speed, "PEER_RULES", {"majority": "MajorityVote"})
    monkeypatch.setattr(voting_speed, "METHODS", {"one-coin": None})


def case(folder, library, rule):
    np.save(folder / "answers.npy", ANSWERS)
    np.save(folder / "truth.npy", TRUTH)
    return Case(library, rule, str(folder), num_options=3, calls=2, enough_seconds=60.0)


@pytest.mark.parametrize("library", [OURS, pytest.param(PEER, marks=installed)])
@pytest.mark.parametrize("rule", ["majority", "dawid-skene"])
@pytest.mark.filterwarnings("ignore")  # crowd-kit's
def test_a_case_is_measured(tmp_path, library, rule):
    measured = case(tmp_path, library, rule)
    result = measure(measured)
    assert result.calls == 2
    assert result.device == "cpu"
    assert 0 < result.low <= result.median_seconds <= result.high
    assert (result.compile_seconds > 0) == (library == OURS)
    assert (result.iterations is None) == (rule == "majority")
    assert result.accuracy == 0.75
    assert np.load(measured.votes).tolist() == [0, 1, 2, 1]


@pytest.mark.filterwarnings("ignore")
def test_no_call_starts_after_enough_seconds(tmp_path):
    hurried = dataclasses.replace(case(tmp_path, OURS, "majority"), calls=9, enough_seconds=0.0)
    assert measure(hurried).calls == 1


def test_peak_memory_counts_what_is_held():
    held = np.ones(64 * 2**20, np.uint8)
    assert held.nbytes < peak_bytes() < 1024 * held.nbytes


def test_the_tables():
    rows = [
        Row(1000, 4, OURS, "majority", RESULT, agreement=0.75),
        Row(1000, 4, PEER, "majority", dataclasses.replace(RESULT, median_seconds=1.0)),
        Row(1000, 4, OURS, "wawa", dataclasses.replace(RESULT, iterations=None)),
        Row(1000, 4, PEER, "wawa", None, "over 5 s"),
    ]
    lines = format_comparison(rows).splitlines()
    assert lines[0] == "1,000 questions x 4 agents"
    ours, peer, _, failed = (" ".join(line.split()) for line in lines[4:])
    assert ours == "majority jaxreason 250.0 200.0-300.0 10 25.0 1 2.0 0.10 50.00% 75.00%"
    assert " 4.0 10 100.0 " in peer
    assert failed == "wawa crowd-kit over 5 s"
    large = " ".join(format_large(rows[:1]).splitlines()[-1].split())
    assert large == "majority 0.25 2.0 1 1,024 50.00%"


def test_the_figure_shows_what_failed(tmp_path):
    rows = [
        Row(1000, 4, OURS, "wawa", RESULT),
        Row(1000, 4, PEER, "wawa", None, "over 5 s"),
    ]
    save_figure([dataclasses.asdict(row) for row in rows], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


@installed
def test_both_libraries_are_compared_and_all_is_written(few_rules, tmp_path, capsys):
    main(["--small", "--output", str(tmp_path)])
    printed = capsys.readouterr().out
    summary = json.loads(printed.splitlines()[-1])
    assert [row["library"] for row in summary["compared"]] == [OURS, PEER]
    assert summary["compared"][0]["agreement"] > 0.5
    assert [row["rule"] for row in summary["large"]] == ["one-coin"]
    assert "60 questions x 4 agents" in (tmp_path / "tables.txt").read_text()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3
    assert json.loads((tmp_path / "config.json").read_text())["sizes"] == [[60, 4]]
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_without_crowd_kit_it_says_so(few_rules, monkeypatch, capsys):
    monkeypatch.setattr(voting_speed.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(voting_speed, "_run", lambda *case: Row(*case[2], *case[3:], RESULT))
    main(["--small", "--sizes", "5x2", "6x2"])
    printed = capsys.readouterr().out
    assert printed.startswith("crowd-kit is not installed")
    assert "5 questions x 2 agents" in printed
    assert PEER not in printed.splitlines()[-1]


def test_a_rule_that_takes_too_long_is_said_to(few_rules, tmp_path):
    plan = dataclasses.replace(voting_speed.SMALL, limit_seconds=0.01)
    row = voting_speed._run(plan, str(tmp_path), (4, 3), PEER, "majority")
    assert (row.result, row.failure) == (None, "over 0.01 s")


def test_a_failure_of_ours_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match=r"majority on 4 x 3 votes:[\s\S]*answers.npy"):
        voting_speed._run(voting_speed.SMALL, str(tmp_path), (4, 3), OURS, "majority")
