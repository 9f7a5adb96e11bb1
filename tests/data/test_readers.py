"""Readers: any TFDS data set by name, this project's corpora, files; nothing over the network."""

import dataclasses
import socket

import pytest
import tensorflow_datasets as tfds

from data.array_records import PreparedDataset
from data.files import BadRowError, Files
from data.hub import HuggingFaceFolder
from data.mixture_config import Source
from data.readers import (
    Docstrings,
    ReasoningGymProblems,
    RuleProblems,
    Tfds,
    WordProblems,
    read_rows,
    reader_version,
)
from data.renderers import find_renderer
from jaxreason.tasks import RuleInductionConfig


class TextsOfOneTest(tfds.core.GeneratorBasedBuilder):
    """Three texts for training and one for testing; TFDS knows it as `texts_of_one_test`."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        del dl_manager
        texts = {"train": ["one", "zwei", "trois é"], "test": ["four"]}
        return {split: self._generate_examples(rows) for split, rows in texts.items()}

    def _generate_examples(self, texts):
        for number, text in enumerate(texts):
            yield number, {"text": text}


class ConfigsOfOneTest(TextsOfOneTest):
    """The same, as two configs."""

    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="easy_1.5", description=""),
        tfds.core.BuilderConfig(name="hard", description=""),
    ]


class BytesOfOneTest(TextsOfOneTest):
    """A row that is no text in UTF-8."""

    def _generate_examples(self, texts):
        del texts
        yield 0, {"text": b"\xff\xfe"}


class OfflineOneTest(TextsOfOneTest):
    """A data set whose files can't be had."""

    def _split_generators(self, dl_manager):
        raise ConnectionError("no route\nto host")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_a_tfds_data_set_is_read_by_its_name(tmp_path):
    rows = list(read_rows(Tfds("texts_of_one_test"), tmp_path))
    assert [row.values for row in rows] == [{"text": "one"}, {"text": "zwei"}, {"text": "trois é"}]
    assert [row.place for row in rows][-1] == "texts_of_one_test, train, row 3"
    test = read_rows(Tfds("texts_of_one_test", split="test"), tmp_path)
    assert [row.values["text"] for row in test] == ["four"]


def test_bytes_that_are_no_text_are_told_with_their_row(tmp_path):
    (row,) = read_rows(Tfds("bytes_of_one_test"), tmp_path)
    with pytest.raises(BadRowError, match="bytes_of_one_test, train, row 1.*must be text"):
        find_renderer("text")(row)


def test_it_is_built_once(tmp_path, monkeypatch):
    list(read_rows(Tfds("texts_of_one_test"), tmp_path))
    monkeypatch.setattr(TextsOfOneTest, "_generate_examples", None)
    assert len(list(read_rows(Tfds("texts_of_one_test", split="test"), tmp_path))) == 1


def test_configs_of_a_tfds_data_set_are_told_apart(tmp_path):
    easy, hard = (Tfds(f"configs_of_one_test/{config}") for config in ("easy_1.5", "hard"))
    assert len(list(read_rows(easy, tmp_path))) == 3
    assert reader_version(easy, tmp_path) != reader_version(hard, tmp_path)
    assert easy.dataset(tmp_path).key != hard.dataset(tmp_path).key


def test_the_version_of_a_tfds_data_set_is_that_of_its_class(tmp_path, monkeypatch):
    train, test = Tfds("texts_of_one_test"), Tfds("texts_of_one_test", split="test")
    before = reader_version(train, tmp_path)
    assert reader_version(train, tmp_path) == before != reader_version(test, tmp_path)
    monkeypatch.setattr(TextsOfOneTest, "VERSION", tfds.core.Version("1.0.1"))
    assert reader_version(train, tmp_path) != before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["gsm8k", "math_qa", "wiki40b", "natural_questions", "xsum"])
