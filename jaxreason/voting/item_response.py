"""Beyond independent errors: questions differ in ease, errors have a favourite, agents copy."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxreason.checks import check_shape
from jaxreason.voting.agreement import pairwise_agreement
from jaxreason.voting.ballots import NumOptions, cast_ballots, option_mask
from jaxreason.voting.blocks import map_blocks, questions_per_block, sum_blocks
from jaxreason.voting.calibration import Calibration, calibrate, correct
from jaxreason.voting.dawid_skene import fit_one_coin
from jaxreason.voting.em import Questions, check_iterations, gather_questions
from jaxreason.voting.families import MIN_COPYING, find_parents
from jaxreason.voting.response_fit import Climb, block_of, cast, climb, option_counts
from jaxreason.voting.response_model import Coefficients, Copies, believe, quadrature
from jaxreason.voting.result import Votes, decide

FAIR = 0.6
"""The accuracy that all agents have at the start of a fit that looks for families."""


class ItemResponse(NamedTuple):
    """The parameters of the item response model.

    Attributes:
        right: Each agent's log-odds of the right option against any other one: intercept, and slope
            in the question's ease.
        lure: The same of the question's most tempting wrong option; 0 without dependence.
        copies: Who copies whom, and how often.
        calibration: What labels add.
        log_likelihood: ln P(answers), the mean over the questions that somebody answered.
        iterations: How often the coefficients were estimated.
    """

    right: Float[Array, "agent 2"]
    lure: Float[Array, "agent 2"]
    copies: Copies
    calibration: Calibration
    log_likelihood: Float[Array, ""]
    iterations: Int[Array, ""]


def fit_item_response(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    max_options: int | None = None,
    truth: Int[Array, " question"] | None = None,
    difficulty: bool = True,
    dependence: bool = True,
    tolerance: float = 1e-5,
    max_iterations: int = 100,
) -> ItemResponse:
    """Fits the item response model, without labels or with a few.

    The model: a question has an ease e, normal about 0 with standard deviation 1, a right option
    and a lure, its most tempting wrong option, both uniform. Agent i, unless it copies, answers

        P(right) : P(lure) : P(any other) = exp(b_i + a_i e) : exp(g_i + h_i e) : 1.

    Agents that err together err on the lure, so that many votes for one option are weaker evidence
    than under independence; the easier a question, the less its votes tell agents apart. An agent
    with a parent repeats the parent's answer with probability c_i. An abstention says nothing.

    Answers alone do not tell right options from lures: the likelihood is the same if they swap
    roles. By definition the right options are those with more votes in all. A fit that finds it the
    other way round is done again with the roles swapped, and kept unless it falls back or there are
    labels that speak against it. Where lures are about as popular as right options, that can fail.

    It is Bock's nominal response model with the key unknown. The coefficients maximise the
    posterior density (normal priors about the pool's means, see `response_fit`), by expectation
    maximisation with 7 quadrature nodes for the ease, from the accuracies of `fit_one_coin`.
    Parents are found by `families.find_parents`; a branch needs c_i >= 1/2. Labels enter twice:
    their truths are known in the fit, and `calibration.calibrate` learns from them where the
    posterior is wrong.

    See "Estimating Item Parameters and Latent Ability when Responses Are Scored in Two or More
    Nominal Categories" by Bock (https://doi.org/10.1007/BF02291411), and "Whose Vote Should Count
    More" by Whitehill et al. (NeurIPS 2009) for difficulty with an unknown key.

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        max_options: The most options of any question, if `num_options` is an array.
        truth: The right options of labelled questions, -1 for the others; all unlabelled if None.
        difficulty: Whether questions differ in ease.
        dependence: Whether errors have a lure and agents may copy.
        tolerance: The least rise of the log-likelihood a question for which it goes on.
        max_iterations: The most iterations, at least 1.

    Returns:
        The parameters.

    Raises:
        ValueError: If a shape, an answer, `num_options` or `max_options` is wrong.

    Example:
        >>> rows = "0000 1111 0001 1110 0001 1111 0100 1110".split()
        >>> answers = jnp.array([[int(answer) for answer in row] for row in rows])
        >>> fitted = fit_item_response(answers, 2)
        >>> fitted.copies.parents.tolist()
        [-1, -1, -1, -1]
    """
    check_iterations(max_iterations)
    questions = gather_questions(answers, num_options, max_options, truth)
    sizes = option_counts(num_options, max_options)
    accuracies = fit_one_coin(answers, num_options, max_options=max_options, truth=truth).accuracies
    start = _start(questions, accuracies, difficulty, dependence)
    fit = functools.partial(
        climb,
        sizes=sizes,
        difficulty=difficulty,
        dependence=dependence,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    if dependence and answers.shape[1] > 2:
        equal = _start(questions, jnp.full_like(accuracies, FAIR), difficulty, dependence)
        agreement = pairwise_agreement(answers, num_options, max_options=max_options)
        parents = find_parents(questions, agreement, equal, fit)
        rates = MIN_COPYING * (parents >= 0).astype(jnp.float32)
        related = equal._replace(copies=Copies(parents, rates))
        parameters = jax.lax.cond(
            jnp.any(parents >= 0),
            lambda: _gather(_fit_upright(fit, questions, related)),
            lambda: _gather(_fit_upright(fit, questions, start)),
        )
    elif dependence:
        parameters = _gather(_fit_upright(fit, questions, start))
    else:
        parameters = _gather(fit(questions, start))
    if truth is None:
        return parameters
    unlabelled = questions._replace(possible=option_mask(num_options, max_options, len(answers)))
    log_posterior = _log_posterior(unlabelled, parameters, sizes, difficulty)
    calibration = calibrate(log_posterior, questions.answers, unlabelled.possible, truth)
    return parameters._replace(calibration=calibration)


def item_response(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    parameters: ItemResponse | None = None,
    max_options: int | None = None,
    truth: Int[Array, " question"] | None = None,
    difficulty: bool = True,
    dependence: bool = True,
    ties: str = "split",
    key: PRNGKeyArray | None = None,
) -> Votes:
    """Picks the most probable option under the item response model, see `fit_item_response`.

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        parameters: What `fit_item_response` returned, perhaps of other questions, fitted with the
            same `difficulty`; if None they are fitted to these.
        max_options: The most options of any question, if `num_options` is an array.
        truth: The right options of labelled questions, -1 for the others. A labelled question gets
            its label, if anybody answered it.
        difficulty: Whether questions differ in ease.
        dependence: Whether errors have a lure and agents may copy.
        ties: `"split"`, `"random"` or `"first"`.
        key: Randomness, for `ties="random"`.

    Returns:
        The votes. Scores are the log-posterior, no sums of weights: an agent's weight is that of
        its vote between the right option and the lure of a question of average ease. Its accuracy
        is the expected share of its votes that are right.

    Raises:
        ValueError: If a shape, an answer, `num_options`, `max_options` or `ties` is wrong.

    Example:
        >>> rows = "0000 1111 0001 1110 0001 1111 0100 1110".split()
        >>> answers = jnp.array([[int(answer) for answer in row] for row in rows])
        >>> item_response(answers, 2).answers.tolist()
        [0, 1, 0, 1, 0, 1, 0, 1]
    """
    questions = gather_questions(answers, num_options, max_options, truth)
    exists = option_mask(num_options, max_options, len(answers))
    if parameters is None:
        parameters = fit_item_response(
            answers,
            num_options,
            max_options=max_options,
            truth=truth,
            difficulty=difficulty,
            dependence=dependence,
        )
    check_shape("parameters.right", parameters.right, (answers.shape[1], 2))
    sizes = option_counts(num_options, max_options)
    unlabelled = questions._replace(possible=exists)
    log_posterior = _log_posterior(unlabelled, parameters, sizes, difficulty)
    scores = correct(parameters.calibration, log_posterior, questions.answers, exists)
    scores = jnp.where(questions.possible, scores, -jnp.inf)
    scores = jnp.where(questions.possible, jax.nn.log_softmax(scores, axis=1), -jnp.inf)
    posterior = jnp.exp(scores)
    trust, extra = parameters.calibration
    return decide(
        scores,
        answers,
        exists,
        ties=ties,
        key=key,
        weights=trust * (parameters.right - parameters.lure)[:, 0] + extra,
        posterior=posterior,
        accuracies=_expected_accuracies(questions.answers, exists, posterior),
    )


def _start(
    questions: Questions, accuracies: Float[Array, " agent"], difficulty: bool, dependence: bool
) -> Coefficients:
    """Returns coefficients for agents of given accuracies."""
    answered = jnp.any(questions.answers >= 0, axis=1).astype(jnp.float32)
    options = jnp.sum(questions.options * answered) / jnp.maximum(jnp.sum(answered), 1.0)
    x = jnp.clip(accuracies, 0.05, 0.95)
    odds = jnp.log(x) - jnp.log1p(-x) + jnp.log(jnp.maximum(options - 1.0, 1.0))
    slopes = jnp.full_like(odds, float(difficulty))
    lures = jnp.full_like(odds, 0.5 * dependence)
    right = jnp.stack([odds, slopes], axis=1)
    return Coefficients(right, jnp.stack([lures, jnp.zeros_like(lures)], axis=1))


def _fit_upright(
    fit: Callable[[Questions, Coefficients], Climb],
    questions: Questions,
    start: Coefficients,
) -> Climb:
    """Fits, and if right options end with fewer votes than lures, once more with swapped roles."""
    labelled = _has_labels(questions)

    def go_on(state: tuple[Array, Climb]) -> Array:
        fits, kept = state
        return (fits == 0) | ((fits == 1) & (kept.lead < 0))

    def fit_again(state: tuple[Array, Climb]) -> tuple[Array, Climb]:
        fits, kept = state
        right, lure, copies = kept.coefficients
        begin = jax.tree.map(
            functools.partial(jnp.where, fits == 0), start, Coefficients(lure, right, copies)
        )
        fitted = fit(questions, begin)
        upright = (fitted.lead >= 0) & (~labelled | (fitted.log_likelihood >= kept.log_likelihood))
        return fits + 1, jax.tree.map(
            functools.partial(jnp.where, (fits == 0) | upright), fitted, kept
        )

    zero = jnp.zeros((), jnp.float32)
    none = Climb(start, zero, jnp.zeros((), jnp.int32), zero)
    return jax.lax.while_loop(go_on, fit_again, (jnp.zeros((), jnp.int32), none))[1]


def _has_labels(questions: Questions) -> Bool[Array, ""]:
    """Tells whether any question that somebody answered is labelled; other labels say nothing."""

    def count(answers: Array, possible: Array, options: Array) -> Array:
        certain = jnp.sum(possible, axis=1, dtype=jnp.float32) < options
        return jnp.sum(certain & jnp.any(answers >= 0, axis=1))

    return sum_blocks(count, *questions, block=block_of(questions)) > 0


def _gather(fitted: Climb) -> ItemResponse:
    """Turns the outcome of a fit into parameters without a calibration."""
    right, lure, copies = fitted.coefficients
    none = jnp.zeros(len(right), right.dtype)
    return ItemResponse(
        right,
        lure,
        copies or Copies(jnp.full(len(right), -1, jnp.int32), none),
        Calibration(jnp.ones((), right.dtype), none),
        fitted.log_likelihood,
        fitted.iterations,
    )


def _log_posterior(
    questions: Questions,
    parameters: ItemResponse,
    sizes: Float[Array, " size"],
    difficulty: bool,
) -> Float[Array, "question option"]:
    """Returns ln P(option is right | answers) before calibration."""
    nodes, log_weights = quadrature(difficulty)

    def infer(coefficients: Coefficients) -> Array:
        def block(answers: Array, possible: Array, options: Array) -> Array:
            ballots = cast(answers, possible.shape[1])
            model = (coefficients, nodes, log_weights, sizes)
            beliefs, _ = believe(*model, ballots, possible.T, options)
            return jnp.log(jnp.maximum(beliefs.right.sum(0), jnp.finfo(jnp.float32).tiny)).T

        return map_blocks(block, *questions, block=block_of(questions))

    right, lure, copies, *_ = parameters
    return jax.lax.cond(
        jnp.any(copies.parents >= 0),
        lambda: infer(Coefficients(right, lure, copies)),
        lambda: infer(Coefficients(right, lure)),
    )


def _expected_accuracies(
    answers: Int[Array, "question agent"],
    exists: Bool[Array, "question option"],
    posterior: Float[Array, "question option"],
) -> Float[Array, " agent"]:
    """Returns the expected share of each agent's votes that are right; 0 for one without votes."""

    def count(answers: Array, exists: Array, posterior: Array) -> tuple[Array, Array]:
        ballots = cast_ballots(answers, exists)
        right = jnp.einsum("qnk,qk->n", ballots, posterior, precision="highest")
        return right, jnp.sum(ballots, axis=(0, 2))

    block = questions_per_block(answers.shape[1], exists.shape[1])
    right, votes = sum_blocks(count, answers, exists, posterior, block=block)
    return right / jnp.maximum(votes, 1.0)
