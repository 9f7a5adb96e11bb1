"""Answers as one-hot ballots, and the options that exist."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.checks import check_shape, check_that

NumOptions = int | Int[Array, " question"]


def cast_ballots(
    answers: Int[Array, "question agent"], num_options: NumOptions, max_options: int | None
) -> tuple[Float[Array, "question agent option"], Bool[Array, "question option"]]:
    """Turns answers into one-hot ballots; an abstention is an empty one.

    Args:
        answers: Option indices; anything outside [0, num_options) counts as an abstention.
        num_options: The number of options, one for all questions or one a question.
        max_options: The most options of any question, exactly if `num_options` is an array.

    Returns:
        The ballots, and which options exist.

    Raises:
        ValueError: If a shape is wrong, there are fewer than two options, or `max_options` is
            missing or superfluous.

    Example:
        >>> ballots, exists = cast_ballots(jnp.array([[1, -1]]), 2, None)
        >>> ballots.tolist(), exists.tolist()
        ([[[0.0, 1.0], [0.0, 0.0]]], [[True, True]])
    """
    questions, _ = check_shape("answers", answers, ("question", "agent"))
    exists = option_mask(num_options, max_options, questions)
    ballots = jax.nn.one_hot(answers, exists.shape[1], dtype=jnp.float32)
    return jnp.where(exists[:, None, :], ballots, 0.0), exists


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
            `max_options` is missing or superfluous.

    Example:
        >>> option_mask(jnp.array([2, 3]), 3, 2).tolist()
        [[True, True, False], [True, True, True]]
    """
    if isinstance(num_options, int):
        check_that(max_options is None, "max_options is for an array num_options; leave it out.")
        check_that(num_options >= 2, f"num_options must be at least 2; got {num_options}.")
        return jnp.ones((questions, num_options), bool)
    check_shape("num_options", num_options, (questions,))
    if max_options is None or max_options < 2:
        raise ValueError(
            "An array num_options needs max_options, the most options of any question (at least "
            f"2), as a static width; got {max_options}."
        )
    return jnp.arange(max_options, dtype=num_options.dtype)[None, :] < num_options[:, None]
