"""What a source can be read from: corpora that this project makes, any TFDS data set, files."""

import dataclasses
import difflib
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import tensorflow_datasets as tfds

import jaxreason.tasks
from data import arithmetic, docstrings, families, reasoning_gym, rules
from data.array_records import PreparedDataset
from data.cache import code_digest, digest
from data.files import BadRowError, Files, Row, one_line
from data.hub import HuggingFaceFolder
from jaxreason.tasks import RuleInductionConfig

TFDS_PACKAGES = ("question_answering", "summarization", "text", "text_simplification", "translate")
"""Where TFDS keeps data sets of text that it does not know before their package is imported."""


@runtime_checkable
class Prepares(Protocol):
    """A data set that is built in the cache when it is first read; a frozen dataclass."""

    split: str

    def dataset(self, cache_dir: Path) -> PreparedDataset:
        """Returns the data set, not built yet."""
        ...


@dataclasses.dataclass(frozen=True)
class Docstrings:
    """The docstrings of the interpreter's standard library; renderer `text`."""

    split: str = "train"
    """`train` or `held_out`, 2% of the texts."""

    def dataset(self, cache_dir: Path) -> PreparedDataset:
        """Returns the data set, not built yet."""
        builder = docstrings.PythonDocstrings
        key = digest(
            code=code_digest(docstrings),
            interpreter=builder.BUILDER_CONFIGS[0].name,
            root=str(docstrings.SOURCE_ROOT),
        )
        return PreparedDataset("docstrings", builder, cache_dir, key)


@dataclasses.dataclass(frozen=True)
class RuleProblems:
    """Rule induction with abstractions and worked solutions; renderer `rule_induction`."""

    num_problems: int = 10_000
    """Problems in the split `train`."""
    num_held_out: int = 0
    """Problems in each of the other splits; 0 leaves them out."""
    task: RuleInductionConfig = RuleInductionConfig()
    """Their difficulty."""
    seed: int = 0
    """Seed of the draws."""
    split: str = "train"
    """`train`, `new_instances` or `new_compositions`."""

    def dataset(self, cache_dir: Path) -> PreparedDataset:
        """Returns the data set, not built yet."""
        config = rules.RuleCorpusConfig(
            task=self.task,
            num_train=self.num_problems,
            num_held_out=self.num_held_out,
            seed=self.seed,
        )
        key = digest(code=code_digest(rules, jaxreason.tasks), config=config.name)
        return PreparedDataset("rules", rules.RuleCorpus, cache_dir, key, config=config)


@dataclasses.dataclass(frozen=True)
class WordProblems:
    """Arithmetic word problems with worked solutions; renderer `problem_trace_answer`."""

    num_problems: int = 10_000
    """Problems in the split `train`."""
    num_held_out: int = 0
    """Problems in the split `held_out`; 0 leaves it out."""
    families: tuple[str, ...] = tuple(arithmetic.FAMILIES)
    """Which kinds of problems, in equal parts."""
    max_number: int = 20
    """The largest number in a problem's text."""
    templates: int = arithmetic.TEMPLATES
    """Diversity of wording: how many templates of each family to use."""
    seed: int = 0
    """Seed of the draws."""
    split: str = "train"
    """`train` or `held_out`."""

    def dataset(self, cache_dir: Path) -> PreparedDataset:
        """Returns the data set, not built yet."""
        config = arithmetic.ArithmeticConfig(
            families=self.families,
            max_number=self.max_number,
            templates=self.templates,
            num_train=self.num_problems,
            num_held_out=self.num_held_out,
            seed=self.seed,
        )
        key = digest(code=code_digest(arithmetic, families), config=config.name)
        builder = arithmetic.ArithmeticWordProblems
        return PreparedDataset("arithmetic", builder, cache_dir, key, config=config)


