import numpy as np
import pandas as pd
import pytest

from jaxreason.voting.table import as_text, tabulate
from jaxreason.voting.table_labels import DataError, listed, quoted, shown

LONG = pd.DataFrame(
    [("q1", "ann", "x"), ("q1", "ben", "y"), ("q2", "ann", "y"), ("q2", "ben", "y")],
    columns=["task", "worker", "label"],
)
PIVOTED = LONG.pivot(index="task", columns="worker", values="label")
WIDE = PIVOTED.reset_index()


def meaning(table):
    """What each worker said to each task, however the table was laid out."""
    return pd.DataFrame(
        np.append(table.labels, None)[table.answers], list(table.tasks), list(table.workers)
    ).to_dict()


DIFFER = "differ only in case, spaces or coding"
VOTES = {"ann": {"q1": "x", "q2": "y"}, "ben": {"q1": "y", "q2": "y"}}


@pytest.mark.parametrize(
    "data",
    [
        LONG,
        LONG.rename(columns={"task": "Task", "worker": "WORKER", "label": " Label "}),
        LONG[["label", "task", "worker"]],
        LONG.set_index("task"),
        LONG.set_index(["task", "worker"]),
        WIDE,
        WIDE[["ann", "task", "ben"]],
        WIDE[["ann", "ben", "task"]].rename(columns={"task": "Question"}),
        WIDE.rename(columns={"task": "item"}),
        PIVOTED,
        PIVOTED.rename_axis(index=None),
        PIVOTED.rename_axis("item"),
        PIVOTED.rename_axis(index="QUESTION", columns=None),
        LONG.astype("category").pivot(index="task", columns="worker", values="label"),
        PIVOTED.reset_index(names=""),
        PIVOTED.reset_index(names="Unnamed: 0"),
        WIDE.rename(columns={"task": np.nan}),
        PIVOTED.rename_axis(index=7),
    ],
)
def test_a_table_means_the_same_wherever_its_columns_stand(data):
    before = data.copy()
    table = tabulate(data)
    assert meaning(table) == VOTES
    by_place = {name for name in ("item", 7) if name in (*data.columns, data.index.name)}
    assert table.notes == tuple(
        f"The first column, {name!r}, names the tasks." for name in by_place
    )
    assert meaning(tabulate(as_text(data))) == VOTES
    pd.testing.assert_frame_equal(data, before)


def test_the_column_num_options_stands_anywhere_and_may_have_capitals():
    options = WIDE.replace({"x": "A", "y": "B"})
    options.insert(0, "Num_Options", 3)
    table = tabulate(options.rename(columns={"task": "item"}))
    assert table.num_options.tolist() == [3, 3]
    assert list(table.workers) == ["ann", "ben"]
    assert list(table.tasks) == ["q1", "q2"]


@pytest.mark.parametrize("name", ["", " ", "Unnamed: 0", None])
@pytest.mark.parametrize("data", [LONG, WIDE, WIDE.rename(columns={"task": "question"})])
def test_a_first_column_without_a_name_is_left_out_beside_the_tasks(data, name):
    numbered = data.copy()
    numbered.insert(0, name, range(len(data)))
    for table in (tabulate(numbered), tabulate(as_text(numbered))):
        assert meaning(table) == VOTES
        assert table.notes == ("The first column has no name and was not used.",)


def test_columns_of_a_long_table_that_are_not_used_are_told_and_left_as_they_are():
    extra = LONG.assign(comment=[["list"], 1, "text", None], time=0.5)
    assert tabulate(extra).notes == ("Columns not used: comment, time.",)
    text = as_text(extra)
    assert text["comment"].tolist() == [["list"], 1, "text", None]
    assert tabulate(text).notes == ("Columns not used: comment, time.",)
    many = LONG.assign(**{f"c{number}": 0 for number in range(10)})
    assert tabulate(many).notes == ("Columns not used: c0, c1, c2, c3, c4, c5, c6, c7 and 2 more.",)


def test_names_that_differ_only_in_case_or_spaces_are_told():
    data = pd.DataFrame({"task": ["T", "u ", "t", "u"], "Ann": list("xyxy"), "ann ": "x"})
    assert tabulate(data).notes == (
        f"Tasks that {DIFFER} count as different: 'T', 't', 'u ' and 1 more.",
        f"Workers that {DIFFER} count as different: 'Ann', 'ann '.",
    )


def test_words_for_nothing_and_spellings_are_told_of_open_ended_answers_too():
    data = pd.DataFrame({"task": ["t", "u"], "ann": ["Paris", "None"], "ben": ["paris", "NaN"]})
    assert tabulate(data, open_ended=True).notes == (
        f"Labels that {DIFFER} count as different: 'Paris', 'paris'.",
        "The texts 'NaN', 'None' count as labels; only an empty cell is an abstention.",
    )


