"""The habits of the code base, checked on its syntax trees: imports, purity, docstrings, sizes."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("jaxreason", "data", "train", "configs")  # each may import those before it
ROOMS = (*LAYERS, "benchmarks", "tests")
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
LIBRARY = [path for path in FILES if path.is_relative_to(ROOT / "jaxreason")]
PURE = [path for path in LIBRARY if path.name != "__main__.py"]

OUTSIDE_MODULES = {
    *("asyncio", "datetime", "glob", "http", "io", "logging", "multiprocessing", "os", "pathlib"),
    *("pickle", "random", "shutil", "signal", "socket", "subprocess", "sys", "tempfile"),
    *("threading", "time", "urllib"),
}
OUTSIDE_CALLS = {"breakpoint", "exec", "eval", "input", "open", "print"}
HOST_CALLBACKS = {"debug.print", "debug.callback", "io_callback", "pure_callback"}
KEYED_RANDOM = {"default_rng", "Generator", "SeedSequence"}  # the rest of np.random is one state
MUTABLE_DISPLAYS = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
MUTABLE_CALLS = {"dict", "list", "set", "bytearray", "defaultdict", "Counter", "deque"}

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60


def by_path(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported_modules(tree: ast.AST) -> list[str]:
    """Absolute names of the modules that the code imports."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.append(node.module or "")
    return names


def imports_of_higher_layers(room: str, tree: ast.AST) -> list[str]:
    """The rooms that `room` imports and must not."""
    if room == "tests":
        return []
    allowed = LAYERS[: LAYERS.index(room) + 1] if room in LAYERS else (*LAYERS, room)
    tops = {name.split(".")[0] for name in imported_modules(tree)}
    return sorted(tops & set(ROOMS) - set(allowed))


def impurities(tree: ast.Module) -> list[str]:
    """What reaches outside the program, or is state shared between calls."""
    found = sorted({name.split(".")[0] for name in imported_modules(tree)} & OUTSIDE_MODULES)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            *path, name = ast.unparse(node.func).split(".")
            dotted = ".".join([*path[-1:], name])
            is_global_random = path[-2:] in (["np", "random"], ["numpy", "random"])
            if (
                (not path and name in OUTSIDE_CALLS)
                or not HOST_CALLBACKS.isdisjoint({name, dotted})
                or (is_global_random and name not in KEYED_RANDOM)
            ):
                found.append(name)
        elif isinstance(node, ast.Global):
            found.append(f"global {', '.join(node.names)}")
    return found + mutable_globals(tree)


def mutable_globals(tree: ast.Module) -> list[str]:
    """Names at module level that are bound to a dict, list or set."""
    found = []
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        value, name = node.value, ast.unparse(target)
        is_call = isinstance(value, ast.Call) and ast.unparse(value.func) in MUTABLE_CALLS
        if name != "__all__" and (is_call or isinstance(value, MUTABLE_DISPLAYS)):
            found.append(name)
    return found


def public_definitions(tree: ast.Module) -> dict[str, ast.AST]:
    """The module itself, its public functions and classes, and their public methods."""
    found: dict[str, ast.AST] = {"": tree}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            found[node.name] = node
            if isinstance(node, ast.ClassDef):
                found |= {
                    f"{node.name}.{method.name}": method
                    for method in node.body
                    if isinstance(method, ast.FunctionDef) and not method.name.startswith("_")
                }
    return found


def long_functions(tree: ast.AST) -> list[str]:
    """Functions of more than MAX_FUNCTION_LINES lines, their docstrings not counted."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            if lines > MAX_FUNCTION_LINES:
                found.append(f"{node.name} has {lines} lines")
    return found


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", FILES, ids=by_path)
def test_imports_go_one_way(path):
    room = path.relative_to(ROOT).parts[0]
    assert imports_of_higher_layers(room, ast.parse(path.read_text())) == []


@pytest.mark.parametrize("path", PURE, ids=by_path)
def test_library_is_pure(path):
    assert impurities(ast.parse(path.read_text())) == []


@pytest.mark.parametrize("path", LIBRARY, ids=by_path)
def test_public_names_have_docstrings(path):
    definitions = public_definitions(ast.parse(path.read_text()))
    missing = [name or "the module" for name, node in definitions.items() if not doc_of(node)]
    assert missing == []


@pytest.mark.parametrize("path", LIBRARY, ids=by_path)
def test_every_example_is_collected(path):
    """An example that doctest can't see (inside a transformed function, say) would never run."""
    definitions = public_definitions(ast.parse(path.read_text()))
    written = {name for name, node in definitions.items() if ">>>" in doc_of(node)}
    name = module_name(path)
    found = doctest.DocTestFinder().find(importlib.import_module(name), name) if written else []
    collected = {test.name[len(name) :].lstrip(".") for test in found if test.examples}
    assert written <= collected


@pytest.mark.parametrize("path", FILES, ids=by_path)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    assert long_functions(ast.parse(text)) == []


def doc_of(node: ast.AST) -> str:
    return ast.get_docstring(node) or ""


def test_the_import_check_sees_violations():
    assert imports_of_higher_layers("data", ast.parse("from train.loop import run")) == ["train"]
    assert imports_of_higher_layers("jaxreason", ast.parse("def f():\n    import data")) == ["data"]
    assert imports_of_higher_layers("train", ast.parse("import benchmarks")) == ["benchmarks"]
    assert imports_of_higher_layers("configs", ast.parse("import train, data, jaxreason")) == []


@pytest.mark.parametrize(
    "code, expected",
    [
        ("import os.path", ["os"]),
        ("from time import sleep", ["time"]),
        ("def f():\n    print(1)", ["print"]),
        ("jax.debug.print('{}', x)", ["print"]),
        ("np.random.seed(0)", ["seed"]),
        ("np.random.default_rng(0)", []),
        ("jax.experimental.io_callback(f, x)", ["io_callback"]),
        ("def f():\n    global n\n    n = 1", ["global n"]),
        ("CACHE: dict = {}", ["CACHE"]),
        ("SEEN = set()", ["SEEN"]),
        ("__all__ = ['f']\nNAMES = ('f',)\ndef f(x):\n    return [x]", []),
    ],
)
def test_the_purity_check_sees_violations(code, expected):
    assert impurities(ast.parse(code)) == expected


def test_the_docstring_check_sees_violations():
    code = "class A:\n    def f(self): ...\n    def _g(self): ..."
    definitions = public_definitions(ast.parse(code))
    assert [name for name, node in definitions.items() if not doc_of(node)] == ["", "A", "A.f"]


def test_the_size_check_counts_code_and_not_docstrings():
    documented = "def f():\n    '''" + "\n" * 100 + "'''\n    return 1"
    assert long_functions(ast.parse(documented)) == []
    long = "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES
    assert long_functions(ast.parse(long)) == [f"f has {MAX_FUNCTION_LINES + 1} lines"]
