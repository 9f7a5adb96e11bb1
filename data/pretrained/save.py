"""Parameters as a Hugging Face folder, which transformers loads with no further code."""

import contextlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from data.pretrained.hf_config import config_entries, family_of
from data.pretrained.load import is_transposed, parameter_shapes, stored_shape, tensor_names
from data.pretrained.sources import INDEX, WEIGHTS
from data.pretrained.tensor_file import write_tensors
from jaxreason.model import ModelConfig, Params

IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
KEPT = ("max_position_embeddings", "initializer_range")
"""Entries of a config.json, beside ids, that don't concern the decoder's shape."""
NOTHING: Mapping[str, Any] = MappingProxyType({})


def save_pretrained(
    path: str | Path,
    config: ModelConfig,
    params: Params,
    *,
    dtype: str = "float32",
    base: Mapping[str, Any] = NOTHING,
    generation: Mapping[str, Any] = NOTHING,
    files: Mapping[str, bytes] = NOTHING,
    shard_bytes: int = 5 * 10**9,
) -> None:
    """Writes config.json, generation_config.json and the weights into a new folder, whole or not.

    Args:
        path: The folder, which must not be there yet.
        config: The decoder's shape.
        params: Its parameters.
        dtype: Type of the weights in the folder: float32, bfloat16 or float16.
        base: A config.json to take from what `config` doesn't say: `bos_token_id`, `eos_token_id`,
            `pad_token_id`, `max_position_embeddings` and `initializer_range`.
        generation: Further entries of generation_config.json, such as `temperature`.
        files: Further files by their names, such as those of a tokenizer.
        shard_bytes: Weights of more bytes than this are split into several files.

    Raises:
        ValueError: If the folder is there, no family of transformers has such a decoder, or the
            parameters are not those of `config`.
    """
    entries = config_entries(config)
    leaves = flatten_dict(params, sep="/")
    shapes = _checked_shapes(config, leaves)
    names = tensor_names(family_of(entries), shapes)
    paths = {name: leaf for leaf, name in names.items()}
    ids = {name: base.get(name) for name in IDS}
    kept = {name: base[name] for name in KEPT if name in base}

    def read(name: str) -> np.ndarray:
        array = np.asarray(leaves[paths[name]])
        return array.T if is_transposed(paths[name]) else array

    with new_folder(path) as partial:
        write_object(partial / "config.json", entries | kept | ids | {"torch_dtype": dtype})
        write_object(partial / "generation_config.json", ids | dict(generation))
        for name, content in files.items():
            (partial / name).write_bytes(content)
        stored = {names[leaf]: stored_shape(leaf, shape) for leaf, shape in shapes.items()}
        _write_weights(partial, stored, jnp.dtype(dtype), read, shard_bytes)


def _checked_shapes(config: ModelConfig, leaves: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the parameters, which must be those of the config."""
    shapes = parameter_shapes(config)
    odd = sorted(shapes.keys() ^ leaves.keys())
    if odd:
        there = "lack" if odd[0] in shapes else "hold"
        raise ValueError(f"the parameters {there} {odd[0]}, unlike those of the config.")
    for path, shape in shapes.items():
        if leaves[path].shape != shape:
            raise ValueError(
                f"the parameter {path} has shape {list(leaves[path].shape)}; the config asks for"
                f" {list(shape)}."
            )
    return shapes


def _write_weights(
    folder: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: np.dtype,
    read: Callable[[str], np.ndarray],
    shard_bytes: int,
) -> None:
    shards = _shards(shapes, dtype.itemsize, shard_bytes)
    if len(shards) == 1:
        write_tensors(folder / WEIGHTS, shapes, dtype, read)
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_tensors(folder / name, {tensor: shapes[tensor] for tensor in shard}, dtype, read)
        places |= dict.fromkeys(shard, name)
    total = dtype.itemsize * sum(map(math.prod, shapes.values()))
    write_object(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def _shards(shapes: Mapping[str, tuple[int, ...]], itemsize: int, limit: int) -> list[list[str]]:
    """Fills files in turn up to a limit of bytes; a tensor that is larger has its own."""
    shards: list[list[str]] = [[]]
    room = limit
    for name, shape in shapes.items():
        size = itemsize * math.prod(shape)
        if size > room and shards[-1]:
            shards.append([])
            room = limit
        shards[-1].append(name)
        room -= size
    return shards


def write_object(file: Path, held: Mapping[str, Any]) -> None:
    """Writes a JSON object that people can read, too."""
    file.write_text(json.dumps(held, indent=2) + "\n", encoding="utf-8")


def unused(path: str | Path) -> Path:
    """Returns the path of a folder to be written.

    Raises:
        ValueError: If it is there already.
    """
    target = Path(path).expanduser()
    if target.exists():
        raise ValueError(f"{target} is there already; remove it or name another folder.")
    return target


@contextlib.contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Gives a folder beside the one named, which is renamed in the end, or removed on an error.

    Raises:
        ValueError: If the folder is there already or can't be written.
    """
    target = unused(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(target)
    except OSError as error:
        raise ValueError(f"{target} can't be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
