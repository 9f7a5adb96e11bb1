"""Times the compiled steps of a config beside the machine's limits: `python -m benchmarks.steps`.

Tokens are those that a step reads or writes, prompts included; padding counts, since it is
computed. A step's floor is the larger of its arithmetic at the measured matmul rate and its bytes
at the measured bandwidth: 2 operations a parameter and token forward, 6 with the backward pass;
decoding reads the parameters and the cache once a step; of an iteration only the arithmetic counts.
One JSON line comes last.
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.roofline import Machine, format_machine, measure_machine
from benchmarks.timing import Timing, format_table, time_compiled
from jaxreason.model import ModelConfig, decode_step, init, num_parameters, prefill
from jaxreason.optimizer import make_optimizer
from jaxreason.rlad import init_game, iterate
from jaxreason.tasks import make_rule_induction
from jaxreason.training import init_state, supervised_step
from train.cli import load_configs
from train.config import ExperimentConfig
from train.forecast import places
from train.rl import make_players


@dataclasses.dataclass(frozen=True)
class Step:
    """What was measured of one step, and the least it could take."""

    name: str
    tokens: int
    timing: Timing
    flops: float
    bytes: float
    dtype: str

    def floor_seconds(self, machine: Machine) -> float:
        """Returns the least time at the machine's measured limits."""
        rates = {
            "float32": machine.matmul_flops_per_second,
            "bfloat16": machine.bfloat16_matmul_flops_per_second,
        }
        arithmetic = self.flops / rates.get(self.dtype, machine.matmul_flops_per_second)
        return max(arithmetic, self.bytes / machine.bandwidth_bytes_per_second)

    def row(self, machine: Machine) -> list[str]:
        """Returns the step's row of the table."""
        timing, seconds = self.timing, self.timing.median_seconds
        spread = f"{1e3 * timing.low:,.1f}-{1e3 * timing.high:,.1f}"
        return [
            self.name,
            f"{self.tokens:,}",
            f"{timing.compile_seconds:.1f}",
            f"{1e3 * seconds:,.1f}",
            spread,
            f"{self.tokens / seconds:,.0f}",
            f"{self.floor_seconds(machine) / seconds:.0%}",
        ]


HEADER = ["step", "tokens", "compile s", "median ms", "quartiles ms", "tokens/s", "of the limit"]


def measure_steps(config: ExperimentConfig, *, batch: int, length: int, repeats: int) -> list[Step]:
    """Times prefill, decoding, the training step and the RL iteration of a config.

    Args:
        config: The experiment whose shapes are timed.
        batch: Sequences at a time, for all but the RL iteration.
        length: Tokens in a prompt or packed sequence.
        repeats: Timed calls of each step.
    """
    timed = partial(time_compiled, repeats=repeats)
    model = config.model
    params = init(model, jax.random.key(0))
    tokens = jax.random.randint(jax.random.key(1), (batch, length), 4, model.vocab_size)
    weights = 4.0 * num_parameters(model)
    forward = 2.0 * num_parameters(model) * batch
    unread = 2.0 * model.vocab_size * model.dim * batch * (length - 1)  # logits after the last only
    read = jax.jit(partial(prefill, model, num_slots=length + 1))
    mask = jnp.ones(tokens.shape, bool)
    read_timing = timed(read, params, tokens, mask)
    cache = read(params, tokens, mask)[1]
    cache_bytes = float(sum(leaf.nbytes for leaf in jax.tree.leaves(cache.layers)))
    decode = jax.jit(partial(decode_step, model), donate_argnums=2)
    train, arguments = _train_step(config, params, tokens)
    return [
        Step(
            "prefill",
            batch * length,
            read_timing,
            forward * length - unread,
            weights + cache_bytes,
            model.dtype,
        ),
        Step(
            "decode",
            batch,
            timed(decode, params, tokens[:, 0], cache),
            forward,
            weights + cache_bytes,
            model.dtype,
        ),
        Step(
            "train step",
            batch * length,
            timed(train, *arguments),
            3 * forward * length,
            7 * weights,
            model.dtype,
        ),
        _iteration(config, timed),
    ]


def _train_step(config: ExperimentConfig, params: Any, tokens: jax.Array) -> tuple[Any, tuple]:
    """Returns the training step and its arguments."""
    optimizer = make_optimizer(config.pretrain.optimizer, config.pretrain.steps)
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape)
    packed = {
        "tokens": tokens,
        "segment_ids": jnp.ones_like(tokens),
        "positions": positions,
        "loss_mask": jnp.ones(tokens.shape, bool),
    }
    step = jax.jit(partial(supervised_step, config.model, optimizer), donate_argnums=0)
    return step, (init_state(optimizer, params), packed)


def _iteration(config: ExperimentConfig, timed: Any) -> Step:
    """Times one iteration of the game."""
    game, players, task = config.rl.game, make_players(config), make_rule_induction(config.task)
    first, second = (init(config.model, jax.random.key(seed)) for seed in (0, 1))
    state = init_game(players, first, second)
    keys = jax.random.split(jax.random.key(2), game.problems)
    step = jax.jit(partial(iterate, game, task, players), donate_argnums=0)
    timing = timed(step, state, keys)
    tokens = places(game, task)
    # forward once to generate, once for the reference; forward and backward to learn
    flops = (2 + 2 + 6) * num_parameters(config.model) * tokens
    return Step("RL iteration", tokens, timing, flops, 0.0, config.model.dtype)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures the machine, then the steps, and prints both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="demo", help="module under configs (default: demo)")
    parser.add_argument("--batch", type=int, default=64, help="sequences (default: 64)")
    parser.add_argument("--length", type=int, default=128, help="tokens in each (default: 128)")
    parser.add_argument("--repeats", type=int, default=9, help="timed calls (default: 9)")
    options = parser.parse_args(argv)
    configs = load_configs(kinds=(ExperimentConfig,))
    if options.config not in configs:
        parser.error(f"unknown config {options.config!r}; the known ones are {', '.join(configs)}.")
    config: ExperimentConfig = configs[options.config]
    machine = measure_machine()
    print(format_machine(machine), end="\n\n")
    steps = measure_steps(
        config, batch=options.batch, length=options.length, repeats=options.repeats
    )
    print(format_table(HEADER, [step.row(machine) for step in steps]), end="\n\n")
    measured = [
        dataclasses.asdict(step) | {"floor_seconds": step.floor_seconds(machine)} for step in steps
    ]
    model: ModelConfig = config.model
    print(
        json.dumps(
            {
                "machine": dataclasses.asdict(machine),
                "jax": jax.__version__,
                "model": dataclasses.asdict(model),
                "steps": measured,
            }
        )
    )


if __name__ == "__main__":
    main()
