"""Voted accuracy of m abstractions x k solutions, by dealing a calibration's answers again."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxreason.checks import check_shape, check_that
from jaxreason.voting import index_answers
from jaxreason.voting.ties import share_win


def voted_accuracy(
    correct: Bool[Array, "problem abstraction solution"]
    | Float[Array, "problem abstraction solution"],
    answers: Int[Array, "problem abstraction solution"],
    *,
    sizes: tuple[tuple[int, int], ...],
    key: PRNGKeyArray,
    by_abstraction: bool = False,
    draws: int = 256,
) -> Float[Array, "problem size"]:
    """Estimates how often the commonest answer of m x k solutions is right.

    Abstractions, and solutions under each, are dealt like cards: in random order, and from the
    start again, newly shuffled, once all M or K are used up. So the estimate is unbiased but for
    the random draws as long as m <= M and k <= K; beyond, answers come back, and what it
    predicts hardly exceeds what all M x K solutions reach: calibrate with as many as the votes
    shall have. What is dealt for less is the beginning of what is dealt for more, so that
    differences between sizes are less noisy than the estimates.

    See "Self-Consistency Improves Chain of Thought Reasoning in Language Models" by Wang et al.
    (https://arxiv.org/abs/2203.11171).

    Args:
        correct: Whether each solution is right.
        answers: Option indices: equal answers to a problem have the same one, -1 for none.
        sizes: Allocations (m, k), each 1 or more; static.
        key: Randomness.
        by_abstraction: Whether each abstraction first gives its solutions' commonest answer, one
            vote, which it splits on ties; otherwise all m x k solutions vote together; static.
        draws: How often is dealt; static.

    Returns:
        The mean over draws for each problem; t answers that tie win 1 / t each.

    Raises:
        ValueError: If shapes disagree or a number is below 1.

    Example:
        >>> correct = jnp.array([[[True, True, False], [False, False, False]]])
        >>> answers = jnp.array([[[0, 0, 1], [1, 1, -1]]])
        >>> voted_accuracy(correct, answers, sizes=((2, 3),), key=jax.random.key(0)).tolist()
        [[0.0]]
        >>> voted_accuracy(
        ...     correct, answers, sizes=((2, 3),), key=jax.random.key(0), by_abstraction=True
        ... ).tolist()
        [[0.5]]
    """
    shape = check_shape("correct", correct, ("problem", "abstraction", "solution"))
    check_shape("answers", answers, shape)
    check_that(draws >= 1, f"draws must be 1 or more; got {draws}.")
    for m, k in sizes:
        check_that(m >= 1 and k >= 1, f"sizes must be 1 or more; got m={m}, k={k}.")
    flat = answers.reshape(shape[0], -1)
    options, _ = index_answers(flat[..., None], flat >= 0)
    ballots = jax.nn.one_hot(options, flat.shape[1], dtype=jnp.float32)
    right = correct.astype(bool).reshape(flat.shape)
    is_right = jnp.where(right[..., None], ballots, 0.0).max(1)

    def score(cells: Array) -> Array:
        votes = _count(options, cells)
        if by_abstraction:
            votes = _share(votes.reshape(-1, votes.shape[-1])).reshape(votes.shape)
        return (_share(votes.sum(1)) * is_right).sum(-1)

    most_m, most_k = (max(numbers) for numbers in zip(*sizes, strict=True))
    dealt = deal_cells(key, shape[1], shape[2], m=most_m, k=most_k, draws=draws)
    score_all = lambda cells: jnp.stack([score(cells[:m, :k]) for m, k in sizes], axis=-1)  # noqa: E731
    return jax.lax.map(score_all, dealt).mean(0)


def deal_cells(
    key: PRNGKeyArray, abstractions: int, solutions: int, *, m: int, k: int, draws: int
) -> Int[Array, "draw slot card"]:
    """Deals m abstractions, and k solutions under each.

    Args:
        key: Randomness.
        abstractions: Abstractions to deal from; static.
        solutions: Solutions under each; static.
        m: Abstractions to deal; static.
        k: Solutions to deal under each; static.
        draws: How often is dealt; static.

    Returns:
        Indices into `[abstraction * solution]`.

    Example:
        >>> deal_cells(jax.random.key(0), 1, 2, m=2, k=2, draws=1).sort().tolist()
        [[[0, 1], [0, 1]]]
    """
    of_abstractions, of_solutions = jax.random.split(key)
    slots = _deal(of_abstractions, abstractions, m, (draws,))
    return slots[..., None] * solutions + _deal(of_solutions, solutions, k, (draws, m))


def _deal(
    key: PRNGKeyArray, cards: int, count: int, shape: tuple[int, ...]
) -> Int[Array, "*shape count"]:
    """Deals cards in random order, from as many freshly shuffled decks as it takes."""
    decks = jax.random.uniform(key, (*shape, -(-count // cards), cards)).argsort(-1)
    return decks.reshape(*shape, -1)[..., :count]


def _count(
    options: Int[Array, "problem agent"], cells: Int[Array, "slot card"]
) -> Float[Array, "problem slot option"]:
    """Counts the dealt answers, by abstraction; a missing answer does not count."""
    dealt = options[:, cells]
    return jax.nn.one_hot(dealt, options.shape[1], dtype=jnp.float32).sum(2)


def _share(votes: Float[Array, "row option"]) -> Float[Array, "row option"]:
    """Shares the win among the options with the most votes; nobody wins without votes."""
    return jnp.where(votes.max(-1, keepdims=True) > 0, share_win(votes, ties="split"), 0.0)
