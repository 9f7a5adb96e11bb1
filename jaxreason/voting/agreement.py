"""How often each pair of agents agrees, corrected for chance."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.voting.ballots import NumOptions, cast_ballots, check_answers
from jaxreason.voting.blocks import questions_per_block, sum_blocks

MAX_BLOCK = 4096
"""Questions in a block: longer sums of inexact numbers lose digits in float32."""


class Agreement(NamedTuple):
    """How often each pair of agents agrees.

    Attributes:
        rates: r_ij, the mean of (K 1{a_i = a_j} - 1) / (K - 1) over the questions that both
            answered, 0 if there are none: 1 where they always agree, 0 on average for agents
            that guess, symmetric, `[agent, agent]`. Questions with a single option do not count.
        counts: The number of those questions.
    """

    rates: Float[Array, "agent agent"]
    counts: Float[Array, "agent agent"]


def pairwise_agreement(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    max_options: int | None = None,
) -> Agreement:
    """Measures how often each pair of agents agrees, without any labels.

    If agents err independently given the truth, and an error falls on each wrong option alike, the
    expectation off the diagonal is r_ij = t_i t_j, of rank one, where t = (K x - 1) / (K - 1) and x
    is an agent's accuracy. Questions with any number of options can be pooled.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Proposition 1.

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        max_options: The most options of any question, if `num_options` is an array.

    Returns:
        The agreement and the number of questions that it rests on.

    Raises:
        ValueError: If a shape, an answer, `num_options` or `max_options` is wrong.

    Example:
        >>> answers = jnp.array([[0, 0, 1], [1, 1, 0], [0, 1, -1], [1, 1, 1]])
        >>> rates, counts = pairwise_agreement(answers, 2)
        >>> rates[0].tolist()  # agreed on 3 of 4 and on 1 of 3 questions
        [1.0, 0.5, -0.33333...]
        >>> counts[0].tolist()
        [4.0, 4.0, 3.0]
    """
    exists = check_answers(answers, num_options, max_options)
    options = jnp.sum(exists, axis=1, dtype=jnp.float32)
    # 1 - r is the mean of K / (K - 1) over questions, 0 where the two agree. Relative to the
    # largest, these weights are 1 if all questions have as many options, and sums exact.
    weights = jnp.where(options >= 2.0, options / jnp.maximum(options - 1.0, 1.0), 0.0)
    largest = jnp.max(weights, initial=0.0)
    relative = weights / jnp.where(largest > 0, largest, 1.0)
    block = min(questions_per_block(answers.shape[1], exists.shape[1]), MAX_BLOCK)
    differs, counts = sum_blocks(_sum_differences, answers, exists, relative, block=block)
    rates = 1.0 - largest * differs / jnp.maximum(counts, 1.0)
    return Agreement(jnp.where(counts > 0, rates, 0.0), counts)


def _sum_differences(
    answers: Int[Array, "question agent"],
    exists: Bool[Array, "question option"],
    weights: Float[Array, " question"],
) -> tuple[Float[Array, "agent agent"], Float[Array, "agent agent"]]:
    """Sums the weights of the questions that both answered differently, and 1 for both answers."""
    ballots = cast_ballots(answers, exists)
    ballots = jnp.where((weights > 0)[:, None, None], ballots, 0.0)
    answered = jnp.sum(ballots, axis=-1)
    counts = jnp.einsum("qi,qj->ij", answered, answered, precision="highest")
    weighted = ballots * weights[:, None, None]
    others = answered[:, :, None] - ballots
    return jnp.einsum("qis,qjs->ij", weighted, others, precision="highest"), counts
