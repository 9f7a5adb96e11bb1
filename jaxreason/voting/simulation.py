"""Answers of simulated agents: independent ones, clones, and questions of varying difficulty.

The right option is uniform. `copy_answers` makes clones of any agents, so that together with
`simulate_difficulty` it gives agents that depend on each other and on the question.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxreason.checks import check_shape
from jaxreason.voting.ballots import NumOptions


class Simulated(NamedTuple):
    """Simulated answers.

    Attributes:
        answers: Option indices; nobody abstains.
        truth: The right option of each question.
    """

    answers: Int[Array, "question agent"]
    truth: Int[Array, " question"]


def simulate_independent(
    key: PRNGKeyArray,
    accuracies: Float[Array, " agent"],
    num_options: NumOptions,
    questions: int,
) -> Simulated:
    """Draws answers of agents that err independently, on every wrong option alike.

    P(A_i = s | truth) is x_i for the truth and (1 - x_i) / (K - 1) for every other option.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Proposition 1, Assumption 1 and Section 5.1.

    Args:
        key: Randomness.
        accuracies: The probability x that each agent is right.
        num_options: The number of options K, one for all questions or one a question.
        questions: The number of questions.

    Returns:
        The answers and the truth.

    Raises:
        ValueError: If `accuracies` or `num_options` has the wrong shape.

    Example:
        >>> x = jnp.array([0.6, 1.0])
        >>> answers, truth = simulate_independent(jax.random.key(0), x, 4, 1000)
        >>> (answers == truth[:, None]).mean(0)[1].item()
        1.0
    """
    (agents,) = check_shape("accuracies", accuracies, ("agent",))
    of_right, of_answers = jax.random.split(key)
    right = jax.random.uniform(of_right, (questions, agents)) < accuracies
    return _answer(of_answers, right, num_options)


def simulate_difficulty(
    key: PRNGKeyArray,
    accuracies: Float[Array, " agent"],
    num_options: NumOptions,
    questions: int,
    *,
    spread: float | Float[Array, ""],
    distractor: float | Float[Array, ""] = 0.0,
) -> Simulated:
    """Draws answers to questions that are hard or easy for all agents at once.

    With difficulty d ~ N(0, spread^2) of the question, agent i is right with probability
    sigmoid(logit(x_i) - d), independently of the others given d: the one-parameter logistic (Rasch)
    model. Its mean accuracy is nearer to 1/2 than x_i, which is that on a question of average
    difficulty. A wrong answer falls on the question's popular wrong option with probability
    `distractor`, otherwise on any wrong option alike, so that agents share errors.

    See "Probabilistic Models for Some Intelligence and Attainment Tests" by Rasch (1960).

    Args:
        key: Randomness.
        accuracies: The probability x that each agent is right at difficulty 0.
        num_options: The number of options K, one for all questions or one a question.
        questions: The number of questions.
        spread: The standard deviation of the difficulties, in logits.
        distractor: The probability that an error is the popular one.

    Returns:
        The answers and the truth.

    Raises:
        ValueError: If `accuracies` or `num_options` has the wrong shape.

    Example:
        >>> x = jnp.array([0.6, 0.7, 0.8, 0.9])
        >>> answers, truth = simulate_difficulty(jax.random.key(0), x, 4, 100_000, spread=3.0)
        >>> print(*[f"{accuracy:.2f}" for accuracy in (answers == truth[:, None]).mean(0)])
        0.55 0.60 0.66 0.74
    """
    (agents,) = check_shape("accuracies", accuracies, ("agent",))
    of_difficulty, of_right, of_answers = jax.random.split(key, 3)
    difficulty = spread * jax.random.normal(of_difficulty, (questions, 1))
    chances = jax.nn.sigmoid(jax.scipy.special.logit(accuracies)[None, :] - difficulty)
    right = jax.random.uniform(of_right, (questions, agents)) < chances
    return _answer(of_answers, right, num_options, distractor)


def simulate_clones(
    key: PRNGKeyArray,
    accuracies: Float[Array, " agent"],
    num_options: NumOptions,
    questions: int,
    *,
    parents: Int[Array, " agent"],
    rho: float | Float[Array, ""] | Float[Array, " agent"],
) -> Simulated:
    """Draws answers of agents of which some copy others: `copy_answers` of independent ones.

    An agent that copies with probability rho is right with probability (1 - rho) x + rho x', where
    x' is its parent's accuracy.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), whose Assumption 1 this violates.

    Args:
        key: Randomness.
        accuracies: The probability x that each agent's own answer is right.
        num_options: The number of options K, one for all questions or one a question.
        questions: The number of questions.
        parents: The agent that each one copies; its own index or -1 if none.
        rho: The probability of copying, one for all or one an agent.

    Returns:
        The answers and the truth.

    Raises:
        ValueError: If `accuracies`, `parents` or `num_options` has the wrong shape.

    Example:
        >>> x, parents = jnp.array([0.6, 0.6, 0.8]), jnp.array([0, 0, 2])
        >>> answers, truth = simulate_clones(
        ...     jax.random.key(0), x, 4, 1000, parents=parents, rho=1.0
        ... )
        >>> bool((answers[:, 0] == answers[:, 1]).all())
        True
    """
    of_answers, of_copies = jax.random.split(key)
    answers, truth = simulate_independent(of_answers, accuracies, num_options, questions)
    return Simulated(copy_answers(of_copies, answers, parents=parents, rho=rho), truth)


def copy_answers(
    key: PRNGKeyArray,
    answers: Int[Array, "question agent"],
    *,
    parents: Int[Array, " agent"],
    rho: float | Float[Array, ""] | Float[Array, " agent"],
) -> Int[Array, "question agent"]:
    """Lets agents copy others: the answer of agent i becomes that of its parent at rate rho.

    Whether it copies is drawn for each question and agent alone. What is copied is the parent's own
    answer, even where the parent itself copies.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), whose Assumption 1 this violates.

    Args:
        key: Randomness.
        answers: Each agent's own answers.
        parents: The agent that each one copies; its own index or -1 if none.
        rho: The probability of copying, one for all or one an agent.

    Returns:
        The answers given.

    Raises:
        ValueError: If the shapes do not agree.

    Example:
        >>> answers, parents = jnp.array([[0, 1, 2]]), jnp.array([0, 0, 2])
        >>> copy_answers(jax.random.key(0), answers, parents=parents, rho=1.0).tolist()
        [[0, 0, 2]]
    """
    _, agents = check_shape("answers", answers, ("question", "agent"))
    check_shape("parents", parents, (agents,))
    copies = jax.random.uniform(key, answers.shape) < rho
    own = jnp.arange(agents, dtype=parents.dtype)
    return jnp.where(copies, answers[:, jnp.where(parents < 0, own, parents)], answers)


def _answer(
    key: PRNGKeyArray,
    right: Bool[Array, "question agent"],
    num_options: NumOptions,
    distractor: float | Float[Array, ""] = 0.0,
) -> Simulated:
    """Draws the truth, and the wrong answers where agents are not right."""
    questions = right.shape[0]
    options = jnp.asarray(num_options, jnp.int32)
    if options.ndim:
        check_shape("num_options", options, (questions,))
    options = jnp.broadcast_to(options, (questions,))
    of_truth, of_errors, of_popular, of_fall = jax.random.split(key, 4)
    truth = jax.random.randint(of_truth, (questions,), 0, options)
    others = options[:, None] - 1
    errors = jax.random.randint(of_errors, right.shape, 1, others + 1)
    popular = jax.random.randint(of_popular, (questions, 1), 1, others + 1)
    errors = jnp.where(jax.random.uniform(of_fall, right.shape) < distractor, popular, errors)
    answers = (truth[:, None] + jnp.where(right, 0, errors)) % options[:, None]
    return Simulated(answers, truth)
