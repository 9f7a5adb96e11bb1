"""Building a mixture: every source packed into the cache, and the stream over them.

`python -m data.build NAME` does it and prints the table; `open_stream` gives it to a program.
"""

import contextlib
import dataclasses
import hashlib
import json
import mmap
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

import data
import data.plan
import data.selection
import jaxreason.mixture
from data.cache import cached, code_digest, digest, is_whole
from data.inventory import MODEL_FILE, Inventory, take_inventory
from data.mixture_config import MixtureConfig
from data.plan import Plan, PlannedSource, fitted, plan, print_plan
from data.program import run
from data.readers import reader_version
from data.selection import Selection
from data.stream import FIELDS, PackedSource, Stream, fingerprint
from data.tables import table
from data.tokenizer import Tokenizer
from jaxreason.mixture import Layout, Packed, Schedule, lay_out

MANIFEST = "stream.json"
CHUNK_TOKENS = 2**22  # packed and written at a time


@dataclasses.dataclass(frozen=True)
class BuiltMixture:
    """A mixture that is ready to be read."""

    stream: Stream
    tokenizer: Tokenizer


def open_stream(config: MixtureConfig, cache_dir: Path) -> BuiltMixture:
    """Opens a mixture's stream, building what is not there yet.

    Opening what was built reads a few small files; the sequences are memory maps. Packed sources
    that are damaged or gone are packed again.

    Args:
        config: The mixture.
        cache_dir: Where everything is prepared.

    Returns:
        The stream and the tokenizer.

    Raises:
        ValueError: If the mixture can't be built: see `take_inventory` and `plan`.
    """

    def build(folder: Path) -> None:
        inventory = take_inventory(config, cache_dir)
        planned = plan(config, inventory.selections())
        manifest = write_stream(planned, inventory, cache_dir)
        (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        (folder / MODEL_FILE).write_bytes(inventory.tokenizer.model)

    folder = cached(cache_dir, "stream", _stream_key(config, cache_dir), build)
    packed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["folders"]
    if not all(is_whole(cache_dir / name) for name in packed):
        inventory = take_inventory(config, cache_dir)
        write_stream(plan(config, inventory.selections()), inventory, cache_dir)
    return read_stream(folder, cache_dir)


def _stream_key(config: MixtureConfig, cache_dir: Path) -> str:
    """Returns a hash of all that a stream depends on."""
    sources = (*config.sources, *config.evaluation)
    model = Path(config.tokenizer.model)
    return digest(
        config=config,
        versions=[reader_version(source.read, cache_dir) for source in sources],
        model=hashlib.sha256(model.read_bytes()).hexdigest() if model.is_file() else "",
        code=code_digest(data, jaxreason.mixture),
    )


def write_stream(planned: Plan, inventory: Inventory, cache_dir: Path) -> dict[str, Any]:
    """Packs the sources of a plan into the cache, and returns what `read_stream` needs."""
    length = planned.config.sequence_length
    folders = [
        pack(source, length, cache_dir, key=tokens.key)
        for source, tokens in zip(planned.sources, inventory.sources, strict=True)
    ]
    schedule = Schedule(
        names=tuple(source.config.name for source in planned.sources),
        is_reasoning=tuple(source.config.is_reasoning for source in planned.sources),
        sequences_per_source=tuple(source.num_sequences for source in planned.sources),
        stages=planned.allocation.sequences,
        block_size=planned.config.block_size,
        seed=planned.config.seed,
    )
    return {
        "schedule": dataclasses.asdict(schedule),
        "folders": [folder.name for folder in folders],
        "weights": [source.config.weight for source in planned.sources],
    }


def read_stream(folder: Path, cache_dir: Path) -> BuiltMixture:
    """Opens the stream that `write_stream` described."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    fields = {name: _as_tuple(value) for name, value in manifest["schedule"].items()}
    schedule = Schedule(**fields)
    sources = [
        read_packed(cache_dir / packed, name, is_reasoning, weight)
        for packed, name, is_reasoning, weight in zip(
            manifest["folders"],
            schedule.names,
            schedule.is_reasoning,
            manifest["weights"],
            strict=True,
        )
    ]
    return BuiltMixture(Stream(sources, schedule), Tokenizer.from_file(folder / MODEL_FILE))


def pack(source: PlannedSource, length: int, cache_dir: Path, *, key: str) -> Path:
    """Packs a source into a folder of the cache, or finds it there.

    Args:
        source: What the plan takes of it.
        length: Tokens in a sequence.
        cache_dir: Where it is kept.
        key: A hash of its tokens.

    Returns:
        The folder.
    """
    config, selection = source.config, source.selection
    key = digest(
        tokens=key,
        selection=_selection_key(selection),
        length=length,
        overlong=config.overlong if config.packs_whole else "cut",
        code=code_digest(jaxreason.mixture, data.selection, data.plan, sys.modules[__name__]),
    )

    def build(folder: Path) -> None:
        made = fitted(config, selection, length)
        layout = lay_out(made.documents, length, whole=config.packs_whole)
        _write(layout, folder)
        info = {
            "num_documents": len(np.unique(made.origin)),
            "num_tokens": int(made.documents.lengths.sum()),
            "loss_tokens": layout.loss_tokens,
            "fingerprint": fingerprint(_mapped(folder)),
        }
        (folder / "info.json").write_text(json.dumps(info), encoding="utf-8")

    return cached(cache_dir, f"packed-{config.name}", key, build)


def _selection_key(selection: Selection) -> str:
    """Returns a hash of which documents are taken, whatever seed chose them, and how corrupted."""
    chosen, corrupted = selection.chosen.astype(np.int64), selection.corrupted
    parts = np.sort(chosen), np.sort(chosen[:corrupted])
    hashes = [hashlib.sha256(part.tobytes()).hexdigest() for part in parts]
    seed = selection.seed if corrupted else None
    return digest(hashes=hashes, seed=seed, prompt_loss=selection.prompt_loss)


def _write(layout: Layout, folder: Path) -> None:
    """Writes packed sequences, in memory that does not grow with their number."""
    rows = max(1, CHUNK_TOKENS // layout.length)
    narrow = np.uint16 if layout.length < 2**16 else np.uint32
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context((folder / f"{name}.npy").open("wb")) for name in FIELDS]
        for first in range(0, layout.num_sequences, rows):
            part = layout.sequences(first, min(first + rows, layout.num_sequences))
            part = dataclasses.replace(part, segment_ids=part.segment_ids.astype(narrow))
            for file, name in zip(files, FIELDS, strict=True):
                array = getattr(part, name)
                if first == 0:
                    _write_header(file, array.dtype, (layout.num_sequences, layout.length))
                file.write(array)


def _write_header(file: BinaryIO, dtype: np.dtype, shape: tuple[int, int]) -> None:
    """Writes what a NumPy file says at its beginning."""
    descr = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _mapped(folder: Path) -> Packed:
    """Opens packed sequences as memory maps, from which nothing beyond a row read is fetched."""
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in FIELDS}
    for array in arrays.values():
        if hasattr(mmap, "MADV_RANDOM") and isinstance(array.base, mmap.mmap):
            array.base.madvise(mmap.MADV_RANDOM)
    return Packed(**arrays)


def read_packed(folder: Path, name: str, is_reasoning: bool, weight: float) -> PackedSource:
    """Opens a packed source; its arrays are memory maps."""
    if not is_whole(folder):
        raise ValueError(
            f"{folder}, which the stream was built from, is missing or damaged; build the mixture"
            " again, which packs only what is not there."
        )
    info = json.loads((folder / "info.json").read_text(encoding="utf-8"))
    return PackedSource(name, _mapped(folder), is_reasoning=is_reasoning, weight=weight, **info)


def main(config: MixtureConfig, cache_dir: Path) -> None:
    """Builds a mixture and prints what was built."""
    print_plan(plan(config, take_inventory(config, cache_dir).selections()))
    built = open_stream(config, cache_dir)
    print("\nBuilt:\n")
    print(table(built.stream.summary()))
    print(f"\nfingerprint {built.stream.fingerprint}, {len(built.stream):,} sequences")


def _as_tuple(value: Any) -> Any:
    """Returns tuples for the lists of a JSON file."""
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value


if __name__ == "__main__":
    run("build", "Packs the sources of a mixture and lays out its stream.", main, sys.argv[1:])
