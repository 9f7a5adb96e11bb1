"""TFDS data sets as array_record files in the cache, without TensorFlow."""

import contextlib
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from absl import logging

from data.cache import cached
from data.renderers import decoded


@dataclasses.dataclass(frozen=True)
class PreparedDataset:
    """A TFDS data set that is built when it is first read."""

    name: str
    """What its folder in the cache is called."""
    builder: type[tfds.core.DatasetBuilder]
    """Its builder."""
    cache_dir: Path
    """The folder that holds all prepared artefacts."""
    key: str
    """A hash of what its contents depend on."""
    config: tfds.core.BuilderConfig | None = None
    """The builder's config; the builder's own default if not given."""

    def rows(self, split: str, part: slice = slice(None)) -> Iterator[dict]:
        """Returns rows of a split, one at a time, in the order of the files.

        Args:
            split: The split.
            part: Which of its rows.

        Returns:
            The rows, text decoded; bytes that are no text stay bytes.

        Raises:
            ValueError: If there is no such split, or it is empty.
        """
        folder = cached(self.cache_dir, self.name, self.key, self._build)
        builder = self._open(folder)
        if split not in builder.info.splits:
            known = ", ".join(builder.info.splits)
            raise ValueError(f"the data set {self.name} has no split {split!r}; it has {known}.")
        source = builder.as_data_source(split=split)
        if len(source) == 0:
            raise ValueError(f"the split {split} of the data set {self.name} is empty.")
        rows = (source[index] for index in range(len(source))[part])
        return ({name: decoded(value) for name, value in row.items()} for row in rows)

    def _open(self, folder: Path) -> tfds.core.DatasetBuilder:
        with _quietly():
            return self.builder(
                data_dir=str(folder), file_format="array_record", config=self.config
            )

    def _build(self, folder: Path) -> None:
        builder = self._open(folder)
        with _quietly():
            builder.download_and_prepare()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keeps TFDS from printing and drawing bars of its own."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
        logging.set_verbosity(verbosity)
