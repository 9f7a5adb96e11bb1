"""The recipes: each set differs from the plain sources in what its name says."""

import dataclasses

import pytest

from data.files import Files
from data.mixture_config import Source
from data.recipes import reasoning_sets

LARGE = Source("large", Files("large.jsonl"), "problem_trace_answer", "reasoning")
SMALL = Source("small", Files("small.jsonl"), "problem_trace_answer", "reasoning")


def changes(source, plain):
    """The settings in which a source differs from the plain one."""
    pairs = zip(dataclasses.asdict(source).items(), dataclasses.asdict(plain).values(), strict=True)
    return {name: value for (name, value), other in pairs if value != other}


def test_every_set_by_hand():
    sets = reasoning_sets(LARGE, SMALL, shq_part=0.1, shq_passes=5.0, long_trace=100)
    found = {
        name: [
            (source.name, changes(source, LARGE if source.name == "large" else SMALL))
            for source in sources
        ]
        for name, sources in sets.items()
    }
    assert found == {
        "LDQ": [("large", {})],
        "SHQ": [("small", {"max_passes": 5.0})],
        "LMQ": [
            ("large", {"weight": pytest.approx(0.9)}),
            ("small", {"weight": 0.1, "max_passes": 5.0}),
        ],
        "ALF": [("large", {"min_trace_tokens": 100})],
        "LDQ_matched_to_SHQ": [("large", {"match_passes": 5.0})],
        "disjoint": [("small", {"part": "held_out"})],
    }


def test_a_higher_cap_stays():
    small = dataclasses.replace(SMALL, max_passes=20.0)
    assert reasoning_sets(LARGE, small)["SHQ"] == (small,)
