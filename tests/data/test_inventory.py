"""The inventory: what sources hold in tokens, no text in two of them, and the program itself."""

import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest

from data.inventory import MODEL_FILE, take_inventory
from data.mixture_config import MixtureConfig, Source, Stage, TokenizerConfig
from data.readers import Files
from data.spans import TAGS
from data.tokenizer import Tokenizer, train_tokenizer

WORDS = ("alder", "ash", "beech", "birch", "cedar", "elm", "fir", "hazel", "maple", "oak", "pine")
SMALL = TokenizerConfig(vocab_size=320)


def sentence(number: int, words: int = 12) -> str:
    digits = np.random.default_rng(number).integers(len(WORDS), size=words)
    return f"{number} " + " ".join(WORDS[digit] for digit in digits)


def solved(number: int, **more) -> dict:
    row = {"problem": sentence(number) + "?", "trace": sentence(1000 + number), "answer": "yes"}
    return row | more


@pytest.fixture
def write(tmp_path):
    """Writes rows as JSON lines; returns a source that reads them."""

    def write_rows(name, rows, **settings):
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return Source(name, Files(str(file)), **settings)

    return write_rows


@pytest.fixture
def math_source(write):
    """20 problems of algebra and 10 of geometry, half of them verified."""
    families = ["algebra", "geometry", "algebra"] * 10
    rows = [
        solved(number, family=family, verified=number % 2 == 0)
        for number, family in enumerate(families)
    ]
    return write("math", rows, renderer="problem_trace_answer", group="reasoning")


@pytest.fixture
def web_source(write):
    return write("web", [{"text": sentence(100 + number, 5 + number)} for number in range(20)])


@pytest.fixture
def take(tmp_path):
    def make(*sources, tokenizer=SMALL, **settings):
        config = MixtureConfig(sources, (Stage(1000, 0.0),), tokenizer=tokenizer, **settings)
        return take_inventory(config, tmp_path / "cache")

    return make


def texts(inventory, selection):
    """The texts that a mixture may take of a source."""
    documents = selection.source.documents
    starts = documents.ends - documents.lengths
    return {
        inventory.tokenizer.decode(documents.tokens[starts[i] : documents.ends[i]].tolist())
        for i in selection.chosen
    }


def models(folder):
    """The tokenizers in a cache, with when they were written."""
    return {file: file.stat().st_mtime_ns for file in folder.glob(f"*/{MODEL_FILE}")}


def test_sources_are_counted_in_tokens_by_span(math_source, web_source, take):
    inventory = take(web_source, math_source)
    web, reasoning = inventory.rows()
    encode = inventory.tokenizer.encode
    rows = [solved(number) for number in range(30)]
    spans = {name: sum(len(encode(row[name])) for row in rows) for name in rows[0]}
    line_breaks = len(encode("\n")) * 30
    assert reasoning["prompt"] == spans["problem"] + line_breaks
    assert reasoning["trace"] == spans["trace"] + 2 * 30  # its tags
    assert reasoning["answer"] == spans["answer"] + 30  # the end of sequence
    assert reasoning["tokens"] == sum(reasoning[name] for name in ("prompt", "trace", "answer"))
    assert (reasoning["group"], reasoning["documents"], reasoning["verified"]) == (
        "reasoning",
        30,
        15,
    )
    lengths = [len(encode(sentence(100 + number, 5 + number))) + 1 for number in range(20)]
    assert (web["prompt"], web["trace"], web["tokens"]) == (0, 0, sum(lengths))
    assert web["median length"] == int(np.median(lengths)) and web["longest"] == max(lengths)
    assert web["median length"] < web["95%"] < web["longest"]


def test_diversity_is_counted_in_tokens(math_source, web_source, take):
    inventory = take(web_source, math_source)
    web, reasoning = inventory.rows()
    assert (web["families"], web["entropy"], web["effective"]) == (1, 0, 1)
    algebra, geometry = inventory.families()
    assert (algebra["family"], algebra["documents"]) == ("algebra", 20)
    assert (geometry["family"], geometry["documents"]) == ("geometry", 10)
    assert algebra["tokens"] + geometry["tokens"] == reasoning["tokens"]
    shares = [row["tokens"] / reasoning["tokens"] for row in (algebra, geometry)]
    assert [algebra["share"], geometry["share"]] == pytest.approx(shares)
    entropy = -sum(share * math.log(share) for share in shares)
    assert reasoning["families"] == 2
    assert reasoning["effective"] == pytest.approx(math.exp(entropy))
    assert reasoning["entropy"] == round(entropy, 2)