def renamed(task, worker, label):
    return LONG.rename(columns={"task": task, "worker": worker, "label": label})


RENAME = "rename {} to worker, {} to label and the tasks' to task."


@pytest.mark.parametrize(
    "data, sentence",
    [
        (renamed("task", "annotator", "answer"), RENAME.format("'annotator'", "'answer'")),
        (renamed("task", "Performer", "response"), RENAME.format("'Performer'", "'response'")),
        (renamed("item", "model", "vote")[::2], RENAME.format("'model'", "'vote'")),
        (
            renamed("item", "user_id", "value")[["user_id", "item", "value"]],
            RENAME.format("'user_id'", "'value'"),
        ),
        (renamed("task", "rater", "answer").assign(time=1), RENAME.format("'rater'", "'answer'")),
        (
            renamed("item", "rater", "answer").reset_index(names=""),
            RENAME.format("'rater'", "'answer'"),
        ),
        (renamed("task", "worker", "answer"), "'label' is missing among 'task', 'worker', 'ans"),
        (renamed("item", "worker", "label"), "'task' is missing among 'item', 'worker', 'label'."),
        (
            WIDE.iloc[[0, 1, 1]],
            "A wide table has one row a task; in the column 'task' 'q2' stands in rows 2 and 3 "
            "(counted from 1, without "
            "the header).",
        ),
        (
            WIDE.rename(columns={"task": "item"}).iloc[[0, 1, 1]],
            "Keep one of them, or call the column of the tasks task; a long table has",
        ),
        (WIDE.assign(Truth="x", tie=False), "'Truth', 'tie' looks like something else: take it"),
        (WIDE.assign(question="text"), "got both task and question. Take one of them out."),
        (WIDE.assign(Task="q"), "several are named 'task', 'Task'."),
        (
            LONG.pivot(index="task", columns="worker"),
            "The names of columns have one level; got ('label', 'ann'), ('label', 'ben').",
        ),
        (
            LONG.assign(num_options=1001, label="A"),
            "num_options must be a whole number from 1 to 1,000 in every row; got 1001 for task "
            "'q1'.",
        ),
    ],
)
def test_a_table_that_can_not_be_told_is_refused(data, sentence):
    with pytest.raises(DataError) as raised:
        tabulate(data)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_wide_table_may_have_workers_with_such_names():
    data = pd.DataFrame({"task": ["t", "u"], "user": ["x", "y"], "vote": ["x", "x"], "ann": "x"})
    assert list(tabulate(data).workers) == ["user", "vote", "ann"]


HALF = "half \ud800"


@pytest.mark.parametrize(
    "data, truth, what",
    [
        (LONG.astype(object).replace("q1", HALF), None, "Tasks"),
        (LONG.astype(object).replace("ben", HALF), None, "Workers"),
        (LONG.astype(object).replace("x", HALF), None, "Labels"),
        (
            WIDE.astype(object).set_axis(pd.Index(["task", "a", HALF], dtype=object), axis=1),
            None,
            "W",
        ),
        (LONG, {"q1": HALF, "q2": "y"}, "Labels"),
    ],
)
def test_text_that_can_not_be_written_is_refused(data, truth, what):
    with pytest.raises(DataError) as raised:
        tabulate(data, truth)
    sentence = str(raised.value).encode().decode()
    assert sentence.startswith(what)
    assert "must be text that UTF-8 can encode; 'half \\ud800' is not" in sentence


def test_a_truth_may_be_a_mapping_and_names_of_it_alone_are_shown_safely():
    table = tabulate(LONG, {"q2": "y", "q1": None, HALF: "x"})
    assert table.truth.tolist() == [-1, 1]
    assert table.notes == (
        "The truth has 1 task without any row of votes, left out: 'half \\ud800'.",
    )


def test_names_in_messages_are_short_and_printable():
    assert shown("cat") == "cat"
    assert shown(np.float64(0.5)) == "0.5"
    assert shown("a\tb\x1b[31m\u202e\n") == "a\\tb\\x1b[31m\\u202e\\n"
    assert shown("ä" * 40) == "ä" * 40
    assert shown("ä" * 41) == "ä" * 39 + "…"
    assert len(shown("\x00" * 10**6)) == 40
    assert quoted("it's") == '"it\'s"'
    assert quoted(np.str_("a")) == "'a'"
    assert listed(["a\nb", 3, None], most=2) == "'a\\nb', 3 and 1 more"
    with pytest.raises(DataError) as raised:
        tabulate(LONG.assign(task=["a\n" * 100, None, "c", "d"], worker="w", num_options=0))
    assert str(raised.value).isprintable()
    noisy = tabulate(LONG.replace("ben", "b\x1b[31m" + "n" * 100).iloc[:3])
    assert noisy.notes == (
        "1 worker with one vote, kept, though an accuracy can't be estimated from one: "
        f"'b\\x1b[31m{'n' * 30}…'.",
    )
