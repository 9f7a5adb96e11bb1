"""How long the stages of an experiment may take on this machine, from a quick measurement."""

import time
from functools import partial

import jax
import jax.numpy as jnp

from jaxreason.model import num_parameters
from jaxreason.rlad import GameConfig, iterations_per_round
from jaxreason.tasks import Task, make_rule_induction
from train.config import ExperimentConfig, SupervisedConfig, longest_document
from train.progress import PlannedStage

EFFICIENCY = 0.35  # of the matmul rate that small models reach, as seen on CPUs
COMPILE_SECONDS = {"data": 20.0, "pretrain": 10.0, "sft": 10.0, "rl": 20.0, "evaluate": 25.0}


def plan(config: ExperimentConfig) -> list[PlannedStage]:
    """Returns the stages with the time expected for each: arithmetic at this machine's rate.

    The estimate is rough (the progress bars know better after a few steps): 2 operations for a
    parameter and token forward, 6 with the backward pass, at 0.35 of the measured matmul rate,
    and some seconds to compile or prepare.
    """
    task = make_rule_induction(config.task)
    rate = EFFICIENCY * _matmul_rate()
    parameters = num_parameters(config.model)
    settings = config.evaluation
    rounds = GameConfig(
        problems=settings.problems,
        abstractions=settings.abstractions,
        solutions=max(settings.solutions, 2),
        bare=settings.abstractions,
    )
    iterations = config.rl.steps * iterations_per_round(config.rl.game)
    work = {
        "data": (1, 0.0),
        "pretrain": (config.pretrain.steps, 6.0 * _tokens(config, config.pretrain)),
        "sft": (2 * config.sft.steps, 2 * 6.0 * _tokens(config, config.sft) + _filtering(config)),
        "rl": (config.rl.steps, 10.0 * iterations * places(config.rl.game, task)),
        "evaluate": (3, 3 * 2 * 2.0 * places(rounds, task)),
    }
    return [
        PlannedStage(stage, steps, COMPILE_SECONDS[stage] + parameters * operations / rate)
        for stage, (steps, operations) in work.items()
    ]


def _tokens(config: ExperimentConfig, stage: SupervisedConfig) -> int:
    return stage.steps * stage.batch_size * config.data.sequence_length


def _filtering(config: ExperimentConfig) -> float:
    """Returns the operations a parameter to solve each problem with its abstraction and without."""
    solutions = 2 * config.sft.filter_samples * config.data.sft_problems
    return 2.0 * solutions * longest_document(config.task)


def places(game: GameConfig, task: Task) -> int:
    """Returns the places, prompts and padding included, of both players' sequences in a round."""
    problem = jax.eval_shape(lambda: task.sample(jax.random.key(0), "train"))
    words = jax.eval_shape(task.abstraction, problem)
    bare = jax.ShapeDtypeStruct((), jnp.bool_)
    first = jax.eval_shape(task.abstraction_prompt, problem).tokens.shape[0]
    second = jax.eval_shape(task.solution_prompt, problem, words, bare).tokens.shape[0]
    proposals = game.abstractions * (first + task.abstraction_length)
    slots = (game.abstractions + game.bare) * game.solutions
    return game.problems * (proposals + slots * (second + task.solution_length))


def _matmul_rate(size: int = 512, seconds: float = 0.2) -> float:
    """Returns the operations a second of float32 products on the default device."""
    multiply = jax.jit(lambda x, y: jax.lax.fori_loop(0, 8, lambda _, z: z @ y, x))
    run = partial(multiply, *jnp.full((2, size, size), 1.0 / size))
    jax.block_until_ready(run())
    calls, started = 0, time.monotonic()
    while time.monotonic() - started < seconds:
        jax.block_until_ready(run())
        calls += 1
    return calls * 8 * 2.0 * size**3 / (time.monotonic() - started)
