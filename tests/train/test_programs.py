"""The programs as a user runs them: killed and started again, out of order, on a finished run."""

import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxreason.rollout import Sampling
from train.generate import load, stream
from train.measure import MEASURES
from train.metrics import read_metrics
from train.run_folder import read_json

ROOT = Path(__file__).parents[2]
# Prepared data are named by what they depend on, so they may be kept between test runs.
CACHE = ROOT / ".cache" / "data"
STAGES = ("pretrain", "sft_abstraction", "sft_solution", "rl")
STEPS = 12
SETTINGS = {
    "data.num-problems": 400,
    "data.sft-problems": 100,
    "data.sequence-length": 64,
    "data.vocab-size": 400,
    "model.vocab-size": 400,
    "model.dim": 16,
    "model.num-layers": 1,
    "model.num-heads": 2,
    "model.num-kv-heads": 1,
    "model.hidden-dim": 16,
    "pretrain.steps": STEPS,
    "pretrain.batch-size": 8,
    "sft.steps": STEPS,
    "sft.batch-size": 8,
    "rl.steps": STEPS,
    "rl.game.problems": 4,
    "rl.game.abstractions": 2,
    "evaluation.problems": 8,
    "evaluation.abstractions": 2,
    "evaluation.solutions": 2,
    "evaluation.samples": 1,
    "loop.checkpoint-every": 2,
    "loop.log-every": 1,
}


