"""Two-player reinforcement learning: `python -m train.rl [NAME] [--setting ...]`."""

import sys
from functools import partial
from typing import Any

import jax

from data.prepare import prepare_tokenizer
from jaxreason.model import Params, init
from jaxreason.optimizer import make_optimizer, skipped_updates
from jaxreason.rlad import GameState, Player, init_game, iterate
from jaxreason.tasks import SYMBOLS, Task, Vocabulary, make_rule_induction
from train.config import ExperimentConfig
from train.errors import refuse_bad_values
from train.loop import SKIPPED, SKIPPED_IN_A_ROW, Run, load_stage, train_stage
from train.program import run_program
from train.sft import ABSTRACTION_STAGE, SOLUTION_STAGE

STAGE = "rl"


def make_vocabulary(config: ExperimentConfig, run: Run) -> Vocabulary:
    """Returns the ids that the run's tokenizer gives to the task's symbols."""
    with refuse_bad_values():
        tokenizer = prepare_tokenizer(config.data, config.task, cache_dir=run.cache_dir)
    ids = tokenizer.symbol_ids(SYMBOLS)
    return Vocabulary(ids, eos_id=tokenizer.eos_id, pad_id=tokenizer.pad_id)


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
    updates = config.rl.steps * config.rl.game.minibatches
    optimizers = (config.rl.abstraction_optimizer, config.rl.solution_optimizer)
    players = [Player(config.model, make_optimizer(each, updates)) for each in optimizers]
    return players[0], players[1]


def reinforce(config: ExperimentConfig, run: Run) -> tuple[Params, Params]:
    """Trains both players by the game, or continues where an earlier start was.

    Args:
        config: The experiment.
        run: Where to write; its fine-tuning must be finished.

    Returns:
        The parameters of the abstraction generator and of the solution generator.
    """
    players = make_players(config)
    state = init_game(players, *load_warm_starts(config, run))
    step = make_step(config, make_task(config, make_vocabulary(config, run)), players)
    state = train_stage(
        run,
        STAGE,
        config.loop,
        state=state,
        step=lambda state, key, number: step(state, key),
        total=config.rl.steps,
        key=jax.random.fold_in(jax.random.key(config.seed), 3),
    )
    return state.abstraction.train.params, state.solution.train.params


def make_step(config: ExperimentConfig, task: Task, players: tuple[Player, Player]) -> Any:
    """Compiles one iteration, with the counts of skipped updates among its metrics."""
    game = config.rl.game

    @partial(jax.jit, donate_argnums=0)
    def step(state: GameState, key: jax.Array) -> tuple[GameState, dict[str, jax.Array]]:
        state, metrics = iterate(game, task, players, state, jax.random.split(key, game.problems))
        both = (state.abstraction.train.opt_state, state.solution.train.opt_state)
        counts = [skipped_updates(opt_state) for opt_state in both]
        in_a_row = jax.numpy.maximum(counts[0][0], counts[1][0])
        return state, metrics | {
            SKIPPED_IN_A_ROW: in_a_row,
            SKIPPED: counts[0][1] + counts[1][1],
        }

    return step


def load_trained(config: ExperimentConfig, run: Run) -> tuple[Params, Params]:
    """Returns both players' parameters after the game.

    Raises:
        RefusedError: If the game has not been played to its end.
    """
    params = jax.eval_shape(lambda: init(config.model, jax.random.key(0)))
    target = {
        "abstraction": {"train": {"params": params}},
        "solution": {"train": {"params": params}},
    }
    loaded = load_stage(run.path, STAGE, config.rl.steps, target)
    return loaded["abstraction"]["train"]["params"], loaded["solution"]["train"]["params"]


if __name__ == "__main__":
    run_program("rl", "Trains both players by the two-player game.", reinforce, sys.argv[1:])
