"""Packing documents into sequences of one length, with segment ids (host side, NumPy)."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Int32, Int64, Integer

from jaxreason.checks import check_that
from jaxreason.mixture.bins import place
from jaxreason.mixture.documents import Documents, ranges


@dataclasses.dataclass(frozen=True)
class Packed:
    """Documents laid out in sequences of one length. Padding has segment id 0."""

    tokens: Integer[np.ndarray, "sequence time"]
    """Token ids, 0 in padding."""
    segment_ids: Integer[np.ndarray, "sequence time"]
    """1, 2, ... within each sequence; 0 in padding."""
    loss_mask: Bool[np.ndarray, "sequence time"]
    """Which tokens bear loss. A segment's first token never does: nothing predicts it."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which documents stand where in sequences of one length; no token is looked at for it."""

    documents: Documents
    """In the order of their places; those that go on in the next sequence are cut there."""
    places: Int64[np.ndarray, " document"]
    """Where each starts, if the sequences are put end to end."""
    num_sequences: int
    """How many sequences there are."""
    length: int
    """Tokens in a sequence."""

    @property
    def loss_tokens(self) -> int:
        """Loss-bearing tokens: no prompts, and no first token of a segment."""
        silent = np.maximum(self.documents.prompt_lengths, 1)
        return int(np.sum(self.documents.lengths - silent))

    def sequences(self, first: int, last: int) -> Packed:
        """Writes out the sequences from `first` to before `last`."""
        begin, end = np.searchsorted(self.places, [first * self.length, last * self.length])
        documents = self.documents.select(np.arange(begin, end))
        starts = self.places[begin:end] - first * self.length
        target = ranges(starts, documents.lengths)
        shape = (last - first, self.length)
        tokens, is_first = np.zeros(shape, documents.tokens.dtype), np.zeros(shape, bool)
        filled, loss_mask = np.zeros(shape, bool), np.zeros(shape, bool)
        tokens.flat[target] = documents.joined_tokens()
        loss_mask.flat[target] = documents.loss_mask()
        filled.flat[target] = True
        is_first.flat[starts] = True
        segment_ids = np.cumsum(is_first, axis=1, dtype=np.int32) * filled
        return Packed(tokens, segment_ids, loss_mask & ~is_first)


