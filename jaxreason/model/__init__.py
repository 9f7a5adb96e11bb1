"""The decoder: its config, forward pass, key-value cache and token log-probabilities."""

from jaxreason.model.cache import KVCache, decode_step, decode_while, extend, prefill, read_prompts
from jaxreason.model.config import ModelConfig, RopeScaling
from jaxreason.model.log_probs import TokenScores, score_hidden, score_logits, token_log_probs
from jaxreason.model.lora import Adapters, LoRAConfig, attach, init_adapters, merge
from jaxreason.model.quantized import quantize
from jaxreason.model.transformer import (
    Params,
    attention_mask,
    forward,
    hidden_states,
    init,
    logical_axes,
    num_parameters,
    positions_of,
    unembed,
)

__all__ = [
    "Adapters",
    "KVCache",
    "LoRAConfig",
    "ModelConfig",
    "Params",
    "RopeScaling",
    "TokenScores",
    "attach",
    "attention_mask",
    "decode_step",
    "decode_while",
    "extend",
    "forward",
    "hidden_states",
    "init",
    "init_adapters",
    "logical_axes",
    "merge",
    "num_parameters",
    "positions_of",
    "prefill",
    "quantize",
    "read_prompts",
    "score_hidden",
    "score_logits",
    "token_log_probs",
    "unembed",
]