def test_templates_are_told_apart_by_family(write, take):
    kinds = [("algebra", "1"), ("algebra", "2"), ("geometry", "1"), ("geometry", "1")]
    rows = [
        solved(number) | {"family": family, "template": template}
        for number, (family, template) in enumerate(kinds)
    ]
    source = write("math", rows, renderer="problem_trace_answer", group="reasoning")
    (row,) = take(source).rows()
    assert (row["families"], row["templates"]) == (2, 3)
    assert row["effective"] < row["effective templates"] < 3


def test_only_the_largest_families_are_listed(write, take):
    rows = [{"text": sentence(n), "domain": f"domain {n % 15}"} for n in range(45)]
    rows += [{"text": sentence(99, 200), "domain": "domain 14"}]
    inventory = take(write("web", rows))
    families = inventory.families()
    assert len(families) == 10 and families[0]["family"] == "domain 14"
    assert inventory.rows()[0]["families"] == 15


def test_rows_left_out_are_told_by_reason(math_source, write, take):
    rows = [{"text": sentence(n)} for n in (200, 201, 201, 3)] + [{"words": "none"}]
    web = write("web", rows, on_bad_row="skip")
    exam = dataclasses.replace(math_source, name="exam")
    inventory = take(web, evaluation=(exam,))
    assert inventory.dropped() == [
        {
            "source": "web",
            "rows": 5,
            "malformed": 1,
            "other_part": 0,
            "contaminated": 1,
            "in_evaluation": 0,
            "duplicates": 1,
            "near_duplicates": 0,
            "documents": 2,
        }
    ]
    assert inventory.evaluation() == [{"evaluation": "exam", "examples": 30, "malformed": 0}]
    malformed, *samples = inventory.notes()
    assert malformed.startswith("web: 1 malformed: field 'text' is missing (")
    assert malformed.endswith("web.jsonl, line 5)")
    assert [note.split()[1].strip(":") for note in samples] == ["exact", "contaminated"]
    renamed = dataclasses.replace(exam, name="test")
    assert take(web, evaluation=(renamed,)).evaluation()[0]["evaluation"] == "test"


def test_a_text_in_two_sources_is_taken_from_the_first_only(write, take):
    first = write("first", [{"text": sentence(number)} for number in range(10)])
    second = write("second", [{"text": sentence(number).upper()} for number in range(5, 15)])
    inventory = take(first, second)
    selections = inventory.selections()
    assert [len(selection.chosen) for selection in selections] == [10, 5]
    assert texts(inventory, selections[1]) == {sentence(n).upper() for n in range(10, 15)}
    inventory = take(second, first)
    assert texts(inventory, inventory.selections()[1]) == {sentence(n) for n in range(5)}
    assert [len(selection.chosen) for selection in inventory.selections()] == [10, 5]


def test_a_text_that_the_first_source_does_not_take_is_left_for_the_second(write, take):
    rows = [{"text": sentence(number)} for number in range(10)]
    first, second = write("first", rows, max_documents=4), write("second", rows)
    inventory = take(first, second)
    taken = [texts(inventory, selection) for selection in inventory.selections()]
    assert len(taken[0]) == 4 and len(taken[1]) == 6 and taken[0].isdisjoint(taken[1])


def test_a_source_of_which_another_has_everything_is_told(write, take):
    rows = [{"text": sentence(number)} for number in range(10)]
    inventory = take(write("first", rows), write("second", rows))
    with pytest.raises(ValueError, match="nothing of source second is left: of its 10 examples, 0"):
        inventory.selections()


