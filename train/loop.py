"""The loop that every stage runs: step, log, checkpoint, resume, and stop when numbers break."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxreason.optimizer import skipped_updates
from train.checkpoints import Checkpoints
from train.config import LoopConfig
from train.errors import RefusedError
from train.metrics import MetricsLog
from train.progress import track
from train.run_folder import read_json, write_json

SKIPPED_IN_A_ROW, SKIPPED = "skipped/in_a_row", "skipped/total"
Step = Callable[[Any, jax.Array, int], tuple[Any, dict[str, jax.Array]]]


@dataclasses.dataclass(frozen=True)
class Run:
    """Where a run writes and what it measures into."""

    path: Path
    cache_dir: Path
    metrics: MetricsLog


def train_stage(
    run: Run, stage: str, config: LoopConfig, *, state: Any, step: Step, total: int, key: jax.Array
) -> Any:
    """Runs a stage to its end, from its newest checkpoint if there is one.

    Step i sees `fold_in(key, i)` and the number i, from which its data follow; so a stage that was
    killed and started again ends with the same bits as one that was not.

    Args:
        run: Where to write.
        stage: The stage's name.
        config: How often to log and to save.
        state: The state before the first step: parameters and optimisers. It may be donated.
        step: `(state, key, number) -> (state, metrics)`, compiled. The metrics hold
            `skipped/in_a_row` and `skipped/total`.
        total: Steps of the stage.
        key: The stage's random key.

    Returns:
        The state after the last step.

    Raises:
        RefusedError: If `max_skipped` updates in a row were not finite, or no checkpoint is whole.
    """
    checkpoints = Checkpoints(run.path / "checkpoints" / stage, report=print)
    # placed as a restored state is, so that every start compiles and runs the same program
    state, key = jax.device_put((state, key), jax.local_devices()[0])
    saved = {"state": state, "step": 0, "key": key, "data_position": 0}
    restored = checkpoints.restore(saved)
    done = 0
    if restored is not None:
        done, saved = restored
    run.metrics.rewind(stage, done)
    state, key = saved["state"], saved["key"]
    taken = seconds_of(run.path).get(stage, 0.0) if done else 0.0
    started = time.monotonic()
    pending: tuple[int, dict[str, jax.Array]] | None = None
    with track(stage, total, initial=done) as progress:
        for number in range(done, total):
            state, measured = step(state, jax.random.fold_in(key, number), number)
            if pending is not None:
                _record(run, stage, config, *pending, progress, last=False)
            pending = (number + 1, measured)
            progress.advance()
            if (number + 1) % config.checkpoint_every == 0 or number + 1 == total:
                _record(run, stage, config, *pending, progress, last=number + 1 == total)
                pending = None
                position = {"step": number + 1, "data_position": number + 1}
                checkpoints.save(number + 1, {"state": state, "key": key, **position})
                record_seconds(run.path, stage, taken + time.monotonic() - started)
    checkpoints.close()
    return state


def _record(
    run: Run,
    stage: str,
    config: LoopConfig,
    number: int,
    measured: dict[str, jax.Array],
    progress: Any,
    *,
    last: bool,
) -> None:
    """Logs one step and stops the run if too many updates in a row were skipped."""
    in_a_row = int(measured[SKIPPED_IN_A_ROW])
    if number % config.log_every and number > 1 and not last and not in_a_row:
        return
    values = {name: float(value) for name, value in jax.device_get(measured).items()}
    run.metrics.write(stage, number, values)
    shown = {name: values[name] for name in HEADLINES if name in values}
    if values[SKIPPED]:
        shown["skipped"] = values[SKIPPED]
    progress.show(**{name.rpartition("/")[2]: value for name, value in shown.items()})
    if in_a_row >= config.max_skipped:
        raise RefusedError(
            f"{stage} stopped at step {number}: the loss or a gradient was not finite in "
            f"{in_a_row} updates in a row; lower the learning rate, or look at {run.path}."
        )


HEADLINES = ("loss", "success/with_abstraction", "success/without_abstraction")
"""The metrics shown behind the progress bar, where a stage has them."""


def count_skipped(*opt_states: Any) -> dict[str, jax.Array]:
    """Returns the skipped updates of some players, counted by `make_optimizer`, as metrics."""
    counts = [skipped_updates(opt_state) for opt_state in opt_states]
    return {
        SKIPPED_IN_A_ROW: jnp.stack([in_a_row for in_a_row, _ in counts]).max(),
        SKIPPED: jnp.stack([total for _, total in counts]).sum(),
    }


def load_stage(run_path: Path, stage: str, total: int, target: Any) -> Any:
    """Returns part of a finished stage's state.

    Args:
        run_path: The run folder.
        stage: The stage's name.
        total: Its steps; an unfinished stage is refused.
        target: A tree of arrays or shapes; may leave out parts of the state.

    Raises:
        RefusedError: If the stage has not been run to its end.
    """
    folder = run_path / "checkpoints" / stage
    restored = None
    if folder.exists():
        checkpoints = Checkpoints(folder, report=print)
        restored = checkpoints.restore({"state": target}, partial=True)
        checkpoints.close()
    if restored is None or restored[0] < total:
        done = 0 if restored is None else restored[0]
        raise RefusedError(
            f"The stage {stage} of {run_path} is not finished ({done} of {total} steps): run it "
            "first, or the whole with python -m train.pipeline."
        )
    return restored[1]["state"]


def load_checkpoint(run_path: Path, stage: str, step: int, target: Any) -> Any:
    """Returns part of a stage's state as it was after a step, whether the stage is finished or not.

    Args:
        run_path: The run folder.
        stage: The stage's name.
        step: The step; the newest ones have checkpoints.
        target: A tree of arrays or shapes; may leave out parts of the state.

    Raises:
        RefusedError: If there is no checkpoint of that step, or it is damaged.
    """
    folder = run_path / "checkpoints" / stage
    steps: list[int] = []
    if folder.exists():
        checkpoints = Checkpoints(folder)
        steps = checkpoints.steps()
        if step in steps:
            state = checkpoints.read(step, {"state": target})["state"]
            checkpoints.close()
            return state
        checkpoints.close()
    there = f"only of {', '.join(map(str, steps))}: name one by --step, or run" if steps else "run"
    raise RefusedError(
        f"The stage {stage} of {run_path} has no checkpoint of step {step}; {there} it to that"
        " step first."
    )


def check_data(run_path: Path, stage: str, fingerprint: str) -> None:
    """Records which data a stage learns from, or makes sure that they are still the same.

    Raises:
        RefusedError: If an earlier start of the stage read other data.
    """
    path = run_path / "data.json"
    recorded = read_json(path) if path.exists() else {}
    if recorded.setdefault(stage, fingerprint) != fingerprint:
        raise RefusedError(
            f"The data of the stage {stage} in {run_path} have changed since it began (another "
            "Python, or other code, prepares others): take another --run-dir or remove the folder."
        )
    write_json(path, recorded)


def seconds_of(run_path: Path) -> dict[str, float]:
    """Returns the seconds that each part of a run has taken."""
    path = run_path / "seconds.json"
    return read_json(path) if path.exists() else {}


def record_seconds(run_path: Path, part: str, seconds: float) -> None:
    """Records the seconds that a part of a run has taken, in place of what was recorded before."""
    write_json(run_path / "seconds.json", seconds_of(run_path) | {part: seconds})
