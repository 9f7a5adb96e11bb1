"""Finding texts that are nearly the same: hashes of words and runs of words, MinHash and LSH.

Nothing depends on Python's `hash`, which differs from process to process. Words are what stands
between spaces and punctuation, so languages written without spaces are not served well.
"""

import functools
import hashlib
import re
import unicodedata
from collections.abc import Iterable

import numpy as np

RECALL = 0.99  # how likely a pair exactly at the threshold is to share a band
BLOCK = 1024  # shingles hashed at once, so that a long text needs little memory
MAX_NGRAM = 64
SIGNATURE_TYPE = np.dtype(np.uint32)

WORD = re.compile(r"[^\W_]+")
WORD_OR_SIGN = re.compile(r"[^\W_]+|\S")


class NearDuplicates:
    """Finds texts that nearly duplicate an earlier one, in one pass.

    Two texts are compared by their shingles, the runs of a few words and signs of each: their
    Jaccard similarity j is the number of shingles in both over the number in either. MinHash
    estimates j without bias from `num_hashes` numbers a text, with a standard error of
    sqrt(j (1 - j) / num_hashes): 0.035 at 0.8 with 128. See "On the resemblance and containment
    of documents" by Broder.

    Only pairs that share a band of these numbers are looked at (locality-sensitive hashing). The
    bands are as wide as they may be for a pair at the threshold to be looked at with probability
    0.99. Whatever shares a band is then judged by its estimate, so that a band shared by chance
    removes nothing.

    A text of fewer words and signs than a shingle only duplicates the same text. A text that
    duplicates another is not remembered; one that is remembered takes about 5 kB.

    It does not suit texts from one template: each of them shares bands with many others, which
    takes time, and among many estimates some are far too high. Of 6,000 texts, any two with
    j = 0.71, a third was taken for near duplicates.

    Args:
        threshold: The estimated Jaccard similarity from which on a text is a near duplicate.
        num_hashes: Hash functions of MinHash.
        shingle: Words and signs in a shingle.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, threshold: float = 0.8, num_hashes: int = 128, shingle: int = 5) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(
                f"the threshold of near duplicates must be in (0, 1]; got {threshold}."
            )
        if num_hashes < 1 or not 1 <= shingle <= MAX_NGRAM:
            raise ValueError(
                f"near duplicates need a hash function and shingles of 1 to {MAX_NGRAM} words; got"
                f" num_hashes={num_hashes} and shingle={shingle}."
            )
        self.threshold = threshold
        self.num_hashes = num_hashes
        self.shingle = shingle
        self._band_bytes = rows_per_band(threshold, num_hashes) * SIGNATURE_TYPE.itemsize
        num_bands = num_hashes * SIGNATURE_TYPE.itemsize // self._band_bytes
        self._buckets: list[dict[bytes, list[int]]] = [{} for _ in range(num_bands)]
        self._signatures: dict[int, bytes] = {}
        self._short: dict[int, int] = {}
        self._num_added = 0

    def add(self, text: str) -> int | None:
        """Looks for an earlier text that is nearly the same, and remembers this one if none is.

        Args:
            text: The text.

        Returns:
            The most similar of the earlier texts that are near enough and were remembered, as the
            number of texts added before it; None if there is none.
        """
        index = self._num_added
        self._num_added += 1
        words = WORD_OR_SIGN.findall(folded(text))
        if len(words) < self.shingle:
            earlier = self._short.setdefault(text_hash(text), index)
            return None if earlier == index else earlier
        hashes = ngram_hashes(word_hashes(words), self.shingle)
        signature = minhash(hashes, self.num_hashes).tobytes()
        nearest = self._nearest(signature)
        if nearest is None:
            self._remember(index, signature)
        return nearest

    def _nearest(self, signature: bytes) -> int | None:
        """Returns the most similar remembered text (of equals the first) if it is near enough."""
        found = zip(self._buckets, self._bands(signature), strict=True)
        candidates = sorted({index for bucket, band in found for index in bucket.get(band, ())})
        if not candidates:
            return None
        others = b"".join(self._signatures[index] for index in candidates)
        rows = np.frombuffer(others, SIGNATURE_TYPE).reshape(len(candidates), self.num_hashes)
        estimates = np.mean(rows == np.frombuffer(signature, SIGNATURE_TYPE), axis=1)
        best = int(np.argmax(estimates))
        return candidates[best] if estimates[best] >= self.threshold else None

    def _remember(self, index: int, signature: bytes) -> None:
        self._signatures[index] = signature
        for bucket, band in zip(self._buckets, self._bands(signature), strict=True):
            bucket.setdefault(band, []).append(index)

    def _bands(self, signature: bytes) -> list[bytes]:
        """Cuts a signature into bands; a rest too short for one is left out."""
        size = self._band_bytes
        return [signature[size * band : size * (band + 1)] for band in range(len(self._buckets))]


def rows_per_band(threshold: float, num_hashes: int) -> int:
    """Returns the most rows a band may have for pairs at the threshold to be found.

    A pair of similarity j agrees in all rows of one of the num_hashes // rows bands with
    probability 1 - (1 - j^rows)^bands, which is to be at least `RECALL` at the threshold. If no
    number of rows gives that (thresholds below 0.04 with 128 hashes), it is 1.
    """
    for rows in range(num_hashes, 1, -1):
        if 1 - (1 - threshold**rows) ** (num_hashes // rows) >= RECALL:
            return rows
    return 1


def minhash(shingles: np.ndarray, num_hashes: int) -> np.ndarray:
    """Returns the smallest value that each hash function takes on a set.

    Args:
        shingles: Hashes of the set's members, `uint64[n]`; repeated ones make no difference.
        num_hashes: Number of hash functions.

    Returns:
        The upper halves of the smallest values, `uint32[num_hashes]`. The share of places in which
        two sets agree estimates their Jaccard similarity.
    """
    factors, terms = _hash_functions(num_hashes)
    smallest = np.full(num_hashes, np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(shingles), BLOCK):
        values = shingles[start : start + BLOCK, None] * factors  # modulo 2^64
        values += terms
        smallest = np.minimum(smallest, values.min(axis=0))
    return (smallest >> np.uint64(32)).astype(SIGNATURE_TYPE)


def word_hashes(words: Iterable[str]) -> np.ndarray:
    """Returns a 64-bit hash of each word, `uint64[words]`."""
    return np.array([_word_hash(word) for word in words], np.uint64)


def ngram_hashes(hashes: np.ndarray, size: int) -> np.ndarray:
    """Returns a 64-bit hash of every run of `size` words, in order.

    Args:
        hashes: Hashes of the words of a text, `uint64[words]`.
        size: Number of words in a run.

    Returns:
        `uint64[max(0, words - size + 1)]`.
    """
    if len(hashes) < size:
        return np.zeros(0, np.uint64)
    runs = np.lib.stride_tricks.sliding_window_view(hashes, size)
    return runs @ _odd_numbers(MAX_NGRAM, seed=1)[:size]  # modulo 2^64


def text_hash(text: str) -> int:
    """Returns a 64-bit hash of a text in which case, kinds of spaces and their number don't count.

    The text is brought to Unicode's form NFKC and lower case, every run of white space becomes one
    space, and those at the ends go. Among n texts, n^2 / 2^65 pairs of different ones are expected
    to have the same hash: 0.03 in a billion.
    """
    return _hash(" ".join(folded(text).split()))


def folded(text: str) -> str:
    """Returns a text in Unicode's form NFKC and lower case."""
    return unicodedata.normalize("NFKC", text).lower()


def _hash(text: str) -> int:
    data = text.encode("utf-8", "surrogatepass")  # a lone surrogate has no other encoding
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


_word_hash = functools.lru_cache(maxsize=2**16)(_hash)


@functools.cache
def _hash_functions(num_hashes: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns factors and terms of the functions x -> factor x + term modulo 2^64."""
    return _odd_numbers(num_hashes, seed=2), _odd_numbers(num_hashes, seed=3)


@functools.cache
def _odd_numbers(count: int, seed: int) -> np.ndarray:
    """Returns random odd 64-bit numbers, the same with every version of NumPy."""
    return np.random.PCG64(seed).random_raw(count) | np.uint64(1)
