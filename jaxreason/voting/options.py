"""Labels of options: shuffling them, and making options out of open-ended answers."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from jaxreason.checks import check_shape
from jaxreason.voting.ballots import NumOptions, option_mask
from jaxreason.voting.blocks import map_blocks, questions_per_block


def shuffle_labels(
    key: PRNGKeyArray,
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    max_options: int | None = None,
) -> tuple[Int[Array, "question agent"], Int[Array, "question option"]]:
    """Relabels the options of each question by a uniformly random permutation.

    This makes the prior of the right label uniform and the wrong labels exchangeable, whatever
    positions the agents or the question's author prefer.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), first step of Algorithms 1 and 2.

    Args:
        key: Randomness.
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        max_options: The most options of any question, if `num_options` is an array.

    Returns:
        The relabelled answers, and the permutation: `[question, old label]` holds the new label.
        Options that do not exist keep their labels; answers that name one become -1.

    Raises:
        ValueError: If a shape, `num_options` or `max_options` is wrong.

    Example:
        >>> answers = jnp.array([[2, 0, -1]])
        >>> shuffled, permutation = shuffle_labels(jax.random.key(0), answers, 3)
        >>> unshuffle_labels(shuffled, permutation).tolist()
        [[2, 0, -1]]
    """
    questions, _ = check_shape("answers", answers, ("question", "agent"))
    exists = option_mask(num_options, max_options, questions)
    lots = jnp.where(exists, jax.random.uniform(key, exists.shape), jnp.inf)
    permutation = jnp.argsort(jnp.argsort(lots, axis=-1), axis=-1).astype(jnp.int32)
    known = _look_up(exists.astype(jnp.int32), answers) > 0
    return jnp.where(known, _look_up(permutation, answers), -1), permutation


def unshuffle_labels(
    answers: Int[Array, "question *agent"], permutation: Int[Array, "question option"]
) -> Int[Array, "question *agent"]:
    """Maps answers in shuffled labels back to the original ones.

    Args:
        answers: Shuffled labels, of agents (`[question, agent]`) or of a vote (`[question]`); -1
            stays -1.
        permutation: What `shuffle_labels` returned.

    Returns:
        The answers in the original labels.

    Raises:
        ValueError: If the shapes do not agree.

    Example:
        >>> unshuffle_labels(jnp.array([0, -1]), jnp.array([[1, 2, 0], [0, 1, 2]])).tolist()
        [2, -1]
    """
    questions, _ = check_shape("permutation", permutation, ("question", "option"))
    check_shape("answers", answers, (questions, "agent")[: max(answers.ndim, 1)])
    inverse = jnp.argsort(permutation, axis=-1).astype(jnp.int32)
    return _look_up(inverse, answers.reshape(questions, -1)).reshape(answers.shape)


def index_answers(
    responses: Int[Array, "question agent width"], valid: Bool[Array, "question agent"]
) -> tuple[Int[Array, "question agent"], Int[Array, " question"]]:
    """Makes options out of open-ended answers: equal responses to a question are one option.

    Options are numbered in the order in which an agent first names them. An option nobody named
    does not exist, so the number of options is that of distinct answers, but at least 2. The most
    there can be, `max_options` of a rule, is max(2, number of agents).

    Args:
        responses: Answers as integer vectors, padded alike (for example with -1).
        valid: False where a response is no answer.

    Returns:
        The answers (-1 where not valid) and the number of options of each question.

    Raises:
        ValueError: If the shapes do not agree.

    Example:
        >>> responses = jnp.array([[[3, 1], [2, 2], [3, 1], [0, 0], [5, 5]]])
        >>> answers, num_options = index_answers(
        ...     responses, jnp.array([[True, True, True, False, True]])
        ... )
        >>> answers.tolist(), num_options.tolist()
        ([[0, 1, 0, -1, 2]], [3])
    """
    questions, agents, width = check_shape("responses", responses, ("question", "agent", "width"))
    check_shape("valid", valid, (questions, agents))
    first = map_blocks(_find_first, responses, valid, block=questions_per_block(agents**2, width))
    named_first = valid & (first == jnp.arange(agents, dtype=first.dtype)[None, :])
    option = jnp.cumsum(named_first, axis=-1, dtype=jnp.int32) - 1
    answers = jnp.where(valid, jnp.take_along_axis(option, first, axis=-1), -1)
    return answers, jnp.maximum(jnp.sum(named_first, axis=-1, dtype=jnp.int32), 2)


def _find_first(
    responses: Int[Array, "question agent width"], valid: Bool[Array, "question agent"]
) -> Int[Array, "question agent"]:
    """Returns the first agent with a valid response equal to each agent's own."""
    same = jnp.all(responses[:, :, None, :] == responses[:, None, :, :], axis=-1)
    return jnp.argmax(same & valid[:, None, :], axis=-1)


def _look_up(
    table: Int[Array, "question option"], answers: Int[Array, "question agent"]
) -> Int[Array, "question agent"]:
    """Returns each answer's entry in its question's row, -1 for answers outside the row."""
    answers = answers.astype(jnp.int32)
    inside = (answers >= 0) & (answers < table.shape[1])
    entries = jnp.take_along_axis(table, jnp.where(inside, answers, 0), axis=1)
    return jnp.where(inside, entries, -1)
