"""Pretrained weights as parameters of the decoder, tensor by tensor."""

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from data.pretrained.families import Family
from data.pretrained.hf_config import family_of, model_config
from data.pretrained.sources import TensorSource
from jaxreason.model import ModelConfig, Params, init

TRANSPOSED = frozenset(("query", "key", "value", "out", "gate", "up", "down"))
"""Projections, which PyTorch keeps as `[out, in]`."""


def load_pretrained(
    source: TensorSource, *, dtype: str, shardings: Any = None
) -> tuple[ModelConfig, Params]:
    """Loads a checkpoint, one tensor at a time, straight to its place.

    Names and shapes are checked before the first tensor is read. Host memory never holds more than
    the parameters (where they live there) and what is under way of one tensor.

    Args:
        source: The checkpoint.
        dtype: Type of the parameters, and of the config's activations: float32, bfloat16 or
            float16.
        shardings: A tree of shardings like the parameters, for instance
            `parameter_shardings(model_config(source.config), mesh)`; the default device if None.

    Returns:
        The config and the parameters.

    Raises:
        ValueError: If the config is not supported, or a tensor is missing, extra or misshaped.
    """
    family = family_of(source.config)
    config = dataclasses.replace(model_config(source.config), dtype=dtype)
    shapes = parameter_shapes(config)
    names = tensor_names(family, shapes)
    expected = {names[path]: stored_shape(path, shape) for path, shape in shapes.items()}
    idle = {family.tensors["output"]} if config.tie_embeddings else set()
    _check_tensors(source, expected, idle)
    _check_tied(source, family, idle)
    places = flatten_dict(shardings, sep="/") if shardings is not None else {}
    params = {}
    # Largest first: what is under way of one comes on top of few others.
    for path in sorted(shapes, key=lambda path: -math.prod(shapes[path])):
        tensor = source.read(names[path])
        # A copy of our own: jax may keep the memory of an array that it is given.
        array = np.array(tensor.T if is_transposed(path) else tensor, jnp.dtype(dtype), order="C")
        params[path] = jax.device_put(array, places.get(path)).block_until_ready()
        del tensor, array
    return config, unflatten_dict(params, sep="/")


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each parameter by its path, as in `layer_0_attention/query`."""
    abstract = jax.eval_shape(lambda: init(config, jax.random.key(0)))
    return {path: leaf.shape for path, leaf in flatten_dict(abstract, sep="/").items()}


def tensor_names(family: Family, paths: Collection[str]) -> dict[str, str]:
    """Returns the tensor of each parameter."""
    return {path: str(family.tensor_name(path)) for path in paths}


def is_transposed(path: str) -> bool:
    """Tells whether a parameter's tensor is its transpose."""
    return path.rpartition("/")[2] in TRANSPOSED


def stored_shape(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape of a parameter's tensor."""
    return shape[::-1] if is_transposed(path) else shape


def _check_tensors(
    source: TensorSource, expected: Mapping[str, tuple[int, ...]], idle: Collection[str]
) -> None:
    """Refuses a checkpoint that lacks a tensor, has one too many or of another shape."""
    kind = source.config["model_type"]
    missing = [name for name in expected if name not in source.shapes]
    if missing:
        raise ValueError(
            f"the checkpoint lacks {_first_of(missing)}, which its config.json, of type {kind},"
            " asks for."
        )
    # Old checkpoints hold rotary frequencies, too, which transformers computes itself.
    computed = (name for name in source.shapes if name.endswith(".rotary_emb.inv_freq"))
    placed = {*expected, *idle, *computed}
    extra = [name for name in source.shapes if name not in placed]
    if extra:
        raise ValueError(
            f"the checkpoint holds {_first_of(extra)}, for which its config.json, of type {kind},"
            " has no place."
        )
    for name, shape in expected.items():
        if tuple(source.shapes[name]) != shape:
            raise ValueError(
                f"the tensor {name} has shape {list(source.shapes[name])}; config.json asks for"
                f" {list(shape)}."
            )


def _check_tied(source: TensorSource, family: Family, idle: Collection[str]) -> None:
    """Refuses an output projection that config.json says is the embedding, and isn't."""
    table = family.tensors["embedding"]
    for output in idle:
        if output in source.shapes and not np.array_equal(source.read(table), source.read(output)):
            raise ValueError(f"config.json ties the embeddings, but {output} differs from {table}.")


def _first_of(names: Collection[str]) -> str:
    """Returns how a sentence names several tensors."""
    first = next(iter(names))
    return f"the tensor {first}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
