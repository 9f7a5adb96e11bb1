"""The prepared corpora and the tokenizer that is trained on them."""

from functools import cached_property
from pathlib import Path

import sentencepiece

import data
import jaxreason.mixture
import jaxreason.tasks
from data import docstrings
from data.array_records import PreparedDataset
from data.cache import cached, code_digest, digest
from data.config import DataConfig
from data.documents import Record
from data.rules import RuleCorpus, RuleCorpusConfig
from data.tokenizer import Tokenizer, train_tokenizer
from jaxreason.tasks import SYMBOLS, RuleInductionConfig

TOKENIZER_RECORDS = 2000  # the task's words are symbols, so few records say all there is
MODEL_FILE = "tokenizer.model"


class Corpora:
    """The docstrings, the rule corpus and their tokenizer; each is built when first asked for.

    Args:
        config: The data's settings.
        task: The difficulty of the rule corpus.
        cache_dir: The folder that holds all prepared artefacts.
    """

    def __init__(self, config: DataConfig, task: RuleInductionConfig, cache_dir: Path) -> None:
        self.config = config
        self.cache_dir = cache_dir
        self._docstrings = _docstring_dataset(cache_dir)
        self._rules = _rule_dataset(config, task, cache_dir)
        self.key = digest(
            docstrings=self._docstrings.key,
            rules=self._rules.key,
            num_problems=config.num_problems,
            vocab_size=config.vocab_size,
            sentencepiece=sentencepiece.__version__,
        )

    @cached_property
    def docstrings(self) -> list[str]:
        """The docstrings for training."""
        return [row["text"] for row in self._docstrings.rows("train")]

    @cached_property
    def pretraining_records(self) -> list[Record]:
        """The problems for pretraining."""
        return self._records(slice(0, self.config.num_problems))

    @cached_property
    def sft_records(self) -> list[Record]:
        """The problems for supervised fine-tuning; none is among those for pretraining."""
        return self._records(slice(self.config.num_problems, None))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer trained on both corpora."""
        folder = cached(self.cache_dir, "tokenizer", self.key, self._train_tokenizer)
        return Tokenizer.from_file(folder / MODEL_FILE)

    def _records(self, part: slice) -> list[Record]:
        rows = self._rules.rows("train", part)
        return [Record(row["problem"], row["abstraction"], row["solution"]) for row in rows]

    def _train_tokenizer(self, folder: Path) -> None:
        records = self.pretraining_records[:TOKENIZER_RECORDS]
        reasoning = [record.problem + record.abstraction + record.solution for record in records]
        model = train_tokenizer(
            self.docstrings + reasoning, vocab_size=self.config.vocab_size, symbols=SYMBOLS
        )
        (folder / MODEL_FILE).write_bytes(model)


def _docstring_dataset(cache_dir: Path) -> PreparedDataset:
    builder = docstrings.PythonDocstrings
    key = digest(
        code=_code(),
        interpreter=builder.BUILDER_CONFIGS[0].name,
        root=str(docstrings.SOURCE_ROOT),
    )
    return PreparedDataset("docstrings", builder, cache_dir, key)


def _rule_dataset(
    config: DataConfig, task: RuleInductionConfig, cache_dir: Path
) -> PreparedDataset:
    corpus = RuleCorpusConfig(
        task=task,
        num_train=config.num_problems + config.sft_problems,
        num_held_out=0,
        seed=config.seed,
    )
    key = digest(code=_code(), corpus=corpus.name)
    return PreparedDataset("rules", RuleCorpus, cache_dir, key, config=corpus)


def _code() -> str:
    """Returns a hash of the code that makes the artefacts."""
    return code_digest(data, jaxreason, jaxreason.mixture, jaxreason.tasks)
