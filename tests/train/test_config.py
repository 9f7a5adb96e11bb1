"""Settings that can't work are refused in one sentence, before anything is written or compiled."""

import dataclasses
import json
import os
import shlex
from pathlib import Path

import jax
import pytest

import data.docstrings
from data.config import DataConfig
from jaxreason.model import ModelConfig
from jaxreason.sequences import concatenate
from jaxreason.tasks import RuleInductionConfig, make_rule_induction
from train.cli import load_configs, parse, settings_of
from train.config import EvaluationConfig, ExperimentConfig, longest_document
from train.pretrain import pretrain
from train.program import run_program

REFUSALS = {
    "--model.dim 128 --model.num-heads 3": "num_heads must divide dim; got 3 heads "
    "for a width of 128.",
    "--data.reasoning-density 1.5": "reasoning_density must lie in [0, 1]; got 1.5.",
    "--data.reasoning-density -0.1": "reasoning_density must lie in [0, 1]; got -0.1.",
    "--data.sequence-length 30": "data.sequence_length must hold the longest worked problem of "
    "this task, ",
    "--rl.game.problems 48 --rl.game.abstractions 400 --rl.game.solutions 1 --rl.game.bare 1 "
    "--rl.max-sequences 4096": "48 problems x 401 abstractions (bare ones included) x 1 "
    "solutions are 19248 sequences at a time, more than max_sequences = 4096: ask for fewer "
    "abstractions, solutions or problems, or raise max_sequences.",
    "--evaluation.abstractions 400": "more than max_sequences = ",
    "--model.vocab-size 500 --data.vocab-size 512": "model.vocab_size must equal "
    "data.vocab_size; got 500 and 512.",
    "--sft.batch-size 32 --sft.microbatches 5": "microbatches must divide batch_size; got "
    "5 for 32.",
    "--rl.game.problems 48 --rl.game.minibatches 5": "minibatches must divide problems; "
    "got 5 for 48.",
    "--rl.steps 0": "error: rl: steps must be 1 or more; got 0.",
    "--task.held-out 0": "task.held_out must be above 0 and task.max_steps above 1, so that ",
    "--task.primitives reverse fly": "primitives ['fly'] are unknown; the known ones are ",
    "--pretrain.optimizer.method sgd": "--pretrain.optimizer.method takes one of muon, adamw; "
    "got 'sgd'.",
    "--rl.stepz 5": "Unknown setting --rl.stepz. Did you mean --rl.steps?",
    "demmo": "Unknown config 'demmo'. Did you mean demo?",
}


def refusal(capsys, *argv):
    """Runs a program whose stage must not be reached; returns what it said."""

    def stage(config, run):
        raise AssertionError("the stage was run")

    with pytest.raises(SystemExit) as ending:
        run_program("pipeline", "A test.", stage, argv)
    assert ending.value.code == 2
    said = capsys.readouterr()
    assert not said.out
    return said.err


def run_until_open(path, *argv):
    run_program("pipeline", "A test.", lambda config, run: None, [*argv, "--run-dir", str(path)])


@pytest.mark.parametrize(("options", "sentence"), REFUSALS.items())
def test_what_can_not_work_is_refused_before_anything(
    tmp_path, capsys, compilations, options, sentence
):
    # Once before: a constant of the task is a tiny program, which an earlier test may have dropped.
    for _ in range(2):
        compilations.clear()
        said = refusal(capsys, *shlex.split(options), "--run-dir", str(tmp_path / "run"))
    assert sentence in said
    assert said.startswith("error: ") and said.count("\n") == 1
    assert not list(tmp_path.iterdir()) and not compilations


def test_a_run_folder_below_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    said = refusal(capsys, "--run-dir", str(tmp_path / "file" / "run"))
    assert f"The run folder {tmp_path}/file/run can't be " in said
    assert said.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_run_folder_without_permission_is_refused(tmp_path, capsys):
    tmp_path.chmod(0o500)
    said = refusal(capsys, "--run-dir", str(tmp_path / "run"))
    tmp_path.chmod(0o700)
    assert "can't be written (Permission denied); choose another --run-dir." in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--cache-dir", "{file}/cache"], "the cache folder {file}/cache can't be written "),
        (["--data.vocab-size", "100", "--model.vocab-size", "100"], "a tokenizer of 100 tokens "),
    ],
)
def test_data_that_can_not_be_prepared_are_refused(
    tmp_path, capsys, monkeypatch, options, sentence
):
    monkeypatch.setattr(data.docstrings, "SOURCE_ROOT", Path(json.__file__).parent)
    file = tmp_path / "file"
    file.write_text("mine")
    folders = ["--run-dir", str(tmp_path / "run"), "--cache-dir", str(tmp_path / "cache")]
    argv = [*folders, "--data.num-problems", "20", "--data.sft-problems", "20", *options]
    with pytest.raises(SystemExit) as ending:
        run_program("pretrain", "A test.", pretrain, [word.format(file=file) for word in argv])
    assert ending.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {sentence.format(file=file)}") and said.count("\n") == 1


