import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from train.errors import RefusedError
from train.run_folder import alone_in, open_run, read_config, read_json, write_json


@dataclasses.dataclass(frozen=True)
class Game:
    steps: int = 90
    lengths: tuple[int, ...] = (16, 32)


@dataclasses.dataclass(frozen=True)
class Config:
    rl: Game = Game()
    seed: int = 0
    source: Path = Path("corpus")


def contents(path):
    return {item.name: item.read_bytes() for item in path.iterdir()}


def test_a_new_folder_holds_config_and_versions(tmp_path):
    run = open_run(tmp_path / "runs" / "demo", Config())
    assert not run.resumed
    assert read_json(run.path / "config.json") == {
        "rl": {"steps": 90, "lengths": [16, 32]},
        "seed": 0,
        "source": "corpus",
    }
    found = read_json(run.path / "versions.json")
    assert {"python", "jax", "flax", "optax", "numpy", "platform", "devices"} <= set(found)
    assert sorted(contents(run.path)) == ["config.json", "versions.json"]


def test_the_config_of_a_run_is_read_again(tmp_path):
    config = Config(rl=Game(steps=7, lengths=(1, 2, 3)), seed=5, source=Path("a/b"))
    open_run(tmp_path, config)
    assert read_config(tmp_path, Config) == config


def test_a_config_of_other_code_is_refused(tmp_path):
    write_json(
        tmp_path / "config.json", {"rl": {"steps": 9, "lengths": [1], "width": 4}, "seed": 0}
    )
    with pytest.raises(RefusedError) as refusal:
        read_config(tmp_path, Config)
    assert str(refusal.value) == (
        f"The run folder {tmp_path} was written by other code: rl.width is 4 there and"
        ' "no setting" here, source is "no setting" there and "corpus" here.'
    )


def test_the_same_settings_resume(tmp_path):
    open_run(tmp_path, Config())
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    assert open_run(tmp_path, Config()).resumed


def test_another_config_is_refused_with_what_differs_and_writes_nothing(tmp_path):
    open_run(tmp_path, Config())
    before = contents(tmp_path)
    other = Config(rl=Game(steps=50, lengths=(16,)))
    with pytest.raises(RefusedError) as refusal:
        open_run(tmp_path, other)
    assert "rl.steps is 90 there and 50 here" in str(refusal.value)
    assert "rl.lengths is [16, 32] there and [16] here" in str(refusal.value)
    assert "seed" not in str(refusal.value)
    assert contents(tmp_path) == before


def test_a_start_killed_before_its_config_was_whole_is_a_new_run(tmp_path):
    (tmp_path / ".config.json.partial").write_text('{"rl": {"st')
    assert not open_run(tmp_path, Config()).resumed
    assert open_run(tmp_path, Config()).resumed


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RefusedError, match="is not empty and holds no run"):
        open_run(tmp_path, Config())
    assert sorted(contents(tmp_path)) == ["thesis.tex"]


def test_an_unwritable_folder_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RefusedError, match=r"can't be written \(Not a directory\); choose another"):
        open_run(tmp_path / "file" / "demo", Config())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RefusedError, match="Permission denied"):
        open_run(tmp_path / "demo", Config())


def test_a_damaged_config_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"rl": ')
    with pytest.raises(RefusedError, match="can't be read"):
        open_run(tmp_path, Config())


def test_json_takes_arrays_and_writes_what_is_not_finite_as_null(tmp_path):
    value = {"a": np.float32(0.5), "b": np.arange(3), "c": math.nan, "d": (True, None, "é")}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == {
        "a": 0.5,
        "b": [0, 1, 2],
        "c": None,
        "d": [True, None, "é"],
    }


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    write_json(tmp_path / "x.json", {"step": 1})

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_json(tmp_path / "x.json", {"step": 2})
    assert json.loads((tmp_path / "x.json").read_text()) == {"step": 1}


def test_settings_that_may_change_do_and_that_is_told(tmp_path, capsys):
    open_run(tmp_path, Config())
    other = Config(rl=Game(steps=91), seed=1)
    with pytest.raises(RefusedError, match="rl.steps is 90 there and 91 here, seed is 0 there and"):
        open_run(tmp_path, other, may_change=lambda name: name == "seed")
    assert read_config(tmp_path, Config) == Config() and not capsys.readouterr().out
    assert open_run(tmp_path, other, may_change=lambda name: True).resumed
    assert read_config(tmp_path, Config) == other
    said = f"{tmp_path} goes on with other settings: rl.steps is 90 there and 91 here, seed is"
    assert capsys.readouterr().out.startswith(said)


def test_one_program_at_a_time_works_in_a_folder(tmp_path):
    busy = "import sys, pathlib, train.run_folder as r\n"
    busy += "with r.alone_in(pathlib.Path(sys.argv[1])): print('in', flush=True); input()"
    command = [sys.executable, "-c", busy, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"in\n"
        refused = pytest.raises(RefusedError, match="Another program is working in the run folder")
        with refused, alone_in(tmp_path):
            raise AssertionError("both are in")
        other.communicate(b"\n")
    for _ in range(2):
        with alone_in(tmp_path):
            assert (tmp_path / ".lock").exists()


def test_a_folder_that_can_not_be_locked_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    refused = pytest.raises(RefusedError, match="can't be written")
    with refused, alone_in(tmp_path / "file" / "run"):
        pass
