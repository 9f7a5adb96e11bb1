"""Sources as tokens: what is read, dropped and counted, and when the cache is used."""

import dataclasses
import itertools
import json
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from data.ingest import Ingest
from data.mixture_config import MixtureConfig, Source, Stage
from data.readers import Files
from data.spans import TAGS
from data.tokenized import tokenize
from data.tokenizer import Tokenizer, train_tokenizer

WORDS = (
    *("alder", "ash", "beech", "birch", "cedar", "elm", "fir", "hazel", "maple", "oak", "pine"),
    *("rowan", "spruce", "willow", "yew"),
)


def sentence(number: int, words: int = 14) -> str:
    """Words that no other number's sentence has in the same order, and hardly any run of them."""
    digits = np.random.default_rng(number).integers(len(WORDS), size=words)
    return f"{number} " + " ".join(WORDS[digit] for digit in digits)


def solved(number: int, trace: int = 0, **more) -> dict:
    """A row of problem `number`, with its trace of another number."""
    row = {"problem": sentence(number) + "?", "answer": f"it is {number}"}
    return row | {"trace": sentence(10_000 + 100 * number + trace)} | more


def text_row(number: int) -> dict:
    return {"text": sentence(number)}


@pytest.fixture(scope="module")
def tagged():
    texts = [sentence(number) for number in range(50)] + ["it is", "?"]
    return Tokenizer(train_tokenizer(texts, vocab_size=330, symbols=TAGS))


@pytest.fixture
def write(tmp_path):
    """Writes rows as JSON lines; returns a source that reads them."""

    def write_rows(name, rows, **settings):
        file = tmp_path / f"{name}.jsonl"
        lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
        file.write_text("\n".join(lines) + "\n")
        kind = {} if rows and "text" in rows[0] else {"renderer": "problem_trace_answer"}
        return Source(name, Files(str(file)), **(kind | settings))

    return write_rows


@pytest.fixture
def tokens_of(tmp_path, tagged):
    """Tokenises a source in a mixture with these settings."""

    def make(source, tokenizer=tagged, **settings):
        config = MixtureConfig((source,), (Stage(1000, 0.0),), **settings)
        return tokenize(source, Ingest(config, tmp_path), tokenizer, tmp_path / "cache")

    return make


def texts(tokenizer, source):
    """The texts of the documents, with the end of sequence left out."""
    starts = source.documents.ends - source.documents.lengths
    spans = zip(starts, source.documents.ends, strict=True)
    return [tokenizer.decode(source.documents.tokens[a:b].tolist()) for a, b in spans]


def counts(source):
    """What happened to the rows, without zeros."""
    numbers = {name: n for name, n in source.report.items() if isinstance(n, int)}
    return {name: n for name, n in numbers.items() if n}


