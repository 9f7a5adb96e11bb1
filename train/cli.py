"""The command line of the programs: `python -m train.pipeline [NAME] [--dotted.setting value]`.

Tyro reads each value by its type and shows the help of the config's nested dataclasses: a string
literal under a field is that setting's help. What it would answer with a box is one sentence here.
"""

import contextlib
import dataclasses
import difflib
import importlib
import io
import pkgutil
import shlex
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro

from data.cache import default_cache_dir
from train.errors import RefusedError, exit_on_refusal

Config = TypeVar("Config")
PLAIN_VALUES = tyro.conf.FlagConversionOff  # --a.b True, not --a.b and --a.no-b
OWN_OPTIONS = ("run_dir", "cache_dir", "print_config")  # of the command, not of the experiment
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


def load_configs(
    package: str = "configs", *, kinds: tuple[type, ...] = (object,)
) -> dict[str, Any]:
    """Imports every module of a package and returns its `CONFIG` by module name.

    Args:
        package: An importable package; modules whose name starts with `_` are passed over.
        kinds: Types of configs; others are passed over, too.

    Raises:
        RefusedError: If a module states no `CONFIG`, or one that can't work.
    """
    folders = importlib.import_module(package).__path__
    modules = pkgutil.iter_modules(folders)
    names = sorted(module.name for module in modules if not module.ispkg)
    known = (name for name in names if not name.startswith("_"))
    configs = {name: _load_config(f"{package}.{name}") for name in known}
    return {name: config for name, config in configs.items() if isinstance(config, kinds)}


def _load_config(module: str) -> Any:
    try:
        return importlib.import_module(module).CONFIG
    except (ValueError, AttributeError) as error:
        raise RefusedError(f"The config {module} can't be loaded: {error}") from error


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
        if {"-h", "--help"} & set(options):
            text = f"{description} Configs (NAME): {', '.join(configs)}; shown here: {name}."
            _help(preset, f"{program} [NAME]", text)
        return _read(preset, options)


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


def _help(preset: Invocation[Config], program: str, description: str) -> typing.NoReturn:
    """Lets tyro show every setting with its meaning, type and default, and ends the program."""
    tyro.cli(
        Invocation[type(preset.config)],  # type: ignore[misc]
        default=preset,
        args=["--help"],
        prog=program,
        description=description,
    )
    raise SystemExit


def _read(preset: Invocation[Config], options: Sequence[str]) -> Invocation[Config]:
    """Returns the preset with the values that the options give; refuses what can't be meant."""
    known = settings_of(preset.config) | {"run_dir": (None, Path), "cache_dir": (None, Path)}
    by_flag = {_flag(name): (name, hint) for name, (_, hint) in known.items()}
    values: dict[str, Any] = {}
    for given, words in _grouped(options):
        flag = _flag(given.removeprefix("--"))
        if flag == "--print-config":
            if words:
                raise RefusedError(f"{flag} takes no value; the config's name comes first.")
            values["print_config"] = True
            continue
        if flag not in by_flag:
            near = _nearest(flag, [*by_flag, "--print-config"])
            raise RefusedError(f"Unknown setting {given}. Did you mean {near}? --help shows all.")
        name, hint = by_flag[flag]
        values[name] = _value(flag, hint, words)
    own = {name: values.pop(name) for name in OWN_OPTIONS if name in values}
    return dataclasses.replace(preset, config=_replaced(preset.config, values), **own)


def _replaced(config: Any, values: Mapping[str, Any], prefix: str = "") -> Any:
    """Returns nested dataclasses with some settings replaced; each checks itself once, whole."""
    changes = {}
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            changes[field.name] = _replaced(value, values, f"{name}.")
        elif name in values:
            changes[field.name] = values[name]
    try:
        return dataclasses.replace(config, **changes)
    except ValueError as error:
        place = f"{prefix.removesuffix('.')}: " if prefix else ""
        raise RefusedError(f"{place}{error}") from error


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


def _value(flag: str, hint: Any, words: Sequence[str]) -> Any:
    """Reads a setting's value by its type."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return tyro.cli(hint, args=words, config=(PLAIN_VALUES,), add_help=False)
    except SystemExit:
        shown = repr(" ".join(words)) if words else "no value"
        raise RefusedError(f"{flag} takes {_in_words(hint)}; got {shown}.") from None


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
