"""On which questions a rule answers differently from the majority, and whether it ever could."""

import dataclasses
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.voting.agreement import pairwise_agreement
from jaxreason.voting.ballots import NumOptions
from jaxreason.voting.influence import differs_from_majority, is_dictator, overturns_plurality
from jaxreason.voting.low_rank import MARGIN, fit_skills, ow_l
from jaxreason.voting.majority import majority
from jaxreason.voting.result import Votes
from jaxreason.voting.second_order import isp
from jaxreason.voting.weighted import optimal_weights


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class RuleEffect:
    """How a rule differs from the majority vote.

    Attributes:
        can_overturn: Whether its weights can pass over an option that most agents name.
        can_differ: Whether its weights can give other winners at all; if they can't overturn a
            plurality, only by breaking ties.
        overturned: The share, of questions on which one option has the most votes, on which that
            option does not win; nan if there are none.
        ties_broken: The share, of questions on which options tie for the most votes, on which the
            rule has other winners; nan if there are none.
    """

    can_overturn: Bool[Array, ""]
    can_differ: Bool[Array, ""]
    overturned: Float[Array, ""]
    ties_broken: Float[Array, ""]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class RuleComparison:
    """How much the choice of a rule matters on some answers.

    Attributes:
        questions: The number of questions with any vote.
        tied: The share of them on which options tie for the most votes.
        mixed: Whether they differ in their number of options.
        isp: How ISP differs from the majority; its weights are those of its symmetric form.
        ow_l: How OW-L differs from the majority.
        dictators: Agents whose weight in OW-L is at least all others' together.
    """

    questions: Float[Array, ""]
    tied: Float[Array, ""]
    mixed: Bool[Array, ""]
    isp: RuleEffect
    ow_l: RuleEffect
    dictators: Bool[Array, " agent"]


def compare_rules(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    max_options: int | None = None,
) -> RuleComparison:
    """Compares ISP and OW-L with the majority vote, on these answers and on any.

    What a rule could do is told from its weights on questions with the most options that everybody
    answers. With skills t, ISP has the weights 1 + t_j mean_{i != j} t_i / (K - 1), here with the
    agreement r_ij for t_i t_j: between 1 and 1 + 1 / (K - 1), it is the majority vote but for ties
    unless there are many agents or few options.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Algorithm 2 and Proposition 2.

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        max_options: The most options of any question, if `num_options` is an array.

    Returns:
        The comparison.

    Raises:
        ValueError: If a shape, an answer, `num_options` or `max_options` is wrong.

    Example:
        >>> rows = "0001 1101 0010 1111 1010 0000 1110 0100".split()
        >>> answers = jnp.array([[int(answer) for answer in row] for row in rows])
        >>> rules = compare_rules(answers, 2)
        >>> float(rules.tied), bool(rules.isp.can_overturn), rules.dictators.tolist()
        (0.125, False, [True, False, False, False])
    """
    agents = answers.shape[1]
    most = num_options if isinstance(num_options, int) else max_options or 2
    by_majority = majority(answers, num_options, max_options=max_options)
    by_isp = isp(answers, num_options, max_options=max_options)
    fitted = fit_skills(answers, num_options, max_options=max_options)
    by_ow_l = ow_l(answers, num_options, skills=fitted, max_options=max_options)
    rates = pairwise_agreement(answers, num_options, max_options=max_options).rates
    others = rates * (1.0 - jnp.eye(agents, dtype=rates.dtype))
    isp_weights = 1.0 + jnp.sum(others, axis=1) / (max(agents - 1, 1) * (most - 1))
    skills = jnp.clip(fitted, MARGIN, 1.0 - MARGIN)  # as ow_l
    accuracies = skill_to_accuracy(skills, jnp.array(1.0 / most))
    ow_l_weights = optimal_weights(accuracies, most)
    tied, untied = tied_questions(by_majority)
    numbers = jnp.broadcast_to(jnp.asarray(num_options), tied.shape)
    voted = tied | untied
    return RuleComparison(
        questions=jnp.sum(voted, dtype=jnp.float32),
        tied=share(tied, voted),
        mixed=jnp.any(voted & (numbers != numbers[jnp.argmax(voted)])),
        isp=compare_with_majority(by_isp, by_majority, isp_weights, most),
        ow_l=compare_with_majority(by_ow_l, by_majority, ow_l_weights, most),
        dictators=is_dictator(accuracies, most) & (agents > 1),
    )


def compare_with_majority(
    votes: Votes, by_majority: Votes, weights: Float[Array, " agent"], num_options: int
) -> RuleEffect:
    """Compares a rule with the majority vote.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Table 4, for the answers that a rule changes.

    Args:
        votes: The rule's votes, with ties split.
        by_majority: The votes of `majority`, with ties split.
        weights: The rule's weights on questions that everybody answers, with `num_options` options.
        num_options: The number of options that `weights` are for.

    Returns:
        The effect. Questions on which everybody abstained don't count.

    Example:
        >>> from jaxreason.voting import majority, ow
        >>> answers = jnp.array([[0, 0, 1], [1, 0, 0], [0, -1, 1], [1, 1, 1]])
        >>> votes = ow(answers, 2, jnp.array([0.9, 0.6, 0.6]))
        >>> effect = compare_with_majority(votes, majority(answers, 2), votes.weights, 2)
        >>> bool(effect.can_overturn), float(effect.overturned), float(effect.ties_broken)
        (True, 0.3333333432674408, 1.0)
    """
    tied, untied = tied_questions(by_majority)
    passed_over = ~jnp.any((votes.winners > 0) & (by_majority.winners > 0), axis=1)
    changed = jnp.any((votes.winners > 0) != (by_majority.winners > 0), axis=1)
    return RuleEffect(
        can_overturn=overturns_plurality(weights, num_options),
        can_differ=differs_from_majority(weights, num_options),
        overturned=share(passed_over & untied, untied),
        ties_broken=share(changed & tied, tied),
    )


def tied_questions(by_majority: Votes) -> tuple[Bool[Array, " question"], Bool[Array, " question"]]:
    """Marks the questions on which options tie for the most votes, and those with one winner.

    Example:
        >>> from jaxreason.voting import majority
        >>> tied, untied = tied_questions(majority(jnp.array([[0, 1], [1, 1], [-1, -1]]), 2))
        >>> tied.tolist(), untied.tolist()
        ([True, False, False], [False, True, False])
    """
    leading = jnp.sum(by_majority.winners > 0, axis=1)
    return leading > 1, leading == 1


def share(part: Bool[Array, " question"], whole: Bool[Array, " question"]) -> Float[Array, ""]:
    """Returns how many there are of the one for each of the other; nan if there are none.

    Example:
        >>> float(share(jnp.array([True, False]), jnp.array([True, True])))
        0.5
    """
    number = jnp.sum(whole, dtype=jnp.float32)
    parts = jnp.sum(part, dtype=jnp.float32)
    return jnp.where(number > 0, parts / jnp.maximum(number, 1.0), jnp.nan)


def skill_to_accuracy(skills: Float[Array, "..."], chance: Float[Array, "..."]) -> Array:
    """Returns t + (1 - t) c, the accuracy of agents that know at a rate t and guess otherwise.

    Example:
        >>> print(skill_to_accuracy(jnp.array([0.5, 0.0]), jnp.array(0.25)))
        [0.625 0.25 ]
    """
    return skills + (1.0 - skills) * chance
