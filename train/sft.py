"""Two warm starts from one base: `python -m train.sft [NAME] [--setting ...]`.

With `--model` a pretrained model is fine-tuned on text instead, see `train.text.sft`. Otherwise:
problem -> abstraction, taught by an imperfect teacher, and problem with its abstraction -> worked
solution, with some bare problems in between.
"""

import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from data.documents import Record
from data.prepare import prepare_sft
from data.tokenizer import Tokenizer
from jaxreason.model import Params, init
from jaxreason.tasks import SYMBOLS, Vocabulary, make_rule_induction
from train.config import ExperimentConfig
from train.errors import refuse_bad_values
from train.loop import Run, load_stage
from train.pretrain import STAGE as PRETRAIN
from train.pretrain import make_trainer, train_on
from train.program import run_program
from train.text.sft import fine_tune_text
from train.useful_abstractions import find_useful

ABSTRACTION_STAGE, SOLUTION_STAGE = "sft_abstraction", "sft_solution"


def load_base(config: ExperimentConfig, run: Run) -> Params:
    """Returns the pretrained parameters of a run.

    Raises:
        RefusedError: If pretraining has not been run to its end.
    """
    shapes = jax.eval_shape(lambda: init(config.model, jax.random.key(0)))
    target = {"params": shapes}
    return load_stage(run.path, PRETRAIN, config.pretrain.steps, target)["params"]


def fine_tune(config: ExperimentConfig, run: Run) -> tuple[Params, Params]:
    """Makes the two warm starts from the base model, or continues where an earlier start was.

    Args:
        config: The experiment.
        run: Where to write; its pretraining must be finished.

    Returns:
        The parameters of the abstraction generator and of the solution generator.
    """
    base = load_base(config, run)
    with refuse_bad_values():
        data = prepare_sft(
            config.data,
            config.task,
            steps=config.sft.steps,
            batch_size=config.sft.batch_size,
            cache_dir=run.cache_dir,
            choose=partial(_choose, config, base) if config.sft.filter_samples else None,
        )
    players = []
    trainer = make_trainer(config.model, config.sft)
    stages = ((ABSTRACTION_STAGE, data.abstraction), (SOLUTION_STAGE, data.solution))
    for number, (stage, batches) in enumerate(stages):
        key = jax.random.fold_in(jax.random.key(config.seed), 1 + number)
        copy = jax.tree.map(jnp.copy, base)
        players.append(train_on(run, stage, config, trainer, batches=batches, params=copy, key=key))
    return players[0], players[1]


def vocabulary_of(tokenizer: Tokenizer) -> Vocabulary:
    """Returns the ids that a tokenizer gives to the task's symbols."""
    ids = tokenizer.symbol_ids(SYMBOLS)
    return Vocabulary(ids, eos_id=tokenizer.eos_id, pad_id=tokenizer.pad_id)


def _choose(
    config: ExperimentConfig, base: Params, tokenizer: Tokenizer, records: list[Record]
) -> np.ndarray:
    """Returns which of the teacher's abstractions raise the base model's success."""
    useful = find_useful(
        make_rule_induction(config.task, vocabulary_of(tokenizer)),
        config.model,
        base,
        tokenizer,
        records,
        samples=config.sft.filter_samples,
        key=jax.random.fold_in(jax.random.key(config.seed), 6),
    )
    print(
        f"Warm start: {useful.sum():,} of {len(records):,} abstractions raise success and are kept."
    )
    return useful


if __name__ == "__main__":
    run_program(
        "sft",
        "Makes the two warm starts from the base model; with --model, fine-tunes a pretrained one.",
        fine_tune,
        sys.argv[1:],
        text=fine_tune_text,
    )
