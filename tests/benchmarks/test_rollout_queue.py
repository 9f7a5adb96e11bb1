"""The benchmark of queues on a size of nothing: three ways, the same tokens, steps that add up."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import rollout_queue
from benchmarks.rollout_queue import HEADER, Plan, format_lengths, main, measure
from jaxreason.model import ModelConfig

TINY = ModelConfig(vocab_size=40, dim=16, num_layers=1, num_heads=2, num_kv_heads=1, hidden_dim=16)
PLAN = Plan(6, 2, (1, 2), prompt_length=3, max_new_tokens=9, mean_length=4, repeats=2)


def test_every_way_gives_the_same_and_is_counted():
    ways, lengths = measure(TINY, PLAN)
    batch, chunks, *queues = ways
    assert [way.name for way in queues] == ["queue, refill 1", "queue, refill 2"]
    assert [way.rows for way in ways] == [6, 2, 2, 2]
    assert lengths.shape == (6,) and 1 <= lengths.min() < lengths.max() <= 9
    for way in ways:
        assert way.same_as_batch == 1
        assert way.tokens == lengths.sum()
        # The first token of a request comes from its prompt.
        assert way.occupancy == pytest.approx((lengths - 1).sum() / (way.rows * way.decode_steps))
        assert way.timing.calls == 2 and way.timing.median_seconds > 0
        assert way.timing.compile_seconds > 0 and way.memory_bytes > 0
        assert len(way.row()) == len(HEADER)
        json.dumps(dataclasses.asdict(way))
    # Every batch takes what its longest takes.
    assert batch.decode_steps == lengths.max() - 1
    assert chunks.decode_steps == (lengths.reshape(3, 2).max(1) - 1).sum()
    # With a prompt at a time and as many slots, no request waits for what a chunk waits for.
    assert (lengths - 1).sum() / 2 <= queues[0].decode_steps <= chunks.decode_steps


def test_lengths_in_words():
    # Of 1, ..., 10 nine in ten are up to 9.1 (interpolated), which rounds to 9.
    words = format_lengths(np.arange(1, 11))
    assert words == "10 requests, 55 tokens: mean 5.5, median 6, nine in ten up to 9, longest 10"


def test_the_program_prints_a_table_and_one_json_line(monkeypatch, capsys):
    monkeypatch.setattr(
        rollout_queue, "load_configs", lambda kinds: {"tiny": SimpleNamespace(model=TINY)}
    )
    sizes = {"requests": 2, "slots": 1, "prompt-length": 2, "max-new-tokens": 3, "mean-length": 2}
    options = [text for name, size in sizes.items() for text in (f"--{name}", str(size))]
    main(["--config", "tiny", "--refills", "1", "--repeats", "1", *options])
    lines = capsys.readouterr().out.splitlines()
    assert "2 requests" in lines[0] and lines[2].startswith("way")
    summary = json.loads(lines[-1])
    assert [way["name"] for way in summary["ways"]] == ["batch", "chunks", "queue, refill 1"]
    assert summary["plan"]["refills"] == [1] and sum(summary["lengths"]) > 0
    assert summary["model"]["vocab_size"] == 40


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--requests", "10", "--slots", "4"], "multiple of slots; got 10 for 4 slots"),
        (["--slots", "4", "--requests", "8", "--refills", "5"], "at most the slots, 4; got 5"),
        (["--config", "none"], "unknown config 'none'; the known ones are demo"),
    ],
)
def test_wrong_arguments_are_refused(capsys, arguments, message):
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err
