"""The rules by name, each in two steps: fit parameters to answers, and vote with them on others."""

import difflib
import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxreason.voting.agreement import Agreement, pairwise_agreement
from jaxreason.voting.ballots import NumOptions, check_answers, is_vote
from jaxreason.voting.dawid_skene import (
    dawid_skene,
    fit_dawid_skene,
    fit_one_coin,
    one_coin_dawid_skene,
)
from jaxreason.voting.item_response import fit_item_response, item_response
from jaxreason.voting.low_rank import fit_skills, fit_skills_by_isp, ow_l
from jaxreason.voting.majority import majority
from jaxreason.voting.result import Votes
from jaxreason.voting.second_order import isp, pairwise_conditionals, sp
from jaxreason.voting.wawa import wawa
from jaxreason.voting.weighted import estimate_accuracies, ow


class Method(NamedTuple):
    """A rule in two steps, both compiled.

    Attributes:
        name: What users call it.
        summary: What it does, in a few words.
        fit: `fit(answers, *, num_options, max_options, truth)` returns parameters, a pytree.
        vote: `vote(parameters, answers, *, num_options, max_options, ties, key)` returns `Votes`.
        truth: Whether `fit` reads the truth (-1 where not known): `"ignored"`, `"optional"` or
            `"required"`.
        same_options: Whether an option must mean the same in every question.
    """

    name: str
    summary: str
    fit: Callable[..., Any]
    vote: Callable[..., Votes]
    truth: str = "ignored"
    same_options: bool = False


def find_method(name: str) -> Method:
    """Returns the method of a name.

    Args:
        name: One of `METHODS`.

    Returns:
        The method.

    Raises:
        ValueError: If there is none; the sentence names the nearest. `AUTO` is none of them.

    Example:
        >>> find_method("majority").summary
        'the most votes'
    """
    if name == AUTO:
        raise ValueError(
            "Which method auto is depends on the votes: see table_rules.choose_method."
        )
    if name not in METHODS:
        known = (AUTO, *METHODS)
        near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"There is no method {name!r}; did you mean {near}? Known: {', '.join(known)}."
        )
    return METHODS[name]


