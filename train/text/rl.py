"""RLAD with a pretrained model on text: two adapters on one frozen base.

`python -m train.rl text --model NAME --task NAME`. Solutions are judged in Python, so a round is
compiled in two halves with the host between them; see `train.host_round`.
"""

import dataclasses
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax

from data.questions import QuestionSet
from jaxreason.model import Adapters, ModelConfig, Params, init_adapters
from jaxreason.optimizer import make_optimizer
from jaxreason.rlad import GameConfig, GameState, Player, init_game, updates_per_round
from jaxreason.tasks import Task
from train.checkpoints import SEAL
from train.errors import RefusedError
from train.host_round import HostRound
from train.loop import Run, count_skipped, load_stage, train_stage
from train.memory import check_memory
from train.run_folder import write_json
from train.text import sft
from train.text.config import RL_STAGE, TextConfig
from train.text.prepared import prepare_game
from train.text.pretrained import open_pretrained, open_task, size_of
from train.text.referee import Referee, open_pool
from train.text.rl_config import TextRLConfig

STAGE = RL_STAGE
SAMPLES = "rl_samples"
"""The folder of a run with the texts of some rounds, one JSON file each."""


def play_text(config: TextConfig, run: Run) -> GameState:
    """Trains both players on the questions of a task, or continues where an earlier start was.

    Args:
        config: The experiment.
        run: Where to write; players start from its stages of fine-tuning if there are any.

    Returns:
        The state after the last round, without the base.
    """
    questions = open_task(config, run.cache_dir, num_train=config.rl.questions)
    return play_questions(config, run, questions)


def play_questions(config: TextConfig, run: Run, questions: QuestionSet) -> GameState:
    """Trains both players on given questions; see `play_text`."""
    settings, pretrained = config.rl, open_pretrained(config)
    tokenised, task = prepare_game(settings, pretrained, questions.train, questions.instruction)
    players = make_players(settings, dataclasses.replace(pretrained.model, remat=settings.remat))
    adapters = first_adapters(config, run, pretrained.model)
    with open_pool(questions, settings) as pool:
        referee = Referee(pretrained.tokenizer, tokenised.questions, pool)
        finds = referee.find_leaks if settings.game.abstractions else None
        play_round = HostRound(settings.game, task, players, referee.judge, find_leaks=finds)
        if not is_finished(config, run):
            shapes = pretrained.shapes(config.dtype)
            compile_round(settings.game, play_round, players, task, adapters, shapes)
        base = pretrained.load(config.dtype)
        return train_stage(
            run,
            STAGE,
            config.loop,
            state=jax.jit(partial(begin, settings.game, players))(*adapters, base),
            step=make_step(config, task, play_round, base, referee, run.path / SAMPLES),
            total=settings.steps,
            key=jax.random.fold_in(jax.random.key(config.seed), 3),
        )


def compile_round(
    game: GameConfig,
    play_round: HostRound,
    players: tuple[Player, Player],
    task: Task,
    adapters: tuple[Adapters, Adapters],
    base: Params,
) -> None:
    """Compiles the rounds, tells the memory that they take and refuses what does not fit.

    Args:
        game: The sizes of a round.
        play_round: One round.
        players: What is fixed about both players.
        task: The task.
        adapters: What both begin with.
        base: The shapes of the base.

    Raises:
        RefusedError: If there is not so much memory.
    """
    print("compiling a round", file=sys.stderr)
    state = jax.eval_shape(partial(begin, game, players), *adapters, base)
    key = jax.random.key(0)
    problems = jax.eval_shape(partial(draw_problems, task, game), key)
    keys = jax.random.split(key, game.problems)
    working = play_round.compile(dataclasses.replace(state, base=base), keys, problems)
    check_memory(
        {
            "parameters": size_of(base),
            "adapters and optimisers": size_of(state),
            "cache or activations": working,
        }
    )


def make_players(settings: TextRLConfig, model: ModelConfig) -> tuple[Player, Player]:
    """Returns what is fixed about the abstraction and the solution generator."""
    optimizers = (settings.abstraction_optimizer, settings.solution_optimizer)
    first, second = (
        Player(model, make_optimizer(each, settings.steps * updates_per_round(settings.game, part)))
        for part, each in zip(("abstraction", "solution"), optimizers, strict=True)
    )
    return first, second


