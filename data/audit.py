"""The audit of a mixture: what the stream really holds, recomputed from its batches alone.

`python -m data.audit NAME` reads the stream to its end, prints what it found beside what was
planned, and draws density and passes over training.
"""

import dataclasses
import hashlib
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data.audit_figure import draw
from data.build import open_stream
from data.mixture_config import MixtureConfig
from data.program import run
from data.stream import Stream
from data.tables import table

WINDOWS = 200  # at most, of whole blocks
BATCH = 64  # sequences read at a time
SHORT = 32  # tokens; longer beginnings or ends of different documents hardly ever agree

LEGEND = """\
share, planned: of all loss-bearing tokens
pieces: documents, or what their sequence has of them; distinct: as many different ones
repeated: pieces that came twice in one pass over their source
cut: pieces that do not end a document
mask errors: loss in padding, on a piece's first token, or not to its end
shared: pieces that another source has, too; short ones of cut documents may agree by chance
"""


@dataclasses.dataclass(frozen=True)
class Audit:
    """What was found in a stream."""

    ends: np.ndarray
    """[window], sequences read at the end of each window."""
    reasoning: np.ndarray
    """[window], loss-bearing tokens of reasoning sources."""
    loss: np.ndarray
    """[window], all loss-bearing tokens."""
    planned: np.ndarray
    """[window], the density that was asked for."""
    one_sequence: int
    """Tokens in a sequence: what a density may be off by in a window."""
    passes: np.ndarray
    """[window, source], passes over each source up to there."""
    rows: list[dict[str, Any]]
    """A table of the sources."""

    @property
    def density(self) -> np.ndarray:
        """[window], the realised density."""
        return self.reasoning / np.maximum(self.loss, 1)

    @property
    def sequences_off(self) -> np.ndarray:
        """[window], by how many sequences' worth of tokens the density is off."""
        return np.abs(self.reasoning - self.planned * self.loss) / self.one_sequence


def audit(stream: Stream, eos_id: int, densities: Sequence[float]) -> Audit:
    """Reads a stream to its end and counts.

    Everything is counted from the batches: tokens, segments, masks, and the source and pass of each
    sequence. A segment is a document or a piece of one; it is cut if the end of sequence does not
    end it.

    Args:
        stream: The stream.
        eos_id: The end-of-sequence token.
        densities: The density that was asked for, a stage.

    Returns:
        What was found.
    """
    counts = [_Counts() for _ in stream.sources]
    sizes = np.array([source.num_sequences for source in stream.sources])
    is_reasoning = np.array([source.is_reasoning for source in stream.sources])
    ends, tokens, planned, passes = [], [], [], []
    for start, end in tqdm(windows(stream), desc="audit", unit=" windows", delay=2):
        before = np.array([count.loss for count in counts])
        for first in range(start, end, BATCH):
            rows = stream.rows(np.arange(first, min(first + BATCH, end)))
            for row, source in enumerate(rows["source_id"].tolist()):
                counts[source].add({name: array[row] for name, array in rows.items()}, eos_id)
        ends.append(end)
        tokens.append(np.array([count.loss for count in counts]) - before)
        planned.append(densities[rows["stage"][0]])
        passes.append(np.array([count.sequences for count in counts]) / sizes)
    loss = np.array(tokens)
    return Audit(
        ends=np.array(ends),
        reasoning=loss[:, is_reasoning].sum(axis=1),
        loss=loss.sum(axis=1),
        planned=np.array(planned),
        one_sequence=stream.sequence_length,
        passes=np.array(passes),
        rows=_rows(stream, counts),
    )


