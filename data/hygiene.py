"""Keeping training text clean: splits by problem, duplicates, and the evaluation's own prompts.

Left out: clusters of near duplicates; everything takes one pass, in which the first text stays.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Literal

from data.near_duplicates import (
    MAX_NGRAM,
    WORD,
    NearDuplicates,
    folded,
    ngram_hashes,
    text_hash,
    word_hashes,
)
from data.spans import Spans, plain

MIN_WORDS = 5  # a shorter run of words is too common to be a sign of anything
MAX_SAMPLES = 3
SAMPLE_CHARACTERS = 200

Reason = Literal["contaminated", "held_out", "exact", "near"]


def split_of(problem: str, held_out_share: float, seed: int) -> Literal["train", "held_out"]:
    """Tells which split all examples of a problem belong to.

    It depends on the problem's `text_hash` and the seed only: not on the order of rows, nor on
    case and spaces. Each problem is held out with probability `held_out_share`, so the share of
    problems is near it and the share of examples may be further away. With the same seed, problems
    held out at one share stay so at any higher one.

    Args:
        problem: What is asked.
        held_out_share: The expected share of problems to hold out, from 0 (none) to 1 (all).
        seed: Chooses which ones.

    Returns:
        "train" or "held_out".

    Raises:
        ValueError: If the problem is blank, or the share outside [0, 1].
    """
    if not 0 <= held_out_share <= 1:
        raise ValueError(f"the share to hold out must lie in [0, 1]; got {held_out_share:g}.")
    if not problem.strip():
        raise ValueError(
            "a split goes by the problem and this one is blank; for an example that stands alone,"
            " give its whole text."
        )
    is_held_out = text_hash(f"{seed} {problem}") < held_out_share * 2**64
    return "held_out" if is_held_out else "train"


class Decontaminator:
    """Finds evaluation prompts in training text, by the runs of words that both have.

    Words are compared in lower case and without punctuation. A text is contaminated if it has any
    `ngram` consecutive words of a prompt. A prompt of fewer words, but at least 5, must be there
    with all its words. A shorter one must be the whole text (as `text_hash` sees it, so that
    "2 + 2" is not "2 - 2").

    Give it bare problems: an instruction that every prompt shares would make every text that has
    it contaminated.

    Args:
        prompts: Evaluation prompts.
        ngram: Number of consecutive words.

    Raises:
        ValueError: If there are no prompts, one is blank, or `ngram` is out of range.
    """

    def __init__(self, prompts: Iterable[str], ngram: int = 13) -> None:
        if not MIN_WORDS <= ngram <= MAX_NGRAM:
            raise ValueError(f"ngram must be from {MIN_WORDS} to {MAX_NGRAM} words; got {ngram}.")
        self._ngrams: dict[int, set[int]] = {}
        self._short: set[int] = set()
        number = 0
        for number, prompt in enumerate(prompts, start=1):
            if not prompt.strip():
                raise ValueError(f"evaluation prompt {number} is blank; leave it out.")
            self._add(prompt, ngram)
        if number == 0:
            raise ValueError("decontamination needs evaluation prompts; got none.")

    def overlap(self, text: str) -> bool:
        """Tells whether a training text is contaminated."""
        return self.matched(text) is not None

    def matched(self, text: str) -> str | None:
        """Returns words that a training text has in common with a prompt; None if it is clean."""
        words = WORD.findall(folded(text))
        if len(words) < MIN_WORDS:
            return text if text_hash(text) in self._short else None
        hashes = word_hashes(words)
        for size, known in self._ngrams.items():
            for start, ngram in enumerate(ngram_hashes(hashes, size).tolist()):
                if ngram in known:
                    return " ".join(words[start : start + size])
        return None

    def _add(self, prompt: str, ngram: int) -> None:
        words = WORD.findall(folded(prompt))
        if len(words) < MIN_WORDS:
            self._short.add(text_hash(prompt))
            return
        size = min(ngram, len(words))
        hashes = ngram_hashes(word_hashes(words), size)
        self._ngrams.setdefault(size, set()).update(hashes.tolist())


class Duplicates:
    """Finds texts that are the same as an earlier one but for case and spaces."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def seen_before(self, text: str) -> bool:
        """Tells whether the text came before, and remembers it."""
        identity = text_hash(text)
        if identity in self._hashes:
            return True
        self._hashes.add(identity)
        return False


@dataclasses.dataclass(frozen=True)
class Dropped:
    """An example that was dropped, for people to look at."""

    reason: Reason
    place: int
    """How many examples came before it."""
    text: str
    """Its beginning."""
    cause: str
    """The words it shares with a prompt or the place of what it is near to; else empty."""


