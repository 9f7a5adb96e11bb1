"""Problems of the optional package `reasoning-gym`: many families, each with its own generator.

A few of its families (`isomorphic_strings`, `polynomial_multiplication`, `ransom_note` and
`word_ladder`) draw in the order of a set: their rows also depend on `PYTHONHASHSEED`.
"""

import dataclasses
import importlib.metadata
import random
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import tensorflow_datasets as tfds

from data.cache import digest
from data.families import check_families, distinct, in_turn

DRAWS_PER_PROBLEM = 20  # repeated questions included, before a family counts as exhausted
COMPOSITE = "composite"  # mixes other data sets, which it must be told


@dataclasses.dataclass(eq=False)
class ReasoningGymConfig(tfds.core.BuilderConfig):
    """What the problems depend on; its name holds a hash of it, so two never share a folder."""

    name: str = ""
    families: tuple[str, ...] = ("chain_sum", "leg_counting", "simple_equations", "syllogism")
    """Names of `reasoning_gym`'s data sets, drawn from in equal parts."""
    num_train: int = 1000
    """Problems in the split `train`; 0 leaves it out."""
    num_held_out: int = 100
    """Problems in the split `held_out`; 0 leaves it out."""
    seed: int = 0
    """Seed of the draws."""

    def __post_init__(self) -> None:
        self.name = "reasoning_gym_" + digest(
            families=self.families,
            num_train=self.num_train,
            num_held_out=self.num_held_out,
            seed=self.seed,
            package=_installed(),
        )


class ReasoningGym(tfds.core.GeneratorBasedBuilder):
    """Questions and answers of `reasoning-gym`; no question occurs twice in the whole corpus.

    Splits: `train` and `held_out`, families in turn. Needs no TensorFlow; build it with
    `file_format="array_record"` and read it with `as_data_source`.
    """

    VERSION = tfds.core.Version("1.0.0")
    # No BUILDER_CONFIGS: TFDS would refuse a config of the same name that is another object.

    def _info(self) -> tfds.core.DatasetInfo:
        text = ("problem", "answer", "family")
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict({name: tfds.features.Text() for name in text}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager
        config, taken = self.builder_config or ReasoningGymConfig(), set()
        check_families(config.families, family_names())
        draws = DRAWS_PER_PROBLEM * (config.num_train + config.num_held_out)
        streams = [
            distinct(questions(family, draws, config.seed), family, taken)
            for family in config.families
        ]
        splits = in_turn(streams, train=config.num_train, held_out=config.num_held_out)
        return {split: self._generate_examples(rows) for split, rows in splits.items()}

    def _generate_examples(self, rows: list[dict]) -> Iterator:
        yield from enumerate(rows)


def family_names() -> frozenset[str]:
    """Returns the names of the families that need not be told anything.

    Raises:
        ValueError: If the package is missing.
    """
    return frozenset(_package().factory.DATASETS) - {COMPOSITE}


def questions(family: str, size: int, seed: int) -> Iterator[dict[str, str]]:
    """Yields draws of a family as `entries` does: `problem`, `answer` and `family`."""
    for entry in entries(family, size, seed):
        yield {"problem": entry["question"], "answer": entry["answer"], "family": family}


def entries(family: str, size: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yields draws of a family as the package gives them, which is what its scorer needs.

    Args:
        family: The name of one of `reasoning_gym`'s data sets.
        size: How many.
        seed: Other seeds give other questions.

    Yields:
        Dicts with `question`, `answer` and `metadata`; questions may repeat.

    Raises:
        ValueError: If a question comes without an answer.
    """
    # An item's seed is the data set's seed plus its index: neighboring seeds share their items.
    far_apart = random.Random(seed).getrandbits(31)
    for entry in _package().create_dataset(family, size=size, seed=far_apart):
        if entry["answer"] is None:
            raise ValueError(
                f"the family {family!r} has questions without an answer; leave it out."
            )
        yield entry


def _installed() -> str:
    """Returns the package's version, empty if it is missing."""
    try:
        return importlib.metadata.version("reasoning-gym")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _package() -> ModuleType:
    """Imports `reasoning_gym` when it is first needed."""
    try:
        import reasoning_gym
    except ImportError as error:
        raise ValueError(
            "the data set ReasoningGym needs a package that is missing; run"
            " `pip install reasoning-gym`."
        ) from error
    return reasoning_gym
