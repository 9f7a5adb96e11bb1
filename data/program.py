"""The command line of the data programs: `python -m data.plan NAME [--cache-dir DIR]`."""

import argparse
import difflib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from data.cache import default_cache_dir
from data.mixture_config import MixtureConfig

PACKAGE = "configs.mixtures"


def run(
    name: str,
    description: str,
    main: Callable[..., None],
    argv: Sequence[str],
    *,
    plot: Path | None = None,
) -> None:
    """Reads the command line and runs a program; what it can't do is one sentence.

    Args:
        name: The module under `data`.
        description: What it does, for `--help`.
        main: The work, of a mixture, a cache folder and, if there is one, the plot's file.
        argv: The arguments without the program's name.
        plot: Where the program draws, unless told otherwise; None if it draws nothing.
    """
    parser = argparse.ArgumentParser(f"python -m data.{name}", description=description)
    parser.add_argument(
        "mixture",
        metavar="NAME",
        help=f"a mixture of this project ({', '.join(known_mixtures())}), or a Python file of"
        " yours that states a MixtureConfig as MIXTURE",
    )
    parser.add_argument(
        "--cache-dir",
        type=Path,
        default=default_cache_dir(),
        help="folder for what is prepared: data sets, tokenizers, tokens (default: %(default)s)",
    )
    if plot:
        parser.add_argument(
            "--plot", type=Path, default=plot, help="file of the picture (default: %(default)s)"
        )
    arguments = parser.parse_args(argv)
    try:
        options = {"plot": arguments.plot} if plot else {}
        main(load_mixture(arguments.mixture), arguments.cache_dir, **options)
    except ValueError as error:
        sys.exit(f"{error}")


def known_mixtures() -> list[str]:
    """Returns the names of this project's mixtures."""
    folders = importlib.import_module(PACKAGE).__path__
    return sorted(module.name for module in pkgutil.iter_modules(folders))


def load_mixture(name: str) -> MixtureConfig:
    """Returns a mixture by its name, or from a Python file.

    Raises:
        ValueError: If there is none, or it can't work.
    """
    if name in known_mixtures():
        module = importlib.import_module(f"{PACKAGE}.{name}")
    elif name.endswith(".py"):
        module = _file_module(name)
    else:
        near = difflib.get_close_matches(name, known_mixtures(), n=1, cutoff=0)
        known = ", ".join(known_mixtures())
        raise ValueError(
            f"there is no mixture {name!r}; did you mean {near[0]!r}? There are {known}, or name a"
            " Python file."
        )
    mixture = getattr(module, "MIXTURE", None)
    if not isinstance(mixture, MixtureConfig):
        raise ValueError(f"{name} states no MixtureConfig as MIXTURE.")
    return mixture


def _file_module(name: str) -> object:
    if not Path(name).is_file():
        raise ValueError(f"there is no file {name}.")
    spec = importlib.util.spec_from_file_location(Path(name).stem, name)
    assert spec is not None and spec.loader is not None  # it is a Python file
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses of the file look for it there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{name} can't be loaded ({type(error).__name__}: {error}).") from error
    return module
