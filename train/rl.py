"""Two-player reinforcement learning: `python -m train.rl [NAME] [--setting ...]`."""

import sys
from functools import partial
from typing import Any

import jax

from data.prepare import prepare_tokenizer
from jaxreason.model import Params, init
from jaxreason.optimizer import make_optimizer
from jaxreason.rlad import (
    GameState,
    Player,
    ProblemPool,
    draw_problems,
    init_game,
    iterations_per_round,
    make_pool,
    play_turns,
    pool_weights,
    updates_per_round,
)
from jaxreason.tasks import Task, Vocabulary, make_rule_induction
from train.config import ExperimentConfig
from train.errors import refuse_bad_values
from train.loop import Run, count_skipped, load_stage, train_stage
from train.program import run_program
from train.sft import ABSTRACTION_STAGE, SOLUTION_STAGE, load_base, vocabulary_of
from train.text.rl import opt_states, play_text

STAGE = "rl"


def make_vocabulary(config: ExperimentConfig, run: Run) -> Vocabulary:
    """Returns the ids that the run's tokenizer gives to the task's symbols."""
    with refuse_bad_values():
        tokenizer = prepare_tokenizer(config.data, config.task, cache_dir=run.cache_dir)
    return vocabulary_of(tokenizer)


def make_task(config: ExperimentConfig, vocabulary: Vocabulary) -> Task:
    """Returns the experiment's task in the ids of a vocabulary."""
    return make_rule_induction(config.task, vocabulary)


def load_warm_starts(config: ExperimentConfig, run: Run) -> tuple[Params, Params]:
    """Returns the fine-tuned parameters of both players.

    Raises:
        RefusedError: If fine-tuning has not been run to its end.
    """
    shapes = {"params": jax.eval_shape(lambda: init(config.model, jax.random.key(0)))}
    stages = (ABSTRACTION_STAGE, SOLUTION_STAGE)
    loaded = [load_stage(run.path, stage, config.sft.steps, shapes)["params"] for stage in stages]
    return loaded[0], loaded[1]


def make_players(config: ExperimentConfig) -> tuple[Player, Player]:
    """Returns what is fixed about the abstraction and the solution generator."""
    optimizers = (config.rl.abstraction_optimizer, config.rl.solution_optimizer)
    players = [
        Player(
            config.model,
            make_optimizer(each, config.rl.steps * updates_per_round(config.rl.game, part)),
        )
        for part, each in zip(("abstraction", "solution"), optimizers, strict=True)
    ]
    return players[0], players[1]


def start_params(config: ExperimentConfig, run: Run) -> tuple[Params | None, Params]:
    """Returns what the players start from.

    Two players start from their warm starts; a shared model, which must write both, from the base
    model; a solver without abstractions is alone.
    """
    if config.rl.game.shared:
        return None, load_base(config, run)
    abstraction, solution = load_warm_starts(config, run)
    return (abstraction if config.rl.game.abstractions else None), solution


def reinforce(config: ExperimentConfig, run: Run) -> tuple[Params, Params]:
    """Trains both players by the game, or continues where an earlier start was.

    Args:
        config: The experiment.
        run: Where to write; its fine-tuning must be finished.

    Returns:
        The parameters of the abstraction generator and of the solution generator.
    """
    players = make_players(config)
    abstraction, solution = start_params(config, run)
    task = make_task(config, make_vocabulary(config, run))
    step = make_step(config, task, players)
    pool = None
    if config.rl.curriculum.problems:
        pool = _pool(config, task, solution)
    state = train_stage(
        run,
        STAGE,
        config.loop,
        state=init_game(players, abstraction, solution),
        step=lambda state, key, number: step(state, key, *_drawn(config, pool, number)),
        total=config.rl.steps,
        key=jax.random.fold_in(jax.random.key(config.seed), 3),
    )
    return _both(config, run, state)