@dataclasses.dataclass
class _Counts:
    """What was seen of one source."""

    sequences: int = 0
    tokens: int = 0
    loss: int = 0
    places: int = 0
    pieces: int = 0
    cut: int = 0
    mask_errors: int = 0
    repeated: int = 0
    """Pieces that came before in the same pass."""
    repeated_edges: int = 0
    """Short ones that may be the beginnings or ends of different documents."""
    last_pass: dict[bytes, int] = dataclasses.field(default_factory=dict)
    """The pass in which a piece, by its hash, came last."""

    def add(self, row: dict[str, np.ndarray], eos_id: int) -> None:
        """Counts one sequence."""
        segments, loss_mask = row["segment_ids"], row["loss_mask"]
        starts = np.flatnonzero(np.diff(segments, prepend=-1))
        self.sequences += 1
        self.places += len(segments)
        self.tokens += int(np.count_nonzero(segments))
        self.loss += int(np.count_nonzero(loss_mask))
        ends = np.append(starts[1:], len(segments))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            piece, mask = row["tokens"][start:end], loss_mask[start:end]
            if segments[start] == 0:
                self.mask_errors += int(np.count_nonzero(mask))
                continue
            # no loss on a first token, and from where it begins, loss to the end
            self.mask_errors += int(mask[0]) + int(np.count_nonzero(mask[1:-1] & ~mask[2:]))
            self.pieces += 1
            is_cut = bool(piece[-1] != eos_id)
            self.cut += is_cut
            self._remember(piece, int(row["pass_index"]), may_be_part=is_cut or start == 0)

    def _remember(self, piece: np.ndarray, pass_index: int, *, may_be_part: bool) -> None:
        name = hashlib.blake2b(piece.tobytes(), digest_size=8).digest()
        is_repeated = self.last_pass.get(name) == pass_index
        if may_be_part and len(piece) < SHORT:
            self.repeated_edges += is_repeated
        else:
            self.repeated += is_repeated
        self.last_pass[name] = pass_index


def _rows(stream: Stream, counts: Sequence[_Counts]) -> list[dict[str, Any]]:
    """Returns a table of what was seen of the sources."""
    total = sum(count.loss for count in counts)
    seen = Counter(piece for count in counts for piece in count.last_pass)
    return [
        {
            "source": source.name,
            "sequences": count.sequences,
            "tokens": count.tokens,
            "share": count.loss / total,
            "planned": planned["token_share"],
            "passes": count.sequences / source.num_sequences,
            "padding": 1 - count.tokens / max(count.places, 1),
            "pieces": count.pieces,
            "distinct": len(count.last_pass),
            # where nothing is cut, a short piece is a document as well
            "repeated": count.repeated + (0 if count.cut else count.repeated_edges),
            "cut": count.cut,
            "mask errors": count.mask_errors,
            "shared": sum(seen[piece] > 1 for piece in count.last_pass),
        }
        for source, count, planned in zip(stream.sources, counts, stream.summary(), strict=True)
    ]


def windows(stream: Stream) -> list[tuple[int, int]]:
    """Returns where windows begin and end: whole blocks of one stage, so that there are few."""
    blocks = -(-len(stream) // stream.schedule.block_size)
    width = stream.schedule.block_size * -(-blocks // WINDOWS)
    found, start = [], 0
    for stage in stream.schedule.stages:
        end = start + sum(stage)
        found += [(first, min(first + width, end)) for first in range(start, end, width)]
        start = end
    return found


def report(found: Audit) -> str:
    """Says in tables and sentences what was found."""
    off, widths = found.sequences_off, np.diff(found.ends, prepend=0)
    return (
        f"{table(found.rows)}\n\n{LEGEND}\n"
        f"{len(off)} windows of up to {widths.max()} sequences: their density is off by"
        f" {off.max():.2f} sequences at most, {off.mean():.2f} on average."
    )


def main(config: MixtureConfig, cache_dir: Path, plot: Path) -> None:
    """Audits a mixture and draws what was found."""
    built = open_stream(config, cache_dir)
    densities = [stage.reasoning_token_share for stage in config.stages]
    found = audit(built.stream, built.tokenizer.eos_id, densities)
    print(report(found))
    names = [source.name for source in built.stream.sources]
    draw(plot, found, names)
    print(f"Wrote {plot}.")


if __name__ == "__main__":
    run(
        "audit",
        "Recounts a mixture from its stream, and draws density and passes over training.",
        main,
        sys.argv[1:],
        plot=Path("audit.png"),
    )
