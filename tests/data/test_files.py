"""Rows of local files: where each stands, what is refused, and with what words."""

import copy
import gzip
import json
import os
import shutil
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import data.files
from data.files import BadRowError, Files, Row
from data.hub import HuggingFaceFolder

UTF8_BUT_ONE = "Grüße\nan Jürgen".encode().replace(b"\xc3\xbcr", b"\xfcr")


def write(path, content):
    """Writes bytes, text, or a list of values as JSON lines or Parquet; packed if named `.gz`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(content), path)
        return path
    if isinstance(content, list):
        content = "".join(json.dumps(value) + "\n" for value in content)
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def numbers(reader):
    """The field `n` of all rows."""
    return [row.values["n"] for row in reader.rows()]


def told(reader):
    """What the reader says of its bad rows, without the folder."""
    rows = [str(row) for row in reader.rows() if isinstance(row, BadRowError)]
    return [row.rpartition("/")[2] for row in rows]


def test_json_lines_know_their_place(tmp_path):
    file = write(tmp_path / "a.jsonl", '\ufeff{"n": 1}\r\n\n  {"n": "ü\\n"}')
    assert list(Files(str(file)).rows()) == [
        Row(f"{file}, line 1", {"n": 1}),
        Row(f"{file}, line 3", {"n": "ü\n"}),
    ]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl.gz", "A.JSONL", "a.parquet"])
def test_kinds_of_files_with_rows(tmp_path, name):
    file = write(tmp_path / name, [{"n": 1, "turns": [{"role": "user"}]}, {"n": 2, "turns": []}])
    rows = list(Files(str(file)).rows())
    assert [row.values for row in rows] == [
        {"n": 1, "turns": [{"role": "user"}]},
        {"n": 2, "turns": []},
    ]
    assert rows[1].place == f"{file}, {'row' if name.endswith('parquet') else 'line'} 2"


def test_parquet_is_read_in_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(data.files, "ROWS_AT_A_TIME", 2)
    file = write(tmp_path / "a.parquet", [{"n": n} for n in range(5)])
    assert numbers(Files(str(file))) == list(range(5))
    assert [row.place[-5:] for row in Files(str(file)).rows()] == [f"row {n}" for n in range(1, 6)]


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.txt.gz"])
def test_a_text_file_is_one_document(tmp_path, name):
    file = write(tmp_path / name, "One.\r\n\n\nTwo.\n")
    assert list(Files(str(file)).rows()) == [
        Row(f"{file}, document 1", {"text": "One.\r\n\n\nTwo.\n"})
    ]


@given(
    texts=st.lists(st.text("a|<é\n").filter(lambda text: "<|>" not in text), max_size=5),
    chunk=st.integers(1, 9),
)
def test_a_separator_cuts_a_text_wherever_chunks_end(texts, chunk, tmp_path_factory):
    file = tmp_path_factory.mktemp("texts") / "a.txt"
    file.write_bytes("<|>".join(texts).encode())
    expected = [(n, text) for n, text in enumerate("<|>".join(texts).split("<|>"), 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data.files, "CHUNK_BYTES", chunk)
        rows = [row for row in Files(str(file), separator="<|>").rows() if isinstance(row, Row)]
    assert [(row.place, row.values["text"]) for row in rows] == [
        (f"{file}, document {n}", text) for n, text in expected if text.strip()
    ]


def test_bad_lines_are_told_in_their_place(tmp_path):
    lines = [
        b'{"n": 1}',
        b'{"n" 1}',
        b"[1, 2]",
        UTF8_BUT_ONE.splitlines()[1],
        b"[" * 100_000,
        b'{"n": ' + b"1" * 5000 + b"}",
        b'{"n": 2}',
    ]
    file = write(tmp_path / "a.jsonl", b"\n".join(lines))
    rows = list(Files(str(file)).rows())
    assert [row.values["n"] for row in rows if isinstance(row, Row)] == [1, 2]
    problems = told(Files(str(file)))
    assert problems[:3] == [
        "a.jsonl, line 2: the line must be a JSON object; got '{\"n\" 1}' (Expecting ':'"
        " delimiter at column 6).",
        "a.jsonl, line 3: the line must be a JSON object; got [1, 2].",
        "a.jsonl, line 4: the line is not UTF-8; got byte 0xfc.",
    ]
    assert problems[3].startswith("a.jsonl, line 5: the line must be a JSON object; got '[[[[")
    assert problems[4].startswith('a.jsonl, line 6: the line must be a JSON object; got \'{"n": 1')
    assert max(map(len, problems)) < 250


def test_a_bad_row_can_be_sent_to_another_process():
    bad = copy.copy(BadRowError("a.jsonl, line 1", "the line is not UTF-8", "got byte 0xff"))
    assert str(bad) == "a.jsonl, line 1: the line is not UTF-8; got byte 0xff."


def test_text_that_is_not_utf8(tmp_path):
    file = write(tmp_path / "a.txt", b"Fine.--" + UTF8_BUT_ONE)
    assert told(Files(str(file), separator="--")) == [
        "a.txt, document 2: the text is not UTF-8; got byte 0xfc in its line 2."
    ]


@pytest.mark.parametrize(
    "name, content",
    [("a.jsonl", ""), ("a.jsonl", "\n \n"), ("a.txt", " \n"), ("a.jsonl.gz", ""), ("a.gz", b"")],
)
def test_an_empty_file_is_told(tmp_path, name, content):
    file = write(tmp_path / name.replace("a.gz", "a.txt.gz"), content)
    assert told(Files(str(file))) == [f"{file.name}: the file holds no rows."]


def test_an_empty_table_is_told(tmp_path):
    pq.write_table(pa.table({"n": pa.array([], pa.int64())}), tmp_path / "a.parquet")
    assert told(Files(str(tmp_path))) == ["a.parquet: the file holds no rows."]


def test_paths_are_files_patterns_and_folders(tmp_path):
    for n, name in enumerate(["b/2.jsonl", "a.jsonl", "b/1.json", ".hidden/x.jsonl", "b/.x.jsonl"]):
        write(tmp_path / name, [{"n": n}])
    (tmp_path / "LICENSE").write_text("MIT")
    assert numbers(Files(str(tmp_path))) == [1, 2, 0]
    assert numbers(Files(f"{tmp_path}/**/*.jsonl")) == [1, 0]
    assert numbers(Files((f"{tmp_path}/b", f"{tmp_path}/a.jsonl", f"{tmp_path}/*.jsonl"))) == [
        *(2, 0, 1)
    ]


def test_a_name_may_look_like_a_pattern(tmp_path):
    write(tmp_path / "a[1].jsonl", [{"n": 1}])
    write(tmp_path / "a1.jsonl", [{"n": 2}])
    assert numbers(Files(f"{tmp_path}/a[1].jsonl")) == [1]


@pytest.mark.parametrize(
    "paths, message",
    [
        ("{}/none.jsonl", "there is no file or folder {}/none.jsonl."),
        ("{}/*.jsonl", "there is no file or folder {}/*.jsonl."),
        ("{}/data.csv", "{}/data.csv is of no known kind; names end in .jsonl, .json, .jsonl.gz,"),
        ("{}/empty", "the folder {}/empty holds no file that ends in .jsonl, .json, .jsonl.gz,"),
        ("{}/mixed", "the folder {}/mixed holds files of different kinds (JSON lines, text); name"),
        ("", "a path is empty; name a file, a pattern or a folder."),
        ((), "no path is given; name a file, a pattern or a folder."),
    ],
)
def test_paths_that_mean_nothing_are_refused_at_once(tmp_path, paths, message):
    write(tmp_path / "data.csv", "a,b")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "mixed" / "README.md", "What this is.")
    write(tmp_path / "mixed" / "train.jsonl", [{"n": 1}])
    paths = paths.format(tmp_path) if isinstance(paths, str) else paths
    with pytest.raises(ValueError) as refused:
        Files(paths).rows()
    assert str(refused.value).startswith(message.format(tmp_path))


def test_damaged_files_are_refused(tmp_path):
    whole = gzip.compress(b'{"n": 1}\n' * 10_000)
    table = write(tmp_path / "whole.parquet", [{"n": n} for n in range(1000)]).read_bytes()
    damaged = {
        "cut.jsonl.gz": whole[: len(whole) // 2],
        "flipped.jsonl.gz": whole[:20] + bytes([255 - whole[20]]) + whole[21:],
        "not.jsonl.gz": b'{"n": 1}\n',
        "not.parquet": b'{"n": 1}\n',
        "empty.parquet": b"",
        "cut.parquet": table[: len(table) // 2],
        "flipped.parquet": table[:4] + bytes(255 - byte for byte in table[4:60]) + table[60:],
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} can't be read \([^\n]*\)\.$"):
            list(Files(str(tmp_path / name)).rows())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    write(tmp_path / "a.jsonl", [{"n": 1}]).chmod(0)
    with pytest.raises(ValueError, match=r"a.jsonl can't be read \(Permission denied\)\.$"):
        list(Files(str(tmp_path)).rows())


def test_without_pyarrow_it_says_what_to_install(tmp_path, monkeypatch):
    write(tmp_path / "a.parquet", [{"n": 1}])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(
        ValueError, match=r"needs the package pyarrow: install jaxreason\[train\]\."
    ):
        list(Files(str(tmp_path)).rows())


def test_the_version_follows_the_files_and_not_their_place(tmp_path):
    write(tmp_path / "old" / "a.jsonl", [{"n": 1}])
    write(tmp_path / "old" / "sub" / "b.jsonl", [{"n": 2}])
    version = Files(str(tmp_path / "old")).version()
    shutil.move(tmp_path / "old", tmp_path / "new")
    reader = Files(str(tmp_path / "new"))
    assert reader.version() == version == Files(f"{tmp_path}/new/**/*.jsonl").version()
    versions = {version, Files(reader.paths, separator="--").version()}
    swapped = Files((f"{tmp_path}/new/sub/b.jsonl", f"{tmp_path}/new/a.jsonl"))
    versions.add(swapped.version())
    os.utime(tmp_path / "new" / "a.jsonl", ns=(0, 0))
    versions.add(reader.version())
    (tmp_path / "new" / "a.jsonl").rename(tmp_path / "new" / "c.jsonl")
    versions.add(reader.version())
    assert len(versions) == 5


def hub(folder, *names, readme="# A data set"):
    """Makes a folder whose n-th file holds the row n; its readme is no data."""
    for n, name in enumerate(names):
        write(folder / name, [{"n": n}])
    write(folder / "README.md", readme)
    return str(folder)


def test_shards_of_a_split(tmp_path):
    names = [f"data/{s}-0000{n}-of-00002.parquet" for s in ("train", "test_hard") for n in (0, 1)]
    path = hub(tmp_path, *names)
    assert numbers(HuggingFaceFolder(path)) == [0, 1]
    assert numbers(HuggingFaceFolder(path, "test_hard")) == [2, 3]
    assert HuggingFaceFolder(path).version() != HuggingFaceFolder(path, "test_hard").version()
    with pytest.raises(ValueError, match=r"has no split 'dev'; it has test_hard, train\.$"):
        HuggingFaceFolder(path, "dev").rows()


def test_names_of_files_and_folders_tell_the_split(tmp_path):
    path = hub(tmp_path, "train.jsonl", "math_test.jsonl", "validation/0.jsonl", "infos.json")
    assert [numbers(HuggingFaceFolder(path, s)) for s in ("train", "test", "validation")] == [
        *([0], [1], [2])
    ]


def test_files_without_a_split_are_for_training(tmp_path):
    assert numbers(HuggingFaceFolder(hub(tmp_path, "a.jsonl", "more/b.jsonl"))) == [0, 1]


def test_configs_are_folders(tmp_path):
    shard = "train-00000-of-00001.parquet"
    path = hub(tmp_path, f"main/{shard}", f"socratic/{shard}", "socratic/test/0.parquet")
    assert numbers(HuggingFaceFolder(path, config="main")) == [0]
    assert numbers(HuggingFaceFolder(path, "test", "socratic")) == [2]
    with pytest.raises(ValueError, match="has several configs; choose one of main, socratic"):
        HuggingFaceFolder(path).rows()
    with pytest.raises(ValueError, match="has no config 'man'; it has main, socratic"):
        HuggingFaceFolder(path, config="man").rows()
    with pytest.raises(ValueError, match="has no split 'test'; it has train"):
        HuggingFaceFolder(path, "test", config="main").rows()


def test_the_only_config_is_chosen(tmp_path):
    path = hub(tmp_path, "main/train.jsonl")
    assert numbers(HuggingFaceFolder(path)) == [0]
    (tmp_path / "main" / "train.jsonl").rename(tmp_path / "train.jsonl")
    with pytest.raises(ValueError, match="has no config 'main'; it has no configs"):
        HuggingFaceFolder(path, config="main").rows()


README = """---
license: mit
configs:
- config_name: extended
  data_files: "more/*.jsonl"
