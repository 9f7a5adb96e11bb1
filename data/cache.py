"""Prepared artefacts on disk: named by what they depend on, written whole or not at all."""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"


def default_cache_dir() -> Path:
    """Returns the user's cache folder for this project (`$XDG_CACHE_HOME`, else `~/.cache`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxreason"


def digest(**parts: Any) -> str:
    """Returns a short hash of named values: numbers, strings, tuples and dataclasses of them."""
    text = json.dumps(parts, sort_keys=True, default=dataclasses.asdict)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def code_digest(*folders: Path) -> str:
    """Returns a short hash of the Python files in `folders`: new code means new artefacts."""
    files = sorted(file for folder in folders for file in folder.glob("*.py"))
    return digest(files=[[file.name, file.read_text(encoding="utf-8")] for file in files])


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
        ValueError: If the cache folder can't be written.
    """
    target = Path(cache_dir) / f"{name}-{key}"
    with _locked(target):
        if _is_whole(target):
            return target
        if target.exists():
            logging.getLogger(__name__).warning("%s is damaged; building it again.", target)
            shutil.rmtree(target)
        partial = target.with_name(target.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            build(partial)
            (partial / MANIFEST).write_text(json.dumps(_contents(partial)), encoding="utf-8")
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


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
    """Returns the SHA-256 of every file below `folder` except the manifest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_whole(folder: Path) -> bool:
    """Tells whether a folder holds exactly what its manifest says."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return manifest == _contents(folder)
