"""What an experiment with a pretrained model on text is."""

import dataclasses
from typing import Literal

from train.config import LoopConfig
from train.text.rl_config import TextRLConfig


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Model, questions and stages of one experiment."""

    model: str = "smollm2"
    """A pretrained model: a name, a GGUF file, or a folder with config.json and safetensors."""
    task: str = "gsm8k"
    """Questions: gsm8k, or a family of reasoning-gym."""
    folder: str | None = None
    """Folder with the questions, where they are not to be downloaded."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the frozen weights and of the activations."""
    seed: int = 0
    """Seed of questions and sampling."""
    rl: TextRLConfig = TextRLConfig()
    """The two-player game."""
    loop: LoopConfig = LoopConfig(checkpoint_every=10, log_every=1)
    """Checkpoints, metrics and skipped updates."""
