"""The data benchmark on tiny sizes: every row is there, and what is no time is what it must be."""

import dataclasses
import importlib.util
import json

import numpy as np
import pytest

from benchmarks import data, data_cases
from benchmarks.data import PEER_TOKENIZER, SMOKE, TABLES, format_rows, main, run_case
from benchmarks.data_cases import CUT, OURS, PLAIN, READERS, WHOLE, Iterate
from data.spans import TAGS
from data.tokenizer import Tokenizer, train_tokenizer
from jaxreason.mixture import Document, Documents

CORPORA = ("docstrings", "arithmetic", "rules")
READING = {"num_sources": 3, "batch_size": 4, "batches": 5, "calls": 2, "prefetch": 2}
installed = importlib.util.find_spec(PEER_TOKENIZER) is not None


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The folder and the rows of a run of the smallest size."""
    folder = tmp_path_factory.mktemp("smoke")
    main(["--smoke", "--output", str(folder)])
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    tables = {name: [] for name in TABLES}
    for row in map(json.loads, lines):
        tables[row.pop("table")].append(row)
    return folder, tables


def keys(rows, *names):
    return [tuple(row[name] for name in names) for row in rows]


def test_every_table_has_all_rows(smoke):
    _, tables = smoke
    libraries = (OURS, PEER_TOKENIZER) if installed else (OURS,)
    wanted = [(corpus, library) for corpus in CORPORA for library in libraries]
    assert keys(tables["tokenise"], "corpus", "method") == wanted
    packed = keys(tables["pack"], "corpus", "length", "method")
    assert len(packed) == len(set(packed)) == len(CORPORA) * len(SMOKE.lengths) * 6
    wanted = [(sources, method) for sources in SMOKE.sources for method in READERS]
    assert keys(tables["iterate"], "sources", "method") == wanted
    wanted = [("from memory",), ("prefetched",), ("not prefetched",)]
    assert keys(tables["prefetch"], "data") == wanted
    assert keys(tables["open"], "sources") == [(sources,) for sources in SMOKE.sources]


def test_speeds_have_a_spread_and_a_ratio_to_ours(smoke):
    _, tables = smoke
    for row in tables["tokenise"] + tables["pack"] + tables["iterate"]:
        assert 0 < row["low"] <= row["speed"] <= row["high"]
        assert row["ratio"] == 1 if row["method"] == row["beside"] else row["ratio"] > 0


def test_tokens_are_shorter_than_their_text(smoke):
    assert all(1 < row["token_bytes"] < 8 for row in smoke[1]["tokenise"])


def test_nothing_packs_better_than_cutting_or_worse_than_a_plain_loop(smoke):
    for corpus in CORPORA:
        for length in SMOKE.lengths:
            full = {
                row["method"]: row["efficiency"]
                for row in smoke[1]["pack"]
                if (row["corpus"], row["length"]) == (corpus, length)
            }
            assert full[CUT] == max(full.values()) <= 1
            assert full[CUT] == full[data.PEER_CUT]
            assert 0 < full[PLAIN] <= full[WHOLE]


def test_our_shares_are_exact_to_a_sequence(smoke):
    for row in smoke[1]["iterate"]:
        assert row["used_mib"] >= 0
        assert row["sequences_off"] < 1 or not row["method"].startswith(OURS)
        assert row["sequences_off"] == 0 or row["sources"] > 1


def test_a_step_waits_a_part_of_its_time(smoke):
    for row in smoke[1]["prefetch"]:
        assert 0 <= row["wait_ms"] <= row["step_ms"]
        assert 0 <= row["waited"] <= 1
    assert smoke[1]["prefetch"][0]["slower"] == 0


def test_the_stream_that_is_opened_has_its_length(smoke):
    for row in smoke[1]["open"]:
        assert SMOKE.tokens <= row["tokens"] < 1.01 * SMOKE.tokens
        assert 0 < row["open_seconds"] < 10


def test_all_is_written(smoke):
    folder, tables = smoke
    text = (folder / "tables.txt").read_text()
    assert text.startswith("tokenizers is not installed") != installed
    for name, rows in tables.items():
        assert format_rows(name, rows) in text
    config = json.loads((folder / "config.json").read_text())
    assert config["tokens"] == SMOKE.tokens and "grain" in config
    assert (folder / "figure.png").stat().st_size > 1000


def test_without_the_other_tokenizer_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(data, "PEER_TOKENIZER", "no_such_tokenizer")
    tokenizer = Tokenizer(train_tokenizer([data.__doc__], vocab_size=400, symbols=TAGS))
    rows = data.measure_tokenise(SMOKE, {"docstrings": [data.__doc__]}, tokenizer)
    monkeypatch.setattr(data, "measured", lambda plan: [("tokenise", rows)])
    main(["--smoke"])
    assert keys(rows, "method") == [(OURS,)]
    assert capsys.readouterr().out.startswith("tokenizers is not installed")


def test_a_case_has_a_process_of_its_own(tmp_path):
    folder = data_cases.write_packed(tmp_path, "packed", 16, 16)
    case = Iterate(str(folder), **READING, method=PLAIN)
    result = run_case("iterate", case, dataclasses.replace(SMOKE, isolated=True))
    assert len(result["seconds"]) == 2
    assert 0 <= result["used_mib"] < result["peak_mib"]


def test_a_case_that_fails_is_an_error(tmp_path):
    case = Iterate(str(tmp_path / "missing"), **READING, method=PLAIN)
    with pytest.raises(RuntimeError, match=r"iterate, Iterate\([\s\S]*missing"):
        run_case("iterate", case, dataclasses.replace(SMOKE, isolated=True))


@pytest.mark.parametrize("method", READERS)
def test_every_way_reads_what_was_written(tmp_path, method):
    folder = data_cases.write_packed(tmp_path, "packed", 16, 16)
    sources = data_cases.open_packed(folder, 3)
    case = Iterate(str(folder), **READING, method=method)
    batch = next(READERS[method](sources, case))
    stored = {row.tobytes() for row in sources[0].packed.tokens}
    assert {row.astype(np.uint16).tobytes() for row in batch["tokens"]} <= stored
    assert batch["loss_mask"].sum() == 4 * (16 - data_cases.DOCUMENTS)
    assert set(batch["source_id"].tolist()) <= {0, 1, 2}


def test_the_plain_loop_packs_in_order():
    documents = Documents.join(Document(np.full(size, size, np.int32)) for size in (2, 3, 1, 4))
    lists = [piece.tolist() for piece in np.split(documents.tokens, documents.ends[:-1])]
    tokens, segment_ids = data_cases._greedy(lists, 4)
    assert tokens.tolist() == [[2, 2, 0, 0], [3, 3, 3, 1], [4, 4, 4, 4]]
    assert segment_ids.tolist() == [[1, 1, 0, 0], [1, 1, 1, 2], [1, 1, 1, 1]]
    assert {pack() for pack in data_cases.packers(documents, 4, bins=2).values()} == {3}
