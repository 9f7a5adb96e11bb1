"""Packing: nothing lost, nothing twice, segments and positions right."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.mixture import (
    Document,
    Documents,
    best_fit,
    concatenate_and_cut,
    fit,
    lay_out,
    packed_size,
    positions_of,
)
from jaxreason.mixture.bins import best_fit_decreasing, fullest_first, place


def documents_of(lengths):
    """Documents whose tokens are all different, the first half of each without loss."""
    ends = np.cumsum(lengths)
    return Documents.join(
        Document(np.arange(1 + end - size, 1 + end, dtype=np.int32), prompt_length=size // 2)
        for size, end in zip(lengths, ends, strict=True)
    )


def each_of(documents):
    """Every document's (tokens, loss_mask)."""
    starts = documents.ends[:-1]
    return list(
        zip(
            np.split(documents.tokens, starts),
            np.split(documents.loss_mask(), starts),
            strict=True,
        )
    )


def segments_of(packed):
    """Every segment's (tokens, positions, loss_mask), row by row."""
    all_positions = positions_of(packed.segment_ids)
    for row in range(len(packed.tokens)):
        for segment in range(1, packed.segment_ids[row].max() + 1):
            chosen = packed.segment_ids[row] == segment
            yield tuple(
                array[row][chosen] for array in (packed.tokens, all_positions, packed.loss_mask)
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
        positions_of(packed.segment_ids),
        [[0, 1, 2, 3, 4, 0], [0, 1, 2, 3, 0, 1], [0, 1, 2, 0, 0, 0]],
    )


def test_concatenate_and_cut_by_hand():
    packed = concatenate_and_cut(documents_of([3, 4]), 4)
    np.testing.assert_array_equal(packed.tokens, [[1, 2, 3, 4], [5, 6, 7, 0]])
    np.testing.assert_array_equal(packed.segment_ids, [[1, 1, 1, 2], [1, 1, 1, 0]])
    np.testing.assert_array_equal(positions_of(packed.segment_ids), [[0, 1, 2, 0], [0, 1, 2, 0]])
    # Loss stands on 2, 3 and 6, 7; no first token of a segment may bear it.
    np.testing.assert_array_equal(packed.loss_mask, [[0, 1, 1, 0], [0, 1, 1, 0]])


@settings(max_examples=80, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=40), room=st.integers(0, 8))
def test_best_fit_keeps_every_document_whole_and_once(lengths, room):
    documents = documents_of(lengths)
    packed = best_fit(documents, max(2, max(lengths) + room))
    found = sorted(segments_of(packed), key=lambda segment: segment[0][0])
    assert len(found) == len(documents)
    for document, (tokens, positions, loss_mask) in zip(each_of(documents), found, strict=True):
        np.testing.assert_array_equal(tokens, document[0])
        np.testing.assert_array_equal(positions, np.arange(len(tokens)))
        np.testing.assert_array_equal(loss_mask, document[1] & (positions > 0))


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
        assert any(set(tokens) <= set(document) for document, _ in each_of(documents))


@pytest.mark.parametrize("pack", [best_fit, concatenate_and_cut])
def test_padding_is_told_by_segment_zero_and_bears_no_loss(pack):
    packed = pack(Documents.join([Document(np.zeros(3, np.int32))]), 5)
    np.testing.assert_array_equal(packed.segment_ids, [[1, 1, 1, 0, 0]])
    np.testing.assert_array_equal(packed.loss_mask, [[False, True, True, False, False]])


def test_a_document_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match="document 1 has 9 tokens and does not fit .* of 8"):
        best_fit(documents_of([3, 9, 4]), 8)


@pytest.mark.parametrize("pack", [best_fit, concatenate_and_cut])
def test_malformed_input_is_refused(pack):
    with pytest.raises(ValueError, match="no documents to pack"):
        pack(Documents.join([]), 8)
    zeros = np.zeros(2, np.int64)
    with pytest.raises(ValueError, match="document 1 is empty"):
        pack(Documents(np.arange(2), np.array([2, 2]), zeros, zeros), 8)
    with pytest.raises(ValueError, match="length must be at least 2"):
        pack(documents_of([1]), 1)


