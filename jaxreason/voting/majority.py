"""Zeroth order: counting heads."""

import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from jaxreason.voting.ballots import NumOptions, check_answers, count_votes
from jaxreason.voting.result import Votes, decide


def majority(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    max_options: int | None = None,
    ties: str = "split",
    key: PRNGKeyArray | None = None,
) -> Votes:
    """Picks the option with the most votes; scores are the counts.

    See "Self-Consistency Improves Chain of Thought Reasoning in Language Models" by Wang et al.
    (https://arxiv.org/abs/2203.11171).

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        max_options: The most options of any question, if `num_options` is an array.
        ties: `"split"`, `"random"` or `"first"`.
        key: Randomness, for `ties="random"`.

    Returns:
        The votes, without weights.

    Raises:
        ValueError: If a shape, an answer, `num_options`, `max_options` or `ties` is wrong.

    Example:
        >>> votes = majority(jnp.array([[0, 1, 1], [2, 0, -1], [-1, -1, -1]]), 3)
        >>> votes.answers.tolist()
        [1, 0, -1]
        >>> votes.winners.tolist()
        [[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]
    """
    exists = check_answers(answers, num_options, max_options)
    scores = count_votes(answers, exists, jnp.ones(answers.shape[1]))
    return decide(scores, answers, exists, ties=ties, key=key)
