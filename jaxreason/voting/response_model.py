"""The item response model: what a block of questions says about the agents, given parameters.

Within a block the question comes last in every array, which is fastest on a CPU.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

NODES = 7
"""Quadrature nodes for a question's ease."""

MAX_COPYING = 0.98
"""No agent copies always: then its own answers would be unknown."""

IMPOSSIBLE = -1e9
"""The log-odds of an option that cannot be."""


class Copies(NamedTuple):
    """Who copies whom, and how often.

    Attributes:
        parents: The agent whose answer an agent copies, -1 for none.
        rates: How often it does; 0 without a parent.
    """

    parents: Int[Array, " agent"]
    rates: Float[Array, " agent"]


class Coefficients(NamedTuple):
    """How each agent answers: the log-odds of two options against any other one.

    Attributes:
        right: Intercept and slope in the question's ease, for the right option.
        lure: Intercept and slope for the question's most tempting wrong option.
        copies: Who copies whom; None if nobody does.
    """

    right: Float[Array, "agent 2"]
    lure: Float[Array, "agent 2"]
    copies: Copies | None = None


class Tally(NamedTuple):
    """Expected counts over questions of the votes that were not copied, and of the copied ones.

    Attributes:
        right: Votes for the right option, by the question's ease.
        lure: Votes for the most tempting wrong option.
        votes: All votes, also by the number of options.
        copies: Copied votes.
        pairs: Questions that both the agent and its parent answered.
        log_likelihood: The sum of the questions' ln P(answers), less a reference for each.
        questions: The number of questions that somebody answered.
    """

    right: Float[Array, "agent node"]
    lure: Float[Array, "agent node"]
    votes: Float[Array, "agent node size"]
    copies: Float[Array, " agent"]
    pairs: Float[Array, " agent"]
    log_likelihood: Float[Array, ""]
    questions: Float[Array, ""]


class Beliefs(NamedTuple):
    """What a block's answers say.

    Attributes:
        right: P(option is right, ease | answers).
        lure: P(option is the most tempting wrong one, ease | answers).
        log_likelihood: ln P(answers).
    """

    right: Float[Array, "node option question"]
    lure: Float[Array, "node option question"]
    log_likelihood: Float[Array, " question"]


