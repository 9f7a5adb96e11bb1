"""A source as tokens in the cache: read, cleaned and tokenised once, whatever mixtures use it."""

import dataclasses
import json
import sys
from array import array
from collections.abc import Iterable
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
from tqdm import tqdm

from data import documents, tokenizer
from data.cache import cached, code_digest, digest
from data.documents import tokenised
from data.hygiene import whole_text
from data.ingest import Ingest
from data.mixture_config import Source
from data.near_duplicates import text_hash
from data.spans import Spans
from data.tokenizer import AnyTokenizer
from jaxreason.mixture import Documents

CODE: tuple[ModuleType, ...] = (documents, tokenizer, sys.modules[__name__])
SIGNED, UNSIGNED = "q", "Q"  # of 64 bits
COLUMNS = MappingProxyType(
    {
        **dict.fromkeys(("ends", "prompt_lengths", "answer_lengths"), SIGNED),
        **dict.fromkeys(("family_ids", "template_ids"), SIGNED),
        "text_hashes": UNSIGNED,
        "verified": SIGNED,
    }
)
"""What is kept of every document, and as what kind of number."""
UNKNOWN = -1


@dataclasses.dataclass(frozen=True)
class TokenizedSource:
    """A source's examples as tokens, with what choosing among them needs."""

    name: str
    documents: Documents
    """Its examples; the tokens are a memory map."""
    family_ids: np.ndarray
    """[document], index into `families`."""
    families: tuple[str, ...]
    """Kinds of problems, as the source names them."""
    template_ids: np.ndarray
    """[document], 0, 1, ... for the templates of all families, each as it is first met."""
    text_hashes: np.ndarray
    """[document], of the whole text, so that duplicates between sources are found."""
    verified: np.ndarray
    """[document], 1 right, 0 wrong, -1 not known."""
    report: dict[str, Any]
    """Rows read, skipped and dropped, by reason."""
    key: str
    """A hash of what all this depends on."""

    @property
    def trace_lengths(self) -> np.ndarray:
        """[document], tokens of each trace."""
        parts = self.documents.prompt_lengths + self.documents.answer_lengths
        return self.documents.lengths - parts


def tokenize(
    source: Source, ingest: Ingest, tokenizer: AnyTokenizer, cache_dir: Path
) -> TokenizedSource:
    """Reads, cleans and tokenises a source, or opens what was prepared before.

    Args:
        source: The source.
        ingest: Reads it.
        tokenizer: Makes tokens.
        cache_dir: Where the tokens are kept.

    Returns:
        Its documents.

    Raises:
        ValueError: If it is empty, or a row is malformed and none may be skipped.
    """
    key = digest(
        examples=ingest.key(source), tokenizer=tokenizer.fingerprint, code=code_digest(*CODE)
    )

    def build(folder: Path) -> None:
        report: dict[str, Any] = {}
        _write(folder, source.name, ingest.examples(source, report), tokenizer, report)

    folder = cached(cache_dir, f"tokens-{source.name}", key, build)
    info = json.loads((folder / "info.json").read_text(encoding="utf-8"))
    columns = {name: np.load(folder / f"{name}.npy") for name in COLUMNS}
    return TokenizedSource(
        name=source.name,
        documents=Documents(
            tokens=np.memmap(folder / "tokens.bin", dtype=info["dtype"], mode="r"),
            ends=columns["ends"],
            prompt_lengths=columns["prompt_lengths"],
            answer_lengths=columns["answer_lengths"],
        ),
        family_ids=columns["family_ids"],
        families=tuple(info["families"]),
        template_ids=columns["template_ids"],
        text_hashes=columns["text_hashes"],
        verified=columns["verified"],
        report=info["report"],
        key=key,
    )


def _write(
    folder: Path,
    name: str,
    examples: Iterable[Spans],
    tokenizer: AnyTokenizer,
    report: dict[str, Any],
) -> None:
    """Writes a source's tokens and columns, in memory that does not grow with its texts."""
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
    families: dict[str, int] = {}
    templates: dict[tuple[str, str], int] = {}
    columns = {column: array(kind) for column, kind in COLUMNS.items()}
    end = 0
    with (folder / "tokens.bin").open("wb") as file:
        for example in tqdm(examples, desc=f"tokenise {name}", unit=" examples", delay=2):
            document = tokenised(tokenizer, example)
            file.write(document.tokens.astype(dtype))
            end += len(document.tokens)
            row = (end, document.prompt_length, document.answer_length)
            row += (families.setdefault(example.family, len(families)),)
            wording = (example.family, example.template)
            row += (templates.setdefault(wording, len(templates)),)
            row += (text_hash(whole_text(example)),)
            row += (UNKNOWN if example.verified is None else int(example.verified),)
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
    for column, values in columns.items():
        np.save(folder / f"{column}.npy", np.array(values))
    info = {"dtype": dtype.name, "families": list(families), "report": report}
    (folder / "info.json").write_text(json.dumps(info), encoding="utf-8")
