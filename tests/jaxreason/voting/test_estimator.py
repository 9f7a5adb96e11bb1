import numpy as np
import pandas as pd
import pytest

from jaxreason.voting import table_rules
from jaxreason.voting.estimator import Aggregator
from jaxreason.voting.methods import AUTO, METHODS, find_method
from jaxreason.voting.recommendation import recommended_method
from jaxreason.voting.table import tabulate
from jaxreason.voting.table_labels import DataError
from jaxreason.voting.table_rules import choose_method, diagnose_table

ACCURACIES = {"ann": 0.9, "ben": 0.8, "cat": 0.7, "dan": 0.6, "eve": 0.55}
LABELS = np.array(["blue", "green", "red"])


def draw(tasks=60, seed=0, abstain=0.15):
    """A long table of votes by workers who err independently, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=tasks)
    rows = []
    for worker, accuracy in ACCURACIES.items():
        right = rng.random(tasks) < accuracy
        chosen = np.where(right, truth, (truth + rng.integers(1, 3, tasks)) % 3)
        voted = np.flatnonzero(rng.random(tasks) >= abstain)
        rows += [(f"t{task}", worker, LABELS[chosen[task]]) for task in voted]
    votes = pd.DataFrame(rows, columns=["task", "worker", "label"]).sample(frac=1, random_state=0)
    return votes, pd.Series(LABELS[truth], [f"t{task}" for task in range(tasks)])


VOTES, TRUTH = draw()


def peer(name, **options):
    """An aggregator of crowd-kit."""
    aggregation = pytest.importorskip("crowdkit.aggregation", exc_type=ImportError)
    return getattr(aggregation, name)(**options)


@pytest.mark.filterwarnings("ignore")
def test_majority_agrees_with_crowd_kit():
    theirs = peer("MajorityVote").fit(VOTES)
    ours = Aggregator("majority").fit(VOTES)
    tasks, labels = theirs.probas_.index, theirs.probas_.columns
    np.testing.assert_allclose(ours.probas_.loc[tasks, labels], theirs.probas_, atol=1e-6)
    untied = ~ours.answers_["tie"].loc[tasks]
    assert 40 < untied.sum() < len(untied)
    assert (ours.labels_.loc[tasks] == theirs.labels_)[untied].all()
    clear = VOTES[VOTES["task"].isin(tasks[untied])]
    theirs, ours = peer("MajorityVote").fit(clear), Aggregator("majority").fit(clear)
    np.testing.assert_allclose(ours.skills_.loc[theirs.skills_.index], theirs.skills_, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "method, name", [("one-coin", "OneCoinDawidSkene"), ("dawid-skene", "DawidSkene")]
)
def test_dawid_skene_agrees_with_crowd_kit(method, name):
    theirs = peer(name, n_iter=100, tol=1e-5).fit(VOTES)
    ours = Aggregator(method).fit(VOTES)
    probas = ours.probas_.loc[theirs.probas_.index, theirs.probas_.columns]
    np.testing.assert_allclose(probas, theirs.probas_, atol=0.05)  # they stop at other steps
    sure = theirs.probas_.max(axis=1) > 0.6
    assert sure.sum() > 50
    assert (ours.labels_.loc[theirs.labels_.index] == theirs.labels_)[sure].all()
    if method == "one-coin":
        np.testing.assert_allclose(
            ours.skills_.loc[theirs.skills_.index], theirs.skills_, atol=0.02
        )


def test_results_are_named_and_indexed_as_crowd_kit_does():
    fitted = Aggregator("one-coin").fit(VOTES)
    assert (fitted.labels_.name, fitted.labels_.index.name) == ("agg_label", "task")
    assert (fitted.probas_.index.name, fitted.probas_.columns.name) == ("task", "label")
    assert (fitted.skills_.name, fitted.skills_.index.name) == ("skill", "worker")
    assert (fitted.weights_.name, fitted.weights_.index.name) == ("weight", "worker")
    assert list(fitted.probas_.columns) == list(LABELS)
    assert list(fitted.labels_.index) == list(pd.unique(VOTES["task"]))
    np.testing.assert_allclose(fitted.probas_.sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_most_truths_and_predicts_what_it_fitted(method):
    truth = TRUTH[:30] if METHODS[method].truth == "required" else None
    ours = Aggregator(method)
    labels = ours.fit_predict(VOTES, truth)
    assert (labels == TRUTH.loc[labels.index]).mean() > 0.75
    pd.testing.assert_series_equal(ours.predict(VOTES), labels)
    pd.testing.assert_frame_equal(ours.predict_proba(VOTES), ours.probas_)
    pd.testing.assert_frame_equal(Aggregator(method).fit_predict_proba(VOTES, truth), ours.probas_)


def test_wide_and_long_tables_give_the_same():
    wide = VOTES.pivot(index="task", columns="worker", values="label")
    ours, same = Aggregator("item-response").fit(VOTES), Aggregator("item-response").fit(wide)
    pd.testing.assert_series_equal(same.predict(wide.reset_index()), same.labels_)
    pd.testing.assert_series_equal(same.labels_.loc[ours.labels_.index], ours.labels_)
    skills = same.skills_.loc[ours.skills_.index]
    pd.testing.assert_series_equal(skills, ours.skills_, atol=1e-3)  # the sums' order differs


def test_what_was_fitted_votes_on_new_tasks_of_some_workers():
    ours = Aggregator("wawa").fit(VOTES)
    new = pd.DataFrame(
        [("x", "eve", "red"), ("x", "ann", "blue"), ("y", "dan", "green")],
        columns=["task", "worker", "label"],
    )
    assert ours.predict(new).to_dict() == {"x": "blue", "y": "green"}
    probas = ours.predict_proba(new)
    weight = ours.skills_["ann"] / (ours.skills_["ann"] + ours.skills_["eve"])
    np.testing.assert_allclose(probas.loc["x"], [weight, 0.0, 1.0 - weight], atol=1e-6)
    assert list(ours.labels_.index) == list(pd.unique(VOTES["task"]))  # of the fit, as before


def test_the_truth_of_some_tasks_gives_ow_its_accuracies():
    ours = Aggregator("ow").fit(VOTES, TRUTH)
    right = VOTES["label"].to_numpy() == TRUTH.loc[VOTES["task"]].to_numpy()
    shares = pd.Series(right, VOTES["worker"].to_numpy()).groupby(level=0).mean()
    np.testing.assert_allclose(ours.skills_.loc[shares.index], shares, atol=0.02)
    assert ours.weights_.idxmax() == "ann"


def test_truth_that_a_method_does_not_read_is_noted():
    assert Aggregator("isp").fit(VOTES, TRUTH).notes_ == (
        "The method isp makes no use of the truth.",
    )
    assert Aggregator("one-coin").fit(VOTES, TRUTH).notes_ == ()


def test_auto_is_the_method_that_the_diagnosis_recommends(monkeypatch):
    table = tabulate(VOTES)
    name = recommended_method(diagnose_table(table, seed=3))
    ours = Aggregator(seed=3).fit(VOTES)
    assert ours.method_ == name
    named = Aggregator(name).fit(VOTES)
    pd.testing.assert_series_equal(ours.predict(VOTES), named.labels_)
    pd.testing.assert_frame_equal(ours.predict_proba(VOTES), named.probas_)
    assert choose_method(AUTO, table, seed=3).name == name
    chosen = {"auto": name, "isp": "isp", "majority": "majority"}
    diagnosis = diagnose_table(table, seed=3)
    monkeypatch.setattr(table_rules, "diagnose_table", None)  # as it is known, or not needed
    for given, expected in chosen.items():
        assert choose_method(given, table, diagnosis).name == expected
    assert Aggregator("wawa").fit(VOTES).method_ == "wawa"


def test_auto_takes_what_is_recommended(monkeypatch):
    for name in ("wawa", "majority"):
        monkeypatch.setattr(table_rules, "recommended_method", lambda diagnosis, name=name: name)
        assert Aggregator().fit(VOTES).method_ == name


def test_the_truth_may_be_a_dict():
    ours = Aggregator("ow").fit(VOTES, TRUTH[:30].to_dict())
    pd.testing.assert_series_equal(ours.skills_, Aggregator("ow").fit(VOTES, TRUTH[:30]).skills_)


@pytest.mark.parametrize(
    "data, truth, sentence",
    [
        (np.zeros((3, 2)), None, "A table of votes is a pandas DataFrame; got ndarray."),
        (VOTES.to_dict("list"), None, "A table of votes is a pandas DataFrame; got dict."),
        (VOTES, np.zeros(3), "The truth is a Series or dict of right labels by task, such as"),
        (VOTES, TRUTH.to_frame(), "got DataFrame."),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_data_of_other_types_are_told(data, truth, sentence):
    with pytest.raises(DataError) as raised:
        Aggregator("one-coin").fit(data, truth)
    assert sentence in str(raised.value)
    with pytest.raises(DataError, match="A table of votes is a pandas DataFrame; got ndarray"):
        Aggregator("majority").fit(VOTES).predict(np.zeros((3, 2)))


def test_it_shows_its_settings():
    assert repr(Aggregator()) == "Aggregator(method='auto')"
    assert repr(Aggregator("isp")) == "Aggregator(method='isp')"
    changed = Aggregator("majority", seed=1, ties="random", open_ended=True, duplicates="last")
    assert repr(changed) == (
        "Aggregator(method='majority', ties='random', seed=1, open_ended=True, duplicates='last')"
    )


def test_tasks_and_workers_without_votes_are_kept_without_answer_and_skill():
    votes = pd.DataFrame({"task": [1, 2, 3], "a": [5, 6, None], "b": [5, 6, None], "c": [None] * 3})
    ours = Aggregator("majority").fit(votes)
    assert ours.labels_.iloc[:2].tolist() == [5, 6]
    assert ours.labels_.isna().tolist() == [False, False, True]
    assert ours.skills_.isna().tolist() == [False, False, True]
    assert np.isnan(ours.answers_["confidence"].iloc[2])
    assert not ours.answers_["tie"].iloc[2]
    assert len(ours.notes_) == 3
    assert Aggregator("majority").fit_predict(votes[:2]).dtype == np.int64


def test_open_ended_answers_have_confidences_and_no_common_probabilities():
    votes = pd.DataFrame({"task": [1, 2], "a": ["3", "4"], "b": ["3", "7"], "c": ["5", "7"]})
    ours = Aggregator("majority", open_ended=True).fit(votes)
    assert ours.labels_.to_dict() == {1: "3", 2: "7"}
    assert ours.answers_["runner_up"].to_dict() == {1: "5", 2: "4"}
    np.testing.assert_allclose(ours.answers_["confidence"], 2 / 3, rtol=1e-6)
    assert ours.probas_ is None
    assert ours.predict(votes).to_dict() == {1: "3", 2: "7"}
    for call in (ours.predict_proba, ours.fit_predict_proba):
        with pytest.raises(DataError, match="take answers_"):
            call(votes)
    with pytest.raises(DataError, match="needs labels that mean the same in every task"):
        Aggregator("dawid-skene", open_ended=True).fit(votes)


def test_multiple_choice_gives_no_probability_to_options_that_a_task_has_not():
    votes = pd.DataFrame(
        {"task": [1, 2], "num_options": [2, 4], "a": ["A", "B"], "b": ["A", "D"], "c": ["B", "D"]}
    )
    ours = Aggregator("ow-l").fit(votes)
    assert list(ours.probas_.columns) == list("ABCD")
    assert ours.probas_.loc[1, ["C", "D"]].tolist() == [0.0, 0.0]
    assert ours.weights_ is None  # they depend on the number of options
    assert ours.labels_.to_dict() == {1: "A", 2: "D"}
    assert ours.predict(votes[:1]).to_dict() == {1: "A"}
    wider = votes.assign(num_options=[2, 5])
    assert list(ours.predict_proba(wider).columns) == list("ABCDE")
    with pytest.raises(DataError, match="Either both tables, of fit and predict, have num_options"):
        ours.predict(votes.drop(columns="num_options"))
    with pytest.raises(DataError, match="The fit knows 4 options; a task now has 5"):
        Aggregator("dawid-skene").fit(votes).predict(wider)


def test_ties_go_to_the_first_label_or_to_one_at_random():
    votes = pd.DataFrame({"task": range(40), "a": "x", "b": "y"})
    first = Aggregator("majority").fit(votes)
    assert set(first.labels_) == {"x"}
    assert first.answers_["tie"].all()
    assert set(first.answers_["runner_up"]) == {"y"}
    drawn = Aggregator("majority", ties="random", seed=1).fit_predict(votes)
    assert 10 < (drawn == "x").sum() < 30
    pd.testing.assert_series_equal(
        Aggregator("majority", ties="random", seed=1).fit_predict(votes), drawn
    )


def test_what_predict_cannot_use_is_told():
    ours = Aggregator("majority").fit(VOTES)
    row = VOTES.iloc[:1]
    with pytest.raises(DataError, match=r"Every worker must have been in the fit .* got 'zoe'\."):
        ours.predict(row.assign(worker="zoe"))
    with pytest.raises(DataError, match=r"Labels must be among 'blue', .* got 'pink'\."):
        ours.predict(row.assign(label="pink"))
    with pytest.raises(DataError, match="Call fit before predict"):
        Aggregator().predict(VOTES)


def test_wrong_settings_are_told_at_once():
    with pytest.raises(ValueError, match="did you mean majority"):
        Aggregator("majorty")
    with pytest.raises(ValueError, match="ties must be 'first' or 'random'; got 'split'"):
        Aggregator(ties="split")
    with pytest.raises(ValueError, match="duplicates must be one of 'error', 'first', 'last'; got"):
        Aggregator(duplicates="all")
    with pytest.raises(DataError, match="give the truth of some"):
        Aggregator("ow").fit(VOTES)
    with pytest.raises(ValueError, match="did you mean auto.*Known: auto, majority"):
        Aggregator("automatic")
    with pytest.raises(ValueError, match="Which method auto is depends on the votes"):
        find_method(AUTO)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, "1", None, True])
@pytest.mark.usefixtures("as_users_run_it")
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ValueError, match=r"seed must be a whole number from 0 to 2\^32 - 1; got"):
        Aggregator(seed=seed)


@pytest.mark.parametrize("seed", [0, 2**32 - 1, np.int64(7)])
@pytest.mark.usefixtures("as_users_run_it")
def test_any_whole_number_seeds_the_draws(seed):
    votes = pd.DataFrame({"task": range(9), "a": "x", "b": "y"})
    assert set(Aggregator("majority", ties="random", seed=seed).fit_predict(votes)) == {"x", "y"}
