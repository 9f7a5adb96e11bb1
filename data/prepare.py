"""What a training program calls: the tokenizer and the batches, from the cache if there."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from data.cache import cached, default_cache_dir, digest
from data.config import DataConfig
from data.corpora import Corpora
from data.documents import (
    Record,
    abstraction_example,
    imperfect_teacher,
    reasoning_document,
    solution_example,
    tokenised,
)
from data.spans import Spans
from data.stream import FIELDS, Batches, PackedSource, fingerprint, mix
from data.tokenizer import Tokenizer
from jaxreason.mixture import (
    Document,
    Documents,
    Packed,
    StageSize,
    best_fit,
    concatenate_and_cut,
)
from jaxreason.tasks import RuleInductionConfig


@dataclasses.dataclass(frozen=True)
class PretrainingData:
    """The data of pretraining."""

    tokenizer: Tokenizer
    """Trained on both corpora."""
    batches: Batches
    """Docstrings and worked problems at the configured reasoning density."""


@dataclasses.dataclass(frozen=True)
class SFTData:
    """The data of the two warm starts."""

    tokenizer: Tokenizer
    """The tokenizer of pretraining."""
    abstraction: Batches
    """Problem -> abstraction, from an imperfect teacher."""
    solution: Batches
    """Problem and abstraction -> worked solution, and some problems without an abstraction."""


def prepare_pretraining(
    config: DataConfig,
    task: RuleInductionConfig,
    *,
    steps: int,
    batch_size: int,
    cache_dir: Path | None = None,
) -> PretrainingData:
    """Prepares the tokenizer and the batches of pretraining.

    Args:
        config: The data's settings.
        task: The difficulty of the problems.
        steps: Length of the run in batches.
        batch_size: Sequences in a batch.
        cache_dir: Where prepared artefacts live; default: the user's cache.

    Returns:
        The tokenizer and the batches.

    Raises:
        ValueError: If a source is empty, a document does not fit, or the density can't be had.
    """
    corpora = Corpora(config, task, cache_dir or default_cache_dir())
    tokenizer = corpora.tokenizer

    def documents(bare: bool) -> list[Document]:
        records = corpora.pretraining_records
        return [reasoning_document(tokenizer, record, bare=bare) for record in records]

    def texts() -> list[Document]:
        return [tokenised(tokenizer, Spans(answer=(text,))) for text in corpora.docstrings]

    source, bare_share = partial(_source, corpora), config.pretraining_bare_share
    sources = [
        source("docstrings", texts, pack=concatenate_and_cut, is_reasoning=False),
        source("problems", partial(documents, False), pack=best_fit, weight=1 - bare_share),
        source("bare_problems", partial(documents, True), pack=best_fit, weight=bare_share),
    ]
    density = config.reasoning_density
    return PretrainingData(tokenizer, _batches(config, sources, density, steps, batch_size))


def prepare_tokenizer(
    config: DataConfig, task: RuleInductionConfig, *, cache_dir: Path | None = None
) -> Tokenizer:
    """Prepares the tokenizer of pretraining alone.

    Args:
        config: The data's settings.
        task: The difficulty of the problems.
        cache_dir: Where prepared artefacts live; default: the user's cache.

    Returns:
        The tokenizer.
    """
    return Corpora(config, task, cache_dir or default_cache_dir()).tokenizer


def prepare_sft(
    config: DataConfig,
    task: RuleInductionConfig,
    *,
    steps: int,
    batch_size: int,
    cache_dir: Path | None = None,
    choose: Callable[[Tokenizer, list[Record]], np.ndarray] | None = None,
) -> SFTData:
    """Prepares the batches of the two warm starts, on problems that pretraining has not seen.

    One imperfect teacher writes the abstractions of both; the worked solutions are right, also
    where the abstraction given with them is not.

    Args:
        config: The data's settings.
        task: The difficulty of the problems.
        steps: Length of the run in batches.
        batch_size: Sequences in a batch.
        cache_dir: Where prepared artefacts live; default: the user's cache.
        choose: Says which records, as the teacher wrote them, the abstraction generator learns
            from; default: all.

    Returns:
        The tokenizer of pretraining and the batches of both.

    Raises:
        ValueError: If a source is empty or a document does not fit.
    """
    corpora = Corpora(config, task, cache_dir or default_cache_dir())
    tokenizer = corpora.tokenizer

    def taught() -> list[Record]:
        records = corpora.sft_records
        right = [record.abstraction for record in records]
        texts = imperfect_teacher(right, error=config.teacher_error, seed=config.seed)
        pairs = zip(records, texts, strict=True)
        return [dataclasses.replace(record, abstraction=text) for record, text in pairs]

    kept = None if choose is None else choose(tokenizer, taught())

    def abstractions() -> list[Document]:
        records = taught() if kept is None else itertools.compress(taught(), kept)
        return [abstraction_example(tokenizer, record) for record in records]

    def solutions(bare: bool) -> list[Document]:
        return [solution_example(tokenizer, record, bare=bare) for record in taught()]

    taught_by = (config.teacher_error, config.seed)
    source = partial(_source, corpora, pack=best_fit, depends_on=taught_by)
    bare_share = config.bare_share
    chosen = taught_by if kept is None else (*taught_by, kept.tobytes().hex())
    generator = [source("abstractions", abstractions, depends_on=chosen)]
    solver = [
        source("solutions", partial(solutions, False), weight=1 - bare_share),
        source("bare_solutions", partial(solutions, True), weight=bare_share),
    ]
    return SFTData(
        tokenizer,
        abstraction=_batches(config, generator, 1.0, steps, batch_size),
        solution=_batches(config, solver, 1.0, steps, batch_size),
    )


def _batches(
    config: DataConfig,
    sources: Sequence[PackedSource],
    density: float,
    steps: int,
    batch_size: int,
) -> Batches:
    stage = StageSize(steps * batch_size, density)
    stream = mix(sources, [stage], block_size=config.block_size, seed=config.seed)
    return Batches(stream, batch_size)


def _source(
    corpora: Corpora,
    name: str,
    documents: Callable[[], list[Document]],
    *,
    pack: Callable[[Documents, int], Packed],
    is_reasoning: bool = True,
    weight: float = 1.0,
    depends_on: tuple = (),
) -> PackedSource:
    """Packs a source, or loads it from the cache."""
    length = corpora.config.sequence_length

    def build(folder: Path) -> None:
        rendered = Documents.join(documents())
        try:
            packed = pack(rendered, length)
        except ValueError as error:
            raise ValueError(f"source {name}: {error}") from error
        for field in FIELDS:
            np.save(folder / f"{field}.npy", getattr(packed, field))
        info = {"num_documents": len(rendered), "fingerprint": fingerprint(packed)}
        (folder / "info.json").write_text(json.dumps(info))

    key = digest(corpora=corpora.key, length=length, depends_on=depends_on)
    folder = cached(corpora.cache_dir, name, key, build)
    arrays = {field: np.load(folder / f"{field}.npy", mmap_mode="r") for field in FIELDS}
    info = json.loads((folder / "info.json").read_text())
    return PackedSource(
        name,
        Packed(**arrays),
        is_reasoning,
        weight=weight,
        num_documents=info["num_documents"],
        fingerprint=info["fingerprint"],
    )
