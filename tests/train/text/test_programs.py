"""Evaluation and fine-tuning of a pretrained model as a user runs them, on a tiny one."""

import importlib.util
import json
import shutil

import jax
import numpy as np
import pytest

from data.pretrained.load import load_pretrained
from data.pretrained.peft import load_adapters
from data.pretrained.sources import SafetensorsFolder
from jaxreason.model import merge
from train import evaluate, export, sft
from train.errors import RefusedError
from train.loop import Run
from train.metrics import MetricsLog, read_metrics
from train.program import run_program
from train.run_folder import read_config, read_json
from train.text.config import TextConfig
from train.text.evaluate import evaluate_text
from train.text.rl import load_players, play_text
from train.text.sft import fine_tune_text

HAS_GYM = importlib.util.find_spec("reasoning_gym") is not None
STEPS = 4
SETTINGS = {
    "evaluation.questions": 5,
    "evaluation.batch-size": 2,
    "evaluation.samples": 2,
    "evaluation.temperature": 1.0,
    "evaluation.max-new-tokens": 6,
    "evaluation.shown": 1,
    "sft.steps": STEPS,
    "sft.batch-size": 4,
    "sft.microbatches": 2,
    "sft.sequence-length": 192,
    "sft.rank": 2,
    "sft.optimizer.learning-rate": 0.01,
    "sft.optimizer.warmup-steps": 0,
    "rl.steps": 1,
    "rl.questions": 6,
    "rl.game.problems": 2,
    "rl.game.abstractions": 2,
    "rl.game.microbatches": 1,
    "rl.lora.rank": 2,
    "rl.abstraction-length": 4,
    "rl.solution-length": 6,
    "evaluation.abstractions": 2,
    "evaluation.solutions": 1,
    "loop.checkpoint-every": 2,
    "loop.log-every": 1,
}


def run(program, model, data, path, **changes):
    settings = SETTINGS | {name.replace("__", "."): value for name, value in changes.items()}
    words = [f"--{name}={value}" for name, value in settings.items()]
    argv = [f"--model={model}", f"--folder={data}", f"--run-dir={path}", *words]
    text = {"sft": fine_tune_text, "evaluate": evaluate_text, "rl": play_text}[program]
    run_program(program, "A test.", lambda config, run: None, argv, text=text)


@pytest.fixture(scope="module")
def tuned(tiny_model, sums, tmp_path_factory):
    """A run that was evaluated, fine-tuned and evaluated again."""
    path = tmp_path_factory.mktemp("runs") / "text"
    run("evaluate", tiny_model, sums, path)
    before = read_json(path / "evaluation.json")
    run("sft", tiny_model, sums, path)
    run("evaluate", tiny_model, sums, path)
    return path, before


def test_a_model_is_evaluated_before_and_after(tuned):
    path, before = tuned
    after = read_json(path / "evaluation.json")
    measures = ["accuracy", "pass@2"]
    assert [(row["stage"], row["measure"]) for row in before["rows"]] == [
        ("base", name) for name in measures
    ]
    assert before["differences"] == []
    assert after["rows"][:2] == before["rows"]
    assert [row["stage"] for row in after["rows"][2:]] == ["sft", "sft"]
    assert [row["claim"] for row in after["differences"]] == [
        f"sft - base, {name}" for name in measures
    ]
    for row in after["rows"]:
        assert row["count"] == 5 and 0 <= row["low"] <= row["mean"] <= row["high"] <= 1
    for speed in after["generation"]:
        assert speed["responses"] == 10 and 10 <= speed["tokens"] <= 60
        assert speed["tokens_per_second"] == pytest.approx(speed["tokens"] / speed["seconds"])
        assert 0 <= speed["hit_limit"] <= 1 and speed["verifier_failed"] == 0
    samples = read_json(path / "samples.json")
    assert {sample["answer"] for sample in samples} < {str(n) for n in range(21, 27)}
    assert all(
        len(sample["responses"][stage]) == 2 for sample in samples for stage in ("base", "sft")
    )


def test_fine_tuning_learns_the_responses(tuned):
    rows = [row for row in read_metrics(tuned[0]) if row["stage"] == "sft"]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[0]["skipped/total"] == 0


# jax lowers the gradient of 16-bit attention by promoting types.
BFLOAT16 = pytest.param("bfloat16", marks=pytest.mark.standard_promotion)


