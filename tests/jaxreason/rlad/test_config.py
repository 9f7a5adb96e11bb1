import pytest

from jaxreason.rlad import GameConfig


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"problems": 0}, "problems must be 1 or more; got 0"),
        ({"abstractions": 0}, "abstractions must be 1 or more; got 0"),
        ({"solutions": 0}, "solutions must be 1 or more; got 0"),
        ({"minibatches": 0}, "minibatches must be 1 or more; got 0"),
        ({"bare": -1}, "bare must be 0 or more; got -1"),
        ({"temperature": 0.0}, "temperature must be above 0; got 0.0"),
        ({"abstraction_estimator": "ppo"}, "abstraction_estimator must be in .*; got 'ppo'"),
        ({"solution_estimator": "dpo"}, "solution_estimator must be in .*; got 'dpo'"),
        ({"solution_group": "batch"}, "solution_group must be in .*; got 'batch'"),
        ({"solutions": 1}, "has nothing to be compared with: set solution_group to 'problem'"),
        ({"problems": 10, "minibatches": 4}, "minibatches must divide problems; got 4 for 10"),
    ],
)
def test_bad_configs_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        GameConfig(**settings)


def test_one_solution_each_is_compared_within_its_problem():
    assert GameConfig(solutions=1, solution_group="problem").solutions == 1
