import numpy as np
import pandas as pd
import pytest

from jaxreason.voting.table import as_text, tabulate
from jaxreason.voting.table_labels import DataError

WIDE = pd.DataFrame(
    {"question": ["q1", "q2", "q3"], "ann": ["a", "b", None], "ben": ["a", "a", "c"]}
)


def long(*rows, extra=()):
    return pd.DataFrame(rows, columns=["task", "worker", "label", *extra])


def as_long(wide):
    """The same votes in rows, sorted by worker."""
    melted = wide.melt(wide.columns[0], var_name="worker", value_name="label")
    return melted.rename(columns={wide.columns[0]: "task"})


@pytest.mark.parametrize("data", [WIDE, as_long(WIDE)], ids=["wide", "long"])
def test_votes_become_places_in_sorted_labels(data):
    table = tabulate(data)
    assert table.answers.tolist() == [[0, 0], [1, 0], [-1, 2]]
    assert table.answers.dtype == np.int32
    assert (table.num_options, table.max_options) == (3, None)
    assert list(table.tasks) == ["q1", "q2", "q3"]
    assert list(table.workers) == ["ann", "ben"]
    assert list(table.labels) == ["a", "b", "c"]
    assert table.truth.tolist() == [-1, -1, -1]


def test_tasks_and_workers_keep_their_order_whatever_the_rows():
    table = tabulate(long(("z", "ben", 5), ("a", "ann", 7), ("z", "ann", 7)))
    assert list(table.tasks) == ["z", "a"]
    assert list(table.workers) == ["ben", "ann"]
    assert table.answers.tolist() == [[0, 1], [-1, 1]]


@pytest.mark.parametrize(
    "labels, expected",
    [
        ([2, 10, 2], [2, 10]),
        ([2.0, 10.0, None], [2, 10]),
        (["2", "10", "2"], ["2", "10"]),
        (["x", "10", "2"], ["10", "2", "x"]),
        ([True, False, True], [False, True]),
        ([0.5, 0.25, 3.0], [0.25, 0.5, 3.0]),
    ],
)
def test_labels_are_sorted_numbers_by_value_and_keep_their_type(labels, expected):
    data = pd.DataFrame({"task": [1, 2, 3], "worker": "w", "label": labels})
    found = list(tabulate(data).labels)
    assert found == expected
    assert [type(label) for label in found] == [type(label) for label in expected]


def test_categories_and_nullable_types_are_read_as_their_values():
    plain = tabulate(WIDE)
    for kind in ("category", "string", object):
        assert tabulate(WIDE.astype(kind)).answers.tolist() == plain.answers.tolist()


def test_truth_is_found_by_task_and_options_are_named_back():
    table = tabulate(WIDE, pd.Series({"q3": "b", "q1": "a", "q2": None}))
    assert table.truth.tolist() == [0, -1, 1]
    assert table.name_options(np.array([0, -1, 2])).tolist()[::2] == ["a", "c"]
    assert table.name_options(np.array([0, -1, 2])).isna().tolist() == [False, True, False]
    numbers = tabulate(long(("t", "a", 3), ("u", "a", 4)))
    assert numbers.name_options(np.array([1, 0])).dtype == np.int64


def test_multiple_choice_reads_letters_and_numbers_by_position():
    letters = tabulate(
        long(("t", "a", "C", 3), ("u", "a", "A", 5), ("u", "b", "E", 5), extra=["num_options"])
    )
    assert letters.answers.tolist() == [[2, -1], [0, 4]]
    assert letters.num_options.tolist() == [3, 5]
    assert letters.max_options == 5
    assert list(letters.labels) == list("ABCDE")
    numbers = tabulate(
        pd.DataFrame({"t": [1, 2], "num_options": [3, 5], "a": [2, 0], "b": [None, 4.0]})
    )
    assert numbers.answers.tolist() == letters.answers.tolist()
    assert list(numbers.workers) == ["a", "b"]
    assert list(numbers.labels) == [0, 1, 2, 3, 4]


