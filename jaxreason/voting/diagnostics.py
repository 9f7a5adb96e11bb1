"""What to know before trusting a vote: dependence, accuracies, and whether the rule matters."""

import dataclasses
from typing import NamedTuple, no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxreason.checks import check_shape, check_that
from jaxreason.voting.agreement import Agreement, pairwise_agreement
from jaxreason.voting.ballots import NumOptions, check_answers, is_vote, option_mask
from jaxreason.voting.blocks import questions_per_block, sum_blocks
from jaxreason.voting.dependence import (
    Dependence,
    copying_rate,
    effective_agents,
    measure_dependence,
    shared_errors,
)
from jaxreason.voting.difficulty import PairProducts, sum_pair_products, varying_difficulty
from jaxreason.voting.low_rank import chance_of_agents
from jaxreason.voting.resampling import (
    bootstrap,
    count_groups,
    percentile_interval,
    sum_groups,
    wilson_interval,
)
from jaxreason.voting.robust_skills import fit_signed_skills, identified_agents
from jaxreason.voting.rule_effects import (
    RuleComparison,
    compare_rules,
    skill_to_accuracy,
)
from jaxreason.voting.tetrads import of_quartet, predict_from_tetrads, scatter

MIN_RESAMPLED = 10
"""On fewer questions an agent's agreement with others, also resampled, tells nothing."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class Diagnosis:
    """What `diagnose` finds. What the answers can't tell is nan.

    Attributes:
        votes: The number of questions that each agent answered.
        abstentions: The share of questions that each agent left out, of those with any vote.
        isolated: Agents that share no question with another.
        chance: The mean of 1 / K over the questions that an agent answered.
        agreement: r_ij, see `pairwise_agreement`.
        counts: The number of questions that both answered.
        predicted: The agreement that independence predicts, see `measure_dependence`.
        excess: The agreement beyond that.
        standard_errors: Of the excess, less that of the pool: from the number of questions, the
            error of the prediction (bootstrap), and the spread of the excess over the pool.
        z_scores: The excess, less the pool's median, in standard errors.
        copying: The excess as a share of what is possible: at what rate one must have copied.
        clones: Pairs that agree too often, by much and significantly.
        shared_errors: How often both of a pair give the same answer where the others outvote both.
        accuracies: Estimated without labels, from the agreement of pairs that are not suspected;
            nan for agents with under ten answers.
        accuracy_bounds: Their bootstrap intervals. That difficulty makes agents look more accurate
            is not in them.
        worse_than_chance: Agents whose interval, with labels or else without, is below chance.
            Without labels most agents are taken to be better than chance.
        labels: The number of labelled questions that each agent answered.
        labelled_accuracies: The share of those answered rightly.
        labelled_bounds: Wilson's intervals.
        labelled_copying: The copying that the labelled accuracies leave, which that of difficulty
            adds to.
        effective: How many independent agents would give as good a vote, see `effective_agents`.
            Without labels, dependence that all pairs share alike looks like accuracy.
        labelled_effective: The same with the labelled accuracies: it counts difficulty, too.
        difficulty: By how much difficulty varies, see `varying_difficulty`; one agent of each
            suspected pair left out.
        difficulty_bounds: Its bootstrap interval.
        rules: How other rules differ from the majority here.
    """

    votes: Float[Array, " agent"]
    abstentions: Float[Array, " agent"]
    isolated: Bool[Array, " agent"]
    chance: Float[Array, " agent"]
    agreement: Float[Array, "agent agent"]
    counts: Float[Array, "agent agent"]
    predicted: Float[Array, "agent agent"]
    excess: Float[Array, "agent agent"]
    standard_errors: Float[Array, "agent agent"]
    z_scores: Float[Array, "agent agent"]
    copying: Float[Array, "agent agent"]
    clones: Bool[Array, "agent agent"]
    shared_errors: Float[Array, "agent agent"]
    accuracies: Float[Array, " agent"]
    accuracy_bounds: Float[Array, "agent 2"]
    worse_than_chance: Bool[Array, " agent"]
    labels: Float[Array, " agent"]
    labelled_accuracies: Float[Array, " agent"]
    labelled_bounds: Float[Array, "agent 2"]
    labelled_copying: Float[Array, "agent agent"]
    effective: Float[Array, ""]
    labelled_effective: Float[Array, ""]
    difficulty: Float[Array, ""]
    difficulty_bounds: Float[Array, " 2"]
    rules: RuleComparison


class _Labelled(NamedTuple):
    """What labels tell; see the fields of `Diagnosis`."""

    number: Float[Array, " agent"]
    accuracies: Float[Array, " agent"]
    bounds: Float[Array, "agent 2"]
    copying: Float[Array, "agent agent"]


class _Resampled(NamedTuple):
    """Estimates from resampled questions."""

    skills: Float[Array, "resample agent"]
    tetrads: Float[Array, "resample 4 4"] | None
    difficulty: Float[Array, " resample"]


def diagnose(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    max_options: int | None = None,
    truth: Int[Array, " question"] | None = None,
    key: PRNGKeyArray,
    resamples: int = 200,
    level: float = 0.95,
    false_alarms: float = 0.05,
    min_copying: float = 0.15,
) -> Diagnosis:
    """Finds what a person needs to know before trusting a vote.

    Pairs are flagged as clones if their agreement exceeds the prediction of a robust rank-one fit
    (`measure_dependence`) significantly, and by at least a rate `min_copying` of copying. A flagged
    pair need not copy: agents that are right together where most of the pool is wrong agree just as
    much. Questions with a single option tell nothing and are left out. Memory stays bounded: the
    questions are resampled in at most 1,000 groups, of which one matrix `[agent, agent]` each is
    held (`resampling`).

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), whose Assumption 1 this checks.

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        max_options: The most options of any question, if `num_options` is an array.
        truth: The right options of labelled questions, -1 for the others.
        key: Randomness of the bootstrap.
        resamples: The number of bootstrap resamples; static.
        level: The probability that an interval holds the truth.
        false_alarms: The probability to flag any pair if none depends, over all pairs together
            (Bonferroni).
        min_copying: The least rate of copying that is flagged.

    Returns:
        The diagnosis; `recommend` puts it into words.

    Raises:
        ValueError: If there are no questions or agents, or a shape, `num_options` or `max_options`
            is wrong.

    Example:
        >>> from jaxreason.voting.simulation import simulate_clones
        >>> x, parents = jnp.array([0.6, 0.6, 0.8, 0.8, 0.7]), jnp.array([0, 0, 2, 3, 4])
        >>> answers, _ = simulate_clones(jax.random.key(0), x, 4, 500, parents=parents, rho=0.9)
        >>> diagnosis = diagnose(answers, 4, key=jax.random.key(1), resamples=20)
        >>> jnp.argwhere(diagnosis.clones).tolist()
        [[0, 1], [1, 0]]
        >>> f"{diagnosis.copying[0, 1]:.1f}"
        '0.9'
    """
    questions, agents = check_shape("answers", answers, ("question", "agent"))
    check_that(min(questions, agents) >= 1, f"answers must not be empty; got {answers.shape}.")
    exists = check_answers(answers, num_options, max_options)
    answered = is_vote(answers, exists) & (jnp.sum(exists, axis=1, keepdims=True) > 1)
    answers = jnp.where(answered, answers.astype(jnp.int32), -1)
    chance = chance_of_agents(answers, num_options, max_options=max_options)
    agreement = pairwise_agreement(answers, num_options, max_options=max_options)
    overlaps = ~jnp.eye(agents, dtype=bool) & (agreement.counts > 0)
    threshold = _threshold(overlaps, false_alarms)
    wrong = _chance_of_errors(answered, exists)
    found = measure_dependence(agreement, wrong, threshold=threshold, min_copying=min_copying)
    resampled, products = _resample(answers, exists, agreement, found, resamples, key)
    errors = jnp.sqrt(jnp.square(found.standard_errors) + _prediction_variance(resampled, found))
    z_scores = (found.excess - found.usual) / errors
    votes = jnp.sum(answered, axis=0, dtype=jnp.float32)
    known = identified_agents(found.counted) & (votes >= MIN_RESAMPLED)
    bounds = percentile_interval(resampled.skills, level)
    skills = jnp.where(known[:, None], jnp.column_stack([found.skills, bounds]), jnp.nan)
    rates = jnp.clip(skill_to_accuracy(skills, chance[:, None]), 0.0, 1.0)
    labelled = _judge(answers, answered, exists, truth, agreement, chance, level)
    highest = jnp.where(labelled.number > 0, labelled.bounds[:, 1], rates[:, 2])
    return Diagnosis(
        votes=votes,
        abstentions=1.0 - votes / jnp.maximum(jnp.sum(answered.any(1), dtype=votes.dtype), 1.0),
        isolated=~jnp.any(overlaps, axis=1),
        chance=chance,
        agreement=agreement.rates,
        counts=agreement.counts,
        predicted=found.predicted,
        excess=found.excess,
        standard_errors=errors,
        z_scores=z_scores,
        copying=found.copying,
        clones=found.suspected & (z_scores > threshold) & (found.copying >= min_copying),
        shared_errors=shared_errors(answers, num_options, max_options=max_options),
        accuracies=rates[:, 0],
        accuracy_bounds=rates[:, 1:],
        worse_than_chance=highest < chance,
        labels=labelled.number,
        labelled_accuracies=labelled.accuracies,
        labelled_bounds=labelled.bounds,
        labelled_copying=labelled.copying,
        effective=effective_agents(found.copying),
        labelled_effective=effective_agents(labelled.copying),
        difficulty=varying_difficulty(products),
        difficulty_bounds=percentile_interval(resampled.difficulty[:, None], level)[0],
        rules=compare_rules(answers, num_options, max_options=max_options),
    )


def _chance_of_errors(
    answered: Bool[Array, "question agent"], exists: Bool[Array, "question option"]
) -> Float[Array, ""]:
    """Returns the mean of 1 / (K - 1) over the questions that tell of agreement; 1 if none does."""
    options = jnp.sum(exists, axis=1, dtype=jnp.float32)
    telling = (jnp.sum(answered, axis=1) >= 2).astype(jnp.float32)
    total = jnp.sum(telling)
    mean = jnp.sum(telling / jnp.maximum(options - 1.0, 1.0)) / jnp.maximum(total, 1.0)
    return jnp.where(total > 0, mean, 1.0)


def _threshold(pairs: Bool[Array, "agent agent"], false_alarms: float) -> Float[Array, ""]:
    """Returns the z-score that one of so many pairs exceeds by chance at the given rate."""
    number = jnp.maximum(jnp.sum(pairs, dtype=jnp.float32) / 2.0, 1.0)
    return -jax.scipy.special.ndtri(false_alarms / number)


def _resample(
    answers: Int[Array, "question agent"],
    exists: Bool[Array, "question option"],
    agreement: Agreement,
    found: Dependence,
    resamples: int,
    key: PRNGKeyArray,
) -> tuple[_Resampled, PairProducts]:
    """Fits skills and difficulty to resampled questions; returns the sums for difficulty, too.

    Of each suspected pair the second agent is left out of what measures difficulty.
    """
    questions, agents = answers.shape
    number, width = jnp.sum(exists, axis=1, dtype=jnp.int32), exists.shape[1]
    independent = ~jnp.any(jnp.triu(found.suspected), axis=0)

    def add_up(answers: Array, number: Array) -> tuple[Agreement, PairProducts]:
        rates, counts = pairwise_agreement(answers, number, max_options=width)
        kept = jnp.where(independent[None, :], answers, -1)
        block = questions_per_block(agents, width)
        return Agreement(rates * counts, counts), sum_blocks(multiply, kept, number, block=block)

    def multiply(answers: Array, number: Array) -> PairProducts:
        exists = option_mask(number, width, len(number))
        return sum_pair_products(answers, exists, agreement.rates)

    def estimate(sums: tuple[Agreement, PairProducts]) -> _Resampled:
        (excess, counts), products = sums
        rates = excess / jnp.maximum(counts, 1.0)
        weights = jnp.where(found.counted, counts, 0.0)
        skills = fit_signed_skills(rates, weights, found.skills)
        quartet = found.quartet
        tetrads = predict_from_tetrads(of_quartet(quartet, rates)) if quartet else None
        return _Resampled(skills, tetrads, varying_difficulty(products))

    of_groups, of_resamples = jax.random.split(key)
    groups = count_groups(questions, agents**2)
    sums = sum_groups(add_up, answers, number, groups=groups, key=of_groups)
    resampled = bootstrap(estimate, sums, resamples=resamples, key=of_resamples)
    return resampled, jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), sums[1])


def _prediction_variance(resampled: _Resampled, found: Dependence) -> Float[Array, "agent agent"]:
    """Returns the variance of the predicted agreement, plus that of the pool's excess."""
    skills = resampled.skills
    squares = jnp.einsum("bi,bj->ij", jnp.square(skills), jnp.square(skills), precision="highest")
    means = jnp.einsum("bi,bj->ij", skills, skills, precision="highest") / len(skills)
    variance = jnp.maximum(squares / len(skills) - jnp.square(means), 0.0)
    if found.quartet is not None and resampled.tetrads is not None:
        of_four = scatter(found.quartet, jnp.var(resampled.tetrads, axis=0), len(variance))
        variance = jnp.where(found.suspected & found.quartet.alone, of_four, variance)
    return variance + jnp.square(found.spread)


