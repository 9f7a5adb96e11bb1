"""Accuracies without labels, from how often agents agree; and the optimal votes with them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxreason.checks import check_shape
from jaxreason.voting.agreement import Agreement, pairwise_agreement
from jaxreason.voting.ballots import NumOptions, check_answers, is_vote
from jaxreason.voting.em import check_iterations
from jaxreason.voting.result import Votes
from jaxreason.voting.second_order import isp, pairwise_conditionals
from jaxreason.voting.wawa import agreement_rates
from jaxreason.voting.weighted import ow

MARGIN = 0.001
"""No vote trusts an estimate beyond [MARGIN, 1 - MARGIN]. A perfect agent may fit the agreement
best (a Heywood case) because questions are few or agents copy from each other. Its weight would be
infinite, and it a dictator; at the cap four agents that are right nine times in ten overrule it.
Fewer than 1 / MARGIN questions allow no finer estimate anyway. At the floor, an agent no better
than chance decides where it alone voted, and hardly counts elsewhere."""

DEFAULT_SKILL = 0.5
"""The skill of an agent that shares no question with another, so that nothing tells how good it is.
It then votes alone, and any positive weight lets it decide."""

MAX_STEPS = 5000
TOLERANCE = 5e-7
"""A fit of skills stops once none of them moves further than this."""

Slopes = Callable[[Array], tuple[Array, Array]]


def fit_rank_one(agreement: Agreement) -> Float[Array, " agent"]:
    """Fits skills t to pairwise agreement: r_ij = t_i t_j for i != j, each t in [0, 1].

    Descends on sum_{i != j} c_ij (t_i t_j - r_ij)^2, where c_ij is the number of questions that
    both answered, so that pairs without any do not count. At a minimum every t_i is sum_{j != i}
    c_ij t_j r_ij / sum_{j != i} c_ij t_j^2, clipped to [0, 1]. All agents descend towards that at
    once, so that their order does not matter; if agents are near chance, or fall apart into groups
    that do not agree, there may be a lower minimum elsewhere. Three agents with r > 0 get t_1^2 =
    r_12 r_13 / r_23, if that and its like for the others are at most 1.

    The signs follow from taking agents to be no worse than chance. Of two agents only the product
    of skills is known: both get sqrt(r_12), or 0 if it is negative. An agent that shares no
    question with another, such as a single one, gets `DEFAULT_SKILL`.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Eq. 7, which is this up to a constant where everybody
    answered; and "Adversarial Crowdsourcing Through Robust Rank-One Matrix Completion" by Ma and
    Olshevsky (https://arxiv.org/abs/2010.12181), for this form.

    Args:
        agreement: How often pairs agree; the diagonals are not used.

    Returns:
        The skills: 0 at chance, 1 for an agent that is always right.

    Example:
        >>> t = jnp.array([0.75, 0.5, 0.5])
        >>> print(fit_rank_one(Agreement(jnp.outer(t, t), jnp.ones((3, 3)))).round(4))
        [0.75 0.5  0.5 ]
    """
    rates, counts = agreement
    weights = jnp.where(jnp.eye(len(counts), dtype=bool), 0.0, counts)
    weights = weights / jnp.maximum(jnp.max(weights), 1.0)

    def slopes(skills: Array) -> tuple[Array, Array]:
        """The gradient, and the sum of magnitudes in each row of the Hessian; both over 4."""
        products = skills[:, None] * skills[None, :]
        gradient = jnp.sum(weights * (products - rates) * skills[None, :], axis=1)
        others = jnp.sum(weights * jnp.abs(2.0 * products - rates), axis=1)
        return gradient, others + jnp.sum(weights * jnp.square(skills)[None, :], axis=1)

    return _descend(slopes, _first_skills(rates, weights), 0.0)


def fit_skills(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    max_options: int | None = None,
) -> Float[Array, " agent"]:
    """Estimates skills from pairwise agreement alone (OW-L's estimate, by `fit_rank_one`).

    An agent of skill t knows an answer with probability t and guesses otherwise: it is right with
    probability x = t + (1 - t) / K. Skills rather than accuracies are taken to be the same on all
    questions, for r_ij = t_i t_j holds then whatever K, and nobody is worse than chance on
    questions with few options.

    With one K for all questions, the r_ij of two agents that answered all of them is
    (K q_ij - 1) / (K - 1), where q_ij is the mean over s of P(A_i = s | A_j = s) and
    P(A_j = s | A_i = s). If everybody answered, this is the minimum of Eq. 7, and equal to
    `fit_accuracies_by_conditionals`. Where an agent abstained or K differs, labels would be rare or
    mean nothing, and r_ij is that of `pairwise_agreement`.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Eq. 7.

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        max_options: The most options of any question, if `num_options` is an array.

    Returns:
        One skill an agent, from 0 at chance to 1, both included; see `fit_rank_one` for one or two
        agents.

    Raises:
        ValueError: If a shape, an answer, `num_options` or `max_options` is wrong.

    Example:
        >>> rows = "0001 1101 0010 1111 1010 0000 1110 0100".split()
        >>> answers = jnp.array([[int(answer) for answer in row] for row in rows])
        >>> [f"{t:.3f}" for t in fit_skills(answers, 2)]  # the first is a Heywood case
        ['1.000', '0.476', '0.349', '0.216']
    """
    agreement = pairwise_agreement(answers, num_options, max_options=max_options)
    if isinstance(num_options, int):
        by_label = _agreement_by_label(pairwise_conditionals(answers, num_options))
        voted = jnp.any(is_vote(answers, check_answers(answers, num_options, None)), axis=1)
        complete = agreement.counts == jnp.sum(voted, dtype=jnp.float32)
        agreement = agreement._replace(rates=jnp.where(complete, by_label, agreement.rates))
    return fit_rank_one(agreement)


def fit_accuracies_by_conditionals(
    answers: Int[Array, "question agent"], num_options: int
) -> Float[Array, " agent"]:
    """Estimates accuracies by minimising Eq. 7 as it stands; `fit_skills` gets the same faster.

    The objective is the sum, over agents i != j and options k and l, of the squared difference
    between P(A_i = k | A_j = l) as counted by `pairwise_conditionals` and as modelled:
    q = x_i x_j + (1 - x_i)(1 - x_j) / (K - 1) for k = l, (1 - q) / (K - 1) otherwise. The
    accuracies x stay within [1 / K, 1]. For N agents its work grows as N^3 K^2, that of
    `fit_skills` as N^2. If agents abstain, the two differ: this one weights all pairs alike.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Eq. 7.

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options K of every question.

    Returns:
        One accuracy an agent.

    Raises:
        ValueError: If the shape of `answers` or `num_options` is wrong.

    Example:
        >>> rows = "0001 1101 0010 1111 1010 0000 1110 0100".split()
        >>> answers = jnp.array([[int(answer) for answer in row] for row in rows])
        >>> [f"{x:.4f}" for x in fit_accuracies_by_conditionals(answers, 2)]
        ['1.0000', '0.7378', '0.6745', '0.6080']
    """
    conditionals = pairwise_conditionals(answers, num_options)
    others = 1.0 - jnp.eye(answers.shape[1], dtype=conditionals.dtype)
    same_label = jnp.eye(num_options, dtype=bool)[None, :, None, :]

    def objective(x: Array) -> Array:
        wrong = (1.0 - x) / (num_options - 1.0)
        q = x[:, None] * x[None, :] + (1.0 - x)[:, None] * wrong[None, :]
        q = q[:, None, :, None]
        model = jnp.where(same_label, q, (1.0 - q) / (num_options - 1.0))
        return jnp.sum(others[:, None, :, None] * jnp.square(model - conditionals))

    def slopes(x: Array) -> tuple[Array, Array]:
        return jax.grad(objective)(x), jnp.sum(jnp.abs(jax.hessian(objective)(x)), axis=1)

    skills = _first_skills(_agreement_by_label(conditionals), others)
    chance = 1.0 / num_options
    return _descend(slopes, skills + (1.0 - skills) * chance, chance)


def ow_l(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    skills: Float[Array, " agent"] | None = None,
    max_options: int | None = None,
    ties: str = "split",
    key: PRNGKeyArray | None = None,
) -> Votes:
    """Votes with the weights that are optimal for skills estimated from agreement (OW-L).

    The weights are ln((1 + (K - 1) t) / (1 - t)), with the skills t of `fit_skills` no closer than
    `MARGIN` to 0 and 1: `optimal_weights` for accuracies t + (1 - t) / K. Agents that copy from
    each other look skilled to it.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Eq. 7.

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        skills: How often each agent knows an answer, 0 at chance, such as those fitted to other
            questions by `fit_skills` or `fit_skills_by_isp`; if None, `fit_skills` of these.
        max_options: The most options of any question, if `num_options` is an array.
        ties: `"split"`, `"random"` or `"first"`.
        key: Randomness, for `ties="random"`.

    Returns:
        The votes, their weights (`[question, agent]` if `num_options` is an array), and the
        accuracies that these rest on, the mean over the questions that an agent answered.

    Raises:
        ValueError: If a shape, an answer, `num_options`, `max_options` or `ties` is wrong.

    Example:
        >>> rows = "0001 1101 0010 1111 1010 0000 1110 0100".split()
        >>> votes = ow_l(jnp.array([[int(answer) for answer in row] for row in rows]), 2)
        >>> votes.answers.tolist()
        [0, 1, 0, 1, 1, 0, 1, 0]
    """
    if skills is None:
        skills = fit_skills(answers, num_options, max_options=max_options)
    check_shape("skills", skills, answers.shape[1:])
    skills = jnp.clip(jnp.asarray(skills, jnp.float32), MARGIN, 1.0 - MARGIN)
    if isinstance(num_options, int):
        accuracies = skills + (1.0 - skills) / num_options
        return ow(answers, num_options, accuracies, ties=ties, key=key)
    options = jnp.arange(1, (max_options or 1) + 1, dtype=skills.dtype)
    return ow(
        answers,
        num_options,
        skills[:, None] + (1.0 - skills)[:, None] / options[None, :],
        categories=num_options - 1,
        max_options=max_options,
        ties=ties,
        key=key,
    )


def fit_skills_by_isp(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    max_iterations: int = 1,
    max_options: int | None = None,
) -> Float[Array, " agent"]:
    """Estimates skills from how often each agent sides with ISP's answers (OW-I's estimate).

    An agent's accuracy is taken to be how often it agrees with `isp` over the questions that it
    answered, or the rate of all answers together if it answered none. With more iterations the
    answers that `ow_l` finds so take the place of ISP's, until they stay the same. Agreement with
    one of t tied options counts 1 / t. The skill follows from the accuracy and the mean of 1 / K
    over the same questions; it is below 0 for an agent worse than chance.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Eq. 8.

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        max_iterations: The most times that skills are estimated, at least 1: 1 as in the paper, 100
            for a fixed point, which takes a few as a rule.
        max_options: The most options of any question, if `num_options` is an array.

    Returns:
        One skill an agent, for `ow_l`.

    Raises:
        ValueError: If a shape, an answer, `num_options`, `max_iterations` or `max_options` is
            wrong.

    Example:
        >>> rows = "0001 1101 0010 1111 1010 0000 1110 0100".split()
        >>> answers = jnp.array([[int(answer) for answer in row] for row in rows])
        >>> fit_skills_by_isp(answers, 2).tolist()
        [1.0, 0.5, 0.5, 0.25]
    """
    check_iterations(max_iterations)
    exists = check_answers(answers, num_options, max_options)
    chance = chance_of_agents(answers, num_options, max_options=max_options)

    def estimate(labels: Array) -> Array:
        return (agreement_rates(answers, exists, labels) - chance) / (1.0 - chance)

    def go_on(state: tuple[Array, Array, Array]) -> Array:
        _, changed, iteration = state
        return changed & (iteration < max_iterations)

    def iterate(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        labels, _, iteration = state
        skills = estimate(labels)
        found = ow_l(answers, num_options, skills=skills, max_options=max_options).winners
        return found, jnp.any(found != labels), iteration + 1

    labels = isp(answers, num_options, max_options=max_options).winners
    state = (labels, jnp.array(True), jnp.array(1))
    return estimate(jax.lax.while_loop(go_on, iterate, state)[0])


def ow_i(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    max_iterations: int = 1,
    max_options: int | None = None,
    ties: str = "split",
    key: PRNGKeyArray | None = None,
) -> Votes:
    """Votes with the weights that are optimal for skills estimated from ISP's answers (OW-I).

    This is `ow_l` with the skills of `fit_skills_by_isp`: no agent is taken to be worse than
    chance. To vote on other questions, give those skills to `ow_l`.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Eq. 8.

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        max_iterations: The most times that skills are estimated, at least 1: 1 as in the paper, 100
            for a fixed point, which takes a few as a rule.
        max_options: The most options of any question, if `num_options` is an array.
        ties: `"split"`, `"random"` or `"first"`.
        key: Randomness, for `ties="random"`.

    Returns:
        The votes, their weights and the accuracies that these rest on, as of `ow_l`.

    Raises:
        ValueError: If a shape, an answer, `num_options`, `max_iterations`, `max_options` or `ties`
            is wrong.

    Example:
        >>> rows = "0001 1101 0010 1111 1010 0000 1110 0100".split()
        >>> votes = ow_i(jnp.array([[int(answer) for answer in row] for row in rows]), 2)
        >>> votes.accuracies.tolist()
        [0.999500..., 0.75, 0.75, 0.625]
    """
    skills = fit_skills_by_isp(
        answers, num_options, max_iterations=max_iterations, max_options=max_options
    )
    return ow_l(answers, num_options, skills=skills, max_options=max_options, ties=ties, key=key)


def _agreement_by_label(
    conditionals: Float[Array, "agent option agent option"],
) -> Float[Array, "agent agent"]:
    """Returns (K q - 1) / (K - 1), q the mean of P(A_i = s | A_j = s) over s and both orders."""
    options = conditionals.shape[1]
    means = jnp.einsum("isjs->ij", conditionals) / options
    return (options * (means + means.T) / 2.0 - 1.0) / (options - 1.0)


def _first_skills(
    rates: Float[Array, "agent agent"], weights: Float[Array, "agent agent"]
) -> Float[Array, " agent"]:
    """Returns where to start: the root of an agent's mean agreement, disagreement taken as 0."""
    totals = jnp.sum(weights, axis=1)
    sums = jnp.sum(weights * jnp.clip(rates, 0.0, 1.0), axis=1)
    means = sums / jnp.where(totals > 0, totals, 1.0)
    return jnp.where(totals > 0, jnp.sqrt(means), DEFAULT_SKILL)


def _descend(slopes: Slopes, start: Float[Array, " agent"], lower: float) -> Float[Array, " agent"]:
    """Minimises over [lower, 1] by gradients divided by the sums of the Hessian's rows.

    Such a step cannot overshoot while the Hessian stays as it is, by Gershgorin's theorem.
    """

    def go_on(state: tuple[Array, Array, Array]) -> Array:
        _, change, step = state
        return (change > TOLERANCE) & (step < MAX_STEPS)

    def descend(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        point, _, step = state
        gradient, curvature = slopes(point)
        move = gradient / jnp.where(curvature > 0, curvature, 1.0)
        moved = jnp.clip(point - move, lower, 1.0)
        return moved, jnp.max(jnp.abs(moved - point)), step + 1

    state = (start, jnp.array(jnp.inf, start.dtype), jnp.array(0))
    return jax.lax.while_loop(go_on, descend, state)[0]


def chance_of_agents(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    max_options: int | None = None,
) -> Float[Array, " agent"]:
    """Returns the mean of 1 / K over the questions that each agent answered, over all if none.

    Questions with a single option do not count.

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        max_options: The most options of any question, if `num_options` is an array.

    Returns:
        How often each agent would be right by guessing.

    Example:
        >>> answers = jnp.array([[0, 0], [1, -1]])
        >>> chance_of_agents(answers, jnp.array([2, 4]), max_options=4).tolist()
        [0.375, 0.5]
    """
    if isinstance(num_options, int):
        return jnp.full(answers.shape[1], 1.0 / num_options)
    exists = check_answers(answers, num_options, max_options)
    options = jnp.sum(exists, axis=1, dtype=jnp.float32)[:, None]
    answered = is_vote(answers, exists) & (options >= 2.0)
    counted = (answered | ~jnp.any(answered, axis=0, keepdims=True)).astype(jnp.float32)
    guess = jnp.sum(counted / jnp.maximum(options, 2.0), axis=0)
    return guess / jnp.maximum(jnp.sum(counted, axis=0), 1.0)
