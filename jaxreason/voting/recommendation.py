"""A diagnosis in words: which rule to take and why, and what to look out for."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxreason.checks import check_that
from jaxreason.voting.diagnostics import Diagnosis
from jaxreason.voting.findings import FEW_VOTES, equally_hard, few_labels, findings
from jaxreason.voting.wording import percent

MAJORITY, WAWA, OW = "majority", "wawa", "ow"
ONE_COIN, ITEM_RESPONSE = "one-coin", "item-response"

MIN_QUESTIONS = 30
"""Below this the agreement of two agents has a standard error of 0.1 to 0.2, as much as the skills
of usable agents differ."""

MIN_MODELLED = 200
"""Below this the four coefficients of an agent in the item response model are as much noise as
signal: in simulations of 50 questions that are equally hard it is behind one-coin, at 300 hardly
(`benchmarks.voting_simulation`)."""


class Advice(NamedTuple):
    """Which method to take, a name of `methods.METHODS`; why; and what else there is to say."""

    method: str
    reason: str
    more: str = ""


def recommend(diagnosis: Diagnosis, names: Sequence[str]) -> tuple[str, ...]:
    """Puts a diagnosis into words: first which rule to take and why, then warnings.

    Args:
        diagnosis: What `diagnose` found.
        names: What to call the agents.

    Returns:
        Sentences, or short paragraphs about one thing each.

    Raises:
        ValueError: If there is not one name for each agent.

    Example:
        >>> import jax
        >>> from jaxreason.voting.diagnostics import diagnose
        >>> from jaxreason.voting.simulation import simulate_independent
        >>> answers, _ = simulate_independent(jax.random.key(0), jax.numpy.full(2, 0.7), 4, 100)
        >>> diagnosis = diagnose(answers, 4, key=jax.random.key(1), resamples=10)
        >>> print(recommend(diagnosis, ["A", "B"])[0])
        Use majority: with fewer than three agents nothing but labels tells which one is better, and
        two that disagree can only tie.
    """
    agents = len(diagnosis.votes)
    check_that(
        len(names) == agents, f"names must be one for each of {agents} agents; got {len(names)}."
    )
    if not float(diagnosis.rules.questions):
        return ("Nobody answered a question with two options or more: nothing to vote on.",)
    advice = advise(diagnosis)
    first = f"Use {advice.method}: {advice.reason}. {advice.more}".rstrip()
    return (first, *findings(diagnosis, [str(name) for name in names]))


def recommended_method(diagnosis: Diagnosis) -> str:
    """Names the method to take, as `recommend` says it in its first sentence.

    Args:
        diagnosis: What `diagnose` found.

    Returns:
        A name of `methods.METHODS`: "majority", "wawa", "ow", "one-coin" or "item-response".

    Example:
        >>> import jax
        >>> from jaxreason.voting.diagnostics import diagnose
        >>> from jaxreason.voting.simulation import simulate_independent
        >>> answers, _ = simulate_independent(jax.random.key(0), jax.numpy.full(2, 0.7), 4, 100)
        >>> recommended_method(diagnose(answers, 4, key=jax.random.key(1), resamples=10))
        'majority'
    """
    return advise(diagnosis).method


def advise(diagnosis: Diagnosis) -> Advice:
    """Decides which method to take, and says why.

    Args:
        diagnosis: What `diagnose` found.

    Returns:
        The advice.

    Example:
        >>> import jax
        >>> from jaxreason.voting.diagnostics import diagnose
        >>> from jaxreason.voting.simulation import simulate_independent
        >>> answers, _ = simulate_independent(jax.random.key(0), jax.numpy.full(3, 0.7), 4, 12)
        >>> advise(diagnose(answers, 4, key=jax.random.key(1), resamples=10)).reason
        'on 12 questions agents are good or lucky, and nothing tells which (about 30 would do)'
    """
    return _if_little_is_known(diagnosis) or _by_findings(diagnosis)


def _if_little_is_known(diagnosis: Diagnosis) -> Advice | None:
    """Decides if there are few agents, questions or answers of each."""
    questions = int(diagnosis.rules.questions)
    votes = np.asarray(diagnosis.votes)
    voters = int(np.sum(votes > 0))
    few = f"on {questions} question{'' if questions == 1 else 's'}"
    if voters == 0:
        return Advice(
            MAJORITY,
            "nobody answered a question with two options or more, which is the same under every "
            "rule",
        )
    if voters == 1:
        return Advice(MAJORITY, "a single agent's answers are the outcome under every rule")
    if not few_labels(diagnosis) and (voters < 3 or questions < MIN_MODELLED):
        return Advice(
            OW,
            f"the labels tell how good each agent is, and {few} of {voters} agents nothing else "
            "tells it better",
        )
    if voters < 3:
        return Advice(
            MAJORITY,
            "with fewer than three agents nothing but labels tells which one is better, and two "
            "that disagree can only tie",
        )
    if questions < MIN_QUESTIONS:
        return Advice(
            MAJORITY,
            f"{few} agents are good or lucky, and nothing tells which (about {MIN_QUESTIONS} would "
            "do)",
        )
    if np.median(votes[votes > 0]) < FEW_VOTES:
        return Advice(
            WAWA,
            f"most agents answered fewer than {FEW_VOTES} questions, too few to tell how good each "
            "is, and its weights stay moderate",
        )
    return None


def _by_findings(diagnosis: Diagnosis) -> Advice:
    """Decides by how the agents agree."""
    questions = int(diagnosis.rules.questions)
    clones, hard = bool(np.any(np.asarray(diagnosis.clones))), not equally_hard(diagnosis)
    reasons = ["some agents agree more than their accuracies explain"] if clones else []
    reasons += ["questions are not equally hard"] if hard else []
    if reasons and questions >= MIN_MODELLED:
        return Advice(
            ITEM_RESPONSE,
            f"{' and '.join(reasons)}, and it models that",
            "Rules that take agents to err independently (ow-l, one-coin) trust those that agree "
            "with each other too much.",
        )
    if clones:
        return Advice(
            MAJORITY,
            f"{' and '.join(reasons)}, and on {questions} questions no model of that can be "
            f"trusted (from about {MIN_MODELLED} on, item-response)",
        )
    low, high = np.asarray(diagnosis.accuracy_bounds).T
    if np.isnan(low).all():
        return Advice(
            MAJORITY,
            "too few agents answered the same questions for agreement to tell how good they are",
        )
    if np.nanmax(low) <= np.nanmin(high):
        return Advice(
            MAJORITY,
            "as far as these answers tell the agents are equally accurate, and then no weights do "
            "better",
        )
    rates = np.asarray(diagnosis.accuracies)
    reason = (
        "agents seem to err independently, and their accuracies differ "
        f"({percent(np.nanmin(rates))} to {percent(np.nanmax(rates))}), so that weights pay"
    )
    more = "ow-l is much the same here."
    if hard:
        more = (
            "Questions are not equally hard; to model that takes about "
            f"{MIN_MODELLED} of them (item-response)."
        )
    return Advice(ONE_COIN, reason, more)
