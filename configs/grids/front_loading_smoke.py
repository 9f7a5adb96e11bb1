"""The same grid so small that it takes a minute; its numbers mean nothing."""

from jaxreason.model import ModelConfig
from train.front_loading.config import (
    GridConfig,
    PretrainSettings,
    RLSettings,
    SFTSettings,
)
from train.front_loading.world import WorldConfig

CONFIG = GridConfig(
    seeds=(0,),
    world=WorldConfig(ldq_problems=400, shq_problems=24, rl_problems=80, evaluation_problems=16),
    model=ModelConfig(
        vocab_size=512, dim=16, num_layers=1, num_heads=2, num_kv_heads=2, hidden_dim=32
    ),
    pretrain=PretrainSettings(tokens=24_000, batch_size=8),
    sft=SFTSettings(samples=32, batch_size=4),
    rl=RLSettings(steps=2, prompts=4, samples=4),
    max_prompt=128,
    max_new_tokens=32,
    alf_trace_tokens=20,
)