@pytest.mark.parametrize("dtype", ["float32", BFLOAT16])
def test_all_weights_are_trained_in_float32(tiny_model, sums, tmp_path, capsys, dtype):
    path = tmp_path / "run"
    run("sft", tiny_model, sums, path, sft__rank=0, dtype=dtype)
    seal = read_json(path / "checkpoints" / "sft" / str(STEPS) / "seal.json")["arrays"]
    kinds = {name: kind for name, kind in seal.items() if "embedding" in name}
    assert len(kinds) == 3 and all(kind.startswith("float32") for kind in kinds.values())
    assert "memory: parameters 0 MiB + gradients 0 MiB + optimiser" in capsys.readouterr().err
    losses = [row["loss"] for row in read_metrics(path)]
    assert losses[-1] < losses[0]
    run("evaluate", tiny_model, sums, path, sft__rank=0, dtype=dtype)
    assert read_json(path / "evaluation.json")["differences"]


def test_a_run_goes_on_where_it_was_stopped(tuned, tiny_model, sums, tmp_path, monkeypatch):
    from train.checkpoints import Checkpoints

    save = Checkpoints.save

    def stop(self, step, state):
        save(self, step, state)
        if step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Checkpoints, "save", stop)
        run("sft", tiny_model, sums, tmp_path)
    run("sft", tiny_model, sums, tmp_path)
    assert read_metrics(tmp_path) == read_metrics(tuned[0])
    whole, resumed = (
        read_json(path / "checkpoints" / "sft" / str(STEPS) / "seal.json")["arrays"]
        for path in (tuned[0], tmp_path)
    )
    assert whole == resumed


def test_what_the_verifier_can_not_judge_counts_for_nothing(tiny_model, sums, tmp_path):
    rows = [{"question": f"{n}?", "answer": f"#### {n}"} for n in ("1", "none", "3")]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run("evaluate", tiny_model, tmp_path, tmp_path / "run")
    found = read_json(tmp_path / "run" / "evaluation.json")
    assert [row["count"] for row in found["rows"]] == [2, 2]
    (speed,) = found["generation"]
    assert speed["verifier_failed"] == pytest.approx(1 / 3)
    (message,) = speed["verifier_messages"]
    assert message == "ValueError: the reference 'none' holds no number. (2 times)"
    samples = read_json(tmp_path / "run" / "samples.json")
    rewards = {each["answer"]: each["responses"]["base"][0]["reward"] for each in samples}
    assert rewards["none"] is None and rewards["1"] is not None


def test_a_family_of_reasoning_gym_is_learned_and_evaluated(tiny_model, tmp_path):
    pytest.importorskip("reasoning_gym", reason="its families need the extra `tasks`")
    settings = SETTINGS | {"task": "spell_backward", "sft.questions": 20}
    words = [f"--{name}={value}" for name, value in settings.items()]
    argv = [f"--model={tiny_model}", f"--run-dir={tmp_path}", *words]
    for name, text in (("sft", fine_tune_text), ("evaluate", evaluate_text)):
        run_program(name, "A test.", lambda config, run: None, argv, text=text)
    rows = read_json(tmp_path / "evaluation.json")["rows"]
    assert {row["stage"] for row in rows} == {"base", "sft"}


def refusal(capsys, tmp_path, *words):
    with pytest.raises(SystemExit, match="2"):
        run_program(
            *("sft", "A test.", lambda config, run: None, [*words, f"--run-dir={tmp_path}/run"]),
            text=fine_tune_text,
        )
    return capsys.readouterr().err


def test_what_can_not_work_is_refused(tiny_model, sums, tmp_path, capsys):
    model, data = f"--model={tiny_model}", f"--folder={sums}"
    assert "there is no model 'nowhere'" in refusal(capsys, tmp_path, "--model", "nowhere")
    assert "there is no folder /no" in refusal(capsys, tmp_path, model, "--folder=/no")
    assert "no task" in refusal(capsys, tmp_path, model, "--task=gsm") or not HAS_GYM
    assert "samples at temperature 0" in refusal(capsys, tmp_path, model, "--evaluation.samples=2")
    assert "rank must be 0 or more" in refusal(capsys, tmp_path, model, "--sft.rank=-1")
    assert not (tmp_path / "run").exists()
    short = refusal(capsys, tmp_path / "a", model, data, "--sft.sequence-length=20")
    assert "no conversation fits 20 tokens" in short
    assert not (tmp_path / "a" / "run" / "checkpoints").exists()


