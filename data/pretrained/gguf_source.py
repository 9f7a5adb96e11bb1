"""A GGUF file as a source of weights, under Hugging Face's names, in Hugging Face's layout.

What converters do to a checkpoint is undone here: llama's query and key rows, which llama.cpp
wants in another order of rotary pairs, and Gemma's norms, which it wants with 1 added.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from data.pretrained.gguf_file import GGUFFile

_MATRICES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_QK_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_GEMMA_NORMS = {
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_QKV = ("attn_q", "attn_k", "attn_v")
_LLAMA3_ROPE = {
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_LARGEST_GEMMA_LAYERS = {"gemma2": 46, "gemma3": 62}  # of 27B, whose scale of queries differs


class GGUFSource:
    """Weights of a GGUF file: their settings, names and shapes, and the values one at a time.

    Args:
        path: The file.

    Attributes:
        config: What a Hugging Face `config.json` of that model would say.
        shapes: The shape of each tensor, by its Hugging Face name.

    Raises:
        ValueError: If the file can't be read, is of an unknown architecture, or its tensors are
            not those of its architecture.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = GGUFFile(path)
        family = _family_of(self._file)
        self._names = _names(self._file, family)
        self.config: Mapping[str, Any] = MappingProxyType(_config(self._file, family))
        shapes = {name: self._file.shapes[stored] for name, stored in self._names.items()}
        self.shapes: Mapping[str, tuple[int, ...]] = MappingProxyType(shapes)
        self._family = family

    def read(self, name: str) -> np.ndarray:
        """Returns a tensor: float16 and bfloat16 as they are, all other types as float32.

        Raises:
            ValueError: If its type is not among `data.pretrained.gguf_file.TYPES`.
        """
        stored = self._names[name]
        values = self._file.read(stored)
        if self._family.has_shifted_norms and name.endswith("norm.weight"):
            return values.astype(np.float32) - np.float32(1)
        if self._family.has_paired_rows and stored.split(".")[-2] in ("attn_q", "attn_k"):
            return _halves_apart(values, self.config["head_dim"], f"{self._file.path}: {stored}")
        return values


@dataclasses.dataclass(frozen=True)
class _Family:
    """How a family's checkpoints differ from those of the others."""

    architecture: str
    """The family's name in a GGUF file."""
    model_type: str
    model: str
    """Its class in transformers."""
    norms: Mapping[str, str]
    """Norms of a layer: name in the file, name in Hugging Face's."""
    settings: Callable[[GGUFFile, dict[str, Any]], dict[str, Any]]
    """Settings that only this family has; given those common to all."""
    biases: tuple[str, ...] = ()
    """Matrices that always have a bias."""
    optional_biases: tuple[str, ...] = ()
    """Matrices that have one if `attention_bias` is set."""
    has_paired_rows: bool = False
    """Whether rotary pairs stand side by side, where Hugging Face has halves of a head."""
    has_shifted_norms: bool = False
    """Whether norms are stored with 1 added."""


def _no_settings(file: GGUFFile, common: dict[str, Any]) -> dict[str, Any]:
    return {}


def _gemma_settings(file: GGUFFile, common: dict[str, Any]) -> dict[str, Any]:
    arch = file.need("general.architecture")
    is_largest = common["num_hidden_layers"] == _LARGEST_GEMMA_LAYERS[arch]
    per_head = common["hidden_size"] // common["num_attention_heads"]
    return {
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": per_head if is_largest else common["head_dim"],
        "sliding_window": file.need(f"{arch}.attention.sliding_window"),
    }


def _gemma2_settings(file: GGUFFile, common: dict[str, Any]) -> dict[str, Any]:
    kinds = ("sliding_attention", "full_attention")
    layers = range(common["num_hidden_layers"])
    return _gemma_settings(file, common) | {
        "attn_logit_softcapping": file.get("gemma2.attn_logit_softcapping", 50.0),
        "final_logit_softcapping": file.get("gemma2.final_logit_softcapping", 30.0),
        "layer_types": [kinds[layer % 2] for layer in layers],
    }