- config_name: small
  default: true
  data_files:
  - split: train
    path: [a/x-*.jsonl, b.jsonl, "*.jsonl"]
  - split: held_out
    path: a/y.jsonl
  - split: lost
    path: z.jsonl
---
# A data set
"""


def test_the_header_of_the_readme_tells_before_names(tmp_path):
    names = ("a/x-1.jsonl", "b.jsonl", "a/y.jsonl", "more/1.jsonl", "more/2.jsonl")
    path = hub(tmp_path, *names, readme=README)
    assert numbers(HuggingFaceFolder(path)) == [0, 1]
    assert numbers(HuggingFaceFolder(path, "held_out", "small")) == [2]
    assert numbers(HuggingFaceFolder(path, config="extended")) == [3, 4]
    with pytest.raises(ValueError, match="lacks the files that its split 'lost' declares"):
        HuggingFaceFolder(path, "lost").rows()


@pytest.mark.parametrize("readme", ["", "---\nlicense: mit\n---\n", "---\nno end", "--- x\n- a\n"])
def test_a_readme_may_declare_nothing(tmp_path, readme):
    assert numbers(HuggingFaceFolder(hub(tmp_path, "train.jsonl", readme=readme))) == [0]


@pytest.mark.parametrize(
    "header, message",
    [
        ("a: [", r"the header of .*README.md is not YAML \(.*\)\.$"),
        ("a: !!python/object/apply:os.getcwd []", "is not YAML"),
        ("configs: 3", "README.md declares `configs` in an unknown form"),
        ("configs: [{data_files: x}]", "in an unknown form"),
        ("configs: [{config_name: a, data_files: {train: x}}]", "in an unknown form"),
        ("configs: [{config_name: a, data_files: [3]}]", "in an unknown form"),
        ("configs: [{config_name: a, data_files: ../x}]", "outside its folder: ../x"),
        ("configs: [{config_name: a, data_files: /etc/x}]", "outside its folder: /etc/x"),
        ("configs: [{config_name: a, data_files: 'https://x/y'}]", "outside its folder: https"),
    ],
)
def test_headers_that_are_refused(tmp_path, header, message):
    path = hub(tmp_path, "train.jsonl", readme=f"---\n{header}\n---\n")
    with pytest.raises(ValueError, match=message):
        HuggingFaceFolder(path).rows()


@pytest.mark.parametrize("readme", ["", README.replace("more/*.jsonl", "data/train-*")])
def test_a_split_that_lacks_a_part_is_refused(tmp_path, readme):
    names = [f"data/train-0000{n}-of-00003.parquet" for n in (0, 2)]
    path = hub(tmp_path, *names, readme=readme)
    with pytest.raises(ValueError, match=r"/data holds only 2 of the 3 files of 'train'\.$"):
        HuggingFaceFolder(path).rows()


def test_folders_that_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there is no folder .*none\.$"):
        HuggingFaceFolder(str(tmp_path / "none")).rows()
    with pytest.raises(ValueError, match=r"holds no JSON or Parquet files\.$"):
        HuggingFaceFolder(hub(tmp_path / "empty")).rows()
    twice = hub(tmp_path / "twice", "train.jsonl", "train.parquet")
    with pytest.raises(ValueError, match="the split 'train' of .* files of different kinds"):
        HuggingFaceFolder(twice).rows()
