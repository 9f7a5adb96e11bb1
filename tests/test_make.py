"""The Makefile's choice of Python and pinned versions, and .ci/run, with stand-ins for both."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Answers the Makefile's questions as Python 3.{minor} would and notes what pip was asked for.
FAKE_PYTHON = """#!/bin/sh
case "$*" in
  "-m venv .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python;;
  "-m pip"*) echo "$*" >> pip.log; [ "{pip}" = works ] || {{ echo "no such pin" >&2; exit 1; }};;
  *"import sys, ensurepip"*) exit 0;;
  *"version_info[1]"*) printf '3%02d' {minor};;
  *--version) echo "Python 3.{minor}.0";;
esac
"""


def write_script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def fake_python(folder: Path, name: str, minor: int, pip: str = "works") -> Path:
    return write_script(folder / name, FAKE_PYTHON.format(minor=minor, pip=pip))


@pytest.fixture
def checkout(tmp_path) -> Path:
    """The files that `make env` reads, in a folder of their own."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "constraints", folder / "constraints")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def make(folder: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess:
    """Runs make without what an outer make handed down."""
    dropped = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PYTHON")
    env = {name: value for name, value in os.environ.items() if name not in dropped}
    env["PATH"] = path or env["PATH"]
    command = [shutil.which("make"), *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "minor, pins", [(11, "py311"), (12, "py312"), (13, "py313"), (14, "py313")]
)
def test_env_takes_the_pins_of_its_python(checkout, tmp_path, minor, pins):
    python = fake_python(tmp_path, "python", minor)
    made = make(checkout, "env", f"PYTHON={python}")
    assert made.returncode == 0, made.stderr
    *_, last = (checkout / "pip.log").read_text().splitlines()
    assert f"--constraint constraints/{pins}.txt" in last
    assert last.endswith("--editable .[train,voting,models,dev,peers]")


def test_env_is_made_once_and_again_when_pins_or_python_change(checkout, tmp_path):
    python = f"PYTHON={fake_python(tmp_path, 'python', 13)}"
    other = f"PYTHON={fake_python(tmp_path, 'other', 12)}"

    def is_made(*arguments: str) -> bool:
        return "Making .venv" in make(checkout, "env", *arguments).stdout

    assert is_made(python)
    assert not is_made(python)
    assert not is_made()  # without a wish, the environment that is there will do
    assert is_made(other)
    later = (checkout / ".venv" / ".made").stat().st_mtime + 5
    os.utime(checkout / "constraints" / "py311.txt", (later, later))
    assert is_made(other)


def test_env_skips_a_python_that_does_not_run(checkout, tmp_path):
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    write_script(bin_folder / "python3.13", "#!/bin/sh\necho 'not installed' >&2; exit 127\n")
    fake_python(bin_folder, "python3.12", 12)
    made = make(checkout, "env", path=f"{bin_folder}:{os.environ['PATH']}")
    assert "with Python 3.12.0 and constraints/py312.txt" in made.stdout


def test_env_without_a_python_says_what_to_do(checkout):
    made = make(checkout, "env", "PYTHON=no-such-python")
    assert made.returncode != 0
    assert "No working Python 3.11 or later" in made.stderr
    assert "make PYTHON=/path/to/python env" in made.stderr
    assert not (checkout / ".venv").exists()


def test_env_shows_why_pip_failed(checkout, tmp_path):
    python = fake_python(tmp_path, "python", 13, pip="fails")
    made = make(checkout, "env", f"PYTHON={python}")
    assert made.returncode != 0
    assert "no such pin" in made.stderr
    assert not (checkout / ".venv" / ".made").exists()


@pytest.mark.parametrize("status", [0, 2])
def test_ci_ends_with_the_closing_line_and_the_status_of_the_tests(tmp_path, status):
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    closing = "1 failed, 3 passed in 0.12s"
    lines = f"echo '{closing}'; echo 'make: *** [test] Error 1'; exit {status}"
    write_script(tmp_path / "make", f'#!/bin/sh\n[ "$*" = test ] || exit 9\n{lines}\n')
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    run = subprocess.run([tmp_path / ".ci" / "run"], env=env, capture_output=True, text=True)
    assert run.returncode == status
    assert run.stdout.splitlines()[-1] == closing
