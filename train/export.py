"""Takes the models of a run away: `python -m train.export RUN_DIR OUT_DIR [--stage rl] [...]`.

OUT_DIR gets one folder for each player, with config, weights, tokenizer and generation settings,
that transformers loads with no further code.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from data.pretrained.export import export_own
from data.pretrained.save import new_folder, unused
from data.tokenizer import Tokenizer
from jaxreason.model import Params, init
from train.config import ExperimentConfig
from train.errors import RefusedError, exit_on_refusal, refuse_bad_values
from train.loop import load_checkpoint
from train.pretrain import STAGE as PRETRAIN
from train.pretrain import TOKENIZER
from train.rl import STAGE as RL
from train.run_folder import read_config, read_json
from train.sft import ABSTRACTION_STAGE, SOLUTION_STAGE
from train.text.config import TextConfig
from train.text.export import export_text_models, load_text_models

STAGES, PLAYERS = ("pretrain", "sft", "rl"), ("abstraction", "solution")
DTYPES = ("float32", "bfloat16", "float16")


def export_run(
    run_path: Path,
    target: Path,
    *,
    stage: str,
    player: str,
    step: int | None,
    dtype: str,
    adapters_only: bool = False,
) -> list[Path]:
    """Writes models of a run, all of them or none.

    Args:
        run_path: The run folder.
        target: The folder to write, which must not be there yet.
        stage: What the models have just been through, out of `STAGES`.
        player: One of `PLAYERS`, or `both`.
        step: A step of that stage with a checkpoint; its last one if None.
        dtype: Type of the weights, out of `DTYPES`.
        adapters_only: Whether to write adapters as PEFT keeps them, instead of merging them.

    Returns:
        A folder for each model, named by the part that it plays.

    Raises:
        RefusedError: If there is no such run, stage, player or step, or the target is there.
    """
    with refuse_bad_values():
        unused(target)
        kind = _kind_of(run_path)
        if kind is TextConfig:
            text = read_config(run_path, TextConfig)
            trained = load_text_models(text, run_path, stage=stage, player=player, step=step)
            with new_folder(target) as folder:
                export_text_models(text, trained, folder, dtype=dtype, adapters_only=adapters_only)
            return [target / part for part in trained]
        config = read_config(run_path, ExperimentConfig)
        if adapters_only:
            raise RefusedError(f"The run {run_path} trained whole models; it has no adapters.")
        tokenizer = _read_tokenizer(run_path)
        parts = parts_of(config, stage, player)
        models = {part: load_player(config, run_path, stage, part, step) for part in parts}
        with new_folder(target) as folder:
            for part, params in models.items():
                export_own(
                    folder / part,
                    config.model,
                    params,
                    tokenizer,
                    max_length=config.data.sequence_length,
                    dtype=dtype,
                )
    return [target / part for part in parts]


def parts_of(config: ExperimentConfig, stage: str, player: str) -> tuple[str, ...]:
    """Returns the parts that the models to write play; one model may play both.

    Raises:
        RefusedError: If there was no such player.
    """
    game = config.rl.game
    if stage == "pretrain" or (stage == "rl" and game.shared):
        return (player,)
    there = ("solution",) if stage == "rl" and not game.abstractions else PLAYERS
    if player == "both":
        return there
    if player not in there:
        raise RefusedError("The game was played without abstractions: name --player solution.")
    return (player,)


def load_player(
    config: ExperimentConfig, run_path: Path, stage: str, part: str, step: int | None
) -> Params:
    """Returns a player's parameters after a step of a stage.

    Args:
        config: The run's config.
        run_path: The run folder.
        stage: One of `STAGES`.
        part: From `parts_of`.
        step: The step; the stage's last one if None.

    Raises:
        RefusedError: If there is no checkpoint of that step, or it is damaged.
    """
    params = {"params": jax.eval_shape(lambda: init(config.model, jax.random.key(0)))}
    step = getattr(config, stage).steps if step is None else step
    if stage == "pretrain":
        return load_checkpoint(run_path, PRETRAIN, step, params)["params"]
    if stage == "sft":
        folder = ABSTRACTION_STAGE if part == "abstraction" else SOLUTION_STAGE
        return load_checkpoint(run_path, folder, step, params)["params"]
    own = part == "abstraction" and not config.rl.game.shared
    name = "abstraction" if own else "solution"
    return load_checkpoint(run_path, RL, step, {name: {"train": params}})[name]["train"]["params"]


def _kind_of(run_path: Path) -> type[ExperimentConfig] | type[TextConfig]:
    """Tells whether a run is one on text, whose config names its model."""
    try:
        held = read_json(run_path / "config.json")
    except (OSError, ValueError):
        return ExperimentConfig  # `read_config` says what is wrong
    names_model = isinstance(held, dict) and isinstance(held.get("model"), str)
    return TextConfig if names_model else ExperimentConfig


def _read_tokenizer(run_path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(run_path / TOKENIZER)
    except OSError as error:
        raise RefusedError(
            f"The run folder {run_path} has no {TOKENIZER}, with which pretraining begins: run"
            f" python -m train.pretrain with --run-dir {run_path}."
        ) from error


def main(argv: Sequence[str]) -> None:
    """Reads the command line and exports."""
    parser = argparse.ArgumentParser("python -m train.export", description=__doc__)
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of the run")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="folder to write")
    parser.add_argument(
        "--stage", choices=STAGES, default="rl", help="what the models have just been through (rl)"
    )
    parser.add_argument(
        "--player", choices=(*PLAYERS, "both"), default="both", help="which one (both)"
    )
    parser.add_argument(
        "--step", type=int, help="take the checkpoint of this step (default: the stage's last one)"
    )
    parser.add_argument(
        "--adapters-only",
        action="store_true",
        help="write low-rank adapters as PEFT keeps them, without their base (runs on text)",
    )
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="(%(default)s)")
    arguments = vars(parser.parse_args(argv))
    with exit_on_refusal():
        for folder in export_run(arguments.pop("run_dir"), arguments.pop("out_dir"), **arguments):
            print(f"wrote {folder}")


if __name__ == "__main__":
    main(sys.argv[1:])
