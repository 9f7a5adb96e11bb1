"""What every voting rule returns."""

import dataclasses
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxreason.voting.ballots import is_vote
from jaxreason.voting.ties import share_win


# Under vmap a field has more axes, and a tree map puts shapes or shardings there.
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class Votes:
    """The outcome of a voting rule.

    The expected accuracy on questions with known answers is the mean over questions of
    `sum_option winners * one_hot(truth)`.

    Attributes:
        scores: The rule's score of each option, -inf for options that do not exist.
        answers: The winning option, the first of them if they share; -1 where everybody abstained.
        winners: Each option's share of the win: 1 / t for t tied options under `ties="split"`,
            otherwise 1 for the answer; 0 for all where everybody abstained.
        weights: The weight of each agent's vote, `[agent]`, or `[question, agent]` if it differs
            between questions; None if the rule has nothing like it.
        posterior: The probability that each option is right, for rules with a model of how answers
            come about; where everybody abstained it is what the rule takes to be true before any
            vote: a label, learned priors or, as a rule, all options alike.
        accuracies: Each agent's probability to be right, `[agent]`, given to or estimated by the
            rule; None if it has none.
    """

    scores: Float[Array, "question option"]
    answers: Int[Array, " question"]
    winners: Float[Array, "question option"]
    weights: Float[Array, " agent"] | Float[Array, "question agent"] | None = None
    posterior: Float[Array, "question option"] | None = None
    accuracies: Float[Array, " agent"] | None = None


def decide(
    scores: Float[Array, "question option"],
    answers: Int[Array, "question agent"],
    exists: Bool[Array, "question option"],
    *,
    ties: str,
    key: PRNGKeyArray | None,
    weights: Array | None = None,
    posterior: Array | None = None,
    accuracies: Array | None = None,
) -> Votes:
    """Picks the winners by score.

    Args:
        scores: The rule's scores; those of options that do not exist are ignored.
        answers: Option indices; one that does not exist counts as an abstention.
        exists: Which options exist.
        ties: How ties are broken, see `ties.share_win`.
        key: Randomness, for `ties="random"`.
        weights: The weights of the votes, if the rule has any.
        posterior: The probabilities of the options, if the rule has any.
        accuracies: The agents' accuracies, if the rule has any.

    Returns:
        The outcome.

    Example:
        >>> scores, answers = jnp.array([[0.0, 1.0]]), jnp.array([[1, -1]])
        >>> decide(scores, answers, scores >= 0, ties="split", key=None).answers.tolist()
        [1]
    """
    scores = jnp.where(exists, scores, -jnp.inf)
    voted = jnp.any(is_vote(answers, exists), axis=1)
    winners = jnp.where(voted[:, None], share_win(scores, ties=ties, key=key), 0.0)
    chosen = jnp.where(voted, jnp.argmax(winners, axis=-1), -1)
    return Votes(
        scores=scores,
        answers=chosen,
        winners=winners,
        weights=weights,
        posterior=posterior,
        accuracies=accuracies,
    )
