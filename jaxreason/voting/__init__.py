"""Aggregation of the answers of several agents: by majority, by accuracies, by correlations.

`answers` is `[question, agent]`, an option's index or -1 where the agent abstained. Every rule
returns `Votes`, breaks ties in the same ways, and gives the answer -1 to a question on which
everybody abstained.

Example:
    >>> import jax.numpy as jnp
    >>> from jaxreason import voting
    >>> answers = jnp.array([[0, 1, 1], [0, 0, -1]])
    >>> voting.majority(answers, 2).answers.tolist()
    [1, 0]
    >>> voting.ow(answers, 2, jnp.array([0.9, 0.6, 0.6])).answers.tolist()
    [0, 0]
"""

from jaxreason.voting.agreement import Agreement, pairwise_agreement
from jaxreason.voting.majority import majority
from jaxreason.voting.options import index_answers, shuffle_labels, unshuffle_labels
from jaxreason.voting.result import Votes
from jaxreason.voting.second_order import isp, pairwise_conditionals
from jaxreason.voting.weighted import estimate_accuracies, optimal_weights, ow

__all__ = [
    "Agreement",
    "Votes",
    "estimate_accuracies",
    "index_answers",
    "isp",
    "majority",
    "optimal_weights",
    "ow",
    "pairwise_agreement",
    "pairwise_conditionals",
    "shuffle_labels",
    "unshuffle_labels",
]
