"""Times three ways to generate for many requests: `python -m benchmarks.rollout_queue`.

- batch: `generate` for all requests at once; the cache holds a row for each.
- chunks: `generate` for as many requests as there are slots, then for the next ones; each chunk
  takes as long as its longest row. One program, in which the chunks follow each other.
- queue: `generate_queue` with as many slots, which takes the next prompts where rows have stopped.

Weights are random, so that every token is about equally likely; of these, a share stops a row. So
lengths are about geometric: most are short, a few are long. All ways draw from the same keys and
give the same tokens, but for ties within rounding. They are called in turn. Tokens are those
emitted; occupancy is the share of the rows' decode steps that a request needed; memory is what a
program holds beside its arguments and results. One JSON line comes last.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.data import time_in_turn
from benchmarks.timing import Timing, format_table, quartiles
from jaxreason.model import ModelConfig, init
from jaxreason.rollout import Rollout, generate
from jaxreason.rollout.queue import generate_queue
from jaxreason.sequences import Sequence as Tokens
from train.cli import load_configs
from train.config import ExperimentConfig


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is generated.

    Attributes:
        requests: Number of prompts, a multiple of the slots.
        slots: Rows of the chunks and of the queue.
        refills: Prompts that the queue reads at a time; each is a row of the table.
        prompt_length: Tokens in each prompt.
        max_new_tokens: The most tokens to generate for a request.
        mean_length: About how many it gets.
        repeats: Timed calls of each way.
    """

    requests: int = 256
    slots: int = 32
    refills: tuple[int, ...] = (1, 2, 4, 8, 16)
    prompt_length: int = 64
    max_new_tokens: int = 384
    mean_length: int = 64
    repeats: int = 5


@dataclasses.dataclass(frozen=True)
class Way:
    """What was measured of one way."""

    name: str
    rows: int
    timing: Timing
    tokens: int
    decode_steps: int
    occupancy: float
    memory_bytes: int
    same_as_batch: float

    def row(self) -> list[str]:
        """Returns the way's row of the table."""
        timing, seconds = self.timing, self.timing.median_seconds
        return [
            self.name,
            f"{self.rows:,}",
            f"{timing.compile_seconds:.1f}",
            f"{1e3 * seconds:,.1f}",
            f"{1e3 * timing.low:,.1f}-{1e3 * timing.high:,.1f}",
            f"{self.tokens / seconds:,.0f}",
            f"{self.decode_steps:,}",
            f"{self.occupancy:.0%}",
            f"{self.memory_bytes / 2**20:,.1f}",
            f"{self.same_as_batch:.1%}",
        ]


HEADER = [
    *("way", "rows", "compile s", "median ms", "quartiles ms", "tokens/s", "decode steps"),
    *("occupancy", "memory MiB", "same as batch"),
]

# Of parameters, prompts and keys: the rollout and the number of decode steps.
Program: TypeAlias = Callable[[Any, Tokens, jax.Array], tuple[Rollout, jax.Array]]


def programs(model: ModelConfig, plan: Plan) -> dict[str, tuple[int, Program]]:
    """Returns the rows and the program of each way, by name."""
    stops = tuple(range(max(1, round(model.vocab_size / plan.mean_length))))
    how = {"max_new_tokens": plan.max_new_tokens, "stop_tokens": stops}

    def batch(params: Any, prompts: Tokens, keys: jax.Array) -> tuple[Rollout, jax.Array]:
        rollout = generate(model, params, prompts, keys, **how)
        return rollout, rollout.completion.length.max() - 1

    def chunks(params: Any, prompts: Tokens, keys: jax.Array) -> tuple[Rollout, jax.Array]:
        parts = jax.tree.map(
            lambda leaf: leaf.reshape(-1, plan.slots, *leaf.shape[1:]), (prompts, keys)
        )
        rollout, steps = jax.lax.map(lambda part: batch(params, *part), parts)
        joined = jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), rollout)
        return joined, steps.sum()

    def queue(
        refill: int, params: Any, prompts: Tokens, keys: jax.Array
    ) -> tuple[Rollout, jax.Array]:
        rollout, counts = generate_queue(
            model, params, prompts, keys, slots=plan.slots, refill=refill, **how
        )
        return rollout, counts.decode_steps

    queues = {f"queue, refill {refill}": partial(queue, refill) for refill in plan.refills}
    few = {name: (plan.slots, program) for name, program in ({"chunks": chunks} | queues).items()}
    return {"batch": (plan.requests, batch)} | few


