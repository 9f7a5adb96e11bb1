"""The TFDS builders: built and read without TensorFlow, nothing twice, splits apart."""

import subprocess
import sys
import textwrap

import pytest

import data.docstrings
from data.array_records import PreparedDataset
from data.docstrings import PythonDocstrings, library_docstrings
from data.rules import RuleCorpus, RuleCorpusConfig
from jaxreason.tasks import RuleInductionConfig


def rules(tmp_path, task, **settings):
    config = RuleCorpusConfig(task=task, **settings)
    return PreparedDataset("rules", RuleCorpus, tmp_path, config.name, config=config)


def test_building_and_reading_never_imports_tensorflow(tmp_path, pytestconfig):
    """In a process of its own, so that nothing else can have imported it."""
    code = f"""
        import json, pathlib, sys
        import data.docstrings
        from data.array_records import PreparedDataset

        data.docstrings.SOURCE_ROOT = pathlib.Path(json.__file__).parent
        cache = pathlib.Path({str(tmp_path)!r})
        dataset = PreparedDataset("docstrings", data.docstrings.PythonDocstrings, cache, "k")
        assert len(list(dataset.rows("train"))) > 10
        print("tensorflow" in sys.modules)
    """
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout == "False\n"


def test_docstrings(small_library, tmp_path, capsys):
    dataset = PreparedDataset("docstrings", PythonDocstrings, tmp_path, "k")
    rows = list(dataset.rows("train"))
    texts = [row["text"] for row in rows]
    assert len(set(texts)) == len(texts) > 10
    assert min(map(len, texts)) >= data.docstrings.MIN_CHARACTERS
    assert any(text.startswith("JSON (JavaScript Object Notation)") for text in texts)
    assert {"decoder", "encoder"} <= {row["module"] for row in rows}
    assert capsys.readouterr().out == ""


def test_docstrings_are_cleaned_and_found_everywhere(tmp_path):
    module = "A module's docstring, long enough to be kept as text."
    method = "A method's docstring of two lines,\n    the second of which is indented."
    (tmp_path / "pkg").mkdir()
    source = ["class A:", '  """Too short."""', "  async def f(self):", f'    """{method}"""']
    (tmp_path / "pkg" / "__init__.py").write_text("\n".join([f'"""{module}"""', *source]))
    (tmp_path / "broken.py").write_text("def (:")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "skipped.py").write_text(f'"""{module} But this is a test."""')
    assert list(library_docstrings(tmp_path)) == [
        ("pkg", module),
        ("pkg", "A method's docstring of two lines,\nthe second of which is indented."),
    ]


def test_an_empty_library_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(data.docstrings, "SOURCE_ROOT", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="found no docstrings below"):
        list(PreparedDataset("docstrings", PythonDocstrings, tmp_path, "k").rows("train"))


def test_rule_corpus(task, tmp_path):
    dataset = rules(tmp_path, task, num_train=30, num_held_out=10)
    splits = {s: list(dataset.rows(s)) for s in ("train", "new_instances", "new_compositions")}
    assert {split: len(rows) for split, rows in splits.items()} == {
        "train": 30,
        "new_instances": 10,
        "new_compositions": 10,
    }
    problems = [row["problem"] for rows in splits.values() for row in rows]
    assert len(set(problems)) == len(problems)
    for row in splits["train"]:
        assert row["abstraction"].startswith("<abstraction> ")
        assert row["abstraction"].count(" then ") == row["num_steps"] - 1
        assert row["solution"].count("->") == row["num_steps"]
    held_out = {row["abstraction"] for row in splits["new_compositions"]}
    assert held_out.isdisjoint(row["abstraction"] for row in splits["train"])


def test_a_slice_of_rows_is_read_in_order(task, tmp_path):
    dataset = rules(tmp_path, task, num_train=12, num_held_out=0)
    assert list(dataset.rows("train", slice(3, 5))) == list(dataset.rows("train"))[3:5]


def test_the_config_name_tells_corpora_apart(task):
    names = {
        RuleCorpusConfig(task=task).name,
        RuleCorpusConfig(task=task, seed=1).name,
        RuleCorpusConfig(task=task, num_train=1).name,
        RuleCorpusConfig(task=RuleInductionConfig()).name,
    }
    assert len(names) == 4
    assert RuleCorpusConfig(task=task).name in names


def test_a_task_with_too_few_problems_is_refused(tmp_path):
    # One example and a query of two digits each: fewer than 10,000 instances, and one rule.
    task = RuleInductionConfig(("reverse",), max_steps=1, list_length=2, num_examples=1)
    with pytest.raises(ValueError, match="yielded only .* different problems of the 10000 asked"):
        list(rules(tmp_path, task, num_train=10_000, num_held_out=0).rows("train"))
