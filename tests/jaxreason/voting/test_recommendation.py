"""What is said of pools with known faults, most of them edited into one clean diagnosis."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.voting.diagnostics import diagnose
from jaxreason.voting.findings import families
from jaxreason.voting.methods import METHODS
from jaxreason.voting.recommendation import advise, recommend, recommended_method
from jaxreason.voting.simulation import simulate_clones, simulate_independent

NAMES = ["Ada", "Bob", "Cy", "Dee", "Eve", "Flo"]
X = jnp.array([0.45, 0.5, 0.6, 0.7, 0.75, 0.8])
run = jax.jit(diagnose, static_argnames=("num_options", "max_options", "resamples"))


@pytest.fixture(scope="module")
def clean():
    """Six independent agents of different accuracies, 600 questions, no labels."""
    answers, _ = simulate_independent(jax.random.key(0), X, 4, 600)
    truth = jnp.full(600, -1)
    return run(answers, 4, truth=truth, key=jax.random.key(1), resamples=30)


def with_entries(matrix, entries):
    """The matrix with symmetric entries replaced."""
    for (i, j), value in entries.items():
        matrix = matrix.at[i, j].set(value).at[j, i].set(value)
    return matrix


def with_labels(diagnosis, number, accuracies):
    half = 1 / np.sqrt(number)
    return dataclasses.replace(
        diagnosis,
        labels=jnp.full(6, float(number)),
        labelled_accuracies=accuracies,
        labelled_bounds=jnp.stack([accuracies - half, accuracies + half], axis=1),
    )


def said(diagnosis, words, names=NAMES):
    """The one sentence that contains the words."""
    (sentence,) = [text for text in recommend(diagnosis, names) if words in text]
    return sentence


def silent_on(diagnosis, words):
    return not any(words in text for text in recommend(diagnosis, NAMES))


def test_a_clean_pool_gets_weights_and_no_warnings(clean):
    rule, difference, labels = recommend(clean, NAMES)
    assert rule.startswith("Use one-coin: agents seem to err independently, and their accuracies")
    low, high = (
        f"{100 * float(end):.0f}%" for end in (clean.accuracies.min(), clean.accuracies.max())
    )
    assert f"differ ({low} to {high})" in rule  # of the estimates, not of their intervals
    assert rule.endswith("ow-l is much the same here.")
    assert difference.startswith("ow-l changes the majority's answer on ")
    assert labels.startswith("There are no labels: 50 to 100 labelled questions")


def test_every_sentence_ends_as_one_and_has_no_unknown_number(clean):
    odd = dataclasses.replace(
        with_labels(clean, 60, X - 0.3),
        clones=with_entries(clean.clones, {(0, 1): True, (1, 4): True, (2, 3): True}),
        agreement=with_entries(clean.agreement, {(2, 5): 1.0}),
        abstentions=jnp.full(6, 0.4),
        difficulty=jnp.array(0.5),
        difficulty_bounds=jnp.array([0.3, 0.7]),
        effective=jnp.array(2.0),
        labelled_effective=jnp.array(1.5),
        worse_than_chance=clean.worse_than_chance.at[3].set(True),
    )
    for diagnosis in (clean, odd):
        for text in recommend(diagnosis, NAMES):
            assert text.endswith(".") and "nan" not in text and "  " not in text


def test_dependence_or_difficulty_asks_for_item_response(clean):
    copies = dataclasses.replace(clean, clones=with_entries(clean.clones, {(0, 1): True}))
    hard = dataclasses.replace(clean, difficulty_bounds=jnp.array([0.2, 0.6]))
    assert said(copies, "Use item-response").startswith(
        "Use item-response: some agents agree more than"
    )
    assert said(hard, "Use item-response").startswith(
        "Use item-response: questions are not equally hard"
    )


def with_questions(diagnosis, number):
    rules = dataclasses.replace(diagnosis.rules, questions=jnp.array(float(number)))
    return dataclasses.replace(diagnosis, rules=rules)


COPIES = {"clones": jnp.eye(6, dtype=bool)[::-1]}
HARD = {"difficulty_bounds": jnp.array([0.2, 0.6])}
EQUAL = {"accuracy_bounds": jnp.tile(jnp.array([[0.5, 0.7]]), (6, 1))}
UNKNOWN = {"accuracy_bounds": jnp.full((6, 2), jnp.nan)}
TWO = {"votes": jnp.array([600.0, 600.0, 0.0, 0.0, 0.0, 0.0])}
SPARSE = {"votes": jnp.array([600.0, 29.0, 29.0, 29.0, 29.0, 5.0])}
ONE = {"votes": jnp.array([600.0, 0.0, 0.0, 0.0, 0.0, 0.0])}
NONE = {"votes": jnp.zeros(6)}
LABELLED = {"labels": jnp.full(6, 50.0)}


@pytest.mark.parametrize(
    "questions, changes, method",
    [
        (600, {}, "one-coin"),
        (30, {}, "one-coin"),
        (29, {}, "majority"),
        (600, EQUAL, "majority"),
        (600, UNKNOWN, "majority"),
        (600, TWO, "majority"),
        (600, ONE, "majority"),
        (600, SPARSE, "wawa"),
        (600, SPARSE | HARD | COPIES, "wawa"),
        (29, SPARSE, "majority"),
        (199, SPARSE | LABELLED, "ow"),
        (0, NONE, "majority"),
        (200, COPIES, "item-response"),
        (199, COPIES, "majority"),
        (200, HARD, "item-response"),
        (199, HARD, "one-coin"),
        (199, HARD | EQUAL, "majority"),
        (199, HARD | COPIES, "majority"),
        (29, HARD | COPIES, "majority"),
        (200, HARD | COPIES | EQUAL | UNKNOWN, "item-response"),
        (200, COPIES | TWO, "majority"),
        (199, LABELLED, "ow"),
        (29, LABELLED, "ow"),
        (600, LABELLED | TWO, "ow"),
        (600, LABELLED | ONE, "majority"),
        (200, LABELLED, "one-coin"),
        (200, LABELLED | HARD, "item-response"),
        (29, {"labels": jnp.full(6, 49.0)}, "majority"),
    ],
)
def test_the_method_follows_from_the_findings_and_the_sentence_says_so(
    clean, questions, changes, method
):
    diagnosis = dataclasses.replace(with_questions(clean, questions), **changes)
    assert recommended_method(diagnosis) == method
    assert method in METHODS
    if questions:
        assert recommend(diagnosis, NAMES)[0].startswith(
            f"Use {method}: {advise(diagnosis).reason}."
        )


def test_slight_difficulty_does_not(clean):
    slight = dataclasses.replace(clean, difficulty_bounds=jnp.array([0.05, 0.3]))
    assert silent_on(slight, "item-response") and silent_on(slight, "harder")


def test_equal_agents_and_few_questions_leave_the_majority(clean):
    wide = jnp.tile(jnp.array([[0.5, 0.7]]), (6, 1))
    equal = dataclasses.replace(clean, accuracy_bounds=wide)
    assert said(equal, "Use ").startswith("Use majority: as far as these answers tell")
    few = with_questions(clean, 20)
    assert said(few, "Use ").startswith("Use majority: on 20 questions agents")
    unknown = dataclasses.replace(clean, accuracy_bounds=wide * jnp.nan)
    assert said(unknown, "Use ").startswith("Use majority: too few agents answered the same")


def test_flagged_agents_are_named_as_families(clean):
    diagnosis = dataclasses.replace(
        clean,
        clones=with_entries(clean.clones, {(0, 1): True, (1, 4): True, (2, 3): True}),
        copying=with_entries(clean.copying, {(0, 1): 0.62, (1, 4): 0.71, (2, 3): 0.3}),
        shared_errors=jnp.full((6, 6), 0.33).at[1, 4].set(0.8).at[4, 1].set(0.8),
    )
    assert said(diagnosis, "Ada") == (
        "Not independent: Ada, Bob and Eve. The closest, Bob and Eve, agree as if one copied 71% "
        "of its answers; where the other agents outvote both, they give the same answer 80% of the "
        "time (a typical pair: 33%)."
    )
    assert said(diagnosis, "Cy").startswith("Not independent: Cy and Dee. They agree as if")
    assert said(diagnosis, "be right together").endswith("only labels tell.")


def test_labels_tell_copies_from_agents_that_are_right_together(clean):
    flags = with_entries(clean.clones, {(0, 1): True})
    copying = with_entries(jnp.full((6, 6), 0.2), {(0, 1): 0.55})
    diagnosis = dataclasses.replace(
        with_labels(clean, 80, X), clones=flags, labelled_copying=copying
    )
    sentence = said(diagnosis, "By the labels, flagged pairs")
    assert "55% of its answers at the median, against 20% for all pairs" in sentence
    few = dataclasses.replace(with_labels(clean, 20, X), clones=flags, labelled_copying=copying)
    assert said(few, "only labels tell")
    assert said(few, "There are labels for 20 answers of an agent at most")


def test_four_agents_are_told_that_either_pair_may_copy():
    x, parents = jnp.array([0.6, 0.6, 0.8, 0.8]), jnp.array([0, 0, 2, 3])
    answers, _ = simulate_clones(jax.random.key(0), x, 4, 600, parents=parents, rho=0.9)
    diagnosis = run(answers, 4, key=jax.random.key(1), resamples=30)
    sentence = said(diagnosis, "Not independent", NAMES[:4])
    assert "either Ada and Bob, or Cy and Dee, agree too often" in sentence
    assert recommend(diagnosis, NAMES[:4])[0].startswith("Use item-response")


def test_agents_that_never_disagree_are_named(clean):
    diagnosis = dataclasses.replace(
        clean, agreement=with_entries(clean.agreement, {(1, 2): 1.0, (2, 5): 1.0})
    )
    assert said(diagnosis, "Never disagree").startswith("Never disagree: Bob, Cy and Flo. Either")
    seldom = dataclasses.replace(diagnosis, counts=jnp.full((6, 6), 29.0))
    assert silent_on(seldom, "Never disagree")


def test_turnout_is_commented(clean):
    diagnosis = dataclasses.replace(
        clean,
        votes=jnp.array([0.0, 12.0, 400.0, 600.0, 600.0, 600.0]),
        abstentions=jnp.array([1.0, 0.98, 0.333, 0.0, 0.0, 0.0]),
        isolated=jnp.array([True, True, False, False, False, False]),
    )
    assert said(diagnosis, "Never answered") == "Never answered: Ada."
    assert said(diagnosis, "Too few answers").endswith("an accuracy: Bob (12).")
    assert said(diagnosis, "Abstain more").startswith("Abstain more often than others: Cy (33%).")
    assert said(diagnosis, "No other agent answered the questions of Bob")


def test_where_everybody_answers_little_nobody_abstains_often(clean):
    usual = dataclasses.replace(clean, abstentions=jnp.full(6, 0.95))
    assert silent_on(usual, "Abstain more often")
    # Three quarters of the median turnout of 20% are 15%.
    odd = jnp.array([0.8, 0.8, 0.8, 0.8, 0.849, 0.851])
    seldom = said(dataclasses.replace(clean, abstentions=odd), "Abstain more often")
    assert seldom.startswith("Abstain more often than others: Flo (85%). They")


def test_agents_worse_than_chance_are_named_with_the_accuracy_that_shows_it(clean):
    worse = dataclasses.replace(clean, worse_than_chance=clean.worse_than_chance.at[3].set(True))
    shown = f"Worse than chance: Dee ({100 * float(clean.accuracies[3]):.0f}%)."
    assert said(worse, "Worse than chance").startswith(shown)
    assert "Without labels this takes most agents" in said(worse, "Worse than chance")
    labelled = with_labels(worse, 90, X.at[3].set(0.03))
    assert said(labelled, "Worse than chance").startswith("Worse than chance: Dee (3%).")
    assert "Without labels" not in said(labelled, "Worse than chance")


def test_few_effective_agents_are_counted(clean):
    few = dataclasses.replace(clean, effective=jnp.array(2.345))
    assert said(few, "independent ones").startswith("The 6 agents vote about as well as 2.3 ")
    assert silent_on(dataclasses.replace(clean, effective=jnp.array(3.1)), "independent ones")
    apart = clean.counts.at[:4, :4].set(29.0)  # 6 of 15 pairs
    assert said(dataclasses.replace(few, counts=apart), "independent ones")
    apart = clean.counts.at[:5, :5].set(29.0)  # 10 of 15
    assert silent_on(dataclasses.replace(few, counts=apart), "independent ones")
    labelled = dataclasses.replace(with_labels(few, 60, X), labelled_effective=jnp.array(1.5))
    assert said(labelled, "independent ones").startswith("By the labels, the 6 agents vote about")
    assert "as well as 1.5 independent" in said(labelled, "independent ones")


def test_difficulty_warns_of_accuracies_without_labels(clean):
    hard = dataclasses.replace(
        clean, difficulty=jnp.array(0.69), difficulty_bounds=jnp.array([0.6, 0.8])
    )
    assert "agree on the same questions, 69% more often than chance" in said(hard, "much harder")


@pytest.mark.parametrize(
    "can_differ, can_overturn, overturned, words",
    [
        (False, False, 0.0, "ow-l is the same as majority here, whatever the answers."),
        (True, False, 0.0, "ow-l can only break ties here: no answers can make it overturn a"),
        (True, True, 0.0, "ow-l changes the majority's answer on none of the questions"),
        (True, True, 0.0123, "ow-l changes the majority's answer on 1.2% of the questions"),
        (True, True, 0.0002, "ow-l changes the majority's answer on <0.1% of the questions"),
    ],
)
def test_how_much_the_rule_matters_is_told(clean, can_differ, can_overturn, overturned, words):
    effect = dataclasses.replace(
        clean.rules.ow_l,
        can_differ=jnp.array(can_differ),
        can_overturn=jnp.array(can_overturn),
        overturned=jnp.array(overturned),
    )
    rules = dataclasses.replace(clean.rules, ow_l=effect, tied=jnp.array(0.0597))
    sentence = said(dataclasses.replace(clean, rules=rules), "tied under majority")
    assert sentence.startswith(words)
    assert "isp can only break ties. 6.0% of the questions are tied" in sentence


@pytest.mark.parametrize("can_differ", [False, True])
def test_what_no_answers_can_do_is_said_only_of_what_everybody_answers(clean, can_differ):
    effect = dataclasses.replace(
        clean.rules.ow_l,
        can_differ=jnp.array(can_differ),
        can_overturn=jnp.array(False),
        overturned=jnp.array(0.0),
    )
    still = dataclasses.replace(clean.rules, ow_l=effect, isp=effect)
    sentence = said(dataclasses.replace(clean, rules=still), " tied")
    assert "answers" in sentence and "isp can only break ties." in sentence
    plain = (
        "ow-l changes the majority's answer on none of the questions not tied. isp changes none."
    )
    absent = clean.abstentions.at[3].set(1 / 600)
    mixed = dataclasses.replace(still, mixed=jnp.array(True))
    for odd in ({"abstentions": absent, "rules": still}, {"rules": mixed}):
        assert said(dataclasses.replace(clean, **odd), " tied").startswith(plain)
    changing = dataclasses.replace(effect, overturned=jnp.array(0.02))
    rules = dataclasses.replace(clean.rules, ow_l=changing, isp=changing)
    sentence = said(dataclasses.replace(clean, rules=rules), " tied")
    assert "on 2.0% of the questions" in sentence and "isp" not in sentence


def test_all_or_no_questions_tied(clean):
    rules = dataclasses.replace(clean.rules, tied=jnp.array(0.0))
    assert "No question is tied." in said(dataclasses.replace(clean, rules=rules), " tied")
    answers = jnp.tile(jnp.array([0, 0, 1, 1]), (40, 1))
    diagnosis = run(answers, 2, key=jax.random.key(1), resamples=5)
    assert said(diagnosis, "is tied", NAMES[:4]) == "Every question is tied."


def test_a_dictator_is_named(clean):
    rules = dataclasses.replace(clean.rules, dictators=jnp.arange(6) == 5)
    dictator = dataclasses.replace(clean, rules=rules)
    assert said(dictator, "dictator").startswith("ow-l makes a dictator of Flo:")
    seldom = dataclasses.replace(dictator, votes=clean.votes.at[5].set(29.0))
    assert silent_on(seldom, "dictator")


def test_where_all_agree_nobody_is_called_a_copy(clean):
    same = dataclasses.replace(
        clean, effective=jnp.array(1.0), agreement=jnp.ones_like(clean.agreement)
    )
    assert said(same, "Never disagree") and silent_on(same, "independent ones")


def test_a_single_agent_is_not_compared_with_itself(clean):
    alone = dataclasses.replace(with_labels(clean, 60, X), **ONE)
    assert silent_on(alone, "The best agent by the labels")


def test_few_labels_make_nobody_the_best(clean):
    few = with_labels(clean, 9, X)
    assert silent_on(few, "The best agent by the labels")
    assert said(few, "There are labels").startswith("There are labels for 9 answers of an agent at")
    one = with_labels(clean, 1, X)
    assert said(one, "There are labels").startswith("There are labels for 1 answer of an agent at")
    some = dataclasses.replace(with_labels(clean, 10, X), labels=jnp.full(6, 10.0).at[5].set(9.0))
    assert said(some, "The best agent by the labels").startswith(
        "The best agent by the labels is E"
    )


def test_labels_show_who_is_overrated_and_who_is_best(clean):
    labelled = X.at[4].set(0.3)
    diagnosis = with_labels(clean, 400, labelled)
    guessed = 100 * float(clean.accuracies[4])
    shown = f"More accurate by agreement than by labels: Eve ({guessed:.0f}%, labelled 30%)."
    assert any(shown in text for text in recommend(diagnosis, NAMES))
    best = "The best agent by the labels is Flo, right on 80% of them (75% to 85%)"
    assert any(best in text for text in recommend(diagnosis, NAMES))
    few = dataclasses.replace(diagnosis, labels=jnp.full(6, 9.0))
    assert silent_on(few, "More accurate by agreement")


def test_long_lists_end_with_a_number(clean):
    names = [f"agent {i}" for i in range(6)] + ["agent 6"]
    answers = jnp.tile(jnp.arange(30)[:, None] % 3, (1, 7))
    diagnosis = run(answers, 3, key=jax.random.key(1), resamples=5)
    sentence = said(diagnosis, "Never disagree", names)
    assert sentence.startswith("Never disagree: agent 0, agent 1, agent 2, agent 3, agent 4 and 2 ")


@pytest.mark.parametrize(
    "answers, words",
    [
        (jnp.array([[0], [1]]), "Use majority: a single agent's answers are the outcome"),
        (jnp.array([[0, 1, -1], [1, 1, -1]]), "Use majority: with fewer than three agents"),
        (jnp.array([[0, 1, 1]]), "Use majority: on 1 question agents"),
        (jnp.full((1, 3), -1), "Nobody answered a question with two options"),
    ],
)
def test_tiny_inputs_get_a_sentence(answers, words):
    diagnosis = run(answers, 2, key=jax.random.key(0), resamples=5)
    sentences = recommend(diagnosis, NAMES[: answers.shape[1]])
    assert sentences[0].startswith(words)
    assert not any("nan" in text for text in sentences)


def test_names_must_match(clean):
    with pytest.raises(ValueError, match="one for each of 6 agents; got 2"):
        recommend(clean, ["Ada", "Bob"])


def test_families_are_joined_along_chains():
    clones = np.zeros((6, 6), bool)
    clones[[0, 1, 3], [5, 2, 5]] = True
    assert families(clones) == ((0, 3, 5), (1, 2))
    assert families(clones | clones.T) == ((0, 3, 5), (1, 2))
    assert families(np.zeros((3, 3), bool)) == ()
