"""Ties: which options share the best score, and who wins then."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxreason.checks import check_shape, check_that

TIES = ("split", "random", "first")


def best_options(scores: Float[Array, "question option"]) -> Bool[Array, "question option"]:
    """Marks the options whose score equals the best one, up to rounding.

    Scores closer than 100 machine epsilons (1.2e-5 in float32), relative to the best score but at
    least to one vote, are equal.

    Args:
        scores: Scores, -inf for options that do not exist.

    Returns:
        True for every option that ties for the best score.

    Example:
        >>> best_options(jnp.array([[2.0, 2.000001, 1.0]])).tolist()
        [[True, True, False]]
    """
    check_shape("scores", scores, ("question", "option"))
    best = jnp.max(scores, axis=-1, keepdims=True)
    scale = jnp.maximum(jnp.where(jnp.isfinite(best), jnp.abs(best), 0.0), 1.0)
    return scores >= best - 100.0 * jnp.finfo(scores.dtype).eps * scale


def share_win(
    scores: Float[Array, "question option"], *, ties: str, key: PRNGKeyArray | None = None
) -> Float[Array, "question option"]:
    """Shares one win a question among the options.

    Args:
        scores: Scores, -inf for options that do not exist.
        ties: `"split"`: each of t tied options gets 1 / t, the expectation of a random tie-break;
            `"random"`: one of them gets all, uniformly at random; `"first"`: the lowest index
            gets all.
        key: Randomness, for `ties="random"`.

    Returns:
        Shares that sum to 1 over the options.

    Raises:
        ValueError: If `ties` is unknown, or `"random"` without a key.

    Example:
        >>> share_win(jnp.array([[2.0, 2.0, 1.0]]), ties="split").tolist()
        [[0.5, 0.5, 0.0]]
        >>> share_win(jnp.array([[2.0, 2.0, 1.0]]), ties="first").tolist()
        [[1.0, 0.0, 0.0]]
    """
    check_that(ties in TIES, f"ties must be one of {TIES}; got {ties!r}.")
    tied = best_options(scores).astype(scores.dtype)
    if ties == "split":
        return tied / jnp.sum(tied, axis=-1, keepdims=True)
    if ties == "random":
        if key is None:
            raise ValueError("ties='random' needs a key to draw lots; got None.")
        tied = tied * jax.random.uniform(key, scores.shape, scores.dtype, 0.5, 1.0)
    return jax.nn.one_hot(jnp.argmax(tied, axis=-1), scores.shape[-1], dtype=scores.dtype)
