"""Runs the front-loading experiment: `python -m train.front_loading [NAME]`.

It goes on where it stopped. With `--report` it only writes tables and figures of what is there.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data.cache import default_cache_dir
from train.cli import load_configs
from train.errors import exit_on_refusal, refuse_bad_values
from train.front_loading.config import GridConfig
from train.front_loading.report import write_report
from train.front_loading.runner import Runner, read_cells

PACKAGE = "configs.grids"
DEFAULT = "front_loading"


def main(argv: Sequence[str]) -> None:
    """Reads the command line, runs the grid and writes what came out."""
    with exit_on_refusal():
        grids: dict[str, GridConfig] = load_configs(PACKAGE)
    arguments = _parser(list(grids)).parse_args(argv)
    results = arguments.results or Path("results") / arguments.grid
    run_dir = arguments.run_dir or Path("runs") / arguments.grid
    with exit_on_refusal():
        if not arguments.report:
            config = grids[arguments.grid]
            with refuse_bad_values():
                runner = Runner(config, results, run_dir, arguments.cache_dir)
                runner.run(arguments.seeds or config.seeds)
        scores = read_cells(results)
        if not scores:
            print(f"There are no finished cells in {results}.")
            return
        print(write_report(scores, results))
        print(f"Wrote tables and figures to {results}.")


def _parser(grids: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m train.front_loading",
        description="Pretrains, fine-tunes and reinforces the models of the front-loading grid."
        " Finished cells are kept: stop it at any time and start it again to go on.",
    )
    parser.add_argument(
        "grid", nargs="?", choices=grids, default=DEFAULT, help="which grid (default: %(default)s)"
    )
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        help="only these seeds, or others than the grid's; processes may share them",
    )
    parser.add_argument("--results", type=Path, help="folder of scores (default: results/GRID)")
    parser.add_argument("--run-dir", type=Path, help="folder of checkpoints (default: runs/GRID)")
    parser.add_argument(
        "--cache-dir",
        type=Path,
        default=default_cache_dir(),
        help="folder for prepared data (default: %(default)s)",
    )
    parser.add_argument(
        "--report", action="store_true", help="only write tables and figures of finished cells"
    )
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
