"""What judged responses say of a model: accuracy, and pass@k where there are several responses."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from data.verdicts import Verdicts
from jaxreason.rlad import pass_at_k
from train.text.answers import Answers

ACCURACY, SCORE = "accuracy", "score"


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """Responses with what the verifier said."""

    answers: Answers
    rewards: np.ndarray
    """float32 `[question, sample]`; 0 where not valid."""
    valid: np.ndarray
    """bool `[question, sample]`, which responses have a reward."""
    verdicts: Verdicts
    """What the verifier said, with its failures."""


def measures_of(rewards: np.ndarray, valid: np.ndarray) -> dict[str, np.ndarray]:
    """Computes each measure for each question; NaN where the verifier failed.

    A response is right if its reward is 1. Where a verifier gives part of the reward, its mean is a
    measure of its own. The chance that one of k samples is right is left open for a question of
    which fewer than k were judged.

    Args:
        rewards: `[question, sample]`.
        valid: Which of them count.

    Example:
        >>> rewards, valid = np.eye(2), np.array([[True, True], [True, False]])
        >>> {name: values.tolist() for name, values in measures_of(rewards, valid).items()}
        {'accuracy': [0.5, 0.0], 'pass@2': [1.0, nan]}
    """
    counts = valid.sum(1)
    right = ((rewards >= 1) & valid).sum(1)
    judged = np.where(counts > 0, counts, np.nan)
    measures = {ACCURACY: right / judged}
    if ((rewards > 0) & (rewards < 1) & valid).any():
        measures[SCORE] = np.where(valid, rewards, 0.0).sum(1) / judged
    for k in sizes(rewards.shape[1]):
        values = np.full(len(rewards), np.nan)
        for samples in {int(count) for count in counts if count >= k}:
            chosen = counts == samples
            values[chosen] = pass_at_k(jnp.asarray(right[chosen]), samples, k)
        measures[f"pass@{k}"] = values
    return measures


def sizes(samples: int) -> list[int]:
    """Returns the sizes k of pass@k: powers of two, and all samples.

    Example:
        >>> sizes(1), sizes(6)
        ([], [2, 4, 6])
    """
    powers = [1 << power for power in range(1, samples.bit_length())]
    return sorted({*powers, samples} - {1})
