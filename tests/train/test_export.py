"""What leaves a run folder: which model of which stage, whole or not, and what is refused."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from data.config import DataConfig
from data.pretrained.load import load_pretrained
from data.pretrained.sources import SafetensorsFolder
from data.pretrained.tokenizer_files import read_tokenizer
from data.tokenizer import Tokenizer, train_tokenizer
from jaxreason.model import ModelConfig, init
from jaxreason.rlad import GameConfig
from train.checkpoints import Checkpoints
from train.config import ExperimentConfig, RLConfig, SupervisedConfig, WarmStartConfig
from train.export import main
from train.run_folder import open_run

pytest.importorskip("tokenizers", reason="exported tokenizers need `.[models]`")

MODEL = ModelConfig(vocab_size=300, dim=8, num_layers=1, num_heads=2, num_kv_heads=1, hidden_dim=12)
CONFIG = ExperimentConfig(
    data=DataConfig(vocab_size=300),
    model=MODEL,
    pretrain=SupervisedConfig(steps=4),
    sft=WarmStartConfig(steps=2),
    rl=RLConfig(steps=6),
)
SEEDS = {"pretrain": 1, "sft_abstraction": 2, "sft_solution": 3, "abstraction": 4, "solution": 5}
draw = jax.jit(init, static_argnums=0)


def params_of(name, step):
    """The parameters that a made-up run has after a step."""
    return draw(MODEL, jax.random.key(100 * step + SEEDS[name]))


def save(path, stage, step, state):
    checkpoints = Checkpoints(path / "checkpoints" / stage)
    checkpoints.save(step, {"state": state, "step": step})
    checkpoints.close()


def make_run(path, config=CONFIG):
    open_run(path, config)
    texts = ["the quick brown fox 12345 jumps over the lazy dog"] * 4
    (path / "tokenizer.model").write_bytes(train_tokenizer(texts, vocab_size=300, symbols=()))
    for stage, step in (("pretrain", 4), ("sft_abstraction", 2), ("sft_solution", 2)):
        save(path, stage, step, {"params": params_of(stage, step), "count": 0})
    for step in (3, 6):
        save(
            path,
            "rl",
            step,
            {
                name: {"train": {"params": params_of(name, step)}}
                for name in SEEDS
                if "_" not in name
            },
        )
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "run")


def contents(path):
    return {str(file): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def exported(folder):
    return {
        path.name: load_pretrained(SafetensorsFolder(path), dtype="float32")[1]
        for path in folder.iterdir()
    }


def check(found, expected):
    assert found.keys() == expected.keys()
    for name, (origin, step) in expected.items():
        jax.tree.map(np.testing.assert_array_equal, found[name], params_of(origin, step))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"abstraction": ("abstraction", 6), "solution": ("solution", 6)}),
        (["--stage=rl", "--player=abstraction"], {"abstraction": ("abstraction", 6)}),
        (["--step=3", "--player=solution"], {"solution": ("solution", 3)}),
        (
            ["--stage=sft"],
            {"abstraction": ("sft_abstraction", 2), "solution": ("sft_solution", 2)},
        ),
        (["--stage=sft", "--player=solution"], {"solution": ("sft_solution", 2)}),
        (["--stage=pretrain"], {"both": ("pretrain", 4)}),
        (["--stage=pretrain", "--player=solution"], {"solution": ("pretrain", 4)}),
    ],
)
def test_each_player_of_each_stage(run, tmp_path, capsys, options, expected):
    before = contents(run)
    main([str(run), *options, str(tmp_path / "out")])
    check(exported(tmp_path / "out"), expected)
    said = capsys.readouterr().out.splitlines()
    assert said == [f"wrote {tmp_path}/out/{name}" for name in expected]
    assert contents(run) == before


def test_what_a_folder_holds(run, tmp_path):
    main([str(run), "--player=solution", "--dtype=bfloat16", str(tmp_path / "out")])
    folder = tmp_path / "out" / "solution"
    assert sorted(file.name for file in folder.iterdir()) == [
        *("config.json", "generation_config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json"),
    ]
    ids = {"bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0}
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation == ids | {"max_length": CONFIG.data.sequence_length}
    source = SafetensorsFolder(folder)
    assert source.config.items() >= (ids | {"max_position_embeddings": 128}).items()
    assert source.config["torch_dtype"] == "bfloat16"
    ours, theirs = Tokenizer.from_file(run / "tokenizer.model"), read_tokenizer(folder)
    text = "the lazy\n fox 99 \U0001f98a\x00 漢字"
    assert ours.encode(text) == theirs.encode(text) and theirs.stop_ids == (2,)


def with_game(**changes):
    return dataclasses.replace(CONFIG, rl=RLConfig(steps=6, game=GameConfig(**changes)))


def test_a_shared_model_plays_both_parts(tmp_path):
    run = make_run(tmp_path / "run", with_game(shared=True))
    main([str(run), str(tmp_path / "out")])
    check(exported(tmp_path / "out"), {"both": ("solution", 6)})
    main([str(run), "--player=abstraction", str(tmp_path / "one")])
    check(exported(tmp_path / "one"), {"abstraction": ("solution", 6)})


def test_a_solver_that_played_alone(tmp_path, capsys):
    run = make_run(tmp_path / "run", with_game(abstractions=0, bare=2, mask_bare=False))
    main([str(run), str(tmp_path / "out")])
    check(exported(tmp_path / "out"), {"solution": ("solution", 6)})
    refused([str(run), "--player=abstraction", str(tmp_path / "two")])
    assert "played without abstractions: name --player solution" in capsys.readouterr().err


def refused(arguments):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--step=5"],
            "The stage rl of {run} has no checkpoint of step 5; only of 3, 6: name",
        ),
        (["--step=0"], "has no checkpoint of step 0; only of 3, 6"),
        (["--stage=sft", "--step=1"], "stage sft_abstraction of {run} has no checkpoint of step 1"),
    ],
)
def test_a_step_without_a_checkpoint_is_refused(run, tmp_path, capsys, options, sentence):
    refused([str(run), *options, str(tmp_path / "out")])
    said = capsys.readouterr()
    assert sentence.format(run=run) in said.err and said.err.count("\n") == 1 and not said.out
    assert not list(tmp_path.iterdir())


def test_an_unfinished_stage_is_refused_but_its_checkpoints_can_be_had(tmp_path, capsys):
    longer = dataclasses.replace(CONFIG, rl=RLConfig(steps=9))
    run = make_run(tmp_path / "run", longer)
    refused([str(run), str(tmp_path / "out")])
    assert (
        "no checkpoint of step 9; only of 3, 6: name one by --step, or run"
        in capsys.readouterr().err
    )
    main([str(run), "--step=6", str(tmp_path / "out")])
    assert sorted(exported(tmp_path / "out")) == ["abstraction", "solution"]


def test_a_stage_that_was_never_run_is_refused(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    shutil.rmtree(run / "checkpoints" / "rl")
    refused([str(run), str(tmp_path / "out")])
    assert "no checkpoint of step 6; run it to that step first.\n" in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and not (run / "checkpoints" / "rl").exists()


def test_what_is_being_written_is_left_alone(tmp_path):
    """A run may go on while one of its checkpoints is taken away."""
    run = make_run(tmp_path / "run")
    (run / "checkpoints" / "rl" / "6" / "seal.json").unlink()
    main([str(run), "--step=3", str(tmp_path / "out")])
    assert (run / "checkpoints" / "rl" / "6").exists()


def test_a_damaged_checkpoint_is_refused(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    files = [path for path in (run / "checkpoints/rl/6").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    refused([str(run), str(tmp_path / "out")])
    assert "checkpoints/rl/6 is damaged (" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_there_stays_as_it_is(run, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    refused([str(run), str(tmp_path / "out")])
    assert "out is there already; remove it or name another folder" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("held", "sentence"),
    [
        (None, "holds no run of this program: its config.json can't be read (No such file"),
        ("{", "holds no run of this program: its config.json can't be read ("),
        ('{"model": 3}', "(3 stands where ModelConfig was expected)"),
        ('{"seed": 3, "color": "red"}', "was written by other code: "),
    ],
)
def test_a_folder_without_a_run_is_refused(tmp_path, capsys, held, sentence):
    if held is not None:
        (tmp_path / "config.json").write_text(held)
    refused([str(tmp_path), str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_run_without_its_tokenizer_is_refused(tmp_path, capsys):
    open_run(tmp_path / "run", CONFIG)
    refused([str(tmp_path / "run"), str(tmp_path / "out")])
    assert "has no tokenizer.model, with which pretraining begins" in capsys.readouterr().err


def test_help_answers(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "--player" in capsys.readouterr().out