def start(program, run_path):
    """Starts a program on the tiny experiment."""
    options = [word for name, value in SETTINGS.items() for word in (f"--{name}", str(value))]
    folders = ["--run-dir", str(run_path), "--cache-dir", str(CACHE)]
    return subprocess.Popen(
        [sys.executable, "-m", f"train.{program}", "demo", *options, *folders],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(program, run_path):
    """Runs a program to its end; returns what it printed."""
    process = start(program, run_path)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def kill_inside(stage, run_path):
    """Starts the pipeline and kills it once the stage's third step is logged."""
    process = start("pipeline", run_path)
    deadline = time.monotonic() + 300
    while last_step(run_path, stage) < 3:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"{stage} was not reached"
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert 2 in sealed(run_path, stage) or 4 in sealed(run_path, stage)
    assert STEPS not in sealed(run_path, stage), f"{stage} ended before it was killed"


def last_step(run_path, stage):
    rows = read_metrics(run_path)
    return max((row["step"] for row in rows if row["stage"] == stage), default=0)


def sealed(run_path, stage):
    """The finished checkpoints of a stage."""
    return [
        int(path.parent.name) for path in (run_path / "checkpoints" / stage).glob("*/seal.json")
    ]


def saved(run_path, stage):
    """Everything in the last checkpoint of a stage, by name."""
    with (
        warnings.catch_warnings(action="ignore"),  # it holds for one kind of device: this one
        ocp.CheckpointManager(run_path / "checkpoints" / stage) as manager,
    ):
        assert manager.latest_step() == STEPS
        tree = manager.restore(STEPS, args=ocp.args.PyTreeRestore())
    tree["key"] = jax.random.key_data(tree["key"])
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def assert_same_run(left, right):
    for stage in STAGES:
        ours, theirs = saved(left, stage), saved(right, stage)
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            np.testing.assert_array_equal(value, theirs[name], err_msg=f"{stage} {name}")
    assert read_metrics(left) == read_metrics(right)
    assert evaluation(left) == evaluation(right)


def evaluation(run_path):
    """What was evaluated, but not how long it took."""
    found = read_json(run_path / "evaluation.json")
    del found["seconds"]
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run without a pause, and what it printed."""
    path = tmp_path_factory.mktemp("whole") / "run"
    return path, finish("pipeline", path)


def test_a_run_trains_every_stage_evaluates_and_reports(whole):
    path, said = whole
    rows = read_metrics(path)
    assert [(row["stage"], row["step"]) for row in rows] == [
        (stage, step) for stage in STAGES for step in range(1, STEPS + 1)
    ]
    states = {stage: saved(path, stage) for stage in STAGES}
    for player in ("abstraction", "solution"):
        state = f"['state']['{player}']"
        weights = states["rl"][f"{state}['train']['params']['embedding']"]
        assert not np.array_equal(weights, states["rl"][f"{state}['reference']['embedding']"])
    base, *tuned = (states[stage]["['state']['params']['embedding']"] for stage in STAGES[:3])
    assert not np.array_equal(base, tuned[0]) and not np.array_equal(base, tuned[1])
    assert f"the report: {path}/report.html" in said
    assert (path / "report.html").stat().st_size > 10_000
    found = read_json(path / "evaluation.json")
    parts = {f"evaluate_{stage}" for stage in ("pretrain", "sft", "rl")}
    assert set(found["seconds"]) == {"data", "compare", *parts, *STAGES}
    assert len(found["rows"]) == 3 * 2 * len(MEASURES) and found["differences"]
    assert len(read_json(path / "samples.json")) == 2 * SETTINGS["evaluation.samples"]


def test_a_run_killed_in_every_stage_ends_with_the_same_bits(whole, tmp_path):
    for stage in STAGES:
        kill_inside(stage, tmp_path)
    assert "continuing the run" in finish("pipeline", tmp_path)
    assert_same_run(tmp_path, whole[0])
    assert (tmp_path / "report.html").exists()


def test_a_finished_run_is_evaluated_anew_with_the_same_scores(whole, tmp_path):
    path = shutil.copytree(whole[0], tmp_path / "run")
    for name in ("evaluation.json", "samples.json"):
        (path / name).unlink()
    finish("evaluate", path)
    assert_same_run(path, whole[0])
    assert read_json(path / "samples.json") == read_json(whole[0] / "samples.json")


@pytest.fixture(scope="module")
def taken_away(whole, tmp_path_factory):
    """A folder for each player of the run, by the part that it plays."""
    pytest.importorskip("tokenizers", reason="exported tokenizers need `.[models]`")
    target = tmp_path_factory.mktemp("exported") / "players"
    command = [sys.executable, "-m", "train.export", str(whole[0]), str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    players = ("abstraction", "solution")
    assert done.stdout.splitlines() == [f"wrote {target / player}" for player in players]
    return {player: target / player for player in players}


def answer_of(folder, text):
    """The greedy answer of an exported player, by our own programs."""
    model = load(str(folder), "float32", tokens=64)
    prompt = model.tokenizer.encode(text, with_tags=True)
    parts = stream(model, prompt, max_new_tokens=24, sampling=Sampling(temperature=0.0))
    return model, prompt, [token for part in parts for token in part]


def test_both_players_leave_as_they_were_trained(whole, taken_away):
    state = saved(whole[0], "rl")
    for player, folder in taken_away.items():
        model, _, tokens = answer_of(folder, "[1 2 3]")
        for path, leaf in jax.tree.leaves_with_path(model.params):
            name = f"['state']['{player}']['train']['params']{jax.tree_util.keystr(path)}"
            np.testing.assert_array_equal(leaf, state[name], err_msg=name)
        assert len(tokens) > 3


@pytest.mark.parametrize("player", ["abstraction", "solution"])
def test_transformers_loads_a_player_and_answers_the_same(taken_away, player):
    torch = pytest.importorskip("torch", reason="transformers runs on it")
    transformers = pytest.importorskip("transformers", reason="the reference")
    text = "<think> reverse 3 1 4\n  \U0001f98a 漢字\x07</think>"
    _, prompt, tokens = answer_of(taken_away[player], text)
    tokenizer = transformers.AutoTokenizer.from_pretrained(taken_away[player])
    assert tokenizer(text)["input_ids"] == prompt and tokenizer.decode(prompt) == text
    model = transformers.AutoModelForCausalLM.from_pretrained(taken_away[player])
    assert model.generation_config.max_length == SETTINGS["data.sequence-length"]
    model.generation_config.max_length = None
    found = model.generate(torch.tensor([prompt]), max_new_tokens=24, do_sample=False)
    assert found[0, len(prompt) :].tolist() == tokens


@pytest.mark.parametrize(
    ("program", "missing"),
    [("sft", "pretrain"), ("rl", "sft_abstraction"), ("evaluate", "pretrain")],
)
def test_a_stage_out_of_order_is_refused(tmp_path, program, missing):
    process = start(program, tmp_path / "run")
    said = process.communicate(timeout=300)[0].splitlines()
    assert process.returncode == 2
    assert said == [
        f"starting the run {tmp_path}/run",
        f"error: The stage {missing} of {tmp_path}/run is not finished (0 of {STEPS} steps): run "
        "it first, or the whole with python -m train.pipeline.",
    ]
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == [
        *(".lock", "config.json", "metrics.jsonl", "versions.json")
    ]
