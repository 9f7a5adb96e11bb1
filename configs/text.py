"""A pretrained model on text: SmolLM2-135M-Instruct on GSM8K."""

from train.text.config import TextConfig

CONFIG = TextConfig()
