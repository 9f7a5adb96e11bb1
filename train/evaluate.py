"""Evaluation on held-out problems after every stage: `python -m train.evaluate [NAME] [...]`.

With `--model` a pretrained model is evaluated on text instead, see `train.text.evaluate`.
"""

import dataclasses
import sys
import time
from typing import Any

import jax
import numpy as np

from train.config import ExperimentConfig
from train.intervals import difference_interval, mean_interval
from train.loop import Run, record_seconds, seconds_of
from train.measure import (
    AVERAGE,
    GREEDY_ABSTRACTION,
    MEASURES,
    SELF_CONSISTENCY,
    WITHOUT,
    WITHOUT_GREEDY,
    Evaluator,
    Players,
)
from train.program import run_program
from train.progress import track
from train.rl import load_trained, load_warm_starts, make_task, make_vocabulary
from train.run_folder import read_json, write_json
from train.samples import worked_problems
from train.sft import load_base
from train.text.evaluate import evaluate_text

SPLITS = ("new_instances", "new_compositions")
STAGES = ("pretrain", "sft", "rl")


def evaluate_stage(
    config: ExperimentConfig, run: Run, evaluator: Evaluator, stage: str, players: Players
) -> dict[str, dict[str, np.ndarray]]:
    """Measures a pair of players and writes its rows into the run's evaluation.json.

    Args:
        config: The experiment.
        run: Where to write.
        evaluator: The compiled evaluation.
        stage: What the pair has just been through, out of `STAGES`.
        players: Their parameters; the base model plays both parts.

    Returns:
        For each split and measure one score a problem.
    """
    started = time.monotonic()
    scores: dict[str, dict[str, np.ndarray]] = {}
    worked = []
    with track(f"evaluate {stage}", 1 + len(SPLITS)) as progress:
        accuracies = evaluator.calibrate(players)
        progress.advance()
        for split in SPLITS:
            measured = evaluator.measure(players, accuracies, split)
            scores[split] = jax.device_get(measured.scores)
            vocabulary, count = make_vocabulary(config, run), config.evaluation.samples
            worked += worked_problems(evaluator.task, vocabulary, split, measured, count)
            progress.advance()
    rows = [
        {"stage": stage, "split": split, "measure": name, **_estimate(mean_interval(values))}
        for split, measures in scores.items()
        for name, values in zip(MEASURES, map(measures.get, MEASURES), strict=True)
    ]
    evaluation = read_evaluation(run)
    order = {name: number for number, name in enumerate(STAGES)}
    kept = [row for row in evaluation["rows"] if row["stage"] != stage]
    evaluation["rows"] = sorted([*kept, *rows], key=lambda row: order[row["stage"]])
    record_seconds(run.path, f"evaluate_{stage}", time.monotonic() - started)
    write_json(run.path / "samples.json", worked)
    write_evaluation(run, evaluation)
    return scores


def compare(
    run: Run, evaluator: Evaluator, warm: Players, trained: Players, scores: dict[str, Any]
) -> None:
    """Writes the claims about the trained pair, each a paired difference with its interval.

    Args:
        run: Where to write.
        evaluator: The compiled evaluation.
        warm: The pair before the game.
        trained: The pair after the game.
        scores: What `evaluate_stage` returned for the trained pair.
    """
    started = time.monotonic()
    pairs = {"warm": warm, "new generator": (trained[0], warm[1])}
    pairs |= {"new solver": (warm[0], trained[1]), "trained": trained}
    claims: list[dict[str, Any]] = []
    with track("compare", len(SPLITS) * len(pairs)) as progress:
        for split in SPLITS:
            success = {}
            for name, pair in pairs.items():
                success[name] = jax.device_get(evaluator.success(pair, split))
                progress.advance()
            for claim, a, b in _claims(scores[split], success):
                claims.append(
                    {"claim": claim, "split": split, **_estimate(difference_interval(a, b))}
                )
    record_seconds(run.path, "compare", time.monotonic() - started)
    write_evaluation(run, read_evaluation(run) | {"differences": claims})


def _claims(scores: dict[str, np.ndarray], success: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Returns (claim, scores, scores to subtract) for each claim."""
    trained, warm = success["trained"], success["warm"]
    given = "trained solver: with its partner's abstractions - without"
    rows = [
        (f"{given}, sampled", scores[AVERAGE], scores[WITHOUT]),
        (f"{given}, greedy", scores[GREEDY_ABSTRACTION], scores[WITHOUT_GREEDY]),
        (f"{given}, majority of as many", scores["majority"], scores[SELF_CONSISTENCY]),
    ]
    before = {
        "both players: RL - warm start": warm,
        "abstraction generator: RL - warm start, same solver": success["new solver"],
        "solver: RL - warm start, same abstractions": success["new generator"],
    }
    return rows + [
        (f"{claim}, {how}", trained[number], earlier[number])
        for number, how in enumerate(("sampled", "greedy"))
        for claim, earlier in before.items()
    ]


def read_evaluation(run: Run) -> dict[str, Any]:
    """Returns what has been evaluated so far."""
    path = run.path / "evaluation.json"
    return read_json(path) if path.exists() else {"rows": [], "differences": []}


def write_evaluation(run: Run, evaluation: dict[str, Any]) -> None:
    """Writes the evaluation with the seconds that each stage took."""
    seconds = seconds_of(run.path)
    write_json(run.path / "evaluation.json", {**evaluation, "seconds": seconds})


def _estimate(estimate: Any) -> dict[str, float]:
    return dataclasses.asdict(estimate)


def evaluate(config: ExperimentConfig, run: Run) -> None:
    """Evaluates every stage of a finished run anew.

    Args:
        config: The experiment.
        run: A run folder whose stages are finished.
    """
    base = load_base(config, run)
    warm, trained = load_warm_starts(config, run), load_trained(config, run)
    evaluator = Evaluator(config, make_task(config, make_vocabulary(config, run)))
    evaluate_stage(config, run, evaluator, "pretrain", (base, base))
    evaluate_stage(config, run, evaluator, "sft", warm)
    scores = evaluate_stage(config, run, evaluator, "rl", trained)
    compare(run, evaluator, warm, trained, scores)


if __name__ == "__main__":
    run_program(
        "evaluate",
        "Evaluates every stage on held-out problems; with --model, a pretrained model on a task.",
        evaluate,
        sys.argv[1:],
        text=evaluate_text,
    )
