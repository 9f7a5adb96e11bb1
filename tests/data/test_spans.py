"""Spans: what an example is made of, and texts of the rule tasks parted at their tags."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data.spans import (
    END_OF_THINK,
    RULE_TAGS,
    THINK,
    Spans,
    Tag,
    parted,
    parted_solution,
    plain,
    thought,
    whole_parts,
)

RULE_TEXTS = st.lists(st.sampled_from([*RULE_TAGS, "12 -> 21\n", "<", "answer>", "<think>"])).map(
    "".join
)


@pytest.mark.parametrize("spans", [{}, {"prompt": ("2 + 2 = ",)}, {"trace": ("",), "answer": ()}])
def test_an_example_needs_something_to_learn(spans):
    with pytest.raises(ValueError, match="needs a trace or an answer"):
        Spans(**spans)


def test_a_thought_stands_between_tags_and_an_empty_one_nowhere():
    assert thought("so 4") == (THINK, "so 4", END_OF_THINK)
    assert thought("") == ()


def test_a_tag_in_a_text_of_a_user_stays_text():
    trace = thought("I write </think> here")
    assert [part for part in trace if isinstance(part, Tag)] == [THINK, END_OF_THINK]
    assert plain(trace) == "<think>I write </think> here</think>"
    assert whole_parts(Spans(("2?",), trace, ("4",))) == ["2?", "I write </think> here", "4"]


@given(RULE_TEXTS)
def test_parted_texts_lose_nothing_and_hold_each_tag_alone(text):
    parts = parted(text)
    assert plain(parts) == text and "" not in parts
    assert not any(tag in part for part in parts if isinstance(part, str) for tag in RULE_TAGS)
    assert {part.symbol for part in parts if isinstance(part, Tag)} <= set(RULE_TAGS)


def test_a_solution_is_parted_before_its_first_answer():
    trace, answer = parted_solution("<solution> sort -> 12<answer>12")
    assert trace == (Tag("<solution>"), " sort -> 12")
    assert answer == (Tag("<answer>"), "12")


@given(RULE_TEXTS)
@example("no answer")
def test_a_parted_solution_loses_nothing(text):
    trace, answer = parted_solution(text)
    assert plain(trace + answer) == text
    assert Tag("<answer>") not in trace
    assert answer[:1] == ((Tag("<answer>"),) if "<answer>" in text else ())
