"""Answers a prompt with a pretrained model: `python -m train.generate --model NAME "..."`.

Tokens are shown as they come. The model is a folder with config.json and safetensors, a GGUF file,
or `smollm2` for the SmolLM2-135M-Instruct that `make real` installs.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax

from data.pretrained.hf_config import model_config
from data.pretrained.load import load_pretrained
from data.pretrained.models import find_model, open_model, open_tokenizer
from data.pretrained.tokenizer import PretrainedTokenizer
from data.tokenizer import TextStream
from jaxreason.checks import check_that
from jaxreason.model import ModelConfig, Params, num_parameters, quantize
from jaxreason.rollout import Sampling, advance, begin, pad_prompts
from train.errors import exit_on_refusal, refuse_bad_values
from train.memory import check_memory

STEPS = 8
"""Tokens drawn in one call, between which text is shown."""
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model with its tokenizer."""

    config: ModelConfig
    params: Params
    tokenizer: PretrainedTokenizer


def load(name: str, dtype: str, *, tokens: int, batch: int = 1, quantized: bool = False) -> Loaded:
    """Loads a pretrained model, after it has told the memory that it takes.

    Args:
        name: A name, file or folder, see `find_model`.
        dtype: Type of weights and activations.
        tokens: Places of the cache for each row.
        batch: Rows of the cache.
        quantized: Whether weights are rounded to 8 bits once they are read.

    Raises:
        RefusedError: If it can't be read or does not fit.
    """
    with refuse_bad_values():
        path = find_model(name)
        source = open_model(path)
        tokenizer = open_tokenizer(path)
        config = model_config(source.config)
        place = 2 * config.num_layers * config.num_kv_heads * config.head_dim
        check_memory(
            {
                "parameters": num_parameters(config) * BYTES[dtype],
                "cache": batch * tokens * place * BYTES[dtype],
            }
            | ({"8-bit weights": num_parameters(config)} if quantized else {})
        )
        config, params = load_pretrained(source, dtype=dtype)
    if quantized:
        params = jax.jit(quantize, donate_argnums=0)(params)
    return Loaded(config, params, tokenizer)


def stream(
    model: Loaded,
    prompt: Sequence[int],
    *,
    max_new_tokens: int,
    sampling: Sampling,
    seed: int = 0,
) -> Iterator[list[int]]:
    """Yields the tokens of an answer, a few at a time; the last may be a stop token.

    Args:
        model: The model.
        prompt: Token ids.
        max_new_tokens: The most tokens to draw.
        sampling: The distribution to draw from.
        seed: Seed of the draws.
    """
    tokenizer = model.tokenizer
    # A prompt of a length up to a power of two compiles nothing anew.
    bucket = max(32, 1 << (len(prompt) - 1).bit_length())
    prompts = pad_prompts([prompt], buckets=(bucket,), pad_id=tokenizer.pad_id)
    how: dict[str, Any] = {"stop_tokens": tokenizer.stop_ids, "sampling": sampling}
    start = jax.jit(partial(begin, model.config, max_new_tokens=max_new_tokens, **how))
    go_on = jax.jit(partial(advance, model.config, steps=STEPS, **how), donate_argnums=1)
    state, shown = start(model.params, prompts, jax.random.key(seed)), 0
    while True:
        drawn, done = int(state.mask.sum()), bool(state.done.all())
        yield state.tokens[0, shown:drawn].tolist()
        shown = drawn
        if done or drawn >= max_new_tokens:
            return
        state = go_on(model.params, state)


def answer(arguments: argparse.Namespace) -> None:
    """Loads the model, answers and says how fast."""
    with refuse_bad_values():
        sampling = Sampling(arguments.temperature, arguments.top_k, arguments.top_p)
        limit = arguments.max_new_tokens
        check_that(limit >= 1, f"max_new_tokens must be 1 or more; got {limit}.")
    model = load(
        arguments.model,
        arguments.dtype,
        tokens=limit + len(arguments.prompt),
        quantized=arguments.quantize is not None,
    )
    with refuse_bad_values():
        prompt = encode(model.tokenizer, arguments)
    text, count, first = TextStream(model.tokenizer), 0, 0.0
    started = time.monotonic()
    for tokens in stream(
        model, prompt, max_new_tokens=limit, sampling=sampling, seed=arguments.seed
    ):
        print("".join(text.push(token) for token in tokens), end="", flush=True)
        if not count:
            first = time.monotonic() - started
        count += len(tokens)
    print(text.close(), flush=True)
    seconds = time.monotonic() - started
    print(
        f"{count} tokens after {len(prompt)}: the first after {first:.1f} s, all in {seconds:.1f}"
        " s, compiling included",
        file=sys.stderr,
    )


def encode(tokenizer: PretrainedTokenizer, arguments: argparse.Namespace) -> list[int]:
    """Returns the ids of the prompt, by the model's chat template unless it is to be raw."""
    if arguments.raw:
        return [*tokenizer.start_ids, *tokenizer.encode(arguments.prompt)]
    messages = [{"role": "user", "content": arguments.prompt}]
    if arguments.system is not None:
        messages.insert(0, {"role": "system", "content": arguments.system})
    return tokenizer.encode_chat(messages, add_generation_prompt=True)


def main(argv: Sequence[str]) -> None:
    """Reads the command line and answers."""
    parser = argparse.ArgumentParser("python -m train.generate", description=__doc__)
    parser.add_argument("prompt", help="what to answer")
    parser.add_argument("--model", default="smollm2", help="name, file or folder (%(default)s)")
    parser.add_argument("--system", help="system message (default: what the template says)")
    parser.add_argument(
        "--raw", action="store_true", help="continue the prompt, without a template"
    )
    parser.add_argument("--max-new-tokens", type=int, default=256, help="(default: %(default)s)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (%(default)s)")
    parser.add_argument("--top-k", type=int, help="keep the k most likely tokens")
    parser.add_argument("--top-p", type=float, default=1.0, help="keep this much probability")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws (%(default)s)")
    parser.add_argument("--dtype", choices=tuple(BYTES), default="float32", help="(%(default)s)")
    parser.add_argument("--quantize", choices=("int8",), help="weights of 8 bits (default: not)")
    with exit_on_refusal():
        answer(parser.parse_args(argv))


if __name__ == "__main__":
    main(sys.argv[1:])
