"""What a vote is worth if agents err independently: exact accuracies and expected advantages.

Throughout, agent i is right with probability x_i whatever the right option is, an error falls on
each of the K - 1 wrong options alike, and agents err independently given the right option:
Proposition 1 and Assumption 1 of "Beyond Majority Voting: LLM Aggregation by Leveraging
Higher-Order Information" by Ai et al. (https://arxiv.org/abs/2510.01499).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreason.checks import check_shape, check_that
from jaxreason.voting.blocks import questions_per_block, sum_blocks
from jaxreason.voting.result import Votes

MAX_OUTCOMES = 2**24
"""The most ways to answer one question that `exact_accuracy` goes through: 12 agents, 4 options."""


class Advantages(NamedTuple):
    """The expected advantage of the right option, by rule.

    Attributes:
        majority: Of the counts, less the N / K votes that each option gets on average.
        sp: Of SP, whose scores sum to 0 over the options.
        isp: Of ISP, likewise.
    """

    majority: Float[Array, ""]
    sp: Float[Array, ""]
    isp: Float[Array, ""]


def skill(accuracies: Float[Array, " agent"], num_options: int) -> Float[Array, " agent"]:
    """Rescales accuracies so that guessing is 0 and being always right is 1.

    t = (K x - 1) / (K - 1). Two agents' agreement, rescaled alike, is t_i t_j.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Theorem 2, whose gaps are made of these.

    Args:
        accuracies: The probability x that each agent is right.
        num_options: The number of options K.

    Returns:
        The skills, at least -1 / (K - 1).

    Raises:
        ValueError: If `accuracies` is not one number an agent or there are fewer than two options.

    Example:
        >>> print(skill(jnp.array([1.0, 0.625, 0.25]), 4))
        [1.  0.5 0. ]
    """
    check_shape("accuracies", accuracies, ("agent",))
    check_that(num_options >= 2, f"num_options must be at least 2; got {num_options}.")
    return (num_options * accuracies - 1.0) / (num_options - 1.0)


def population_conditionals(
    accuracies: Float[Array, " agent"], num_options: int
) -> Float[Array, "agent option agent option"]:
    """Computes P(A_i = s | A_j = a) at `[i, s, j, a]`, what `pairwise_conditionals` estimates.

    It is q for s = a and (1 - q) / (K - 1) otherwise, where agents i and j agree with probability
    q = x_i x_j + (1 - x_i) (1 - x_j) / (K - 1), and an agent always agrees with itself.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Proposition 1 and Eq. 7.

    Args:
        accuracies: The probability x that each agent is right.
        num_options: The number of options K.

    Returns:
        The conditionals, for `sp` and `isp`.

    Raises:
        ValueError: If `accuracies` is not one number an agent or there are fewer than two options.

    Example:
        >>> conditionals = population_conditionals(jnp.array([0.5, 0.75, 1.0]), 3)
        >>> conditionals[1, :, 2, 0].tolist()  # agent 2 says 0 and is right
        [0.75, 0.125, 0.125]
    """
    (agents,) = check_shape("accuracies", accuracies, ("agent",))
    check_that(num_options >= 2, f"num_options must be at least 2; got {num_options}.")
    wrong = 1.0 - accuracies
    agree = jnp.outer(accuracies, accuracies) + jnp.outer(wrong, wrong) / (num_options - 1.0)
    agree = jnp.where(jnp.eye(agents, dtype=bool), 1.0, agree)[:, None, :, None]
    same = jnp.eye(num_options, dtype=bool)[None, :, None, :]
    return jnp.where(same, agree, (1.0 - agree) / (num_options - 1.0))


def second_order_weights(
    accuracies: Float[Array, " agent"], num_options: int
) -> tuple[Float[Array, " agent"], Float[Array, " agent"]]:
    """Computes the weights with which SP and ISP, given population conditionals, are votes.

    With skills t and c_j = t_j mean_{i != j} t_i, SP weighs agent j by 1 - c_j and ISP by
    1 + c_j / (K - 1): their scores differ from that weighted vote by a constant over the options.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Algorithm 2, of which this is a consequence.

    Args:
        accuracies: The probability x that each agent is right.
        num_options: The number of options K.

    Returns:
        The weights of SP and those of ISP.

    Raises:
        ValueError: If `accuracies` is not one number an agent or there are fewer than two options.

    Example:
        >>> of_sp, of_isp = second_order_weights(jnp.array([0.9, 0.8, 0.7, 0.6]), 2)
        >>> print(*[f"{weight:.4f}" for weight in of_isp])
        1.3200 1.2800 1.2133 1.1200
    """
    t = skill(accuracies, num_options)
    excess = t * (jnp.sum(t) - t) / max(t.shape[0] - 1, 1)
    return 1.0 - excess, 1.0 + excess / (num_options - 1.0)


def exact_accuracy(
    rule: Callable[[Array, int], Votes], accuracies: Float[Array, " agent"], num_options: int
) -> Float[Array, ""]:
    """Computes how often a rule is right, over all K^N ways to answer a question and all truths.

    Tied options share the win, so this is the expectation under random tie-breaking. The rule is
    shown many ways to answer at a time, none of them more often than another, so it must not learn
    from them: give it what it needs, such as `population_conditionals` for SP and ISP.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Section 5.1, which estimates these by simulation.

    Args:
        rule: Takes answers `[question, agent]` and the number of options, returns the votes.
        accuracies: The probability x that each agent is right.
        num_options: The number of options K; every option is right with probability 1 / K.

    Returns:
        The probability that the rule's answer is right, in float32 (six digits).

    Raises:
        ValueError: If `accuracies` is not one number an agent, or K^N exceeds `MAX_OUTCOMES`.

    Example:
        >>> from functools import partial
        >>> from jaxreason.voting import isp, majority
        >>> x = jnp.array([0.6, 0.7, 0.8, 0.9])
        >>> print(f"{exact_accuracy(majority, x, 2):.4f}")
        0.8500
        >>> informed = partial(isp, conditionals=population_conditionals(x, 2))
        >>> print(f"{exact_accuracy(informed, x, 2):.4f}")
        0.9020
    """
    (agents,) = check_shape("accuracies", accuracies, ("agent",))
    check_that(num_options >= 2, f"num_options must be at least 2; got {num_options}.")
    outcomes = num_options**agents
    check_that(
        outcomes <= MAX_OUTCOMES,
        f"{agents} agents with {num_options} options have {outcomes} ways to answer, more than "
        f"{MAX_OUTCOMES}; simulate instead (`simulate_independent`).",
    )
    # An outcome's number, written in base K, has one digit an agent.
    places = jnp.array([num_options**agent for agent in range(agents)], jnp.int32)
    wrong = (1.0 - accuracies) / (num_options - 1.0)

    def add_up(numbers: Array) -> Array:
        answers = numbers[:, None] // places[None, :] % num_options
        right = answers[:, :, None] == jnp.arange(num_options, dtype=jnp.int32)
        chances = jnp.prod(jnp.where(right, accuracies[:, None], wrong[:, None]), axis=1)
        winners = rule(answers, num_options).winners
        return jnp.sum(jnp.where(numbers[:, None] >= 0, chances * winners, 0.0))

    numbers = jnp.arange(outcomes, dtype=jnp.int32)
    return sum_blocks(add_up, numbers, block=questions_per_block(agents, num_options)) / num_options


def expected_advantages(accuracies: Float[Array, " agent"], num_options: int) -> Advantages:
    """Computes the expected score of the right option under majority, SP and ISP.

    Scores are shifted to sum to 0 over the options, and SP and ISP know the population's
    conditionals. For majority this is sum_i x_i - N / K; the others differ by `theorem_2_gaps`.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Theorem 2.

    Args:
        accuracies: The probability x that each agent is right.
        num_options: The number of options K.

    Returns:
        The advantages.

    Raises:
        ValueError: If `accuracies` is not one number an agent or there are fewer than two options.

    Example:
        >>> advantages = expected_advantages(jnp.array([0.6, 0.7, 0.8, 0.9]), 3)
        >>> print(*[f"{advantage:.4f}" for advantage in advantages])
        1.6667 1.0000 2.0000
    """
    isp_gap, sp_gap = theorem_2_gaps(accuracies, num_options)
    majority = jnp.sum(accuracies - 1.0 / num_options)
    return Advantages(majority, majority - sp_gap, majority + isp_gap)


def theorem_2_gaps(
    accuracies: Float[Array, " agent"], num_options: int
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Computes by how much ISP favours the right option over majority, and majority over SP.

    The expected advantages of the right option differ by

        ISP - majority = sum_{i != j} (K x_i - 1) (K x_j - 1)^2 / ((N - 1) K (K - 1)^3),
        majority - SP  = sum_{i != j} (K x_i - 1) (K x_j - 1)^2 / ((N - 1) K (K - 1)^2).

    Both are at least 0 if no agent is worse than chance. They order how much the right option is
    favoured, which is not accuracy: for N = 3 and K = 2, ISP and majority answer alike.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Theorem 2.

    Args:
        accuracies: The probability x that each agent is right.
        num_options: The number of options K.

    Returns:
        ISP's advantage less majority's, and majority's less SP's; 0 for a single agent.

    Raises:
        ValueError: If `accuracies` is not one number an agent or there are fewer than two options.

    Example:
        >>> isp_gap, sp_gap = theorem_2_gaps(jnp.array([0.6, 0.7, 0.8, 0.9]), 2)
        >>> print(f"{isp_gap:.4f} {sp_gap:.4f}")  # both 4 / 15
        0.2667 0.2667
    """
    t = skill(accuracies, num_options)
    squares = jnp.square(t)
    pairs = jnp.sum(t) * jnp.sum(squares) - jnp.sum(t * squares)
    gap = pairs / (max(t.shape[0] - 1, 1) * num_options)
    return gap, (num_options - 1) * gap
