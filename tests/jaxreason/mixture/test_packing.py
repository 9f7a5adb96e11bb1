"""Packing: nothing lost, nothing twice, segments and positions right."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.mixture import Document, best_fit, concatenate_and_cut


def documents_of(lengths):
    """Documents whose tokens are all different, the first half of each without loss."""
    ends = np.cumsum(lengths)
    return [
        Document(
            tokens=np.arange(1 + end - size, 1 + end, dtype=np.int32),
            loss_mask=np.arange(size) >= size // 2,
        )
        for size, end in zip(lengths, ends, strict=True)
    ]


def segments_of(packed):
    """Every segment's (tokens, positions, loss_mask), row by row."""
    for row in range(len(packed.tokens)):
        for segment in range(1, packed.segment_ids[row].max() + 1):
            chosen = packed.segment_ids[row] == segment
            yield tuple(
                array[row][chosen] for array in (packed.tokens, packed.positions, packed.loss_mask)
            )


def test_best_fit_by_hand():
    # Longest first: 5 and 4 open rows; 3 does not fit beside 5 (room 1) or 4 (room 2), so it
    # opens a third; 2 fits beside 4 exactly (best fit), 1 beside 5 exactly.
    packed = best_fit(documents_of([1, 2, 3, 4, 5]), 6)
    np.testing.assert_array_equal(
        packed.tokens, [[11, 12, 13, 14, 15, 1], [7, 8, 9, 10, 2, 3], [4, 5, 6, 0, 0, 0]]
    )
    np.testing.assert_array_equal(
        packed.segment_ids, [[1, 1, 1, 1, 1, 2], [1, 1, 1, 1, 2, 2], [1, 1, 1, 0, 0, 0]]
    )
    np.testing.assert_array_equal(
        packed.positions, [[0, 1, 2, 3, 4, 0], [0, 1, 2, 3, 0, 1], [0, 1, 2, 0, 0, 0]]
    )


def test_concatenate_and_cut_by_hand():
    packed = concatenate_and_cut(documents_of([3, 4]), 4)
    np.testing.assert_array_equal(packed.tokens, [[1, 2, 3, 4], [5, 6, 7, 0]])
    np.testing.assert_array_equal(packed.segment_ids, [[1, 1, 1, 2], [1, 1, 1, 0]])
    np.testing.assert_array_equal(packed.positions, [[0, 1, 2, 0], [0, 1, 2, 0]])
    # Loss stands on 2, 3 and 6, 7; no first token of a segment may bear it.
    np.testing.assert_array_equal(packed.loss_mask, [[0, 1, 1, 0], [0, 1, 1, 0]])


@settings(max_examples=80, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=40), room=st.integers(0, 8))
def test_best_fit_keeps_every_document_whole_and_once(lengths, room):
    documents = documents_of(lengths)
    packed = best_fit(documents, max(2, max(lengths) + room))
    found = sorted(segments_of(packed), key=lambda segment: segment[0][0])
    assert len(found) == len(documents)
    for document, (tokens, positions, loss_mask) in zip(documents, found, strict=True):
        np.testing.assert_array_equal(tokens, document.tokens)
        np.testing.assert_array_equal(positions, np.arange(len(tokens)))
        np.testing.assert_array_equal(loss_mask, document.loss_mask & (positions > 0))


@settings(max_examples=80, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=20), length=st.integers(2, 16))
def test_concatenate_and_cut_keeps_every_token_in_order(lengths, length):
    documents = documents_of(lengths)
    packed = concatenate_and_cut(documents, length)
    filled = packed.segment_ids > 0
    np.testing.assert_array_equal(packed.tokens[filled], np.arange(1, 1 + sum(lengths)))
    assert filled.reshape(-1)[: sum(lengths)].all()  # padding at the very end only
    for tokens, positions, _ in segments_of(packed):
        np.testing.assert_array_equal(positions, np.arange(len(tokens)))
        assert any(set(tokens) <= set(document.tokens) for document in documents)


@pytest.mark.parametrize("pack", [best_fit, concatenate_and_cut])
def test_padding_is_told_by_segment_zero_and_bears_no_loss(pack):
    packed = pack([Document(np.zeros(3, np.int32), np.ones(3, bool))], 5)
    np.testing.assert_array_equal(packed.segment_ids, [[1, 1, 1, 0, 0]])
    np.testing.assert_array_equal(packed.loss_mask, [[False, True, True, False, False]])


def test_a_document_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match="document 1 has 9 tokens and does not fit .* of 8"):
        best_fit(documents_of([3, 9, 4]), 8)


@pytest.mark.parametrize("pack", [best_fit, concatenate_and_cut])
def test_malformed_input_is_refused(pack):
    with pytest.raises(ValueError, match="no documents to pack"):
        pack([], 8)
    with pytest.raises(ValueError, match="document 1 must have tokens and loss_mask"):
        pack([*documents_of([2]), Document(np.zeros(0, np.int32), np.zeros(0, bool))], 8)
    with pytest.raises(ValueError, match="length must be at least 2"):
        pack(documents_of([1]), 1)
