import dataclasses

import pytest

from jaxreason.rlad import GameConfig
from jaxreason.tasks import RuleInductionConfig, make_rule_induction
from train import forecast
from train.config import EvaluationConfig, ExperimentConfig, SupervisedConfig, WarmStartConfig

CONFIG = ExperimentConfig()


@pytest.fixture(autouse=True)
def a_machine(monkeypatch):
    monkeypatch.setattr(forecast, "_matmul_rate", lambda: 1e9)


def seconds(config):
    return {planned.stage: planned.seconds for planned in forecast.plan(config)}


def test_every_stage_is_expected_to_take_some_time():
    planned = forecast.plan(CONFIG)
    assert [stage.stage for stage in planned] == ["data", "pretrain", "sft", "rl", "evaluate"]
    assert all(stage.seconds > 0 and stage.steps >= 1 for stage in planned)
    assert {stage.stage: stage.steps for stage in planned}["sft"] == 2 * CONFIG.sft.steps


@pytest.mark.parametrize(
    ("stage", "change"),
    [
        ("pretrain", {"pretrain": SupervisedConfig(steps=801)}),
        ("pretrain", {"pretrain": SupervisedConfig(batch_size=33)}),
        ("sft", {"sft": WarmStartConfig(steps=101)}),
        ("sft", {"sft": WarmStartConfig(filter_samples=1)}),
        ("rl", {"rl": dataclasses.replace(CONFIG.rl, steps=101)}),
        ("rl", {"rl": dataclasses.replace(CONFIG.rl, game=GameConfig(problems=49))}),
        ("evaluate", {"evaluation": EvaluationConfig(problems=257)}),
        ("evaluate", {"evaluation": EvaluationConfig(abstractions=9)}),
    ],
)
def test_more_work_takes_longer_in_its_stage_only(stage, change):
    before, after = seconds(CONFIG), seconds(dataclasses.replace(CONFIG, **change))
    assert {name for name in before if before[name] != after[name]} == {stage}
    assert after[stage] > before[stage]


def test_places_by_hand():
    """One example and lists of 2: the problem takes 1 + 6 + 3 places, its tag included 11."""
    task = make_rule_induction(RuleInductionConfig(list_length=2, num_examples=1))
    game = GameConfig(problems=5, abstractions=3, solutions=2, bare=1)
    first = 11 + task.abstraction_length
    # A bare prompt is as wide as the others; before the solution stands its tag.
    second = 11 + task.abstraction_length + 1 + task.solution_length
    assert forecast.places(game, task) == 5 * (3 * first + 4 * 2 * second)


def test_the_machine_is_measured(monkeypatch):
    monkeypatch.undo()
    assert 1e7 < forecast._matmul_rate(size=64, seconds=0.01) < 1e16
