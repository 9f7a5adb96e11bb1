"""Four agents: each pair's agreement predicted from the other five."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Quartet(NamedTuple):
    """The agents that can be tested, if there are but four of them.

    Attributes:
        members: Four agents, those that can be tested first.
        alone: Whether these four can be tested and no others.
    """

    members: Int[Array, "4"]
    alone: Bool[Array, ""]


def find_quartet(testable: Bool[Array, "agent agent"]) -> Quartet:
    """Finds out whether four agents are all that can be tested.

    Args:
        testable: Pairs that can be tested, of four agents or more.

    Returns:
        The four agents.

    Example:
        >>> testable = ~jnp.eye(5, dtype=bool)
        >>> bool(find_quartet(testable).alone)
        False
        >>> members, alone = find_quartet(testable.at[1].set(False).at[:, 1].set(False))
        >>> members.tolist(), bool(alone)
        ([0, 2, 3, 4], True)
    """
    involved = jnp.any(testable, axis=1)
    return Quartet(jnp.argsort(~involved, stable=True)[:4], jnp.sum(involved) == 4)


def scatter(quartet: Quartet, values: Float[Array, "4 4"], agents: int) -> Float[Array, "..."]:
    """Puts numbers for pairs of the four in their places `[agent, agent]`, 0 elsewhere.

    Example:
        >>> quartet = Quartet(jnp.array([0, 1, 2, 4]), jnp.array(True))
        >>> scatter(quartet, jnp.arange(16.0).reshape(4, 4), 5)[4].tolist()
        [12.0, 13.0, 14.0, 0.0, 15.0]
    """
    rows, columns = quartet.members[:, None], quartet.members[None, :]
    return jnp.zeros((agents, agents), values.dtype).at[rows, columns].set(values)


def of_quartet(quartet: Quartet, values: Float[Array, "agent agent"]) -> Float[Array, "4 4"]:
    """Returns the numbers of the pairs of the four.

    Example:
        >>> quartet = Quartet(jnp.array([0, 1, 2, 4]), jnp.array(True))
        >>> of_quartet(quartet, jnp.arange(25.0).reshape(5, 5))[3].tolist()
        [20.0, 21.0, 22.0, 24.0]
    """
    return values[quartet.members[:, None], quartet.members[None, :]]


def predict_from_tetrads(rates: Float[Array, "4 4"]) -> Float[Array, "4 4"]:
    """Predicts each r_ij of four agents from the other five rates.

    It is the mean of r_ik r_jl / r_kl and r_il r_jk / r_kl, within [-1, 1].

    Args:
        rates: Agreement r_ij.

    Returns:
        The predictions, 0 on the diagonal.

    Example:
        >>> t = jnp.array([0.8, 0.6, 0.4, 0.5])
        >>> [f"{rate:.2f}" for rate in predict_from_tetrads(jnp.outer(t, t))[0]]
        ['0.00', '0.48', '0.32', '0.40']
    """
    predicted = jnp.zeros((4, 4), rates.dtype)
    for i, j, k, m in ((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2)):
        for a, b, c, d in ((i, j, k, m), (k, m, i, j)):
            products = 0.5 * (rates[a, c] * rates[b, d] + rates[a, d] * rates[b, c])
            ratio = products / jnp.where(jnp.abs(rates[c, d]) < 1e-3, 1e-3, rates[c, d])
            predicted = predicted.at[a, b].set(ratio).at[b, a].set(ratio)
    return jnp.clip(predicted, -1.0, 1.0)