def _gemma3_settings(file: GGUFFile, common: dict[str, Any]) -> dict[str, Any]:
    pattern = file.get("gemma3.attention.sliding_window_pattern", 6)
    layers = range(common["num_hidden_layers"])
    is_sliding = pattern if isinstance(pattern, list) else [(i + 1) % pattern != 0 for i in layers]
    return _gemma_settings(file, common) | {
        "rope_theta": file.need("gemma3.rope.freq_base"),
        "rope_local_base_freq": file.get("gemma3.rope.freq_base_swa", 10000.0),
        "layer_types": [
            "sliding_attention" if slides else "full_attention" for slides in is_sliding
        ],
    }


_QKVO = (*_QKV, "attn_output")
_FAMILIES = (
    _Family(
        "llama",
        "llama",
        "LlamaForCausalLM",
        _NORMS,
        _no_settings,
        optional_biases=_QKVO,
        has_paired_rows=True,
    ),
    _Family("qwen2", "qwen2", "Qwen2ForCausalLM", _NORMS, _no_settings, biases=_QKV),
    _Family(
        "qwen3",
        "qwen3",
        "Qwen3ForCausalLM",
        _NORMS | _QK_NORMS,
        _no_settings,
        optional_biases=_QKVO,
    ),
    _Family(
        "gemma2",
        "gemma2",
        "Gemma2ForCausalLM",
        _GEMMA_NORMS,
        _gemma2_settings,
        has_shifted_norms=True,
    ),
    _Family(
        "gemma3",
        "gemma3_text",
        "Gemma3ForCausalLM",
        _GEMMA_NORMS | _QK_NORMS,
        _gemma3_settings,
        has_shifted_norms=True,
    ),
)


def _family_of(file: GGUFFile) -> _Family:
    name = file.need("general.architecture")
    found = [family for family in _FAMILIES if family.architecture == name]
    if not found:
        known = ", ".join(family.architecture for family in _FAMILIES)
        raise ValueError(f"{file.path} is of the architecture {name}; known ones are {known}.")
    if file.get(f"{name}.expert_count", 0):
        raise ValueError(f"{file.path} is a mixture of experts; only dense models can be read.")
    return found[0]


def _names(file: GGUFFile, family: _Family) -> dict[str, str]:
    """Returns the name in the file of each Hugging Face name.

    Raises:
        ValueError: If the file lacks a tensor, or holds one that no name asks for.
    """
    names = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
    }
    if "output.weight" in file.shapes:
        names["lm_head.weight"] = "output.weight"
    biases = family.biases
    if _has_biases(file):
        biases += family.optional_biases
    parts = {f"{theirs}.weight": f"{ours}.weight" for ours, theirs in _MATRICES.items()}
    parts |= {f"{theirs}.weight": f"{ours}.weight" for ours, theirs in family.norms.items()}
    parts |= {f"{_MATRICES[matrix]}.bias": f"{matrix}.bias" for matrix in biases}
    layers = _single(file, "block_count")
    if layers > len(file.shapes):  # a damaged number would fill the memory with names
        raise ValueError(f"{file.path} holds fewer tensors than its {layers} layers need.")
    for layer in range(layers):
        for theirs, ours in parts.items():
            names[f"model.layers.{layer}.{theirs}"] = f"blk.{layer}.{ours}"
    missing = [stored for stored in names.values() if stored not in file.shapes]
    if missing:
        raise ValueError(f"{file.path} lacks the tensor {missing[0]}{_and_others(missing)}.")
    extra = sorted(set(file.shapes) - set(names.values()) - {"rope_freqs.weight"})
    if extra:
        raise ValueError(
            f"{file.path} holds the tensor {extra[0]}{_and_others(extra)}, which"
            f" {family.architecture} does not have."
        )
    return names


def _and_others(names: list[str]) -> str:
    return f" and {len(names) - 1} others" if len(names) > 1 else ""


def _has_biases(file: GGUFFile) -> bool:
    return "blk.0.attn_q.bias" in file.shapes


