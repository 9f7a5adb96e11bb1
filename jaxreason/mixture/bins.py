"""Which of many sequences of one length each document goes into: one-dimensional bin packing."""

from collections.abc import Iterator

import numpy as np

MOST_SIZES = 512  # different lengths for which subset sums are tried; their cost is its square


def place(lengths: np.ndarray, length: int) -> tuple[np.ndarray, int]:
    """Places documents in as few sequences as the better of two heuristics needs.

    Args:
        lengths: Tokens of each document, in 1..`length`.
        length: Tokens in a sequence.

    Returns:
        Where each document starts, if the sequences are put end to end, and how many sequences
        there are.

    Example:
        >>> place(np.array([3, 3, 4, 3, 3, 4]), 10)
        (array([ 4,  7,  0, 14, 17, 10]), 2)
        >>> best_fit_decreasing(np.array([3, 3, 4, 3, 3, 4]), 10)[1]
        3
    """
    found = [best_fit_decreasing(lengths, length)]
    if len(np.unique(lengths)) <= MOST_SIZES:
        found.append(fullest_first(lengths, length))
    return min(found, key=lambda places_and_count: places_and_count[1])


def fullest_first(lengths: np.ndarray, length: int) -> tuple[np.ndarray, int]:
    """Fills one sequence after the other: the longest document left, then what fills it best.

    Sequences of the same lengths are filled at once. What fills the room best is found by the
    sums that the lengths can have (a subset-sum problem), as if each were there without end.

    Args:
        lengths: As for `place`.
        length: As for `place`.

    Returns:
        As `place`.
    """
    places, count = np.zeros(len(lengths), np.int64), 0
    order = np.argsort(lengths, kind="stable")
    found = np.unique(lengths[order], return_index=True, return_counts=True)
    sizes, firsts, numbers = (part.tolist() for part in found)
    unplaced = dict(zip(sizes, firsts, strict=True))
    for repeats, content in _contents(dict(zip(sizes, numbers, strict=True)), length):
        starts = (count + np.arange(repeats)[:, None]) * length
        for size, number in content.items():
            begin = unplaced[size]
            unplaced[size] += repeats * number
            placed = starts + np.arange(number) * size
            places[order[begin : unplaced[size]]] = placed.reshape(-1)
            starts += number * size
        count += repeats
    return places, count


def _contents(left: dict[int, int], length: int) -> Iterator[tuple[int, dict[int, int]]]:
    """Yields how many sequences are filled alike, and how many documents of each size are in one.

    Args:
        left: How many documents there are of each size.
        length: Tokens in a sequence.
    """
    while left:
        sums = _sums(sorted(left), length)
        while all(left.values()):
            content = _fullest(left, sums, length)
            repeats = min(left[size] // number for size, number in content.items())
            for size, number in content.items():
                left[size] -= repeats * number
            yield repeats, content
        left = {size: number for size, number in left.items() if number}


def _sums(sizes: list[int], length: int) -> dict[int, int]:
    """Returns the sums up to `length` of each size and smaller ones, as set bits of an integer."""
    within, sums, found = (2 << length) - 1, 1, {}
    for size in sizes:
        step = size
        while step <= length:
            sums |= (sums << step) & within
            step *= 2
        found[size] = sums
    return found


def _fullest(left: dict[int, int], sums: dict[int, int], length: int) -> dict[int, int]:
    """Returns the documents of a sequence by size: one of the largest, then what fills it best."""
    largest, *_ = sizes = sorted(sums, reverse=True)
    content, room = {largest: 1}, length - largest
    for size in sizes:
        while size <= room and left[size] > content.get(size, 0):
            best = (sums[size] & ((2 << room) - 1)).bit_length() - 1
            if best < size or not sums[size] >> (best - size) & 1:
                break
            content[size] = content.get(size, 0) + 1
            room -= size
    return content


class _Sequences:
    """Sequences that are being filled, by the room that is left in them."""

    def __init__(self, length: int) -> None:
        self.count = 0
        self._length = length
        self._by_room: list[list[int]] = [[] for _ in range(length + 1)]
        self._rooms = 0  # bit r is set while some sequence has room for exactly r tokens

    def take(self, size: int, num_documents: int) -> tuple[int, list[int]]:
        """Takes out what documents of one size need of the fullest sequences that have room.

        Returns:
            The room in each, and the sequences: others, or new ones, if they are too few.
        """
        large_enough = self._rooms >> size
        if large_enough == 0:
            needed = -(-num_documents // (self._length // size))
            self.count += needed
            return self._length, list(range(self.count - needed, self.count))
        room = size + (large_enough & -large_enough).bit_length() - 1
        sequences = self._by_room[room]
        needed = min(len(sequences), -(-num_documents // (room // size)))
        taken = sequences[-needed:][::-1]
        del sequences[-needed:]
        self._rooms ^= (not sequences) << room
        return room, taken

    def put(self, room: int, sequences: list[int]) -> None:
        """Puts sequences back with the room that is left in them."""
        if sequences:
            self._by_room[room] += sequences
            self._rooms |= 1 << room


def best_fit_decreasing(lengths: np.ndarray, length: int) -> tuple[np.ndarray, int]:
    """Places documents longest first, each into the fullest sequence that has room for it.

    All documents of one size are placed in a few steps: a sequence takes as many as it has room
    for, since with the first one in it, it is the fullest.

    Args:
        lengths: As for `place`.
        length: As for `place`.

    Returns:
        As `place`.
    """
    places = np.zeros(len(lengths), np.int64)
    sequences = _Sequences(length)
    longest_first = np.argsort(-lengths, kind="stable")
    for documents in np.split(longest_first, np.flatnonzero(np.diff(lengths[longest_first])) + 1):
        size = int(lengths[documents[0]])
        while len(documents):
            room, taken = sequences.take(size, len(documents))
            each = room // size
            placed, documents = np.split(documents, [len(taken) * each])
            number = np.arange(len(placed))
            starts = np.array(taken) * length + length - room
            places[placed] = starts[number // each] + number % each * size
            in_last = len(placed) - (len(taken) - 1) * each
            sequences.put(room - each * size, taken[:-1])
            sequences.put(room - in_last * size, taken[-1:])
    return places, sequences.count