@dataclasses.dataclass
class Cleaned:
    """What `clean` read, kept and dropped.

    An example that is dropped counts once, for the first reason in this order.
    """

    num_in: int = 0
    """Examples read."""
    num_out: int = 0
    """Examples kept."""
    contaminated: int = 0
    """Dropped: words of an evaluation prompt."""
    held_out: int = 0
    """Dropped: a duplicate or near duplicate of a reference example."""
    exact: int = 0
    """Dropped: a duplicate of an earlier example that was not dropped for a reason above."""
    near: int = 0
    """Dropped: a near duplicate of an earlier example that was kept."""
    samples: list[Dropped] = dataclasses.field(default_factory=list)
    """The first few examples dropped for each reason."""

    def drop(self, dropped: Dropped) -> None:
        """Counts an example that is dropped, and keeps it if few were for its reason."""
        count = getattr(self, dropped.reason)
        setattr(self, dropped.reason, count + 1)
        if count < MAX_SAMPLES:
            self.samples.append(dropped)


def whole_text(example: Spans) -> str:
    """Returns all that a model would see of an example."""
    return plain(example.prompt + example.trace + example.answer)


def clean(
    examples: Iterable[Spans],
    counts: Cleaned,
    *,
    reference: Iterable[Spans] = (),
    decontaminator: Decontaminator | None = None,
    threshold: float | None = 0.8,
) -> Iterator[Spans]:
    """Yields examples without the duplicates and the contaminated ones, in order.

    Whole examples are compared for duplicates: two traces of one problem both stay unless they are
    nearly the same. For contamination, the prompt and what follows it are searched, each on its
    own, for evaluation prompts.

    Args:
        examples: The training examples, read once, as they are asked for. Chain sources to
            compare them with each other.
        counts: Filled in along the way.
        reference: Held-out or evaluation examples, whose duplicates don't belong in training.
        decontaminator: Finds evaluation prompts; None to look for none.
        threshold: The similarity of near duplicates, see `NearDuplicates`; None to drop only exact
            duplicates.

    Returns:
        An iterator over the examples that stay.

    Raises:
        ValueError: If the threshold is outside (0, 1].
    """
    return _kept(examples, counts, _Judge(reference, decontaminator, threshold))


def _kept(examples: Iterable[Spans], counts: Cleaned, judge: "_Judge") -> Iterator[Spans]:
    for place, example in enumerate(examples):
        counts.num_in += 1
        verdict = judge.verdict(place, example)
        if verdict is None:
            counts.num_out += 1
            yield example
        else:
            reason, cause = verdict
            counts.drop(Dropped(reason, place, whole_text(example)[:SAMPLE_CHARACTERS], cause))


class _Judge:
    """Says which examples to drop, and remembers the others."""

    def __init__(
        self,
        reference: Iterable[Spans],
        decontaminator: Decontaminator | None,
        threshold: float | None,
    ) -> None:
        self._decontaminator = decontaminator
        self._near = None if threshold is None else NearDuplicates(threshold)
        self._reference: set[int] = set()
        self._seen = Duplicates()
        self._places: list[int] = []  # of the texts added to `_near`
        for place, example in enumerate(reference):
            text = whole_text(example)
            self._reference.add(text_hash(text))
            self._earlier(place, text)
        self._num_reference = len(self._places)

    def verdict(self, place: int, example: Spans) -> tuple[Reason, str] | None:
        """Returns why to drop an example, and the cause; None to keep it."""
        text = whole_text(example)
        words = self._contamination(example)
        if words is not None:
            return "contaminated", words
        if text_hash(text) in self._reference:
            return "held_out", ""
        if self._seen.seen_before(text):
            return "exact", ""
        earlier = self._earlier(place, text)
        if earlier is None:
            return None
        if earlier < self._num_reference:
            return "held_out", f"near reference example {self._places[earlier]}"
        return "near", f"near example {self._places[earlier]}"

    def _contamination(self, example: Spans) -> str | None:
        """Returns words of an evaluation prompt in the prompt or in what follows it."""
        if self._decontaminator is None:
            return None
        in_prompt = self._decontaminator.matched(plain(example.prompt))
        if in_prompt is not None:
            return in_prompt
        return self._decontaminator.matched(plain(example.trace + example.answer))

    def _earlier(self, place: int, text: str) -> int | None:
        """Adds a text to those compared; returns which of them it nearly duplicates."""
        if self._near is None:
            return None
        self._places.append(place)
        return self._near.add(text)