def test_too_little_memory_is_refused_before_the_weights_are_read(
    tiny_model, sums, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("train.memory.available_memory", lambda: 1000)
    monkeypatch.setattr("train.text.pretrained.load_pretrained", lambda *_, **__: 1 / 0)
    said = refusal(capsys, tmp_path, f"--model={tiny_model}", f"--folder={sums}")
    assert "parameters 0 MiB + adapters 0 MiB + gradients" in said and "are free: take" in said


@pytest.mark.parametrize("program", [sft, evaluate])
def test_each_program_tells_what_it_takes(program, capsys, monkeypatch):
    name = program.__name__.partition(".")[2]
    with pytest.raises(SystemExit, match="0"):
        run_program(*(name, "A test.", lambda *_: None, ["text", "--help"]), text=lambda *_: None)
    assert "--evaluation.max-new-tokens" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        run_program("pretrain", "A test.", lambda *_: None, ["text"])
    assert "Unknown config 'text'. Did you mean demo?" in capsys.readouterr().err


@pytest.fixture(scope="module")
def played(tuned, tiny_model, sums, tmp_path_factory):
    """The run of `tuned`, whose solver has played the game."""
    path = tmp_path_factory.mktemp("played") / "text"
    shutil.copytree(tuned[0], path)
    run("rl", tiny_model, sums, path)
    return path


def test_a_pair_that_has_played_is_evaluated(played, tiny_model, sums, capsys):
    run("evaluate", tiny_model, sums, played)
    told = read_json(played / "pair.json")
    assert [(row["stage"], row["count"]) for row in told["rows"]] == [("rl", 5)] * 6
    assert [row["claim"].partition(":")[0] for row in told["differences"]] == ["rl"] * 3
    out = capsys.readouterr().out
    assert "Pairs of players, 2 x 1 solutions against as many without a hint" in out
    assert f"the report: {played / 'report.html'}" in out
    assert "With hints" in (played / "report.html").read_text()


def test_both_players_leave_whole_or_as_adapters(played, tiny_model, tmp_path):
    config = read_config(played, TextConfig)
    options = ["--stage", "rl", "--player", "both"]
    export.main([str(played), str(tmp_path / "whole"), *options])
    export.main([str(played), str(tmp_path / "adapters"), *options, "--adapters-only"])
    model, base = load_pretrained(SafetensorsFolder(tiny_model), dtype="float32")
    with MetricsLog(tmp_path) as metrics:
        trained = load_players(config, Run(played, tmp_path, metrics), model)
    for part, adapters in zip(("abstraction", "solution"), trained, strict=True):
        _, whole = load_pretrained(SafetensorsFolder(tmp_path / "whole" / part), dtype="float32")
        jax.tree.map(np.testing.assert_array_equal, whole, merge(base, adapters))
        found = load_adapters(tmp_path / "adapters" / part, model)
        jax.tree.map(np.testing.assert_array_equal, found, adapters)
        spec = (tmp_path / "whole" / part / "tokenizer.json").read_bytes()
        assert spec == (tiny_model / "tokenizer.json").read_bytes()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--stage", "pretrain"], "A run on text has the stages sft and rl; got pretrain."),
        (["--stage", "sft", "--player", "abstraction"], "trained a solver alone"),
    ],
)
def test_a_player_that_a_run_on_text_has_not_is_refused(
    played, tmp_path, capsys, options, sentence
):
    with pytest.raises(SystemExit) as exit_info:
        export.main([str(played), str(tmp_path / "out"), *options])
    assert exit_info.value.code == 2 and sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_settings_change_until_their_stage_begins(tuned, tiny_model, sums, tmp_path, capsys):
    path = shutil.copytree(tuned[0], tmp_path / "run")
    run("evaluate", tiny_model, sums, path, evaluation__shown=0, rl__steps=7, loop__max_skipped=3)
    said = capsys.readouterr().out
    assert "goes on with other settings: rl.steps is 1 there and 7 here, evaluation.shown" in said
    assert read_config(path, TextConfig).rl.steps == 7
    for changes in ({"sft__rank": 4}, {"evaluation__questions": 4}, {"seed": 1}):
        with pytest.raises(SystemExit):
            run("evaluate", tiny_model, sums, path, **changes)
        assert "holds a run whose" in capsys.readouterr().err


def test_a_game_that_began_without_a_fine_tuning_gets_none(tiny_model, sums, tmp_path, capsys):
    (tmp_path / "checkpoints" / "rl").mkdir(parents=True)
    config = TextConfig(model=str(tiny_model), folder=str(sums))
    refused = pytest.raises(RefusedError, match="have begun their game without a fine-tuning")
    with MetricsLog(tmp_path) as metrics, refused:
        fine_tune_text(config, Run(tmp_path, tmp_path, metrics))


def test_float32_means_float32_on_an_accelerator(tiny_model, sums, tmp_path, monkeypatch):
    before = jax.config.jax_default_matmul_precision
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    argv = [f"--model={tiny_model}", f"--folder={sums}", f"--run-dir={tmp_path}"]
    found = []
    try:
        run_program(
            "sft",
            "A test.",
            lambda config, run: None,
            argv,
            text=lambda config, run: found.append(jax.config.jax_default_matmul_precision),
        )
    finally:
        jax.config.update("jax_default_matmul_precision", before)
    assert found == ["float32"]