def make_step(config: ExperimentConfig, task: Task, players: tuple[Player, Player]) -> Any:
    """Compiles one round, with the counts of skipped updates among its metrics.

    It takes the state and a key and, for a curriculum, a pool of problems with their weights.
    """
    game = config.rl.game
    shape = (iterations_per_round(game), game.problems)

    @partial(jax.jit, donate_argnums=0)
    def step(
        state: GameState,
        key: jax.Array,
        pool: ProblemPool | None = None,
        weights: jax.Array | None = None,
    ) -> tuple[GameState, dict[str, jax.Array]]:
        problems = None
        if pool is not None:
            key, draw_key = jax.random.split(key)
            drawn = draw_problems(pool, draw_key, shape[0] * shape[1], weights).reshape(shape)
            problems = jax.vmap(jax.vmap(lambda key: task.sample(key, "train")))(drawn)
        keys = jax.random.split(key, shape)
        state, metrics = play_turns(game, task, players, state, keys, problems=problems)
        return state, metrics | count_skipped(*opt_states(state))

    return step


def _pool(config: ExperimentConfig, task: Task, params: Params) -> ProblemPool:
    """Measures the solver's warm start on a pool of problems and shows what it finds."""
    curriculum = config.rl.curriculum
    make = jax.jit(
        partial(
            make_pool,
            task,
            config.model,
            problems=curriculum.problems,
            samples=curriculum.samples,
        )
    )
    pool = make(params, jax.random.fold_in(jax.random.key(config.seed), 5))
    told = {name: int(n) for name, n in pool.counts(curriculum.easy, 1.0).items()}
    middling = int(pool.counts(curriculum.hard, curriculum.easy)["in_band"])
    print(
        f"Curriculum: of {curriculum.problems} problems the warm start never solves "
        f"{told['never']} and always {told['always']} (weight {curriculum.floor:g}); "
        f"{told['in_band']} are easy, {middling} middling."
    )
    return pool


def _drawn(
    config: ExperimentConfig, pool: ProblemPool | None, number: int
) -> tuple[ProblemPool, jax.Array] | tuple[()]:
    """Returns the pool with the weights of a step: easy problems first, then middling ones."""
    if pool is None:
        return ()
    curriculum, first = config.rl.curriculum, 2 * number < config.rl.steps
    low, high = (curriculum.easy, 1.0) if first else (curriculum.hard, curriculum.easy)
    return pool, pool_weights(pool.rates, low=low, high=high, floor=curriculum.floor)


def load_trained(config: ExperimentConfig, run: Run) -> tuple[Params, Params]:
    """Returns both players' parameters after the game.

    Raises:
        RefusedError: If the game has not been played to its end.
    """
    params = jax.eval_shape(lambda: init(config.model, jax.random.key(0)))
    player = {"train": {"params": params}}
    alone = config.rl.game.shared or not config.rl.game.abstractions
    target = {"solution": player} | ({} if alone else {"abstraction": player})
    loaded = load_stage(run.path, STAGE, config.rl.steps, target)
    solution = loaded["solution"]["train"]["params"]
    if alone:
        return _partner(config, run, solution), solution
    return loaded["abstraction"]["train"]["params"], solution


def _both(config: ExperimentConfig, run: Run, state: GameState) -> tuple[Params, Params]:
    solution = state.solution.train.params
    if state.abstraction is None:
        return _partner(config, run, solution), solution
    return state.abstraction.train.params, solution


def _partner(config: ExperimentConfig, run: Run, solution: Params) -> Params:
    """Returns what writes abstractions beside a solver that had no partner in the game.

    A shared model does it itself; else it is the abstraction generator's warm start.
    """
    return solution if config.rl.game.shared else load_warm_starts(config, run)[0]


if __name__ == "__main__":
    run_program(
        "rl",
        "Trains both players by the two-player game; with --model, a pretrained one's adapters.",
        reinforce,
        sys.argv[1:],
        text=play_text,
    )
