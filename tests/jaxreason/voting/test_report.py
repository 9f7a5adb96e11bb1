"""The report on tables with something odd, without the command around it."""

import pandas as pd
import pytest

from jaxreason.voting.evaluation import evaluate, judged_tasks
from jaxreason.voting.methods import find_method
from jaxreason.voting.report import report_text
from jaxreason.voting.table import tabulate
from jaxreason.voting.table_rules import (
    describe_answers,
    diagnose_table,
    fit_table,
    vote_on_table,
)


def report(data, method, truth=None, **settings):
    """Returns the report in one line, and the answers."""
    table, rule = tabulate(data, truth, **settings), find_method(method)
    votes = vote_on_table(rule, fit_table(rule, table), table, ties="first")
    judged = evaluate(rule, table) if judged_tasks(table).any() else None
    text = report_text(table, rule, votes, diagnose_table(table), judged)
    return " ".join(text.split()), describe_answers(table, votes)["answer"]


def test_single_options_are_counted_as_such():
    data = pd.DataFrame({"task": ["x", "y"], "a": "A", "b": "A", "num_options": 1})
    text, _ = report(data, "majority")
    assert "2 tasks, 2 workers, 4 votes; 1 option a task, 'A'." in text
    assert "Nobody answered a question with two options or more: nothing to vote on." in text


@pytest.mark.parametrize("open_ended", [False, True])
def test_answers_that_nobody_gave_are_counted(open_ended):
    good = pd.Series(["A", "B"] * 10, [f"t{task}" for task in range(20)])
    data = pd.DataFrame({"bad": good.to_numpy()[::-1], "one": good, "two": good}, good.index)
    data.loc["t0", ["one", "two"]] = None  # only the worker who is always wrong
    text, answers = report(data, "ow", good[1:], open_ended=open_ended)
    assert "On 1 task it takes none of the labels given there, for it takes who voted" in text
    assert ("to be wrong; the answer is left empty there." in text) == open_ended
    assert answers.isna().tolist() == [open_ended] + 19 * [False]
    assert open_ended or answers["t0"] == "A"  # "B" was given


def test_labelled_tasks_without_a_vote_are_told_and_not_judged():
    data = pd.DataFrame({"task": range(40), "a": "x", "b": "x", "c": ["x", "y"] * 20})
    data.loc[30:, ["a", "b", "c"]] = None
    table = tabulate(data, dict.fromkeys(range(40), "x"))
    told = "10 labelled tasks without any vote, not counted where accuracies are measured"
    assert any(note.startswith(told) for note in table.notes)
    text, _ = report(data, "majority", dict.fromkeys(range(40), "x"))
    assert "Accuracy on 30 labelled tasks: accuracy 95% interval majority 100.0%" in text
    text, _ = report(data, "majority", {35: "x"})
    assert "Accuracy on" not in text
