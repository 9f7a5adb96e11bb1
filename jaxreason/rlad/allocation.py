"""A calibration run of m abstractions x k solutions, and what it says without a model."""

import dataclasses
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.checks import check_shape, check_that
from jaxreason.rlad.inference import pass_at_k
from jaxreason.rlad.play import Play
from jaxreason.tasks import Task
from jaxreason.voting import index_answers


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class Calibration:
    """What solutions under sampled abstractions were worth, and what they cost.

    Attributes:
        correct: Whether each solution is right, `[problem, abstraction, solution]`; as numbers,
            1.0 where it is.
        abstraction_tokens: Generated tokens of each abstraction, `[problem, abstraction]`.
        solution_tokens: Generated tokens of each solution, `[problem, abstraction, solution]`.
        answers: Option indices, `[problem, abstraction, solution]`: equal answers to a problem
            have the same one, -1 where there is no answer. Without them votes can't be predicted.
        bare: Plain samples for the same problems, if there are any: a calibration of one
            abstraction of no tokens, see `bare_calibration`.
    """

    correct: Bool[Array, "..."] | Float[Array, "..."]
    abstraction_tokens: Int[Array, "..."] | Float[Array, "..."]
    solution_tokens: Int[Array, "..."] | Float[Array, "..."]
    answers: Int[Array, "..."] | None = None
    bare: "Calibration | None" = None


def bare_calibration(
    correct: Bool[Array, "problem solution"] | Float[Array, "problem solution"],
    tokens: Int[Array, "problem solution"] | Float[Array, "problem solution"],
    answers: Int[Array, "problem solution"] | None = None,
) -> Calibration:
    """Makes a calibration of plain samples, for `Calibration.bare`.

    Args:
        correct: Whether each sample is right.
        tokens: Generated tokens of each sample.
        answers: Option indices, -1 where there is no answer.

    Returns:
        The samples under one abstraction of no tokens.

    Raises:
        ValueError: If shapes disagree.

    Example:
        >>> bare_calibration(jnp.array([[True, False]]), jnp.array([[5, 7]])).correct.shape
        (1, 1, 2)
    """
    problems, solutions = check_shape("correct", correct, ("problem", "solution"))
    check_shape("tokens", tokens, (problems, solutions))
    if answers is not None:
        check_shape("answers", answers, (problems, solutions))
        answers = answers[:, None]
    return Calibration(
        correct[:, None], jnp.zeros((problems, 1), tokens.dtype), tokens[:, None], answers
    )


def calibration_of(task: Task, played: Play) -> Calibration:
    """Reads a calibration off a play; its bare slots become the plain samples.

    Args:
        task: The family of problems.
        played: The play, of one abstraction or more.

    Returns:
        The calibration.

    Raises:
        ValueError: If the play holds no abstraction.

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
        ...         abstractions=4, solutions=2, bare=3, sampling=(Sampling(), Sampling()))
        ...     return calibration_of(task, played)
        >>> calibration = jax.eval_shape(run, jax.random.key(0))
        >>> calibration.correct.shape, calibration.bare.correct.shape
        ((3, 4, 2), (3, 1, 6))
    """
    count = played.abstractions.log_probs.shape[1]
    check_that(count >= 1, "the play must hold one abstraction or more; got none.")
    shape = played.rewards.shape
    answer = jax.vmap(jax.vmap(jax.vmap(task.asked("answer"))))
    values, valid = answer(played.solutions.completion)
    flat = values.reshape(shape[0], shape[1] * shape[2], values.shape[-1])
    answers, _ = index_answers(flat, valid.reshape(flat.shape[:2]))
    answers = answers.reshape(shape)
    correct, tokens = played.rewards > 0, played.solutions.completion.length
    plain = lambda array: array[:, count:].reshape(shape[0], -1)  # noqa: E731
    bare = None
    if shape[1] > count:
        bare = bare_calibration(plain(correct), plain(tokens), plain(answers))
    return Calibration(
        correct[:, :count],
        played.abstractions.completion.length,
        tokens[:, :count],
        answers[:, :count],
        bare,
    )


