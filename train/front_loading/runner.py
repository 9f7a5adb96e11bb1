"""Runs the cells of the grid; what is finished is kept, so that it can stop at any time."""

import json
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.model import Params, init
from train.checkpoints import Checkpoints
from train.errors import RefusedError, refuse_bad_values
from train.front_loading.config import GridConfig
from train.front_loading.grid import Cell, cells, with_parents
from train.front_loading.mixtures import Mixtures
from train.front_loading.scores import Scorer
from train.front_loading.stages import GRPOTrainer, SupervisedTrainer
from train.front_loading.world import Problem, evaluation_sets, training_problems
from train.run_folder import as_json, read_json, versions, write_json

CONFIG, CELLS = "config.json", "cells"


class Runner:
    """Trains and scores cells.

    The scores of a finished cell are a small JSON file in the results folder; its parameters are a
    checkpoint in the run folder, which may be lost: a cell is trained again where one that is not
    finished starts from it.

    Args:
        config: The grid.
        results: The folder of scores.
        run_dir: The folder of checkpoints.
        cache_dir: Where data are prepared.

    Raises:
        RefusedError: If one of the folders holds cells of other settings.
    """

    def __init__(self, config: GridConfig, results: Path, run_dir: Path, cache_dir: Path) -> None:
        self._config, self._results, self._run_dir = config, results, run_dir
        self._cache_dir = cache_dir
        for folder, option in ((results, "--results"), (run_dir, "--run-dir")):
            check_settings(config, folder, option)
        for folder in (results, run_dir):
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / CONFIG, as_json(config))
        (results / CELLS).mkdir(exist_ok=True)

    def run(self, seeds: Sequence[int]) -> None:
        """Runs all cells of some seeds that are not finished, seed by seed."""
        wanted = cells(seeds)
        todo = [cell for cell in wanted if not self._file(cell).exists()]
        print(f"{len(todo)} of {len(wanted)} cells to run.")
        for number, cell in enumerate(todo, start=1):
            if self._file(cell).exists():  # another process was faster
                continue
            started = time.monotonic()
            scores = self._scorer.scores(self._params(cell))
            line = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
            print(f"[{number}/{len(todo)}] {cell.name}: {line}", flush=True)
            write_json(
                self._file(cell),
                {
                    "cell": as_json(cell),
                    "scores": scores,
                    "data": self._summary(cell),
                    "seconds": round(time.monotonic() - started, 1),
                    "versions": versions(),
                },
            )

    def _file(self, cell: Cell) -> Path:
        return self._results / CELLS / f"{cell.name}.json"

    @cached_property
    def _mixtures(self) -> Mixtures:
        with refuse_bad_values():
            return Mixtures(self._config, self._cache_dir)

    @cached_property
    def _scorer(self) -> Scorer:
        general = self._mixtures.general()
        return Scorer(
            self._config.model,
            general.tokenizer,
            evaluation_sets(self._config.world),
            general.stream,
            max_prompt=self._config.max_prompt,
            max_new_tokens=self._config.max_new_tokens,
        )

    def _params(self, cell: Cell) -> Params:
        """Returns the parameters of a cell, training what is not there."""
        for ancestor in with_parents([cell])[::-1]:
            params = self._restored(ancestor)
            if params is not None:
                break
        else:
            ancestor, params = None, None
        line = with_parents([cell])
        rest = line[line.index(ancestor) + 1 :] if ancestor else line
        for descendant in rest:
            params = self._trained(descendant, params)
            self._save(descendant, params)
        return params

    def _trained(self, cell: Cell, params: Params | None) -> Params:
        train = {"pretrain": self._pretrained, "sft": self._fine_tuned, "rl": self._reinforced}
        return train[cell.stage](cell, params)

    def _pretrained(self, cell: Cell, _: None) -> Params:
        params = init(self._config.model, jax.random.key(cell.seed))
        return self._pretrainer.train(cell.name, params, self._stream(cell))

    def _fine_tuned(self, cell: Cell, params: Params) -> Params:
        copy = jax.tree.map(jnp.copy, params)
        return self._fine_tuner.train(cell.name, copy, self._stream(cell))

    def _reinforced(self, cell: Cell, params: Params) -> Params:
        problems = training_problems(self._config.world)

        def chosen(step: int) -> list[Problem]:
            rng = np.random.default_rng([cell.seed, step])
            picked = rng.choice(len(problems), self._config.rl.prompts, replace=False)
            return [problems[index] for index in picked]

        return self._reinforcer.train(cell.name, params, chosen, cell.seed)

    def _stream(self, cell: Cell) -> Any:
        build = {"pretrain": self._mixtures.pretraining, "sft": self._mixtures.fine_tuning}
        with refuse_bad_values():
            return build[cell.stage](cell).stream

    def _summary(self, cell: Cell) -> list[dict[str, Any]]:
        """Returns what a cell was trained on, if it was on a stream."""
        return [] if cell.rl else self._stream(cell).summary()

    @cached_property
    def _pretrainer(self) -> SupervisedTrainer:
        settings = self._config.pretrain
        steps = settings.tokens // self._config.sequence_length // settings.batch_size
        return SupervisedTrainer(self._config.model, settings.optimizer, settings.batch_size, steps)

    @cached_property
    def _fine_tuner(self) -> SupervisedTrainer:
        settings = self._config.sft
        return SupervisedTrainer(self._config.model, settings.optimizer, settings.batch_size, 1)

    @cached_property
    def _reinforcer(self) -> GRPOTrainer:
        return GRPOTrainer(self._config, self._mixtures.general().tokenizer)

    def _checkpoints(self, cell: Cell) -> Checkpoints:
        return Checkpoints(self._run_dir / "checkpoints" / cell.name, report=print)

    def _save(self, cell: Cell, params: Params) -> None:
        checkpoints = self._checkpoints(cell)
        checkpoints.save(0, {"params": params})
        checkpoints.close()

    def _restored(self, cell: Cell) -> Params | None:
        if not (self._run_dir / "checkpoints" / cell.name).is_dir():
            return None
        shapes = jax.eval_shape(lambda: init(self._config.model, jax.random.key(0)))
        checkpoints = self._checkpoints(cell)
        found = checkpoints.restore({"params": shapes})
        checkpoints.close()
        return None if found is None else found[1]["params"]


def check_settings(config: GridConfig, folder: Path, option: str) -> None:
    """Refuses a folder of other settings, but for the seeds.

    Raises:
        RefusedError: If it is one.
    """
    path = folder / CONFIG
    if not path.exists():
        return
    found, wanted = read_json(path), as_json(config)
    changed = [name for name in wanted if found.get(name) != wanted[name] and name != "seeds"]
    if changed:
        raise RefusedError(
            f"{folder} holds cells of other settings ({', '.join(changed)} differ); choose another"
            f" folder with {option}, or remove it."
        )


def read_cells(results: Path) -> dict[Cell, dict[str, float]]:
    """Returns the scores of the finished cells."""
    found = {}
    for path in sorted((results / CELLS).glob("*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        found[Cell(**row["cell"])] = row["scores"]
    return found


def seeds_of(scores: dict[Cell, dict[str, float]]) -> Sequence[int]:
    """Returns the seeds of which there are cells."""
    return sorted({cell.seed for cell in scores})