def _judge(
    answers: Int[Array, "question agent"],
    answered: Bool[Array, "question agent"],
    exists: Bool[Array, "question option"],
    truth: Int[Array, " question"] | None,
    agreement: Agreement,
    chance: Float[Array, " agent"],
    level: float,
) -> _Labelled:
    """Counts who is right on the labelled questions, and the agreement beyond that."""
    if truth is None:
        truth = jnp.full(len(answers), -1, jnp.int32)
    check_shape("truth", truth, answers.shape[:1])
    counted = answered & is_vote(truth[:, None], exists)
    right = counted & (answers == truth[:, None])
    number = jnp.sum(counted, axis=0, dtype=jnp.float32)
    rights = jnp.sum(right, axis=0, dtype=jnp.float32)
    accuracies = jnp.where(number > 0, rights / jnp.maximum(number, 1.0), jnp.nan)
    skills = (accuracies - chance) / (1.0 - chance)
    copying = copying_rate(agreement.rates, jnp.outer(skills, skills))
    overlaps = ~jnp.eye(len(chance), dtype=bool) & (agreement.counts > 0)
    return _Labelled(
        number=number,
        accuracies=accuracies,
        bounds=wilson_interval(rights, number, level),
        copying=jnp.where(overlaps, copying, jnp.nan),
    )
