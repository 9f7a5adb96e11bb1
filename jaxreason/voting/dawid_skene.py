"""Dawid-Skene: who is how often right, and what the truths are, fitted to the answers together.

Each iteration is that of crowd-kit's `OneCoinDawidSkene` and `DawidSkene` if all questions have one
number of options. What differs: it stops by the likelihood of a question, not by a bound a vote,
and mostly goes on for longer; accuracies stay 1e-6 from 0 and 1, not 1e-10; options
that nobody gave count; the parameters returned are those of the posterior, not of one step after.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxreason.checks import check_shape
from jaxreason.voting.ballots import NumOptions, option_mask
from jaxreason.voting.em import Counts, fit_truths, gather_questions, log_posterior
from jaxreason.voting.result import Votes, decide
from jaxreason.voting.weighted import MIN_ERROR, optimal_weights

MIN_COUNT = 1e-10
"""An expected count is at least this, so that no probability is 0 and none is 0 / 0."""


class OneCoin(NamedTuple):
    """The parameters of the one-coin model.

    Attributes:
        accuracies: P(right) of each agent; that of all votes for one that never answered.
        priors: P(truth = s), or None if every option that exists is as likely.
        log_likelihood: ln P(answers), the mean over the questions that somebody answered.
        iterations: How often the parameters were estimated.
    """

    accuracies: Float[Array, " agent"]
    priors: Float[Array, " option"] | None = None
    log_likelihood: Float[Array, ""] | None = None
    iterations: Int[Array, ""] | None = None


class DawidSkene(NamedTuple):
    """The parameters of the full model.

    Attributes:
        confusions: P(agent i answers s | truth = k) at `[i, k, s]`.
        priors: P(truth = k).
        log_likelihood: ln P(answers), the mean over the questions that somebody answered.
        iterations: How often the parameters were estimated.
    """

    confusions: Float[Array, "agent true given"]
    priors: Float[Array, " option"]
    log_likelihood: Float[Array, ""] | None = None
    iterations: Int[Array, ""] | None = None


def fit_one_coin(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    max_options: int | None = None,
    truth: Int[Array, " question"] | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 100,
) -> OneCoin:
    """Estimates accuracies by maximum likelihood, without labels or with a few.

    The model: agents err independently given the truth; an agent of accuracy x gives each of the
    K - 1 wrong options with probability (1 - x) / (K - 1), whatever K is. An abstention says
    nothing. The priors of the truth are learned if all questions have one number of options, which
    then mean the same everywhere; if `num_options` is an array the labels are mere positions, and
    the options that exist are equally likely. (A full array of one number gives that, too.)

    Expectation maximisation starts from the shares of the votes and has no smoothing; only the
    likelihood clips accuracies, `MIN_ERROR` from 0 and 1. A likelihood has several maxima: agents
    worse than chance are found if the majority is right more often than not.

    See "Spectral Methods Meet EM: A Provably Optimal Algorithm for Crowdsourcing" by Zhang et al.
    (https://arxiv.org/abs/1406.3824), and "Maximum Likelihood Estimation of Observer
    Error-Rates Using the EM Algorithm" by Dawid and Skene (https://doi.org/10.2307/2346806).

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        max_options: The most options of any question, if `num_options` is an array.
        truth: The right options of labelled questions, -1 for the others; all unlabelled if None.
        tolerance: The least rise of the log-likelihood a question for which it goes on; below 0
            for a fixed number of iterations.
        max_iterations: The most iterations, at least 1.

    Returns:
        The parameters.

    Raises:
        ValueError: If a shape, an answer, `num_options` or `max_options` is wrong.

    Example:
        >>> rows = "0000 1111 0001 1110 0001 1111 0100 1110".split()
        >>> answers = jnp.array([[int(answer) for answer in row] for row in rows])
        >>> print(fit_one_coin(answers, 2).accuracies.round(2))
        [1.   0.88 1.   0.5 ]
    """
    questions = gather_questions(answers, num_options, max_options, truth)
    answered = jnp.sum(questions.answers >= 0, axis=0, dtype=jnp.float32)
    learned = isinstance(num_options, int)

    def tally(ballots: Array, posterior: Array) -> Array:
        # One axis to sum over: with two, this product would take most of the time on a CPU.
        rows = ballots.reshape(ballots.shape[0], -1)
        return jnp.einsum("av,v->a", rows, posterior.reshape(-1), precision="highest")

    def maximise(counts: Counts) -> OneCoin:
        right = counts.tally
        pooled = (jnp.sum(right) + 0.5) / (jnp.sum(answered) + 1.0)
        accuracies = jnp.where(answered > 0, right / jnp.maximum(answered, 1.0), pooled)
        return OneCoin(accuracies, _normalise(counts.truths) if learned else None)

    fit = fit_truths(
        questions,
        joint=_one_coin_joint,
        tally=tally,
        maximise=maximise,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    return fit.parameters._replace(log_likelihood=fit.log_likelihood, iterations=fit.iterations)


def one_coin_dawid_skene(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    parameters: OneCoin | None = None,
    max_options: int | None = None,
    truth: Int[Array, " question"] | None = None,
    ties: str = "split",
    key: PRNGKeyArray | None = None,
) -> Votes:
    """Picks the most probable option under the one-coin model of Dawid and Skene.

    With the accuracies given this is `ow`, up to the priors of the truth.

    See "Spectral Methods Meet EM: A Provably Optimal Algorithm for Crowdsourcing" by Zhang et al.
    (https://arxiv.org/abs/1406.3824).

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        parameters: What `fit_one_coin` returned, perhaps of other questions; if None they are
            fitted to these.
        max_options: The most options of any question, if `num_options` is an array.
        truth: The right options of labelled questions, -1 for the others. A labelled question gets
            its label, if anybody answered it.
        ties: `"split"`, `"random"` or `"first"`.
        key: Randomness, for `ties="random"`.

    Returns:
        The votes; scores are the log-posterior.

    Raises:
        ValueError: If a shape, an answer, `num_options`, `max_options` or `ties` is wrong.

    Example:
        >>> parameters = OneCoin(jnp.array([0.9, 0.6, 0.6]))
        >>> votes = one_coin_dawid_skene(jnp.array([[0, 1, 1]]), 2, parameters=parameters)
        >>> votes.answers.tolist(), f"{votes.posterior[0, 0]:.3f}"  # 9 : 1.5 ** 2
        ([0], '0.800')
    """
    questions = gather_questions(answers, num_options, max_options, truth)
    if parameters is None:
        parameters = fit_one_coin(answers, num_options, max_options=max_options, truth=truth)
    check_shape("parameters.accuracies", parameters.accuracies, answers.shape[1:])
    if parameters.priors is not None:
        check_shape("parameters.priors", parameters.priors, questions.possible.shape[1:])
    scores = log_posterior(questions, _one_coin_joint, parameters)
    return decide(
        scores,
        answers,
        option_mask(num_options, max_options, len(answers)),
        ties=ties,
        key=key,
        weights=optimal_weights(parameters.accuracies, num_options),
        posterior=jnp.exp(scores),
        accuracies=parameters.accuracies,
    )


def fit_dawid_skene(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    max_options: int | None = None,
    truth: Int[Array, " question"] | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 100,
) -> DawidSkene:
    """Estimates each agent's confusion matrix by maximum likelihood, without labels or with a few.

    The model: agents answer independently given the truth, each by a row of its own matrix. An
    option must mean the same in every question; if labels are mere positions, use the one-coin
    model. An abstention says nothing. Where the number of options differs, the truth is one of the
    options that exist; priors and confusions are not renormalised over those.

    Expectation maximisation starts from the shares of the votes. There is no smoothing but for
    `MIN_COUNT`, which makes a row without any weight uniform.

    See "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm" by Dawid and
    Skene (https://doi.org/10.2307/2346806), Eqs. 2.3 to 2.5.

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        max_options: The most options of any question, if `num_options` is an array.
        truth: The right options of labelled questions, -1 for the others; all unlabelled if None.
        tolerance: The least rise of the log-likelihood a question for which it goes on; below 0
            for a fixed number of iterations.
        max_iterations: The most iterations, at least 1.

    Returns:
        The parameters.

    Raises:
        ValueError: If a shape, an answer, `num_options` or `max_options` is wrong.

    Example:
        >>> answers = jnp.array([[0, 0, 0], [1, 1, 0], [0, 0, 1], [1, 1, 0]])
        >>> print(fit_dawid_skene(answers, 2).confusions[2].round(2))  # the third agent
        [[0.5 0.5]
         [1.  0. ]]
    """
    questions = gather_questions(answers, num_options, max_options, truth)

    def tally(ballots: Array, posterior: Array) -> Array:
        return jnp.einsum("asq,kq->ask", ballots, posterior, precision="highest")

    def maximise(counts: Counts) -> DawidSkene:
        return DawidSkene(
            _normalise(jnp.swapaxes(counts.tally, 1, 2)),
            _normalise(counts.truths),
        )

    fit = fit_truths(
        questions,
        joint=_confusion_joint,
        tally=tally,
        maximise=maximise,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    return fit.parameters._replace(log_likelihood=fit.log_likelihood, iterations=fit.iterations)


def dawid_skene(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    parameters: DawidSkene | None = None,
    max_options: int | None = None,
    truth: Int[Array, " question"] | None = None,
    ties: str = "split",
    key: PRNGKeyArray | None = None,
) -> Votes:
    """Picks the most probable option under the model of Dawid and Skene.

    An agent's accuracy is the mean of its confusions' diagonal, weighted by the priors.

    See "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm" by Dawid and
    Skene (https://doi.org/10.2307/2346806).

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        parameters: What `fit_dawid_skene` returned, perhaps of other questions; if None they are
            fitted to these.
        max_options: The most options of any question, if `num_options` is an array.
        truth: The right options of labelled questions, -1 for the others. A labelled question gets
            its label, if anybody answered it.
        ties: `"split"`, `"random"` or `"first"`.
        key: Randomness, for `ties="random"`.

    Returns:
        The votes, without weights; scores are the log-posterior.

    Raises:
        ValueError: If a shape, an answer, `num_options`, `max_options` or `ties` is wrong.

    Example:
        >>> confusions = jnp.array([[[0.5, 0.5], [0.1, 0.9]]])  # one agent, partial to 1
        >>> parameters = DawidSkene(confusions, jnp.array([0.75, 0.25]))
        >>> votes = dawid_skene(jnp.array([[1]]), 2, parameters=parameters)
        >>> votes.answers.tolist(), f"{votes.posterior[0, 0]:.3f}"  # 0.375 : 0.225
        ([0], '0.625')
    """
    questions = gather_questions(answers, num_options, max_options, truth)
    if parameters is None:
        parameters = fit_dawid_skene(answers, num_options, max_options=max_options, truth=truth)
    options = questions.possible.shape[1]
    check_shape(
        "parameters.confusions", parameters.confusions, (answers.shape[1],) + (options,) * 2
    )
    check_shape("parameters.priors", parameters.priors, (options,))
    scores = log_posterior(questions, _confusion_joint, parameters)
    right = jnp.diagonal(parameters.confusions, axis1=1, axis2=2)
    return decide(
        scores,
        answers,
        option_mask(num_options, max_options, len(answers)),
        ties=ties,
        key=key,
        posterior=jnp.exp(scores),
        accuracies=jnp.sum(right * parameters.priors, axis=1),
    )


def _one_coin_joint(
    parameters: OneCoin,
    ballots: Float[Array, "agent option question"],
    options: Float[Array, " question"],
) -> Float[Array, "option question"]:
    """Returns ln P(truth, answers) under the one-coin model."""
    x = jnp.clip(parameters.accuracies, MIN_ERROR, 1.0 - MIN_ERROR)
    wrong = jnp.log1p(-x)
    rows = jnp.stack([jnp.log(x) - wrong, wrong, jnp.ones_like(x)])
    right, wrong, votes = jnp.einsum("ra,asq->rsq", rows, ballots, precision="highest")
    others = jnp.log(jnp.maximum(options - 1.0, 1.0))
    likelihood = right + jnp.sum(wrong, axis=0) + (votes - jnp.sum(votes, axis=0)) * others
    if parameters.priors is None:
        return likelihood - jnp.log(jnp.maximum(options, 1.0))
    return likelihood + _log(parameters.priors)[:, None]


def _confusion_joint(
    parameters: DawidSkene,
    ballots: Float[Array, "agent option question"],
    options: Float[Array, " question"],
) -> Float[Array, "option question"]:
    """Returns ln P(truth, answers) under the full model."""
    logs = jnp.swapaxes(_log(parameters.confusions), 1, 2)
    likelihood = jnp.einsum("ask,asq->kq", logs, ballots, precision="highest")
    return likelihood + _log(parameters.priors)[:, None]


def _normalise(counts: Float[Array, "*rest option"]) -> Float[Array, "*rest option"]:
    """Makes counts to probabilities, none of them 0."""
    counts = jnp.maximum(counts, MIN_COUNT)
    return counts / jnp.sum(counts, axis=-1, keepdims=True)


def _log(probabilities: Float[Array, "..."]) -> Float[Array, "..."]:
    """Takes the logarithm of probabilities, finite at 0."""
    return jnp.log(jnp.maximum(probabilities, jnp.finfo(probabilities.dtype).tiny))
