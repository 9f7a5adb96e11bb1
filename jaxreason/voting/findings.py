"""What a diagnosis finds, in sentences: who to look at, what to doubt, what labels would show."""

from collections.abc import Sequence

import numpy as np

from jaxreason.voting.diagnostics import Diagnosis
from jaxreason.voting.wording import join_words, name_agents, percent

FEW_VOTES = 30
"""An agent with fewer is not known any better, however many questions others answered."""

HIGH_ABSTENTION = 0.25
"""Abstentions are rarely blind: an agent that answers a quarter less than the median one is judged
on what it finds easy, and its absence moves the votes on the rest."""

LOW_EFFECTIVE = 0.5
"""If fewer than half of the agents count, the vote is as noisy as that of half the pool."""

SAME = 1.0 - 1e-6
"""Agreement above this is 1."""

MIN_DIFFICULTY = 0.1
"""The lower end of the interval of `difficulty` from which it is worth modelling. Of simulated
pools that answer equally hard questions under one in thirty exceeds it. A spread of one logit gives
a difficulty of about 0.4 with four options and 0.8 with two."""

MIN_JUDGED = 10
"""Labelled questions that an agent must have answered to be called the best, or overrated."""

LABELS = "50 to 100"
"""How many labelled questions are enough for most purposes: they give an accuracy within 10 to 14
points, enough to see which agents stand out, and whether a family is overrated."""

ENOUGH_LABELS = 50


def findings(diagnosis: Diagnosis, names: Sequence[str]) -> list[str]:
    """Says what was found, one sentence or short paragraph about each thing.

    Args:
        diagnosis: What `diagnose` found; somebody answered something.
        names: What to call the agents.

    Returns:
        Sentences; nothing about what is as it should be.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxreason.voting.diagnostics import diagnose
        >>> answers = jnp.array([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, -1, 1]])
        >>> diagnosis = diagnose(answers, 2, key=jax.random.key(0), resamples=5)
        >>> print(findings(diagnosis, ["Ada", "Bob", "Cy"])[-1])
        There are no labels: 50 to 100 labelled questions would show how accurate each agent is, ...
    """
    return [
        *_turnout(diagnosis, names),
        *_copies(diagnosis, names),
        *_independence(diagnosis),
        *_weak_agents(diagnosis, names),
        *_difficulty(diagnosis),
        *_difference(diagnosis, names),
        *_labels(diagnosis, names),
    ]


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


def few_labels(diagnosis: Diagnosis) -> bool:
    """Tells whether no agent has enough labelled answers for its accuracy to be known.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxreason.voting.diagnostics import diagnose
        >>> few_labels(diagnose(jnp.array([[0, 1]]), 2, key=jax.random.key(0), resamples=5))
        True
    """
    return bool(np.max(np.asarray(diagnosis.labels)) < ENOUGH_LABELS)


def mostly_apart(diagnosis: Diagnosis) -> bool:
    """Tells whether most pairs of agents share too few questions to say anything of them.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxreason.voting.diagnostics import diagnose
        >>> mostly_apart(diagnose(jnp.array([[0, 1]]), 2, key=jax.random.key(0), resamples=5))
        True
    """
    counts = np.asarray(diagnosis.counts)
    shared = counts[np.triu_indices(len(counts), 1)]
    return bool(2 * np.sum(shared >= FEW_VOTES) < len(shared))


def equally_hard(diagnosis: Diagnosis) -> bool:
    """Tells whether nothing speaks against questions that are equally hard.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxreason.voting.diagnostics import diagnose
        >>> equally_hard(diagnose(jnp.array([[0, 1]]), 2, key=jax.random.key(0), resamples=5))
        True
    """
    return not float(diagnosis.difficulty_bounds[0]) > MIN_DIFFICULTY


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
        sentences.append(f"Never answered: {name_agents(silent, names)}.")
    if isolated.any() and len(names) > 1:
        sentences.append(
            f"No other agent answered the questions of {name_agents(isolated, names)}: nothing "
            "tells how good their answers are."
        )
    if few.any():
        counts = [f"{votes[i]:,.0f}" for i in range(len(names))]
        sentences.append(
            f"Too few answers (under {FEW_VOTES}) to estimate an accuracy: "
            f"{name_agents(few, names, counts)}."
        )
    if high.any():
        shares = [percent(share) for share in abstentions]
        sentences.append(
            f"Abstain more often than others: {name_agents(high, names, shares)}. They are judged "
            "by the questions that they chose to answer; find out why they abstain."
        )
    return sentences


