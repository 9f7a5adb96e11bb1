"""The grid as a program, at its smoke size: runs, goes on where it stopped, refuses a mix-up."""

import dataclasses
import json
import shutil

import pytest

from configs.grids.front_loading_smoke import CONFIG
from train.errors import RefusedError
from train.front_loading import runner
from train.front_loading.__main__ import main
from train.front_loading.grid import Cell, cells
from train.front_loading.runner import Runner, read_cells


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Where the whole smoke grid has run once, by its command."""
    root = tmp_path_factory.mktemp("grid")
    paths = {name: root / name for name in ("results", "run-dir", "cache-dir")}
    options = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    main(["front_loading_smoke", *options])
    return paths


def test_every_cell_is_finished_and_scored(folders):
    scores = read_cells(folders["results"])
    assert set(scores) == set(cells(CONFIG.seeds))
    for found in scores.values():
        assert set(found) == {"seen", "unseen", "reasoning", "forms", "general_loss", "trace"}
        assert 0 <= found["reasoning"] <= 1 and 4 < found["general_loss"] < 8


def test_tables_and_figures_are_written(folders):
    results = folders["results"]
    for name in ("stages.png", "catch_up.png", "shares.png", "cells.md"):
        assert (results / name).stat().st_size > 0
    table = (results / "hypotheses.md").read_text()
    assert all(f"| H{number} |" in table for number in range(1, 13))


def test_arms_saw_what_they_should(folders):
    def data(cell):
        path = folders["results"] / "cells" / f"{cell.name}.json"
        return {row["source"]: row for row in json.loads(path.read_text())["data"]}

    seed = CONFIG.seeds[0]
    assert list(data(Cell(seed, "none"))) == ["docstrings"]
    for arm, share in (("shq", 0.2), ("lmq10", 0.1), ("lmq40", 0.4)):
        rows = data(Cell(seed, arm))
        reasoning = sum(row["token_share"] for name, row in rows.items() if name != "docstrings")
        assert reasoning == pytest.approx(share, abs=0.02)
    late, early = data(Cell(seed, "lmq_late")), data(Cell(seed, "lmq"))
    assert late["ldq"]["token_share"] == pytest.approx(early["ldq"]["token_share"], abs=0.02)
    assert data(Cell(seed, "ldq_matched"))["ldq"]["passes"] == pytest.approx(6, abs=0.7)
    for arm, name, times in (("none", "shq", 1), ("none", "shq", 4), ("ldq", "ldq", 1)):
        row = data(Cell(seed, arm, name, times=times))[name]
        seen = row["documents"] * row["passes"]
        assert seen == pytest.approx(times * CONFIG.sft.samples, abs=6)  # up to a whole block


def test_a_grid_that_was_stopped_goes_on_to_the_same_scores(folders, tmp_path, monkeypatch):
    chosen = [Cell(0, "none"), Cell(0, "none", "shq"), Cell(0, "none", "shq", rl=True)]
    monkeypatch.setattr(runner, "cells", lambda seeds: chosen)
    results, run_dir = tmp_path / "results", tmp_path / "run"

    def start():
        Runner(CONFIG, results, run_dir, folders["cache-dir"]).run(CONFIG.seeds)

    start()
    wanted = read_cells(folders["results"])
    assert {cell: read_cells(results)[cell] for cell in chosen} == {
        cell: wanted[cell] for cell in chosen
    }
    (results / "cells" / f"{chosen[2].name}.json").unlink()  # stopped before the last one
    shutil.rmtree(run_dir / "checkpoints")  # and the machine was lost
    start()
    assert read_cells(results)[chosen[2]] == wanted[chosen[2]]


def test_cells_of_other_settings_are_refused(folders):
    other = dataclasses.replace(CONFIG, block_size=32)
    with pytest.raises(RefusedError, match=r"holds cells of other settings \(block_size differ\)"):
        Runner(other, folders["results"], folders["run-dir"], folders["cache-dir"])
    new = folders["results"].with_name("new")
    with pytest.raises(RefusedError, match="choose another folder with --run-dir"):
        Runner(other, new, folders["run-dir"], folders["cache-dir"])
    assert not new.exists()
    more = dataclasses.replace(CONFIG, seeds=(0, 1))
    Runner(more, folders["results"], folders["run-dir"], folders["cache-dir"])


def test_nothing_to_report_is_said(tmp_path, capsys):
    main(["front_loading_smoke", "--report", "--results", str(tmp_path / "none")])
    assert "There are no finished cells" in capsys.readouterr().out


def test_help_answers(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "Finished cells are kept" in capsys.readouterr().out
