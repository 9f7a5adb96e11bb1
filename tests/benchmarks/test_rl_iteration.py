"""The iteration benchmark on a size of nothing: what it measures, checks, prints and writes."""

import ast
import dataclasses
import json
import random
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import rl_iteration
from benchmarks.rl_iteration import OURS, SEEDS, SHAPES, SIDES, Process, Row, Side, main
from benchmarks.rl_iteration_ours import make_iteration, make_task
from benchmarks.rl_iteration_worker import Shape, even_share, random_prompt
from benchmarks.roofline import Machine
from configs.demo import CONFIG
from jaxreason.model import ModelConfig, num_parameters
from jaxreason.sequences import Sequence
from jaxreason.tasks import make_rule_induction

ROOT = Path(rl_iteration.__file__).parents[1]
TINY = SHAPES["tiny"]
FACTS = {"parameters": TINY.parameters, "threads": 2, "versions": {"jax": "1"}}
CHECKS = {"lengths": [4], "mean_reward": 0.5, "largest_change": 1e-6}


def row(side, seconds, **facts):
    return Row("4m", side, 9.0, seconds, seconds, seconds, (seconds,), FACTS | facts, CHECKS)


ROWS = [
    row("jaxreason", 0.5, memory=dict.fromkeys(rl_iteration.MEMORY, 2**20)),
    row(f"jaxreason, {SEEDS} seeds", 2.0),
    row("TRL", 3.0),
    row("TRL, one thread", 2.0),
    row("Tunix", 0.75),
]


def model(shape):
    names = {field.name for field in dataclasses.fields(ModelConfig)}
    return ModelConfig(**{k: v for k, v in dataclasses.asdict(shape).items() if k in names})


@pytest.mark.parametrize("size", SHAPES)
def test_parameters_are_counted_as_the_model_has_them(size):
    assert SHAPES[size].parameters == num_parameters(model(SHAPES[size]))


def test_the_shapes_are_those_that_were_asked_for():
    wide = SHAPES["4m"]
    sizes = {"vocab_size": 4096, "dim": 256, "num_layers": 4, "num_heads": 8, "num_kv_heads": 4}
    assert model(wide) == ModelConfig(**sizes, hidden_dim=768)
    assert 4.1e6 < wide.parameters < 4.3e6
    assert (wide.rows, wide.prompt_length, wide.completion_length) == (8, 64, 64)
    demo, task, game = SHAPES["demo"], make_rule_induction(CONFIG.task), CONFIG.rl.game
    assert model(demo) == CONFIG.model
    assert (demo.problems, demo.completions) == (game.problems, game.abstractions)
    problem = jax.eval_shape(lambda: task.sample(jax.random.key(0), "train"))
    words = jax.eval_shape(task.abstraction, problem)
    bare = jax.ShapeDtypeStruct((), bool)
    prompt = jax.eval_shape(task.solution_prompt, problem, words, bare)
    assert (demo.prompt_length, demo.completion_length) == (*prompt.tokens.shape, 15)
    assert task.solution_length == 15


def test_operations_by_hand():
    # width 2, 1 layer, 1 head, no feed-forward, 3 ids; 1 completion of 1 token after 2: 2 are read.
    # Body: 4 matrices of 2 x 2, and 3 norms of 2: 22 parameters, 2 * 22 * 2 = 88 operations; the
    # embedding for the written token: 2 * 6 = 12; attention: 4 * 2 * (1 + 2) = 24. Forward once to
    # write, and three times as much to learn.
    shape = Shape(3, 2, 1, 1, 1, 0, 1, 1, 2, 1)
    assert rl_iteration.operations(shape) == 4 * (88 + 12 + 24)
    twice = dataclasses.replace(shape, problems=2)
    assert rl_iteration.operations(twice) == 2 * rl_iteration.operations(shape)


def test_rewards_and_prompts():
    assert even_share([1, 2, 4, 8]) == 0.75
    tokens = jax.numpy.array([1, 2, 4, 8])
    assert make_task(TINY).reward(tokens, Sequence(tokens, tokens > 0)) == 0.75
    words = random_prompt(TINY, random.Random(0)).split()
    assert len(words) == 4
    assert all(0 <= int(word) < 64 for word in words)


