"""Choosing documents: each knob changes one thing, and corruption is exact."""

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.mixture_config import Source
from data.readers import Files
from data.selection import corrupt, effective_number, select
from data.tokenized import TokenizedSource
from jaxreason.mixture import Document, Documents

SIZE = 60
EOS = 2
BASE = Source("source", Files("unread.jsonl"))


def make_document(index: int) -> Document:
    """A prompt that names it, a trace of 0 to 6 tokens, and one of five answers of two lengths."""
    prompt, trace = [1000 + index], [10] * (index % 7)
    answer = [20 + index % 5] * (1 + index % 5 % 2) + [EOS]
    return Document(np.array(prompt + trace + answer, np.uint16), 1, len(answer))


def make_source(size: int = SIZE, first_hash: int = 0) -> TokenizedSource:
    index = np.arange(size)
    return TokenizedSource(
        name="source",
        documents=Documents.join(map(make_document, range(size))),
        family_ids=index % 3,
        families=("algebra", "geometry", ""),
        template_ids=index % 12,
        text_hashes=(first_hash + index).astype(np.uint64),
        verified=index % 4 % 3 - 1,  # -1, 0, 1, -1
        report={},
        key="",
    )


SOURCE = make_source()
EVERYTHING = select(SOURCE, BASE, 0, set()).chosen.tolist()


def chosen(**settings) -> list[int]:
    return select(SOURCE, dataclasses.replace(BASE, **settings), 0, set()).chosen.tolist()


def parts(documents: Documents) -> dict[int, tuple[list[int], list[int]]]:
    """Trace and answer by the prompt's number."""
    starts = documents.ends - documents.lengths
    found = {}
    for start, end, answer in zip(starts, documents.ends, documents.answer_lengths, strict=True):
        tokens = documents.tokens[start:end].tolist()
        found[tokens[0] - 1000] = (tokens[1 : len(tokens) - answer], tokens[-answer:])
    return found


def test_by_default_everything_is_taken_in_a_random_order():
    assert sorted(EVERYTHING) == list(range(SIZE)) != EVERYTHING
    assert select(SOURCE, BASE, 1, set()).chosen.tolist() != EVERYTHING
    assert select(SOURCE, BASE, 0, set()).chosen.tolist() == EVERYTHING


@given(
    families=st.sampled_from([(), ("algebra",), ("geometry", "")]),
    max_templates=st.none() | st.integers(1, 5),
    verified_only=st.booleans(),
    min_trace_tokens=st.integers(0, 4),
    max_documents=st.none() | st.integers(1, SIZE + 5),
    corrupted_share=st.floats(0, 1),
)
def test_each_knob_changes_only_what_it_should(
    families, max_templates, verified_only, min_trace_tokens, max_documents, corrupted_share
):
    """Filters keep what fits in the order of everything, scale its beginning, corruption all."""
    names = [("algebra", "geometry", "")[index % 3] for index in range(SIZE)]
    expected = [
        index
        for index in EVERYTHING
        if (not families or names[index] in families)
        and index % 12 // 3 < (max_templates or 4)  # templates f, f + 3, f + 6, f + 9 of family f
        and (not verified_only or index % 4 == 2)
        and index % 7 >= min_trace_tokens
    ][:max_documents]
    settings = {
        "families": families,
        "max_templates": max_templates,
        "verified_only": verified_only,
        "min_trace_tokens": min_trace_tokens,
        "max_documents": max_documents,
        "corrupted_share": corrupted_share,
    }
    assert chosen(**settings) == expected
    selection = select(SOURCE, dataclasses.replace(BASE, **settings), 0, set())
    assert selection.corrupted == round(corrupted_share * len(expected))


@given(st.integers(1, SIZE), st.integers(1, SIZE))
def test_a_smaller_selection_is_the_beginning_of_a_larger_one(small, large):
    small, large = sorted((small, large))
    assert chosen(max_documents=small) == chosen(max_documents=large)[:small]
    taken = select(SOURCE, BASE, 0, set()).take(small)
    assert taken.chosen.tolist() == chosen(max_documents=small)


@given(st.floats(0, 1), st.lists(st.integers(1, SIZE + 1), min_size=1, max_size=3))
def test_however_many_are_taken_the_corrupted_share_is_exact(share, counts):
    selection = select(SOURCE, dataclasses.replace(BASE, corrupted_share=share), 0, set())
    for count in sorted(counts, reverse=True):
        selection = selection.take(count)
        assert selection.corrupted == round(share * min(count, SIZE))