def _copies(diagnosis: Diagnosis, names: Sequence[str]) -> list[str]:
    """Warns of pairs that depend on each other, and of pairs that never disagree."""
    clones = np.triu(np.asarray(diagnosis.clones))
    copying, shared = np.asarray(diagnosis.copying), np.asarray(diagnosis.shared_errors)
    sentences = []
    testable = np.isfinite(np.asarray(diagnosis.z_scores)).any(axis=1)
    if testable.sum() == 4 and clones.any():
        pairs = [f"{names[i]} and {names[j]}" for i, j in np.argwhere(clones)]
        sentences.append(
            f"Not independent: either {', or '.join(pairs)}, agree too often. Four agents can't "
            "tell which, so there are no accuracies without labels: label "
            f"{LABELS} questions, or add an agent that answers as many."
        )
    else:
        usual = np.nanmedian(shared) if np.isfinite(shared).any() else np.nan
        sentences += [_family(group, copying, shared, usual, names) for group in families(clones)]
        sentences += [_what_labels_say(diagnosis, clones)] if clones.any() else []
    agreement, counts = np.triu(np.asarray(diagnosis.agreement), 1), np.asarray(diagnosis.counts)
    same = (agreement > SAME) & (counts >= FEW_VOTES)
    sentences += [
        f"Never disagree: {join_words([names[i] for i in group])}. Either all of them are nearly "
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
        f"Not independent: {join_words([names[i] for i in group])}. {closest} agree as if one "
        f"copied {percent(copying[first, second])} of its answers"
    )
    if np.isfinite(shared[first, second]):
        sentence += (
            "; where the other agents outvote both, they give the same answer "
            f"{percent(shared[first, second])} of the time (a typical pair: {percent(usual)})"
        )
    return f"{sentence}."


def _what_labels_say(diagnosis: Diagnosis, clones: np.ndarray) -> str:
    """Says what else than copying flagged pairs may be, or how the labels see them."""
    labelled = np.asarray(diagnosis.labelled_copying)
    if few_labels(diagnosis) or not np.isfinite(labelled[clones]).any():
        return (
            "Agents that agree too often may be versions of one model, or be right together where "
            "most others are wrong: only labels tell."
        )
    return (
        "By the labels, flagged pairs agree as if one copied "
        f"{percent(np.nanmedian(labelled[clones]))} of its answers at the median, against "
        f"{percent(np.nanmedian(labelled))} for all pairs, which share easy and hard questions: "
        "the nearer the two, the more they were just right together."
    )


def _independence(diagnosis: Diagnosis) -> list[str]:
    """Warns if the agents count for much fewer."""
    agents = int(np.isfinite(np.asarray(diagnosis.copying)).any(axis=1).sum())
    effective, labelled = float(diagnosis.effective), float(diagnosis.labelled_effective)
    if mostly_apart(diagnosis):
        return []
    if np.isfinite(labelled) and not few_labels(diagnosis):
        if labelled < LOW_EFFECTIVE * agents:
            return [
                f"By the labels, the {agents} agents vote about as well as {labelled:.1f} "
                "independent ones on equally hard questions: more agents of the same kinds will "
                "hardly help."
            ]
    elif effective < LOW_EFFECTIVE * agents and not _all_the_same(diagnosis):
        return [
            f"The {agents} agents vote about as well as {effective:.1f} independent ones: keep one "
            "of each family, or add agents of another kind."
        ]
    return []


def _all_the_same(diagnosis: Diagnosis) -> bool:
    """Tells whether no two agents ever disagree, so that nothing tells copies from experts."""
    agreement, counts = np.asarray(diagnosis.agreement), np.asarray(diagnosis.counts)
    met = np.triu(counts, 1) > 0
    return bool(np.all(agreement[met] > SAME))