def measure(model: ModelConfig, plan: Plan) -> tuple[list[Way], np.ndarray]:
    """Times every way on the same requests; returns the lengths of the completions too."""
    key, token_key, draw_key = jax.random.split(jax.random.key(0), 3)
    shape = (plan.requests, plan.prompt_length)
    tokens = jax.random.randint(token_key, shape, 0, model.vocab_size)
    prompts = Tokens(tokens, jnp.ones(shape, bool))
    arguments = (init(model, key), prompts, jax.random.split(draw_key, plan.requests))
    compiled, compile_seconds, rows = {}, {}, {}
    for name, (rows[name], program) in programs(model, plan).items():
        start = time.perf_counter()
        compiled[name] = jax.jit(program).lower(*arguments).compile()
        compile_seconds[name] = time.perf_counter() - start
    calls = {
        name: lambda call=call: jax.block_until_ready(call(*arguments))
        for name, call in compiled.items()
    }
    seconds = time_in_turn(calls, plan.repeats)
    expected = calls["batch"]()[0].completion
    lengths = np.asarray(expected.length)
    ways = []
    for name, call in calls.items():
        rollout, steps = call()
        low, median, high = quartiles(seconds[name])
        taken = int(steps) * rows[name]
        emitted = int(rollout.completion.mask.sum())
        way = Way(
            name=name,
            rows=rows[name],
            timing=Timing(compile_seconds[name], median, low, high, plan.repeats),
            tokens=emitted,
            decode_steps=int(steps),
            # The first token of a request comes from its prompt.
            occupancy=(emitted - plan.requests) / taken if taken else 1.0,
            memory_bytes=compiled[name].memory_analysis().temp_size_in_bytes,
            same_as_batch=float((rollout.completion.tokens == expected.tokens).all(1).mean()),
        )
        ways.append(way)
    return ways, lengths


def format_lengths(lengths: np.ndarray) -> str:
    """Says how the lengths are spread."""
    median, most = np.quantile(lengths, [0.5, 0.9])
    return (
        f"{len(lengths):,} requests, {lengths.sum():,} tokens: mean {lengths.mean():.1f},"
        f" median {median:.0f}, nine in ten up to {most:.0f}, longest {lengths.max()}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measures every way and prints them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="demo", help="module under configs (default: demo)")
    for field in dataclasses.fields(Plan):
        several = {"nargs": "+"} if field.name == "refills" else {}
        name = "--" + field.name.replace("_", "-")
        parser.add_argument(name, type=int, default=field.default, **several)
    options = vars(parser.parse_args(argv))
    configs, name = load_configs(kinds=(ExperimentConfig,)), options.pop("config")
    if name not in configs:
        parser.error(f"unknown config {name!r}; the known ones are {', '.join(configs)}.")
    plan = Plan(**options | {"refills": tuple(options["refills"])})
    if plan.requests % plan.slots:
        parser.error(
            f"requests must be a multiple of slots; got {plan.requests} for {plan.slots} slots."
        )
    if max(plan.refills) > plan.slots:
        parser.error(f"refills must be at most the slots, {plan.slots}; got {max(plan.refills)}.")
    ways, lengths = measure(configs[name].model, plan)
    print(f"{jax.devices()[0].device_kind}; {format_lengths(lengths)}", end="\n\n")
    print(format_table(HEADER, [way.row() for way in ways]), end="\n\n")
    print(
        json.dumps(
            {
                "device": jax.devices()[0].device_kind,
                "jax": jax.__version__,
                "model": dataclasses.asdict(configs[name].model),
                "plan": dataclasses.asdict(plan),
                "lengths": lengths.tolist(),
                "ways": [dataclasses.asdict(way) for way in ways],
            }
        )
    )


if __name__ == "__main__":
    main()
