"""Where pretrained weights come from: tensors by their Hugging Face names, one at a time."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data.pretrained.tensor_file import Entry, map_tensor, read_entries

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


class TensorSource(Protocol):
    """A checkpoint as `load_pretrained` reads it."""

    config: Mapping[str, Any]
    """As in a Hugging Face config.json."""
    shapes: Mapping[str, tuple[int, ...]]
    """Of the tensors, by their Hugging Face names."""

    def read(self, name: str) -> np.ndarray:
        """Returns a tensor."""
        ...


class SafetensorsFolder:
    """A folder as on the Hugging Face hub: config.json and safetensors, in one file or several.

    Tensors are mapped from their files, so that reading one takes memory for that one only. Pickled
    weights are never read.

    Args:
        path: The folder.

    Raises:
        ValueError: If the folder or a file is missing, truncated or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        folder = Path(path).expanduser()
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}.")
        self.config: Mapping[str, Any] = read_object(folder / "config.json")
        self._entries = _entries(folder)
        self.shapes: Mapping[str, tuple[int, ...]] = {
            name: entry.shape for name, (_, entry) in self._entries.items()
        }

    def read(self, name: str) -> np.ndarray:
        """Returns a read-only view of a tensor in its file."""
        return map_tensor(*self._entries[name])


def _entries(folder: Path) -> dict[str, tuple[Path, Entry]]:
    """Returns the file of each tensor and where it lies there."""
    whole = folder / WEIGHTS
    if whole.exists():
        return {name: (whole, entry) for name, entry in read_entries(whole).items()}
    if (folder / INDEX).exists():
        return _sharded_entries(folder)
    pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if pickles:
        raise ValueError(
            f"{folder} holds pickled weights only ({pickles[0]}), which are never read; convert"
            " them to safetensors."
        )
    raise ValueError(f"{folder} holds no {WEIGHTS} and no {INDEX}.")


def _sharded_entries(folder: Path) -> dict[str, tuple[Path, Entry]]:
    index = folder / INDEX
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise ValueError(f"{index} has no weight_map from tensors to files.")
    foreign = [name for name in places.values() if Path(name).name != name]
    if foreign:
        raise ValueError(f"{index} names {foreign[0]!r}, which is not a file of its folder.")
    shards = {name: read_entries(folder / name) for name in sorted(set(places.values()))}
    for tensor, name in places.items():
        if tensor not in shards[name]:
            raise ValueError(
                f"{folder / name} lacks the tensor {tensor}, which {INDEX} places there."
            )
    return {tensor: (folder / name, shards[name][tensor]) for tensor, name in places.items()}


def read_object(file: Path) -> dict[str, Any]:
    """Returns the object that a JSON file holds.

    Raises:
        ValueError: If the file is missing or holds anything else.
    """
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{file} can't be read ({error.strerror}).") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON.") from error
    if not isinstance(held, dict):
        raise ValueError(f"{file} must hold a JSON object.")
    return held
