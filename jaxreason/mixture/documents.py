"""Tokenised documents in flat arrays, and what to do with those that are too long."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Integer

from jaxreason.checks import check_that

Overlong = Literal["error", "truncate", "split", "drop"]


@dataclasses.dataclass(frozen=True)
class Document:
    """A tokenised document: a prompt that bears no loss, a trace, and an answer at its end.

    Raises:
        ValueError: If it is empty, or its parts don't fit.
    """

    tokens: Integer[np.ndarray, " token"]
    """Token ids."""
    prompt_length: int = 0
    """Tokens at the start that bear no loss."""
    answer_length: int = 0
    """Tokens at the end that say the answer (with what ends the document)."""

    def __post_init__(self) -> None:
        parts = self.prompt_length, self.answer_length
        check_that(
            len(self.tokens) > 0 and min(parts) >= 0 and sum(parts) <= len(self.tokens),
            "a document must have tokens, and a prompt and an answer that don't overlap; got"
            f" {len(self.tokens)} tokens, prompt_length {parts[0]}, answer_length {parts[1]}.",
        )


@dataclasses.dataclass(frozen=True)
class Documents:
    """Many documents in one flat array, which may be a memory map; choosing copies no tokens."""

    tokens: Integer[np.ndarray, " token"]
    """Token ids that the documents are parts of."""
    ends: Integer[np.ndarray, " document"]
    """Where each document ends in `tokens`."""
    prompt_lengths: Integer[np.ndarray, " document"]
    """Tokens at each one's start that bear no loss."""
    answer_lengths: Integer[np.ndarray, " document"]
    """Tokens at each one's end that say the answer."""
    starts: Integer[np.ndarray, " document"] | None = None
    """Where each one starts in `tokens`; None if that is where the one before ends."""

    @classmethod
    def join(cls, documents: Iterable[Document]) -> "Documents":
        """Joins documents.

        Example:
            >>> documents = Documents.join([Document(np.arange(3)), Document(np.arange(2))])
            >>> documents.lengths
            array([3, 2])
        """
        documents = list(documents)
        tokens = [document.tokens for document in documents]
        return cls(
            tokens=np.concatenate(tokens) if tokens else np.zeros(0, np.int32),
            ends=np.cumsum([len(part) for part in tokens], dtype=np.int64),
            prompt_lengths=np.array([document.prompt_length for document in documents], np.int64),
            answer_lengths=np.array([document.answer_length for document in documents], np.int64),
        )

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def lengths(self) -> Integer[np.ndarray, " document"]:
        """[document], tokens of each."""
        return np.diff(self.ends, prepend=0) if self.starts is None else self.ends - self.starts

    def select(self, chosen: Sequence[int] | np.ndarray) -> "Documents":
        """Returns some of the documents, by index, in that order.

        Example:
            >>> documents = Documents.join([Document(np.arange(3)), Document(np.arange(2))])
            >>> documents.select([1]).joined_tokens()
            array([0, 1])
        """
        chosen = np.asarray(chosen, np.int64)
        return self.cut(chosen, np.zeros(len(chosen), np.int64), self.lengths[chosen])

    def cut(self, origin: np.ndarray, first: np.ndarray, last: np.ndarray) -> "Documents":
        """Returns parts of documents.

        Args:
            origin: [part], the index of the document that each one is a part of.
            first: [part], the part's first token, counted from the document's start.
            last: [part], the end of the part, counted likewise.

        Returns:
            The parts; prompts and answers are what they have of them.

        Example:
            >>> documents = Documents.join([Document(np.arange(5), prompt_length=3)])
            >>> parts = documents.cut(np.array([0, 0]), np.array([0, 2]), np.array([2, 5]))
            >>> parts.lengths, parts.prompt_lengths
            (array([2, 3]), array([2, 1]))
        """
        lengths, size = self.lengths[origin], last - first
        starts = self.ends[origin] - lengths
        answers = np.asarray(self.answer_lengths)[origin] - (lengths - last)
        return Documents(
            tokens=self.tokens,
            ends=starts + last,
            prompt_lengths=np.clip(np.asarray(self.prompt_lengths)[origin] - first, 0, size),
            answer_lengths=np.clip(answers, 0, size),
            starts=starts + first,
        )

    def joined_tokens(self) -> Integer[np.ndarray, " token"]:
        """[token], the tokens of all documents, end to end."""
        lengths = self.lengths
        return np.asarray(self.tokens)[ranges(self.ends - lengths, lengths)]

    def loss_mask(self) -> Bool[np.ndarray, " token"]:
        """[token], which of `joined_tokens` bear loss: all but the prompts."""
        lengths = self.lengths
        within = ranges(np.zeros_like(lengths), lengths)
        return within >= np.repeat(self.prompt_lengths, lengths)


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Documents that fit a length, and what became of those that did not."""

    documents: Documents
    """None longer than the length."""
    origin: Integer[np.ndarray, " document"]
    """[document], the index of the document that each one comes from."""
    num_overlong: int
    """Documents that were too long."""
    tokens_lost: int
    """Tokens that no document has any more."""


def fit(documents: Documents, length: int, *, overlong: Overlong) -> Fitted:
    """Makes documents fit a length.

    Args:
        documents: Documents of any length.
        length: The most tokens of a document, at least 2.
        overlong: What becomes of longer ones: "error"; "truncate" (the end is lost, and the answer
            with it); "split" (into consecutive documents, the last of which has the answer whole
            if that fits at all); "drop".

    Returns:
        The documents that fit, in order, and counts.

    Raises:
        ValueError: If a document is too long and `overlong` is "error".

    Example:
        >>> documents = Documents.join([Document(np.arange(7), prompt_length=1, answer_length=3)])
        >>> fit(documents, 5, overlong="split").documents.lengths
        array([4, 3])
        >>> fit(documents, 5, overlong="truncate").tokens_lost
        2
    """
    check_that(length >= 2, f"length must be at least 2; got {length}.")
    check_that(
        overlong in get_args(Overlong),
        f"overlong must be one of {get_args(Overlong)}; got {overlong}.",
    )
    lengths = documents.lengths
    num_overlong = int(np.sum(lengths > length))
    if num_overlong == 0:
        return Fitted(documents, np.arange(len(lengths)), 0, 0)
    if overlong == "error":
        longest = int(lengths.argmax())
        raise ValueError(
            f"{num_overlong} of {len(lengths)} documents do not fit {length} tokens; document"
            f" {longest} has {lengths[longest]}; use longer sequences, or set overlong to"
            " 'truncate', 'split' or 'drop'."
        )
    parts = _split_parts if overlong == "split" else _first_parts
    origin, first, last = parts(documents, length)
    if overlong == "drop":
        origin, first, last = (column[lengths <= length] for column in (origin, first, last))
    lost = int(lengths.sum() - np.sum(last - first))
    return Fitted(documents.cut(origin, first, last), origin, num_overlong, lost)


Parts = tuple[np.ndarray, np.ndarray, np.ndarray]
"""The origin, the first token and the end of each part, as in `Documents.cut`."""


def _first_parts(documents: Documents, length: int) -> Parts:
    """Cuts every document after `length` tokens."""
    origin = np.arange(len(documents))
    return origin, np.zeros_like(origin), np.minimum(documents.lengths, length)


def _split_parts(documents: Documents, length: int) -> Parts:
    """Cuts every document into parts of at most `length` tokens, and not through its answer."""
    lengths, answers = documents.lengths, documents.answer_lengths
    counts = -(-lengths // length)
    origin = np.repeat(np.arange(len(lengths)), counts)
    number = ranges(np.zeros_like(counts), counts)
    is_last = number == counts[origin] - 1
    before_answer = (lengths - answers)[origin]
    splits_answer = is_last & (number * length > before_answer) & (answers[origin] <= length)
    first = np.where(splits_answer, before_answer, number * length)
    last = np.where(is_last, lengths[origin], np.append(first[1:], 0))
    return origin, first, last


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Returns the numbers `start, start + 1, ...` of all ranges, one after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
