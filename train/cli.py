"""The command line of the programs: `python -m train.pipeline [NAME] [--dotted.setting value]`.

Tyro builds the options and their help from the config's nested dataclasses; a string literal under
a field is that setting's help. What tyro would answer with a box is said here in one sentence.
"""

import contextlib
import dataclasses
import difflib
import importlib
import io
import os
import pkgutil
import shlex
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro

from train.errors import RefusedError, exit_on_refusal

Config = TypeVar("Config")
PLAIN_VALUES = tyro.conf.FlagConversionOff  # --a.b True, not --a.b and --a.no-b
TYPE_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}


@dataclasses.dataclass(frozen=True)
class Invocation(Generic[Config]):
    """What the command line asks for."""

    name: Annotated[str, tyro.conf.Suppress]
    config: Annotated[Config, PLAIN_VALUES, tyro.conf.arg(name="")]
    run_dir: Path
    """Folder that this run writes to and continues from."""
    cache_dir: Path
    """Folder for what is prepared once: data, tokenizers, imported weights."""
    print_config: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the resolved settings as a command that gives them again, and stop."""


def load_configs(package: str = "configs") -> dict[str, Any]:
    """Imports every module of a package and returns its `CONFIG` by module name.

    Args:
        package: An importable package; modules whose name starts with `_` are passed over.

    Raises:
        AttributeError: If a module states no `CONFIG`.
    """
    folders = importlib.import_module(package).__path__
    names = sorted(module.name for module in pkgutil.iter_modules(folders))
    public = [name for name in names if not name.startswith("_")]
    return {name: importlib.import_module(f"{package}.{name}").CONFIG for name in public}


def parse(
    configs: Mapping[str, Config],
    argv: Sequence[str],
    *,
    program: str,
    description: str,
    default: str = "demo",
) -> Invocation[Config]:
    """Reads the command line; ends the program with one sentence if it can't be understood.

    Args:
        configs: The known configs by name, see `load_configs`.
        argv: The arguments without the program's name.
        program: What the user types before the arguments, as in "python -m train.pipeline".
        description: What the program does, for `--help`.
        default: The config taken when `argv` names none.

    Returns:
        The chosen config with its overrides, and where to write.

    Raises:
        SystemExit: With status 0 after `--help`, 2 after a wrong argument.
    """
    with exit_on_refusal():
        named = bool(argv) and not argv[0].startswith("-")
        name, options = (argv[0], argv[1:]) if named else (default, argv)
        if name not in configs:
            near, known = _nearest(name, list(configs)), ", ".join(configs)
            raise RefusedError(f"Unknown config {name!r}. Did you mean {near}? Known: {known}.")
        preset = Invocation(name, configs[name], Path("runs") / name, default_cache_dir())
        if not {"-h", "--help"} & set(options):
            _check_options(preset, options)
        text = f"{description} Configs (NAME): {', '.join(configs)}; shown here: {name}."
        return _read(preset, options, f"{program} [NAME]", text)


def default_cache_dir() -> Path:
    """Returns the user's cache folder for this project (`$XDG_CACHE_HOME`, else `~/.cache`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxreason"


def command_of(invocation: Invocation[Any], program: str) -> str:
    """Returns a command that gives the invocation's config again, one setting a line."""
    lines = [f"{program} {invocation.name}"]
    for name, (value, _) in settings_of(invocation.config).items():
        values = value if isinstance(value, tuple) else (value,)
        lines.append(" ".join([f"--{name}", *(shlex.quote(str(item)) for item in values)]))
    return " \\\n  ".join(lines)


def settings_of(config: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Returns every setting of nested dataclasses: dotted name -> (value, type)."""
    hints = typing.get_type_hints(type(config))
    settings: dict[str, tuple[Any, Any]] = {}
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            settings |= settings_of(value, f"{name}.")
        else:
            settings[name] = (value, hints[field.name])
    return settings


def _read(
    preset: Invocation[Config], options: Sequence[str], program: str, description: str
) -> Invocation[Config]:
    """Lets tyro apply the checked options; a config that checks itself may still refuse."""
    try:
        return tyro.cli(
            Invocation[type(preset.config)],  # type: ignore[misc]
            default=preset,
            args=options,
            prog=program,
            description=description,
        )
    except ValueError as error:
        raise RefusedError(str(error)) from error


def _check_options(preset: Invocation[Any], options: Sequence[str]) -> None:
    """Refuses unknown settings and values of a wrong type, naming what was meant."""
    known = settings_of(preset.config) | {"run_dir": (None, Path), "cache_dir": (None, Path)}
    by_flag = {_flag(name): (name, hint) for name, (_, hint) in known.items()}
    for given, values in _grouped(options):
        flag = _flag(given.removeprefix("--"))
        if flag == "--print-config" and not values:
            continue
        if flag not in by_flag:
            near = _nearest(flag, [*by_flag, "--print-config"])
            raise RefusedError(f"Unknown setting {given}. Did you mean {near}? --help shows all.")
        hint = by_flag[flag][1]
        if not _accepts(hint, values):
            shown = repr(" ".join(values)) if values else "no value"
            raise RefusedError(f"{flag} takes {_in_words(hint)}; got {shown}.")


def _grouped(options: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yields each option with its values."""
    groups: list[tuple[str, list[str]]] = []
    for token in options:
        if token.startswith("--"):
            flag, equals, value = token.partition("=")
            groups.append((flag, [value] if equals else []))
        elif groups:
            groups[-1][1].append(token)
        else:
            raise RefusedError(f"Settings are given as --name value; got {token!r} without a name.")
    yield from groups


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _nearest(given: str, known: Sequence[str]) -> str:
    return difflib.get_close_matches(given, known, n=1, cutoff=0.0)[0]


def _accepts(hint: Any, values: Sequence[str]) -> bool:
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            tyro.cli(hint, args=values, config=(PLAIN_VALUES,), add_help=False)
    except SystemExit:
        return False
    return True


def _in_words(hint: Any) -> str:
    """Says what values a type allows."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in TYPE_WORDS:
        return TYPE_WORDS[hint]
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join("None" if part is type(None) else _in_words(part) for part in inner)
    if origin is tuple and inner[-1] is Ellipsis:
        return f"values that are each {_in_words(inner[0])}"
    if origin is tuple:
        return f"{len(inner)} values ({', '.join(map(_in_words, inner))})"
    return f"a {getattr(hint, '__name__', str(hint))}"