def test_uncorrupted_documents_are_those_of_the_source_in_its_order():
    selection = select(SOURCE, dataclasses.replace(BASE, max_documents=20), 0, set())
    documents = selection.documents()
    expected = Documents.join(make_document(index) for index in sorted(selection.chosen))
    np.testing.assert_array_equal(documents.joined_tokens(), expected.tokens)
    for name in ("lengths", "prompt_lengths", "answer_lengths"):
        np.testing.assert_array_equal(getattr(documents, name), getattr(expected, name))
    assert sorted(selection.lengths) == sorted(documents.lengths)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_corrupted_document_keeps_prompt_and_trace_and_has_anothers_answer(share):
    config = dataclasses.replace(BASE, corrupted_share=share, max_documents=40)
    selection = select(SOURCE, config, 0, set())
    true, found = parts(SOURCE.documents), parts(selection.documents())
    assert found.keys() == set(selection.chosen.tolist())
    assert all(found[index][0] == true[index][0] for index in found)
    wrong = {index for index in found if found[index][1] != true[index][1]}
    assert wrong == set(selection.chosen[: selection.corrupted].tolist())
    assert len(wrong) == round(share * 40)
    answers = {tuple(answer) for _, answer in true.values()}
    assert {tuple(answer) for _, answer in found.values()} <= answers
    assert parts(selection.documents()) == found


def test_a_smaller_selection_corrupts_a_part_of_the_same_documents():
    config = dataclasses.replace(BASE, corrupted_share=0.5)
    whole = select(SOURCE, config, 0, set())
    true = parts(SOURCE.documents)

    def wrong(selection):
        found = parts(selection.documents())
        return {index for index in found if found[index][1] != true[index][1]}

    assert wrong(whole.take(20)) < wrong(whole)


def answered(answers: list[int]) -> Documents:
    return Documents.join(Document(np.array([1, answer]), 1, 1) for answer in answers)


def test_every_other_answer_is_equally_likely():
    # 7 can only become 8 (75 documents) or 9 (25): expected 225 of 300, standard deviation 7.5
    documents = corrupt(answered([7] * 300 + [8] * 75 + [9] * 25), np.arange(300), seed=0)
    counts = Counter(documents.joined_tokens()[1:600:2].tolist())
    assert counts.keys() == {8, 9} and abs(counts[8] - 225) < 30


def test_one_answer_that_differs_is_found_at_once():
    size = 5000
    documents = corrupt(answered([7] * (size - 1) + [8]), np.arange(size - 1), seed=0)
    assert (documents.joined_tokens()[1::2] == 8).all()


def test_nothing_to_corrupt_changes_nothing_and_equal_answers_are_refused():
    documents = answered([7, 7])
    assert corrupt(documents, np.array([], np.int64), seed=0) is documents
    with pytest.raises(ValueError, match="can't be corrupted: all of them are the same"):
        corrupt(documents, np.array([0]), seed=0)
    alike = dataclasses.replace(SOURCE, documents=answered([7] * SIZE))
    selection = select(alike, dataclasses.replace(BASE, corrupted_share=0.5), 0, set())
    with pytest.raises(ValueError, match="^source source: answers can't be corrupted"):
        selection.documents()


def test_texts_of_an_earlier_source_are_left_out_and_those_chosen_are_noted():
    taken = set(range(10))
    config = dataclasses.replace(BASE, max_documents=5)
    found = select(SOURCE, config, 0, taken).chosen
    assert min(found) >= 10
    assert taken == set(range(10)) | set(found.tolist())  # not what was left over
    again = select(make_source(first_hash=10), BASE, 0, set(taken)).chosen
    assert len(again) == SIZE - 5


def test_an_unknown_family_is_told_with_those_there_are():
    with pytest.raises(ValueError, match=r"has no family 'logic'; it has algebra, .*, \(none\)"):
        chosen(families=("algebra", "logic"))


def test_nothing_left_is_one_sentence_that_says_why():
    with pytest.raises(ValueError) as error:
        chosen(families=("geometry",), verified_only=True, min_trace_tokens=7)
    assert str(error.value) == (
        "nothing of source source is left: of its 60 examples, 60 are in no source before it, 20"
        " are of its families, 15 are verified, 0 are with a trace of 7 tokens or more, and none is"
        " all of this."
    )


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([3], 1),
        ([1, 1, 1, 1], 4),
        ([5, 0, 5], 2),
        ([2, 1, 1], 2**1.5),  # entropy: 1/2 bit + 1/4 of 2 bits, twice
        ([200, 100, 100], 2**1.5),
        ([9, 1], math.exp(-0.9 * math.log(0.9) - 0.1 * math.log(0.1))),
    ],
)
def test_effective_number(weights, expected):
    assert effective_number(weights) == pytest.approx(expected, rel=1e-9)
    assert effective_number(np.array(weights)[::-1]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("corrupted", [0.0, 0.5])
def test_prompts_bear_loss_only_if_asked(corrupted):
    plain, learned = (
        select(
            SOURCE,
            dataclasses.replace(BASE, prompt_loss=prompt_loss, corrupted_share=corrupted),
            0,
            set(),
        ).documents()
        for prompt_loss in (False, True)
    )
    np.testing.assert_array_equal(plain.tokens, learned.tokens)
    assert learned.loss_mask().all()
    assert (~plain.loss_mask()).sum() == SIZE
