"""Reading the sources of a mixture as clean examples: in their part, no duplicates, no leaks."""

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from data import array_records, files, hub, hygiene, near_duplicates, renderers, spans
from data.cache import code_digest, digest
from data.hygiene import Cleaned, Decontaminator, clean, split_of, whole_text
from data.mixture_config import MixtureConfig, Source
from data.readers import read_rows, reader_version
from data.renderers import SpansReader, find_renderer
from data.spans import Spans, plain
from jaxreason.tasks import vocabulary

CODE: tuple[ModuleType, ...] = (
    *(array_records, files, hub, hygiene, near_duplicates, renderers, spans, vocabulary),
    sys.modules[__name__],
)
REASONS = (
    *("malformed", "other_part", "contaminated", "in_evaluation"),
    *("duplicates", "near_duplicates"),
)
"""Why a row is not among the examples, in the order in which it is looked at."""


class Ingest:
    """Reads the sources of one mixture; what evaluation needs for it is read when first asked for.

    Args:
        config: The mixture.
        cache_dir: Where everything is prepared.
    """

    def __init__(self, config: MixtureConfig, cache_dir: Path) -> None:
        self._config, self._cache_dir = config, cache_dir
        versions = [self._version(source) for source in config.evaluation]
        held_out = (config.held_out_share, config.seed) if config.held_out_share else ()
        self._hygiene_key = digest(evaluation=versions, held_out=held_out, code=code_digest(*CODE))

    def key(self, source: Source) -> str:
        """Returns a hash of the examples of a source, before they become tokens."""
        return digest(
            source=self._version(source), hygiene=self._hygiene_key, near=source.near_duplicates
        )

    def examples(self, source: Source, report: dict[str, Any]) -> Iterator[Spans]:
        """Yields the clean examples of a source, and afterwards fills in the report.

        Raises:
            ValueError: If nothing is left, or a row is malformed and none may be skipped.
        """
        evaluation, counts = self._evaluation, Cleaned()
        with _named(source):
            reader = self._reader(source)
            yield from clean(
                (example for example in reader if self._is_in_part(example, source.part)),
                counts,
                reference=evaluation.examples,
                decontaminator=evaluation.decontaminator,
                threshold=source.near_duplicates,
            )
            report |= _report(reader, counts) | {"evaluation": evaluation.counts}
            if counts.num_out == 0:
                raise ValueError(f"nothing is left of its {reader.num_rows} rows: {_told(report)}.")

    @functools.cached_property
    def _evaluation(self) -> "_Evaluation":
        examples, counts = [], []
        for source in self._config.evaluation:
            with _named(source):
                reader = self._reader(source)
                found = [example for example in reader if self._is_evaluated(example, source)]
                if not found:
                    raise ValueError("none of its problems is held out.")
            examples += found
            counts.append({"examples": len(found), "malformed": _malformed(reader)})
        prompts = [text for text in map(_asked, examples) if text.strip()]
        return _Evaluation(examples, Decontaminator(prompts) if prompts else None, counts)

    def _reader(self, source: Source) -> SpansReader:
        rows = read_rows(source.read, self._cache_dir)
        return SpansReader(rows, find_renderer(source.renderer), on_bad_row=source.on_bad_row)

    def _is_evaluated(self, example: Spans, source: Source) -> bool:
        return source.part == "train" or self._is_in_part(example, source.part)

    def _is_in_part(self, example: Spans, part: str) -> bool:
        problem = example.problem if example.problem.strip() else whole_text(example)
        return split_of(problem, self._config.held_out_share, self._config.seed) == part

    def _version(self, source: Source) -> str:
        with _named(source):
            reader = reader_version(source.read, self._cache_dir)
        return digest(
            reader=reader,
            renderer=source.renderer,
            part=source.part,
            on_bad_row=source.on_bad_row,
        )


@dataclasses.dataclass(frozen=True)
class _Evaluation:
    """What the model will be evaluated on."""

    examples: list[Spans]
    decontaminator: Decontaminator | None
    """Finds their problems in a text; None if there are none, as of plain texts."""
    counts: list[dict[str, int]]
    """[source], its examples, and the malformed rows that were skipped."""


@contextlib.contextmanager
def _named(source: Source) -> Iterator[None]:
    """Says in an error which source it comes from."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"source {source.name}: {error}") from error


def _report(reader: SpansReader, counts: Cleaned) -> dict[str, Any]:
    return {
        "rows": reader.num_rows,
        "malformed": _malformed(reader),
        "malformed_by_reason": reader.skipped,
        "malformed_places": reader.places,
        "other_part": reader.num_rows - _malformed(reader) - counts.num_in,
        "contaminated": counts.contaminated,
        "in_evaluation": counts.held_out,
        "duplicates": counts.exact,
        "near_duplicates": counts.near,
        "documents": counts.num_out,
        "dropped_samples": [dataclasses.asdict(sample) for sample in counts.samples],
    }


def _told(report: dict[str, Any]) -> str:
    """Says where the rows of a source went."""
    found = {reason: report[reason] for reason in REASONS if report[reason]}
    return ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in found.items())


def _malformed(reader: SpansReader) -> int:
    return sum(reader.skipped.values())


def _asked(example: Spans) -> str:
    """Returns the bare problem of an evaluation example."""
    return example.problem or plain(example.prompt)
