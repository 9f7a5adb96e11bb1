"""A diagnosis in words: which rule to take, and what to look out for."""

from collections.abc import Sequence

import numpy as np

from jaxreason.checks import check_that
from jaxreason.voting.diagnostics import Diagnosis

MAJORITY, OW, ONE_COIN, ITEM_RESPONSE = "majority", "ow", "one-coin", "item-response"

MIN_QUESTIONS = 30
"""Below this the agreement of two agents has a standard error of 0.1 to 0.2, as much as the skills
of usable agents differ."""

MIN_MODELLED = 200
"""Below this the four coefficients of an agent in the item response model are as much noise as
signal: in simulations of 50 questions that are equally hard it is behind one-coin, at 300 hardly
(`benchmarks.voting_simulation`)."""

FEW_VOTES = 30
"""An agent with fewer is not known any better, however many questions others answered."""

HIGH_ABSTENTION = 0.25
"""Abstentions are rarely blind: an agent that answers a quarter less than the median one is judged
on what it finds easy, and its absence moves the votes on the rest."""

LOW_EFFECTIVE = 0.5
"""If fewer than half of the agents count, the vote is as noisy as that of half the pool."""

MIN_DIFFICULTY = 0.1
"""The lower end of the interval of `difficulty` from which it is worth modelling. Of simulated
pools that answer equally hard questions under one in thirty exceeds it. A spread of one logit gives
a difficulty of about 0.4 with four options and 0.8 with two."""

MIN_JUDGED = 10
"""Labelled questions that an agent must have answered to be called the best."""

LABELS = "50 to 100"
"""How many labelled questions are enough for most purposes: they give an accuracy within 10 to 14
points, enough to see which agents stand out, and whether a family is overrated."""

ENOUGH_LABELS = 50

MAX_NAMED = 6
"""Longer lists of agents end with the number of the others."""


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
        return ("Nobody answered anything: there is nothing to vote on.",)
    names = [str(name) for name in names]
    sentences = [
        _rule(diagnosis)[1],
        *_turnout(diagnosis, names),
        *_copies(diagnosis, names),
        *_independence(diagnosis),
        *_weak_agents(diagnosis, names),
        *_difficulty(diagnosis),
        *_difference(diagnosis, names),
        *_labels(diagnosis, names),
    ]
    return tuple(sentences)


