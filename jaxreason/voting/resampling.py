"""Bootstrap over questions of anything that is a sum over questions, and Wilson's interval."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

Tree = TypeVar("Tree")
Sums = TypeVar("Sums")

MAX_GROUPS = 1000
"""Questions are resampled in at most so many groups."""

MAX_ENTRIES = 2**24
"""Numbers that are held for all groups of one statistic: 64 MiB in float32."""


def count_groups(questions: int, entries: int) -> int:
    """Returns into how many groups to divide the questions for a statistic of so many numbers.

    Up to 1,000 questions, each is a group of its own, as long as 64 MiB hold all groups' numbers;
    there are at least 32 groups, if there are as many questions.

    Example:
        >>> count_groups(100, 29 * 29), count_groups(5895, 29 * 29), count_groups(5895, 1000 * 1000)
        (100, 983, 32)
    """
    groups = max(1, min(questions, MAX_GROUPS, max(32, MAX_ENTRIES // max(1, entries))))
    size = -(-questions // groups)
    return -(-questions // size)


def sum_groups(
    function: Callable[..., Sums], *arrays: jax.Array, groups: int, key: PRNGKeyArray
) -> Sums:
    """Divides the questions at random into groups of equal size, and sums within each.

    The last group is filled up with rows of -1 (integers), False or 0.0, which must not count.

    Args:
        function: Takes a group of each of `arrays`, returns a pytree of sums over its questions.
        *arrays: Arrays whose first axis is the questions.
        groups: The number of groups, see `count_groups`; static.
        key: Randomness.

    Returns:
        What `function` returns, with an axis for the groups in front.

    Example:
        >>> sums = sum_groups(jnp.sum, jnp.arange(6), groups=2, key=jax.random.key(0))
        >>> sums.shape, int(sums.sum())
        ((2,), 15)
    """
    questions = arrays[0].shape[0]
    size = -(-questions // groups)
    order = jax.random.permutation(key, questions)

    def cut(array: Array) -> Array:
        filler = -1 if jnp.issubdtype(array.dtype, jnp.integer) else 0
        widths = [(0, groups * size - questions)] + [(0, 0)] * (array.ndim - 1)
        padded = jnp.pad(array[order], widths, constant_values=filler)
        return padded.reshape(groups, size, *array.shape[1:])

    return jax.lax.map(lambda group: function(*group), tuple(cut(array) for array in arrays))


def bootstrap(
    statistic: Callable[[Sums], Tree], sums: Sums, *, resamples: int, key: PRNGKeyArray
) -> Tree:
    """Computes a statistic on resampled questions: groups of them are drawn with replacement.

    A random group is a sample of the questions, so that drawing whole groups has the same mean and
    variance as drawing questions, and costs as little as adding up the sums of the groups drawn.
    One resample is held at a time.

    See "Bootstrap Methods: Another Look at the Jackknife" by Efron
    (https://doi.org/10.1214/aos/1176344552).

    Args:
        statistic: Takes the sums over all questions, in the structure of `sums`.
        sums: Sums by group, see `sum_groups`.
        resamples: The number of resamples; static.
        key: Randomness.

    Returns:
        What `statistic` returns, with an axis for the resamples in front.

    Example:
        >>> sums = jnp.ones((10, 2))
        >>> bootstrap(lambda sums: sums, sums, resamples=3, key=jax.random.key(0)).tolist()
        [[10.0, 10.0], [10.0, 10.0], [10.0, 10.0]]
    """
    groups = jax.tree.leaves(sums)[0].shape[0]
    drawn = jax.random.randint(key, (resamples, groups), 0, groups)

    def resample(drawn: Array) -> Tree:
        times = jnp.zeros(groups, jnp.float32).at[drawn].add(1.0)
        total = jax.tree.map(
            lambda leaf: jnp.tensordot(times, leaf, axes=1, precision="highest"), sums
        )
        return statistic(total)

    return jax.lax.map(resample, drawn)


def percentile_interval(
    samples: Float[Array, "resample agent"], level: float
) -> Float[Array, "agent 2"]:
    """Returns the interval that holds a share `level` of the resamples, as much below as above.

    Example:
        >>> percentile_interval(jnp.arange(101.0)[:, None], 0.9).tolist()
        [[5.0, 95.0]]
    """
    ends = jnp.array([0.5 * (1.0 - level), 0.5 * (1.0 + level)], samples.dtype)
    return jnp.quantile(samples, ends, axis=0).T


def wilson_interval(
    successes: Float[Array, " agent"], trials: Float[Array, " agent"], level: float
) -> Float[Array, "agent 2"]:
    """Computes Wilson's interval of a probability from the number of successes.

    See "Interval Estimation for a Binomial Proportion" by Brown, Cai and DasGupta
    (https://doi.org/10.1214/ss/1009213286).

    Args:
        successes: How often it happened.
        trials: How often it could have.
        level: The probability that the interval holds the truth.

    Returns:
        The lower and the upper end; 0 and 1 without trials.

    Example:
        >>> print(wilson_interval(jnp.array([8.0]), jnp.array([10.0]), 0.95).round(3))
        [[0.49  0.943]]
    """
    squared = jnp.square(jax.scipy.special.ndtri(0.5 * (1.0 + level)))
    total = trials + squared
    centre = (successes + 0.5 * squared) / total
    failures = trials - successes
    variance = successes * failures / jnp.maximum(trials, 1.0) + 0.25 * squared
    half = jnp.sqrt(squared * variance) / total
    return jnp.clip(jnp.stack([centre - half, centre + half], axis=-1), 0.0, 1.0)
