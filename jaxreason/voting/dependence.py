"""Which agents agree more than their accuracies explain: clones, families, shared errors."""

import dataclasses
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.voting.agreement import Agreement
from jaxreason.voting.ballots import NumOptions, cast_ballots, check_answers
from jaxreason.voting.blocks import questions_per_block, sum_blocks
from jaxreason.voting.robust_skills import fit_robust_skills, fit_signed_skills
from jaxreason.voting.tetrads import (
    Quartet,
    find_quartet,
    of_quartet,
    predict_from_tetrads,
    scatter,
)

MIN_SHARED = 0.05
"""Pairs that share fewer than one in twenty of the questions that the closest pair shares are not
tested: who answered next to nothing can't decide between two explanations of the others."""

MIN_SPREAD_AGENTS = 5
"""From so many agents on (10 pairs) the spread of the pool's residuals is estimated."""

MAX_PRODUCT = 0.999
"""The most agreement that is put down to accuracy: agents that never differ count as copies."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class Dependence:
    """Agreement of pairs against what independent agents of their accuracies would show.

    Attributes:
        skills: t_i, fitted to the agreement of the pairs that are not suspected.
        predicted: The agreement t_i t_j that independence predicts.
        excess: The agreement r_ij beyond that.
        copying: The excess as a share of what is possible, (r_ij - t_i t_j) / (1 - t_i t_j): the
            share of questions on which one agent of the pair must have copied the other.
        standard_errors: Of r_ij, from the number of questions that both answered.
        usual: The median excess of the pool's pairs; 0 below five agents that can be tested.
        spread: The standard deviation of the excess over the pool's pairs beyond sampling, such as
            varying difficulty leaves; 0 below five agents that can be tested.
        suspected: Pairs that agree too often.
        testable: Pairs that can be tested at all; what is not testable is nan.
        counted: Pairs whose agreement the skills were fitted to.
        quartet: The agents that can be tested, if they are but four; None for a smaller pool.
    """

    skills: Float[Array, " agent"]
    predicted: Float[Array, "agent agent"]
    excess: Float[Array, "agent agent"]
    copying: Float[Array, "agent agent"]
    standard_errors: Float[Array, "agent agent"]
    usual: Float[Array, ""]
    spread: Float[Array, ""]
    suspected: Bool[Array, "agent agent"]
    testable: Bool[Array, "agent agent"]
    counted: Bool[Array, "agent agent"]
    quartet: Quartet | None


def measure_dependence(
    agreement: Agreement,
    chance: Float[Array, ""],
    *,
    threshold: float | Float[Array, ""],
    min_copying: float,
) -> Dependence:
    """Finds the agreement of pairs that independence given the truth does not explain.

    If agents err independently, r_ij = t_i t_j. A robust fit of that (`fit_robust_skills`) shows
    which pairs agree too often; the skills are then fitted to the others by least squares. The
    standard error of r_ij follows from the binomial distribution of the agreement: with
    r = (K q - 1) / (K - 1) and q the share of n questions with equal answers, it is
    K / (K - 1) sqrt(q (1 - q) / n), with one agreement and one disagreement added so that it is
    never 0. A pair is suspected if its excess, less the median of all pairs, is more than
    `threshold` times sqrt(standard error^2 + spread^2), and its copying at least `min_copying`.
    Difficulty, topics and ability that differ make all pairs agree too often by and by: they widen
    the spread, so that a pair is suspected only if it stands out from the pool.

    Fewer than four agents can always be explained as independent, and so can an agent that
    overlaps with fewer than three (pairs that share next to nothing, `MIN_SHARED`, aside). If four
    are left, r_ij is predicted by the mean of r_ik r_jl / r_kl and r_il r_jk / r_kl; two copies
    1, 2 then can't be told from two copies 3, 4: both fit exactly, and both pairs are suspected.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Proposition 1 and Assumption 1, and "Great Models Think
    Alike and this Undermines AI Oversight" by Goel et al. (https://arxiv.org/abs/2502.04313), whose
    chance-adjusted agreement `copying` is, with errors spread evenly over the wrong options.

    Args:
        agreement: How often pairs agree, see `pairwise_agreement`.
        chance: The mean of 1 / (K - 1) over questions.
        threshold: How many standard deviations stand out.
        min_copying: The least copying that is worth a suspicion.

    Returns:
        The dependence of all pairs.

    Example:
        >>> t = jnp.array([0.4, 0.4, 0.7, 0.7, 0.6])
        >>> rates = jnp.outer(t, t).at[0, 1].set(0.92).at[1, 0].set(0.92)
        >>> agreement = Agreement(rates, jnp.full((5, 5), 1000.0))
        >>> found = measure_dependence(agreement, jnp.array(1.0), threshold=3.0, min_copying=0.15)
        >>> [f"{skill:.2f}" for skill in found.skills], f"{found.copying[0, 1]:.2f}"
        (['0.40', '0.40', '0.70', '0.70', '0.60'], '0.90')
        >>> jnp.argwhere(found.suspected).tolist()
        [[0, 1], [1, 0]]
    """
    rates, counts = agreement
    agents = rates.shape[0]
    different = ~jnp.eye(agents, dtype=bool)
    overlaps = different & (counts > 0)
    most = jnp.max(jnp.where(different, counts, 0.0))
    enough = overlaps & (counts >= MIN_SHARED * most)
    partners = jnp.sum(enough, axis=1)
    testable = enough & (jnp.minimum(partners[:, None], partners[None, :]) >= 3)
    errors = agreement_errors(agreement, chance)
    skills = fit_robust_skills(rates, counts, _median(errors, overlaps))
    predicted, counted, quartet = jnp.outer(skills, skills), overlaps, None
    if agents >= 4:
        quartet = find_quartet(testable)
        of_four = scatter(quartet, predict_from_tetrads(of_quartet(quartet, rates)), agents)
        predicted = jnp.where(quartet.alone, of_four, predicted)
        counted = jnp.where(quartet.alone, testable, overlaps)

    excess = rates - predicted
    usual, spread = _pool_spread(excess, errors, testable)
    scale = jnp.sqrt(jnp.square(errors) + jnp.square(spread))
    large = copying_rate(rates, predicted) >= min_copying
    suspected = testable & large & (excess - usual > threshold * scale)
    counted = counted & ~suspected
    skills = fit_signed_skills(rates, jnp.where(counted, counts, 0.0))
    fitted = jnp.outer(skills, skills)
    kept = jnp.zeros_like(suspected) if quartet is None else suspected & quartet.alone
    predicted = jnp.where(kept, predicted, fitted)
    usual, spread = _pool_spread(rates - predicted, errors, testable)
    return Dependence(
        skills=skills,
        predicted=jnp.where(testable, predicted, jnp.nan),
        excess=jnp.where(testable, rates - predicted, jnp.nan),
        copying=jnp.where(testable, copying_rate(rates, predicted), jnp.nan),
        standard_errors=jnp.where(overlaps, errors, jnp.nan),
        usual=usual,
        spread=spread,
        suspected=suspected,
        testable=testable,
        counted=counted,
        quartet=quartet,
    )


def agreement_errors(agreement: Agreement, chance: Float[Array, ""]) -> Float[Array, "agent agent"]:
    """Computes the standard errors of r_ij, as `measure_dependence` says.

    Where K varies, 1 / (K - 1) is taken at its mean.

    Args:
        agreement: How often pairs agree.
        chance: The mean of 1 / (K - 1) over questions.

    Returns:
        The standard errors, `[agent, agent]`.

    Example:
        >>> agreement = Agreement(jnp.array([[1.0, 0.6], [0.6, 1.0]]), jnp.full((2, 2), 98.0))
        >>> print(agreement_errors(agreement, jnp.array(1.0)).round(4))  # q = (78.4 + 1) / 100
        [[0.0199 0.0809]
         [0.0809 0.0199]]
    """
    rates, counts = agreement
    same = jnp.clip((rates + chance) / (1.0 + chance), 0.0, 1.0)
    same = (counts * same + 1.0) / (counts + 2.0)
    return (1.0 + chance) * jnp.sqrt(same * (1.0 - same) / (counts + 2.0))


def copying_rate(
    rates: Float[Array, "agent agent"], predicted: Float[Array, "agent agent"]
) -> Float[Array, "agent agent"]:
    """Computes (r - p) / (1 - p): at what rate independent answers were replaced by equal ones.

    Example:
        >>> print(copying_rate(jnp.array([[0.92]]), jnp.array([[0.2]])).round(2))
        [[0.9]]
    """
    predicted = jnp.minimum(predicted, MAX_PRODUCT)
    return (rates - predicted) / (1.0 - predicted)


def effective_agents(copying: Float[Array, "agent agent"]) -> Float[Array, ""]:
    """Computes how many independent agents would give as good a vote: N / (1 + (N - 1) c).

    N is the number of agents that are in any pair of known copying, and c is the mean copying of
    the pairs that have one, within [0, 1]. The share of votes for an option is a mean of N numbers
    of equal variance, and has the variance of a mean of N / (1 + (N - 1) c) independent ones if c
    is the mean correlation of their errors (the design effect). It is 1 for copies and N for
    independent agents.

    See "Survey Sampling" by Kish (1965), for the design effect.

    Args:
        copying: As in `Dependence`, nan where unknown.

    Returns:
        The number, within [1, N]; nan if no pair's copying is known.

    Example:
        >>> float(effective_agents(jnp.ones((5, 5)))), float(effective_agents(jnp.zeros((5, 5))))
        (1.0, 5.0)
    """
    known = ~jnp.eye(len(copying), dtype=bool) & ~jnp.isnan(copying)
    agents = jnp.sum(jnp.any(known, axis=1), dtype=copying.dtype)
    total = jnp.sum(jnp.where(known, copying, 0.0))
    pairs = jnp.sum(known, dtype=copying.dtype)
    mean = jnp.clip(total / jnp.maximum(pairs, 1.0), 0.0, 1.0)
    return jnp.where(pairs > 0, agents / (1.0 + (agents - 1) * mean), jnp.nan)


def shared_errors(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    max_options: int | None = None,
) -> Float[Array, "agent agent"]:
    """Computes how often two agents that the others outvote both give the same answer.

    Of the questions that both answered, those count on which some option has more votes from the
    other agents than either answer of the two has. Of independent agents that are wrong, a share
    1 / (K - 1) give the same answer; more means that they copy, or fall for the same wrong option,
    or are right together against the others. What is usual differs between pools: compare pairs.

    See "Correlated Errors in Large Language Models" by Kim et al.
    (https://arxiv.org/abs/2506.07962), who know the right options.

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        max_options: The most options of any question, if `num_options` is an array.

    Returns:
        The shares, nan where there is no such question and on the diagonal.

    Raises:
        ValueError: If a shape, an answer, `num_options` or `max_options` is wrong.

    Example:
        >>> answers = jnp.array([[1, 1, 0, 0, 0], [1, 2, 0, 0, 0], [2, 2, 2, 0, 0]])
        >>> float(shared_errors(answers, 3)[0, 1])  # in the last, one of the others agrees
        0.6666666865348816
    """
    exists = check_answers(answers, num_options, max_options)
    block = questions_per_block(answers.shape[1], exists.shape[1])
    same, either = sum_blocks(_count_outvoted, answers, exists, block=block)
    known = ~jnp.eye(answers.shape[1], dtype=bool) & (either > 0)
    return jnp.where(known, same / jnp.maximum(either, 1.0), jnp.nan)


def _count_outvoted(
    answers: Int[Array, "question agent"], exists: Bool[Array, "question option"]
) -> tuple[Float[Array, "agent agent"], Float[Array, "agent agent"]]:
    """Counts questions on which the others outvote a pair: those where it agrees, and all.

    Without the two, an option s that both name has two votes fewer, and is outvoted if another has
    more than that. Two options that they name have one vote fewer each; then some third option has
    more if and only if it has as many as any option has with their votes: it is one of the leading
    options, of which there must be more than the two name.
    """
    ballots = cast_ballots(answers, exists)
    answered = jnp.sum(ballots, axis=-1)
    counts = jnp.sum(ballots, axis=1)
    most = jnp.max(counts, axis=1, keepdims=True)
    unique = jnp.sum(counts == most, axis=1, keepdims=True) == 1
    second = jnp.max(jnp.where(counts == most, -1.0, counts), axis=1, keepdims=True)
    best_other = jnp.where((counts == most) & unique, second, most)
    outvoted = jnp.where((best_other > counts - 2.0)[:, None, :], ballots, 0.0)
    same = jnp.einsum("qis,qjs->ij", outvoted, ballots, precision="highest")

    leads = ((counts == jnp.max(counts, axis=1, keepdims=True)) & (counts > 0)).astype(counts.dtype)
    leaders = jnp.sum(leads, axis=1, keepdims=True)
    lead = jnp.einsum("qis,qs->qi", ballots, leads, precision="highest")  # the agents that do
    either = _count_pairs(answered, leaders > 2)
    either += _count_pairs(answered, leaders == 2) - _count_pairs(lead, leaders == 2)
    either += _count_pairs(answered - lead, leaders == 1)
    agreeing = jnp.where((leaders > 2.0 * leads)[:, None, :], ballots, 0.0)
    agreeing = jnp.einsum("qis,qjs->ij", agreeing, ballots, precision="highest")
    return same, same + either - agreeing


def _count_pairs(
    marked: Float[Array, "question agent"], where: Bool[Array, "question 1"]
) -> Float[Array, "agent agent"]:
    """Counts the questions, of those asked for, on which both of two agents are marked."""
    marked = jnp.where(where, marked, 0.0)
    return jnp.einsum("qi,qj->ij", marked, marked, precision="highest")


def _pool_spread(
    excess: Float[Array, "agent agent"],
    errors: Float[Array, "agent agent"],
    pairs: Bool[Array, "agent agent"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns the median excess of the pairs and its spread beyond sampling (both robust)."""
    middle = _median(excess, pairs)
    deviation = 1.4826 * _median(jnp.abs(excess - middle), pairs)
    variance = jnp.square(deviation) - jnp.square(_median(errors, pairs))
    many = jnp.sum(jnp.any(pairs, axis=1)) >= MIN_SPREAD_AGENTS
    return (
        jnp.where(many, middle, 0.0),
        jnp.where(many, jnp.sqrt(jnp.maximum(variance, 0.0)), 0.0),
    )


def _median(values: Float[Array, "agent agent"], pairs: Bool[Array, "agent agent"]) -> Array:
    """Returns the median over pairs, 0 if there are none."""
    return jnp.nan_to_num(jnp.nanmedian(jnp.where(pairs, values, jnp.nan)))
