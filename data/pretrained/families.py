"""The families of decoders that are read and written, as data.

What a family's members share, what its config.json calls the rest, and what its tensors are called.
"""

import dataclasses
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

ACTIVATIONS = MappingProxyType({"silu": "silu", "gelu_tanh": "gelu_pytorch_tanh"})
"""Our names of activations, and those in config.json."""

_SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "dim",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "num_key_value_heads": "num_kv_heads",
    "head_dim": "head_size",
    "intermediate_size": "hidden_dim",
    "rms_norm_eps": "norm_epsilon",
    "tie_word_embeddings": "tie_embeddings",
}
_TENSORS = {
    "embedding": "model.embed_tokens.weight",
    "output": "lm_head.weight",
    "norm/scale": "model.norm.weight",
    "layer_{}_attention_norm/scale": "model.layers.{}.input_layernorm.weight",
    "layer_{}_attention/query": "model.layers.{}.self_attn.q_proj.weight",
    "layer_{}_attention/key": "model.layers.{}.self_attn.k_proj.weight",
    "layer_{}_attention/value": "model.layers.{}.self_attn.v_proj.weight",
    "layer_{}_attention/out": "model.layers.{}.self_attn.o_proj.weight",
    "layer_{}_feed_forward_norm/scale": "model.layers.{}.post_attention_layernorm.weight",
    "layer_{}_feed_forward/gate": "model.layers.{}.mlp.gate_proj.weight",
    "layer_{}_feed_forward/up": "model.layers.{}.mlp.up_proj.weight",
    "layer_{}_feed_forward/down": "model.layers.{}.mlp.down_proj.weight",
}
_QKV_BIASES = {
    "layer_{}_attention/query_bias": "model.layers.{}.self_attn.q_proj.bias",
    "layer_{}_attention/key_bias": "model.layers.{}.self_attn.k_proj.bias",
    "layer_{}_attention/value_bias": "model.layers.{}.self_attn.v_proj.bias",
}
_QK_NORMS = {
    "layer_{}_attention/query_norm/scale": "model.layers.{}.self_attn.q_norm.weight",
    "layer_{}_attention/key_norm/scale": "model.layers.{}.self_attn.k_norm.weight",
}
_SANDWICH_NORMS = {
    "layer_{}_post_attention_norm/scale": "model.layers.{}.post_attention_layernorm.weight",
    "layer_{}_feed_forward_norm/scale": "model.layers.{}.pre_feedforward_layernorm.weight",
    "layer_{}_post_feed_forward_norm/scale": "model.layers.{}.post_feedforward_layernorm.weight",
}
_DEFAULTS = {
    "num_key_value_heads": None,
    "head_dim": None,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "tie_word_embeddings": False,
}
_QWEN_WINDOWS = {"use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28}
_GEMMA_TRAITS = {"zero_centered_norms": True, "sandwich_norms": True, "scale_embeddings": True}
_GEMMA_DEFAULTS = _DEFAULTS | {
    "head_dim": 256,
    "hidden_act": None,
    "hidden_activation": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
}


@dataclasses.dataclass(frozen=True)
class Family:
    """Decoders of one `model_type`."""

    model_type: str
    architecture: str
    """The class in transformers."""
    traits: Mapping[str, Any]
    """Settings of `ModelConfig` that all members share and config.json does not hold."""
    defaults: Mapping[str, Any]
    """Entries that a config.json may leave out. Only if `sliding_window`, or
    `rope_local_base_freq`, is among them do members have windows, or a RoPE base for those."""
    required: Mapping[str, Any]
    """Entries whose other values are not supported."""
    settings: Mapping[str, str]
    """Entries that are settings of `ModelConfig` as they are."""
    tensors: Mapping[str, str]
    """Each parameter and its tensor; `{}` is the layer."""

    def tensor_name(self, parameter: str) -> str | None:
        """Returns the tensor of a parameter, None if members have none such.

        `layer_3_feed_forward/up` is `model.layers.3.mlp.up_proj.weight`, for instance.
        """
        layer = re.match(r"layer_(\d+)_", parameter)
        if layer is None:
            return self.tensors.get(parameter)
        template = self.tensors.get(f"layer_{{}}_{parameter[layer.end() :]}")
        return template and template.format(layer[1])


LLAMA = Family(
    model_type="llama",
    architecture="LlamaForCausalLM",
    traits={},
    defaults=_DEFAULTS,
    required={"attention_bias": False, "mlp_bias": False},
    settings=_SIZES,
    tensors=_TENSORS,
)
"""Llama 2 and 3, and SmolLM2."""

QWEN2 = Family(
    model_type="qwen2",
    architecture="Qwen2ForCausalLM",
    traits={"qkv_bias": True},
    defaults=_DEFAULTS | _QWEN_WINDOWS,
    required={},
    settings=_SIZES,
    tensors=_TENSORS | _QKV_BIASES,
)
"""Qwen2 and Qwen2.5."""

QWEN3 = Family(
    model_type="qwen3",
    architecture="Qwen3ForCausalLM",
    traits={"qk_norm": True},
    defaults=_DEFAULTS | _QWEN_WINDOWS | {"head_dim": 128},
    required={"attention_bias": False},
    settings=_SIZES,
    tensors=_TENSORS | _QK_NORMS,
)

GEMMA2 = Family(
    model_type="gemma2",
    architecture="Gemma2ForCausalLM",
    traits=_GEMMA_TRAITS,
    defaults=_GEMMA_DEFAULTS
    | {
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "sliding_window_pattern": 2,
    },
    required={"attention_bias": False, "use_bidirectional_attention": False},
    settings=_SIZES
    | {
        "query_pre_attn_scalar": "query_scalar",
        "attn_logit_softcapping": "attention_soft_cap",
        "final_logit_softcapping": "logit_soft_cap",
    },
    tensors=_TENSORS | _SANDWICH_NORMS,
)

GEMMA3 = Family(
    model_type="gemma3_text",
    architecture="Gemma3ForCausalLM",
    traits=_GEMMA_TRAITS | {"qk_norm": True},
    defaults=_GEMMA_DEFAULTS
    | {
        "final_logit_softcapping": None,
        "rope_theta": 1_000_000.0,
        "rope_local_base_freq": 10_000.0,
        "sliding_window_pattern": 6,
    },
    required={
        "attention_bias": False,
        "use_bidirectional_attention": False,
        "attn_logit_softcapping": None,
    },
    settings=_SIZES
    | {"query_pre_attn_scalar": "query_scalar", "final_logit_softcapping": "logit_soft_cap"},
    tensors=_TENSORS | _SANDWICH_NORMS | _QK_NORMS,
)
"""Gemma 3, its models of text only."""

FAMILIES = MappingProxyType(
    {family.model_type: family for family in (LLAMA, QWEN2, QWEN3, GEMMA2, GEMMA3)}
)