prompted = st.integers(1, 30).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size)))


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(prompted, min_size=1, max_size=40),
    length=st.integers(2, 40),
    whole=st.booleans(),
)
def test_the_planned_size_is_the_packed_size(sizes, length, whole):
    documents = Documents.join(
        Document(np.arange(size, dtype=np.int32), prompt) for size, prompt in sizes
    )
    if whole:
        documents = fit(documents, length, overlong="split").documents
    packed = (best_fit if whole else concatenate_and_cut)(documents, length)
    expected = len(packed.tokens), int(packed.loss_mask.sum())
    assert packed_size(documents, length, whole=whole) == expected


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 16), min_size=1, max_size=40),
    rows=st.integers(1, 5),
    whole=st.booleans(),
)
def test_sequences_are_the_same_in_parts(lengths, rows, whole):
    layout = lay_out(documents_of(lengths), 16, whole=whole)
    packed = (best_fit if whole else concatenate_and_cut)(documents_of(lengths), 16)
    for first in range(0, layout.num_sequences, rows):
        part = layout.sequences(first, min(first + rows, layout.num_sequences))
        for name, array in vars(part).items():
            np.testing.assert_array_equal(array, getattr(packed, name)[first : first + rows])


@settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=60), room=st.integers(0, 12))
def test_best_fit_decreasing_is_that_of_one_document_at_a_time(sizes, room):
    length = max(2, max(sizes) + room)
    places, count = best_fit_decreasing(np.array(sizes), length)
    used = np.bincount(places // length, weights=sizes, minlength=count)
    rooms = []
    for size in sorted(sizes, reverse=True):
        fitting = [left for left in rooms if left >= size]
        if fitting:
            rooms.remove(min(fitting))
        rooms.append((min(fitting) if fitting else length) - size)
    assert sorted(length - used) == sorted(rooms)


@settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=60), room=st.integers(0, 12))
def test_fullest_first_places_each_document_in_one_sequence_and_none_on_another(sizes, room):
    length = max(2, max(sizes) + room)
    places, count = fullest_first(np.array(sizes), length)
    taken = np.concatenate([np.arange(at, at + n) for at, n in zip(places, sizes, strict=True)])
    assert len(np.unique(taken)) == len(taken)
    np.testing.assert_array_equal(places // length, (places + sizes - 1) // length)
    assert set(places // length) == set(range(count))


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=60), room=st.integers(0, 12))
def test_packing_needs_no_more_sequences_than_either_heuristic(sizes, room):
    length = max(2, max(sizes) + room)
    counts = [pack(np.array(sizes), length)[1] for pack in (best_fit_decreasing, fullest_first)]
    assert place(np.array(sizes), length)[1] == min(counts)


@settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=7), length=st.integers(9, 30))
def test_the_first_sequence_is_as_full_as_any_that_holds_the_longest_document(sizes, length):
    # Many copies of each, since sums are taken as if lengths never ran out.
    many = np.repeat(sizes, length)
    places, _ = fullest_first(many, length)
    used = many[places < length].sum()
    room = length - max(sizes)
    sums = {0}
    for _ in range(room):
        sums |= {total + size for total in sums for size in sizes if total + size <= room}
    assert used == max(sizes) + max(sums)


def test_gaps_that_longest_first_leaves_are_filled():
    # 4 + 4 leaves 2 unused, and four documents of 3 need a third sequence; 4 + 3 + 3 is full.
    lengths = np.array([4, 4, 3, 3, 3, 3])
    assert best_fit_decreasing(lengths, 10)[1] == 3
    assert fullest_first(lengths, 10)[1] == place(lengths, 10)[1] == 2


def test_a_layout_looks_at_no_token():
    lengths = np.array([5, 3, 9, 2])
    zeros = np.zeros(4, np.int64)
    nothing = Documents(np.zeros(0, np.uint16), np.cumsum(lengths), zeros, zeros)
    assert packed_size(nothing, 10, whole=True) == (2, 15)
    assert packed_size(nothing, 10, whole=False) == (2, 14)


def test_many_documents_are_laid_out_in_a_moment():
    lengths = np.random.default_rng(0).integers(1, 2049, 300_000)
    zeros = np.zeros(len(lengths), np.int64)
    documents = Documents(np.zeros(0, np.uint16), np.cumsum(lengths), zeros, zeros)
    start = time.perf_counter()
    packed_size(documents, 2048, whole=True)
    packed_size(documents, 2048, whole=False)
    assert time.perf_counter() - start < 5