def test_a_task_of_one_option_is_kept_and_noted():
    table = tabulate(pd.DataFrame({"t": [1, 2], "num_options": [1, 1], "a": ["A", "A"]}))
    assert (table.num_options.tolist(), table.max_options) == ([1, 1], 2)
    assert table.name_options(np.array([0, 1])).tolist() == ["A", "B"]
    assert "Nothing to decide, for want of a second option: 1, 2." in table.notes


def test_open_ended_options_are_each_tasks_answers_and_none_of_these():
    data = long(("t", "a", "7"), ("t", "b", "5"), ("t", "c", "7"), ("u", "a", "5"))
    table = tabulate(data, pd.Series({"t": "5", "u": "8"}), open_ended=True)
    assert table.answers.tolist() == [[0, 1, 0], [0, -1, -1]]
    assert table.num_options.tolist() == [3, 2]
    assert table.truth.tolist() == [1, 1]  # "none of these" for u
    assert table.name_options(np.array([0, 0])).tolist() == ["7", "5"]
    assert table.name_options(np.array([2, 1])).isna().all()
    assert "Nobody gave the right answer of 1 labelled task." in table.notes


def test_an_open_ended_task_without_votes_has_no_named_option():
    table = tabulate(long(("t", "a", "7"), ("u", "a", None)), open_ended=True)
    assert table.num_options.tolist() == [2, 2]
    assert table.name_options(np.array([0, 0])).isna().tolist() == [False, True]


@pytest.mark.parametrize(
    "duplicates, label, note",
    [
        ("first", "x", "Of different labels the first counts: 'x', 'y' by worker 'a' on task 't'."),
        ("last", "y", "Of different labels the last counts: 'x', 'y' by worker 'a' on task 't'."),
    ],
)
def test_of_different_votes_the_first_or_the_last_counts(duplicates, label, note):
    table = tabulate(long(("t", "a", "x"), ("t", "a", "y")), duplicates=duplicates)
    assert table.name_options(table.answers[:, 0]).tolist() == [label]
    assert note in table.notes


def test_the_same_vote_twice_counts_once_and_an_empty_one_does_not_undo_it():
    table = tabulate(long(("t", "a", "x"), ("t", "a", "x"), ("t", "a", None), ("u", "a", "y")))
    assert table.answers.tolist() == [[0], [1]]
    assert "Votes given more than once count once: 'x' by worker 'a' on task 't'." in table.notes


@pytest.mark.parametrize(
    "data, options, note",
    [
        (
            long(("t", "a", "x"), ("u", "b", None), ("u", "a", " ")),
            {},
            "2 of 3 labels are missing and count as abstentions.",
        ),
        (
            long(("t", "a", "x"), ("u", "a", None)),
            {},
            "1 task without any vote, kept without an answer: 'u'.",
        ),
        (
            long(("t", "a", "x"), ("u", "b", None)),
            {},
            "1 worker without any vote, kept without a say: 'b'.",
        ),
        (
            long(("t", "a", "x"), ("u", "b", "x"), ("t", "b", "x")),
            {},
            "1 worker with one vote, kept, though an accuracy can't be estimated from one: 'a'.",
        ),
        (long(("t", "a", "x")), {}, "Every vote is 'x': there is nothing to decide."),
        (
            long(("t", "a", "Yes"), ("t", "b", "yes ")),
            {},
            "Labels that differ only in case, spaces or coding count as different: 'Yes', 'yes '.",
        ),
        (
            long(("t", "a", "e\u0301"), ("t", "b", "\xe9")),
            {},
            "Labels that differ only in case, spaces or coding count as different: "
            "'e\u0301', '\xe9'.",
        ),
        (
            long(*((task, "a", str(task)) for task in range(51))),
            {},
            "There are 51 labels for 51 tasks, each an option of every task: if they mean "
            "something only within a task, such as the results of calculations, the answers are "
            "open-ended: say so.",
        ),
        (
            WIDE.assign(ben=["a", "a", None]),
            {"truth": pd.Series({"q1": "a", "q3": "b"})},
            "1 labelled task without any vote, not counted where accuracies are measured: 'q3'.",
        ),
        (
            long(("t", "a", "NA"), ("t", "b", "yes")),
            {},
            "The text 'NA' counts as a label; only an empty cell is an abstention.",
        ),
        (
            long(("t", "a", "1.0"), ("t", "b", "1"), ("u", "b", "2")),
            {},
            "The same label written differently, with and without .0: '1.0'.",
        ),
        (
            WIDE.assign(comment=["good", "bad", "so so"]),
            {},
            "Nobody else uses any label of 'comment': if a column is not a worker's answers (but "
            "a note, or the truth), take it out.",
        ),
        (
            WIDE,
            {"truth": pd.Series({"q1": "a", "q9": "a"})},
            "The truth has 1 task without any row of votes, left out: 'q9'.",
        ),
        (
            WIDE,
            {"truth": pd.Series({"q1": "a", "q2": "z"})},
            "The truth of 1 task ('q2') is a label that nobody voted for anywhere: 'z'. It counts "
            "as an option.",
        ),
        (
            WIDE,
            {"truth": pd.Series(["a", "b"], ["q1", "q1"]), "duplicates": "last"},
            "Where the truth has several labels the last counts: 'q1'.",
        ),
    ],
)
def test_what_a_reader_should_know_is_noted(data, options, note):
    assert note in tabulate(data, **options).notes


