"""Prepared artefacts: written whole, built once, rebuilt when damaged."""

import dataclasses
import threading

import pytest

from data.cache import MANIFEST, cached, code_digest, digest


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


def test_code_digest_changes_with_the_code(tmp_path):
    (tmp_path / "a.py").write_text("x = 1")
    before = code_digest(tmp_path)
    (tmp_path / "a.py").write_text("x = 2")
    assert code_digest(tmp_path) != before
