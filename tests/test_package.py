"""What users install: the wheel's content, its imports, and the pinned versions."""

import ast
import importlib.metadata
import json
import os
import re
import statistics
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONSTRAINTS = sorted((ROOT / "constraints").glob("py3*.txt"))
PEERS = sorted((ROOT / "constraints").glob("peers-*.txt"))
PEER_NAMES = ["tunix", "llama_cpp"]  # what peers are imported as, where they are not installed

IMPORT_ALL = """
import importlib, json, pkgutil, sys
import jaxreason
modules = [module.name for module in pkgutil.walk_packages(jaxreason.__path__, "jaxreason.")]
for name in modules:
    if not name.endswith("__main__"):
        importlib.import_module(name)
"""


def run_python(code: str, python: str = sys.executable, cwd: Path = ROOT) -> str:
    """Runs code in a process of its own and returns what it printed."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    finished = subprocess.run(
        [python, "-c", code], cwd=cwd, env=env, capture_output=True, text=True, timeout=300
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {normalized(name): version for name, version in (line.split("==") for line in lines)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory"]
    subprocess.run([*command, str(folder)], cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def fresh_python(wheel, tmp_path_factory) -> str:
    """An environment that holds the wheel and, through a path file, this one's other packages."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = str(folder / "bin" / "python")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    offline = ["--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*install, *offline, str(wheel)], check=True, capture_output=True)
    site = run_python("import sysconfig; print(sysconfig.get_path('purelib'))", python).strip()
    packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(site) / "other_packages.pth").write_text("\n".join(sorted(packages)))
    return python


def test_wheel_holds_the_library_alone(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "jaxreason").rglob("*.py")}
    assert {name.split("/")[0] for name in names} == {"jaxreason", f"{wheel.name[:15]}.dist-info"}
    assert sources <= set(names)


def test_wheel_works_without_the_checkout(fresh_python, tmp_path):
    code = IMPORT_ALL + (
        "import jax, jax.numpy as jnp\n"
        "from jaxreason.checks import check_shape\n"
        "total = jax.jit(lambda x: x.sum() + check_shape('x', x, ('time',))[0])(jnp.ones(3))\n"
        "print(json.dumps([jaxreason.__file__, modules, float(total)]))"
    )
    file, modules, total = json.loads(run_python(code, fresh_python, tmp_path))
    assert not Path(file).is_relative_to(ROOT)
    sources = list((ROOT / "jaxreason").rglob("*.py"))
    assert len(modules) == len(sources) - 1  # all but jaxreason itself
    assert total == 6.0


@pytest.mark.parametrize("room", ["data", "train", "configs", "benchmarks", "tests"])
def test_wheel_installs_no_general_name(fresh_python, tmp_path, room):
    code = f"import importlib.util; print(importlib.util.find_spec('{room}'))"
    assert run_python(code, fresh_python, tmp_path).strip() == "None"


def test_library_imports_no_heavy_package():
    heavy = ["grain", "tensorflow", "tensorflow_datasets", "torch"]
    code = f"print([name for name in {heavy} if name in sys.modules])"
    assert run_python(IMPORT_ALL + code).strip() == "[]"


def test_library_imports_nothing_of_an_extra():
    """All packages of the library, without the modules that say that they need an extra."""
    code = (
        "import importlib, pkgutil, sys, jaxreason\n"
        "for module in pkgutil.iter_modules(jaxreason.__path__, 'jaxreason.'):\n"
        "    importlib.import_module(module.name)\n"
        "print([name for name in ('pandas', 'pyarrow', 'matplotlib') if name in sys.modules])"
    )
    assert run_python(code).strip() == "[]"


def test_library_imports_fast():
    """Processor time, so that other work on the machine doesn't count."""
    code = (
        "import jax, time; start = time.process_time(); import jaxreason;"
        " print(time.process_time() - start)"
    )
    assert statistics.median(float(run_python(code)) for _ in range(3)) < 1.0


@pytest.mark.parametrize("path", CONSTRAINTS, ids=lambda path: path.stem)
def test_constraints_pin_every_dependency(path):
    for line in path.read_text().splitlines():
        assert re.fullmatch(r"#.*|[A-Za-z0-9._-]+==\d[\w.]*(\+cpu)?", line), line
    pinned = pins(path)
    installed = ("train", "voting", "models", "tasks", "dev", "peers")
    for text in PROJECT["dependencies"] + [text for extra in installed for text in EXTRAS[extra]]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pinned[normalized(requirement.name)]), text


def test_each_supported_python_has_its_jax():
    versions = {path.stem: pins(path)["jax"] for path in CONSTRAINTS}
    assert versions["py311"] == "0.10.2"
    assert versions["py312"].startswith("0.12.")
    assert versions["py313"].startswith("0.12.")


def undeclared_imports(rooms: tuple[str, ...], requirements: list[str]) -> set[str]:
    """Packages that files of these rooms import and `requirements` don't list."""
    declared = {normalized(Requirement(text).name) for text in requirements}
    providers = importlib.metadata.packages_distributions()
    ours = {"jaxreason", "data", "train", "configs", "benchmarks", "tests"}
    undeclared = set()
    for path in (path for room in rooms for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            for top in {name.split(".")[0] for name in names} - sys.stdlib_module_names - ours:
                if not {normalized(name) for name in providers.get(top, [top])} & declared:
                    undeclared.add(f"{top} in {path.relative_to(ROOT)}")
    return undeclared


def test_every_import_is_declared():
    core = PROJECT["dependencies"]
    library = core + EXTRAS["voting"]
    programs = core + EXTRAS["train"] + EXTRAS["tasks"] + EXTRAS["models"]
    assert undeclared_imports(("jaxreason",), library) == set()
    assert undeclared_imports(("data", "train", "configs"), programs) == set()
    everything = core + [text for extra in EXTRAS.values() for text in extra]
    # Peers that run in environments of their own are pinned beside them: constraints/peers-*.txt.
    own = [line for path in PEERS for line in path.read_text().splitlines() if "==" in line]
    assert undeclared_imports(("benchmarks", "tests"), everything + own + PEER_NAMES) == set()


def test_the_declaration_check_sees_violations():
    without_jax = [text for text in PROJECT["dependencies"] if Requirement(text).name != "jax"]
    assert "jax in jaxreason/checks.py" in undeclared_imports(("jaxreason",), without_jax)
