"""Answers as one-hot ballots, and the options that exist."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxreason.checks import check_shape, check_that
from jaxreason.voting.blocks import map_blocks, questions_per_block

NumOptions = int | Int[Array, " question"]


def check_answers(
    answers: Int[Array, "question agent"], num_options: NumOptions, max_options: int | None
) -> Bool[Array, "question option"]:
    """Checks what every rule is given.

    Args:
        answers: Option indices, -1 for an abstention. Where values are not known, as under `jit`,
            an index that names no option counts as an abstention, too.
        num_options: The number of options, one for all questions or one a question.
        max_options: The most options of any question, exactly if `num_options` is an array.

    Returns:
        True where the question has the option, as `option_mask`.

    Raises:
        ValueError: If a shape is wrong, `answers` are no integers or of no agent, there are fewer
            than two options, `max_options` is missing, superfluous or too small, or, as far as
            values are known, an answer names no option.

    Example:
        >>> check_answers(jnp.array([[1, -1]]), 2, None).tolist()
        [[True, True]]
    """
    questions, agents = check_shape("answers", answers, ("question", "agent"))
    check_that(agents >= 1, f"answers must be those of one agent or more; got {answers.shape}.")
    check_that(
        jnp.issubdtype(answers.dtype, jnp.integer),
        f"answers must be integers, -1 where an agent abstained; got {answers.dtype}.",
    )
    exists = option_mask(num_options, max_options, questions)
    if not isinstance(answers, jax.core.Tracer) and not isinstance(num_options, jax.core.Tracer):
        _check_indices(np.asarray(answers), np.asarray(num_options))
    return exists


def _check_indices(answers: np.ndarray, num_options: np.ndarray) -> None:
    """Checks that every answer names an option of its question, or is -1."""
    most = num_options[:, None] if num_options.ndim else num_options
    strange = np.argwhere((answers < -1) | (answers >= most))
    if len(strange):
        question, agent = strange[0]
        options = np.broadcast_to(num_options, len(answers))[question]
        raise ValueError(
            f"answers must be option indices from 0, or -1 for an abstention; got "
            f"{answers[question, agent]} for a question of {options} options (question {question}, "
            f"agent {agent}; {len(strange):,} in all)."
        )


def cast_ballots(
    answers: Int[Array, "question agent"], exists: Bool[Array, "question option"]
) -> Float[Array, "question agent option"]:
    """Turns answers into one-hot ballots; an abstention is an empty one.

    Args:
        answers: Option indices; one that does not exist counts as an abstention.
        exists: Which options exist.

    Returns:
        The ballots, of float32.

    Example:
        >>> cast_ballots(jnp.array([[1, -1]]), jnp.ones((1, 2), bool)).tolist()
        [[[0.0, 1.0], [0.0, 0.0]]]
    """
    ballots = jax.nn.one_hot(answers.astype(jnp.int32), exists.shape[1], dtype=jnp.float32)
    return jnp.where(exists[:, None, :], ballots, 0.0)


def is_vote(
    answers: Int[Array, "question agent"], exists: Bool[Array, "question option"]
) -> Bool[Array, "question agent"]:
    """Marks the answers that name an option that exists; the others are abstentions.

    Args:
        answers: Option indices.
        exists: Which options exist, the first of the row.

    Returns:
        True for votes.

    Example:
        >>> is_vote(jnp.array([[1, -1, 2]]), jnp.array([[True, True, False]])).tolist()
        [[True, False, False]]
    """
    number = jnp.sum(exists, axis=1, dtype=jnp.int32)[:, None]
    options = answers.astype(jnp.int32)
    return (options >= 0) & (options < number)


def count_votes(
    answers: Int[Array, "question agent"],
    exists: Bool[Array, "question option"],
    weights: Float[Array, " agent"] | Float[Array, "question agent"],
) -> Float[Array, "question option"]:
    """Adds up the weights of the votes for each option, in blocks of questions.

    Args:
        answers: Option indices; one that does not exist counts as an abstention.
        exists: Which options exist.
        weights: The weight of each agent's vote, the same for all questions or one a question.

    Returns:
        The sums; 0 for an option without votes.

    Example:
        >>> answers, exists = jnp.array([[0, 1, 1], [0, 0, -1]]), jnp.ones((2, 2), bool)
        >>> count_votes(answers, exists, jnp.array([5.0, 1.0, 2.0])).tolist()
        [[5.0, 3.0], [6.0, 0.0]]
    """
    block = questions_per_block(answers.shape[1], exists.shape[1])

    def count(answers: Array, exists: Array, weights: Array = weights) -> Array:
        by_vote = weights[:, :, None] if weights.ndim == 2 else weights[None, :, None]
        return jnp.sum(cast_ballots(answers, exists) * by_vote, axis=1)

    arrays = (answers, exists, weights) if weights.ndim == 2 else (answers, exists)
    return map_blocks(count, *arrays, block=block)


def option_mask(
    num_options: NumOptions, max_options: int | None, questions: int
) -> Bool[Array, "question option"]:
    """Marks the options that exist.

    Args:
        num_options: The number of options, one for all questions or one a question.
        max_options: The most options of any question, exactly if `num_options` is an array.
        questions: The number of questions.

    Returns:
        True where the question has the option.

    Raises:
        ValueError: If there are fewer than two options, `num_options` has the wrong shape, or
            `max_options` is missing, superfluous or, as far as values are known, too small.

    Example:
        >>> option_mask(jnp.array([2, 3]), 3, 2).tolist()
        [[True, True, False], [True, True, True]]
    """
    if isinstance(num_options, int):
        check_that(max_options is None, "max_options is for an array num_options; leave it out.")
        check_that(num_options >= 2, f"num_options must be at least 2; got {num_options}.")
        return jnp.ones((questions, num_options), bool)
    check_that(
        jnp.ndim(num_options) == 1,
        "num_options must be a Python int or an array of one number a question; got "
        f"{num_options!r}.",
    )
    check_shape("num_options", num_options, (questions,))
    if max_options is None or max_options < 2:
        raise ValueError(
            "An array num_options needs max_options, the most options of any question (at least "
            f"2), as a static width; got {max_options}."
        )
    if questions and not isinstance(num_options, jax.core.Tracer):
        most = int(np.max(np.asarray(num_options)))
        check_that(most <= max_options, f"max_options must be at least {most}; got {max_options}.")
    return jnp.arange(max_options)[None, :] < num_options[:, None].astype(jnp.int32)
