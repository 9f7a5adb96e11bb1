"""Which of a teacher's abstractions the warm start learns from: those that raise success."""

import dataclasses
from collections.abc import Sequence as Seq
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from data.documents import Record, solution_example
from data.tokenizer import Tokenizer
from jaxreason.model import ModelConfig, Params
from jaxreason.rlad.play import write_solutions
from jaxreason.rollout import Sampling, pad_prompts
from jaxreason.sequences import Sequence
from jaxreason.tasks import Task
from train.errors import RefusedError
from train.progress import track

BATCH = 128
"""Records judged at a time."""


def find_useful(
    task: Task,
    model: ModelConfig,
    params: Params,
    tokenizer: Tokenizer,
    records: Seq[Record],
    *,
    samples: int,
    key: Key[Array, ""],
) -> Bool[np.ndarray, "record"]:
    """Finds the records whose abstraction lets a solver succeed more often than none, strictly.

    The rule of `jaxreason.rlad.raises_success`, for problems that are texts: a solution is right
    where its answer is that of the record's worked solution.

    Args:
        task: How answers are read, how long solutions are and what ends them.
        model: The solver's shape.
        params: Its parameters.
        tokenizer: Its tokenizer.
        records: Problems with abstractions and worked solutions.
        samples: Solutions with each abstraction, and without.
        key: A random key.

    Raises:
        RefusedError: If no abstraction raises success.
    """
    prompts, answers = _examples(tokenizer, records)
    judge = jax.jit(partial(_raises, task, model, samples=samples))
    useful = np.zeros(len(records), bool)
    with track("useful abstractions", -(-len(records) // BATCH)) as progress:
        for start in range(0, len(records), BATCH):
            # the last batch is filled up, so that nothing compiles anew
            rows = np.minimum(start + np.arange(BATCH), len(records) - 1)
            batch, right = jax.tree.map(lambda leaf, rows=rows: leaf[rows], (prompts, answers))
            keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.asarray(rows))
            useful[rows] = judge(params, batch, right, keys)
            progress.advance()
    if not useful.any():
        raise RefusedError(
            f"none of the {len(records)} abstractions of the teacher lets the base model succeed"
            " more often than without it: pretrain it for longer, or set sft.filter_samples to 0."
        )
    return useful


def _examples(tokenizer: Tokenizer, records: Seq[Record]) -> tuple[Sequence, Sequence]:
    """Returns prompts with the abstraction and without, `[record, 2]`, and worked solutions."""
    prompts: list[list[int]] = []
    answers: list[np.ndarray] = []
    for record in records:
        given, bare = (solution_example(tokenizer, record, bare=each) for each in (False, True))
        prompts += [each.tokens[: each.prompt_length].tolist() for each in (given, bare)]
        answers.append(given.tokens[given.prompt_length :])
    padded = pad_prompts(prompts, buckets=(max(map(len, prompts)),), pad_id=tokenizer.pad_id)
    pairs = jax.tree.map(lambda leaf: leaf.reshape(len(records), 2, -1), padded)
    lengths = np.array([len(answer) for answer in answers])
    mask = np.arange(lengths.max()) < lengths[:, None]
    tokens = np.full(mask.shape, tokenizer.pad_id, np.int32)
    tokens[mask] = np.concatenate(answers)
    return pairs, Sequence(jnp.asarray(tokens), jnp.asarray(mask))


def _raises(
    task: Task,
    model: ModelConfig,
    params: Params,
    prompts: Sequence,
    right: Sequence,
    keys: Key[Array, "record"],
    *,
    samples: int,
) -> Bool[Array, "record"]:
    """Compares success under the first prompt of each record with that under the second."""

    def reward(right: Sequence, solution: Sequence) -> Float[Array, ""]:
        (wanted, _), (found, valid) = task.answer(right), task.answer(solution)
        return (valid & (found == wanted).all()).astype(jnp.float32)

    judged = dataclasses.replace(task, reward=reward)
    _, _, rewards = write_solutions(
        judged, model, params, right, prompts, keys, solutions=samples, sampling=Sampling()
    )
    success = rewards.mean(-1)
    return success[:, 0] > success[:, 1]
