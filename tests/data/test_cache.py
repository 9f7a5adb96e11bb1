"""Prepared artefacts: written whole, built once, rebuilt when damaged."""

import dataclasses
import errno
import subprocess
import sys
import threading
import time
import types

import pytest

import data.cache
from data.cache import HASHED, MANIFEST, cached, code_digest, digest, is_whole


class Builds:
    """Counts the builds and writes one file each time."""

    def __init__(self):
        self.count = 0

    def __call__(self, folder):
        self.count += 1
        (folder / "sub").mkdir()
        (folder / "sub" / "value").write_text("whole")


def test_the_second_call_builds_nothing(tmp_path):
    build = Builds()
    first = cached(tmp_path, "thing", "k", build)
    assert cached(tmp_path, "thing", "k", build) == first
    assert build.count == 1
    assert (first / "sub" / "value").read_text() == "whole"


def test_another_key_is_another_artefact(tmp_path):
    build = Builds()
    assert cached(tmp_path, "thing", "a", build) != cached(tmp_path, "thing", "b", build)
    assert build.count == 2


@pytest.mark.parametrize("damage", ["changed", "removed", "added", "no manifest", "bad manifest"])
def test_a_damaged_artefact_is_rebuilt(tmp_path, damage, caplog):
    build = Builds()
    folder = cached(tmp_path, "thing", "k", build)
    match damage:
        case "changed":
            (folder / "sub" / "value").write_text("hole!")
        case "removed":
            (folder / "sub" / "value").unlink()
        case "added":
            (folder / "stray").write_text("")
        case "no manifest":
            (folder / MANIFEST).unlink()
        case "bad manifest":
            (folder / MANIFEST).write_text('{"sub/val')
    folder = cached(tmp_path, "thing", "k", build)
    assert build.count == 2
    assert (folder / "sub" / "value").read_text() == "whole"
    assert not (folder / "stray").exists()
    assert "damaged" in caplog.text


def test_a_build_that_fails_leaves_nothing(tmp_path):
    def fail(folder):
        (folder / "half").write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        cached(tmp_path, "thing", "k", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["thing-k.lock"]
    assert cached(tmp_path, "thing", "k", Builds()).is_dir()


def test_what_a_killed_process_left_is_swept_away(tmp_path):
    partial = tmp_path / "thing-k.partial"
    partial.mkdir()
    (partial / "half").write_text("half")
    folder = cached(tmp_path, "thing", "k", Builds())
    assert not (folder / "half").exists() and not partial.exists()


def test_processes_that_want_the_same_wait_for_one_build(tmp_path):
    build = Builds()
    threads = [
        threading.Thread(target=cached, args=(tmp_path, "thing", "k", build)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert build.count == 1


def test_an_unwritable_folder_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="can't be written .* choose another"):
        cached(tmp_path / "file", "thing", "k", Builds())


def test_digest_sees_every_part():
    @dataclasses.dataclass(frozen=True)
    class Settings:
        size: int = 1

    assert digest(a=Settings()) == digest(a=Settings(1))
    assert len({digest(a=Settings()), digest(a=Settings(2)), digest(b=Settings())}) == 3


def module(path, code):
    path.write_text(code)
    made = types.ModuleType("made")
    made.__file__ = str(path)
    return made


@pytest.mark.parametrize("name", ["alone.py", "__init__.py"])
def test_code_digest_changes_with_the_code(tmp_path, name):
    before = code_digest(module(tmp_path / name, "x = 1"))
    assert code_digest(module(tmp_path / name, "x = 1")) == before
    assert code_digest(module(tmp_path / name, "x = 2")) != before


def test_a_package_is_all_its_files_and_a_module_only_its_own(tmp_path):
    package, alone = module(tmp_path / "__init__.py", ""), module(tmp_path / "a.py", "x = 1")
    before = code_digest(package), code_digest(alone)
    (tmp_path / "b.py").write_text("y = 1")
    assert code_digest(package) != before[0] and code_digest(alone) == before[1]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError("Not enough free space to write 3000000 bytes"),  # of NumPy, without a number
        OSError("3000000 requested and 2097024 written"),
    ],
    ids=["disk", "quota", "NumPy before", "NumPy after"],
)
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, error):
    def fill(folder):
        (folder / "half").write_text("half")
        raise error

    kept = cached(tmp_path, "kept", "k", Builds())
    with pytest.raises(ValueError, match="the disk of .* is full, so that words was not prepared"):
        cached(tmp_path, "words", "k", fill)
    assert {path.name for path in tmp_path.iterdir()} == {"kept-k", "kept-k.lock", "words-k.lock"}
    assert is_whole(kept)
    assert is_whole(cached(tmp_path, "words", "k", Builds()))


def test_a_disk_that_is_full_from_the_start_is_told(tmp_path, monkeypatch):
    def fill(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(data.cache.Path, "mkdir", lambda self, **more: more or fill(self))
    with pytest.raises(ValueError, match="the disk of .* is full"):
        cached(tmp_path, "words", "k", Builds())


def test_what_is_whole_is_opened_without_a_lock(tmp_path):
    folder = cached(tmp_path, "thing", "k", Builds())
    (tmp_path / "thing-k.lock").unlink()
    assert cached(tmp_path, "thing", "k", Builds()) == folder
    assert not (tmp_path / "thing-k.lock").exists()


@pytest.mark.parametrize("place", [0, HASHED - 1, 10 * HASHED - 1, 10 * HASHED])
def test_large_files_are_known_by_their_size_and_ends(tmp_path, place):
    def build(folder):
        (folder / "large").write_bytes(bytes(10 * HASHED))

    folder = cached(tmp_path, "thing", "k", build)
    assert is_whole(folder)
    with (folder / "large").open("r+b") as file:
        file.seek(place)
        file.write(b"x")
    assert not is_whole(folder)


def test_huge_files_are_opened_at_once(tmp_path):
    def build(folder):
        with (folder / "huge").open("wb") as file:
            file.truncate(10**12)

    start = time.perf_counter()
    folder = cached(tmp_path, "thing", "k", build)
    assert is_whole(folder) and time.perf_counter() - start < 5


def test_a_build_that_is_killed_leaves_nothing_half_written(tmp_path):
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from data.cache import cached\n"
        "def build(folder):\n"
        "    (folder / 'half').write_text('half')\n"
        "    print('started', flush=True)\n"
        "    time.sleep(600)\n"
        "cached(Path(sys.argv[1]), 'words', 'k', build)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "started\n"
        process.kill()
    assert not (tmp_path / "words-k").exists()
    builds = Builds()
    assert (cached(tmp_path, "words", "k", builds) / "sub" / "value").read_text() == "whole"
    assert builds.count == 1 and not (tmp_path / "words-k.partial").exists()
