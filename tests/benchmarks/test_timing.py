"""Timing: what is counted, donation, static arguments, and the table."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from benchmarks.timing import Timing, format_table, quartiles, time_compiled


def test_time_compiled_times_calls_and_compilation_apart():
    traces = []

    def function(x):
        traces.append(x.shape)
        return x @ x

    timing = time_compiled(function, jnp.ones((8, 8)), repeats=5)
    assert isinstance(timing, Timing)
    assert traces == [(8, 8)]
    assert timing.calls == 5
    assert timing.compile_seconds > 0
    assert 0 < timing.low <= timing.median_seconds <= timing.high


def test_time_compiled_runs_the_function_once_more_than_it_times():
    runs = []
    function = jax.jit(lambda x: jax.debug.callback(lambda: runs.append(1), ordered=True) or x)
    time_compiled(function, jnp.ones(()), repeats=3)
    jax.effects_barrier()
    assert len(runs) == 4


def test_time_compiled_leaves_donated_arguments_alive():
    @partial(jax.jit, donate_argnums=0)
    def update(state, step):
        return {"w": state["w"] + step}

    state, step = {"w": jnp.zeros(3)}, jnp.ones(3)
    time_compiled(update, state, step, repeats=2)
    assert jax.tree.map(lambda x: x.is_deleted(), (state, step)) == ({"w": False}, False)
    assert state["w"].tolist() == [0.0, 0.0, 0.0]


def test_time_compiled_takes_static_arguments():
    seen = []

    @partial(jax.jit, static_argnames="power")
    def function(x, *, power):
        seen.append(power)
        return x**power

    assert time_compiled(function, jnp.ones(2), repeats=1, power=3).calls == 1
    assert seen == [3]


def test_time_compiled_refuses_no_repeats():
    with pytest.raises(ValueError, match="repeats must be at least 1; got 0"):
        time_compiled(jnp.sin, jnp.ones(2), repeats=0)


def test_quartiles():
    # Of 0, 1, 2, 3, 4 the quartiles stand at 1 and 3; of 1, 2 at a quarter of the way.
    assert quartiles([4.0, 0.0, 3.0, 1.0, 2.0]) == (1.0, 2.0, 3.0)
    assert quartiles([1.0, 2.0]) == (1.25, 1.5, 1.75)
    assert quartiles([7.0]) == (7.0, 7.0, 7.0)


def test_format_table():
    table = format_table(("step", "tokens/s"), [("prefill", "1,200"), ("decode", "90")])
    assert table == "step     tokens/s\n-------  --------\nprefill     1,200\ndecode         90"
