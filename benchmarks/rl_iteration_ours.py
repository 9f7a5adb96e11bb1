"""Our side of `benchmarks.rl_iteration`: plain GRPO as a special case of the game, one program.

Sampling of prompts, rollout, reward, advantages and the update are one compiled call, whose state
is donated; for several seeds the same call is mapped over them.
"""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from benchmarks.rl_iteration_worker import (
    CLIP_NORM,
    LEARNING_RATE,
    NORM_EPSILON,
    ROPE_THETA,
    Shape,
    Worker,
    versions,
)
from jaxreason.model import ModelConfig, Params, init
from jaxreason.optimizer import OptimizerConfig, make_optimizer
from jaxreason.rlad import GameConfig, GameState, Player, init_game, iterate
from jaxreason.sequences import Sequence
from jaxreason.tasks import Task

Carry = tuple[GameState, Array]
"""What an iteration starts from: the policy with its optimiser, and a key."""


def make_task(shape: Shape) -> Task:
    """Returns a task of random prompts that pays for even tokens and has no abstractions."""

    def prompt(problem: Array, *_: Any) -> Sequence:
        return Sequence(problem, jnp.ones(problem.shape, bool))

    def reward(_: Array, solution: Sequence) -> Array:
        even = solution.mask & (solution.tokens % 2 == 0)
        return even.sum() / solution.mask.sum()

    return Task(
        sample=lambda key, _: jax.random.randint(
            key, (shape.prompt_length,), 0, shape.vocab_size, jnp.int32
        ),
        abstraction_prompt=prompt,
        solution_prompt=prompt,
        withheld_prompt=prompt,
        reward=reward,
        abstraction_stops=(),
        solution_stops=(),
        abstraction_length=1,
        solution_length=shape.completion_length,
    )


def make_iteration(
    shape: Shape,
) -> tuple[Callable[[Array], Carry], Callable[[Carry], tuple[Carry, dict[str, Array]]]]:
    """Returns the functions that start from a key and that make one iteration."""
    model = ModelConfig(
        vocab_size=shape.vocab_size,
        dim=shape.dim,
        num_layers=shape.num_layers,
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_kv_heads,
        hidden_dim=shape.hidden_dim,
        rope_theta=float(ROPE_THETA),
        norm_epsilon=NORM_EPSILON,
    )
    optimizer = OptimizerConfig(
        learning_rate=LEARNING_RATE,
        warmup_steps=0,
        final_fraction=1.0,
        weight_decay=0.0,
        b2=0.999,
        clip_norm=CLIP_NORM,
    )
    player = Player(model, make_optimizer(optimizer, total_steps=10**6))
    game = GameConfig(
        problems=shape.problems,
        abstractions=0,
        bare=1,
        solutions=shape.completions,
        mask_bare=False,
        clip_high=0.2,
        aggregation="sequence",
        kl_coef=0.0,
        entropy_coef=0.0,
    )
    step = partial(iterate, game, make_task(shape), (player, player))

    def start(key: Array) -> Carry:
        first, key = jax.random.split(key)
        return init_game((player, player), None, init(model, first)), key

    def advance(carry: Carry) -> tuple[Carry, dict[str, Array]]:
        state, key = carry
        now, key = jax.random.split(key)
        state, metrics = step(state, jax.random.split(now, shape.problems))
        return (state, key), {name: metrics[f"solution/{name}"] for name in ("length", "reward")}

    return start, advance


def parameters(carry: Carry) -> Params:
    """Returns a copy of the policy's parameters."""
    return jax.tree.map(np.array, carry[0].solution.train.params)


def memory(compiled: Any) -> dict[str, int]:
    """Returns what the compiler says about the program's memory, in bytes.

    What is donated is counted once: `peak` is arguments, results and temporary arrays, less the
    results that lie where arguments did.
    """
    stats = compiled.memory_analysis()
    names = ("argument", "output", "alias", "temp")
    sizes = {name: getattr(stats, f"{name}_size_in_bytes") for name in names}
    return sizes | {"peak": sizes["argument"] + sizes["output"] + sizes["temp"] - sizes["alias"]}


def main() -> None:
    """Serves iterations of the case that is given as JSON."""
    worker = Worker()
    case = json.loads(sys.argv[1])
    start, advance = make_iteration(Shape(**case["shape"]))
    if case["seeds"] == 1:
        carry = jax.jit(start)(jax.random.key(0))
    else:
        carry = jax.jit(jax.vmap(start))(jax.random.split(jax.random.key(0), case["seeds"]))
        advance = jax.vmap(advance)
    before = parameters(carry)
    worker.begin()
    compiled = jax.jit(advance, donate_argnums=0).lower(carry).compile()
    wanted = worker.ready(
        compile_seconds=worker.elapsed(),
        parameters=sum(leaf.size for leaf in jax.tree.leaves(before)) // case["seeds"],
        threads=len(os.sched_getaffinity(0)),
        versions=versions("jax", "jaxlib", "flax", "optax"),
        memory=memory(compiled),
    )
    while wanted:
        worker.begin()
        carry, metrics = jax.block_until_ready(compiled(carry))
        worker.note(*(np.ravel(metrics[name]).tolist() for name in ("length", "reward")))
        wanted = worker.end()
    changes = jax.tree.map(lambda new, old: np.abs(new - old).max(), parameters(carry), before)
    worker.close(float(max(jax.tree.leaves(changes))))


if __name__ == "__main__":
    main()
