"""Prepared artefacts on disk: named by what they depend on, written whole or not at all."""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

MANIFEST = "manifest.json"
HASHED = 2**19  # bytes at a file's beginning and at its end


def default_cache_dir() -> Path:
    """Returns the user's cache folder for this project (`$XDG_CACHE_HOME`, else `~/.cache`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxreason"


def digest(**parts: Any) -> str:
    """Returns a short hash of named values: numbers, strings, tuples and dataclasses of them."""
    text = json.dumps(parts, sort_keys=True, default=dataclasses.asdict)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def code_digest(*modules: ModuleType) -> str:
    """Returns a short hash of modules' and packages' code: new code means new artefacts."""
    files = [file for module in modules for file in _files(Path(str(module.__file__)))]
    return digest(files=[[file.name, file.read_text(encoding="utf-8")] for file in files])


def _files(module: Path) -> list[Path]:
    return sorted(module.parent.glob("*.py")) if module.name == "__init__.py" else [module]


def cached(cache_dir: Path, name: str, key: str, build: Callable[[Path], None]) -> Path:
    """Returns the folder of an artefact, building it first unless it is there and whole.

    `build` fills a temporary folder, which gets a manifest and is then renamed, so a process that
    is killed leaves nothing half written. A folder that does not match its manifest is rebuilt.
    Processes that want the same artefact at the same time wait for the first one to build it.

    Args:
        cache_dir: The folder that holds all artefacts; made if missing.
        name: What the artefact is, for people.
        key: A hash of everything that it depends on.
        build: Writes the artefact's files into the folder that it is given.

    Returns:
        The artefact's folder.

    Raises:
        ValueError: If the cache folder can't be written, or its disk is full.
    """
    target = Path(cache_dir) / f"{name}-{key}"
    if is_whole(target):  # needs no lock, so that a cache may be read-only
        return target
    with _locked(target):
        if is_whole(target):
            return target
        if target.exists():
            logging.getLogger(__name__).warning("%s is damaged; building it again.", target)
            shutil.rmtree(target)
        partial = target.with_name(target.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir()
            build(partial)
            (partial / MANIFEST).write_text(json.dumps(_contents(partial)), encoding="utf-8")
            partial.rename(target)
        except OSError as error:
            if not _is_full_disk(error):
                raise
            raise ValueError(
                f"the disk of {cache_dir} is full, so that {name} was not prepared; nothing else is"
                " lost: make room, or choose another folder with --cache-dir."
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def _is_full_disk(error: OSError) -> bool:
    """Tells whether a disk or a quota is used up; NumPy's own messages carry no number."""
    is_numpys = any(words in str(error) for words in ("free space to write", "requested and"))
    return error.errno in (errno.ENOSPC, errno.EDQUOT) or (error.errno is None and is_numpys)


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Holds the lock of one artefact; the system releases it if the process dies."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = open(target.with_name(target.name + ".lock"), "w")  # noqa: SIM115
    except OSError as error:
        raise ValueError(
            f"the cache folder {target.parent} can't be written ({error.strerror}); choose another"
            " one with --cache-dir."
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _contents(folder: Path) -> dict[str, str]:
    """Describes every file below `folder` except the manifest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): _described(path) for path in files}


def _described(path: Path) -> str:
    """Returns a file's size and a hash of its two ends: opening a large one must be quick."""
    size = path.stat().st_size
    with path.open("rb") as file:
        ends = file.read(HASHED)
        file.seek(max(size - HASHED, HASHED))
        ends += file.read(HASHED)
    return f"{size} bytes, {hashlib.sha256(ends).hexdigest()}"


def is_whole(folder: Path) -> bool:
    """Tells whether the folder of an artefact holds what its manifest says.

    Of a large file only the two ends are looked at.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return manifest == _contents(folder)
