"""What a few labels add to a posterior: a conditional logit regression of the truth."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.voting.ballots import cast_ballots, count_votes
from jaxreason.voting.blocks import questions_per_block, sum_blocks

SPREAD = 0.5
"""Prior standard deviation of an agent's weight about 0, in log-odds."""

NEWTON_STEPS = 12

MIN_LOG = -100.0
"""Log-probabilities below this count as this."""


class Calibration(NamedTuple):
    """How a posterior is corrected: scores are `trust * log_posterior + weights of the votes`.

    Attributes:
        trust: The factor of the log-posterior, 1 without labels.
        weights: What a vote of each agent adds, 0 without labels.
    """

    trust: Float[Array, ""]
    weights: Float[Array, " agent"]


def calibrate(
    log_posterior: Float[Array, "question option"],
    answers: Int[Array, "question agent"],
    exists: Bool[Array, "question option"],
    truth: Int[Array, " question"],
) -> Calibration:
    """Fits the correction to labelled questions, by penalised maximum likelihood.

    A model's posterior errs where agents err together in ways that it does not know. The labels say
    how far to trust it (prior: normal about 1 with standard deviation 1) and whose votes to count
    for more (prior: normal about 0 with standard deviation 1/2). The log-likelihood is concave.

    See "Conditional Logit Analysis of Qualitative Choice Behavior" by McFadden (1974).

    Args:
        log_posterior: The model's log-probability of each option, without the question's label.
        answers: Option indices, -1 where an agent abstained.
        exists: Which options exist.
        truth: The right options of labelled questions, -1 for the others.

    Returns:
        The correction; none without labels.

    Example:
        >>> answers, truth = jnp.array([[0, 1]] * 6), jnp.array([0, 0, 0, 0, 1, -1])
        >>> even = jnp.log(jnp.full((6, 2), 0.5))
        >>> fitted = calibrate(even, answers, jnp.ones((6, 2), bool), truth)
        >>> print(*[f"{weight:.2f}" for weight in fitted.weights])
        0.23 -0.23
    """
    agents = answers.shape[1]
    prior = jnp.zeros(agents + 1, jnp.float32).at[0].set(1.0)
    precisions = jnp.full(agents + 1, 1.0 / SPREAD**2, jnp.float32).at[0].set(1.0)
    bounded = jnp.maximum(log_posterior, MIN_LOG)
    block = questions_per_block(agents, exists.shape[1])

    def climb(terms: Array, _: None) -> tuple[Array, None]:
        differentiate = functools.partial(_differentiate, terms)
        slope, information = sum_blocks(differentiate, bounded, answers, exists, truth, block=block)
        slope = slope - precisions * (terms - prior)
        step = jnp.linalg.solve(information + jnp.diag(precisions), slope)
        return terms + step / jnp.maximum(1.0, jnp.max(jnp.abs(step))), None

    terms, _ = jax.lax.scan(climb, prior, None, length=NEWTON_STEPS)
    return Calibration(terms[0], terms[1:])


def correct(
    calibration: Calibration,
    log_posterior: Float[Array, "question option"],
    answers: Int[Array, "question agent"],
    exists: Bool[Array, "question option"],
) -> Float[Array, "question option"]:
    """Returns the corrected log-posterior, -inf for options that do not exist.

    Args:
        calibration: What `calibrate` returned.
        log_posterior: The model's log-probability of each option.
        answers: Option indices, -1 where an agent abstained.
        exists: Which options exist.

    Returns:
        Log-probabilities.

    Example:
        >>> half, exists = jnp.log(jnp.full((1, 2), 0.5)), jnp.ones((1, 2), bool)
        >>> vote = Calibration(jnp.ones(()), jnp.log(jnp.array([3.0])))
        >>> jnp.exp(correct(vote, half, jnp.array([[1]]), exists)).round(2).tolist()
        [[0.25, 0.75]]
    """
    votes = count_votes(answers, exists, calibration.weights)
    scores = calibration.trust * jnp.maximum(log_posterior, MIN_LOG) + votes
    return jax.nn.log_softmax(jnp.where(exists, scores, -jnp.inf), axis=1)


def _differentiate(
    terms: Float[Array, " term"],
    log_posterior: Float[Array, "question option"],
    answers: Int[Array, "question agent"],
    exists: Bool[Array, "question option"],
    truth: Int[Array, " question"],
) -> tuple[Float[Array, " term"], Float[Array, "term term"]]:
    """Returns the slope of the labels' log-likelihood, and its negative curvature."""
    votes = jnp.swapaxes(cast_ballots(answers, exists), 1, 2)
    features = jnp.concatenate([log_posterior[..., None], votes], axis=-1)
    scores = jnp.where(exists, jnp.sum(features * terms, axis=-1), MIN_LOG)
    label = jnp.where(exists, jax.nn.one_hot(truth, exists.shape[1], dtype=terms.dtype), 0.0)
    chances = jax.nn.softmax(scores, axis=1) * jnp.sum(label, axis=1, keepdims=True)
    mean = jnp.einsum("qk,qkf->qf", chances, features, precision="highest")
    slope = jnp.einsum("qk,qkf->f", label - chances, features, precision="highest")
    weighted = features * chances[..., None]
    second = jnp.einsum("qkf,qkg->fg", features, weighted, precision="highest")
    return slope, second - jnp.einsum("qf,qg->fg", mean, mean, precision="highest")
