"""Families: agents that repeat another's answers more than what they know explains."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxreason.voting.agreement import Agreement
from jaxreason.voting.em import Questions
from jaxreason.voting.response_fit import Climb
from jaxreason.voting.response_model import Coefficients, Copies

MAX_QUESTIONS = 2048
"""Families are looked for on at most so many questions, spread evenly."""

START_COPYING = 0.3
"""Every agent is at first suspected of copying from its closest relative so often."""

TOLERANCE, MAX_ITERATIONS = 1e-4, 30
"""The search for families stops early, before the copies of a weak agent look like experts."""

MIN_COPYING = 0.5
"""An agent that copies at least so often is taken to belong to its parent's family."""


def find_parents(
    questions: Questions,
    agreement: Agreement,
    start: Coefficients,
    fit: Callable[..., Climb],
) -> Int[Array, " agent"]:
    """Finds out who copies whom.

    Agents are joined to a tree by their agreement (Chow and Liu's, of maximum weight), the model is
    fitted with an unknown share of copies on each branch, from agents that are all as good, and a
    branch stays if that share is at least 1/2. A lower one is how related models answer, and what
    they agree on is still evidence. A few hundred questions are needed to see copies at all.

    See "Approximating Discrete Probability Distributions with Dependence Trees" by Chow and Liu
    (https://doi.org/10.1109/TIT.1968.1054142).

    Args:
        questions: The data.
        agreement: How often each pair of agents agrees.
        start: Coefficients, the same for all agents.
        fit: As `response_fit.climb`, but for the questions and the first coefficients, and with
            `tolerance` and `max_iterations` left open.

    Returns:
        The agent that each one copies, -1 for none.

    Example:
        >>> from jaxreason.voting.agreement import pairwise_agreement
        >>> from jaxreason.voting.em import gather_questions
        >>> answers = jnp.array([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0]])
        >>> start = Coefficients(jnp.ones((3, 2)), jnp.zeros((3, 2)))
        >>> def fit(questions, first, **settings):  # a fit that finds that all but agent 2 copy
        ...     found = Copies(first.copies.parents, jnp.array([0.9, 0.9, 0.1]))
        ...     zero = jnp.zeros(())
        ...     return Climb(first._replace(copies=found), zero, jnp.array(1), zero)
        >>> agreement = pairwise_agreement(answers, 2)
        >>> find_parents(gather_questions(answers, 2, None, None), agreement, start, fit).tolist()
        [-1, 0, -1]
    """
    stride = max(1, -(-len(questions.answers) // MAX_QUESTIONS))
    some = Questions(*(leaf[::stride] for leaf in questions))
    parents = spanning_tree(jnp.where(agreement.counts > 0, agreement.rates, -jnp.inf))
    suspected = Copies(parents, START_COPYING * (parents >= 0).astype(jnp.float32))
    first = start._replace(copies=suspected)
    fitted = fit(some, first, tolerance=TOLERANCE, max_iterations=MAX_ITERATIONS).coefficients
    copies = fitted.copies or suspected
    return jnp.where(copies.rates >= MIN_COPYING, parents, -1)


def spanning_tree(weights: Float[Array, "agent agent"]) -> Int[Array, " agent"]:
    """Finds a tree of maximum weight by Prim's algorithm.

    Args:
        weights: Symmetric weights; the diagonal is ignored.

    Returns:
        Each agent's parent; -1 for the root, the agent with the largest sum of weights.

    Example:
        >>> weights = jnp.array([[0.0, 3.0, 1.0], [3.0, 0.0, 2.0], [1.0, 2.0, 0.0]])
        >>> spanning_tree(weights).tolist()
        [1, -1, 1]
    """
    agents = jnp.arange(len(weights))
    finite = jnp.where(jnp.isfinite(weights), weights, 0.0)
    finite = jnp.where(agents[:, None] == agents[None, :], 0.0, finite)
    root = jnp.argmax(finite.sum(0))

    def grow(_: Array, state: tuple) -> tuple:
        parents, inside, best, source = state
        new = jnp.argmax(jnp.where(inside, -jnp.inf, jnp.maximum(best, -1e9)))
        parents = parents.at[new].set(source[new])
        closer = (weights[new] > best) & ~inside
        best, source = jnp.where(closer, weights[new], best), jnp.where(closer, new, source)
        return parents, inside | (agents == new), best, source

    start = (jnp.full_like(agents, -1), agents == root, weights[root], jnp.full_like(agents, root))
    parents, *_ = jax.lax.fori_loop(0, len(weights) - 1, grow, start)
    return parents.astype(jnp.int32)
