"""The roofline: the arithmetic of the rates, with times that are known."""

import pytest

from benchmarks import roofline


def test_rates_are_work_over_time(monkeypatch):
    seconds = {(2, "float32"): 0.5, (2, "bfloat16"): 0.25, (1, "float32"): 2.0}
    monkeypatch.setattr(roofline, "_time_once", lambda _, x, *others: seconds[x.ndim, x.dtype.name])
    machine = roofline.measure_machine(matmul_size=10, copy_bytes=4000, rounds=1)
    # 4 passes of 2 x 10^3 operations in 0.5 and 0.25 s; 4 passes that read and write 4000 bytes.
    assert machine.matmul_flops_per_second == pytest.approx(16_000)
    assert machine.bfloat16_matmul_flops_per_second == pytest.approx(32_000)
    assert machine.bandwidth_bytes_per_second == pytest.approx(16_000)


def test_measurements_take_turns_and_medians_count():
    order = []
    values = {"a": iter([3.0, 1.0, 2.0]), "b": iter([30.0, 50.0, 40.0])}

    def measure(name):
        order.append(name)
        return next(values[name])

    medians = roofline._interleaved_medians([lambda: measure("a"), lambda: measure("b")], 3)
    assert medians == [2.0, 40.0]
    assert order == ["a", "b"] * 3


def test_a_small_measurement_runs():
    machine = roofline.measure_machine(matmul_size=32, copy_bytes=4096, rounds=1)
    table = roofline.format_machine(machine)
    assert machine.device in table
    assert all(unit in table for unit in ("GFLOP/s", "GB/s"))
