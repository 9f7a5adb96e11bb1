"""The inventory of a mixture: what every source holds, counted in tokens.

`python -m data.inventory NAME` prints it. What it reads is tokenised and kept in the cache, under
a hash of the source's version, its renderer, what keeps it clean, and the tokenizer.
"""

import dataclasses
import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece

import data.tokenizer
from data.cache import cached, code_digest, digest
from data.ingest import REASONS, Ingest
from data.mixture_config import MixtureConfig
from data.program import run
from data.selection import Selection, effective_number, select
from data.spans import TAGS, whole_parts
from data.tables import table
from data.tokenized import TokenizedSource, tokenize
from data.tokenizer import Tokenizer, train_tokenizer

MODEL_FILE = "tokenizer.model"
QUANTILES = (0.5, 0.95, 1.0)
MAX_FAMILIES = 10  # of a source that are printed, the largest ones


@dataclasses.dataclass(frozen=True)
class Inventory:
    """The sources of a mixture as tokens."""

    config: MixtureConfig
    tokenizer: Tokenizer
    sources: tuple[TokenizedSource, ...]

    def selections(self) -> list[Selection]:
        """Returns the documents that the mixture may take of each source.

        No text is in two of them: it stays with the source that is named first.
        """
        taken: set[int] = set()
        pairs = zip(self.sources, self.config.sources, strict=True)
        return [select(source, config, self.config.seed, taken) for source, config in pairs]

    def rows(self) -> list[dict[str, Any]]:
        """Returns a table of the sources: documents, tokens by span, lengths, diversity."""
        pairs = zip(self.sources, self.config.sources, strict=True)
        return [_row(source, config.group) for source, config in pairs]

    def families(self) -> list[dict[str, Any]]:
        """Returns a table of the largest families, or domains, of the sources that have any."""
        named = [source for source in self.sources if any(source.families)]
        return [row for source in named for row in _family_rows(source)[:MAX_FAMILIES]]

    def dropped(self) -> list[dict[str, Any]]:
        """Returns a table of the rows that are not in the sources, by reason."""
        columns = ("rows", *REASONS, "documents")
        return [
            {"source": source.name} | {column: source.report[column] for column in columns}
            for source in self.sources
        ]

    def evaluation(self) -> list[dict[str, Any]]:
        """Returns a table of what the sources were kept clean of."""
        pairs = zip(self.config.evaluation, self.sources[0].report["evaluation"], strict=True)
        return [{"evaluation": source.name} | counts for source, counts in pairs]

    def notes(self) -> Iterator[str]:
        """Yields where malformed rows stand, and examples of what was dropped."""
        for source in self.sources:
            for problem, count in source.report["malformed_by_reason"].items():
                places = ", ".join(source.report["malformed_places"][problem])
                yield f"{source.name}: {count} malformed: {problem} ({places})"
            for sample in source.report["dropped_samples"]:
                cause = f" ({sample['cause']})" if sample["cause"] else ""
                yield f"{source.name}: {sample['reason']}{cause}: {sample['text'][:60]!r}"


def take_inventory(config: MixtureConfig, cache_dir: Path) -> Inventory:
    """Reads, cleans and tokenises the sources of a mixture, or opens what was prepared before.

    Args:
        config: The mixture.
        cache_dir: Where tokens and tokenizers are kept.

    Returns:
        The sources as tokens.

    Raises:
        ValueError: If a source is empty or missing, or a row is malformed and none may be skipped.
    """
    ingest = Ingest(config, cache_dir)
    tokenizer = prepare_tokenizer(config, ingest, cache_dir)
    sources = (tokenize(source, ingest, tokenizer, cache_dir) for source in config.sources)
    return Inventory(config, tokenizer, tuple(sources))


def prepare_tokenizer(config: MixtureConfig, ingest: Ingest, cache_dir: Path) -> Tokenizer:
    """Returns the mixture's tokenizer, training it first unless it is there.

    Raises:
        ValueError: If the given model can't be read or lacks a tag, or none can be trained.
    """
    settings = config.tokenizer
    if settings.model:
        return _given(settings.model)

    def build(folder: Path) -> None:
        model = train_tokenizer(
            _texts(config, ingest), vocab_size=settings.vocab_size, symbols=TAGS
        )
        (folder / MODEL_FILE).write_bytes(model)

    keys = [ingest.key(source) for source in config.sources]
    version = sentencepiece.__version__
    key = digest(
        sources=keys,
        settings=settings,
        tags=TAGS,
        code=code_digest(data.tokenizer),
        version=version,
    )
    return Tokenizer.from_file(cached(cache_dir, "tokenizer", key, build) / MODEL_FILE)


def _given(model: str) -> Tokenizer:
    try:
        given = Tokenizer.from_file(model)
        given.symbol_ids(TAGS[:2])
    except (OSError, ValueError) as error:
        raise ValueError(f"the tokenizer {model} can't be used: {error}") from error
    return given


def _texts(config: MixtureConfig, ingest: Ingest) -> Iterator[str]:
    """Yields texts to train a tokenizer on, without their tags."""
    share = max(1, config.tokenizer.train_documents // len(config.sources))
    for source in config.sources:
        for example in itertools.islice(ingest.examples(source, {}), share):
            yield from whole_parts(example)


def _row(source: TokenizedSource, group: str) -> dict[str, Any]:
    documents = source.documents
    lengths = documents.lengths
    median, most, longest = (int(value) for value in np.quantile(lengths, QUANTILES))
    kinds = {"families": source.family_ids, "templates": source.template_ids}
    effective = {
        kind: effective_number(np.bincount(ids, weights=lengths)) for kind, ids in kinds.items()
    }
    return {
        "source": source.name,
        "group": group,
        "documents": len(documents),
        "tokens": int(lengths.sum()),
        "prompt": int(documents.prompt_lengths.sum()),
        "trace": int(source.trace_lengths.sum()),
        "answer": int(documents.answer_lengths.sum()),
        "median length": median,
        "95%": most,
        "longest": longest,
        "verified": int(np.sum(source.verified == 1)),
        "families": len(source.families),
        "entropy": round(math.log(effective["families"]), 2),
        "effective": effective["families"],
        "templates": int(source.template_ids.max()) + 1,
        "effective templates": effective["templates"],
    }


def _family_rows(source: TokenizedSource) -> list[dict[str, Any]]:
    """Returns a row for each family of a source, the largest first."""
    documents = np.bincount(source.family_ids)
    tokens = _tokens_by_family(source)
    return [
        {
            "source": source.name,
            "family": source.families[family] or "(none)",
            "documents": int(documents[family]),
            "tokens": int(tokens[family]),
            "share": float(tokens[family] / tokens.sum()),
        }
        for family in np.argsort(-tokens, kind="stable")
    ]


def _tokens_by_family(source: TokenizedSource) -> np.ndarray:
    return np.bincount(source.family_ids, weights=source.documents.lengths)


def main(config: MixtureConfig, cache_dir: Path) -> None:
    """Prints the inventory of a mixture."""
    inventory = take_inventory(config, cache_dir)
    print(table(inventory.rows()))
    print("\nRows read, and those left out:\n")
    print(table(inventory.dropped()))
    for title, rows in (
        ("Kept out of them", inventory.evaluation()),
        (f"Families, the {MAX_FAMILIES} largest of each", inventory.families()),
    ):
        if rows:
            print(f"\n{title}:\n\n{table(rows)}")
    for number, note in enumerate(inventory.notes()):
        print("" if number else "\n", note, sep="")


if __name__ == "__main__":
    run("inventory", "Counts what the sources of a mixture hold, in tokens.", main, sys.argv[1:])