def test_seeds_at_once_are_what_each_is_alone():
    start, advance = make_iteration(TINY)
    keys = jax.random.split(jax.random.key(3), 2)
    together = jax.jit(jax.vmap(lambda key: advance(start(key))))(keys)
    for number, key in enumerate(keys):
        (state, _), metrics = jax.jit(lambda key: advance(start(key)))(key)
        alone, both = state.solution.train.params, together[0][0].solution.train.params
        for one, of_both in zip(jax.tree.leaves(alone), jax.tree.leaves(both), strict=True):
            np.testing.assert_allclose(one, of_both[number], rtol=1e-5, atol=1e-7)
        assert metrics["length"] == together[1]["length"][number] == TINY.completion_length
        assert metrics["reward"] == together[1]["reward"][number]


def test_ratios():
    found = rl_iteration.ratios(ROWS, 0.25)
    assert found == {
        "ours to the floor": 2.0,
        "8 seeds to ours": 4.0,
        "TRL to ours": 4.0,  # its better time
        "Tunix to ours": 1.5,
    }
    assert all(set(aims) <= set(found) for aims in rl_iteration.AIMS.values())


def test_the_tables():
    text = rl_iteration.format_size("4m", ROWS, 0.25)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0].startswith("4m: 1 x 8 completions of 64 tokens after 64; 4,196,608 parameters")
    assert "jaxreason 2 9.0 500.0 500.0-500.0 1.00 2.00" in lines
    assert "TRL, one thread 2 9.0 2,000.0 2,000.0-2,000.0 4.00 8.00" in lines
    assert "floor 250.0 0.50 1.00" in lines
    assert "jaxreason 1.0 1.0 1.0 1.0 1.0" in lines
    assert lines[-4:] == [
        "ours to the floor at most 1.3 2.00",
        "8 seeds to ours under 5 4.00",
        "TRL to ours at least 3 4.00",
        "Tunix to ours at least 1.8 1.50",
    ]


@pytest.mark.parametrize(
    ("facts", "checks", "message"),
    [
        ({}, {"lengths": [3, 4]}, r"TRL wrote \[3, 4\] tokens, not 4"),
        ({"parameters": 5}, {}, "TRL has 5 parameters, not 2,608"),
        ({}, {"largest_change": 0.0}, "TRL left its parameters as they were"),
        ({}, {"largest_change": float("nan")}, "TRL left its parameters as they were"),
    ],
)
def test_a_side_that_did_something_else_is_an_error(facts, checks, message):
    measured = row("TRL", 1.0)
    rl_iteration.check(TINY, measured)
    wrong = dataclasses.replace(measured, facts=FACTS | facts, checks=CHECKS | checks)
    with pytest.raises(RuntimeError, match=message):
        rl_iteration.check(TINY, wrong)


WORKER = """
import sys
from benchmarks.rl_iteration_worker import Worker
worker = Worker()
print("a library talks")
wanted = worker.ready(threads=1)
while wanted:
    worker.begin()
    worker.note([4, 4], [0.25, 0.75])
    wanted = worker.end()
worker.close(0.5)
"""


