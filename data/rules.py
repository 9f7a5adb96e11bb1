"""The reasoning corpus: rule-induction problems with abstractions and worked solutions, as text."""

import dataclasses
import itertools
from collections.abc import Collection, Iterator
from functools import partial

import jax
import numpy as np
import tensorflow_datasets as tfds

from data.cache import digest
from jaxreason.tasks import SPLITS, Problem, RuleInductionConfig, sample, to_text

MAX_CHUNK = 65_536  # problems drawn at a time
MAX_PASSES = 20  # draws for each problem asked for before the split counts as exhausted


@dataclasses.dataclass(eq=False)
class RuleCorpusConfig(tfds.core.BuilderConfig):
    """What a rule corpus depends on; its name holds a hash of it, so two never share a folder."""

    name: str = ""
    task: RuleInductionConfig = RuleInductionConfig()
    """The difficulty of the problems."""
    num_train: int = 1000
    """Problems in the split `train`."""
    num_held_out: int = 100
    """Problems in each of `new_instances` and `new_compositions`; 0 leaves those splits out."""
    seed: int = 0
    """Seed of the draws."""

    def __post_init__(self) -> None:
        self.name = "rules_" + digest(
            task=self.task,
            num_train=self.num_train,
            num_held_out=self.num_held_out,
            seed=self.seed,
        )


class RuleCorpus(tfds.core.GeneratorBasedBuilder):
    """Rendered rule-induction problems; no problem occurs twice in the whole corpus.

    Splits: `train`, `new_instances` (rules of training on inputs that training never shows) and
    `new_compositions` (rules that training never shows). Needs no TensorFlow; build it with
    `file_format="array_record"` and read it with `as_data_source`.
    """

    VERSION = tfds.core.Version("1.0.0")
    # No BUILDER_CONFIGS: TFDS would refuse a config of the same name that is another object.

    def _info(self) -> tfds.core.DatasetInfo:
        text = ("problem", "abstraction", "solution")
        features = {name: tfds.features.Text() for name in text}
        features["num_steps"] = tfds.features.Scalar(np.int32)
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager
        config, taken = self.builder_config or RuleCorpusConfig(), set()
        splits = {}
        for index, split in enumerate(SPLITS):
            size = config.num_train if split == "train" else config.num_held_out
            if size == 0:
                continue
            key = jax.random.fold_in(jax.random.key(config.seed), index)
            records = distinct_problems(config.task, split, size, key, taken)
            taken |= records.keys()
            splits[split] = self._generate_examples(list(records.values()))
        return splits

    def _generate_examples(self, records: list[dict]) -> Iterator:
        yield from enumerate(records)


def distinct_problems(
    task: RuleInductionConfig, split: str, size: int, key: jax.Array, taken: Collection[str]
) -> dict[str, dict]:
    """Draws problems of one split until there are enough different ones.

    Args:
        task: The difficulty.
        split: One of the task's splits.
        size: How many problems.
        key: A random key.
        taken: Problems that are in the corpus already.

    Returns:
        By the problem's text, records of `problem`, `abstraction`, `solution` and `num_steps`.

    Raises:
        ValueError: If the split has too few different problems.
    """
    chunk = min(size + size // 16 + 16, MAX_CHUNK)
    draw = jax.jit(jax.vmap(partial(sample, task, split=split)))
    records: dict[str, dict] = {}
    for round_index in range(MAX_PASSES * size // chunk + 1):
        problems = draw(jax.random.split(jax.random.fold_in(key, round_index), chunk))
        for record in _rendered(task, problems):
            if record["problem"] not in taken:
                records.setdefault(record["problem"], record)
        if len(records) >= size:
            return dict(itertools.islice(records.items(), size))
    raise ValueError(
        f"the split {split} yielded only {len(records)} different problems of the {size} asked"
        " for; ask for fewer, or make the task's lists longer."
    )


def _rendered(task: RuleInductionConfig, problems: Problem) -> list[dict]:
    """Renders a batch of problems as records."""
    num_steps = np.sum(np.asarray(problems.rule) >= 0, axis=1)
    texts = to_text(task, problems)
    return [text | {"num_steps": int(n)} for text, n in zip(texts, num_steps, strict=True)]