def test_spellings_with_and_without_a_trailing_zero_are_one_label():
    table = tabulate(long(("t", "a", "1.0"), ("t", "b", "1"), ("u", "b", "2.0")))
    assert list(table.labels) == ["1", "2.0"]
    assert table.answers.tolist() == [[0, 0], [-1, 1]]


def test_a_clean_table_has_no_notes():
    assert tabulate(WIDE.fillna("b"), pd.Series({"q1": "a"})).notes == ()


@pytest.mark.parametrize(
    "data, options, sentence",
    [
        (long(), {}, "The table holds no votes: it has no row"),
        (pd.DataFrame(), {}, "The table holds no votes: it has no row (columns: none)."),
        (long(("t", "a", None)), {}, "The table holds no vote: every label is empty."),
        (
            long(("t", "a", "x")).rename(columns={"label": "answer"}),
            {},
            "'label' is missing among 'task', 'worker', 'answer'.",
        ),
        (pd.DataFrame({"task": ["t"]}), {}, "A table of votes is long"),
        (
            pd.DataFrame([["t", 1, 2]], columns=["task", "a", "a"]),
            {},
            "Every column needs a name of its own; several are named 'a'.",
        ),
        (
            long(("t", "a", "x"), (None, "a", "x"), ("t", "b", "y")),
            {},
            "Every row needs a task; the column 'task' is empty in row 2",
        ),
        (
            long(("t", "a", "x"), ("t", None, "x")),
            {},
            "Every row needs a worker; the column 'worker' is empty in row 2",
        ),
        (
            long(("t", "a", 1), ("t", "b", "1")),
            {},
            "Labels must be of one type; got numbers such as 1 and text such as '1'.",
        ),
        (
            long(("t", "a", True), ("t", "b", 1)),
            {},
            "Labels must be of one type; got truth values such as True and numbers such as 1.",
        ),
        (
            pd.DataFrame({"t": [1], "a": [1], "b": ["1"]}),
            {},
            "Labels must be of one type; got numbers such as 1 and text such as '1'.",
        ),
        (long((1, "a", "x"), ("1", "b", "y")), {}, "Tasks must be of one type;"),
        (long(("t", "a", ["x"])), {}, "Labels must be text, numbers or truth values; got list"),
        (
            long(("t", "a", "x"), ("t", "a", "y"), ("t", "b", "x")),
            {},
            "A worker has one vote a task; different labels were given: 'x', 'y' by worker 'a' on "
            "task 't'.",
        ),
        (WIDE, {"duplicates": "all"}, "duplicates must be one of 'error', 'first', 'last'"),
        (
            WIDE,
            {"labels": pd.Index(["a", "b"])},
            "Labels must be among 'a', 'b', those of the fit; got 'c'.",
        ),
        (WIDE, {"truth": pd.Series({1: "a"})}, "The tasks of votes and truth must be of one type"),
        (WIDE, {"truth": pd.Series({"q1": 1})}, "Labels must be of one type"),
        (
            WIDE,
            {"truth": pd.Series({"x": "a"})},
            "The truth must name tasks of the votes, such as 'q1'; it has tasks such as 'x'.",
        ),
        (WIDE, {"truth": pd.Series({"q1": None})}, "it has no label at all."),
        (
            WIDE,
            {"truth": pd.Series({"q1": "z"})},
            "No vote has any of the truth's labels 'z'; votes are like 'a', 'b', 'c'.",
        ),
        (
            WIDE,
            {"truth": pd.Series(["a", "b"], ["q1", "q1"])},
            "A task has one right label; the truth has several for 'q1'.",
        ),
        (
            long(("t", "a", "A", 4), ("t", "b", "E", 4), extra=["num_options"]),
            {},
            "Task 't' has 4 options, 'A' to 'D'; worker 'b' has 'E' (1 such label in all).",
        ),
        (
            long(("t", "a", -1, 4), extra=["num_options"]),
            {},
            "Task 't' has 4 options, 0 to 3; worker 'a' has -1",
        ),
        (
            long(("t", "a", "A", 4), extra=["num_options"]),
            {"truth": pd.Series({"t": "F"})},
            "Task 't' has 4 options, 'A' to 'D'; the truth has 'F'",
        ),
        (
            long(("t", "a", "yes", 4), extra=["num_options"]),
            {},
            "labels must be the letters A, B, ... or the numbers 0, 1, ..., so that it is known "
            "which of them a task has; got 'yes'.",
        ),
        (
            long(("t", "a", "A", 30), extra=["num_options"]),
            {},
            "Letters name at most 26 options; a task has 30. Write the labels as the numbers 0, 1,",
        ),
        (
            long(("t", "a", "A", 4), ("t", "b", "A", 5), extra=["num_options"]),
            {},
            "num_options must not differ within a task; it does in 't'.",
        ),
        (
            long(("t", "a", "A", 1.5), extra=["num_options"]),
            {},
            "must be a whole number from 1 to 1,000 in every row; got 1.5 for task 't'.",
        ),
        (
            long(("t", "a", "A", None), ("u", "a", "A", 4), extra=["num_options"]),
            {},
            "got an empty cell for task 't'.",
        ),
        (
            long(("t", "a", "A", 1001), extra=["num_options"]),
            {},
            "got 1001 for task 't'.",
        ),
        (
            long(("t", "a", "A", float("inf")), extra=["num_options"]),
            {},
            "got inf for task 't'.",
        ),
        (
            long(("t", "a", "9" * 5000, 4), extra=["num_options"]),
            {},
            "worker 'a' has '999999999999999999999999999999999999999…'",
        ),
        (
            long(("t", "a", "A", 4), extra=["num_options"]),
            {"open_ended": True},
            "take out the column num_options",
        ),
        (
            long(*((f"t{n}", "a", n) for n in range(1001))),
            {},
            "At most 1,000 labels can be options of every task; got 1,001",
        ),
    ],
)
def test_each_trouble_has_its_sentence(data, options, sentence):
    with pytest.raises(DataError) as raised:
        tabulate(data, **options)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_table_of_too_many_cells_is_refused_before_it_is_made():
    names = [f"n{n}" for n in range(2**15 + 1)]
    with pytest.raises(DataError, match=r"at most 1,073,741,824 cells; got 32,769 tasks x 32,769"):
        tabulate(pd.DataFrame({"task": names, "worker": names, "label": "x"}))


def test_text_of_numbers_and_truth_values_is_what_a_csv_file_says():
    data = pd.DataFrame({"task": [1, 2], "a": [1.0, None], "num_options": [2, 2]})
    text = as_text(data)
    assert text["task"].tolist() == ["1", "2"]
    assert text["a"].tolist() == ["1", None]
    assert text["num_options"].tolist() == [2, 2]
    assert as_text(pd.DataFrame({"task": [1], "label": [True]}))["label"].tolist() == ["True"]
    assert as_text(pd.DataFrame({"task": [0.5], "label": [1.5]})).values.tolist() == [
        ["0.5", "1.5"]
    ]


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame({"t": [1], "a": [1], "b": ["1"]}),
        long(("t", "a", 1), ("t", "b", "1")),
        long(("t", 1, "x"), ("t", "1", "x")),
    ],
)
def test_text_is_not_made_of_mixed_types(data):
    with pytest.raises(DataError, match="must be of one type"):
        as_text(data)
