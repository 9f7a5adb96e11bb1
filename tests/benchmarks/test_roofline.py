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


def test_products_of_few_rows_count_every_weight_once(monkeypatch):
    monkeypatch.setattr(roofline, "_time_once", lambda _, x, weights: 0.5 * len(x))
    one, three, *half = roofline.measure_thin_products((1, 3), widths=(4, 6), layers=5, rounds=1)
    assert (one.dtype, one.rows, three.rows) == ("float32", 1, 3)
    # 5 pairs of 2 x 24 weights, 2 operations a weight and row, in half a second a row.
    assert one.flops_per_second == three.flops_per_second == 960
    assert one.bytes_per_second == 1920 and three.bytes_per_second == 640
    assert [each.bytes_per_second for each in half] == [960, 320]


def test_a_few_rows_go_through_small_weights():
    measured = roofline.measure_thin_products((1, 2), widths=(4, 8), layers=2, rounds=1)
    assert [(each.dtype, each.rows) for each in measured] == [
        *(("float32", 1), ("float32", 2)),
        *(("bfloat16", 1), ("bfloat16", 2)),
    ]
    assert "GFLOP/s" in roofline.format_thin_products(measured)
