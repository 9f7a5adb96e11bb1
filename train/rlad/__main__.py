"""Runs the studies of the game: `python -m train.rlad [STUDY ...]`.

They share the arms that they have in common, and go on where they stopped.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType

from train.errors import exit_on_refusal, refuse_bad_values
from train.rlad import report
from train.rlad.arms import GRPO, RLAD, WARM
from train.rlad.config import StudyConfig
from train.rlad.runner import ALLOCATION_CELL, CONTROL_CELL, STRONG_CELL, Runner

Report = Callable[[report.Cells, Path], str]
STUDIES: MappingProxyType[str, tuple[tuple[str, ...], Report]] = MappingProxyType(
    {
        "single_policy": ((WARM, RLAD, GRPO), report.single_policy),
        "allocation": ((ALLOCATION_CELL,), report.allocation),
        "ablations": (
            (
                *(RLAD, "naive", "shared", "joint", "alternating", "rft", "preference"),
                *("no_kl", "no_entropy"),
            ),
            report.ablations,
        ),
        "controls": ((CONTROL_CELL,), report.controls),
        "weak_to_strong": ((STRONG_CELL,), report.weak_to_strong),
    }
)
"""Each study's cells, and what makes a table and a figure of them."""


def run_study(config: StudyConfig, study: str, results: Path, run_dir: Path) -> str:
    """Runs a study to its end and writes `STUDY.md` and its figure; returns the tables."""
    runner = Runner(config, results, run_dir)
    cells, write = STUDIES[study]
    outcome = write({cell: runner.run(cell) for cell in cells}, results)
    (results / f"{study}.md").write_text(outcome + "\n", encoding="utf-8")
    return outcome


def main(argv: Sequence[str]) -> None:
    """Reads the command line and runs the studies asked for."""
    from train.cli import load_configs

    with exit_on_refusal():
        configs: dict[str, StudyConfig] = load_configs("configs.studies")
    arguments = _parser(list(configs)).parse_args(argv)
    results = arguments.results or Path("results") / arguments.config
    run_dir = arguments.run_dir or Path("runs") / arguments.config
    with exit_on_refusal(), refuse_bad_values():
        for study in arguments.studies or STUDIES:
            print(f"# {study}\n", flush=True)
            print(run_study(configs[arguments.config], study, results, run_dir), flush=True)
            print(f"\nWrote {results / study}.md and its figure.\n", flush=True)


def _parser(configs: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m train.rlad",
        description="Studies of the two-player game on the rule task, all seeds side by side."
        " Finished arms are kept: stop it at any time and start it again to go on.",
    )
    parser.add_argument(
        "studies",
        nargs="*",
        choices=[*STUDIES, []],
        metavar="STUDY",
        help=f"out of {', '.join(STUDIES)} (default: all)",
    )
    parser.add_argument("--config", choices=configs, default="rlad", help="default: %(default)s")
    parser.add_argument("--results", type=Path, help="folder of scores (default: results/CONFIG)")
    parser.add_argument("--run-dir", type=Path, help="folder of checkpoints (default: runs/CONFIG)")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
