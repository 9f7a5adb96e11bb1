"""The steps benchmark on a size of nothing: what it prints is whole and can be read back."""

import dataclasses
import json

from benchmarks import roofline, steps
from jaxreason.model import ModelConfig
from jaxreason.rlad import GameConfig
from train.config import ExperimentConfig, RLConfig
from train.forecast import places

TINY = dataclasses.replace(
    ExperimentConfig(),
    model=ModelConfig(dim=16, num_layers=1, num_heads=2, num_kv_heads=1, hidden_dim=16),
    rl=RLConfig(game=GameConfig(problems=2, abstractions=2, solutions=2)),
)


def test_every_step_is_timed_and_has_a_floor():
    measured = steps.measure_steps(TINY, batch=2, length=8, repeats=1)
    assert [step.name for step in measured] == ["prefill", "decode", "train step", "RL iteration"]
    assert [step.tokens for step in measured[:3]] == [16, 2, 16]
    machine = roofline.Machine("a machine", 1e9, 1e9, 1e9)
    for step in measured:
        assert step.timing.compile_seconds > 0
        assert step.timing.median_seconds > 0
        assert step.floor_seconds(machine) >= step.flops / 1e9
        assert len(step.row(machine)) == len(steps.HEADER)
        json.dumps(dataclasses.asdict(step))


def test_tokens_of_an_iteration_are_its_places():
    task = steps.make_rule_induction(TINY.task)
    problem = 1 + 2 * (3 + 1 + 3 + 1) + 3 + 1
    proposal = problem + 1 + task.abstraction_length
    solution = problem + 1 + task.abstraction_length + 1 + task.solution_length
    assert places(TINY.rl.game, task) == 2 * (2 * proposal + 3 * 2 * solution)
