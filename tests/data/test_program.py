"""The command line of the data programs: what it runs, and one sentence where it can't."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from data.mixture_config import MixtureConfig
from data.program import known_mixtures, load_mixture, run

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("inventory", "plan", "build", "audit")


@pytest.fixture
def mixture_file(corpus, tmp_path):
    """A user's file that states a mixture."""
    file = tmp_path / "mine.py"
    file.write_text(
        "from data.mixture_config import MixtureConfig, Source, Stage, TokenizerConfig\n"
        "from data.readers import Files\n"
        f"source = Source('text', Files({str(corpus / 'text.jsonl')!r}))\n"
        f"tokenizer = TokenizerConfig(model={str(corpus / 'tokenizer.model')!r})\n"
        "stages = (Stage(3000, 0.0),)\n"
        "MIXTURE = MixtureConfig((source,), stages, 64, 16, tokenizer=tokenizer)\n"
    )
    return file


def refuse(*_, **__):
    raise ValueError("nothing is left.")


def exit_of(argv, main=refuse, **more):
    with pytest.raises(SystemExit) as stopped:
        run("plan", "Plans.", main, argv, **more)
    return stopped.value.code


def test_the_main_function_gets_the_mixture_and_the_folders(tmp_path):
    calls = []

    def keep(*arguments, **more):
        calls.append((arguments, more))

    run("plan", "Plans.", keep, ["small_world", "--cache-dir", str(tmp_path)])
    run("audit", "Audits.", keep, ["small_world"], plot=Path("audit.png"))
    (first, nothing), (_, options) = calls
    assert isinstance(first[0], MixtureConfig) and first[1] == tmp_path and nothing == {}
    assert options == {"plot": Path("audit.png")}


def test_an_error_is_one_sentence_and_status_one(capsys):
    assert exit_of(["small_world"]) == "nothing is left."  # which Python prints, with status 1


def test_an_unknown_mixture_is_told_the_nearest():
    told = exit_of(["smal_world"])
    assert told.startswith(
        "there is no mixture 'smal_world'; did you mean 'small_world'? There are"
    )


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("x = 1", "states no MixtureConfig as MIXTURE."),
        ("MIXTURE = 1", "states no MixtureConfig as MIXTURE."),
        ("raise ValueError('a mixture needs a source.')", "a mixture needs a source."),
        (None, "there is no file"),
    ],
)
def test_a_file_without_a_mixture_is_refused(tmp_path, code, told):
    if code:
        (tmp_path / "mine.py").write_text(code)
    assert told in exit_of([str(tmp_path / "mine.py")])


def test_a_file_of_ones_own_is_loaded(mixture_file):
    assert load_mixture(str(mixture_file)).sources[0].name == "text"


@pytest.mark.parametrize("name", known_mixtures())
def test_the_projects_mixtures_can_be_loaded(name):
    assert isinstance(load_mixture(name), MixtureConfig)


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_names_the_mixtures(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.delitem(sys.modules, f"data.{name}", raising=False)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module(f"data.{name}", run_name="__main__")
    printed = capsys.readouterr().out
    assert stopped.value.code == 0
    assert f"usage: python -m data.{name}" in printed and "small_world" in printed
    assert ("--plot" in printed) == (name == "audit")


def test_the_programs_run_one_after_the_other(mixture_file, tmp_path):
    printed = {}
    for name in PROGRAMS:
        command = [sys.executable, "-m", f"data.{name}", str(mixture_file)]
        command += ["--cache-dir", str(tmp_path)]
        command += ["--plot", str(tmp_path / "audit.png")] if name == "audit" else []
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        printed[name] = done.stdout
    assert printed["inventory"].splitlines()[1].split()[:3] == ["text", "base", "120"]
    assert printed["plan"] in printed["build"]  # which it prints first
    assert "fingerprint" in printed["build"]
    assert "density is off by 0.00 sequences at most" in printed["audit"]
    assert (tmp_path / "audit.png").stat().st_size > 10_000


def test_a_program_that_fails_prints_one_line(mixture_file, tmp_path):
    code = mixture_file.read_text().replace("Stage(3000,", "Stage(3_000_000,")
    mixture_file.write_text(code)
    command = [sys.executable, "-m", "data.build", str(mixture_file), "--cache-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("source text would be passed through")
    assert done.stderr.count("\n") == 1