def _weak_agents(diagnosis: Diagnosis, names: Sequence[str]) -> list[str]:
    """Warns of agents below chance."""
    worse = np.asarray(diagnosis.worse_than_chance)
    if not worse.any():
        return []
    labels = np.asarray(diagnosis.labels) > 0
    accuracies = np.where(labels, diagnosis.labelled_accuracies, diagnosis.accuracies)
    sentence = (
        f"Worse than chance: {name_agents(worse, names, [percent(rate) for rate in accuracies])}. "
        "Check how their answers were read off, or leave them out."
    )
    if np.all(labels[worse]):
        return [sentence]
    return [f"{sentence} Without labels this takes most agents to be better than chance."]


def _difficulty(diagnosis: Diagnosis) -> list[str]:
    """Warns of what varying difficulty does to estimates without labels."""
    if equally_hard(diagnosis):
        return []
    return [
        "Some questions are much harder than others: pairs of agents agree on the same questions, "
        f"{percent(float(diagnosis.difficulty))} more often than chance would have it. Accuracies "
        "estimated without labels are too high then, and their intervals don't show it."
    ]


def _difference(diagnosis: Diagnosis, names: Sequence[str]) -> list[str]:
    """Tells how much the choice of a rule matters."""
    rules, votes = diagnosis.rules, np.asarray(diagnosis.votes)
    if int(np.sum(votes > 0)) < 3:
        return []
    sentences = _effects(diagnosis) if float(rules.tied) < 1 else []
    if float(rules.tied) in (0.0, 1.0):
        sentences.append(f"{'Every' if float(rules.tied) else 'No'} question is tied.")
    else:
        share = percent(float(rules.tied), digits=1)
        sentences.append(f"{share} of the questions are tied under majority.")
    dictators = np.asarray(rules.dictators) & (votes >= FEW_VOTES)
    if not dictators.any():
        return [" ".join(sentences)]
    return [
        " ".join(sentences),
        f"ow-l makes a dictator of {name_agents(dictators, names)}: its weight is at least all "
        "others' together. That is right if it is that good, and wrong if it only agrees with its "
        "copies.",
    ]


def _effects(diagnosis: Diagnosis) -> list[str]:
    """Tells what OW-L and ISP change where there is no tie.

    What they could change is known for questions that everybody answers, of one number of options.
    """
    rules = diagnosis.rules
    alike = bool(np.all(np.asarray(diagnosis.abstentions) <= 0)) and not bool(rules.mixed)
    changed = float(rules.ow_l.overturned)
    if alike and changed == 0 and not bool(rules.ow_l.can_differ):
        first = "ow-l is the same as majority here, whatever the answers."
    elif alike and changed == 0 and not bool(rules.ow_l.can_overturn):
        first = "ow-l can only break ties here: no answers can make it overturn a plurality."
    else:
        share = "none" if changed == 0 else percent(changed, digits=1)
        first = f"ow-l changes the majority's answer on {share} of the questions not tied."
    if float(rules.isp.overturned) > 0:
        return [first]
    never = alike and not bool(rules.isp.can_overturn)
    return [first, "isp can only break ties." if never else "isp changes none."]


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
    if few_labels(diagnosis):
        most = int(np.max(labels))
        sentences.append(
            f"There are labels for {most} answer{'' if most == 1 else 's'} of an agent at most; "
            f"{LABELS} would narrow the intervals to about 10 points either way."
        )
    low, high = np.asarray(diagnosis.labelled_bounds).T
    guessed = np.asarray(diagnosis.accuracy_bounds)
    overrated = (labels >= MIN_JUDGED) & (guessed[:, 0] > high)
    if overrated.any():
        pairs = zip(diagnosis.accuracies, diagnosis.labelled_accuracies, strict=True)
        shown = [f"{percent(float(a))}, labelled {percent(float(b))}" for a, b in pairs]
        sentences.append(
            "More accurate by agreement than by labels: "
            f"{name_agents(overrated, names, shown)}. Hard questions, or errors that they share, "
            "make them agree."
        )
    rates = np.where(labels >= MIN_JUDGED, diagnosis.labelled_accuracies, -1.0)
    best = int(np.argmax(rates))
    if rates[best] >= 0 and int(np.sum(np.asarray(diagnosis.votes) > 0)) > 1:
        ends = f"{percent(low[best])} to {percent(high[best])}"
        sentences.append(
            f"The best agent by the labels is {names[best]}, right on {percent(rates[best])} of "
            f"them ({ends}): compare the vote with that before you prefer it."
        )
    return sentences
