"""Strict settings for tests and examples, a compile cache between runs, and simulated devices."""

import gc
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import hypothesis
import jax
import pytest

# pytest would import a module twice whose examples it runs before its package is there.
import jaxreason  # noqa: F401

ROOT = Path(__file__).resolve().parent

# Set for this process and, through the environment, for the programs that tests start.
# A variable that is set already wins: JAX_PLATFORMS=cuda runs the tests on a GPU.
JAX_SETTINGS = {
    "jax_platforms": "cpu",
    "jax_compilation_cache_dir": str(ROOT / ".cache" / "jax"),
    "jax_persistent_cache_min_compile_time_secs": 0.0,
}
for name, value in JAX_SETTINGS.items():
    if name.upper() not in os.environ:
        os.environ[name.upper()] = str(value)
        jax.config.update(name, value)

# Most of a run is compiling programs that then run once: no optimisation halves it.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

jax.config.update("jax_numpy_dtype_promotion", "strict")

# The same examples in every run, without a time limit: the first example of a shape compiles.
hypothesis.settings.register_profile(
    "jaxreason", deadline=None, derandomize=True, database=None, max_examples=25
)
hypothesis.settings.load_profile("jaxreason")


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "standard_promotion: run with jax's usual dtype promotion, not the strict one"
    )


@pytest.fixture(autouse=True)
def _dtype_promotion(request):
    marked = request.node.get_closest_marker("standard_promotion")
    with jax.numpy_dtype_promotion("standard" if marked else "strict"):
        yield


# Every compiled program holds some memory maps; past 65,530 in one process, Linux's usual limit
# (vm.max_map_count), loading the next one crashes.
MANY_MAPS = 25_000


@pytest.fixture(autouse=True, scope="module")
def _few_programs():
    """Drops the programs of earlier modules before a process holds too many."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MANY_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def compilations():
    """A list that grows by one duration with every program that this thread compiles."""
    events, thread = [], threading.get_ident()

    def listen(event, duration, **_):
        mine = threading.get_ident() == thread  # not what an earlier test left running
        if mine and event == "/jax/core/compile/backend_compile_duration":
            events.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture(scope="session")
def run_with_devices():
    """Returns `run(code, n)`: runs Python code on n simulated CPU devices, returns what it printed.

    The number of devices is fixed when jax starts, so each call is a process of its own.
    """

    def run(code: str, n: int) -> str:
        start = f"import jax\njax.config.update('jax_num_cpu_devices', {n})\n"
        finished = subprocess.run(
            [sys.executable, "-c", start + textwrap.dedent(code)],
            env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert finished.returncode == 0, f"with {n} devices:\n{finished.stderr}"
        return finished.stdout

    return run
