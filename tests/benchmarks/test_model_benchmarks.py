"""The benchmarks of a pretrained model, on a tiny one: what they count, check, print and write."""

import ast
import dataclasses
import json
import re
from pathlib import Path

import jax
import pytest

from benchmarks import generate, model_sides, rl_iteration, train_step
from benchmarks.model_sides import LLAMA, OURS, TRANSFORMERS, Run
from benchmarks.model_worker import Work
from benchmarks.roofline import Machine
from data.pretrained.save import save_pretrained
from jaxreason.model import ModelConfig, init, num_parameters

pytest.importorskip("tokenizers", reason="pretrained models need `.[models]`")

ROOT = Path(rl_iteration.__file__).parents[1]
MACHINE = Machine("cpu", 1e9, 2e9, 1e9)
WORK = Work("", "model.gguf", "generate", "float32", 2, 5, 4)
CONFIG = ModelConfig(
    vocab_size=300, dim=8, num_layers=1, num_heads=2, num_kv_heads=1, hidden_dim=16
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    path = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer.add_special_tokens(["<end>"])
    files = {
        "tokenizer.json": tokenizer.to_str().encode(),
        "tokenizer_config.json": b'{"eos_token": "<end>"}',
    }
    save_pretrained(path, CONFIG, init(CONFIG, jax.random.key(0)), files=files)
    return str(path)


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """Without peers, on a machine of known limits."""
    monkeypatch.setattr(rl_iteration, "PEERS", tmp_path / "nothing")
    for module in (generate, train_step):
        monkeypatch.setattr(module, "measure_machine", lambda **_: MACHINE)


def run_of(side, seconds, tokens, first=(9.0, 0.5)):
    facts = {"versions": {"jax": "1"}, "threads": 2}
    found = {"tokens": tokens, "first_seconds": list(first)}
    return Run(side.name, "float32", len(tokens), tuple(seconds), facts, found)


def test_bytes_and_operations_by_hand():
    # Body: query and out 8 x 8, key and value 8 x 4, 3 matrices of 8 x 16, 3 norms of 8: 600.
    assert num_parameters(CONFIG) == 300 * 8 + 600
    # Keys and values of one head of width 4: 8 numbers a place; 2 rows of 5 and, on average, 2.
    assert generate.bytes_per_step(CONFIG, WORK) == 4 * 3000 + 2 * 7 * 8 * 4
    half = dataclasses.replace(WORK, dtype="bfloat16")
    assert generate.bytes_per_step(CONFIG, half) == 2 * 3000 + 2 * 7 * 8 * 2
    assert generate.prefill_operations(CONFIG, WORK) == 2 * 2 * (600 * 5 + 2400)
    assert train_step.operations(CONFIG, 10) == 6 * 3000 * 10
    untied = dataclasses.replace(CONFIG, tie_embeddings=False)
    assert train_step.operations(untied, 10) == 6 * 3000 * 10
    assert generate.prefill_operations(untied, WORK) == 2 * 2 * (600 * 5 + 2400)


def test_a_row_by_hand():
    tokens = [[1, 2, 3, 4], [5, 6, 7, 8]]
    reference = run_of(TRANSFORMERS, (2.0,), [[1, 2, 9, 4], [5, 6, 7, 8]])
    row = generate.row_of(CONFIG, WORK, run_of(OURS, (2.0,), tokens), reference, MACHINE)
    assert row.tokens_per_second == 4.0  # 8 in 2 s
    assert row.prefill_seconds == 0.5  # the first, of 9 s, does not count
    assert row.decode_tokens_per_second == 4.0  # 3 steps of 2 rows in 1.5 s
    assert row.memory_share == pytest.approx(2 * 12_448 / 1e9)
    assert row.bytes_per_token == 12_448 / 2
    assert row.matmul_share == pytest.approx(21_600 / 0.5 / 1e9)
    assert row.same == 6 / 8
    assert generate.row_of(CONFIG, WORK, reference, reference, MACHINE).same is None
    short = run_of(OURS, (2.0,), [[1, 2, 3], [5, 6, 7]])
    with pytest.raises(RuntimeError, match=r"jaxreason wrote rows of \[3\], not 4"):
        generate.row_of(CONFIG, WORK, short, reference, MACHINE)


def test_who_takes_part(monkeypatch):
    monkeypatch.setattr(generate, "is_there", lambda side: True)
    one = dataclasses.replace(WORK, batch=1)
    names = [(side.name, work.dtype) for side, work in generate.sides_of(one)]
    assert names == [
        ("jaxreason", "float32"),
        ("transformers", "float32"),
        ("jaxreason", "int8"),
        ("llama.cpp", "GGUF"),
    ]
    assert len(generate.sides_of(WORK)) == 2
    said = model_sides.missing((TRANSFORMERS, LLAMA))
    assert said[1] == (
        "llama.cpp is not there: make its environment with benchmarks/make_peers.sh llama."
    )


def test_losses_must_agree():
    row = train_step.Row("a", "float32", 0.0, 1.0, 1.0, 1.0, 1.0, 0.5, 2.0)
    train_step.check([row, dataclasses.replace(row, loss=2.0005)])
    for wrong in (2.1, float("nan")):
        with pytest.raises(RuntimeError, match="losses in float32 differ"):
            train_step.check([row, dataclasses.replace(row, loss=wrong)])


def test_generation_runs_and_all_is_written(model, tmp_path, capsys):
    results = tmp_path / "results"
    sizes = ["--prompt-length=5", "--new-tokens=3", "--rows", "1", "2", "--repeats=1"]
    generate.main([f"--model={model}", "--dtypes", "float32", *sizes, f"--results={results}"])
    printed = capsys.readouterr().out
    assert "transformers is not there" in printed and "llama.cpp is not there" in printed
    summary = json.loads(printed.splitlines()[-1])
    kinds = [(row["side"], row["dtype"], row["rows"]) for row in summary["rows"]]
    assert kinds == [
        ("jaxreason", "float32", 1),
        ("jaxreason", "int8", 1),
        ("jaxreason", "float32", 2),
    ]
    assert all(row["tokens_per_second"] > 0 < row["compile_seconds"] for row in summary["rows"])
    assert len((results / "metrics.jsonl").read_text().splitlines()) == 3
    assert json.loads((results / "config.json").read_text())["model"] == "tiny"
    assert (results / "figure.png").stat().st_size > 1000


def test_training_runs_and_all_is_written(model, tmp_path, capsys):
    results = tmp_path / "results"
    sizes = ["--batch=2", "--length=6", "--repeats=1"]
    train_step.main([f"--model={model}", *sizes, f"--results={results}"])
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [row["dtype"] for row in rows] == ["float32", "bfloat16"]
    assert rows[0]["loss"] == pytest.approx(rows[1]["loss"], abs=0.05)
    assert rows[0]["loss"] > 1
    assert (results / "figure.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("main", "argv", "message"),
    [
        (generate.main, ["--new-tokens=1"], "--new-tokens must be 2 or more; got 1."),
        (generate.main, ["--rows", "0"], "must be 1 or more"),
        (train_step.main, ["--length=1"], "--length 2 or more"),
    ],
)
def test_wrong_options_are_said_to_be(main, argv, message, capsys):
    with pytest.raises(SystemExit):
        main(argv)
    assert message in capsys.readouterr().err


def test_peers_need_nothing_of_ours():
    for name in ("worker", "transformers", "llama"):
        tree = ast.parse((ROOT / "benchmarks" / f"model_{name}.py").read_text())
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        own = {module for module in modules if module.split(".")[0] in ("jaxreason", "benchmarks")}
        assert own <= {"benchmarks.model_worker", "benchmarks.rl_iteration_worker"}


def test_llama_has_pins():
    pins = (ROOT / "constraints" / "peers-llama.txt").read_text().splitlines()
    assert pins[0].startswith("# Exact versions for ")
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins[1:])
    assert "llama-cpp-python" in {pin.split("==")[0] for pin in pins}
