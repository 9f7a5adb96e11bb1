"""Trains and scores the arms, all seeds side by side; what is finished is kept."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.model import ModelConfig, Params
from jaxreason.rlad import GameState, init_game, train_game
from train.checkpoints import Checkpoints
from train.errors import RefusedError
from train.progress import track
from train.rlad.arms import GRPO, RLAD, WARM, game_of, players_of, rounds_of
from train.rlad.config import StudyConfig
from train.rlad.measures import base_success, draw_problems, sample_pair, score, score_controls
from train.rlad.world import PARTS, make_task, pretrain, warm_start
from train.run_folder import as_json, read_json, versions, write_json

SPLITS = ("new_instances", "new_compositions", "hard")
"""Held-out problems; hard ones are new instances that the base model rarely solves."""
CONTROL_CELL, STRONG_CELL, ALLOCATION_CELL = "controls", "weak_to_strong", "allocation"
CONTROLLED = (WARM, RLAD, GRPO)
CURVES = (
    *("success/with_abstraction", "success/without_abstraction", "success/best_abstraction"),
    *("abstraction/right", "abstraction/distinct", "abstraction/leak", "abstraction/entropy"),
    *("abstraction/zero_variance", "solution/zero_variance", "solution/adherence"),
    *("abstraction/kl", "solution/kl", "solution/entropy"),
    *("abstraction/generated", "solution/generated"),
)
_BASE_SAMPLES = 32


class Runner:
    """Trains and scores arms.

    The scores of a finished arm are a small JSON file under `results/cells`; its parameters, and
    those of an unfinished one after every chunk, are checkpoints under the run folder.

    Args:
        config: The studies.
        results: The folder of scores.
        run_dir: The folder of checkpoints.

    Raises:
        RefusedError: If one of the folders holds arms of other settings.
    """

    def __init__(self, config: StudyConfig, results: Path, run_dir: Path) -> None:
        self._config, self._results, self._run_dir = config, results, run_dir
        self._task = make_task(config.world)
        settings = as_json(config)
        for folder in (results, run_dir):
            path = folder / "config.json"
            if path.exists() and read_json(path) != settings:
                raise RefusedError(
                    f"The folder {folder} holds arms of other settings: take another --results and "
                    "--run-dir, or remove the folder."
                )
        for folder in (results, run_dir):
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "config.json", settings)

    def run(self, cell: str) -> dict[str, Any]:
        """Returns a cell's scores, trained and measured first if they are not there."""
        path = self._results / "cells" / f"{cell}.json"
        if path.exists():
            return read_json(path)
        started = time.monotonic()
        if cell == CONTROL_CELL:
            outcome: dict[str, Any] = {"scores": self._controls()}
        elif cell == STRONG_CELL:
            outcome = {"scores": self._weak_to_strong()}
        elif cell == ALLOCATION_CELL:
            solutions = self._config.evaluation.allocation_solutions
            outcome = {"scores": self._scores(self._players(RLAD), solutions=solutions)}
        else:
            outcome = self._arm(cell)
        outcome["seconds"] = round(time.monotonic() - started, 1)
        path.parent.mkdir(exist_ok=True)
        write_json(path, {"cell": cell, **outcome, "versions": versions()})
        return read_json(path)

    # --- models -------------------------------------------------------------------------------

    def _keys(self, purpose: int) -> jax.Array:
        """Returns one key for each seed."""
        seeds = self._config.first_seed + jnp.arange(self._config.seeds)
        make = lambda seed: jax.random.fold_in(jax.random.key(seed), purpose)  # noqa: E731
        return jax.vmap(make)(seeds)

    def _cached(self, name: str, make: Any) -> Any:
        """Returns a tree that was computed before, or computes and keeps it."""
        checkpoints = Checkpoints(self._run_dir / name, report=print)
        found = checkpoints.restore(jax.eval_shape(make))
        tree = found[1] if found is not None else None
        if tree is None:
            print(f"{name}: training {self._config.seeds} seeds", flush=True)
            started = time.monotonic()
            tree = jax.block_until_ready(jax.jit(make)())
            checkpoints.save(0, tree)
            print(f"{name}: done in {time.monotonic() - started:.0f} s", flush=True)
        checkpoints.close()
        return tree

    def _base(self, model: ModelConfig, name: str = "base") -> Params:
        train = partial(pretrain, self._config.world, model)
        return self._cached(name, lambda: _over_seeds(lambda key: train(key)[0])(self._keys(0)))

    def _warm(self, part: str) -> Params:
        """Returns the warm start of a part, or of both for one shared model."""
        base, model = self._base(self._config.world.model), self._config.world.model
        train = partial(warm_start, self._config.world, model, part=part)
        tune = lambda: _over_seeds(lambda params, key: train(params, key)[0])(  # noqa: E731
            base, self._keys(1 + PARTS.index(part))
        )
        return self._cached(f"warm_{part}", tune)

    def _starts(self, arm: str) -> tuple[Params | None, Params]:
        game = game_of(self._config, arm)
        if game.shared:
            return None, self._warm("both")
        generator = self._warm("abstraction") if game.abstractions else None
        return generator, self._warm("solution")

    # --- the game -----------------------------------------------------------------------------

    def _train(self, arm: str) -> tuple[GameState, dict[str, list]]:
        """Plays an arm's game to its end, or on from where it was stopped."""
        config, game = self._config, game_of(self._config, arm)
        players, (generator, solver) = players_of(config, arm), self._starts(arm)
        start = jax.jit(jax.vmap(lambda a, b: init_game(players, a, b)))(generator, solver)
        chunks = config.iterations // config.chunk
        rounds = rounds_of(config, arm, config.chunk)
        play = partial(train_game, game, self._task, players, rounds=rounds)
        step = jax.jit(_over_seeds(play), donate_argnums=0)
        checkpoints = Checkpoints(self._run_dir / "arms" / arm, report=print)
        curves_path = self._run_dir / f"curves_{arm}.json"
        found = checkpoints.restore({"state": start})
        done, state = (0, start) if found is None else (found[0], found[1]["state"])
        curves = read_json(curves_path) if done and curves_path.exists() else {}
        curves = {name: values[:done] for name, values in curves.items()}
        if done == chunks:
            checkpoints.close()
            return state, curves
        with track(arm, chunks, initial=done) as progress:
            for chunk in range(done, chunks):
                keys = jax.vmap(lambda key, chunk=chunk: jax.random.fold_in(key, chunk))(
                    self._keys(8)
                )
                state, metrics = step(state, keys)
                for name in CURVES:
                    if name in metrics:
                        means = np.asarray(metrics[name].mean(1), np.float64)
                        curves.setdefault(name, []).append(means.round(5).tolist())
                write_json(curves_path, curves)
                checkpoints.save(chunk + 1, {"state": state})
                progress.advance()
                progress.show(success=float(metrics[_HEADLINE.get(arm, CURVES[0])].mean()))
        checkpoints.close()
        return state, curves

    def _players(self, arm: str) -> tuple[Params, Params]:
        """Returns what writes abstractions and what solves, after an arm's game."""
        if arm == WARM:
            return self._warm("abstraction"), self._warm("solution")
        return self._pair(arm, self._train(arm)[0])

    def _pair(self, arm: str, state: GameState) -> tuple[Params, Params]:
        """One policy has no generator of its own: it is given the warm start's abstractions."""
        generator, solver = state.params
        return (self._warm("abstraction") if arm == GRPO else generator), solver

    # --- measuring ----------------------------------------------------------------------------

    def _arm(self, arm: str) -> dict[str, Any]:
        if arm == WARM:
            return {"scores": self._scores(self._players(arm))}
        state, curves = self._train(arm)
        game = game_of(self._config, arm)
        generated = [curves.get(f"{part}/generated") for part in ("abstraction", "solution")]
        per_problem = sum(np.mean(each) for each in generated if each)
        return {
            "scores": self._scores(self._pair(arm, state)),
            "game": as_json(game),
            "curves": curves,
            "generated_tokens": per_problem * game.problems * self._config.iterations,
        }

    def _scores(self, players: tuple[Params, Params], **changed: int) -> dict[str, Any]:
        """Measures a pair on all splits, one number for each seed."""
        config = self._config.evaluation
        model, base = self._config.world.model, self._base(self._config.world.model)
        sizes = {name: getattr(config, name) for name in ("abstractions", "solutions", "bare")}
        sizes |= changed

        def measure(split: str, players: Any, base: Any, key: jax.Array) -> Any:
            problems, keys = draw_problems(self._task, key, split, config.problems)
            sampled = sample_pair(self._task, (model, model), players, problems, keys, **sizes)
            everywhere = jnp.ones((config.problems,), bool)
            scores = {split: score(sampled, everywhere, key)}
            if split == "new_instances":
                base_keys = jax.vmap(lambda key: jax.random.fold_in(key, 7))(keys)
                rates = base_success(self._task, model, base, problems, base_keys, _BASE_SAMPLES)
                hard = rates <= config.hard
                scores["hard"] = {**score(sampled, hard, key), "share": hard.mean()}
            scores[split] |= {f"tokens/{name}": value for name, value in sampled.tokens.items()}
            return scores

        scores: dict[str, Any] = {}
        for number, split in enumerate(SPLITS[:2]):
            scores |= self._by_seed(partial(measure, split), players, base, self._keys(16 + number))
        return _lists(scores)

    def _controls(self) -> dict[str, Any]:
        """Measures the solvers of some arms under every control of RLAD's generator."""
        generator = self._players(RLAD)[0]
        model = self._config.world.model
        return {arm: self._control(model, (generator, self._players(arm)[1])) for arm in CONTROLLED}

    def _weak_to_strong(self) -> dict[str, Any]:
        """Measures a larger solver, which played no game, with the small players' abstractions."""
        world = self._config.world
        base = self._base(world.large, "large_base")
        train = partial(warm_start, world, world.large, part="solution")
        tune = lambda: _over_seeds(lambda params, key: train(params, key)[0])(  # noqa: E731
            base, self._keys(5)
        )
        large = self._cached("large_warm_solution", tune)
        return {
            arm: self._control(world.large, (self._players(arm)[0], large)) for arm in (WARM, RLAD)
        }

    def _control(self, solver: ModelConfig, players: tuple[Params, Params]) -> dict[str, Any]:
        config, models = self._config.evaluation, (self._config.world.model, solver)

        def measure(split: str, players: Any, key: jax.Array) -> Any:
            problems, keys = draw_problems(self._task, key, split, config.problems)
            sizes = {"abstractions": config.solutions, "solutions": config.solutions}
            return score_controls(self._task, models, players, problems, keys, **sizes)

        outcome = {
            split: self._by_seed(partial(measure, split), players, self._keys(16 + number))
            for number, split in enumerate(SPLITS[:2])
        }
        return _lists(outcome)

    @staticmethod
    def _by_seed(measure: Any, *arguments: Any) -> Any:
        """Measures one seed after the other, in one program: together they need more memory."""
        run = jax.jit(lambda given: jax.lax.map(lambda one: measure(*one), given))
        return jax.device_get(run(arguments))


def _over_seeds(function: Any) -> Any:
    """Maps over seeds: side by side, or on a CPU one after the other, which its caches prefer."""
    if jax.default_backend() != "cpu":
        return jax.vmap(function)
    return lambda *arguments: jax.lax.map(lambda one: function(*one), arguments)


_HEADLINE = {GRPO: "success/without_abstraction"}


def _lists(tree: Any) -> Any:
    """Returns every array of one number a seed as a list of rounded floats."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64).round(5).tolist(), tree)