def test_data_sets_of_tfds_itself_are_known_without_tensorflow(name, tmp_path):
    assert Tfds(name).dataset(tmp_path).builder.name == name


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("text_of_one_test", "texts_of_one_test"),
        ("gsmk8", "gsm8k"),
        ("NATURAL_QUESTION", "natural_questions"),
    ],
)
def test_an_unknown_name_is_one_sentence_with_the_nearest(name, nearest, tmp_path):
    with pytest.raises(ValueError) as error:
        read_rows(Tfds(name), tmp_path)
    assert str(error.value) == (
        f"TFDS has no data set {name!r} that works without TensorFlow; the nearest name is"
        f" {nearest!r}."
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("configs_of_one_test/herd", "has no config 'herd'; the nearest are hard, easy_1.5."),
        ("texts_of_one_test/x", "the data set texts_of_one_test has no config 'x'; it has none."),
        ("huggingface:squad", "without namespace and version; got 'huggingface:squad'."),
        ("gsm8k:1.0.0", "without namespace and version; got 'gsm8k:1.0.0'."),
        ("", "named `name` or `name/config`"),
        ("../gsm8k", "named `name` or `name/config`"),
    ],
)
def test_a_name_that_is_none_is_refused(name, message, tmp_path):
    with pytest.raises(ValueError) as error:
        reader_version(Tfds(name), tmp_path)
    assert message in str(error.value)


def test_a_data_set_that_can_not_be_had_is_one_sentence_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError) as error:
        read_rows(Tfds("offline_one_test"), tmp_path)
    assert str(error.value) == (
        "the data set offline_one_test can't be prepared (ConnectionError: no route to host)."
    )
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_an_unknown_split_is_told_with_those_there_are(tmp_path):
    with pytest.raises(ValueError, match="no split 'dev'; it has train, test"):
        read_rows(Tfds("texts_of_one_test", split="dev"), tmp_path)


@dataclasses.dataclass(frozen=True)
class Own:
    """A reader of one's own."""

    split: str = "train"

    def dataset(self, cache_dir):
        return PreparedDataset("own", TextsOfOneTest, cache_dir, "key")


def test_a_reader_of_ones_own_prepares_a_data_set(tmp_path):
    source = Source("own", Own())
    assert len(list(read_rows(source.read, tmp_path))) == 3
    assert reader_version(Own(), tmp_path) != reader_version(Own("test"), tmp_path)


SMALL_TASK = RuleInductionConfig(("reverse", "sort", "add 1"), list_length=3, num_examples=2)


@pytest.mark.parametrize(
    ("reader", "fields"),
    [
        (WordProblems(num_problems=12), {"problem", "trace", "answer", "family"}),
        (RuleProblems(num_problems=12, task=SMALL_TASK), {"problem", "abstraction", "solution"}),
    ],
)
def test_corpora_of_this_project_are_built_when_they_are_read(reader, fields, tmp_path):
    rows = list(read_rows(reader, tmp_path))
    assert len(rows) == 12 and fields <= rows[0].values.keys()
    assert all(isinstance(rows[0].values[field], str) for field in fields)


def test_docstrings_are_read(small_library, tmp_path):
    assert len(list(read_rows(Docstrings(), tmp_path))) > 10


@pytest.mark.parametrize(
    "changes",
    [{"num_problems": 5}, {"num_held_out": 5}, {"seed": 1}, {"split": "held_out"}],
)
@pytest.mark.parametrize(
    "reader", [WordProblems(), RuleProblems(), ReasoningGymProblems(families=("chain_sum",))]
)
def test_the_version_of_a_corpus_depends_on_every_setting(reader, changes, tmp_path):
    same, changed = dataclasses.replace(reader), dataclasses.replace(reader, **changes)
    assert reader_version(same, tmp_path) == reader_version(reader, tmp_path)
    assert reader_version(changed, tmp_path) != reader_version(reader, tmp_path)


@pytest.mark.parametrize(
    "changes", [{"families": ("ages",)}, {"max_number": 9}, {"families": ("ages", "change")}]
)
def test_the_version_of_word_problems_depends_on_their_kind(changes, tmp_path):
    versions = [reader_version(WordProblems(**kind), tmp_path) for kind in ({}, changes)]
    assert len(set(versions)) == 2


def test_the_version_of_docstrings_depends_on_the_library(small_library, tmp_path, monkeypatch):
    before = reader_version(Docstrings(), tmp_path)
    monkeypatch.setattr("data.docstrings.SOURCE_ROOT", small_library / "elsewhere")
    assert reader_version(Docstrings(), tmp_path) != before


def test_files_and_folders_of_the_hub_are_read_as_they_are(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "one"}\n[2]\n')
    for reader in (Files(str(tmp_path / "train.jsonl")), HuggingFaceFolder(str(tmp_path))):
        good, bad = read_rows(reader, tmp_path / "cache")
        assert good.values == {"text": "one"} and isinstance(bad, BadRowError)
        before = reader_version(reader, tmp_path / "cache")
        assert before == reader.version()
    assert not (tmp_path / "cache").exists()
