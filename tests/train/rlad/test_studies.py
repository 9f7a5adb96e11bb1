"""The studies at their smallest: they run to the end, go on where they stopped, and say so."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from configs.studies.rlad import CONFIG as FULL
from configs.studies.rlad_tiny import CONFIG
from jaxreason.rlad import iterations_per_round
from train.errors import RefusedError
from train.intervals import seed_interval
from train.rlad.__main__ import STUDIES, main
from train.rlad.arms import CHANGES, TITLES, game_of, players_of, rounds_of
from train.rlad.config import StudyConfig
from train.rlad.runner import Runner

ARMS = tuple(CHANGES)


def run_program(folders, *arguments):
    results, run_dir = folders
    main([*arguments, "--config=rlad_tiny", f"--results={results}", f"--run-dir={run_dir}"])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Results and checkpoints of two studies that have run to their end."""
    both = tmp_path_factory.mktemp("results"), tmp_path_factory.mktemp("runs")
    run_program(both, "single_policy", "controls")
    return both


def test_studies_run_and_are_kept(folders, capsys):
    results, _ = folders
    for study in ("single_policy", "controls"):
        assert (results / f"{study}.md").read_text().count("|") > 10
        assert (results / f"{study}.png").stat().st_size > 5_000
    cells = {path.stem: path.stat().st_mtime_ns for path in (results / "cells").iterdir()}
    assert set(cells) == {"warm", "rlad", "grpo", "controls"}
    capsys.readouterr()
    run_program(folders, "controls")
    assert "another problem's" in capsys.readouterr().out
    assert cells == {path.stem: path.stat().st_mtime_ns for path in (results / "cells").iterdir()}


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_can_be_told(folders, study, tmp_path):
    """Tables and figures of all arms, here with the scores of a few."""
    read = lambda name: json.loads((folders[0] / "cells" / f"{name}.json").read_text())  # noqa: E731
    needed, write = STUDIES[study]
    stand_in = {"controls": "controls", "weak_to_strong": "controls", "grpo": "grpo"}
    outcome = write({cell: read(stand_in.get(cell, "rlad")) for cell in needed}, tmp_path)
    rows = [line for line in outcome.splitlines() if line.startswith("| ")]
    assert len(rows) > 4 and all(line.count("|") == rows[0].count("|") for line in rows[:2])
    assert (tmp_path / f"{study}.png").stat().st_size > 5_000


def test_cells_have_one_number_a_seed(folders):
    cell = json.loads((folders[0] / "cells" / "rlad.json").read_text())
    for split in ("new_instances", "new_compositions", "hard"):
        for values in cell["scores"][split].values():
            assert len(values) == CONFIG.seeds and np.isfinite(values).all()
    chunks = CONFIG.iterations // CONFIG.chunk
    assert np.shape(cell["curves"]["success/with_abstraction"]) == (chunks, CONFIG.seeds)
    game = cell["game"]
    assert cell["generated_tokens"] > game["problems"] * CONFIG.iterations


def test_an_arm_that_was_stopped_ends_the_same(folders, tmp_path):
    """Stopped after its first chunk and taken up by another process's runner."""
    results, run_dir = tmp_path / "results", tmp_path / "runs"
    runner = Runner(CONFIG, results, run_dir)
    saved = []

    class Stop(Exception):
        pass

    def stop(*_):
        saved.append(True)
        if len(saved) == 1:
            raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.progress.Progress.advance", stop)
        with pytest.raises(Stop):
            runner.run("rlad")
    assert not (results / "cells" / "rlad.json").exists()
    again = Runner(CONFIG, results, run_dir).run("rlad")
    whole = json.loads((folders[0] / "cells" / "rlad.json").read_text())
    assert again["scores"] == whole["scores"] and again["curves"] == whole["curves"]


def test_other_settings_are_refused(folders):
    other = dataclasses.replace(CONFIG, first_seed=7)
    with pytest.raises(RefusedError, match="holds arms of other settings"):
        Runner(other, *folders)


def test_arms_change_one_thing():
    for arm in ARMS:
        game = game_of(FULL, arm)
        assert game != FULL.game or arm == "rlad"
        assert rounds_of(FULL, arm, FULL.iterations) * iterations_per_round(game) == FULL.iterations
        assert arm in TITLES
        assert len(players_of(FULL, arm)) == 2


def test_chunks_must_hold_whole_turns():
    with pytest.raises(ValueError, match="chunk must divide iterations and hold whole turns"):
        StudyConfig(iterations=20, chunk=16)
    with pytest.raises(ValueError, match="seeds must be 2 or more; got 1"):
        StudyConfig(seeds=1)


def test_golden_interval():
    """Mean 2, s = 1, t(2 degrees, 97.5%) = 4.302653: 2 -+ 4.302653 / sqrt(3)."""
    found = seed_interval([1.0, 2.0, 3.0])
    np.testing.assert_allclose(
        (found.mean, found.low, found.high), (2, 2 - 2.484138, 2 + 2.484138), atol=1e-5
    )
    with pytest.raises(ValueError, match="two seeds or more; got 1"):
        seed_interval([1.0])


def test_seeds_are_named_by_number():
    """The third seed's key does not depend on how many there are."""
    keys = Runner._keys.__get__(type("Has", (), {"_config": FULL})())
    few = Runner._keys.__get__(
        type("Has", (), {"_config": dataclasses.replace(FULL, first_seed=2, seeds=2)})()
    )
    data = jax.random.key_data
    np.testing.assert_array_equal(data(keys(3))[2], data(few(3))[0])
