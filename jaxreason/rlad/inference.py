"""Spending a budget of m abstractions x k solutions: the answers as votes, and pass@k."""

import dataclasses
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.checks import check_shape, check_that
from jaxreason.rlad.play import Play
from jaxreason.sequences import Sequence
from jaxreason.tasks import Task
from jaxreason.voting import index_answers


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class Ballots:
    """The answers of a play, ready for the rules of `jaxreason.voting`.

    Attributes:
        answers: Option indices `[problem, agent]`, -1 where no answer could be read off.
        truth: The index of the right option, `[problem]`; -1 if nobody gave it.
        correct: Whether each answer is right, `[problem, agent]`.
        values: Each answer as integers, `[problem, agent, width]`, as `Task.answer` gives it.
    """

    answers: Int[Array, "..."]
    truth: Int[Array, "..."]
    correct: Bool[Array, "..."]
    values: Int[Array, "..."]


def abstraction_ballots(task: Task, played: Play) -> Ballots:
    """Makes each abstraction an agent that votes with the commonest of its solutions' answers.

    Abstractions are drawn from one policy, so that by themselves they are exchangeable; here they
    stand in the order of their log-probability, likeliest first, which makes an agent of a rank.

    Args:
        task: The family of problems.
        played: The play; bare slots take no part.

    Returns:
        Ballots with as many agents as there are abstractions.

    Example:
        >>> from jaxreason.model import ModelConfig, init
        >>> from jaxreason.rlad import play
        >>> from jaxreason.rollout import Sampling
        >>> from jaxreason.tasks import RuleInductionConfig, make_rule_induction
        >>> task, config = make_rule_induction(RuleInductionConfig()), ModelConfig()
        >>> def run(key):
        ...     keys, params = jax.random.split(key, 3), init(config, key)
        ...     problems = jax.vmap(lambda key: task.sample(key, "train"))(keys)
        ...     played = play(
        ...         task, (config, config), (params, params), problems, keys,
        ...         abstractions=4, solutions=2, bare=1, sampling=(Sampling(), Sampling()))
        ...     return abstraction_ballots(task, played)
        >>> jax.eval_shape(run, jax.random.key(0)).answers.shape
        (3, 4)
    """
    count = played.abstractions.log_probs.shape[1]
    order = jnp.argsort(-played.abstractions.log_probs.sum(-1), axis=1, stable=True)
    take = lambda leaf: jax.vmap(lambda rows, index: rows[index])(leaf[:, :count], order)  # noqa: E731
    solutions = jax.tree.map(take, played.solutions.completion)
    rewards = take(played.rewards)
    values, valid = jax.vmap(jax.vmap(jax.vmap(task.asked("answer"))))(solutions)
    chosen = jax.vmap(jax.vmap(_commonest))(values, valid)
    pick = lambda leaf: jnp.take_along_axis(leaf, chosen[..., None], axis=2)[..., 0]  # noqa: E731
    picked = jnp.take_along_axis(values, chosen[..., None, None], axis=2)[:, :, 0]
    return _ballots(picked, pick(valid), pick(rewards) > 0)


def solution_ballots(
    task: Task, solutions: Sequence, rewards: Float[Array, "problem solution"]
) -> Ballots:
    """Makes each solution an agent: plain self-consistency.

    See "Self-Consistency Improves Chain of Thought Reasoning in Language Models" by Wang et al.
    (https://arxiv.org/abs/2203.11171).

    Args:
        task: The family of problems.
        solutions: Solutions `[problem, solution]`.
        rewards: 1.0 where the answer is right.

    Returns:
        Ballots with as many agents as there are solutions of a problem.

    Raises:
        ValueError: If shapes disagree.

    Example:
        >>> from jaxreason.tasks import RuleInductionConfig, Vocabulary, make_rule_induction
        >>> id_of = Vocabulary().id_of
        >>> written = [[id_of("<answer>"), *map(id_of, s), 2] for s in ("365", "653", "365")]
        >>> solutions = Sequence(jnp.array([written]), jnp.ones((1, 3, 5), bool))
        >>> task = make_rule_induction(RuleInductionConfig())
        >>> ballots = solution_ballots(task, solutions, jnp.array([[1.0, 0.0, 1.0]]))
        >>> ballots.answers.tolist(), ballots.truth.tolist()
        ([[0, 1, 0]], [0])
    """
    problems, count = check_shape("rewards", rewards, ("problem", "solution"))
    check_shape("solutions.tokens", solutions.tokens, (problems, count, "time"))
    values, valid = jax.vmap(jax.vmap(task.asked("answer")))(solutions)
    return _ballots(values, valid, rewards > 0)


def _commonest(
    values: Int[Array, "solution width"], valid: Bool[Array, "solution"]
) -> Int[Array, ""]:
    """Finds a solution whose answer the most others share; the first of them."""
    same = (values[:, None] == values[None, :]).all(-1) & valid[:, None] & valid[None, :]
    return jnp.argmax(same.sum(-1))


def _ballots(values: Array, valid: Array, correct: Array) -> Ballots:
    answers, _ = index_answers(values, valid)
    truth = jnp.where(correct, answers, -1).max(-1)
    return Ballots(answers, truth, correct & valid, values)


def pass_at_k(correct: Int[Array, "*batch"], samples: int, k: int) -> Float[Array, "*batch"]:
    """Estimates the chance that at least one of k samples is right, without bias.

    See "Evaluating Large Language Models Trained on Code" by Chen et al.
    (https://arxiv.org/abs/2107.03374), Eq. 1: 1 - C(n - c, k) / C(n, k).

    Args:
        correct: How many of the samples were right.
        samples: Samples n drawn for each problem; static.
        k: Size of the imagined draw, at most n; static.

    Returns:
        The estimate for each problem.

    Raises:
        ValueError: If k is not in [1, n].

    Example:
        >>> round(float(pass_at_k(jnp.array(4), samples=16, k=4)), 6)
        0.728022
    """
    check_that(1 <= k <= samples, f"k must be in [1, {samples}], the samples; got {k}.")
    drawn = jnp.arange(k)
    wrong_left = jnp.maximum(samples - correct[..., None] - drawn, 0)
    return 1.0 - (wrong_left / (samples - drawn)).prod(-1)
