"""Documents: joined without loss, and made to fit as asked."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.mixture import Document, Documents, fit

parts_of = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 30), st.integers(0, 9)).filter(any),
    min_size=1,
    max_size=20,
)


def documents_of(parts):
    """Documents of (prompt, trace, answer) lengths whose tokens are all different."""
    start, documents = 1, []
    for prompt, trace, answer in parts:
        size = prompt + trace + answer
        documents.append(Document(np.arange(start, start + size, dtype=np.int32), prompt, answer))
        start += size
    return Documents.join(documents)


def test_join_select_and_loss():
    documents = documents_of([(1, 2, 0), (0, 1, 1)])
    np.testing.assert_array_equal(documents.lengths, [3, 2])
    np.testing.assert_array_equal(documents.loss_mask(), [False, True, True, True, True])
    chosen = documents.select([1, 0, 1])
    np.testing.assert_array_equal(chosen.joined_tokens(), [4, 5, 1, 2, 3, 4, 5])
    np.testing.assert_array_equal(chosen.answer_lengths, [1, 0, 1])
    again = chosen.select([2, 1])
    np.testing.assert_array_equal(again.joined_tokens(), [4, 5, 1, 2, 3])
    np.testing.assert_array_equal(again.loss_mask(), [True, True, False, True, True])
    assert len(Documents.join([])) == 0


def test_truncation_by_hand():
    # 10 tokens with the answer 8, 9, 10: cut to 8, one answer token is left and two are lost.
    fitted = fit(documents_of([(2, 5, 3), (1, 1, 1)]), 8, overlong="truncate")
    np.testing.assert_array_equal(fitted.documents.lengths, [8, 3])
    np.testing.assert_array_equal(fitted.documents.answer_lengths, [1, 1])
    assert (fitted.num_overlong, fitted.tokens_lost) == (1, 2)


def test_a_split_keeps_the_answer_whole():
    # 10 tokens at 8 would leave 9, 10 of the answer 8, 9, 10: the cut moves to the answer's start.
    fitted = fit(documents_of([(2, 5, 3), (1, 1, 1)]), 8, overlong="split")
    np.testing.assert_array_equal(fitted.documents.lengths, [7, 3, 3])
    np.testing.assert_array_equal(fitted.documents.prompt_lengths, [2, 0, 1])
    np.testing.assert_array_equal(fitted.documents.answer_lengths, [0, 3, 1])
    np.testing.assert_array_equal(fitted.origin, [0, 0, 1])
    assert (fitted.num_overlong, fitted.tokens_lost) == (1, 0)


def test_dropping_counts_what_is_lost():
    fitted = fit(documents_of([(2, 5, 3), (1, 1, 1)]), 8, overlong="drop")
    np.testing.assert_array_equal(fitted.documents.joined_tokens(), [11, 12, 13])
    assert (fitted.num_overlong, fitted.tokens_lost) == (1, 10)


def test_an_error_names_the_longest():
    with pytest.raises(ValueError, match="1 of 2 documents do not fit 8 tokens; document 0 has 10"):
        fit(documents_of([(2, 5, 3), (1, 1, 1)]), 8, overlong="error")


@settings(max_examples=100, deadline=None)
@given(parts=parts_of, length=st.integers(2, 20))
def test_a_split_loses_nothing_and_cuts_no_answer_that_fits(parts, length):
    documents = documents_of(parts)
    fitted = fit(documents, length, overlong="split")
    assert fitted.documents.lengths.max() <= length
    np.testing.assert_array_equal(fitted.documents.joined_tokens(), documents.tokens)
    np.testing.assert_array_equal(fitted.documents.loss_mask(), documents.loss_mask())
    for index, answer in enumerate(documents.answer_lengths):
        pieces = fitted.documents.answer_lengths[fitted.origin == index]
        assert pieces.sum() == answer
        assert answer > length or pieces[-1] == answer


@settings(max_examples=50, deadline=None)
@given(parts=parts_of, length=st.integers(2, 60), how=st.sampled_from(["truncate", "drop"]))
def test_tokens_lost_are_counted(parts, length, how):
    documents = documents_of(parts)
    fitted = fit(documents, length, overlong=how)
    assert (fitted.documents.lengths <= length).all()
    assert fitted.tokens_lost == len(documents.tokens) - len(fitted.documents.joined_tokens())
    assert fitted.num_overlong == (documents.lengths > length).sum()
    kept = fitted.documents.joined_tokens()
    np.testing.assert_array_equal(kept, np.sort(kept))


@pytest.mark.parametrize("parts", [(0, 0, 0), (3, 0, 3), (-1, 0, 0)])
def test_malformed_documents_are_refused(parts):
    with pytest.raises(ValueError, match="must have tokens, and a prompt and an answer that"):
        Document(np.zeros(parts[1] + 5 if parts[0] else 0, np.int32), parts[0], parts[2])


def test_choosing_and_fitting_copy_no_tokens():
    documents = documents_of([(2, 5, 3), (1, 1, 1)])
    assert documents.select([1]).tokens is documents.tokens
    for how in ("split", "truncate", "drop"):
        assert fit(documents, 8, overlong=how).documents.tokens is documents.tokens


def test_parts_have_what_they_have_of_prompt_and_answer():
    # 0 1 | 2 3 4 | 5 6 7: prompt, trace, answer; cut into 0 1 2 3, 4 5 and 6 7.
    documents = documents_of([(2, 3, 3)])
    origin = np.zeros(3, np.int64)
    parts = documents.cut(origin, np.array([0, 4, 6]), np.array([4, 6, 8]))
    np.testing.assert_array_equal(parts.prompt_lengths, [2, 0, 0])
    np.testing.assert_array_equal(parts.answer_lengths, [0, 1, 2])
    np.testing.assert_array_equal(parts.joined_tokens(), documents.tokens)
    np.testing.assert_array_equal(parts.loss_mask(), documents.loss_mask())


@pytest.mark.usefixtures("as_users_run_it")
def test_an_unknown_treatment_is_refused():
    with pytest.raises(ValueError, match="overlong must be one of .*; got cut"):
        fit(documents_of([(2, 5, 3)]), 8, overlong="cut")
