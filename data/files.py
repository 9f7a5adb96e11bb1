"""Rows of local files, one at a time: JSON lines, Parquet and plain text.

A row that can't be used is yielded as a `BadRowError` in its place: whoever reads decides whether
to raise it or to skip and count it. Whole files that can't be used raise. Only text, JSON and
Parquet are read: nothing is unpickled or executed.
"""

import contextlib
import dataclasses
import glob
import gzip
import json
import os
import reprlib
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from data.cache import digest

JSON_LINES, PARQUET, TEXT = "JSON lines", "Parquet", "text"
KINDS = MappingProxyType(
    {
        **dict.fromkeys((".jsonl", ".json", ".jsonl.gz", ".json.gz"), JSON_LINES),
        ".parquet": PARQUET,
        **dict.fromkeys((".txt", ".md", ".txt.gz", ".md.gz"), TEXT),
    }
)
"""What a file holds, by the ending of its name."""
ROWS_AT_A_TIME = 256  # of a Parquet file
CHUNK_BYTES = 2**24  # of a text file that is cut into documents


@dataclasses.dataclass(frozen=True)
class Row:
    """A row and where it stands, as in `train.jsonl, line 12`."""

    place: str
    values: Mapping[str, Any]


class BadRowError(ValueError):
    """A row that can't be used: where it stands, what is wrong, what was found instead.

    `problem` is the same for all rows with the same trouble, so that they can be counted.
    """

    def __init__(self, place: str, problem: str, detail: str = "") -> None:
        super().__init__(place, problem, detail)
        self.place, self.problem, self.detail = place, problem, detail

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}{self.detail and '; '}{self.detail}."


@dataclasses.dataclass(frozen=True)
class Files:
    """Files, named one by one, by patterns or by their folder; each is read once."""

    paths: str | tuple[str, ...]
    """Each a file, a pattern such as `data/**/*.jsonl`, or a folder: all files in and below it that
    have a known ending (`KINDS`), sorted; hidden ones don't count."""
    separator: str = ""
    """Cuts text files into documents, of which blank ones don't count; by default a file is one."""

    def rows(self) -> Iterator[Row | BadRowError]:
        """Returns the rows, file by file; a document of a text file is the row's field `text`.

        Raises:
            ValueError: If there is no such file, or one that can't be read.
        """
        return rows_of_files(self._files(), self.separator)

    def version(self) -> str:
        """Returns a hash of what the rows depend on; the same after the files are moved."""
        return version_of(self._files(), separator=self.separator)

    def _files(self) -> list[Path]:
        paths = (self.paths,) if isinstance(self.paths, str) else self.paths
        if not all(paths):
            raise ValueError("a path is empty; name a file, a pattern or a folder.")
        files = list(dict.fromkeys(file for path in paths for file in _matches(path)))
        if not files:
            raise ValueError("no path is given; name a file, a pattern or a folder.")
        return files


def _matches(path: str) -> list[Path]:
    """Returns the files that a path means: its own, those below it or those of the pattern."""
    place = Path(path).expanduser()
    if place.is_dir():
        files = files_below(place)
        if not files:
            raise ValueError(f"the folder {path} holds no file that ends in {listed(KINDS)}.")
        return of_one_kind(files, f"the folder {path}")
    found = [place] if place.exists() else map(Path, glob.glob(str(place), recursive=True))
    files = sorted(file for file in found if file.is_file())
    if not files:
        raise ValueError(f"there is no file or folder {path}.")
    return files


def files_below(folder: Path) -> list[Path]:
    """Returns the files of known kinds in and below a folder that are not hidden."""
    names = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    seen = sorted(name for name in names if not any(part.startswith(".") for part in name.parts))
    return [folder / name for name in seen if kind_of(name)]


def of_one_kind(files: list[Path], where: str) -> list[Path]:
    """Returns the files; raises if they hardly are one data set, such as a readme beside data."""
    kinds = sorted({kind_of(file) for file in files})
    if len(kinds) > 1:
        raise ValueError(
            f"{where} holds files of different kinds ({listed(kinds)}); name those to read, as in"
            f" {files[0].parent}/*{files[0].suffix}."
        )
    return files