@dataclasses.dataclass(frozen=True)
class ReasoningGymProblems:
    """Families of the package reasoning-gym, by name; renderer `problem_answer`."""

    families: tuple[str, ...]
    """Names of its data sets, in equal parts."""
    num_problems: int = 10_000
    """Problems in the split `train`."""
    num_held_out: int = 0
    """Problems in the split `held_out`; 0 leaves it out."""
    seed: int = 0
    """Seed of the draws."""
    split: str = "train"
    """`train` or `held_out`."""

    def dataset(self, cache_dir: Path) -> PreparedDataset:
        """Returns the data set, not built yet."""
        config = reasoning_gym.ReasoningGymConfig(
            families=self.families,
            num_train=self.num_problems,
            num_held_out=self.num_held_out,
            seed=self.seed,
        )
        key = digest(code=code_digest(reasoning_gym, families), config=config.name)
        builder = reasoning_gym.ReasoningGym
        return PreparedDataset("reasoning_gym", builder, cache_dir, key, config=config)


@dataclasses.dataclass(frozen=True)
class Tfds:
    """Any data set of TFDS, without TensorFlow; it is downloaded when it is first read.

    A builder class of yours counts, too: TFDS knows it once it is defined. Give it a new `VERSION`
    when what it makes changes, else the cache keeps the old rows.
    """

    name: str
    """As TFDS writes it: `gsm8k`, or `math_dataset/algebra__linear_1d`."""
    split: str = "train"
    """A split of it."""

    def dataset(self, cache_dir: Path) -> PreparedDataset:
        """Returns the data set, not built yet.

        Raises:
            ValueError: If TFDS has none of this name.
        """
        found = re.fullmatch(r"(\w+)(?:/([\w.+-]+))?", self.name)
        if found is None:
            raise ValueError(
                "a data set of TFDS is named `name` or `name/config`, without namespace and"
                f" version; got {self.name!r}."
            )
        name, config = found.groups()
        builder = _tfds_builder(name)
        if config and config not in builder.builder_configs:
            known = ", ".join(difflib.get_close_matches(config, builder.builder_configs, cutoff=0))
            nearest = f"the nearest are {known}" if known else "it has none"
            raise ValueError(f"the data set {name} has no config {config!r}; {nearest}.")
        key = digest(builder=self.name, version=str(builder.VERSION), tfds=tfds.__version__)
        return PreparedDataset(self.name.replace("/", "-"), builder, cache_dir, key, config)


def _tfds_builder(name: str) -> type[tfds.core.DatasetBuilder]:
    """Returns the class that builds a data set; looks at what is installed, not at the network."""
    for package in TFDS_PACKAGES:
        importlib.import_module(f"tensorflow_datasets.{package}")
    try:
        return tfds.builder_cls(name)
    except tfds.core.registered.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)
        nearest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0)[0]
        raise ValueError(
            f"TFDS has no data set {name!r} that works without TensorFlow; the nearest name is"
            f" {nearest!r}."
        ) from error


Reader = Files | HuggingFaceFolder | Prepares


def read_rows(reader: Reader, cache_dir: Path) -> Iterator[Row | BadRowError]:
    """Returns a reader's rows, one at a time, each with its place.

    Args:
        reader: What to read.
        cache_dir: Where data sets are built.

    Raises:
        ValueError: If there is nothing to read, or it can't be read.
    """
    if isinstance(reader, Files | HuggingFaceFolder):
        return reader.rows()
    dataset = reader.dataset(cache_dir)
    rows = _built_rows(dataset, reader.split)
    where = f"{dataset.name}, {reader.split}"
    return (Row(f"{where}, row {number}", row) for number, row in enumerate(rows, start=1))


def _built_rows(dataset: PreparedDataset, split: str) -> Iterator[dict]:
    """Builds a data set if need be; what goes wrong in a builder of others is one sentence, too."""
    try:
        return dataset.rows(split)
    except ValueError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise ValueError(f"the data set {dataset.name} can't be prepared ({reason}).") from error


def reader_version(reader: Reader, cache_dir: Path) -> str:
    """Returns a hash of what a reader's rows depend on."""
    if isinstance(reader, Files | HuggingFaceFolder):
        return reader.version()
    return digest(key=reader.dataset(cache_dir).key, split=reader.split)
