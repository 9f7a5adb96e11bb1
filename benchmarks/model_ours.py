"""Our side of `benchmarks.generate` and `benchmarks.train_step`."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.model_worker import Work, given, serve_generation, serve_training
from benchmarks.rl_iteration_worker import Worker, versions
from data.pretrained.load import load_pretrained
from data.pretrained.models import open_model
from jaxreason.model import ModelConfig, Params, quantize, token_log_probs
from jaxreason.rollout import Sampling, generate
from jaxreason.sequences import Sequence


def load(work: Work) -> tuple[ModelConfig, Params]:
    """Loads the model; 8-bit weights go with float32 activations."""
    dtype = "float32" if work.dtype == "int8" else work.dtype
    config, params = load_pretrained(open_model(Path(work.weights)), dtype=dtype)
    return config, jax.jit(quantize)(params) if work.dtype == "int8" else params


def make_generation(work: Work) -> tuple[Callable[[int], list[list[int]]], float]:
    """Returns a function from a number of tokens to greedy ones, and the seconds to compile."""
    config, params = load(work)
    tokens = jnp.array(work.tokens, jnp.int32)
    prompts, key = Sequence(tokens, jnp.ones(tokens.shape, bool)), jax.random.key(0)

    def run(params: Params, prompts: Sequence, count: int) -> jax.Array:
        how: Any = {"stop_tokens": (), "sampling": Sampling(temperature=0.0)}
        rollout = generate(config, params, prompts, key, max_new_tokens=count, **how)
        return rollout.completion.tokens

    jitted = jax.jit(run, static_argnums=2)
    start = time.perf_counter()
    compiled = {
        count: jitted.lower(params, prompts, count).compile() for count in {1, work.new_tokens}
    }
    seconds = time.perf_counter() - start
    return lambda count: np.asarray(compiled[count](params, prompts)).tolist(), seconds


def make_training(work: Work) -> tuple[Callable[[], float], float]:
    """Returns a function that computes loss and gradients, and the seconds to compile it."""
    config, params = load(work)
    tokens = jnp.array(work.tokens, jnp.int32)

    def loss(params: Params) -> jax.Array:
        return -token_log_probs(config, params, tokens).log_probs.mean()

    start = time.perf_counter()
    compiled = jax.jit(jax.value_and_grad(loss)).lower(params).compile()
    seconds = time.perf_counter() - start
    return lambda: float(jax.block_until_ready(compiled(params))[0]), seconds


def main() -> None:
    """Serves the work that is given."""
    worker, (work, _) = Worker(), given()
    make: Any = make_generation if work.kind == "generate" else make_training
    function, seconds = make(work)
    facts = {
        "compile_seconds": seconds,
        "threads": len(os.sched_getaffinity(0)),
        "versions": versions("jax", "jaxlib", "flax"),
    }
    if work.kind == "generate":
        serve_generation(worker, function, work.new_tokens, **facts)
    else:
        serve_training(worker, function, **facts)


if __name__ == "__main__":
    main()
