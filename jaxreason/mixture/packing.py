"""Packing documents into sequences of one length, with segment ids (host side, NumPy)."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Bool, Int32

from jaxreason.checks import check_that


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Document:
    """A tokenised document."""

    tokens: Int32[np.ndarray, " time"]
    """Token ids."""
    loss_mask: Bool[np.ndarray, " time"]
    """Which tokens the model is to learn to produce."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Packed:
    """Documents laid out in sequences of one length. Padding has segment id 0."""

    tokens: Int32[np.ndarray, "sequence time"]
    """Token ids, 0 in padding."""
    segment_ids: Int32[np.ndarray, "sequence time"]
    """1, 2, ... within each sequence; 0 in padding."""
    positions: Int32[np.ndarray, "sequence time"]
    """The position within the segment, from 0."""
    loss_mask: Bool[np.ndarray, "sequence time"]
    """Which tokens bear loss. A segment's first token never does: nothing predicts it."""


def concatenate_and_cut(documents: Sequence[Document], length: int) -> Packed:
    """Joins documents end to end and cuts the result into sequences.

    A document that is cut goes on in the next sequence as a new segment with positions from 0.
    Only the last sequence may hold padding.

    Args:
        documents: Non-empty documents.
        length: Tokens in a sequence, at least 2.

    Returns:
        The packed sequences, in the documents' order.

    Raises:
        ValueError: If there are no documents, or one is malformed.

    Example:
        >>> def document(n):
        ...     return Document(np.arange(n, dtype=np.int32), np.ones(n, bool))
        >>> concatenate_and_cut([document(3), document(4)], 4).segment_ids
        array([[1, 1, 1, 2],
               [1, 1, 1, 0]], dtype=int32)
    """
    lengths = _checked_lengths(documents, length)
    num_sequences = -(-int(lengths.sum()) // length)
    return _laid_out(documents, np.cumsum(lengths) - lengths, num_sequences, length)


def best_fit(documents: Sequence[Document], length: int) -> Packed:
    """Packs whole documents, each into the fullest sequence that still has room for it.

    Documents are placed longest first (best-fit decreasing).

    See "Fewer Truncations Improve Language Modeling" by Ding et al.
    (https://arxiv.org/abs/2404.10830).

    Args:
        documents: Non-empty documents, none longer than `length`.
        length: Tokens in a sequence, at least 2.

    Returns:
        The packed sequences; no document is cut.

    Raises:
        ValueError: If there are no documents, or one is malformed or longer than `length`.

    Example:
        >>> def document(n):
        ...     return Document(np.arange(n, dtype=np.int32), np.ones(n, bool))
        >>> best_fit([document(1), document(2), document(3)], 4).segment_ids
        array([[1, 1, 1, 2],
               [1, 1, 0, 0]], dtype=int32)
    """
    lengths = _checked_lengths(documents, length)
    longest = int(lengths.argmax())
    check_that(
        int(lengths[longest]) <= length,
        f"document {longest} has {lengths[longest]} tokens and does not fit a sequence of"
        f" {length}; use sequences of {lengths[longest]} or more, or drop or cut it.",
    )
    starts, num_sequences = _best_fit_starts(lengths, length)
    return _laid_out(documents, starts, num_sequences, length)


def _checked_lengths(documents: Sequence[Document], length: int) -> np.ndarray:
    """Returns the documents' lengths, or raises in one sentence."""
    check_that(length >= 2, f"length must be at least 2; got {length}.")
    check_that(len(documents) > 0, "there are no documents to pack; the source is empty.")
    for index, document in enumerate(documents):
        shapes = document.tokens.shape, document.loss_mask.shape
        check_that(
            shapes[0] == shapes[1] and len(shapes[0]) == 1 and shapes[0][0] > 0,
            f"document {index} must have tokens and loss_mask of one non-zero length; got shapes"
            f" {list(shapes[0])} and {list(shapes[1])}.",
        )
    return np.array([len(document.tokens) for document in documents])


def _best_fit_starts(lengths: np.ndarray, length: int) -> tuple[np.ndarray, int]:
    """Chooses every document's start in the flattened sequences; also counts the sequences."""
    rows_by_room: list[list[int]] = [[] for _ in range(length + 1)]
    rooms = 0  # bit r is set while some sequence has room for exactly r tokens
    starts = np.zeros(len(lengths), np.int64)
    num_sequences = 0
    for document in np.argsort(-lengths, kind="stable"):
        size = int(lengths[document])
        large_enough = rooms >> size
        if large_enough:
            room = size + (large_enough & -large_enough).bit_length() - 1
            row = rows_by_room[room].pop()
            if not rows_by_room[room]:
                rooms ^= 1 << room
        else:
            room, row = length, num_sequences
            num_sequences += 1
        starts[document] = row * length + length - room
        rows_by_room[room - size].append(row)
        rooms |= 1 << (room - size)
    return starts, num_sequences


def _laid_out(
    documents: Sequence[Document], starts: np.ndarray, num_sequences: int, length: int
) -> Packed:
    """Writes every document at its start in the flattened sequences and numbers the segments."""
    lengths = np.array([len(document.tokens) for document in documents])
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    target = np.repeat(starts, lengths) + within
    shape = (num_sequences, length)
    tokens, first = np.zeros(shape, np.int32), np.zeros(shape, bool)
    filled, loss_mask = np.zeros(shape, bool), np.zeros(shape, bool)
    tokens.flat[target] = np.concatenate([document.tokens for document in documents])
    loss_mask.flat[target] = np.concatenate([document.loss_mask for document in documents])
    filled.flat[target] = True
    first.flat[starts] = True
    first[:, 0] = True

    columns = np.arange(length, dtype=np.int32)
    segment_ids = np.cumsum(first, axis=1, dtype=np.int32) * filled
    positions = (columns - np.maximum.accumulate(np.where(first, columns, 0), axis=1)) * filled
    return Packed(tokens, segment_ids, positions.astype(np.int32), loss_mask & ~first)
