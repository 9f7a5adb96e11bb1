"""Adapters as the library PEFT keeps them: adapter_config.json and adapter_model.safetensors.

PEFT loads such a folder onto the base model in transformers with no further code. It states one
rank for all projections, which each layer has; variants of LoRA that compute something else are
refused. The format: https://huggingface.co/docs/peft/developer_guides/checkpoint.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from data.pretrained.families import FAMILIES
from data.pretrained.hf_config import config_entries
from data.pretrained.load import parameter_shapes
from data.pretrained.save import new_folder, write_object
from data.pretrained.sources import read_object
from data.pretrained.tensor_file import map_tensor, read_entries, write_tensors
from jaxreason.model import Adapters, LoRAConfig, ModelConfig
from jaxreason.model.lora import TARGETS

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FACTORS = MappingProxyType({"a": "lora_A.weight", "b": "lora_B.weight"})
"""Our names of the two factors, and PEFT's, which keeps their transposes."""
_PREFIX = "base_model.model."  # PEFT wraps the model twice
# Entries that don't change what is computed with the tensors that are there.
_IDLE = {
    *("peft_type", "peft_version", "task_type", "inference_mode", "auto_mapping", "revision"),
    *("base_model_name_or_path", "r", "lora_alpha", "lora_dropout", "target_modules"),
    *("exclude_modules", "init_lora_weights", "qalora_group_size", "megatron_core"),
}
_KEEP_THE_BASE = (None, True, False, "gaussian", "orthogonal")  # ways to begin; others change it


def save_adapters(
    path: str | Path, config: ModelConfig, adapters: Adapters, *, base_name: str
) -> None:
    """Writes adapters into a new folder that PEFT loads, whole or not.

    Args:
        path: The folder, which must not be there yet.
        config: The base model's shape.
        adapters: Their factors, which are written as float32.
        base_name: What PEFT loads as the base model: a name on the Hugging Face hub or a folder.

    Raises:
        ValueError: If the folder is there, or PEFT can't hold such adapters: they must be of one
            rank and on the same projections in every layer of `config`.
    """
    leaves = flatten_dict(adapters.factors, sep="/")
    projections = {leaf.split("/")[1] for leaf in leaves}
    rank = next((leaves[leaf].shape[-1] for leaf in sorted(leaves)), 0)
    places = _places(config, projections, rank)
    _check_leaves(leaves, {leaf: shape[::-1] for leaf, (_, shape) in places.items()})
    names = {name: leaf for leaf, (name, _) in places.items()}
    entries = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": _alpha(adapters.scale, rank),
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({name.split(".")[-3] for name in names}),
    }
    with new_folder(path) as folder:
        write_object(folder / CONFIG, entries)
        write_tensors(
            folder / WEIGHTS,
            dict(places.values()),
            np.dtype(np.float32),
            lambda name: np.asarray(leaves[names[name]]).T,
        )


def load_adapters(path: str | Path, config: ModelConfig) -> Adapters:
    """Reads adapters from a folder that PEFT, or `save_adapters`, wrote.

    Args:
        path: The folder.
        config: The base model's shape.

    Returns:
        Adapters, as `attach` and `merge` take them.

    Raises:
        ValueError: If the folder can't be read, its adapters are of a kind that is not supported,
            or they are not for such a model.
    """
    folder = Path(path).expanduser()
    lora, file = _plain_lora(folder / CONFIG), folder / WEIGHTS
    entries = read_entries(file)
    leaf_of = {name: leaf for leaf, (name, _) in _places(config, TARGETS, lora.rank).items()}
    for name in entries:
        if name not in leaf_of:
            raise ValueError(f"{file} holds the tensor {name}, for which the model has no place.")
    places = _places(config, {leaf_of[name].split("/")[1] for name in entries}, lora.rank)
    factors = {}
    for leaf, (name, shape) in places.items():
        if name not in entries:
            raise ValueError(f"{file} lacks the tensor {name}; other layers have theirs.")
        if entries[name].shape != shape:
            raise ValueError(
                f"{file}: the tensor {name} has shape {list(entries[name].shape)}; the model and"
                f" {CONFIG} ask for {list(shape)}."
            )
        tensor = map_tensor(file, entries[name])
        factors[leaf] = jnp.asarray(np.array(tensor.T, np.float32, order="C"))
    if not factors:
        raise ValueError(f"{file} holds no adapters.")
    return Adapters(unflatten_dict(factors, sep="/"), lora.alpha / lora.rank)


def _places(
    config: ModelConfig, projections: Collection[str], rank: int
) -> dict[str, tuple[str, tuple[int, int]]]:
    """Returns name and shape of each factor's tensor, by its path in the tree of factors."""
    family = FAMILIES[config_entries(config)["model_type"]]
    places = {}
    for path, shape in parameter_shapes(config).items():
        if path.rpartition("/")[2] in projections:
            stem = _PREFIX + str(family.tensor_name(path)).removesuffix("weight")
            places[f"{path}/a"] = (stem + FACTORS["a"], (rank, shape[0]))
            places[f"{path}/b"] = (stem + FACTORS["b"], (shape[1], rank))
    return places


def _check_leaves(leaves: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Refuses adapters that PEFT's one rank and one list of projections don't describe."""
    odd = sorted(leaves.keys() ^ expected.keys())
    if odd or not leaves:
        there = "hold" if odd and odd[0] in leaves else "lack"
        raise ValueError(
            f"the adapters {there} {odd[0] if odd else 'factors'}; PEFT wants the same projections"
            " in every layer of the model."
        )
    for leaf, shape in expected.items():
        if leaves[leaf].shape != shape:
            raise ValueError(
                f"the factor {leaf} has shape {list(leaves[leaf].shape)}; the model, at one rank"
                f" for all projections, asks for {list(shape)}."
            )


def _plain_lora(file: Path) -> LoRAConfig:
    """Returns rank and alpha of an adapter_config.json, and refuses what goes beyond plain LoRA."""
    given = read_object(file)
    if given.get("peft_type") != "LORA":
        raise ValueError(
            f"{file}: the peft_type must be LORA; {given.get('peft_type')!r} is not supported."
        )
    odd = {name: value for name, value in given.items() if value and name not in _IDLE}
    if odd.get("bias") == "none":
        del odd["bias"]
    if given.get("init_lora_weights") not in _KEEP_THE_BASE:
        odd["init_lora_weights"] = given["init_lora_weights"]
    if odd:
        name, value = next(iter(odd.items()))
        raise ValueError(f"{file}: {name} is {value!r}, which is not supported; plain LoRA is.")
    rank, alpha = given.get("r"), given.get("lora_alpha")
    if type(rank) is not int or isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise ValueError(f"{file}: r and lora_alpha must be numbers; got {rank!r} and {alpha!r}.")
    try:
        return LoRAConfig(rank=rank, alpha=float(alpha))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _alpha(scale: float, rank: int) -> int | float:
    """Returns what divided by the rank is the scale, as it was stated if it can be told."""
    alpha = scale * rank
    stated = round(alpha, 6)
    if stated / rank != scale:
        return alpha
    return int(stated) if stated.is_integer() else stated