def first_adapters(config: TextConfig, run: Run, model: ModelConfig) -> tuple[Adapters, Adapters]:
    """Returns the adapters with which the abstraction and the solution generator begin.

    Each is the run's fine-tuning for its part, if there is one, else new, which changes nothing
    yet.

    Raises:
        RefusedError: If a fine-tuning is not finished, or trained other adapters than the game's.
    """
    keys = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), 2))
    abstraction, solution = (init_adapters(config.rl.lora, model, key) for key in keys)
    stages = {
        stage: (run.path / "checkpoints" / stage).exists()
        for stage in (sft.ABSTRACTION_STAGE, sft.STAGE)
    }
    if any(stages.values()) and config.sft.lora not in (None, config.rl.lora):
        raise RefusedError(
            f"the fine-tuning of {run.path} trained adapters of another kind than the game's:"
            f" make rl.lora, {config.rl.lora}, the same as {config.sft.lora}."
        )
    if stages[sft.STAGE]:
        solution = load_warm_start(config, run, sft.STAGE, model)
    if stages[sft.ABSTRACTION_STAGE]:
        abstraction = load_warm_start(config, run, sft.ABSTRACTION_STAGE, model)
    return abstraction, solution


def load_warm_start(config: TextConfig, run: Run, stage: str, model: ModelConfig) -> Adapters:
    """Returns the adapters of a run's finished stage of fine-tuning.

    Raises:
        RefusedError: If it is not finished, or trained all weights.
    """
    lora = config.sft.lora
    if lora is None:
        raise RefusedError(
            f"the stage {stage} of {run.path} trained all weights, and the game trains adapters:"
            " export it and give it as --model of a new run."
        )
    like = jax.eval_shape(lambda: init_adapters(lora, model, jax.random.key(0)))
    return load_stage(run.path, stage, config.sft.steps, {"params": like})["params"]


def begin(
    game: GameConfig,
    players: tuple[Player, Player],
    abstraction: Adapters,
    solution: Adapters,
    base: Params,
) -> GameState:
    """Returns the players before the first round, without the base that they share.

    A player that plays both parts, or has no partner, is the solver. Under `jit`, the copy of the
    base that `init_game` would make is not asked for.
    """
    alone = game.shared or not game.abstractions
    first = None if alone else abstraction
    return dataclasses.replace(init_game(players, first, solution, base=base), base=None)


def make_step(
    config: TextConfig,
    task: Task,
    play_round: HostRound,
    base: Params,
    referee: Referee,
    folder: Path,
) -> Callable[[GameState, jax.Array, int], tuple[GameState, dict[str, Any]]]:
    """Returns one round as a step of `train_stage`, whose state is without the base.

    Args:
        config: The experiment.
        task: Its task.
        play_round: One round.
        base: The frozen parameters beside which both players work.
        referee: Judged the round; tells its texts.
        folder: Where the texts of some rounds go.
    """
    game = config.rl.game

    def step(
        state: GameState, key: jax.Array, number: int
    ) -> tuple[GameState, dict[str, jax.Array]]:
        draw_key, key = jax.random.split(key)
        # Not under jit, which would make the pool of questions a part of the program.
        problems = draw_problems(task, game, draw_key)
        whole = dataclasses.replace(state, base=base)
        whole, metrics = play_round(whole, jax.random.split(key, game.problems), problems)
        if number % config.rl.samples_every == 0:
            folder.mkdir(exist_ok=True)
            write_json(folder / f"{number:06d}.json", referee.samples())
        state = dataclasses.replace(whole, base=None)
        return state, metrics | count_skipped(*opt_states(state))

    return step


def draw_problems(task: Task, game: GameConfig, key: jax.Array) -> Any:
    """Returns the problems of a round."""
    return jax.vmap(lambda key: task.sample(key, "train"))(jax.random.split(key, game.problems))


def opt_states(state: GameState) -> list[Any]:
    """Returns the optimisers' states of the players that there are."""
    both = [each for each in (state.abstraction, state.solution) if each is not None]
    return [each.train.opt_state for each in both]


def is_finished(config: TextConfig, run: Run) -> bool:
    """Tells whether a run's game has been played to its end."""
    return (run.path / "checkpoints" / STAGE / str(config.rl.steps) / SEAL).exists()


def load_players(config: TextConfig, run: Run, model: ModelConfig) -> tuple[Adapters, Adapters]:
    """Returns the adapters of the abstraction and of the solution generator after the game.

    Where one played both parts they are the same; a solver that had no partner gets a new one.

    Raises:
        RefusedError: If the game has not been played to its end.
    """
    fresh = init_adapters(config.rl.lora, model, jax.random.key(0))
    player, game = {"train": {"params": fresh}}, config.rl.game
    alone = game.shared or not game.abstractions
    target = {"solution": player} | ({} if alone else {"abstraction": player})
    loaded = load_stage(run.path, STAGE, config.rl.steps, target)
    solution = loaded["solution"]["train"]["params"]
    if alone:
        return (solution if game.shared else fresh), solution
    return loaded["abstraction"]["train"]["params"], solution
