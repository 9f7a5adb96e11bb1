"""What every program does around its stage: read the command line, open the run, close it."""

from collections.abc import Callable, Sequence
from typing import Any

from train.cli import command_of, load_configs, parse
from train.config import ExperimentConfig
from train.errors import exit_on_refusal
from train.loop import Run
from train.metrics import MetricsLog
from train.run_folder import open_run


def run_program(
    name: str,
    description: str,
    stage: Callable[[ExperimentConfig, Run], Any],
    argv: Sequence[str],
) -> None:
    """Runs a stage from the command line.

    Args:
        name: The module under `train`.
        description: What it does, for `--help`.
        stage: The work.
        argv: The arguments without the program's name.
    """
    program = f"python -m train.{name}"
    with exit_on_refusal():
        configs = load_configs()
    invocation = parse(configs, argv, program=program, description=description)
    if invocation.print_config:
        print(command_of(invocation, program))
        return
    with exit_on_refusal():
        folder = open_run(invocation.run_dir, invocation.config)
        print(f"{'continuing' if folder.resumed else 'starting'} the run {folder.path}")
        with MetricsLog(folder.path) as metrics:
            stage(invocation.config, Run(folder.path, invocation.cache_dir, metrics))
