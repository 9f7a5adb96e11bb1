"""A rank-one fit of pairwise agreement that clones do not pull along, and which agents it fixes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxreason.voting.low_rank import MAX_STEPS, TOLERANCE

START_STEPS = 60
"""Damped steps of the least squares fits from which the robust fit starts, then refines."""

SCALE = 0.05
"""Residuals above this count less and less: what difficulty and weak ties between agents leave."""

ANNEALING = (3.0, 2.0, 1.3, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
"""Multiples of the scale, from coarse to fine."""

MAX_STARTS = 32
"""The robust fit starts without each of at most so many agents in turn."""

MAX_RELATIVES = 3
"""And without so many of those that agree with it most, if three others are left."""


class Start(NamedTuple):
    """A robust fit from one start: the skills, and the loss by which the best start is chosen."""

    skills: Float[Array, " agent"]
    loss: Float[Array, ""]


def fit_signed_skills(
    rates: Float[Array, "agent agent"],
    weights: Float[Array, "agent agent"],
    start: Float[Array, " agent"] | None = None,
    *,
    max_steps: int = MAX_STEPS,
) -> Float[Array, " agent"]:
    """Fits skills t with t_i t_j near r_ij by least squares, without the diagonal.

    A step solves for each t_i with the others fixed, sum_j w_ij t_j r_ij / sum_j w_ij t_j^2, and
    goes half the way there, all at once, until none moves by more than `TOLERANCE`. Skills stay
    within [-1, 1] and their sum is not negative: agreement fixes them up to a common sign, and most
    agents are taken to be better than chance.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Eq. 7, of which this is the rank-one form.

    Args:
        rates: Agreement r_ij, see `pairwise_agreement`; the diagonal is ignored.
        weights: How much a pair counts, such as the number of questions that both answered.
        start: Skills to start from; by default the mean agreement of each agent, rescaled.
        max_steps: The most steps.

    Returns:
        The skills; 0 for an agent without a pair that counts.

    Example:
        >>> t = jnp.array([0.8, 0.6, 0.4])
        >>> print(fit_signed_skills(jnp.outer(t, t), jnp.ones((3, 3))).round(3))
        [0.8 0.6 0.4]
    """
    weights = weights * (1.0 - jnp.eye(rates.shape[0], dtype=rates.dtype))
    weighted = weights * rates
    if start is None:
        means = jnp.sum(weighted, axis=1) / jnp.maximum(jnp.sum(weights, axis=1), 1e-12)
        start = jnp.clip(means / jnp.sqrt(jnp.maximum(jnp.mean(means), 1e-6)), -1.0, 1.0)

    def go_on(state: tuple[Array, Array, Array]) -> Array:
        _, change, step = state
        return (change > TOLERANCE) & (step < max_steps)

    def descend(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        skills, _, step = state
        products = jnp.matmul(weighted, skills, precision="highest")
        squares = jnp.matmul(weights, jnp.square(skills), precision="highest")
        best = products / jnp.maximum(squares, 1e-12)
        moved = 0.5 * (skills + jnp.clip(best, -1.0, 1.0))
        return moved, jnp.max(jnp.abs(moved - skills), initial=0.0), step + 1

    state = (start, jnp.array(jnp.inf, start.dtype), jnp.zeros((), jnp.int32))
    skills = jax.lax.while_loop(go_on, descend, state)[0]
    return jnp.where(jnp.sum(skills) < 0, -skills, skills)


def fit_robust_skills(
    rates: Float[Array, "agent agent"],
    weights: Float[Array, "agent agent"],
    noise: float | Float[Array, ""] = 0.0,
) -> Float[Array, " agent"]:
    """Fits skills as `fit_signed_skills`, but so that a minority of pairs can be far off.

    Two copies of a weak agent agree so often that least squares takes them for the best agents and
    the others for weak ones. Here the weight of a pair falls with its residual e, as
    1 / (1 + e^2 / c^2)^2 (Geman and McClure's loss); c shrinks to 0.05, or to twice the noise if
    that is more (graduated non-convexity). The fit starts from least squares without one agent, for
    each agent in turn (the 32 seemingly best if there are more), and without it and the one, two or
    three that agree with it most, since without a family of copies the rest fit. The start with the
    least loss wins. Copies must be a minority: where half of the agents are one family, it and the
    others can trade places.

    See "On the Unification of Line Processes, Outlier Rejection, and Robust Statistics with
    Applications in Early Vision" by Black and Rangarajan (https://doi.org/10.1007/BF00131148).

    Args:
        rates: Agreement r_ij, see `pairwise_agreement`; the diagonal is ignored.
        weights: How much a pair counts, such as the number of questions that both answered.
        noise: The usual standard error of the rates.

    Returns:
        The skills.

    Example:
        >>> t = jnp.array([0.4, 0.4, 0.7, 0.7, 0.6])
        >>> rates = jnp.outer(t, t).at[0, 1].set(0.95).at[1, 0].set(0.95)  # two copies
        >>> [f"{skill:.2f}" for skill in fit_signed_skills(rates, jnp.ones((5, 5)))]
        ['0.87', '0.87', '0.47', '0.47', '0.42']
        >>> [f"{skill:.2f}" for skill in fit_robust_skills(rates, jnp.ones((5, 5)))]
        ['0.40', '0.40', '0.70', '0.70', '0.60']
    """
    agents = rates.shape[0]
    itself = jnp.diag_indices(agents)
    finest = jnp.maximum(SCALE, 2.0 * noise)
    weights = weights * (1.0 - jnp.eye(agents, dtype=rates.dtype)) / jnp.maximum(weights.max(), 1.0)

    def residuals(skills: Array) -> Array:
        return jnp.square(rates - jnp.outer(skills, skills))

    def fit_without(start: tuple[Array, Array]) -> Start:
        agent, relatives = start
        others = kinship[agent] > relatives
        kept = weights * jnp.outer(others, others).astype(rates.dtype)
        skills = fit_signed_skills(rates, kept, max_steps=START_STEPS)
        # Who was left out gets the weighted median of the skills that the others ascribe to it.
        trusted = jnp.where(others, jnp.abs(skills), 0.0)
        ascribed = rates / jnp.where(jnp.abs(skills) < 0.05, 0.05, skills)
        ascribed = jax.vmap(_weighted_median)(ascribed, weights * trusted)
        skills = jnp.where(others, skills, jnp.clip(ascribed, -1.0, 1.0))

        def refine(step: Array, skills: Array) -> Array:
            scale = jnp.square(finest * jnp.array(ANNEALING, rates.dtype)[step])
            kept = jnp.square(scale / (scale + residuals(skills)))
            return fit_signed_skills(rates, weights * kept, skills, max_steps=6)

        skills = jax.lax.fori_loop(0, len(ANNEALING), refine, skills)
        squares = residuals(skills)
        return Start(skills, jnp.sum(weights * squares / (jnp.square(finest) + squares)))

    # kinship[i, j] is 0 for i itself, 1 for the agent that agrees with it most, and so on.
    closest_first = jnp.argsort(-jnp.where(weights > 0, rates, -jnp.inf).at[itself].set(jnp.inf))
    kinship = jnp.argsort(closest_first)
    by_least_squares = fit_signed_skills(rates, weights, max_steps=START_STEPS)
    seemingly = jnp.argsort(-jnp.abs(by_least_squares))[:MAX_STARTS]
    relatives = jnp.arange(max(1, min(1 + MAX_RELATIVES, agents - 3)), dtype=seemingly.dtype)
    starts = jax.lax.map(
        fit_without, (jnp.repeat(seemingly, len(relatives)), jnp.tile(relatives, len(seemingly)))
    )
    return starts.skills[jnp.argmin(starts.loss)]


def identified_agents(pairs: Bool[Array, "agent agent"]) -> Bool[Array, " agent"]:
    """Marks agents whose skill follows from the agreement of the given pairs, but for a sign.

    From r_ij = t_i t_j alone, skills follow where a chain of pairs leads from an agent back to
    itself in an odd number of steps, as over three agents that all overlap. Otherwise one side's
    skills can be multiplied, and the other's divided, by any number: two agents, or four of which
    two disjoint pairs do not count.

    See "Fast and Three-rious: Speeding Up Weak Supervision with Triplet Methods" by Fu et al.
    (https://arxiv.org/abs/2002.11955), for triplets.

    Args:
        pairs: The pairs whose agreement counts, symmetric; the diagonal is ignored.

    Returns:
        True where the skill is identified.

    Example:
        >>> pairs = jnp.ones((4, 4), bool)
        >>> identified_agents(pairs).tolist()
        [True, True, True, True]
        >>> identified_agents(pairs.at[0, 1].set(False).at[1, 0].set(False)).tolist()
        [True, True, True, True]
        >>> identified_agents(pairs[:2, :2]).tolist()
        [False, False]
    """
    agents = pairs.shape[0]
    pairs = pairs & ~jnp.eye(agents, dtype=bool)
    # Each agent has an even and an odd copy; a pair joins opposite copies. An odd round joins both.
    start = jnp.arange(2 * agents).reshape(2, agents)

    def least_neighbour(labels: Array) -> Array:
        return jnp.min(jnp.where(pairs, labels[None, :], 2 * agents), axis=1)

    def spread(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        labels, _ = carry
        neighbours = jnp.stack([least_neighbour(labels[1]), least_neighbour(labels[0])])
        lower = jnp.minimum(labels, neighbours)
        return lower, jnp.any(lower != labels)

    labels, _ = jax.lax.while_loop(lambda carry: carry[1], spread, (start, jnp.array(True)))
    return labels[0] == labels[1]


def _weighted_median(values: Float[Array, " agent"], weights: Float[Array, " agent"]) -> Array:
    """Returns the least value that at least half of the weight does not exceed."""
    order = jnp.argsort(values)
    reached = jnp.cumsum(weights[order])
    return values[order][jnp.argmax(reached >= 0.5 * reached[-1])]
