"""Folders in the layout of the Hugging Face hub: which files belong to which split."""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from data.files import (
    TEXT,
    BadRowError,
    Row,
    files_below,
    kind_of,
    listed,
    of_one_kind,
    one_line,
    rows_of_files,
    version_of,
)

SPLIT_NAMES = frozenset(
    ("train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval")
)
"""Words in names of files and folders that say which split they belong to."""
SHARD = re.compile(r"([\w.]+)-\d{5}-of-(\d{5})")
"""How the names of a split's parts begin, as in `train-00000-of-00002.parquet`."""


@dataclasses.dataclass(frozen=True)
class HuggingFaceFolder:
    """One split of a data set's folder that was downloaded from the Hugging Face hub.

    The splits are those that the header of its README.md declares (`configs`, `data_files`).
    Without that, the names of its JSON and Parquet files tell, as in `train.jsonl`,
    `data/train-00000-of-00002.parquet`, `CONFIG/test-00000-of-00001.parquet` or
    `CONFIG/train/0000.parquet`; if no name does, all files are `train`.
    """

    path: str
    split: str = "train"
    config: str = ""
    """Empty: the default one, or the only one."""

    def rows(self) -> Iterator[Row | BadRowError]:
        """Returns the rows of the split, file by file.

        Raises:
            ValueError: If there is no such folder, config or split, or a file that can't be read.
        """
        return rows_of_files(self._files(), separator="")

    def version(self) -> str:
        """Returns a hash of what the rows depend on; the same after the folder is moved."""
        return version_of(self._files())

    def _files(self) -> list[Path]:
        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            raise ValueError(f"there is no folder {self.path}.")
        configs = _declared_splits(folder) or _named_splits(folder)
        splits = configs[self._chosen(configs)]
        if self.split not in splits:
            raise ValueError(f"{self.path} has no split {self.split!r}; it has {listed(splits)}.")
        if not splits[self.split]:
            raise ValueError(f"{self.path} lacks the files that its split {self.split!r} declares.")
        return of_one_kind(splits[self.split], f"the split {self.split!r} of {self.path}")

    def _chosen(self, configs: Mapping[str, Any]) -> str:
        names = [name for name in configs if name]
        wanted = [self.config] if self.config else ["", "default", *names[: len(names) == 1]]
        for name in wanted:
            if name in configs:
                return name
        if not self.config:
            raise ValueError(f"{self.path} has several configs; choose one of {listed(names)}.")
        known = listed(names) if names else "no configs"
        raise ValueError(f"{self.path} has no config {self.config!r}; it has {known}.")


Splits = dict[str, list[Path]]


def _declared_splits(folder: Path) -> dict[str, Splits]:
    """Returns the files by config and split as the readme's header declares them, if it does."""
    header = _header(folder / "README.md")
    configs = header.get("configs", []) if isinstance(header, dict) else []
    found: dict[str, Splits] = {}
    try:
        for config in configs:
            if "data_files" in config:
                splits = _resolved(folder, config["data_files"])
                found[str(config["config_name"])] = splits
                if config.get("default"):
                    found[""] = splits
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{folder / 'README.md'} declares `configs` in an unknown form."
        ) from error
    return found


def _header(readme: Path) -> Any:
    """Returns what a readme holds between lines of `---` at its start, if it does."""
    if not readme.is_file():
        return None
    text = readme.read_text(encoding="utf-8", errors="replace")
    parts = re.match(r"---\s*\n(.*?)\n---\s*$", text, re.DOTALL | re.MULTILINE)
    try:
        return yaml.safe_load(parts[1]) if parts else None
    except yaml.YAMLError as error:
        raise ValueError(f"the header of {readme} is not YAML ({one_line(error)}).") from error


def _resolved(folder: Path, data_files: Any) -> Splits:
    """Returns the files of each split of one config."""
    splits: Splits = {}
    for item in data_files if isinstance(data_files, list) else [data_files]:
        split, paths = ("train", item) if isinstance(item, str) else (item["split"], item["path"])
        patterns = [paths] if isinstance(paths, str) else paths
        files = [file for pattern in patterns for file in _globbed(folder, pattern)]
        splits[str(split)] = list(dict.fromkeys([*splits.get(str(split), []), *files]))
    return splits


def _globbed(folder: Path, pattern: str) -> list[Path]:
    if "://" in pattern or pattern.startswith("/") or ".." in Path(pattern).parts:
        raise ValueError(f"{folder / 'README.md'} declares files outside its folder: {pattern}.")
    files = sorted(file for file in folder.glob(pattern) if file.is_file())
    return _whole(files) if "*" in pattern else files


def _whole(files: list[Path]) -> list[Path]:
    """Returns the files; raises if a split has some of its parts and not all."""
    shards = [(file.parent, shard) for file in files if (shard := SHARD.match(file.name))]
    sets = Counter((folder, shard[1], int(shard[2])) for folder, shard in shards)
    for (folder, split, total), count in sets.items():
        if count < total:
            raise ValueError(f"{folder} holds only {count} of the {total} files of {split!r}.")
    return files


def _named_splits(folder: Path) -> dict[str, Splits]:
    """Returns the files by config and split as their names tell."""
    files = _whole([file for file in files_below(folder) if kind_of(file) != TEXT])
    if not files:
        raise ValueError(f"the folder {folder} holds no JSON or Parquet files.")
    configs: dict[str, Splits] = {}
    for file in files:
        if split := _split_named(file.relative_to(folder)):
            folders = file.relative_to(folder).parts[:-1]
            config = "/".join(name for name in folders if name not in {"data", *SPLIT_NAMES})
            configs.setdefault(config, {}).setdefault(split, []).append(file)
    return configs or {"": {"train": files}}


def _split_named(file: Path) -> str:
    """Returns the split that a file's name or that of its folder tells, empty if neither does."""
    if shard := SHARD.match(file.name):
        return shard[1]
    words = [*re.split(r"[\W_]+", file.name), file.parent.name]
    return next((word for word in words if word in SPLIT_NAMES), "")
