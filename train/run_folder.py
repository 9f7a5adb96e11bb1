"""The folder of a run: what it was asked to do, and with what it was done.

`runs/NAME/` holds config.json, versions.json and .lock (written here), tokenizer.model
(train.pretrain), metrics.jsonl and tensorboard/ (train.metrics), checkpoints/ (train.checkpoints),
seconds.json (train.loop), evaluation.json, samples.json and report.html; of a run on text
rl_samples/, pair.json and figure.png, too.
"""

import contextlib
import dataclasses
import json
import math
import os
import platform
import typing
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import filelock
import jax

from train.errors import RefusedError

Config = TypeVar("Config")
MISSING = "no setting"
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


@contextlib.contextmanager
def alone_in(path: Path) -> Iterator[None]:
    """Keeps other programs out of a run folder that is there, as long as the `with` lasts.

    Raises:
        RefusedError: If another program works in it, or it can't be written.
    """
    lock = filelock.FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise RefusedError(
            f"Another program is working in the run folder {path}; wait for it, or choose another"
            " --run-dir."
        ) from error
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        yield
    finally:
        lock.release()


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """An opened run folder."""

    path: Path
    resumed: bool
    """Whether the folder already held a run of the same settings."""


def open_run(
    path: Path | str, config: Any, *, may_change: Callable[[str], bool] = lambda name: False
) -> RunFolder:
    """Creates the folder of a run, or opens the one of an earlier start with the same settings.

    Args:
        path: The folder, as in runs/demo; created if need be.
        config: The resolved config, a dataclass.
        may_change: Tells of a setting's dotted name whether an earlier start's value may be another
            one; the folder then gets this one, and that is told.

    Raises:
        RefusedError: If the folder can't be written, or holds another config or something that
            is not a run; nothing is written then.
    """
    path = Path(path)
    settings = as_json(config)
    held = _read_held(path)
    changed = {} if held is None else _differences(held, settings)
    if not all(map(may_change, changed)):
        raise RefusedError(
            f"The run folder {path} holds a run whose {_told(changed)}; take the "
            "same settings to continue it, choose another --run-dir, or remove the folder."
        )
    resumed = held is not None
    try:
        path.mkdir(parents=True, exist_ok=True)
        if changed:
            print(f"{path} goes on with other settings: {_told(changed)}")
        if changed or not resumed:
            write_json(path / "config.json", settings)
        if not (path / "versions.json").exists():
            write_json(path / "versions.json", versions())
    except OSError as error:
        raise _unwritable(path, error) from error
    return RunFolder(path, resumed)


def _unwritable(path: Path, error: OSError) -> RefusedError:
    return RefusedError(
        f"The run folder {path} can't be written ({error.strerror}); choose another --run-dir."
    )


def read_config(path: Path, kind: type[Config]) -> Config:
    """Returns the config of a run, as `open_run` wrote it.

    Args:
        path: The run folder.
        kind: Its dataclass.

    Raises:
        RefusedError: If the folder holds no run, or one whose settings are not those of `kind`.
    """
    try:
        held = read_json(path / "config.json")
        config: Config = _typed(kind, held)
    except (OSError, ValueError, TypeError) as error:
        raise RefusedError(
            f"The folder {path} holds no run of this program: its config.json can't be read"
            f" ({getattr(error, 'strerror', None) or error})."
        ) from error
    settings = as_json(config)
    if settings != held:
        raise RefusedError(
            f"The run folder {path} was written by other code:"
            f" {_told(_differences(held, settings))}."
        )
    return config


def _typed(hint: Any, value: Any) -> Any:
    """Returns what `as_json` made a value from: a dataclass, a tuple, a path or a plain value."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ValueError(f"{value!r} stands where {hint.__name__} was expected")
        hints = typing.get_type_hints(hint)
        known = {name: _typed(hints[name], part) for name, part in value.items() if name in hints}
        return hint(**known)
    if isinstance(value, str) and Path in (hint, *typing.get_args(hint)):
        return Path(value)
    return tuple(value) if isinstance(value, list) else value


def versions() -> dict[str, Any]:
    """Returns what the numbers of a run depend on besides its settings."""
    return {
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
    }


def write_json(path: Path, value: Any) -> None:
    """Writes JSON so that a reader, and a process killed midway, sees the old or the new file.

    Numbers that are not finite become null.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # one for each process
    with partial.open("w", encoding="utf-8") as file:
        json.dump(as_json(value), file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def read_json(path: Path) -> Any:
    """Returns what a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def as_json(value: Any) -> Any:
    """Returns plain dicts, lists, numbers and strings for dataclasses, tuples, arrays and paths."""
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {field.name: as_json(getattr(value, field.name)) for field in fields}
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return as_json(value.tolist()) if hasattr(value, "tolist") else str(value)


def flatten(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Returns nested dicts as one dict with dotted names."""
    if not isinstance(settings, dict):
        return {prefix: settings}
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= flatten(value, f"{prefix}.{name}" if prefix else name)
    return flat


def _read_held(path: Path) -> Any:
    """Returns the settings of the run that the folder holds, if any; refuses anything else."""
    try:
        contents = [item.name for item in path.iterdir()] if path.exists() else []
        held = read_json(path / "config.json") if "config.json" in contents else None
    except (OSError, json.JSONDecodeError) as error:
        raise RefusedError(
            f"The run folder {path} can't be read ({error}); choose another --run-dir."
        ) from error
    if held is None and not all(name.startswith(".") for name in contents):
        raise RefusedError(
            f"The folder {path} is not empty and holds no run; choose another --run-dir."
        )
    return held


def _differences(held: Any, settings: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Returns the settings that differ by their dotted names, with both values."""
    before, now = flatten(held), flatten(settings)
    both = {name: (before.get(name, MISSING), now.get(name, MISSING)) for name in {**before, **now}}
    return {name: values for name, values in both.items() if values[0] != values[1]}


def _told(differences: dict[str, tuple[Any, Any]]) -> str:
    """Names the settings that differ, with both values."""
    return ", ".join(
        f"{name} is {json.dumps(before)} there and {json.dumps(now)} here"
        for name, (before, now) in differences.items()
    )
