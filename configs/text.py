"""A pretrained model on a task of text: SmolLM2-135M-Instruct on GSM8K, unless told otherwise."""

from train.text.config import TextConfig

CONFIG = TextConfig()