def kind_of(file: Path) -> str:
    """Returns what a file holds, empty if its ending doesn't say."""
    name = file.name.lower()
    return next((kind for ending, kind in KINDS.items() if name.endswith(ending)), "")


def listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def version_of(files: Sequence[Path], **settings: str) -> str:
    absolute = [file.absolute() for file in files]
    root = os.path.commonpath([file.parent for file in absolute])
    found = [(file.relative_to(root).as_posix(), file.stat()) for file in absolute]
    return digest(files=[[name, s.st_size, s.st_mtime_ns] for name, s in found], **settings)


def rows_of_files(files: Sequence[Path], separator: str) -> Iterator[Row | BadRowError]:
    for file in files:
        if not kind_of(file):
            raise ValueError(f"{file} is of no known kind; names end in {listed(KINDS)}.")
    return _rows_of(files, separator)


def _rows_of(files: Sequence[Path], separator: str) -> Iterator[Row | BadRowError]:
    for file in files:
        is_empty = True
        for row in _read(file, separator):
            is_empty = False
            yield row
        if is_empty:
            yield BadRowError(str(file), "the file holds no rows")


def _read(file: Path, separator: str) -> Iterator[Row | BadRowError]:
    kind = kind_of(file)
    if kind == PARQUET:
        return _parquet_rows(file)
    return _json_rows(file) if kind == JSON_LINES else _text_rows(file, separator)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    """Opens a file, unpacking it if it is packed; tells what is wrong with it in a sentence."""
    try:
        with gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb") as stream:
            yield stream
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> ValueError:
    reason = getattr(error, "strerror", None) or one_line(error)
    return ValueError(f"{file} can't be read ({reason}).")


def one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _json_rows(file: Path) -> Iterator[Row | BadRowError]:
    with _opened(file) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _json_row(f"{file}, line {number}", line)


def _json_row(place: str, line: bytes) -> Row | BadRowError:
    problem = "the line must be a JSON object"
    try:
        text = line.decode("utf-8-sig").rstrip()
        values = json.loads(text)
    except UnicodeDecodeError as error:
        return BadRowError(place, "the line is not UTF-8", _foreign(error))
    except (ValueError, RecursionError) as error:
        is_syntax = isinstance(error, json.JSONDecodeError)
        reason = f"{error.msg} at column {error.colno}" if is_syntax else str(error)
        return BadRowError(place, problem, f"got {reprlib.repr(text)} ({reason})")
    if not isinstance(values, dict):
        return BadRowError(place, problem, f"got {reprlib.repr(values)}")
    return Row(place, values)


def _foreign(error: UnicodeDecodeError) -> str:
    return f"got byte 0x{error.object[error.start]:02x}"


def _text_rows(file: Path, separator: str) -> Iterator[Row | BadRowError]:
    """Yields the documents of a text file, numbered as they stand, blank ones left out."""
    with _opened(file) as stream:
        documents = _cut(stream, separator.encode()) if separator else [stream.read()]
        for number, document in enumerate(documents, start=1):
            place = f"{file}, document {number}"
            try:
                text = document.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                line = document.count(b"\n", 0, error.start) + 1
                detail = f"{_foreign(error)} in its line {line}"
                yield BadRowError(place, "the text is not UTF-8", detail)
                continue
            if text.strip():
                yield Row(place, {"text": text})


def _cut(stream: BinaryIO, separator: bytes) -> Iterator[bytes]:
    rest = b""
    while chunk := stream.read(CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(separator)
        yield from whole
    yield rest


def _parquet_rows(file: Path) -> Iterator[Row]:
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ValueError(f"{file} needs the package pyarrow: install jaxreason[train].") from error
    try:
        with ParquetFile(file) as table:
            batches = table.iter_batches(ROWS_AT_A_TIME)
            rows = (values for batch in batches for values in batch.to_pylist())
            for number, values in enumerate(rows, start=1):
                yield Row(f"{file}, row {number}", values)
    except (OSError, ValueError, NotImplementedError) as error:
        raise _damaged(file, error) from error