def quadrature(difficulty: bool) -> tuple[Float[Array, " node"], Float[Array, " node"]]:
    """Returns nodes and log-weights for a standard normal ease; one node at 0 without it.

    Example:
        >>> nodes, log_weights = quadrature(True)
        >>> f"{(jnp.exp(log_weights) * nodes**2).sum():.4f}"  # the variance
        '1.0000'
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES if difficulty else 1)
    return jnp.asarray(nodes, jnp.float32), jnp.log(
        jnp.asarray(weights / weights.sum(), jnp.float32)
    )


def log_odds(
    terms: Float[Array, "*agent 2"], nodes: Float[Array, " node"]
) -> Float[Array, "*agent node"]:
    """Returns intercept + slope * ease.

    Example:
        >>> log_odds(jnp.array([1.0, 2.0]), jnp.array([-1.0, 0.0])).tolist()
        [-1.0, 1.0]
    """
    return terms[..., :1] + terms[..., 1:] * nodes


def log_normaliser(
    right: Float[Array, "*agent node"],
    lure: Float[Array, "*agent node"],
    sizes: Float[Array, " size"],
) -> Float[Array, "*agent node size"]:
    """Returns ln(exp(right) + exp(lure) + K - 2) for each number of options K.

    Example:
        >>> norm = log_normaliser(jnp.zeros(1), jnp.zeros(1), jnp.array([4.0]))
        >>> f"{norm[0, 0]:.4f}"  # ln 4
        '1.3863'
    """
    two = jnp.logaddexp(right, lure)[..., None]
    others = jnp.log(jnp.maximum(sizes - 2.0, 1.0))
    return jnp.where(sizes > 2.0, jnp.logaddexp(two, others), two)


def believe(
    coefficients: Coefficients,
    nodes: Float[Array, " node"],
    log_weights: Float[Array, " node"],
    sizes: Float[Array, " size"],
    ballots: Float[Array, "agent option question"],
    possible: Bool[Array, "option question"],
    options: Float[Array, " question"],
) -> tuple[Beliefs, Float[Array, "kind agent node question"] | None]:
    """Infers truth, lure and ease of each question of a block.

    Args:
        coefficients: How the agents answer.
        nodes: Quadrature nodes of the ease.
        log_weights: Their log-weights.
        sizes: The numbers of options that occur, consecutive.
        ballots: One-hot answers.
        possible: Which options may be right: all that exist, or the label alone.
        options: The number of options that exist.

    Returns:
        The beliefs; and the probability that each vote was copied, by what it was (right, lure or
        another option) and by ease, `[3, agent, node, question]`; None if nobody copies.

    Example:
        >>> right, lure = jnp.log(jnp.array([[4.0, 1.0]] * 2)), jnp.log(jnp.array([[2.0, 1.0]] * 2))
        >>> ballots = jax.nn.one_hot(jnp.zeros((2, 1), int), 4, axis=1)  # both of two agents say 0
        >>> model = (Coefficients(right, lure), *quadrature(False), jnp.array([4.0]))
        >>> beliefs, _ = believe(*model, ballots, jnp.ones((4, 1), bool), jnp.array([4.0]))
        >>> f"{beliefs.right[0, 0, 0]:.3f}"  # (4/8)^2 : 3 (1/3 (2/8)^2 + 2/3 (1/8)^2) = 8 : 3
        '0.727'
    """
    exists = jnp.arange(ballots.shape[1], dtype=options.dtype)[:, None] < options
    group = jnp.clip(options - sizes[0], 0, len(sizes) - 1).astype(jnp.int32)
    right, lure = log_odds(coefficients.right, nodes), log_odds(coefficients.lure, nodes)
    norm = log_normaliser(right, lure, sizes)
    copied = None
    if coefficients.copies is None:
        by_size = jnp.einsum("nzg,nq->gzq", norm, ballots.sum(1), precision="highest")
        constant = -jnp.take_along_axis(by_size, group[None, None], axis=0)[0]
        for_right = jnp.einsum("nz,nkq->zkq", right, ballots, precision="highest")
        for_lure = jnp.einsum("nz,nkq->zkq", lure, ballots, precision="highest")
    else:
        own = jnp.stack([right, lure, jnp.zeros_like(right)])[..., None] - norm[..., group]
        logs, copied = _allow_copies(coefficients.copies, own, ballots)
        constant = jnp.sum(logs[2] * ballots.sum(1)[:, None], axis=0)
        for_right = jnp.sum((logs[0] - logs[2])[:, :, None] * ballots[:, None], axis=0)
        for_lure = jnp.sum((logs[1] - logs[2])[:, :, None] * ballots[:, None], axis=0)
    for_right = jnp.where(possible, for_right, IMPOSSIBLE)
    for_lure = jnp.where(exists, for_lure, IMPOSSIBLE)
    pairs = jnp.log(jnp.maximum(options * (options - 1.0), 1.0))
    constant = (constant + log_weights[:, None] - pairs)[:, None]
    joint_right = for_right + _others(for_lure) + constant
    joint_lure = for_lure + _others(for_right) + constant
    total = jax.nn.logsumexp(joint_right, axis=(0, 1))
    return Beliefs(jnp.exp(joint_right - total), jnp.exp(joint_lure - total), total), copied


def count_block(
    coefficients: Coefficients,
    nodes: Float[Array, " node"],
    log_weights: Float[Array, " node"],
    sizes: Float[Array, " size"],
    ballots: Float[Array, "agent option question"],
    possible: Bool[Array, "option question"],
    options: Float[Array, " question"],
    reference: Float[Array, ""],
) -> Tally:
    """Adds up a block's expected counts.

    Args:
        coefficients: How the agents answer.
        nodes: Quadrature nodes of the ease.
        log_weights: Their log-weights.
        sizes: The numbers of options that occur, consecutive.
        ballots: One-hot answers.
        possible: Which options may be right.
        options: The number of options that exist.
        reference: What is taken off each question's log-likelihood.

    Returns:
        The counts.

    Example:
        >>> right, lure = jnp.log(jnp.array([[4.0, 1.0]] * 2)), jnp.log(jnp.array([[2.0, 1.0]] * 2))
        >>> ballots = jax.nn.one_hot(jnp.zeros((2, 1), int), 4, axis=1)  # as for `believe`
        >>> model = (Coefficients(right, lure), *quadrature(False), jnp.array([4.0]))
        >>> data = (ballots, jnp.ones((4, 1), bool), jnp.array([4.0]))
        >>> counts = count_block(*model, *data, jnp.zeros(()))
        >>> f"{counts.right[0, 0]:.3f} {counts.lure[0, 0]:.3f}"  # 8 / 11 and 2 / 11
        '0.727 0.182'
    """
    beliefs, copied = believe(coefficients, nodes, log_weights, sizes, ballots, possible, options)
    votes = ballots.sum(1)
    answered = (votes.sum(0) > 0).astype(votes.dtype)
    ease = beliefs.right.sum(1)
    group = (options[None] == sizes[:, None]).astype(votes.dtype)
    if copied is None or coefficients.copies is None:
        right = jnp.einsum("zkq,nkq->nz", beliefs.right, ballots, precision="highest")
        lure = jnp.einsum("zkq,nkq->nz", beliefs.lure, ballots, precision="highest")
        by_size = (ease[:, None] * group).reshape(-1, ease.shape[-1])
        total = jnp.einsum("nq,rq->nr", votes, by_size, precision="highest")
        total = total.reshape(len(votes), len(nodes), len(sizes))
        copies = pairs = jnp.zeros_like(votes[:, 0])
    else:
        of_right = jnp.sum(beliefs.right * ballots[:, None], axis=2)
        of_lure = jnp.sum(beliefs.lure * ballots[:, None], axis=2)
        kinds = jnp.stack([of_right, of_lure, ease * votes[:, None] - of_right - of_lure])
        copies = jnp.sum(kinds * copied, axis=(0, 2, 3))
        own = kinds * (1.0 - copied)
        right, lure = own[0].sum(-1), own[1].sum(-1)
        total = jnp.einsum("nzq,gq->nzg", own.sum(0), group, precision="highest")
        pairs = jnp.sum(_both(coefficients.copies.parents, votes), axis=1)
    log_likelihood = jnp.sum((beliefs.log_likelihood - reference) * answered)
    return Tally(right, lure, total, copies, pairs, log_likelihood, answered.sum())


def _allow_copies(
    copies: Copies,
    own: Float[Array, "kind agent node question"],
    ballots: Float[Array, "agent option question"],
) -> tuple[Float[Array, "kind agent node question"], Float[Array, "kind agent node question"]]:
    """Mixes each agent's own answer with its parent's.

    Returns:
        ln P(vote | its kind, ease, the parent's vote), and the probability that it was copied.
    """
    both = _both(copies.parents, ballots.sum(1))[:, None]
    agree = jnp.sum(ballots * ballots[jnp.maximum(copies.parents, 0)], axis=1)[:, None] * both
    share = jnp.clip(copies.rates, 0.0, MAX_COPYING)[:, None, None]
    alone = jnp.log1p(-share) + own
    copied = share / (share + jnp.exp(alone)) * agree
    mixed = jnp.where(agree > 0, jnp.log(share + jnp.exp(alone)), alone)
    return jnp.where(both > 0, mixed, own), copied


def _both(
    parents: Int[Array, " agent"], votes: Float[Array, "agent question"]
) -> Float[Array, "agent question"]:
    """Marks the questions that an agent and its parent answered."""
    has_parent = (parents >= 0).astype(votes.dtype)[:, None]
    return votes * votes[jnp.maximum(parents, 0)] * has_parent


def _others(values: Float[Array, "node option question"]) -> Float[Array, "node option question"]:
    """Returns, for each option, the log-sum-exp over all the others, without cancellation."""
    options = jnp.arange(values.shape[1])[:, None]
    top = options == jnp.argmax(values, axis=1)[:, None]
    largest = jnp.max(values, axis=1, keepdims=True)
    without_top = jnp.where(top, -jnp.inf, values)
    second = jax.nn.logsumexp(without_top, axis=1, keepdims=True)
    small = jnp.exp(without_top - largest)
    rest = jnp.maximum(small.sum(1, keepdims=True) - small, 0.0)
    return jnp.where(top, second, largest + jnp.log1p(rest))