def probabilities(
    votes: Votes,
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    max_options: int | None = None,
) -> Float[Array, "question option"]:
    """Returns how probable each option is: the posterior, or its share of the votes without one.

    For rules without a posterior the scores are shifted so that they sum to what all the votes of
    the question weigh, and divided by it, which leaves their order; a negative share counts as 0.
    For `majority` these are the shares of the votes. They are no probabilities of being right.

    Args:
        votes: What a rule returned.
        answers: The answers that it was given.
        num_options: The number of options, one for all questions or one a question.
        max_options: The most options of any question, if `num_options` is an array.

    Returns:
        Numbers that sum to 1. Where everybody abstained they are uniform over the options, or what
        the posterior is then.

    Example:
        >>> answers = jnp.array([[0, 1, 1, 1], [-1, -1, -1, -1]])
        >>> probabilities(majority(answers, 2), answers, 2).tolist()
        [[0.25, 0.75], [0.5, 0.5]]
    """
    if votes.posterior is not None:
        return votes.posterior
    exists = check_answers(answers, num_options, max_options)
    weights = jnp.ones(answers.shape, jnp.float32) if votes.weights is None else votes.weights
    weight = jnp.sum(jnp.where(is_vote(answers, exists), weights, 0.0), axis=1, keepdims=True)
    scores = jnp.where(exists, votes.scores, 0.0)
    options = jnp.sum(exists, axis=1, keepdims=True, dtype=scores.dtype)
    missing = weight - jnp.sum(scores, axis=1, keepdims=True)
    shares = jnp.maximum(scores + missing / options, 0.0) * exists.astype(scores.dtype)
    total = jnp.sum(shares, axis=1, keepdims=True)
    uniform = exists.astype(scores.dtype) / options
    return jnp.where(total > 0, shares / jnp.where(total > 0, total, 1.0), uniform)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function of votes whose `num_options` may be one number, static, or an array.

    Args:
        function: Takes answers and, by name, `num_options`, perhaps `max_options` and `ties`, and
            arrays.

    Returns:
        The same function; `num_options` must be given by name.

    Example:
        >>> compiled(majority)(jnp.array([[0, 1, 1]]), num_options=2).answers.tolist()
        [1]
    """
    static = {"max_options", "ties"} & set(inspect.signature(function).parameters)
    for_one_number = jax.jit(function, static_argnames=(*sorted(static), "num_options"))
    for_several = jax.jit(function, static_argnames=tuple(sorted(static)))

    def call(*arrays: Any, num_options: NumOptions, **settings: Any) -> Any:
        chosen = for_one_number if isinstance(num_options, int) else for_several
        return chosen(*arrays, num_options=num_options, **settings)

    return call


def _fitting(function: Callable[..., Any], *, with_truth: bool = False) -> Callable[..., Any]:
    """Makes the first step of a function of answers, num_options, max_options and perhaps truth."""

    def fit(
        answers: Array, *, num_options: NumOptions, max_options: int | None, truth: Array | None
    ) -> Any:
        labels = {"truth": truth} if with_truth else {}
        return function(answers, num_options, max_options=max_options, **labels)

    return compiled(fit)


def _voting(rule: Callable[..., Votes], parameter: str | None = None) -> Callable[..., Votes]:
    """Makes the second step of a rule, which takes what was fitted under the given name."""

    def vote(
        parameters: Any,
        answers: Array,
        *,
        num_options: NumOptions,
        max_options: int | None,
        ties: str,
        key: PRNGKeyArray | None,
    ) -> Votes:
        fitted = {parameter: parameters} if parameter else {}
        return rule(answers, num_options, **fitted, max_options=max_options, ties=ties, key=key)

    return compiled(vote)


def _nothing(answers: Array, num_options: NumOptions, *, max_options: int | None) -> None:
    return None


def _rates(answers: Array, num_options: NumOptions, *, max_options: int | None) -> Array | None:
    return wawa(answers, num_options, max_options=max_options).accuracies


def _conditionals(
    answers: Array, num_options: NumOptions, *, max_options: int | None
) -> Array | Agreement:
    """Returns how answers go together: by option if these mean the same in every question."""
    if isinstance(num_options, int):
        return pairwise_conditionals(answers, num_options)
    return pairwise_agreement(answers, num_options, max_options=max_options)


def _labelled(
    answers: Array, num_options: NumOptions, *, max_options: int | None, truth: Array
) -> Array:
    return estimate_accuracies(answers, truth, num_options=num_options, max_options=max_options)


_ALL = (
    Method("majority", "the most votes", _fitting(_nothing), _voting(majority)),
    Method(
        "wawa",
        "votes weighted by how often a worker sides with the majority",
        _fitting(_rates),
        _voting(wawa, "accuracies"),
    ),
    Method(
        "sp",
        "surprisingly popular: more votes than the others' answers predict",
        _fitting(_conditionals),
        _voting(sp, "conditionals"),
    ),
    Method(
        "isp",
        "inverse surprisingly popular: more votes than answers not given predict",
        _fitting(_conditionals),
        _voting(isp, "conditionals"),
    ),
    Method(
        "ow-l",
        "optimal weights with accuracies from how often pairs of workers agree",
        _fitting(fit_skills),
        _voting(ow_l, "skills"),
    ),
    Method(
        "ow-i",
        "optimal weights with accuracies from how often a worker sides with isp",
        _fitting(fit_skills_by_isp),
        _voting(ow_l, "skills"),
    ),
    Method(
        "ow-i-iterated",
        "ow-i, its answers taking the place of isp's until they stay the same",
        _fitting(functools.partial(fit_skills_by_isp, max_iterations=100)),
        _voting(ow_l, "skills"),
    ),
    Method(
        "one-coin",
        "one-coin Dawid-Skene: one accuracy a worker, by maximum likelihood",
        _fitting(fit_one_coin, with_truth=True),
        _voting(one_coin_dawid_skene, "parameters"),
        truth="optional",
    ),
    Method(
        "dawid-skene",
        "Dawid-Skene: which label each worker takes for which, by maximum likelihood",
        _fitting(fit_dawid_skene, with_truth=True),
        _voting(dawid_skene, "parameters"),
        truth="optional",
        same_options=True,
    ),
    Method(
        "item-response",
        "questions differ in ease, errors have a favourite, workers may copy",
        _fitting(fit_item_response, with_truth=True),
        _voting(item_response, "parameters"),
        truth="optional",
    ),
    Method(
        "ow",
        "optimal weights with accuracies estimated from labelled tasks",
        _fitting(_labelled, with_truth=True),
        _voting(ow, "accuracies"),
        truth="required",
    ),
)
METHODS = types.MappingProxyType({method.name: method for method in _ALL})
"""The methods by name."""

AUTO = "auto"
"""Stands for the method that suits the votes, see `table_rules.choose_method`."""