def lay_out(documents: Documents, length: int, *, whole: bool) -> Layout:
    """Decides where documents go, from their lengths alone.

    Args:
        documents: As for `best_fit` or `concatenate_and_cut`.
        length: Tokens in a sequence, at least 2.
        whole: Whether documents stay whole (`best_fit`) or are cut (`concatenate_and_cut`).

    Returns:
        The layout, which writes out any part of the sequences.

    Raises:
        ValueError: As `best_fit` and `concatenate_and_cut` do.

    Example:
        >>> from jaxreason.mixture import Document, Documents
        >>> documents = Documents.join([Document(np.arange(3)), Document(np.arange(4))])
        >>> layout = lay_out(documents, 4, whole=False)
        >>> layout.num_sequences, layout.loss_tokens, layout.sequences(1, 2).tokens
        (2, 4, array([[1, 2, 3, 0]]))
    """
    lengths = _checked_lengths(documents, length)
    if not whole:
        places = np.union1d(np.cumsum(lengths) - lengths, np.arange(0, lengths.sum(), length))
        return Layout(_cut_at(documents, places), places, -(-int(lengths.sum()) // length), length)
    places, num_sequences = place(_that_fit(lengths, length), length)
    order = np.argsort(places)
    return Layout(documents.select(order), places[order], num_sequences, length)


def concatenate_and_cut(documents: Documents, length: int) -> Packed:
    """Joins documents end to end and cuts the result into sequences.

    A document that is cut goes on in the next sequence as a new segment. Only the last sequence
    may hold padding.

    Args:
        documents: Non-empty documents, at least one.
        length: Tokens in a sequence, at least 2.

    Returns:
        The packed sequences, in the documents' order.

    Raises:
        ValueError: If there are no documents, or one is empty.

    Example:
        >>> from jaxreason.mixture import Document, Documents
        >>> documents = Documents.join([Document(np.arange(3)), Document(np.arange(4))])
        >>> concatenate_and_cut(documents, 4).segment_ids
        array([[1, 1, 1, 2],
               [1, 1, 1, 0]], dtype=int32)
    """
    layout = lay_out(documents, length, whole=False)
    return layout.sequences(0, layout.num_sequences)


def best_fit(documents: Documents, length: int) -> Packed:
    """Packs whole documents into as few sequences as two fast heuristics find.

    The first is best-fit decreasing: longest first, each document goes into the fullest sequence
    that still has room for it, see "Fewer Truncations Improve Language Modeling" by Ding et al.
    (https://arxiv.org/abs/2404.10830). It leaves gaps where documents have few lengths; the second
    fills one sequence after the other as full as the lengths that are left allow, and is tried if
    there are at most 512 different ones.

    Args:
        documents: Non-empty documents, at least one, none longer than `length`; see `fit`.
        length: Tokens in a sequence, at least 2.

    Returns:
        The packed sequences; no document is cut.

    Raises:
        ValueError: If there are no documents, or one is empty or longer than `length`.

    Example:
        >>> from jaxreason.mixture import Document, Documents
        >>> documents = Documents.join([Document(np.arange(n)) for n in (1, 2, 3)])
        >>> best_fit(documents, 4).segment_ids
        array([[1, 1, 1, 2],
               [1, 1, 0, 0]], dtype=int32)
    """
    layout = lay_out(documents, length, whole=True)
    return layout.sequences(0, layout.num_sequences)


def packed_size(documents: Documents, length: int, *, whole: bool) -> tuple[int, int]:
    """Computes what packing would give, from the documents' lengths alone.

    Args:
        documents: As for `best_fit` or `concatenate_and_cut`; their tokens are not looked at.
        length: Tokens in a sequence, at least 2.
        whole: Whether documents stay whole (`best_fit`) or are cut.

    Returns:
        The number of sequences and of loss-bearing tokens.

    Raises:
        ValueError: As `best_fit` and `concatenate_and_cut` do.

    Example:
        >>> from jaxreason.mixture import Document, Documents
        >>> documents = Documents.join([Document(np.arange(3)), Document(np.arange(4))])
        >>> packed_size(documents, 4, whole=True), packed_size(documents, 4, whole=False)
        ((2, 5), (2, 4))
    """
    layout = lay_out(documents, length, whole=whole)
    return layout.num_sequences, layout.loss_tokens


def positions_of(
    segment_ids: Integer[np.ndarray, "*batch time"],
) -> Int32[np.ndarray, "*batch time"]:
    """Counts positions within segments.

    Args:
        segment_ids: Segments of packed sequences; 0 in padding.

    Returns:
        The position within the segment, from 0; 0 in padding.

    Example:
        >>> positions_of(np.array([1, 1, 1, 2, 2, 0, 0]))
        array([0, 1, 2, 0, 1, 0, 0], dtype=int32)
    """
    firsts = np.ones(segment_ids.shape, bool)
    firsts[..., 1:] = segment_ids[..., 1:] != segment_ids[..., :-1]
    starts = np.flatnonzero(firsts)
    lengths = np.diff(starts, append=segment_ids.size)
    positions = np.arange(segment_ids.size, dtype=np.int32)
    positions -= np.repeat(starts, lengths).astype(np.int32)
    return positions.reshape(segment_ids.shape) * (segment_ids > 0)


def _checked_lengths(documents: Documents, length: int) -> np.ndarray:
    """Returns the documents' lengths, or raises in one sentence."""
    check_that(length >= 2, f"length must be at least 2; got {length}.")
    check_that(len(documents) > 0, "there are no documents to pack; the source is empty.")
    lengths = documents.lengths
    check_that(
        bool(lengths.min() > 0),
        f"documents must have tokens; document {int(lengths.argmin())} is empty.",
    )
    return lengths


def _that_fit(lengths: np.ndarray, length: int) -> np.ndarray:
    """Returns the lengths if none is too large for a sequence, or raises in one sentence."""
    longest = int(lengths.argmax())
    check_that(
        int(lengths[longest]) <= length,
        f"document {longest} has {lengths[longest]} tokens and does not fit a sequence of"
        f" {length}; use sequences of {lengths[longest]} or more, or `fit` the documents first.",
    )
    return lengths


def _cut_at(documents: Documents, places: np.ndarray) -> Documents:
    """Cuts documents, put end to end, at places; each document's start is one of these."""
    ends = np.cumsum(documents.lengths)
    starts = ends - documents.lengths
    origin = np.searchsorted(starts, places, side="right") - 1
    last = np.append(places[1:], ends[-1])
    return documents.cut(origin, places - starts[origin], last - starts[origin])