def _config(file: GGUFFile, family: _Family) -> dict[str, Any]:
    arch = family.architecture
    width, heads = _single(file, "embedding_length"), _single(file, "attention.head_count")
    common = {
        "architectures": [family.model],
        "model_type": family.model_type,
        "vocab_size": file.shapes["token_embd.weight"][0],
        "hidden_size": width,
        "intermediate_size": _single(file, "feed_forward_length"),
        "num_hidden_layers": _single(file, "block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": _single(file, "attention.head_count_kv", heads),
        "head_dim": _head_dim(file, width // heads),
        "rms_norm_eps": file.need(f"{arch}.attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": file.need(f"{arch}.context_length"),
        "tie_word_embeddings": "output.weight" not in file.shapes,
        "rope_theta": file.get(f"{arch}.rope.freq_base", 10000.0),
        "hidden_act": "silu",
        "bos_token_id": file.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": file.get("tokenizer.ggml.eos_token_id"),
        "pad_token_id": file.get("tokenizer.ggml.padding_token_id"),
    }
    common["rope_scaling"] = _rope_scaling(file, common)
    if family.optional_biases:
        common["attention_bias"] = _has_biases(file)
    return common | family.settings(file, common)


def _single(file: GGUFFile, key: str, default: int | None = None) -> int:
    """Returns a size of the architecture, which must be the same in all layers."""
    key = f"{file.need('general.architecture')}.{key}"
    value = file.need(key) if default is None else file.get(key, default)
    sizes = sorted(set(value)) if isinstance(value, list) else [value]
    if len(sizes) != 1 or not isinstance(sizes[0], int) or sizes[0] < 1:
        raise ValueError(f"{file.path}: {key} must be one positive integer; got {sizes}.")
    return sizes[0]


def _head_dim(file: GGUFFile, default: int) -> int:
    size = _single(file, "attention.key_length", default)
    for key in ("attention.value_length", "rope.dimension_count"):
        if _single(file, key, size) != size:
            raise ValueError(
                f"{file.path}: {key} is {_single(file, key, size)}, but heads are {size} wide; such"
                " models can't be read."
            )
    return size


def _rope_scaling(file: GGUFFile, common: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the scaling of rotary frequencies, as config.json states it; None if there is none.

    Raises:
        ValueError: If the file holds frequency factors that no Llama 3 scaling gives.
    """
    if "rope_freqs.weight" in file.shapes:
        return _llama3_scaling(file, common)
    arch = file.need("general.architecture")
    kind = file.get(f"{arch}.rope.scaling.type", "none")
    if kind == "none":
        return None
    scaling = {"rope_type": kind, "factor": file.need(f"{arch}.rope.scaling.factor")}
    original = file.get(f"{arch}.rope.scaling.original_context_length")
    return scaling | ({"original_max_position_embeddings": original} if original else {})


def _llama3_scaling(file: GGUFFile, common: dict[str, Any]) -> dict[str, Any]:
    """Recovers Llama 3's settings from its frequency factors, of which the largest is the factor.

    See `_compute_llama3_parameters` of transformers for the formula.
    """
    found = file.read("rope_freqs.weight").astype(np.float64)
    settings = {"rope_type": "llama3", "factor": float(found.max())} | _LLAMA3_ROPE
    exponents = np.arange(0, common["head_dim"], 2) / common["head_dim"]
    turns = _LLAMA3_ROPE["original_max_position_embeddings"] / (
        2 * np.pi * common["rope_theta"] ** exponents
    )
    low, high = _LLAMA3_ROPE["low_freq_factor"], _LLAMA3_ROPE["high_freq_factor"]
    blend = np.clip((turns - low) / (high - low), 0, 1)
    expected = 1 / ((1 - blend) / settings["factor"] + blend)
    if found.shape != expected.shape or not np.allclose(found, expected, rtol=1e-4):
        raise ValueError(
            f"{file.path}: the tensor rope_freqs.weight is not the scaling of Llama 3; other"
            " frequency factors can't be read."
        )
    return settings


def _halves_apart(values: np.ndarray, head_dim: int, where: str) -> np.ndarray:
    """Returns rows with the first members of a head's rotary pairs before the second ones."""
    if len(values) % head_dim:
        raise ValueError(f"{where} has {len(values)} rows, not a multiple of {head_dim}.")
    pairs = values.reshape(len(values) // head_dim, head_dim // 2, 2, *values.shape[1:])
    return pairs.swapaxes(1, 2).reshape(values.shape)
