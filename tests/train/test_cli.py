import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Literal

import pytest

from train.cli import command_of, load_configs, parse

MODULE = '''
import dataclasses

@dataclasses.dataclass(frozen=True)
class Optimizer:
    learning_rate: float = 1e-3
    """Peak of the learning rate."""

@dataclasses.dataclass(frozen=True)
class Config:
    optimizer: Optimizer = Optimizer()
    """How weights move."""
    seed: int = 0
    """Root of all randomness."""

CONFIG = Config(seed={seed})
'''


@dataclasses.dataclass(frozen=True)
class Optimizer:
    learning_rate: float = 1e-3
    """Peak of the learning rate."""
    name: Literal["adam", "muon"] = "adam"
    """Update rule."""


@dataclasses.dataclass(frozen=True)
class Game:
    steps: int = 90
    """Iterations of the two-player game."""
    lengths: tuple[int, ...] = (16, 32)
    """Buckets of prompt lengths."""
    top_k: int | None = None
    """Tokens kept when sampling."""
    clip: bool = True
    """Whether ratios are clipped."""
    optimizer: Optimizer = Optimizer()
    """How the players' weights move."""


@dataclasses.dataclass(frozen=True)
class Config:
    rl: Game = Game()
    """The game."""
    seed: int = 0
    """Root of all randomness."""
    note: str = "it's small"
    """A word on this run."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more; got {self.seed}.")


CONFIGS = {"demo": Config(), "demo_long": Config(rl=Game(steps=900))}


def read(*argv):
    return parse(CONFIGS, argv, program="python -m train.pipeline", description="Runs it all.")


def refusal(capsys, *argv):
    with pytest.raises(SystemExit) as ending:
        read(*argv)
    assert ending.value.code == 2
    return capsys.readouterr().err.strip()


def test_without_arguments_it_is_the_demo():
    given = read()
    assert given.config == CONFIGS["demo"]
    assert given.run_dir == Path("runs/demo")
    assert not given.print_config


def test_dotted_names_override_the_named_config():
    given = read(
        *("demo_long", "--rl.clip", "False", "--rl.lengths", "1", "2", "3", "--rl.top_k=5"),
        *("--rl.optimizer.learning-rate", "3e-4", "--run-dir", "/tmp/x", "--print-config"),
    )
    optimizer = Optimizer(learning_rate=3e-4)
    assert given.config.rl == Game(900, (1, 2, 3), 5, False, optimizer)
    assert (given.name, given.run_dir, given.print_config) == ("demo_long", Path("/tmp/x"), True)


def test_printed_config_gives_the_same_config_again():
    given = read("demo_long", "--rl.lengths", "--rl.top-k", "3", "--seed", "4")
    program = "python -m train.pipeline"
    words = shlex.split(command_of(given, program).replace("\\\n", " "))
    assert read(*words[len(program.split()) :]).config == given.config


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--rl.step", "5"], "Unknown setting --rl.step. Did you mean --rl.steps?"),
        (["--optimizer.nam", "x"], "Did you mean --rl.optimizer.name?"),
        (["--print-confg"], "Did you mean --print-config?"),
        (
            ["demo_lon"],
            "Unknown config 'demo_lon'. Did you mean demo_long? Known: demo, ",
        ),
        (["--rl.steps", "many"], "--rl.steps takes a whole number; got 'many'."),
        (["--rl.steps", "1.5"], "--rl.steps takes a whole number; got '1.5'."),
        (["--rl.steps"], "--rl.steps takes a whole number; got no value."),
        (["--rl.steps", "5", "demo"], "--rl.steps takes a whole number; got '5 demo'."),
        (["--rl.clip", "maybe"], "--rl.clip takes True or False; got 'maybe'."),
        (["--rl.top-k", "few"], "--rl.top-k takes a whole number or None; got 'few'."),
        (["--rl.lengths", "1", "b"], "takes values that are each a whole number; got '1 b'."),
        (["--rl.optimizer.name", "sgd"], "--rl.optimizer.name takes one of adam, muon; got 'sgd'."),
        (["--seed", "-1"], "seed must be 0 or more; got -1."),
        (["demo", "demo"], "Settings are given as --name value; got 'demo' without a name."),
    ],
)
def test_a_wrong_argument_is_one_sentence(capsys, argv, sentence):
    said = refusal(capsys, *argv)
    assert sentence in said
    assert said.startswith("error: ") and "\n" not in said


def test_help_shows_every_setting_with_meaning_type_and_default(capsys):
    with pytest.raises(SystemExit) as ending:
        read("demo_long", "--help")
    assert ending.value.code == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for text in (
        "python -m train.pipeline [NAME]",
        "Configs (NAME): demo, demo_long; shown here: demo_long.",
        "--rl.steps INT Iterations of the two-player game. (default: 900)",
        "--rl.optimizer.learning-rate FLOAT Peak of the learning rate. (default: 0.001)",
        "--rl.optimizer.name {adam,muon} Update rule. (default: adam)",
        "--rl.top-k {None}|INT Tokens kept when sampling. (default: None)",
        "--run-dir PATH Folder that this run writes to and continues from.",
    ):
        assert text in shown


def test_configs_are_loaded_by_name_and_helped_from_their_own_module(tmp_path, monkeypatch, capsys):
    package = tmp_path / "configs_of_test"
    package.mkdir()
    for name, seed in {"__init__": 0, "small": 1, "large": 2, "_shared": 3}.items():
        (package / f"{name}.py").write_text(MODULE.replace("{seed}", str(seed)))
    monkeypatch.syspath_prepend(str(tmp_path))
    configs = load_configs("configs_of_test")
    assert {name: config.seed for name, config in configs.items()} == {"large": 2, "small": 1}
    with pytest.raises(SystemExit):
        parse(configs, ["small", "-h"], program="p", description="d")
    shown = " ".join(capsys.readouterr().out.split())
    assert "Peak of the learning rate. (default: 0.001)" in shown
    assert "configs_of_test.small" in sys.modules