def written(folder):
    """Every file of the cache, with when it was written."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.suffix != ".lock")
    return {file.relative_to(folder): file.stat().st_mtime_ns for file in files}


def test_documents_are_what_the_rows_say(write, tokens_of, tagged):
    rows = [
        solved(1, family="algebra", verified=True),
        solved(2, family="geometry", verified=False),
        solved(3, family="algebra") | {"trace": ""},
    ]
    source = tokens_of(write("math", rows))
    assert texts(tagged, source) == [
        rows[0]["problem"] + f"\n<think>{rows[0]['trace']}</think>" + rows[0]["answer"],
        rows[1]["problem"] + f"\n<think>{rows[1]['trace']}</think>" + rows[1]["answer"],
        rows[2]["problem"] + "\n" + rows[2]["answer"],
    ]
    documents = source.documents
    asked = [row["problem"] + "\n" for row in rows]
    encoded = [list(map(tagged.encode, some)) for some in (asked, [row["answer"] for row in rows])]
    assert documents.prompt_lengths.tolist() == [len(ids) for ids in encoded[0]]
    assert documents.answer_lengths.tolist() == [len(ids) + 1 for ids in encoded[1]]
    traces = [len(tagged.encode(row["trace"])) + 2 for row in rows[:2]]  # with their tags
    assert source.trace_lengths.tolist() == [*traces, 0]
    assert documents.tokens[documents.ends - 1].tolist() == [tagged.eos_id] * 3
    assert source.families == ("algebra", "geometry") and source.family_ids.tolist() == [0, 1, 0]
    assert source.template_ids.tolist() == [0, 1, 0]
    assert source.verified.tolist() == [1, 0, -1]
    assert len(set(source.text_hashes.tolist())) == 3
    assert documents.tokens.dtype == np.uint16 and counts(source) == {"rows": 3, "documents": 3}


def test_a_tag_in_a_users_text_stays_text(write, tokens_of, tagged):
    row = solved(1) | {"trace": "I write </think> and <answer> here"}
    source = tokens_of(write("math", [row]))
    think, end_of_think, *others = tagged.symbol_ids(TAGS)
    tokens = source.documents.tokens.tolist()
    assert tokens.count(think) == tokens.count(end_of_think) == 1
    assert not set(others) & set(tokens)
    assert row["trace"] in texts(tagged, source)[0]


MALFORMED = [
    (json.dumps({"problem": "2?"}), "field 'trace' is missing"),
    (json.dumps(solved(1) | {"answer": 4}), "field 'answer' must be text; got 4"),
    (json.dumps(solved(1) | {"problem": " "}), "field 'problem' must not be empty"),
    ("{not json", "the line must be a JSON object"),
    ("[1]", "the line must be a JSON object"),
]


@pytest.mark.parametrize(("row", "problem"), MALFORMED)
def test_a_malformed_row_names_source_file_line_and_field(row, problem, write, tokens_of, tmp_path):
    source = write("math", [solved(1), solved(2), row, solved(3)])
    with pytest.raises(ValueError) as error:
        tokens_of(source)
    place = f"source math: {tmp_path / 'math.jsonl'}, line 3: "
    assert str(error.value).startswith(place + problem)
    assert not list((tmp_path / "cache").glob("tokens-math-*/"))


def test_skipped_rows_are_counted_by_what_is_wrong(write, tokens_of, tmp_path):
    rows = [solved(1), *(row for row, _ in MALFORMED), solved(2)]
    source = tokens_of(write("math", rows, on_bad_row="skip"))
    assert counts(source) == {"rows": 7, "malformed": 5, "documents": 2}
    assert source.report["malformed_by_reason"] == {
        "field 'trace' is missing": 1,
        "field 'answer' must be text": 1,
        "field 'problem' must not be empty": 1,
        "the line must be a JSON object": 2,
    }
    places = source.report["malformed_places"]["the line must be a JSON object"]
    assert places == [f"{tmp_path / 'math.jsonl'}, line {line}" for line in (5, 6)]


@pytest.mark.parametrize("on_bad_row", ["error", "skip"])
def test_an_empty_source_is_an_error(on_bad_row, write, tokens_of, tmp_path):
    source = write("math", [solved(1)], on_bad_row=on_bad_row)
    (tmp_path / "math.jsonl").write_text("\n")
    with pytest.raises(ValueError, match="^source math: .*the file holds no rows"):
        tokens_of(source)
    (tmp_path / "math.jsonl").unlink()
    with pytest.raises(ValueError, match=r"^source math: there is no file .*math.jsonl\.$"):
        tokens_of(source)


def test_a_source_of_which_every_row_is_skipped_is_an_error(write, tokens_of):
    source = write("math", [{"problem": "2?"}], on_bad_row="skip")
    with pytest.raises(
        ValueError, match="^source math: the source is empty: every row was skipped"
    ):
        tokens_of(source)


def test_duplicates_are_dropped_and_counted(write, tokens_of, tagged):
    near = sentence(1, words=80)
    rows = [{"text": text} for text in (near, sentence(2), sentence(2).upper(), near + " also")]
    source = tokens_of(write("web", rows))
    assert counts(source) == {"rows": 4, "duplicates": 1, "near_duplicates": 1, "documents": 2}
    assert texts(tagged, source) == [near, sentence(2)]
    assert [sample["reason"] for sample in source.report["dropped_samples"]] == ["exact", "near"]
    only_exact = tokens_of(write("web", rows, near_duplicates=None))
    assert counts(only_exact) == {"rows": 4, "duplicates": 1, "documents": 3}


@pytest.fixture
def exam(write):
    return write("exam", [solved(number) for number in range(3)])


def test_evaluation_problems_in_training_text_are_dropped_and_counted(
    exam, write, tokens_of, tagged
):
    leaks = [f"Look: {sentence(0)} (said someone)", sentence(2).upper()]
    rows = [{"text": text} for text in (sentence(7), *leaks, sentence(8))]
    source = tokens_of(write("web", rows), evaluation=(exam,))
    assert counts(source) == {"rows": 4, "contaminated": 2, "documents": 2}
    assert texts(tagged, source) == [sentence(7), sentence(8)]
    assert source.report["evaluation"] == [{"examples": 3, "malformed": 0}]
    assert counts(tokens_of(write("web", rows))) == {"rows": 4, "documents": 4}


def test_evaluation_texts_without_problems_are_kept_out_as_duplicates(write, tokens_of):
    exam = write("exam", [{"text": sentence(1)}, {"text": sentence(2, words=80)}])
    rows = [text_row(1), {"text": sentence(2, words=80) + " also"}, text_row(3)]
    source = tokens_of(write("web", rows), evaluation=(exam,))
    assert counts(source) == {"rows": 3, "in_evaluation": 2, "documents": 1}


def test_malformed_rows_of_the_evaluation_are_an_error_or_counted(write, tokens_of):
    web = write("web", [text_row(5)])
    rows = [solved(1), {"problem": "2?"}]
    with pytest.raises(ValueError, match="^source exam: .*exam.jsonl, line 2: field 'trace' is"):
        tokens_of(web, evaluation=(write("exam", rows),))
    source = tokens_of(web, evaluation=(write("exam", rows, on_bad_row="skip"),))
    assert source.report["evaluation"] == [{"examples": 1, "malformed": 1}]


def test_a_broken_evaluation_is_never_taken_for_a_short_one(write, tmp_path):
    """Also when it is asked for again, as in a notebook."""
    web, exam = write("web", [text_row(5)]), write("exam", [solved(1), {"problem": "2?"}])
    ingest = Ingest(MixtureConfig((web,), (Stage(1, 0),), evaluation=(exam,)), tmp_path)
    for _ in range(2):
        with pytest.raises(ValueError, match="line 2"):
            list(ingest.examples(web, {}))


def test_parts_share_no_problem_and_are_together_everything(write, tokens_of, tagged):
    rows = [solved(number, trace) for number, trace in itertools.product(range(60), range(3))]
    rows = [row | {"problem": row["problem"] + " " * (i % 2)} for i, row in enumerate(rows)]
    whole = texts(tagged, tokens_of(write("math", rows)))
    parts = []
    for part in ("train", "held_out"):
        source = tokens_of(write("math", rows, part=part), held_out_share=0.3)
        found = counts(source)
        assert found["documents"] + found["other_part"] == found["rows"] == 180
        parts.append(texts(tagged, source))
    assert sorted(parts[0] + parts[1]) == sorted(whole) and len(whole) == 180
    train, held_out = ({text.split("?")[0] for text in part} for part in parts)
    assert train.isdisjoint(held_out)
    assert 8 <= len(held_out) <= 28 and len(train) + len(held_out) == 60  # expected 18


def test_another_seed_holds_out_other_problems(write, tokens_of, tagged):
    math = write("math", [solved(number) for number in range(40)], part="held_out")
    found = [texts(tagged, tokens_of(math, held_out_share=0.3, seed=seed)) for seed in (0, 1)]
    assert set(found[0]) != set(found[1])


def test_an_evaluation_of_held_out_problems_cleans_the_other_sources(write, tokens_of):
    """A text that tells a held-out problem goes; one that tells another problem stays."""
    rows = [solved(number) for number in range(40)]
    math = write("math", rows)
    retold = write("web", [{"text": "As I said, " + row["problem"]} for row in rows])
    held_out = dataclasses.replace(math, name="exam", part="held_out")
    settings = {"evaluation": (held_out,), "held_out_share": 0.3}
    num_held_out = tokens_of(math, **settings).report["other_part"]
    assert num_held_out > 0
    # Texts have no problem of their own, so that some of these are held out themselves.
    source = tokens_of(retold, **settings)
    assert 0 < source.report["contaminated"] <= num_held_out
    assert source.report["evaluation"] == [{"examples": num_held_out, "malformed": 0}]


def test_an_evaluation_that_is_no_part_of_training_counts_whole(exam, write, tokens_of):
    web = write("web", [{"text": f"Look: {sentence(number)}"} for number in range(3)])
    source = tokens_of(write("more", [text_row(9)]), evaluation=(exam, web), held_out_share=0.5)
    assert [count["examples"] for count in source.report["evaluation"]] == [3, 3]


def test_an_evaluation_of_which_nothing_is_held_out_is_an_error(write, tokens_of):
    exam = write("exam", [solved(1)], part="held_out")
    with pytest.raises(ValueError, match="^source exam: none of its problems is held out"):
        tokens_of(write("web", [text_row(5)]), evaluation=(exam,), held_out_share=0.001)


def test_nothing_left_is_one_sentence_with_the_reasons(exam, write, tokens_of):
    rows = [solved(0, 5), solved(1, 5), {"problem": "2?"}]
    source = write("math", rows, on_bad_row="skip")
    with pytest.raises(ValueError) as error:
        tokens_of(source, evaluation=(exam,))
    assert str(error.value) == (
        "source math: nothing is left of its 3 rows: 1 malformed, 2 contaminated."
    )


def test_what_was_tokenised_is_opened_again_and_nothing_is_rewritten(write, tokens_of, tmp_path):
    source = write("math", [solved(number) for number in range(5)])
    first, before = tokens_of(source), written(tmp_path)
    unrelated = (
        {"seed": 5},
        {"sequence_length": 64, "block_size": 7},
        {"evaluation": ()},
    )
    knobs = (
        {"weight": 3.0, "max_passes": 2, "group": "reasoning"},
        {"families": ("x",), "verified_only": True, "min_trace_tokens": 5},
        {"corrupted_share": 0.5, "max_documents": 1, "match_passes": 2, "packing": "cut"},
    )
    for settings in unrelated:
        assert tokens_of(source, **settings).key == first.key
    for settings in knobs:
        assert tokens_of(dataclasses.replace(source, **settings)).key == first.key
    assert written(tmp_path) == before


def test_whatever_the_tokens_depend_on_changes_the_key(exam, write, tokens_of, tagged, tmp_path):
    rows = [solved(number) for number in range(5, 25)]
    source = write("math", rows)
    keys = [tokens_of(source).key]

    def note(changed_source=source, **settings):
        keys.append(tokens_of(changed_source, **settings).key)

    note(dataclasses.replace(source, renderer="problem_answer"))
    note(dataclasses.replace(source, near_duplicates=0.7))
    note(dataclasses.replace(source, on_bad_row="skip"))
    note(tokenizer=Tokenizer(train_tokenizer([sentence(1)], vocab_size=300, symbols=TAGS)))
    note(evaluation=(exam,))
    note(evaluation=(write("exam", [solved(0)]),))
    note(held_out_share=0.2)
    note(held_out_share=0.2, seed=1)
    note(dataclasses.replace(source, part="held_out"), held_out_share=0.2)
    note(write("math", rows[:-1]))
    assert len(set(keys)) == len(keys)


def test_code_that_makes_the_tokens_changes_the_key(write, tokens_of, monkeypatch):
    source = write("math", [solved(1)])
    before = tokens_of(source).key
    for module in ("data.ingest", "data.tokenized"):
        with monkeypatch.context() as patch:
            patch.setattr(f"{module}.CODE", ())
            assert tokens_of(source).key != before


def stub(vocab_size: int) -> SimpleNamespace:
    """A tokenizer whose tokens are the code points of a text's characters."""
    return SimpleNamespace(
        vocab_size=vocab_size,
        eos_id=2,
        fingerprint=f"stub-{vocab_size}",
        encode=lambda text: [ord(character) for character in text],
        symbol_ids=lambda symbols: (0x10FFFF,) * len(symbols),
    )


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(2**16, np.uint16), (2**16 + 1, np.uint32), (0x110000, np.uint32)]
)
def test_large_vocabularies_have_wide_tokens(vocab_size, dtype, write, tokens_of):
    text = "\U0001f600 wide" if dtype == np.uint32 else "￿ narrow"
    source = tokens_of(write("web", [{"text": text}]), stub(vocab_size))
    assert source.documents.tokens.dtype == dtype
    assert source.documents.tokens.tolist() == [*map(ord, text), 2]


def test_memory_does_not_grow_with_the_text(write, tokens_of, tmp_path):
    """Sixteen million bytes of tokens, of which no more than a few documents are held."""
    rows = [{"text": f"{number} " + "x" * 100_000} for number in range(40)]
    source = write("web", rows, near_duplicates=None)
    tracemalloc.start()
    try:
        found = tokens_of(source, stub(2**20))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.documents.tokens.nbytes > 16_000_000 > 3 * peak
    assert found.documents.lengths.tolist() == [len(row["text"]) + 1 for row in rows]