def test_the_tokenizer_is_trained_once_on_the_texts_of_all_sources(
    math_source, web_source, take, tmp_path
):
    inventory = take(web_source, math_source)
    before = models(tmp_path / "cache")
    assert len(before) == 1 and inventory.tokenizer.vocab_size == 320
    for sources in ((web_source, math_source), (web_source, math_source)):
        weighted = [dataclasses.replace(source, weight=2, max_documents=5) for source in sources]
        assert take(*weighted, seed=7).tokenizer.model == inventory.tokenizer.model
    assert models(tmp_path / "cache") == before


def test_the_same_sources_elsewhere_give_the_same_tokenizer(math_source, take, tmp_path):
    first = take(math_source)
    (tmp_path / "cache").rename(tmp_path / "old")
    assert take(math_source).tokenizer.model == first.tokenizer.model


def test_other_texts_or_settings_train_another_tokenizer(math_source, web_source, take, tmp_path):
    fewer = dataclasses.replace(SMALL, train_documents=5)
    take(web_source)
    take(web_source, math_source)
    take(web_source, tokenizer=TokenizerConfig(vocab_size=310))
    take(web_source, tokenizer=fewer)
    assert len(models(tmp_path / "cache")) == 4


def test_tags_are_symbols_and_digits_are_split(math_source, take):
    tokenizer = take(math_source).tokenizer
    assert tokenizer.symbol_ids(TAGS) == tuple(range(4, 4 + len(TAGS)))
    assert len(tokenizer.encode("2025")) == 4


def test_a_malformed_row_is_told_although_the_tokenizer_is_trained_first(write, take):
    web = write("web", [{"text": sentence(1)}, {"texts": "x"}])
    with pytest.raises(ValueError, match="^source web: .*web.jsonl, line 2: field 'text' is miss"):
        take(web)


def test_a_tokenizer_may_be_given(math_source, take, tmp_path):
    model = train_tokenizer([sentence(n) for n in range(9)], vocab_size=300, symbols=TAGS[:2])
    (tmp_path / "a.model").write_bytes(model)
    inventory = take(math_source, tokenizer=TokenizerConfig(model=str(tmp_path / "a.model")))
    assert inventory.tokenizer.model == model
    think, _ = Tokenizer(model).symbol_ids(TAGS[:2])
    assert np.sum(inventory.sources[0].documents.tokens == think) == 30


@pytest.mark.parametrize(
    ("model", "message"),
    [(None, "No such file"), (b"", "not a sentencepiece"), ("no tags", "has no symbols")],
)
def test_a_tokenizer_that_can_not_be_used_is_told(model, message, math_source, take, tmp_path):
    path = tmp_path / "a.model"
    if model == "no tags":
        model = train_tokenizer([sentence(1)], vocab_size=290, symbols=())
    if model is not None:
        path.write_bytes(model)
    with pytest.raises(ValueError, match=f"^the tokenizer .*a.model can't be used: .*{message}"):
        take(math_source, tokenizer=TokenizerConfig(model=str(path)))


def run(folder, pytestconfig, text):
    """Runs the program on a user's file."""
    (folder / "mixture.py").write_text(text)
    command = [sys.executable, "-m", "data.inventory", str(folder / "mixture.py")]
    return subprocess.run(
        [*command, "--cache-dir", str(folder / "cache")],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
    )


def test_the_program_prints_tables_and_tells_mistakes_in_a_sentence(
    math_source, tmp_path, pytestconfig
):
    text = f"""
from data.mixture_config import MixtureConfig, Source, Stage, TokenizerConfig
from data.readers import Files

MATH = Source("math", Files({math_source.read.paths!r}), "problem_trace_answer", "reasoning")
MIXTURE = MixtureConfig((MATH,), (Stage(1000, 1.0),), tokenizer=TokenizerConfig(vocab_size=320))
"""
    finished = run(tmp_path, pytestconfig, text)
    assert finished.returncode == 0, finished.stderr
    assert "math    reasoning         30" in finished.stdout and "algebra" in finished.stdout
    with open(math_source.read.paths, "a") as file:
        file.write('{"problem": "2?", "trace": "", "answer": 4}\n')
    finished = run(tmp_path, pytestconfig, text)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert "Traceback" not in finished.stderr
    assert finished.stderr.splitlines()[-1] == (
        f"source math: {math_source.read.paths}, line 31: field 'answer' must be text; got 4."
    )
