"""Responses of a model to prompts, in batches of few shapes, and how fast they came."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data.pretrained.tokenizer import PretrainedTokenizer
from jaxreason.model import ModelConfig, Params
from jaxreason.rollout import generate, pad_prompts
from jaxreason.sequences import Sequence as Tokens
from train.memory import check_memory
from train.progress import track
from train.text.config import TextEvaluationConfig
from train.text.pretrained import pad_length


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What a model responded."""

    texts: list[list[str]]
    """The responses to each prompt."""
    tokens: np.ndarray
    """int `[prompt, sample]`, emitted tokens, with the one that ends a response."""
    was_cut: np.ndarray
    """bool `[prompt, sample]`, which responses the limit of tokens ended."""
    seconds: float
    """Time that generating took, without compiling."""
    compile_seconds: float
    """Time that compiling took."""

    @property
    def tokens_per_second(self) -> float:
        """Emitted tokens a second."""
        return float(self.tokens.sum()) / max(self.seconds, 1e-9)


@dataclasses.dataclass(frozen=True)
class Batch:
    """Prompts that are answered together; the last batch repeats its last one."""

    rows: np.ndarray
    """int `[batch]`, numbers of the prompts."""
    count: int
    """How many of them are no repetition."""
    length: int
    """What they are padded to."""


class Answerer:
    """Answers prompts; a prompt's draws do not depend on which others stand beside it.

    Args:
        model: The decoder's shape.
        tokenizer: Its tokenizer.
        prompts: Token ids.
        settings: How to draw.
        seed: Seed of the draws.
    """

    def __init__(
        self,
        model: ModelConfig,
        tokenizer: PretrainedTokenizer,
        prompts: Sequence[Sequence[int]],
        settings: TextEvaluationConfig,
        seed: int,
    ) -> None:
        self._prompts, self._tokenizer, self._settings = prompts, tokenizer, settings
        self._key = jax.random.key(seed)
        self._batches = batches_of(prompts, settings.batch_size)
        self._generate = jax.jit(
            partial(
                generate,
                model,
                max_new_tokens=settings.max_new_tokens,
                stop_tokens=tokenizer.stop_ids,
                samples=settings.samples,
                sampling=settings.sampling,
                pad_id=tokenizer.pad_id,
            )
        )

    def compile(self, shapes: Params, *, unloaded: int) -> "Compiled":
        """Compiles a program for each length, and makes sure that there is memory for them.

        Args:
            shapes: The parameters' shapes.
            unloaded: Bytes of those that are not loaded yet.

        Raises:
            RefusedError: If there is not.
        """
        started = time.monotonic()
        programs = {}
        for batch in self._batches:
            if batch.length not in programs:
                programs[batch.length] = self._generate.lower(
                    shapes, *self._inputs(batch)
                ).compile()
        room = max(program.memory_analysis().temp_size_in_bytes for program in programs.values())
        check_memory({"parameters": unloaded, "cache and activations": room})
        return Compiled(programs, time.monotonic() - started)

    def answer(self, params: Params, compiled: "Compiled", name: str) -> Answers:
        """Answers all prompts.

        Args:
            params: The parameters.
            compiled: From `compile`.
            name: What the progress is called.
        """
        shape = (len(self._prompts), self._settings.samples)
        texts: list[list[str]] = [[] for _ in self._prompts]
        tokens, was_cut = np.zeros(shape, np.int64), np.zeros(shape, bool)
        started = time.monotonic()
        with track(name, len(self._batches)) as progress:
            for batch in self._batches:
                program = compiled.programs[batch.length]
                completion = jax.device_get(program(params, *self._inputs(batch)).completion)
                for row, number in enumerate(batch.rows[: batch.count]):
                    drawn = slice(row * shape[1], (row + 1) * shape[1])
                    ids = [
                        line[mask].tolist()
                        for line, mask in zip(
                            completion.tokens[drawn], completion.mask[drawn], strict=True
                        )
                    ]
                    texts[number] = [self._tokenizer.decode(part) for part in ids]
                    tokens[number] = [len(part) for part in ids]
                    was_cut[number] = [part[-1] not in self._tokenizer.stop_ids for part in ids]
                progress.advance()
        seconds = time.monotonic() - started
        return Answers(texts, tokens, was_cut, seconds, compiled.seconds)

    def _inputs(self, batch: Batch) -> tuple[Tokens, jax.Array]:
        """Returns the prompts of a batch, and a key for each response."""
        prompts = [self._prompts[row] for row in batch.rows]
        padded = pad_prompts(prompts, buckets=(batch.length,), pad_id=self._tokenizer.pad_id)
        samples = self._settings.samples
        numbers = (
            jnp.asarray(np.repeat(batch.rows, samples)),
            jnp.tile(jnp.arange(samples), len(batch.rows)),
        )
        return padded, _keys(self._key, *numbers)


@dataclasses.dataclass(frozen=True)
class Compiled:
    """Programs by the length of prompts, and how long they took to compile."""

    programs: Mapping[int, Callable[..., Any]]
    seconds: float


@jax.jit
def _keys(key: jax.Array, prompt: jax.Array, sample: jax.Array) -> jax.Array:
    """Returns a key of its own for each response."""
    fold = jax.random.fold_in
    return jax.vmap(lambda prompt, sample: fold(fold(key, prompt), sample))(prompt, sample)


def batches_of(prompts: Sequence[Sequence[int]], size: int) -> list[Batch]:
    """Sorts prompts by length and cuts them into batches of one size.

    Example:
        >>> batches = batches_of([[1] * 40, [1], [1, 2]], 2)
        >>> [(batch.rows.tolist(), batch.count, batch.length) for batch in batches]
        [([1, 2], 2, 32), ([0, 0], 1, 64)]
    """
    order = np.argsort([len(prompt) for prompt in prompts], kind="stable")
    size = min(size, len(prompts))
    batches = []
    for first in range(0, len(order), size):
        rows = order[first : first + size]
        filled = np.pad(rows, (0, size - len(rows)), mode="edge")
        batches.append(Batch(filled, len(rows), pad_length([prompts[row] for row in rows])))
    return batches
