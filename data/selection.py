"""Which of a source's documents a mixture takes: diversity, quality and scale, each on its own."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data.mixture_config import Source
from data.tokenized import TokenizedSource
from jaxreason.mixture import Documents, fold_in


@dataclasses.dataclass(frozen=True)
class Selection:
    """Documents chosen from a source, in a random order that is the same for any number of them."""

    source: TokenizedSource
    chosen: np.ndarray
    """[document], indices into the source; a smaller selection is the beginning of a larger one."""
    corrupted_share: float
    """The share of them that gets another one's answer."""
    prompt_loss: bool
    """Whether prompts bear loss."""
    seed: int

    def take(self, count: int) -> "Selection":
        """Returns the first documents, of which the same share is corrupted."""
        return dataclasses.replace(self, chosen=self.chosen[:count])

    @property
    def corrupted(self) -> int:
        """How many of them get another one's answer: the first ones."""
        return round(self.corrupted_share * len(self.chosen))

    @property
    def lengths(self) -> np.ndarray:
        """[document], tokens of each, before corruption."""
        return self.source.documents.lengths[self.chosen]

    def documents(self) -> Documents:
        """Returns the documents, as they stand in the source, corrupted as asked.

        Raises:
            ValueError: If some are to be corrupted and all have the same answer.
        """
        order = np.argsort(self.chosen, kind="stable")
        documents = self.source.documents.select(self.chosen[order])
        if self.prompt_loss:
            no_prompts = np.zeros_like(documents.prompt_lengths)
            documents = dataclasses.replace(documents, prompt_lengths=no_prompts)
        try:
            return corrupt(documents, np.flatnonzero(order < self.corrupted), self.seed)
        except ValueError as error:
            raise ValueError(f"source {self.source.name}: {error}") from error


def select(source: TokenizedSource, config: Source, seed: int, taken: set[int]) -> Selection:
    """Chooses documents as a source's settings say.

    Args:
        source: All documents.
        config: Families, quality and scale.
        seed: Chooses which ones.
        taken: Hashes of texts that other sources have; those chosen are added.

    Returns:
        The chosen documents.

    Raises:
        ValueError: If a family is not there, or nothing is left.
    """
    chosen = np.flatnonzero(_fits(source, config, taken))
    keys = fold_in(fold_in(seed, chosen), 1)
    chosen = chosen[np.argsort(keys, kind="stable")][: config.max_documents]
    taken.update(source.text_hashes[chosen].tolist())
    return Selection(source, chosen, config.corrupted_share, config.prompt_loss, seed)


def _fits(source: TokenizedSource, config: Source, taken: set[int]) -> np.ndarray:
    """Tells which documents a source's settings admit; raises if it is none."""
    new = [hash_ not in taken for hash_ in source.text_hashes.tolist()]
    conditions = {"in no source before it": np.array(new, bool)}
    if config.families:
        ids = _family_ids(source, config.families)
        conditions["of its families"] = np.isin(source.family_ids, ids)
    if config.max_templates:
        conditions["of its first templates"] = _template_ranks(source) < config.max_templates
    if config.verified_only:
        conditions["verified"] = source.verified == 1
    if config.min_trace_tokens:
        long_enough = source.trace_lengths >= config.min_trace_tokens
        conditions[f"with a trace of {config.min_trace_tokens} tokens or more"] = long_enough
    fits = np.logical_and.reduce(list(conditions.values()))
    if not fits.any():
        told = ", ".join(f"{np.sum(mask)} are {what}" for what, mask in conditions.items())
        raise ValueError(
            f"nothing of source {config.name} is left: of its {len(fits)} examples, {told}, and"
            " none is all of this."
        )
    return fits


def corrupt(documents: Documents, victims: np.ndarray, seed: int) -> Documents:
    """Gives documents the answers of others.

    Args:
        documents: The documents.
        victims: Indices of those to change.
        seed: Chooses whose answer each gets: any document's that has another one.

    Returns:
        The documents; each of the victims has another answer than its own.

    Raises:
        ValueError: If all documents have the same answer.
    """
    if len(victims) == 0:
        return documents
    starts = documents.ends - documents.lengths
    answers = documents.ends - documents.answer_lengths
    donors = np.arange(len(documents))
    donors[victims] = _donors(documents, answers, victims, np.random.default_rng(seed))
    pieces = []
    for index, donor in enumerate(donors.tolist()):
        pieces.append(documents.tokens[starts[index] : answers[index]])
        pieces.append(documents.tokens[answers[donor] : documents.ends[donor]])
    answer_lengths = documents.answer_lengths[donors]
    return Documents(
        tokens=np.concatenate(pieces),
        ends=np.cumsum(answers - starts + answer_lengths),
        prompt_lengths=documents.prompt_lengths,
        answer_lengths=answer_lengths,
    )


def _donors(
    documents: Documents, answers: np.ndarray, victims: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draws for each victim one of the documents with another answer, all equally likely."""
    numbers: dict[bytes, int] = {}  # of the different answers
    spans = zip(answers.tolist(), documents.ends.tolist(), strict=True)
    texts = (documents.tokens[start:end].tobytes() for start, end in spans)
    kinds = np.array([numbers.setdefault(text, len(numbers)) for text in texts])
    if len(numbers) < 2:
        raise ValueError("answers can't be corrupted: all of them are the same.")
    by_kind = np.argsort(kinds, kind="stable")
    alike = np.bincount(kinds)[kinds[victims]]
    first = np.searchsorted(kinds[by_kind], kinds[victims])  # those with its answer are from here
    drawn = rng.integers(len(documents) - alike)
    return by_kind[np.where(drawn < first, drawn, drawn + alike)]


def effective_number(weights: Sequence[float] | np.ndarray) -> float:
    """Returns how many equally frequent kinds would be as diverse: exp of the entropy.

    Example:
        >>> effective_number([1, 1, 1, 1]), effective_number([1, 0])
        (4.0, 1.0)
    """
    weights = np.asarray(weights, float)
    shares = weights[weights > 0] / weights.sum()
    return float(np.round(np.exp(-np.sum(shares * np.log(shares))), 12))


def _template_ranks(source: TokenizedSource) -> np.ndarray:
    """Returns each document's template's place among those of its family, from 0."""
    templates, documents = np.unique(source.template_ids, return_index=True)
    by_family = np.lexsort((templates, source.family_ids[documents]))
    families = source.family_ids[documents][by_family]
    ranks = np.empty(len(templates), np.int64)
    ranks[by_family] = np.arange(len(templates)) - np.searchsorted(families, families)
    return ranks[np.searchsorted(templates, source.template_ids)]


def _family_ids(source: TokenizedSource, families: Sequence[str]) -> list[int]:
    unknown = [family for family in families if family not in source.families]
    if unknown:
        known = ", ".join(family or "(none)" for family in source.families)
        raise ValueError(f"source {source.name} has no family {unknown[0]!r}; it has {known}.")
    return [source.families.index(family) for family in families]
