"""The models of a run on text: adapters merged into their base, or by themselves as PEFT's."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import jax

from data.pretrained.export import export_model
from data.pretrained.models import find_model
from data.pretrained.peft import save_adapters
from jaxreason.model import Adapters, Params, init_adapters, merge
from train.errors import RefusedError
from train.loop import load_checkpoint
from train.text import rl, sft
from train.text.config import TextConfig
from train.text.pretrained import open_pretrained

Trained = Params | Adapters


def load_text_models(
    config: TextConfig, run_path: Path, *, stage: str, player: str, step: int | None
) -> dict[str, Trained]:
    """Returns what a stage trained, by the part that it plays.

    Args:
        config: The run's config.
        run_path: The run folder.
        stage: `sft` or `rl`.
        player: `abstraction`, `solution` or `both`.
        step: A step of that stage with a checkpoint; its last one if None.

    Raises:
        RefusedError: If there is no such stage, player or checkpoint.
    """
    if stage not in (sft.STAGE, rl.STAGE):
        raise RefusedError(f"A run on text has the stages sft and rl; got {stage}.")
    pretrained, game = open_pretrained(config), config.rl.game
    step = getattr(config, stage).steps if step is None else step
    if stage == rl.STAGE and game.shared:
        parts = [player]
    elif game.abstractions if stage == rl.STAGE else config.sft.teacher:
        parts = ["abstraction", "solution"] if player == "both" else [player]
    else:
        parts = ["solution"]
    if player not in ("both", *parts):
        raise RefusedError(f"The stage {stage} of this run trained a solver alone; got {player}.")
    if stage == sft.STAGE:
        shapes = {"params": sft.trained_shapes(config, pretrained)}
        stages = {"abstraction": sft.ABSTRACTION_STAGE, "solution": sft.STAGE}
        return {
            part: load_checkpoint(run_path, stages[part], step, shapes)["params"] for part in parts
        }
    fresh = jax.eval_shape(
        lambda: init_adapters(config.rl.lora, pretrained.model, jax.random.key(0))
    )
    names = {part: "solution" if game.shared else part for part in parts}
    target = {name: {"train": {"params": fresh}} for name in names.values()}
    loaded = load_checkpoint(run_path, stage, step, target)
    return {part: loaded[name]["train"]["params"] for part, name in names.items()}


def export_text_models(
    config: TextConfig,
    models: Mapping[str, Trained],
    folder: Path,
    *,
    dtype: str,
    adapters_only: bool,
) -> None:
    """Writes models into a folder, one in each.

    Args:
        config: The run's config, which names the base.
        models: From `load_text_models`.
        folder: The folder.
        dtype: Type of the weights.
        adapters_only: Whether to write adapters as PEFT keeps them, instead of merging them.

    Raises:
        RefusedError: If there are no adapters, or the base can't be read.
        ValueError: If something can't be written.
    """
    pretrained, source = open_pretrained(config), find_model(config.model)
    model = dataclasses.replace(pretrained.model, dtype="float32")
    base = None if adapters_only else pretrained.load("float32")
    for part, trained in models.items():
        target = folder / part
        if isinstance(trained, Adapters):
            if base is None:
                save_adapters(target, model, trained, base_name=config.model)
            else:
                export_model(source, target, model, merge(base, trained), dtype=dtype)
        elif adapters_only:
            raise RefusedError(f"The stage {sft.STAGE} trained all weights; there are no adapters.")
        else:
            export_model(source, target, model, trained, dtype=dtype)
