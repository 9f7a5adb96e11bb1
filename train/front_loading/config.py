"""The settings of the front-loading experiment: the world, the model, each stage, the seeds."""

import dataclasses

from jaxreason.model import ModelConfig
from jaxreason.optimizer import OptimizerConfig
from train.front_loading.world import WorldConfig


@dataclasses.dataclass(frozen=True)
class PretrainSettings:
    """Settings of pretraining, the same for all arms."""

    tokens: int = 1_600_000
    """Length of the stream."""
    batch_size: int = 8
    """Sequences in an update."""
    optimizer: OptimizerConfig = OptimizerConfig(method="muon", learning_rate=5e-3, warmup_steps=30)
    """Its schedule ends with the stream."""


@dataclasses.dataclass(frozen=True)
class SFTSettings:
    """Settings of supervised fine-tuning, the same for all arms."""

    samples: int = 1400
    """Examples of a set, at 1x."""
    batch_size: int = 4
    """Sequences in an update."""
    optimizer: OptimizerConfig = OptimizerConfig(
        method="muon", learning_rate=2e-3, warmup_steps=5, final_fraction=1.0
    )
    """A constant learning rate, so that arms of different lengths share it."""

    def __post_init__(self) -> None:
        if self.optimizer.final_fraction != 1:
            raise ValueError(
                "the learning rate of fine-tuning must be constant, since arms differ in length:"
                f" set final_fraction to 1; got {self.optimizer.final_fraction:g}."
            )


@dataclasses.dataclass(frozen=True)
class RLSettings:
    """Settings of GRPO with verified answers."""

    steps: int = 20
    """Updates."""
    prompts: int = 16
    """Problems in an update."""
    samples: int = 8
    """Solutions of each problem."""
    kl_coef: float = 0.001
    """Coefficient of the KL to the fine-tuned model."""
    optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=1e-4, warmup_steps=5, weight_decay=0.0, final_fraction=1.0
    )
    """A constant learning rate."""


@dataclasses.dataclass(frozen=True)
class GridConfig:
    """The whole grid.

    Raises:
        ValueError: If there is no seed, or a number is out of range.
    """

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds, paired across arms: a seed means one initialisation and one base stream."""
    world: WorldConfig = WorldConfig()
    """The sets."""
    model: ModelConfig = ModelConfig(vocab_size=1024, dim=96, num_layers=3, hidden_dim=192)
    """The model of all arms."""
    sequence_length: int = 192
    """Tokens in a packed sequence."""
    block_size: int = 64
    """Sequences in a block; shares are exact to one sequence in each."""
    pretrain: PretrainSettings = PretrainSettings()
    """Pretraining."""
    sft: SFTSettings = SFTSettings()
    """Supervised fine-tuning."""
    rl: RLSettings = RLSettings()
    """Reinforcement learning."""
    max_prompt: int = 96
    """Tokens of the longest problem."""
    max_new_tokens: int = 96
    """Tokens that a model may answer with."""
    shq_passes: float = 6.0
    """Passes over SHQ in pretraining at a share of 20%, as in the paper (five to seven)."""
    shq_weight_in_lmq: float = 0.05
    """SHQ's part of LMQ's tokens; the paper does not say its own, the plain union gives 4%."""
    alf_trace_tokens: int = 36
    """Tokens from which on a trace of LDQ is long enough for ALF."""

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must be at least one and differ; got {self.seeds}.")
        if not 0 < self.shq_weight_in_lmq < 1:
            raise ValueError(f"shq_weight_in_lmq must lie in (0, 1); got {self.shq_weight_in_lmq}.")
