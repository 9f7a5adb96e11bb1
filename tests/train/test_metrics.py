import math
import struct

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from train.metrics import MetricsLog, read_metrics


def events(folder):
    """Reads a TensorBoard folder: uint64 length, crc, event, crc, and so on."""
    found = []
    for path in sorted(folder.iterdir()):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack("<Q", content[at : at + 8])
            found.append(Event.FromString(content[at + 12 : at + 12 + length]))
            at += length + 16
    return found


def test_rows_are_read_as_written(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write("pretrain", 1, {"loss": np.float32(2.5), "lr": 1e-3})
        log.write("rl", 1, {"reward/solver": 0.25})
    assert read_metrics(tmp_path) == [
        {"stage": "pretrain", "step": 1, "loss": 2.5, "lr": 1e-3},
        {"stage": "rl", "step": 1, "reward/solver": 0.25},
    ]


def test_a_row_is_on_disk_before_the_next_step(tmp_path):
    log = MetricsLog(tmp_path)
    log.write("sft", 1, {"loss": 1.0})
    assert len(read_metrics(tmp_path)) == 1
    log.close()


def test_nothing_written_reads_as_no_rows(tmp_path):
    assert read_metrics(tmp_path) == []


def test_what_is_not_finite_stays_valid_json(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write("sft", 1, {"loss": math.nan, "norm": math.inf})
    assert "null" in (tmp_path / "metrics.jsonl").read_text()
    (row,) = read_metrics(tmp_path)
    assert math.isnan(row["loss"]) and math.isnan(row["norm"])


def test_rewind_drops_later_rows_of_its_stage_only(tmp_path):
    with MetricsLog(tmp_path) as log:
        for step in (1, 2, 3):
            log.write("pretrain", step, {"loss": float(step)})
            log.write("sft", step, {"loss": float(step)})
    with MetricsLog(tmp_path) as log:
        log.rewind("sft", 1)
        log.write("sft", 2, {"loss": 20.0})
    rows = read_metrics(tmp_path)
    assert [row["step"] for row in rows if row["stage"] == "pretrain"] == [1, 2, 3]
    assert [(row["step"], row["loss"]) for row in rows if row["stage"] == "sft"] == [
        (1, 1),
        (2, 20),
    ]


def test_a_torn_last_line_is_dropped_before_more_is_appended(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write("sft", 1, {"loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "sft", "step": 2, "lo')
    assert [row["step"] for row in read_metrics(tmp_path)] == [1]
    with MetricsLog(tmp_path) as log:
        log.write("sft", 2, {"loss": 2.0})
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]


def test_damage_in_the_middle_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"stage": "sft", "step": 1}\n{"st\n{}\n')
    with pytest.raises(ValueError, match=r"Line 2 of .*metrics.jsonl is not JSON"):
        read_metrics(tmp_path)


def test_tensorboard_gets_every_value_and_purges_what_is_written_again(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write("rl", 1, {"reward/solver": 0.5})
        log.write("rl", 2, {"reward/solver": 0.75})
        log.rewind("rl", 1)
        log.write("rl", 2, {"reward/solver": 1.0})
    found = events(tmp_path / "tensorboard" / "rl")
    scalars = [(e.step, v.tag, v.simple_value) for e in found for v in e.summary.value]
    assert sorted(scalars) == [
        (1, "reward/solver", 0.5),
        (2, "reward/solver", 0.75),
        (2, "reward/solver", 1.0),
    ]
    starts = [event.step for event in found if event.HasField("session_log")]
    assert 2 in starts


def test_a_second_log_takes_nothing_from_the_first(tmp_path):
    with MetricsLog(tmp_path) as first:
        first.write("rl", 1, {"loss": 1.0})
        MetricsLog(tmp_path).close()
        first.write("rl", 2, {"loss": 2.0})
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]