@pytest.fixture
def side(tmp_path, monkeypatch):
    """A worker of a few lines."""
    (tmp_path / "few_lines.py").write_text(WORKER)
    (tmp_path / "broken.py").write_text("raise SystemExit('It broke.')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Side("few lines", "few_lines")


def test_a_worker_iterates_when_asked(side):
    with Process(side, TINY) as process:
        assert process.read() == {"threads": 1}
        assert len(process.run(1)) == 1
        assert all(seconds > 0 for seconds in process.run(3))
        assert process.end() == {"lengths": [4], "mean_reward": 0.5, "largest_change": 0.5}


def test_a_worker_that_breaks_is_an_error(side):
    broken = dataclasses.replace(side, module="broken")
    with pytest.raises(RuntimeError, match="few lines ended:\nIt broke"):  # noqa: SIM117
        with Process(broken, TINY) as process:
            process.read()


def test_a_worker_ends_with_the_benchmark(side):
    with pytest.raises(KeyError), Process(side, TINY) as process:
        process.read()
        raise KeyError
    assert process._process.returncode is not None


def test_peers_need_nothing_of_ours():
    for name in ("worker", "trl", "tunix"):
        tree = ast.parse((ROOT / "benchmarks" / f"rl_iteration_{name}.py").read_text())
        imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        imported |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        own = {module for module in imported if module.split(".")[0] in ("jaxreason", "benchmarks")}
        assert own <= {"benchmarks.rl_iteration_worker"}
        if name == "worker":
            assert {module.split(".")[0] for module in imported} <= sys.stdlib_module_names


def test_the_script_makes_every_peer_from_its_pins():
    script = ROOT / "benchmarks" / "make_peers.sh"
    for peer in {side.environment for side in SIDES if side.environment}:
        pins = (ROOT / "constraints" / f"peers-{peer}.txt").read_text().splitlines()
        assert pins[0].startswith("# Exact versions for ")
        assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins[1:])
        made = re.search(rf"make_peer {peer} \S+ \S+ \S+ ([\w -]+) ;;", script.read_text())
        assert set(made[1].split()) <= {pin.split("==")[0] for pin in pins}
    unknown = subprocess.run([script, "nobody"], capture_output=True, text=True)
    assert unknown.returncode == 1
    assert unknown.stderr == "Unknown peer 'nobody'; the known ones are trl, tunix and llama.\n"


def test_tiny_runs_without_peers_and_all_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rl_iteration, "PEERS", tmp_path / "nothing")
    results = tmp_path / "results"
    main(["--size", "tiny", "--repeats", "2", "--results", str(results)])
    printed = capsys.readouterr().out
    for name in ("TRL", "Tunix"):
        said = f"{name} is not there: make its environment with benchmarks/make_peers.sh."
        assert printed.count(said) == 1
    summary = json.loads(printed.splitlines()[-1])
    one, two = summary["rows"]
    assert (one["side"], two["side"]) == (OURS.name, "jaxreason, 2 seeds")
    for measured in (one, two):
        assert len(measured["seconds"]) == 2
        assert 0 < measured["low"] <= measured["median_seconds"] <= measured["high"]
        assert measured["first_seconds"] > measured["median_seconds"]
        assert measured["checks"]["lengths"] == [4]
        assert measured["checks"]["largest_change"] > 0
        memory = measured["facts"]["memory"]
        # The whole state is donated, and written in place.
        assert memory["alias"] == memory["argument"]
        assert memory["peak"] >= memory["output"] > 12 * TINY.parameters
    assert summary["versions"]["jaxreason"]["jax"] == jax.__version__
    assert "tiny: 2 x 2 completions" in (results / "tables.txt").read_text()
    assert len((results / "metrics.jsonl").read_text().splitlines()) == 2
    config = json.loads((results / "config.json").read_text())
    assert config["shapes"]["tiny"]["vocab_size"] == 64
    assert config["floor_seconds"]["tiny"] > 0
    assert (results / "figure.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--repeats", "0"], "--repeats must be 1 or more; got 0."),
        (["--cores", "4096"], "got [4096]."),
        (["--size", "huge"], "invalid choice: 'huge'"),
    ],
)
def test_wrong_options_are_said_to_be(argv, message, capsys):
    with pytest.raises(SystemExit):
        main(argv)
    assert message in capsys.readouterr().err


def test_the_better_limit_counts():
    first, second = Machine("cpu", 1.0, 5.0, 3.0), Machine("cpu", 2.0, 4.0, 3.0)
    assert rl_iteration._better(first, second) == Machine("cpu", 2.0, 5.0, 3.0)


def test_one_core_leaves_one_trl(tmp_path, monkeypatch):
    for peer in ("trl", "tunix"):
        (tmp_path / peer / "bin").mkdir(parents=True)
        (tmp_path / peer / "bin" / "python").touch()
    monkeypatch.setattr(rl_iteration, "PEERS", tmp_path)
    for cores, count in (({0}, 4), ({0, 1}, 5)):
        monkeypatch.setattr(rl_iteration.os, "sched_getaffinity", lambda _, c=cores: c)
        assert len(rl_iteration._sides("demo")) == count
    assert rl_iteration.missing(SIDES) == []
