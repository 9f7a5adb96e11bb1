"""Files in the safetensors format: a header in JSON, then the bytes of the tensors.

Ours, in a hundred lines, so that tensors can be written one after the other and mapped one at a
time; see https://github.com/huggingface/safetensors for the format.
"""

import dataclasses
import json
import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np

DTYPES = MappingProxyType(
    {
        "F64": np.dtype(np.float64),
        "F32": np.dtype(np.float32),
        "F16": np.dtype(np.float16),
        "BF16": np.dtype(jnp.bfloat16),
    }
)
"""The types that weights may have, by the format's names."""
LENGTH = struct.Struct("<Q")  # of the header, which comes after it


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where a tensor lies in a file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int


def read_entries(file: Path) -> dict[str, Entry]:
    """Returns where each tensor of a file lies, after checking that the file is whole.

    Raises:
        ValueError: If the file is missing, truncated or no safetensors file, or if a tensor has
            another type than those of weights.
    """
    size, header, start = _read_header(file)
    header.pop("__metadata__", None)
    return {name: _entry(file, name, told, start, size) for name, told in header.items()}


def _read_header(file: Path) -> tuple[int, dict[str, Any], int]:
    """Returns a file's size, its header and where the tensors start."""
    try:
        with file.open("rb") as stream:
            size = file.stat().st_size
            length = LENGTH.unpack(stream.read(LENGTH.size))[0] if size >= LENGTH.size else size
            start = LENGTH.size + length
            if start > size:
                raise ValueError(f"{file} is truncated, or no safetensors file: its header is cut.")
            header = json.loads(stream.read(length))
    except OSError as error:
        raise ValueError(f"{file} can't be read ({error.strerror}).") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is no safetensors file: its header is not JSON.") from error
    if not isinstance(header, dict):
        raise ValueError(f"{file} is no safetensors file: its header is not a JSON object.")
    return size, header, start


def _entry(file: Path, name: str, told: Any, start: int, size: int) -> Entry:
    try:
        kind, shape, (begin, end) = told["dtype"], tuple(told["shape"]), told["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
    except (TypeError, KeyError, ValueError):
        whole = False
    if not whole:
        raise ValueError(f"{file} is damaged: its header does not describe the tensor {name}.")
    if kind not in DTYPES:
        known = ", ".join(DTYPES)
        raise ValueError(f"{file}: the tensor {name} is of type {kind}; weights may be {known}.")
    if end - begin != math.prod(shape) * DTYPES[kind].itemsize:
        raise ValueError(f"{file} is damaged: the bytes of the tensor {name} don't fit its shape.")
    if start + end > size:
        raise ValueError(
            f"{file} is truncated: it has {size} bytes, and the tensor {name} ends at"
            f" {start + end}."
        )
    return Entry(DTYPES[kind], shape, start + begin)


def map_tensor(file: Path, entry: Entry) -> np.ndarray:
    """Returns a read-only view of a tensor in its file, mapped while the view is held."""
    if math.prod(entry.shape) == 0:
        return np.empty(entry.shape, entry.dtype)
    return np.memmap(file, entry.dtype, mode="r", offset=entry.offset, shape=entry.shape)


def write_tensors(
    file: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: np.dtype,
    read: Callable[[str], np.ndarray],
) -> None:
    """Writes a file of tensors of one type, one after the other; `read` gives each by its name."""
    kind = next(name for name, known in DTYPES.items() if known == dtype)
    # The header says that the layout is PyTorch's, without which transformers won't read it.
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % LENGTH.size)  # so that tensors are aligned
    with file.open("wb") as stream:
        stream.write(LENGTH.pack(len(text)) + text)
        for name in shapes:
            array = np.ascontiguousarray(read(name), dtype)
            stream.write(array.reshape(-1).view(np.uint8).data)
