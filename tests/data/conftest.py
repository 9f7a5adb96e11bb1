"""A small world: docstrings of one package, a rule corpus of a few problems, a small mixture."""

import dataclasses
import json
import random

import pytest

import data.docstrings
from data.config import DataConfig
from data.mixture_config import MixtureConfig, Source, Stage, TokenizerConfig
from data.readers import Files
from data.spans import TAGS
from data.tokenizer import Tokenizer, train_tokenizer
from jaxreason.tasks import SYMBOLS, RuleInductionConfig

TASK = RuleInductionConfig(primitives=("reverse", "sort", "add 1"), list_length=3, num_examples=2)
CONFIG = DataConfig(
    vocab_size=360,
    sequence_length=64,
    reasoning_density=0.5,
    num_problems=60,
    sft_problems=40,
    block_size=16,
)


@pytest.fixture
def task():
    return TASK


@pytest.fixture
def config():
    return CONFIG


@pytest.fixture
def small_library(monkeypatch):
    """Makes the docstring corpus read the package `json` only."""
    root = data.docstrings.Path(json.__file__).parent
    monkeypatch.setattr(data.docstrings, "SOURCE_ROOT", root)
    return root


@pytest.fixture(scope="session")
def tokenizer():
    text = (json.__doc__ or "") + (json.dumps.__doc__ or "") + (json.loads.__doc__ or "")
    return Tokenizer(train_tokenizer(text.splitlines(), vocab_size=360, symbols=SYMBOLS))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A folder with texts of 3 to 60 words, problems with traces, and a tokenizer for them."""
    folder, rng = tmp_path_factory.mktemp("corpus"), random.Random(0)
    words = ["".join(rng.choices("abcdefgh", k=4)) for _ in range(60)]

    def text(least, most):
        return " ".join(rng.choices(words, k=rng.randint(least, most)))

    rows = {
        "text": [{"text": text(3, 60)} for _ in range(120)],
        "code": [{"text": text(3, 60)} for _ in range(40)],
        "math": [
            {"problem": text(2, 8), "trace": text(4, 30), "answer": text(1, 2)} for _ in range(80)
        ],
        "logic": [
            {"problem": text(2, 4), "trace": text(1, 9), "answer": text(1, 2)} for _ in range(80)
        ],
    }
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    model = train_tokenizer([" ".join(words)] * 4, vocab_size=340, symbols=TAGS)
    (folder / "tokenizer.model").write_bytes(model)
    return folder


@pytest.fixture(scope="session")
def mixture(corpus):
    """Makes mixtures of the corpus; settings of its sources are given by name."""

    def make(*names, stages=((3840, 0.0), (2560, 0.25)), settings=(), **changes):
        kinds = {
            **dict.fromkeys(("text", "code"), {}),
            **dict.fromkeys(
                ("math", "logic"), {"renderer": "problem_trace_answer", "group": "reasoning"}
            ),
        }
        sources = [
            Source(
                name,
                Files(str(corpus / f"{name}.jsonl")),
                near_duplicates=None,
                **kinds[name] | dict(settings).get(name, {}),
            )
            for name in names or ("text", "math")
        ]
        config = MixtureConfig(
            sources=tuple(sources),
            stages=tuple(Stage(*stage) for stage in stages),
            sequence_length=64,
            block_size=16,
            tokenizer=TokenizerConfig(model=str(corpus / "tokenizer.model")),
        )
        return dataclasses.replace(config, **changes)

    return make


@pytest.fixture(scope="session")
def mixture_cache(tmp_path_factory):
    """A cache folder in which the corpus is tokenised once."""
    return tmp_path_factory.mktemp("cache")
