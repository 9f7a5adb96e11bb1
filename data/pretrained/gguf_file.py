"""A GGUF file: its metadata, and its tensors one at a time, dequantised when read.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Reading maps the file, so
that only what is asked for is in memory.
"""

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np

MAGIC = b"GGUF"
TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q4_K", "Q5_K", "Q6_K")
"""Types of tensors that are read. Files whose names end in Q4_K_M hold Q5_0, Q5_K and Q6_K too."""
VALUES_AT_A_TIME = 2**22  # dequantised together: bounds the memory beyond the tensor's own


class GGUFFile:
    """Metadata and tensors of one GGUF file, under the names that they have there.

    Args:
        path: The file.

    Attributes:
        shapes: The shape of each tensor, rows first, as NumPy has them.

    Raises:
        ValueError: If it is no whole GGUF file, or one of several parts.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ValueError(f"there is no file {path}.")
        state = self.path.stat()
        written = state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
        self._reader = _reader_of(self.path.absolute(), written)
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        shapes = {t.name: tuple(reversed(t.shape.tolist())) for t in self._reader.tensors}
        self.shapes: Mapping[str, tuple[int, ...]] = MappingProxyType(shapes)
        if self.get("split.count", 1) > 1:
            raise ValueError(
                f"{path} is one of {self.get('split.count')} parts of a model; join them with"
                " llama.cpp's gguf-split first."
            )

    def get(self, key: str, default: Any = None) -> Any:
        """Returns a value of the metadata: a number, a text, a truth or a list of them."""
        field = self._reader.get_field(key)
        if field is None:
            return default
        try:
            value = field.contents()
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path}: the text of {key} is not UTF-8.") from error
        if field.types[-1].name == "FLOAT32" and isinstance(value, float):
            return float(str(np.float32(value)))  # 1e-05, not 9.999999747378752e-06
        return value

    def need(self, key: str) -> Any:
        """Returns a value of the metadata.

        Raises:
            ValueError: If the file has none.
        """
        value = self.get(key)
        if value is None:
            raise ValueError(f"{self.path} lacks the metadata {key}.")
        return value

    def read(self, name: str) -> np.ndarray:
        """Returns a tensor: float16 and bfloat16 as they are, all other types as float32.

        Args:
            name: The tensor's name in the file.

        Raises:
            ValueError: If its type is not among `TYPES`.
        """
        tensor = self._tensors[name]
        kind, data = tensor.tensor_type, np.asarray(tensor.data)
        if kind.name not in TYPES:
            raise ValueError(
                f"{self.path}: the tensor {name} is of the type {kind.name}; types that can be read"
                f" are {', '.join(TYPES)}."
            )
        if kind.name in ("F32", "F16"):
            return data
        if kind.name == "BF16":
            return data.view(jnp.dtype(jnp.bfloat16))
        return _dequantised(data, kind, self.shapes[name])


def _dequantised(data: np.ndarray, kind: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Dequantises a few rows at a time: the package's own pass holds the whole tensor twice."""
    quants = _gguf().quants
    values = np.empty((math.prod(shape[:-1]), shape[-1]), np.float32)
    rows = data.reshape(len(values), -1)
    step = max(1, VALUES_AT_A_TIME // shape[-1])
    for start in range(0, len(rows), step):
        values[start : start + step] = quants.dequantize(rows[start : start + step], kind)
    return values.reshape(shape)


@functools.lru_cache(maxsize=1)  # a model's weights and its tokenizer are read one after the other
def _reader_of(path: Path, written: tuple[int, ...]) -> Any:
    del written  # a file that was written anew is read anew
    with path.open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            raise ValueError(f"{path} is not a GGUF file.")
    try:
        reader = _bounded_reader()(path)
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"{path} is cut short or damaged ({reason}).") from error
    if reader.byte_order == "S":
        raise ValueError(f"{path} is written in the other byte order; convert it for this machine.")
    return reader


@functools.cache
def _bounded_reader() -> type:
    """Returns the package's reader, which would read on past a file's end, for ever."""

    class BoundedReader(_gguf().GGUFReader):
        def _get(self, offset: int, dtype: Any, count: int = 1, *order: Any, **named: Any) -> Any:
            # Slices of a plain array, still mapped, are made in half the time.
            self.data = np.asarray(self.data)
            values = super()._get(offset, dtype, count, *order, **named)
            if len(values) != count:
                raise ValueError(f"{count} values at byte {offset} are not there")
            return values

    return BoundedReader


def _gguf() -> ModuleType:
    """Imports `gguf` when it is first needed."""
    try:
        import gguf
    except ImportError as error:
        raise ValueError(
            "reading GGUF files needs a package that is missing; run `pip install gguf`."
        ) from error
    return gguf