def check_calibration(calibration: Calibration) -> tuple[int, int, int]:
    """Checks that shapes agree and nothing is empty.

    Args:
        calibration: The calibration.

    Returns:
        The numbers of problems, abstractions and solutions.

    Raises:
        ValueError: If shapes disagree or an axis is empty.

    Example:
        >>> ones = jnp.ones((3, 4, 2))
        >>> check_calibration(Calibration(ones, ones[..., 0], ones))
        (3, 4, 2)
    """
    axes = ("problem", "abstraction", "solution")
    problems, abstractions, solutions = check_shape("correct", calibration.correct, axes)
    shape = (problems, abstractions, solutions)
    check_that(min(shape) >= 1, f"correct must hold a solution at least; got shape {list(shape)}.")
    check_shape("abstraction_tokens", calibration.abstraction_tokens, shape[:2])
    check_shape("solution_tokens", calibration.solution_tokens, shape)
    if calibration.answers is not None:
        check_shape("answers", calibration.answers, shape)
    if calibration.bare is not None:
        bare_problems, _, _ = check_calibration(calibration.bare)
        check_that(
            bare_problems == problems,
            f"bare must be of the same {problems} problems; got {bare_problems}.",
        )
    return shape


def expected_tokens(calibration: Calibration, *, m: int, k: int) -> Float[Array, ""]:
    """Computes what an allocation costs: the generated tokens of both players, for a problem.

    m x the mean abstraction + m x k x the mean solution under an abstraction; for plain samples
    (m = 0), k x the mean plain sample.

    Args:
        calibration: The calibration.
        m: Abstractions, 0 for plain samples; static.
        k: Solutions under each; static.

    Returns:
        The mean number of tokens.

    Raises:
        ValueError: If shapes disagree, or m = 0 and there are no plain samples.

    Example:
        >>> calibration = Calibration(
        ...     jnp.ones((1, 2, 1)), jnp.array([[10, 20]]), jnp.array([[[100], [200]]]))
        >>> float(expected_tokens(calibration, m=2, k=3))
        930.0
    """
    check_calibration(calibration)
    if m == 0:
        if calibration.bare is None:
            raise ValueError("m=0 needs plain samples in calibration.bare; got None.")
        return k * calibration.bare.solution_tokens.astype(jnp.float32).mean()
    abstraction = calibration.abstraction_tokens.astype(jnp.float32).mean()
    return m * (abstraction + k * calibration.solution_tokens.astype(jnp.float32).mean())


def count_correct(correct: Array) -> Int[Array, "..."]:
    """Counts the right ones along the last axis.

    Example:
        >>> count_correct(jnp.array([[1.0, 0.0, 1.0]])).tolist()
        [2]
    """
    return correct.astype(bool).sum(-1, dtype=jnp.int32)


