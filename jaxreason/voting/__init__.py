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
from jaxreason.voting.dawid_skene import (
    DawidSkene,
    OneCoin,
    dawid_skene,
    fit_dawid_skene,
    fit_one_coin,
    one_coin_dawid_skene,
)
from jaxreason.voting.diagnostics import Diagnosis, diagnose
from jaxreason.voting.influence import differs_from_majority, is_dictator, overturns_plurality
from jaxreason.voting.item_response import ItemResponse, fit_item_response, item_response
from jaxreason.voting.low_rank import (
    fit_accuracies_by_conditionals,
    fit_rank_one,
    fit_skills,
    fit_skills_by_isp,
    ow_i,
    ow_l,
)
from jaxreason.voting.majority import majority
from jaxreason.voting.methods import METHODS, find_method
from jaxreason.voting.options import index_answers, shuffle_labels, unshuffle_labels
from jaxreason.voting.recommendation import recommend
from jaxreason.voting.result import Votes
from jaxreason.voting.second_order import isp, pairwise_conditionals, sp
from jaxreason.voting.simulation import (
    Simulated,
    copy_answers,
    simulate_clones,
    simulate_difficulty,
    simulate_independent,
)
from jaxreason.voting.theory import (
    Advantages,
    exact_accuracy,
    expected_advantages,
    population_conditionals,
    second_order_weights,
    skill,
    theorem_2_gaps,
)
from jaxreason.voting.wawa import wawa
from jaxreason.voting.weighted import confidence_weighted, estimate_accuracies, optimal_weights, ow

__all__ = [
    "METHODS",
    "Advantages",
    "Agreement",
    "DawidSkene",
    "Diagnosis",
    "ItemResponse",
    "OneCoin",
    "Simulated",
    "Votes",
    "confidence_weighted",
    "copy_answers",
    "dawid_skene",
    "diagnose",
    "differs_from_majority",
    "estimate_accuracies",
    "exact_accuracy",
    "expected_advantages",
    "find_method",
    "fit_accuracies_by_conditionals",
    "fit_dawid_skene",
    "fit_item_response",
    "fit_one_coin",
    "fit_rank_one",
    "fit_skills",
    "fit_skills_by_isp",
    "index_answers",
    "is_dictator",
    "isp",
    "item_response",
    "majority",
    "one_coin_dawid_skene",
    "optimal_weights",
    "overturns_plurality",
    "ow",
    "ow_i",
    "ow_l",
    "pairwise_agreement",
    "pairwise_conditionals",
    "population_conditionals",
    "recommend",
    "second_order_weights",
    "shuffle_labels",
    "simulate_clones",
    "simulate_difficulty",
    "simulate_independent",
    "skill",
    "sp",
    "theorem_2_gaps",
    "unshuffle_labels",
    "wawa",
]
