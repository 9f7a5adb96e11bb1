"""Whose weight decides a vote: dictators, and weights that never change the majority's answer."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxreason.checks import check_shape, check_that
from jaxreason.voting.weighted import optimal_weights


def is_dictator(accuracies: Float[Array, " agent"], num_options: int) -> Bool[Array, " agent"]:
    """Marks agents whose answer OW always gives, whatever the others say.

    With the weights w of `optimal_weights`, these are the agents with w_i >= sum_{j != i} |w_j|, up
    to rounding. OW is more accurate than agent i alone if and only if i is not marked. The paper
    has w_j for |w_j|, which is the same where nobody is worse than chance; an agent that is can
    vote against i by agreeing. Two agents at equality tie and share the win; agents at chance have
    weight 0, and are marked if all are.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Proposition 2.

    Args:
        accuracies: The probability x that each agent is right.
        num_options: The number of options K.

    Returns:
        True for dictators.

    Raises:
        ValueError: If `accuracies` is not one number an agent.

    Example:
        >>> is_dictator(jnp.array([0.9, 0.6, 0.6]), 2).tolist()  # 2.197 > 0.405 + 0.405
        [True, False, False]
        >>> is_dictator(jnp.array([0.8, 0.7, 0.7]), 2).tolist()  # 1.386 < 0.847 + 0.847
        [False, False, False]
    """
    weights = optimal_weights(accuracies, num_options)
    against = jnp.sum(jnp.abs(weights)) - jnp.abs(weights)
    return weights >= against - _tolerance(weights, against)


def overturns_plurality(weights: Float[Array, " agent"], num_options: int) -> Bool[Array, ""]:
    """Tells whether a weighted vote can pass over the option that most agents name.

    It can if, for some ways to answer, an option with fewer votes outweighs every option with the
    most votes. The best attempt lets the p agents of least weight agree, the a < p of most weight
    agree on something else, and scatters the others, fewer than p together, over the remaining
    K - 2 options. So the answer is exact, from sums of the sorted weights, for any number of
    agents; where more options share the most votes, p + 1 votes for one of them do as well.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Eq. 1, for weighted votes.

    Args:
        weights: The weight of each agent's vote, such as `optimal_weights` or
            `second_order_weights`; may be negative. Everybody votes.
        num_options: The number of options K.

    Returns:
        True if the weights can overturn a plurality; if False, an option with the most votes always
        wins or shares the win.

    Raises:
        ValueError: If `weights` is not one number an agent or there are fewer than two options.

    Example:
        >>> bool(overturns_plurality(jnp.array([2.5, 1.0, 1.0]), 2))
        True
        >>> bool(overturns_plurality(jnp.array([1.5, 1.0, 1.0]), 2))
        False
    """
    margins, tolerance = _minority_margins(weights, num_options)
    return jnp.any(margins > tolerance)


def differs_from_majority(weights: Float[Array, " agent"], num_options: int) -> Bool[Array, ""]:
    """Tells whether a weighted vote can have other winners than the majority vote.

    It can if it overturns a plurality, if it lets an option with fewer votes share the win, or if
    it breaks a tie: p agents on each side, 2 p <= N <= K p, that do not weigh the same. If this is
    True and `overturns_plurality` is False, the two differ only in ties that one of them has.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Eq. 1, for weighted votes.

    Args:
        weights: The weight of each agent's vote; may be negative. Everybody votes.
        num_options: The number of options K.

    Returns:
        False if the weighted vote and the majority vote are the same rule.

    Raises:
        ValueError: If `weights` is not one number an agent or there are fewer than two options.

    Example:
        >>> weights = jnp.array([1.3, 1.2, 1.1])
        >>> bool(differs_from_majority(weights, 2)), bool(differs_from_majority(weights, 3))
        (False, True)
    """
    margins, tolerance = _minority_margins(weights, num_options)
    heaviest, lightest = _extreme_sums(weights)
    agents = weights.shape[0]
    sides = jnp.arange(agents + 1)
    can_tie = (2 * sides <= agents) & (agents <= num_options * sides)
    unequal = heaviest - lightest > _tolerance(heaviest, lightest)
    return jnp.any(margins >= -tolerance) | jnp.any(can_tie & unequal)


def _minority_margins(
    weights: Float[Array, " agent"], num_options: int
) -> tuple[Float[Array, "few many"], Float[Array, "few many"]]:
    """Returns by how much `few` agents can outweigh `many`, and what counts as rounding.

    The margin is -inf where it is no minority, or the other agents can't be scattered over the
    other options with fewer than `many` votes each.
    """
    (agents,) = check_shape("weights", weights, ("agent",))
    check_that(num_options >= 2, f"num_options must be at least 2; got {num_options}.")
    heaviest, lightest = _extreme_sums(weights)
    few, many = jnp.arange(agents + 1)[:, None], jnp.arange(agents + 1)[None, :]
    others = agents - few - many
    possible = (few < many) & (others >= 0) & (others <= (num_options - 2) * (many - 1))
    margins = heaviest[:, None] - lightest[None, :]
    tolerance = _tolerance(heaviest[:, None], lightest[None, :])
    return jnp.where(possible, margins, -jnp.inf), tolerance


def _extreme_sums(
    weights: Float[Array, " agent"],
) -> tuple[Float[Array, " number"], Float[Array, " number"]]:
    """Returns the largest and smallest sums of 0, 1, ... N weights."""
    ordered = jnp.sort(weights)
    none = jnp.zeros(1, weights.dtype)
    heaviest = jnp.concatenate([none, jnp.cumsum(ordered[::-1])])
    return heaviest, jnp.concatenate([none, jnp.cumsum(ordered)])


def _tolerance(some: Array, others: Array) -> Array:
    """Returns the difference of scores that counts as a tie, see `ties.best_options`."""
    scale = jnp.maximum(jnp.maximum(jnp.abs(some), jnp.abs(others)), 1.0)
    return 100.0 * jnp.finfo(scale.dtype).eps * scale
