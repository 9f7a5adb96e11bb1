"""Renderers: a golden row for each, rows that are refused, text that stays as it is."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.files import BadRowError, Files, Row
from data.renderers import RENDERERS, TEXT, TURNS, SpansReader, find_renderer
from data.spans import END_OF_THINK, THINK, Spans, plain

GSM8K = Path(__file__).resolve().parents[3] / "shared" / "data" / "gsm8k"

SUM = "What is 2 + 3?"
R1 = "\nI count: 3, 4, 5.\n"
THOUGHT = (THINK, R1.strip(), END_OF_THINK)
BEGIN, END = "<|begin_of_thought|>", "<|end_of_thought|>"
BEGIN_SOLUTION, END_SOLUTION = "<|begin_of_solution|>", "<|end_of_solution|>"


def render(name, **values):
    return RENDERERS[name](Row("rows.jsonl, line 7", values))


def refusal(name, **values):
    with pytest.raises(BadRowError) as refused:
        render(name, **values)
    return str(refused.value)


def dialogue(*contents, roles=("user", "assistant"), keys=("role", "content"), **more):
    """Turns of alternating roles; `more` goes into the last one."""
    turns = [
        dict(zip(keys, (roles[n % len(roles)], content), strict=True))
        for n, content in enumerate(contents)
    ]
    turns[-1] |= more
    return turns


def shared(*contents, system=None):
    return {"system": system, "conversations": dialogue(*contents, keys=("from", "value"))}


def test_text():
    assert render("text", text=" A tale.\n") == Spans(answer=(" A tale.\n",))


def test_problem_answer():
    assert render("problem_answer", problem=SUM, answer="5") == Spans(
        (SUM + "\n",), (), ("5",), SUM
    )


def test_problem_trace_answer():
    row = {"problem": SUM, "trace": "3, 4, 5", "answer": "5", "family": "sums"}
    trace = (THINK, "3, 4, 5", END_OF_THINK)
    assert render("problem_trace_answer", **row) == Spans((SUM + "\n",), trace, ("5",), SUM, "sums")
    blank = render("problem_trace_answer", **row | {"trace": "\n"})
    assert blank == Spans((SUM + "\n",), (), ("5",), SUM, "sums")


def test_gsm8k():
    solution = "In May she sold 48/2 = <<48/2=24>>24.\nShe sold $<<24*42+1=1009>>1,009 in all.\n"
    spans = render("gsm8k", question="How many clips?", answer=solution + "#### 1,009")
    assert spans == Spans(
        prompt=("How many clips?\n",),
        trace=(THINK, "In May she sold 48/2 = 24.\nShe sold $1,009 in all.", END_OF_THINK),
        answer=("1,009",),
        problem="How many clips?",
    )


def test_openmathinstruct():
    spans = render(
        "openmathinstruct",
        problem=SUM,
        generated_solution="The sum is \\boxed{5}.",
        expected_answer="5",
        problem_source="augmented_gsm8k",
    )
    trace = (THINK, "The sum is \\boxed{5}.", END_OF_THINK)
    assert spans == Spans((SUM + "\n",), trace, ("5",), SUM, "augmented_gsm8k")


@pytest.mark.parametrize(
    "turn",
    [
        f"<think>{R1}</think>\n\nIt is 5.",
        f"\n{BEGIN}\n{R1}\n{END}\n\n{BEGIN_SOLUTION}\n\nIt is 5.\n\n{END_SOLUTION}",
    ],
)
def test_openthoughts_in_both_dialects(turn):
    expected = Spans((SUM + "\n",), THOUGHT, ("It is 5.",), SUM)
    assert render("openthoughts", **shared(SUM, turn)) == expected
    turns = dialogue(SUM, turn, roles=("human", "gpt"), keys=("from", "value"))
    with_domain = render("openthoughts", conversations=turns, domain="math")
    assert with_domain == Spans((SUM + "\n",), THOUGHT, ("It is 5.",), SUM, "math")


def test_openthoughts_with_a_system_prompt_and_without_marks():
    spans = render("openthoughts", **shared(SUM, " It is 5.", system="Be brief."))
    assert spans == Spans((f"Be brief.\n\n{SUM}\n",), (), (" It is 5.",), SUM)


def test_only_the_first_marks_of_a_thought_are_marks():
    turn = "<think>Is <think> a word?</think>Both <think> and </think> are."
    spans = render("openthoughts", **shared("A word?", turn))
    assert spans.trace == (THINK, "Is <think> a word?", END_OF_THINK)
    assert spans.answer == ("Both <think> and </think> are.",)


def test_messages():
    turns = dialogue(SUM, "<think>Easy.</think>5", "And 2 * 3?", f"<think>{R1}</think>6", "Thanks!")
    turns.insert(0, {"role": "system", "content": "Be brief."})
    assert render("messages", messages=turns, category="chat") == Spans(
        prompt=(f"Be brief.\n\n{SUM}\n\n<think>Easy.</think>5\n\nAnd 2 * 3?\n",),
        trace=THOUGHT,
        answer=("6",),
        problem=SUM,
        family="chat",
    )


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_messages_with_reasoning_of_its_own(field):
    turns = dialogue(SUM, "<think> is a tag. 5", **{field: "3, 4, 5"})
    expected = Spans((SUM + "\n",), (THINK, "3, 4, 5", END_OF_THINK), ("<think> is a tag. 5",), SUM)
    assert render("messages", messages=turns) == expected
    for nothing in (None, "", "\n"):
        turns = dialogue(SUM, "5", **{field: nothing})
        assert render("messages", messages=turns) == Spans((SUM + "\n",), (), ("5",), SUM)


def test_abstraction():
    row = {"problem": "1 2 -> 2 1; 3 4 ->", "abstraction": "reverse", "solution": "4 3"}
    spans = render("abstraction", **row)
    assert spans == Spans((row["problem"] + "\n",), ("reverse",), ("4 3",), row["problem"])


@pytest.mark.parametrize("field", ["verified", "correctness"])
@pytest.mark.parametrize(
    "value, verified",
    [(True, True), (np.False_, False), (None, None), ("yes", None), ([True], None)],
)
def test_whether_it_was_verified(field, value, verified):
    spans = render("problem_answer", problem="a", answer="b", **{field: value})
    assert spans.verified is verified


def test_a_family_that_is_no_text_is_none():
    assert render("problem_answer", problem="a", answer="b", family=3).family == ""
    assert render("problem_answer", problem="a", answer="b", family="", domain="c").family == "c"


def test_rows_of_tfds_hold_bytes():
    spans = render("problem_answer", problem="Größe?".encode(), answer=b"5", family=b"sums")
    assert spans == Spans(("Größe?\n",), (), ("5",), "Größe?", "sums")
    turns = np.array([{"role": b"user", "content": b"a"}, {"role": b"assistant", "content": b"b"}])
    assert render("messages", messages=turns) == Spans(("a\n",), (), ("b",), "a")


NO_TEXT = [
    (None, "must be text; got None."),
    (5, "must be text; got 5."),
    (["5"], "must be text; got ['5']."),
    (b"\xff", "must be text; got b'\\xff'."),
    ("\ud800", "must be text; character 1 is half of a surrogate pair."),
]
EMPTY = [("", "must not be empty; got ''."), (" \n", "must not be empty; got ' \\n'.")]
FIELDS = [(name, field, r.fields[field]) for name, r in RENDERERS.items() for field in r.fields]


@pytest.mark.parametrize("value, trouble", NO_TEXT)
@pytest.mark.parametrize("name, field", [f[:2] for f in FIELDS if f[2] != TURNS])
def test_a_field_that_is_no_text_is_refused(name, field, value, trouble):
    values = dict.fromkeys(RENDERERS[name].fields, "#### 5") | {field: value}
    assert refusal(name, **values) == f"rows.jsonl, line 7: field '{field}' {trouble}"


@pytest.mark.parametrize("value, trouble", EMPTY)
@pytest.mark.parametrize("name, field", [f[:2] for f in FIELDS if f[2] == TEXT])
def test_an_empty_field_is_refused(name, field, value, trouble):
    values = dict.fromkeys(RENDERERS[name].fields, "#### 5") | {field: value}
    assert refusal(name, **values) == f"rows.jsonl, line 7: field '{field}' {trouble}"


@pytest.mark.parametrize("value, trouble", NO_TEXT + EMPTY)
def test_a_turn_without_text_is_refused(value, trouble):
    for contents in (("a", value), (value, "b")):
        message = refusal("openthoughts", **shared(*contents))
        assert message == f"rows.jsonl, line 7: field 'conversations[].value' {trouble}"
        message = refusal("messages", messages=dialogue(*contents))
        assert message == f"rows.jsonl, line 7: field 'messages[].content' {trouble}"


def test_a_missing_field_is_refused():
    assert refusal("gsm8k", question="a", reply="b") == (
        "rows.jsonl, line 7: field 'answer' is missing; the row's fields: question, reply."
    )
    assert refusal("text").endswith("field 'text' is missing; the row's fields: none.")


@pytest.mark.parametrize("answer", ["72", "Half of it.\n####", "#### 7\nOr 8.", "#### 7\n#### \n"])
def test_a_gsm8k_answer_without_result_is_refused(answer):
    message = refusal("gsm8k", question="a", answer=answer)
    assert "field 'answer' must end with '#### ' and the result; got" in message


@pytest.mark.parametrize(
    "turns, trouble",
    [
        ("hello", "field 'messages' must be a list of turns; got 'hello'."),
        (["hello"], "field 'messages' must be a list of turns; got ['hello']."),
        ([], "must have a turn of the user and one of the assistant after it; got the roles []."),
        (dialogue("a"), "one of the assistant after it; got the roles ['user']."),
        (dialogue("a", "b", roles=("gpt", "human")), "got the roles ['assistant', 'user']."),
        (dialogue("a", "b", roles=("system", "gpt")), "got the roles ['system', 'assistant']."),
        (
            dialogue("a", "b", roles=("user", "tool")),
            "field 'messages[].role' must be one of system, developer, user, human, assistant, gpt;"
            " got 'tool'.",
        ),
        ([{"content": "a"}], "assistant, gpt; got None."),
        (dialogue("a", ["b"]), "field 'messages[].content' must be text; got ['b']."),
        (dialogue("", "b"), "field 'messages[].content' must not be empty; got ''."),
        (dialogue("a", "b", reasoning=3), "field 'reasoning' must be text; got 3."),
    ],
)
def test_conversations_that_are_refused(turns, trouble):
    assert refusal("messages", messages=turns).endswith(trouble)


@pytest.mark.parametrize(
    "turn",
    [
        "<think>I never stop",
        "<think>I say nothing.</think>\n",
        f"{BEGIN}I never stop",
        f"{BEGIN}I forget the marks.{END}5",
        f"{BEGIN}a{END}{BEGIN_SOLUTION}I never stop",
        f"{BEGIN}a{END}{BEGIN_SOLUTION}\n{END_SOLUTION}",
    ],
)
def test_a_thought_without_end_or_answer_is_refused(turn):
    message = refusal("openthoughts", **shared(SUM, turn))
    assert "field 'conversations[].value' must close its thought and give an answer" in message


def test_a_system_prompt_that_is_no_text_is_refused():
    assert refusal("openthoughts", **shared("a", "b", system=3)).endswith(
        "field 'system' must be text; got 3."
    )


TAGS = ("<think>", "</think>", BEGIN, END, BEGIN_SOLUTION, "<s>", "<<1+1=2>>", "#### 5", "\n\n")
anything = st.lists(st.sampled_from(TAGS) | st.text(max_size=5), max_size=6).map("".join)
texts = anything.filter(str.strip)
unmarked = texts.map(lambda text: f"It is {text}")


@given(texts, texts, texts)
def test_any_text_comes_through_unchanged(first, second, third):
    assert render("text", text=first) == Spans(answer=(first,))
    assert render("problem_answer", problem=first, answer=second) == Spans(
        (first + "\n",), (), (second,), first
    )
    thinking = (THINK, second, END_OF_THINK)
    row = {"problem": first, "trace": second, "answer": third}
    assert render("problem_trace_answer", **row) == Spans(
        (first + "\n",), thinking, (third,), first
    )
    row = {"problem": first, "generated_solution": second, "expected_answer": third}
    assert render("openmathinstruct", **row) == Spans((first + "\n",), thinking, (third,), first)
    row = {"problem": first, "abstraction": second, "solution": third}
    assert render("abstraction", **row) == Spans((first + "\n",), (second,), (third,), first)
    turns = dialogue(first, third, reasoning=second)
    assert render("messages", messages=turns) == Spans((first + "\n",), thinking, (third,), first)


@given(texts, unmarked)
def test_any_text_without_marks_at_its_start_comes_through_unchanged(question, reply):
    expected = Spans((question + "\n",), (), (reply,), question)
    assert render("openthoughts", **shared(question, reply)) == expected
    assert render("messages", messages=dialogue(question, reply)) == expected


@given(texts.filter(lambda text: "</think>" not in text and END not in text), texts)
def test_marked_thoughts_come_through_but_for_the_space_around(trace, answer):
    for turn in (
        f"<think>{trace}</think>{answer}",
        f"{BEGIN}{trace}{END}{BEGIN_SOLUTION}{answer}{END_SOLUTION}",
    ):
        spans = render("openthoughts", **shared(SUM, turn))
        assert spans.trace == (THINK, trace.strip(), END_OF_THINK)
        assert spans.answer == (answer.strip(),)


def test_the_nearest_name_is_proposed():
    assert find_renderer("messages") is RENDERERS["messages"]
    with pytest.raises(ValueError, match="no renderer 'open_thoughts'; did you mean 'openthought"):
        find_renderer("open_thoughts")
    with pytest.raises(TypeError):
        RENDERERS["mine"] = RENDERERS["text"]


ROWS = (
    Row("a.jsonl, line 1", {"text": "one"}),
    BadRowError("a.jsonl, line 2", "the line is not UTF-8", "got byte 0xff"),
    Row("a.jsonl, line 3", {"text": None}),
    *(Row(f"a.jsonl, line {n}", {"text": n}) for n in range(4, 8)),
    Row("a.jsonl, line 8", {"text": "two"}),
)


def test_bad_rows_are_skipped_and_counted():
    reader = SpansReader(ROWS, RENDERERS["text"], on_bad_row="skip")
    for _ in range(2):  # rows that can be read again are counted anew
        assert [plain(spans.answer) for spans in reader] == ["one", "two"]
        assert reader.num_rows == 8
        assert reader.skipped == {"the line is not UTF-8": 1, "field 'text' must be text": 5}
        assert reader.places == {
            "the line is not UTF-8": ["a.jsonl, line 2"],
            "field 'text' must be text": [f"a.jsonl, line {n}" for n in (3, 4, 5)],
        }


def test_bad_rows_are_errors_unless_skipping_is_asked_for():
    reader = iter(SpansReader(ROWS, RENDERERS["text"]))
    assert next(reader) == Spans(answer=("one",))
    with pytest.raises(BadRowError, match=r"^a.jsonl, line 2: the line is not UTF-8; got byte"):
        next(reader)
    with pytest.raises(BadRowError, match=r"^a.jsonl, line 3: field 'text' must be text; got None"):
        list(SpansReader(ROWS[2:], RENDERERS["text"]))


def test_a_source_without_rows_is_refused():
    with pytest.raises(ValueError, match=r"^the source is empty: it has no rows\.$"):
        list(SpansReader([], RENDERERS["text"]))
    with pytest.raises(ValueError) as refused:
        list(SpansReader(ROWS[1:7], RENDERERS["text"], on_bad_row="skip"))
    assert str(refused.value) == (
        "the source is empty: every row was skipped; the line is not UTF-8 (1 row, first at"
        " a.jsonl, line 2); field 'text' must be text (5 rows, first at a.jsonl, line 3)."
    )
    with pytest.raises(ValueError, match="on_bad_row must be 'error' or 'skip'; got 'ignore'"):
        SpansReader(ROWS, RENDERERS["text"], on_bad_row="ignore")


@pytest.mark.skipif(not GSM8K.is_dir(), reason=f"the real problems are not at {GSM8K}")
@pytest.mark.parametrize("split, num_rows", [("train", 7473), ("test", 1319)])
def test_every_real_problem_of_gsm8k_is_rendered(split, num_rows):
    reader = SpansReader(Files(str(GSM8K / f"{split}.jsonl")).rows(), RENDERERS["gsm8k"])
    examples = list(reader)
    assert len(examples) == reader.num_rows == num_rows
    assert all(math.isfinite(float(plain(s.answer).replace(",", ""))) for s in examples)
    assert all(len(spans.trace) == 3 and "<<" not in spans.trace[1] for spans in examples)
    assert len({spans.problem for spans in examples}) == num_rows
