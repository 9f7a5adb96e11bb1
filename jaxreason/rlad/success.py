"""A model of success under abstractions, which predicts pass@(m, k) beyond what was sampled."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxreason.checks import check_shape, check_that
from jaxreason.rlad.allocation import count_correct

NUM_MEANS = 33
"""Mean successes of the components, from 0 to 1, closer together towards the ends."""

CORRELATIONS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 0.95, 0.999)
"""Correlations between solutions under one abstraction: 0 where all abstractions are alike, almost
1 where each solves all or nothing."""

ITERATIONS = 200
"""Steps of expectation maximisation. Stopping there keeps the shares smooth where the counts say
little: about problems that were never solved."""


def predict_pass(
    correct: Bool[Array, "problem abstraction solution"]
    | Float[Array, "problem abstraction solution"],
    times: Float[Array, "resample problem"],
    *,
    sizes: tuple[tuple[int, int], ...],
) -> Float[Array, "resample size"]:
    """Predicts the chance that one of m x k solutions is right at least, for any m and k.

    The success p of a problem's abstractions follows a beta distribution, with a mean and a
    correlation rho = 1 / (a + b + 1) of the problem's own. How problems are spread over means and
    correlations is left open: a mixture over a grid, whose shares maximise the likelihood of the
    counts (200 steps of expectation maximisation from equal shares). Then

        pass@(m, k) = 1 - E[ (E_beta[(1 - p)^k])^m ].

    A problem that was never solved may be hard or hopeless: the further m x k goes beyond what was
    sampled, the more the prediction rests on the model.

    See "Nonparametric Maximum Likelihood Estimation of a Mixing Distribution" by Laird
    (https://doi.org/10.1080/01621459.1978.10480103).

    Args:
        correct: Whether each solution is right.
        times: How often each problem counts: once, or as often as a resample holds it.
        sizes: Allocations (m, k), each 1 or more; static.

    Returns:
        The mean over problems like those of each resample.

    Raises:
        ValueError: If a shape or a size is wrong.

    Example:
        >>> correct = jnp.array([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]])
        >>> values = predict_pass(correct, jnp.ones((1, 2)), sizes=((2, 2), (8, 8)))
        >>> print(values.round(2))
        [[0.69 1.  ]]
    """
    axes = ("problem", "abstraction", "solution")
    problems, _, solutions = check_shape("correct", correct, axes)
    check_shape("times", times, ("resample", problems))
    for m, k in sizes:
        check_that(m >= 1 and k >= 1, f"sizes must be 1 or more; got m={m}, k={k}.")
    likelihoods = component_likelihoods(count_correct(correct), solutions=solutions)
    shares = fit_shares(likelihoods, times)
    return jnp.matmul(shares, component_pass(sizes), precision="highest")


def component_likelihoods(
    counts: Int[Array, "problem abstraction"], *, solutions: int
) -> Float[Array, "problem component"]:
    """Computes how likely each component makes each problem's counts: beta-binomials.

    Args:
        counts: Right solutions under each abstraction.
        solutions: Solutions under each; static.

    Returns:
        The likelihoods, relative to the problem's likeliest component.

    Example:
        >>> likelihoods = component_likelihoods(jnp.array([[0, 0], [1, 1]]), solutions=1)
        >>> likelihoods[:, 0].tolist(), likelihoods[:, -1].tolist()
        ([1.0, 0.0], [0.0, 1.0])
    """
    means, rho = _components()
    right = _log_rising(means * (1.0 - rho), rho, solutions)
    wrong = _log_rising((1.0 - means) * (1.0 - rho), rho, solutions)
    # Every order of c right and K - c wrong ones is as likely, whatever the component.
    by_count = right + wrong[::-1] - _log_rising(1.0 - rho, rho, solutions)[-1]
    logs = by_count[counts].sum(1)
    return jnp.exp(logs - logs.max(-1, keepdims=True))


def component_pass(sizes: tuple[tuple[int, int], ...]) -> Float[Array, "component size"]:
    """Computes 1 - (E_beta[(1 - p)^k])^m for each component.

    Args:
        sizes: Allocations (m, k); static.

    Returns:
        The chances.

    Example:
        >>> chances = component_pass(((1, 1), (2, 3)))
        >>> chances[0].tolist(), chances[-1].tolist()
        ([0.0, 0.0], [1.0, 1.0])
    """
    means, rho = _components()
    longest = max(k for _, k in sizes)
    wrong = _log_rising((1.0 - means) * (1.0 - rho), rho, longest)
    fails = wrong - _log_rising(1.0 - rho, rho, longest)
    return 1.0 - jnp.stack([jnp.exp(m * fails[k]) for m, k in sizes], axis=-1)


def fit_shares(
    likelihoods: Float[Array, "problem component"], times: Float[Array, "resample problem"]
) -> Float[Array, "resample component"]:
    """Finds the shares of the components that make the counts likeliest.

    Args:
        likelihoods: See `component_likelihoods`.
        times: How often each problem counts.

    Returns:
        Shares that sum to 1.

    Example:
        >>> shares = fit_shares(jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[3.0, 1.0]]))
        >>> shares.tolist()
        [[0.75, 0.25]]
    """
    components = likelihoods.shape[1]
    total = times.sum(-1, keepdims=True)

    def improve(_: Array, shares: Array) -> Array:
        chance = jnp.matmul(shares, likelihoods.T, precision="highest")
        # A problem that a resample does not hold may be impossible there.
        ratio = jnp.where(times > 0, times / jnp.where(times > 0, chance, 1.0), 0.0)
        return shares * jnp.matmul(ratio, likelihoods, precision="highest") / total

    start = jnp.full((times.shape[0], components), 1.0 / components)
    return jax.lax.fori_loop(0, ITERATIONS, improve, start)


def _components() -> tuple[Float[Array, " component"], Float[Array, " component"]]:
    """Returns the mean and the correlation of each component."""
    means = np.sin(np.linspace(0.0, 0.5 * np.pi, NUM_MEANS)) ** 2
    pairs = jnp.array(list(itertools.product(means, CORRELATIONS)), jnp.float32)
    return pairs[:, 0], pairs[:, 1]


def _log_rising(
    first: Float[Array, " component"], step: Float[Array, " component"], count: int
) -> Float[Array, "length component"]:
    """Returns ln of first (first + step) (first + 2 step) ..., of 0 to `count` factors."""
    factors = first + jnp.arange(count, dtype=first.dtype)[:, None] * step
    return jnp.concatenate([jnp.zeros((1, first.size)), jnp.cumsum(jnp.log(factors), axis=0)])
