"""Problems of `reasoning-gym`, and what to do where the package is missing."""

import collections
import math
import re
import sys

import pytest

from data.array_records import PreparedDataset
from data.reasoning_gym import ReasoningGym, ReasoningGymConfig


def gym_problems(tmp_path, **settings):
    config = ReasoningGymConfig(**settings)
    return PreparedDataset("gym", ReasoningGym, tmp_path, config.name, config=config)


@pytest.fixture
def gym():
    return pytest.importorskip("reasoning_gym")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ValueError, match=r"run `pip install reasoning-gym`\.$"):
        list(gym_problems(tmp_path).rows("train"))


def test_the_config_name_tells_corpora_apart():
    changes = ({}, {"families": ("gcd",)}, {"num_train": 1}, {"num_held_out": 1}, {"seed": 1})
    names = {ReasoningGymConfig(**change).name for change in changes}
    assert len(names) == 5
    assert ReasoningGymConfig().name in names


def test_rows_are_balanced_distinct_and_right(gym, tmp_path):
    solvers = {"gcd": math.gcd, "lcm": math.lcm, "products": lambda *factors: math.prod(factors)}
    dataset = gym_problems(tmp_path, families=tuple(solvers), num_train=20, num_held_out=10)
    splits = {split: list(dataset.rows(split)) for split in ("train", "held_out")}
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 20, "held_out": 10}
    for rows in splits.values():
        counts = collections.Counter(row["family"] for row in rows)
        assert counts.keys() == solvers.keys()
        assert max(counts.values()) - min(counts.values()) <= 1
    rows = [row for rows in splits.values() for row in rows]
    assert len({row["problem"] for row in rows}) == len(rows)
    for row in rows:
        numbers = map(int, re.findall(r"\d+", row["problem"]))
        assert row["answer"] == str(solvers[row["family"]](*numbers)), row


def test_the_seed_decides(gym, tmp_path):
    settings = {"families": ("chain_sum",), "num_train": 50, "num_held_out": 0}
    rows = list(gym_problems(tmp_path / "a", **settings).rows("train"))
    assert list(gym_problems(tmp_path / "b", **settings).rows("train")) == rows
    other = list(gym_problems(tmp_path / "a", **settings, seed=1).rows("train"))
    assert len({row["problem"] for row in rows} & {row["problem"] for row in other}) < 10


@pytest.mark.parametrize(
    ("families", "message"),
    [
        (("chain_sums",), "no family 'chain_sums'; the nearest known one is 'chain_sum'"),
        (("composite",), "no family 'composite'"),
        (("gcd", "gcd"), "at least one and each named once"),
        (("rush_hour",), "the family 'rush_hour' has questions without an answer; leave it out"),
        (
            ("tower_of_hanoi",),
            r"'tower_of_hanoi' ran out of new problems after \d\d; ask for fewer",
        ),
    ],
)
def test_families_that_cannot_serve_are_refused(gym, tmp_path, families, message):
    with pytest.raises(ValueError, match=message):
        list(gym_problems(tmp_path, families=families, num_train=150).rows("train"))
