"""Pretraining on docstrings and worked problems: `python -m train.pretrain [NAME] [--setting ...]`.

The same supervised stage, on other data, makes the warm starts of `train.sft`.
"""

import dataclasses
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import optax

from data.prepare import prepare_pretraining
from data.stream import Batches
from data.tables import table
from jaxreason.model import ModelConfig, Params, init
from jaxreason.optimizer import make_optimizer, skipped_updates
from jaxreason.training import TrainState, init_state, supervised_step
from train.config import ExperimentConfig, SupervisedConfig
from train.errors import refuse_bad_values
from train.loop import (
    SKIPPED,
    SKIPPED_IN_A_ROW,
    Run,
    check_data,
    record_seconds,
    train_stage,
)
from train.program import run_program

STAGE, TOKENIZER = "pretrain", "tokenizer.model"
MODEL_INPUTS = ("tokens", "positions", "segment_ids", "loss_mask")


def pretrain(config: ExperimentConfig, run: Run) -> Params:
    """Prepares the data and pretrains the base model, or continues where an earlier start was.

    Args:
        config: The experiment.
        run: Where to write.

    Returns:
        The base model's parameters.
    """
    started = time.monotonic()
    with refuse_bad_values():
        data = prepare_pretraining(
            config.data,
            config.task,
            steps=config.pretrain.steps,
            batch_size=config.pretrain.batch_size,
            cache_dir=run.cache_dir,
        )
    record_seconds(run.path, "data", time.monotonic() - started)
    if not (run.path / TOKENIZER).exists():  # other data are refused below
        (run.path / TOKENIZER).write_bytes(data.tokenizer.model)
    stream = data.batches.stream
    print(table(stream.summary()))
    print(f"reasoning density: {stream.densities[0]:.4f} of the loss-bearing tokens\n")
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    trainer = make_trainer(config.model, config.pretrain)
    params = init(config.model, key)
    return train_on(run, STAGE, config, trainer, batches=data.batches, params=params, key=key)


@dataclasses.dataclass(frozen=True)
class Trainer:
    """The optimiser of a supervised stage and its compiled step, for any number of models."""

    settings: SupervisedConfig
    optimizer: optax.GradientTransformation
    step: Callable[[TrainState, Any], tuple[TrainState, dict[str, Any]]]


def make_trainer(model: ModelConfig, settings: SupervisedConfig) -> Trainer:
    """Compiles the supervised step, with the counts of skipped updates among its metrics."""
    optimizer = make_optimizer(settings.optimizer, settings.steps)

    @partial(jax.jit, donate_argnums=0)
    def step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Any]]:
        state, metrics = supervised_step(
            model, optimizer, state, batch, num_microbatches=settings.microbatches
        )
        in_a_row, total = skipped_updates(state.opt_state)
        return state, metrics | {SKIPPED_IN_A_ROW: in_a_row, SKIPPED: total}

    return Trainer(settings, optimizer, step)


def train_on(
    run: Run,
    stage: str,
    config: ExperimentConfig,
    trainer: Trainer,
    *,
    batches: Batches,
    params: Params,
    key: jax.Array,
) -> Params:
    """Trains a model on batches for the trainer's number of steps.

    Args:
        run: Where to write.
        stage: The stage's name.
        config: The experiment.
        trainer: From `make_trainer`.
        batches: The batch of every step.
        params: Where training starts; they are donated.
        key: The stage's random key.

    Returns:
        The trained parameters.
    """

    def step(state: TrainState, key: jax.Array, number: int) -> tuple[TrainState, dict[str, Any]]:
        del key
        batch = batches[number]
        return trainer.step(state, {name: batch[name] for name in MODEL_INPUTS})

    check_data(run.path, stage, batches.stream.fingerprint)
    state = init_state(trainer.optimizer, params)
    total = trainer.settings.steps
    return train_stage(run, stage, config.loop, state=state, step=step, total=total, key=key).params


if __name__ == "__main__":
    run_program("pretrain", "Pretrains the base model on the mixture.", pretrain, sys.argv[1:])
