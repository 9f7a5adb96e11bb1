"""The pretrained model of an experiment on text: opened first, loaded when its memory is known."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from data.pretrained.hf_config import model_config
from data.pretrained.load import load_pretrained
from data.pretrained.models import find_model, open_model, open_tokenizer
from data.pretrained.sources import TensorSource
from data.pretrained.tokenizer import PretrainedTokenizer
from data.questions import QuestionSet, open_questions
from jaxreason.checks import check_that
from jaxreason.model import ModelConfig, Params, init
from train.errors import refuse_bad_values
from train.text.config import TextConfig


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A model of which nothing but names and shapes has been read."""

    source: TensorSource
    """Its weights."""
    tokenizer: PretrainedTokenizer
    """Its tokenizer."""
    model: ModelConfig
    """Its shape, with the type of activations that was asked for."""

    def shapes(self, dtype: str) -> Params:
        """Returns what `load` gives, as shapes."""
        abstract = jax.eval_shape(lambda: init(self.model, jax.random.key(0)))
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), abstract)

    def load(self, dtype: str) -> Params:
        """Loads the parameters.

        Raises:
            RefusedError: If a tensor is missing, extra or misshaped.
        """
        with refuse_bad_values():
            return load_pretrained(self.source, dtype=dtype)[1]

    def prompt(self, text: str) -> list[int]:
        """Returns the ids of a user's turn, up to where the answer begins."""
        message = {"role": "user", "content": text}
        return self.tokenizer.encode_chat([message], add_generation_prompt=True)


def open_pretrained(config: TextConfig) -> Pretrained:
    """Opens the model of an experiment.

    Raises:
        RefusedError: If there is none of this name, or it is not supported.
    """
    with refuse_bad_values():
        path = find_model(config.model)
        source = open_model(path)
        tokenizer = open_tokenizer(path)
        model = dataclasses.replace(model_config(source.config), dtype=config.dtype)
        check_that(
            tokenizer.vocab_size <= model.vocab_size,
            f"the tokenizer of {path} has ids up to {tokenizer.vocab_size - 1}, and the model knows"
            f" {model.vocab_size}: they are not of one model.",
        )
        return Pretrained(source, tokenizer, model)


def check_inputs(config: TextConfig, cache_dir: Path) -> None:
    """Makes sure, before a run begins, that its model and its questions are there.

    Raises:
        RefusedError: If they are not, or the model has no template for chats.
    """
    pretrained = open_pretrained(config)
    with refuse_bad_values():
        pretrained.prompt("a")
    open_task(config, cache_dir, num_train=0)


def open_task(config: TextConfig, cache_dir: Path, *, num_train: int) -> QuestionSet:
    """Opens the questions of an experiment: all test questions, and so many to learn from.

    Raises:
        RefusedError: If they can't be had.
    """
    with refuse_bad_values():
        return open_questions(
            config.task,
            config.folder,
            cache_dir=cache_dir,
            seed=config.seed,
            num_train=num_train,
            num_test=config.evaluation.questions,
        )


def size_of(*trees: Any) -> int:
    """Returns the bytes of the arrays, or shapes, in trees.

    Example:
        >>> size_of({"w": jnp.zeros((2, 3))}, jnp.zeros((), jnp.bfloat16))
        26
    """
    leaves = jax.tree.leaves(trees)
    return sum(leaf.size * jnp.dtype(leaf.dtype).itemsize for leaf in leaves)


def pad_length(prompts: Sequence[Sequence[int]]) -> int:
    """Returns the length that prompts are padded to: a power of two, so that few programs do.

    Example:
        >>> pad_length([[1] * 40, [2]])
        64
    """
    return max(32, 1 << (max(map(len, prompts)) - 1).bit_length())