def pass_at_mk(
    correct: Bool[Array, "problem abstraction solution"]
    | Float[Array, "problem abstraction solution"],
    *,
    m: int,
    k: int,
) -> Float[Array, " problem"]:
    """Estimates the chance that one of m x k solutions is right at least, without bias.

    It is the share of all draws of m of the M abstractions and k of the K solutions of each that
    hold a right one: 1 - e_m(f) / C(M, m), where f_j is the chance that k of the solutions under
    abstraction j are all wrong, and e_m the elementary symmetric polynomial.

    See "Evaluating Large Language Models Trained on Code" by Chen et al.
    (https://arxiv.org/abs/2107.03374), Eq. 1, for one abstraction, and "RLAD: Training LLMs to
    Discover Abstractions for Solving Reasoning Problems" by Qu et al.
    (https://arxiv.org/abs/2510.02263) for the m x k protocol.

    Args:
        correct: Whether each solution is right.
        m: Abstractions of the imagined draw, at most M; static.
        k: Solutions under each, at most K; static.

    Returns:
        The estimate for each problem.

    Raises:
        ValueError: If the shape is wrong, m is not in [1, M], or k not in [1, K].

    Example:
        >>> correct = jnp.array([[[1.0, 0.0], [0.0, 0.0]]])
        >>> pass_at_mk(correct, m=1, k=1).tolist(), pass_at_mk(correct, m=2, k=1).tolist()
        ([0.25], [0.5])
    """
    axes = ("problem", "abstraction", "solution")
    problems, abstractions, solutions = check_shape("correct", correct, axes)
    check_that(
        1 <= m <= abstractions,
        f"m must be in [1, {abstractions}], the abstractions; got {m}.",
    )
    wrong = 1.0 - pass_at_k(count_correct(correct), solutions, k)
    order = jnp.arange(m + 1, dtype=wrong.dtype)

    def add(means: Array, step: tuple[Array, Array]) -> tuple[Array, None]:
        """Goes from the mean products of j out of n - 1 factors to those of j out of n."""
        number, factor = step
        shorter = jnp.pad(means[:, :-1], ((0, 0), (1, 0)))
        share = order / number
        return (1.0 - share) * means + share * factor[:, None] * shorter, None

    start = jnp.zeros((problems, m + 1), wrong.dtype).at[:, 0].set(1.0)
    numbers = jnp.arange(1, abstractions + 1, dtype=wrong.dtype)
    means, _ = jax.lax.scan(add, start, (numbers, wrong.T))
    return 1.0 - means[:, m]


def pass_of_rates(rates: Float[Array, "*batch abstraction"], *, k: int) -> Float[Array, "*batch"]:
    """Computes the chance that one of k solutions under each abstraction is right at least.

    It is 1 - prod_j (1 - p_j)^k for abstractions of known success p_j, never less than for as
    many solutions at the mean success.

    Args:
        rates: The success p_j of each abstraction.
        k: Solutions under each; static.

    Returns:
        The chance.

    Example:
        >>> rates = jnp.array([0.5, 0.1, 0.0, 0.25])
        >>> round(float(pass_of_rates(rates, k=2)), 6)
        0.886094
    """
    return 1.0 - ((1.0 - rates) ** k).prod(-1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class AbstractionAccuracy:
    """How good the abstractions of each problem are.

    Attributes:
        average: Mean success over abstractions, `[problem]`.
        best: Success of the best abstraction, `[problem]`: an oracle's choice, and too high,
            since the largest of noisy means is taken; useless abstractions gain by it, too.
        selected: Success of the abstraction that did best on the other solutions, on the one left
            out, `[problem]`: what a choice by K - 1 solutions gains, without that bias.
    """

    average: Float[Array, "..."]
    best: Float[Array, "..."]
    selected: Float[Array, "..."]


def abstraction_accuracy(
    correct: Bool[Array, "problem abstraction solution"]
    | Float[Array, "problem abstraction solution"],
) -> AbstractionAccuracy:
    """Computes the success of the average, the best and the selected abstraction.

    See "RLAD: Training LLMs to Discover Abstractions for Solving Reasoning Problems" by Qu et al.
    (https://arxiv.org/abs/2510.02263), whose tables report the average and the best.

    Args:
        correct: Whether each solution is right.

    Returns:
        The three, for each problem.

    Raises:
        ValueError: If the shape is wrong.

    Example:
        >>> accuracy = abstraction_accuracy(jnp.array([[[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]]))
        >>> accuracy.average.tolist(), accuracy.best.tolist(), accuracy.selected.tolist()
        ([0.5], [1.0], [0.75])
    """
    check_shape("correct", correct, ("problem", "abstraction", "solution"))
    right = correct.astype(bool).astype(jnp.float32)
    success = right.mean(-1)
    others = right.sum(-1, keepdims=True) - right
    leads = (others == others.max(1, keepdims=True)).astype(jnp.float32)
    held_out = (leads * right).sum(1) / leads.sum(1)
    return AbstractionAccuracy(success.mean(-1), success.max(-1), held_out.mean(-1))