def test_a_run_folder_of_another_config_is_refused(tmp_path, capsys):
    run_until_open(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    capsys.readouterr()
    said = refusal(capsys, "--rl.steps", "7", "--run-dir", str(tmp_path / "run"))
    steps = load_configs()["demo"].rl.steps
    assert f"holds a run whose rl.steps is {steps} there and 7 here" in said
    assert said.count("\n") == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_the_same_config_continues(tmp_path, capsys):
    run_until_open(tmp_path, "--seed", "3")
    run_until_open(tmp_path, "--seed", "3")
    said = capsys.readouterr().out.splitlines()
    assert said == [f"starting the run {tmp_path}", f"continuing the run {tmp_path}"]


@pytest.mark.parametrize(
    "task",
    [
        RuleInductionConfig(),
        RuleInductionConfig(primitives=("repeat", "reverse"), max_steps=3, num_examples=3),
        RuleInductionConfig(primitives=("sort", "take 2"), max_steps=1, list_length=5),
    ],
)
def test_the_longest_document_bounds_those_drawn_and_is_met(task):
    functions = make_rule_induction(task)

    @jax.jit
    @jax.vmap
    def length(key):
        problem = functions.sample(key, "train")
        parts = (functions.abstraction_prompt, functions.abstraction, functions.solution)
        return concatenate([part(problem) for part in parts]).length

    drawn = length(jax.random.split(jax.random.key(0), 500))
    assert drawn.max() <= longest_document(task)
    if "repeat" not in task.primitives:
        assert drawn.max() == longest_document(task)


def test_a_sequence_as_long_as_the_longest_document_will_do():
    longest = longest_document(RuleInductionConfig())
    ExperimentConfig(data=DataConfig(sequence_length=longest))
    with pytest.raises(ValueError, match=f"{longest} tokens; got {longest - 1}"):
        ExperimentConfig(data=DataConfig(sequence_length=longest - 1))


def test_evaluation_may_fill_the_limit_but_not_exceed_it():
    full = EvaluationConfig(problems=8, abstractions=4, solutions=2, max_sequences=64)
    with pytest.raises(ValueError, match="are 64 sequences at a time"):
        dataclasses.replace(full, max_sequences=63)


def test_held_out_compositions_need_two_steps():
    with pytest.raises(ValueError, match="to evaluate on; got .* and 1"):
        ExperimentConfig(task=RuleInductionConfig(max_steps=1))


def test_help_names_every_setting_with_its_default(capsys):
    with pytest.raises(SystemExit) as ending:
        run_program("pipeline", "A test.", lambda config, run: None, ["demo", "--help"])
    assert ending.value.code == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    helped = {part.split()[0]: part for part in shown.split(" --")[1:]}
    settings = settings_of(load_configs()["demo"])
    assert len(settings) > 60
    for name, (value, _) in settings.items():
        values = value if isinstance(value, tuple) else (value,)
        told = helped[name.replace("_", "-")]
        default = told.rpartition("(default: ")[2].partition(")")[0]
        assert shlex.split(default) == [str(item) for item in values], name
        assert len(told.partition("(default")[0].split()) > 2, f"{name} has no help"


@pytest.mark.parametrize("argv", [[], ["--rl.steps", "7", "--task.primitives", "add 1", "sort"]])
def test_the_printed_config_gives_itself_again(capsys, tmp_path, monkeypatch, argv):
    monkeypatch.chdir(tmp_path)
    run_program("pipeline", "A test.", lambda config, run: None, [*argv, "--print-config"])
    printed = capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    python, option, program, *again = shlex.split(printed.replace("\\\n", ""))
    assert (python, option, program) == ("python", "-m", "train.pipeline")
    configs = load_configs()
    common = {"program": "p", "description": "d"}
    read = [parse(configs, line, **common).config for line in (argv, again)]
    assert read[0] == read[1]
    assert settings_of(read[0]) == settings_of(read[1])


def test_widths_are_checked_against_heads_and_tokenizer():
    with pytest.raises(ValueError, match="got 300 and 512"):
        ExperimentConfig(model=ModelConfig(vocab_size=300))
