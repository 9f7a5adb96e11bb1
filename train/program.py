"""What every program does around its stage: read the command line, open the run, close it."""

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax

from train.cli import command_of, load_configs, parse
from train.config import ExperimentConfig
from train.errors import exit_on_refusal
from train.loop import Run
from train.metrics import MetricsLog
from train.run_folder import alone_in, open_run
from train.text.changes import may_change
from train.text.config import TextConfig
from train.text.pretrained import check_inputs

MODEL = "--model"  # no setting of experiments that train a model from nothing


def run_program(
    name: str,
    description: str,
    stage: Callable[[ExperimentConfig, Run], Any],
    argv: Sequence[str],
    *,
    text: Callable[[TextConfig, Run], Any] | None = None,
) -> None:
    """Runs a stage from the command line.

    Args:
        name: The module under `train`.
        description: What it does, for `--help`.
        stage: The work.
        argv: The arguments without the program's name.
        text: The work with a pretrained model on text, if there is any. Then `--model` without the
            name of a config means the config `text`.
    """
    program = f"python -m train.{name}"
    stages: dict[type, Callable[[Any, Run], Any]] = {ExperimentConfig: stage}
    if text is not None:
        stages[TextConfig] = text
    with exit_on_refusal():
        configs = load_configs(kinds=tuple(stages))
    has_model = any(word.partition("=")[0] == MODEL for word in argv)
    invocation = parse(
        configs,
        argv,
        program=program,
        description=description,
        default="text" if text is not None and has_model else "demo",
    )
    if invocation.print_config:
        print(command_of(invocation, program))
        return
    if jax.default_backend() != "cpu":
        # There float32 products would be of fewer bits: sampler and scorer would disagree.
        jax.config.update("jax_default_matmul_precision", "float32")
    path, changes = invocation.run_dir, {}
    with exit_on_refusal(), contextlib.ExitStack() as stack:
        if isinstance(invocation.config, TextConfig):
            check_inputs(invocation.config, invocation.cache_dir)
            changes = {"may_change": partial(may_change, path)}
        is_there = (path / "config.json").exists()
        if is_there:
            stack.enter_context(alone_in(path))
        folder = open_run(path, invocation.config, **changes)
        if not is_there:
            stack.enter_context(alone_in(path))
        print(f"{'continuing' if folder.resumed else 'starting'} the run {folder.path}")
        with MetricsLog(folder.path) as metrics:
            run = Run(folder.path, invocation.cache_dir, metrics)
            stages[type(invocation.config)](invocation.config, run)