def families(clones: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """Joins flagged pairs that share an agent, the families in order of their first agents.

    Example:
        >>> clones = np.zeros((5, 5), bool)
        >>> clones[0, 1] = clones[1, 3] = clones[2, 4] = True
        >>> families(clones)
        ((0, 1, 3), (2, 4))
    """
    family = np.arange(len(clones))
    for i, j in np.argwhere(clones):
        family[family == max(family[i], family[j])] = min(family[i], family[j])
    members = [np.flatnonzero(family == first) for first in np.unique(family)]
    return tuple(tuple(map(int, group)) for group in members if len(group) > 1)


def recommended_method(diagnosis: Diagnosis) -> str:
    """Names the method to take, as `recommend` says it in its first sentence.

    Args:
        diagnosis: What `diagnose` found.

    Returns:
        A name of `methods.METHODS`: "majority", "ow", "one-coin" or "item-response".

    Example:
        >>> import jax
        >>> from jaxreason.voting.diagnostics import diagnose
        >>> from jaxreason.voting.simulation import simulate_independent
        >>> answers, _ = simulate_independent(jax.random.key(0), jax.numpy.full(2, 0.7), 4, 100)
        >>> recommended_method(diagnose(answers, 4, key=jax.random.key(1), resamples=10))
        'majority'
    """
    return _rule(diagnosis)[0]


def _rule(diagnosis: Diagnosis) -> tuple[str, str]:
    """Decides which method to take, and says why."""
    return _if_little_is_known(diagnosis) or _by_findings(diagnosis)


def _if_little_is_known(diagnosis: Diagnosis) -> tuple[str, str] | None:
    """Decides if there are few agents or questions."""
    questions = int(diagnosis.rules.questions)
    voters = int(np.sum(np.asarray(diagnosis.votes) > 0))
    few = f"on {questions} question{'' if questions == 1 else 's'}"
    if voters < 2:
        return MAJORITY, "A single agent answered: its answers are the outcome under every rule."
    if not _few_labels(diagnosis) and (voters < 3 or questions < MIN_MODELLED):
        return OW, (
            f"Use ow: the labels tell how good each agent is, and {few} of "
            f"{voters} agents nothing else tells it better."
        )
    if voters < 3:
        return MAJORITY, (
            "Use majority: with fewer than three agents nothing but labels tells which one is "
            "better, and two that disagree can only tie."
        )
    if questions < MIN_QUESTIONS:
        return MAJORITY, (
            f"Use majority: {few} agents are good or lucky, and nothing tells which (about "
            f"{MIN_QUESTIONS} would do)."
        )
    return None


def _by_findings(diagnosis: Diagnosis) -> tuple[str, str]:
    """Decides by how the agents agree."""
    questions = int(diagnosis.rules.questions)
    clones = bool(np.any(np.asarray(diagnosis.clones)))
    hard = float(diagnosis.difficulty_bounds[0]) > MIN_DIFFICULTY
    reasons = ["some agents agree more than their accuracies explain"] if clones else []
    reasons += ["questions are not equally hard"] if hard else []
    if reasons and questions >= MIN_MODELLED:
        return ITEM_RESPONSE, (
            f"Use item-response: {' and '.join(reasons)}, and it models that. Rules that take "
            "agents to err independently (ow-l, one-coin) trust those that agree with each other "
            "too much."
        )
    if clones:
        return MAJORITY, (
            f"Use majority: {' and '.join(reasons)}, and on {questions} questions no model of that "
            f"can be trusted (from about {MIN_MODELLED} on, item-response)."
        )
    low, high = np.asarray(diagnosis.accuracy_bounds).T
    if np.isnan(low).all():
        return MAJORITY, (
            "Use majority: too few agents answered the same questions for agreement to tell how "
            "good they are."
        )
    if np.nanmax(low) <= np.nanmin(high):
        return MAJORITY, (
            "Use majority: as far as these answers tell the agents are equally accurate, and then "
            "no weights do better."
        )
    rates = np.asarray(diagnosis.accuracies)
    differ = (
        f"their accuracies differ ({_percent(np.nanmin(rates))} to {_percent(np.nanmax(rates))}), "
        "so that weights pay"
    )
    if hard:
        return ONE_COIN, (
            f"Use one-coin: agents seem to err independently, and {differ}. Questions are not "
            f"equally hard; to model that takes about {MIN_MODELLED} of them (item-response)."
        )
    return ONE_COIN, (
        "Use one-coin, or ow-l, which is much the same here: agents seem to err independently on "
        f"equally hard questions, and {differ}."
    )


def _turnout(diagnosis: Diagnosis, names: Sequence[str]) -> list[str]:
    """Warns of agents that answered little, or nothing that others answered."""
    votes, abstentions = np.asarray(diagnosis.votes), np.asarray(diagnosis.abstentions)
    usual = np.median(1.0 - abstentions[votes > 0])
    silent, isolated = votes == 0, np.asarray(diagnosis.isolated) & (votes > 0)
    enough = float(diagnosis.rules.questions) >= FEW_VOTES
    few = (votes > 0) & (votes < FEW_VOTES) & enough
    high = (1.0 - abstentions < (1.0 - HIGH_ABSTENTION) * usual) & (votes >= FEW_VOTES)
    sentences = []
    if silent.any():
        sentences.append(f"Never answered: {_named(silent, names)}.")
    if isolated.any() and len(names) > 1:
        sentences.append(
            f"No other agent answered the questions of {_named(isolated, names)}: nothing tells "
            "how good their answers are."
        )
    if few.any():
        counts = [f"{votes[i]:,.0f}" for i in range(len(names))]
        sentences.append(
            f"Too few answers (under {FEW_VOTES}) to estimate an accuracy: "
            f"{_named(few, names, counts)}."
        )
    if high.any():
        shares = [_percent(share) for share in abstentions]
        sentences.append(
            f"Abstain more often than others: {_named(high, names, shares)}. They are judged by "
            "the questions that they chose to answer; find out why they abstain."
        )
    return sentences


def _copies(diagnosis: Diagnosis, names: Sequence[str]) -> list[str]:
    """Warns of pairs that depend on each other, and of pairs that never disagree."""
    clones = np.triu(np.asarray(diagnosis.clones))
    copying, shared = np.asarray(diagnosis.copying), np.asarray(diagnosis.shared_errors)
    sentences = []
    if len(names) == 4 and clones.any():
        pairs = [f"{names[i]} and {names[j]}" for i, j in np.argwhere(clones)]
        sentences.append(
            f"Not independent: either {', or '.join(pairs)}, agree too often. Four agents can't "
            "tell which, so there are no accuracies without labels: label "
            f"{LABELS} questions, or add a fifth agent."
        )
    else:
        usual = np.nanmedian(shared) if np.isfinite(shared).any() else np.nan
        sentences += [_family(group, copying, shared, usual, names) for group in families(clones)]
        sentences += [_what_labels_say(diagnosis, clones)] if clones.any() else []
    agreement, counts = np.triu(np.asarray(diagnosis.agreement), 1), np.asarray(diagnosis.counts)
    same = (agreement > 1.0 - 1e-6) & (counts >= FEW_VOTES)
    sentences += [
        f"Never disagree: {_listed([names[i] for i in group])}. Either all of them are nearly "
        "always right, or they are copies and count as one; only labels tell."
        for group in families(same)
    ]
    return sentences


def _family(
    group: tuple[int, ...],
    copying: np.ndarray,
    shared: np.ndarray,
    usual: float | np.floating,
    names: Sequence[str],
) -> str:
    """Describes agents joined by flagged pairs."""
    square = np.ix_(group, group)
    i, j = np.unravel_index(np.nanargmax(copying[square]), (len(group), len(group)))
    first, second = group[int(i)], group[int(j)]
    closest = "They" if len(group) == 2 else f"The closest, {names[first]} and {names[second]},"
    sentence = (
        f"Not independent: {_listed([names[i] for i in group])}. {closest} agree as if one copied "
        f"{_percent(copying[first, second])} of its answers"
    )
    if np.isfinite(shared[first, second]):
        sentence += (
            "; where the other agents outvote both, they give the same answer "
            f"{_percent(shared[first, second])} of the time (a typical pair: {_percent(usual)})"
        )
    return f"{sentence}."


def _what_labels_say(diagnosis: Diagnosis, clones: np.ndarray) -> str:
    """Says what else than copying flagged pairs may be, or how the labels see them."""
    labelled = np.asarray(diagnosis.labelled_copying)
    if _few_labels(diagnosis) or not np.isfinite(labelled[clones]).any():
        return (
            "Agents that agree too often may be versions of one model, or be right together where "
            "most others are wrong: only labels tell."
        )
    return (
        "By the labels, flagged pairs agree as if one copied "
        f"{_percent(np.nanmedian(labelled[clones]))} of its answers at the median, against "
        f"{_percent(np.nanmedian(labelled))} for all pairs, which share easy and hard questions: "
        "the nearer the two, the more they were just right together."
    )


def _few_labels(diagnosis: Diagnosis) -> bool:
    return bool(np.max(np.asarray(diagnosis.labels)) < ENOUGH_LABELS)


def _independence(diagnosis: Diagnosis) -> list[str]:
    """Warns if the agents count for much fewer."""
    agents = len(diagnosis.votes)
    effective, labelled = float(diagnosis.effective), float(diagnosis.labelled_effective)
    shared = np.asarray(diagnosis.counts)[np.triu_indices(agents, 1)]
    if 2 * np.sum(shared >= FEW_VOTES) < len(shared):  # most pairs say little about themselves
        return []
    if np.isfinite(labelled) and not _few_labels(diagnosis):
        if labelled < LOW_EFFECTIVE * agents:
            return [
                f"By the labels, the {agents} agents vote about as well as {labelled:.1f} "
                "independent ones on equally hard questions: more agents of the same kinds will "
                "hardly help."
            ]
    elif effective < LOW_EFFECTIVE * agents:
        return [
            f"The {agents} agents vote about as well as {effective:.1f} independent ones: keep one "
            "of each family, or add agents of another kind."
        ]
    return []


def _weak_agents(diagnosis: Diagnosis, names: Sequence[str]) -> list[str]:
    """Warns of agents below chance."""
    worse = np.asarray(diagnosis.worse_than_chance)
    if not worse.any():
        return []
    labels = np.asarray(diagnosis.labels) > 0
    accuracies = np.where(labels, diagnosis.labelled_accuracies, diagnosis.accuracies)
    sentence = (
        f"Worse than chance: {_named(worse, names, [_percent(rate) for rate in accuracies])}. "
        "Check how their answers were read off, or leave them out."
    )
    if np.all(labels[worse]):
        return [sentence]
    return [f"{sentence} Without labels this takes most agents to be better than chance."]


def _difficulty(diagnosis: Diagnosis) -> list[str]:
    """Warns of what varying difficulty does to estimates without labels."""
    if not float(diagnosis.difficulty_bounds[0]) > MIN_DIFFICULTY:
        return []
    return [
        "Some questions are much harder than others: pairs of agents agree on the same questions, "
        f"{_percent(float(diagnosis.difficulty))} more often than chance would have it. Accuracies "
        "estimated without labels are too high then, and their intervals don't show it."
    ]


def _difference(diagnosis: Diagnosis, names: Sequence[str]) -> list[str]:
    """Tells how much the choice of a rule matters."""
    rules, votes = diagnosis.rules, np.asarray(diagnosis.votes)
    if int(np.sum(votes > 0)) < 3:
        return []
    full = bool(np.all(np.asarray(diagnosis.abstentions) <= 0))
    changed = float(rules.ow_l.overturned)
    if full and changed == 0 and not bool(rules.ow_l.can_differ):
        sentences = ["ow-l is the same as majority here, whatever the answers."]
    elif full and changed == 0 and not bool(rules.ow_l.can_overturn):
        sentences = ["ow-l can only break ties here: no answers can make it overturn a plurality."]
    else:
        share = "none" if changed == 0 else _percent(changed, digits=1)
        sentences = [f"ow-l changes the majority's answer on {share} of the questions not tied."]
    if float(rules.isp.overturned) == 0:
        never = full and not bool(rules.isp.can_overturn)
        sentences.append("isp can only break ties." if never else "isp changes none.")
    tied = float(rules.tied)
    share = _percent(tied, digits=1)
    sentences.append(
        f"{share} of the questions are tied under majority." if tied > 0 else "No question is tied."
    )
    dictators = np.asarray(rules.dictators) & (votes >= FEW_VOTES)
    if not dictators.any():
        return [" ".join(sentences)]
    return [
        " ".join(sentences),
        f"ow-l makes a dictator of {_named(dictators, names)}: its weight is at least all others' "
        "together. That is right if it is that good, and wrong if it only agrees with its copies.",
    ]


def _labels(diagnosis: Diagnosis, names: Sequence[str]) -> list[str]:
    """Tells what labels show, or would."""
    labels = np.asarray(diagnosis.labels)
    if np.max(labels) == 0:
        return [
            f"There are no labels: {LABELS} labelled questions would show how accurate each agent "
            "is, whether agents that agree are copies or just right, and whether the best agent "
            "alone beats the vote."
        ]
    sentences = []
    if _few_labels(diagnosis):
        most = int(np.max(labels))
        sentences.append(
            f"There are labels for {most} answer{'' if most == 1 else 's'} of an agent at most; "
            f"{LABELS} would narrow the intervals to about 10 points either way."
        )
    low, high = np.asarray(diagnosis.labelled_bounds).T
    guessed = np.asarray(diagnosis.accuracy_bounds)
    overrated = (labels > 0) & (guessed[:, 0] > high)
    if overrated.any():
        pairs = zip(diagnosis.accuracies, diagnosis.labelled_accuracies, strict=True)
        shown = [f"{_percent(float(a))}, labelled {_percent(float(b))}" for a, b in pairs]
        sentences.append(
            "More accurate by agreement than by labels: "
            f"{_named(overrated, names, shown)}. Hard questions, or errors that they share, make "
            "them agree."
        )
    rates = np.where(labels >= MIN_JUDGED, diagnosis.labelled_accuracies, -1.0)
    best = int(np.argmax(rates))
    if rates[best] >= 0:
        ends = f"{_percent(low[best])} to {_percent(high[best])}"
        sentences.append(
            f"The best agent by the labels is {names[best]}, right on {_percent(rates[best])} of "
            f"them ({ends}): compare the vote with that before you prefer it."
        )
    return sentences


def _named(chosen: np.ndarray, names: Sequence[str], notes: Sequence[str] | None = None) -> str:
    """Lists the chosen agents, each with its note."""
    indices = [int(i) for i in np.flatnonzero(chosen)]
    notes = [""] * len(names) if notes is None else [f" ({note})" for note in notes]
    return _listed([f"{names[i]}{notes[i]}" for i in indices])


def _listed(words: Sequence[str]) -> str:
    """Joins words: "a, b and c", or "a, b, ... and 4 more"."""
    if len(words) == 1:
        return words[0]
    if len(words) > MAX_NAMED:
        return f"{', '.join(words[: MAX_NAMED - 1])} and {len(words) - MAX_NAMED + 1} more"
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _percent(share: float | np.floating, digits: int = 0) -> str:
    """Formats a share, and one that only rounds to 0 as less than the last digit."""
    least = 10.0**-digits
    if 0 < 100.0 * share < 0.5 * least:
        return f"<{least:.{digits}f}%"
    return f"{100.0 * share:.{digits}f}%"
