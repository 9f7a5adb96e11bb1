import pytest

from jaxreason.rlad import GameConfig


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"problems": 0}, "problems must be 1 or more; got 0"),
        ({"abstractions": -1}, "abstractions must be 0 or more; got -1"),
        ({"abstractions": 0}, "all prompts are bare: set mask_bare to False"),
        ({"abstractions": 0, "bare": 0}, "there is nothing to solve"),
        ({"solutions": 0}, "solutions must be 1 or more; got 0"),
        ({"minibatches": 0}, "minibatches must be 1 or more; got 0"),
        ({"bare": -1}, "bare must be 0 or more; got -1"),
        ({"temperature": 0.0}, "temperature must be above 0; got 0.0"),
        ({"abstraction_estimator": "ppo"}, "abstraction_estimator must be in .*; got 'ppo'"),
        ({"solution_estimator": "dpo"}, "solution_estimator must be in .*; got 'dpo'"),
        ({"solution_group": "batch"}, "solution_group must be in .*; got 'batch'"),
        ({"solutions": 1}, "has nothing to be compared with: set solution_group to 'problem'"),
        ({"problems": 10, "minibatches": 4}, "minibatches must divide problems; got 4 for 10"),
        ({"microbatches": 0}, "microbatches must be 1 or more; got 0"),
        (
            {"problems": 8, "minibatches": 2, "microbatches": 3},
            "microbatches must divide the problems of an update; got 3 for 4",
        ),
        ({"turn": 0}, "turn must be 1 or more; got 0"),
        ({"leak_rule": "hide"}, "leak_rule must be in .*; got 'hide'"),
        ({"kl": "k1"}, "kl must be in .*; got 'k1': k1 has no gradient in a loss"),
        ({"surrogate": "ppo"}, "surrogate must be in .*; got 'ppo'"),
        ({"surrogate": "gspo"}, "set aggregation to 'sequence'; got 'token'"),
        ({"surrogate": "cispo", "dual_clip": 3.0}, "dual_clip is for the surrogate clip; got 3.0"),
        ({"abstraction_update": "ppo"}, "abstraction_update must be in .*; got 'ppo'"),
        ({"abstraction_update": "rft", "bare": 0}, "rft keeps abstractions that beat solving"),
        ({"abstraction_update": "frozen", "solution_update": "frozen"}, "both players are frozen"),
        ({"shared": True, "abstraction_update": "rft"}, "a shared model learns both parts at once"),
        ({"shared": True, "schedule": "alternating"}, "can't take turns with itself"),
        ({"solution_update": "frozen", "schedule": "alternating"}, "needs two players that learn"),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_bad_configs_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        GameConfig(**settings)


def test_one_solution_each_is_compared_within_its_problem():
    assert GameConfig(solutions=1, solution_group="problem").solutions == 1


def test_neighbours_of_the_game_are_points_of_its_space():
    """As the class's docstring names them."""
    joint = {"shared": True, "solutions": 1, "bare": 0, "solution_group": "problem"}
    GameConfig(**joint, abstraction_estimator="grpo", solution_estimator="grpo")
    GameConfig(shared=True, bare=0, solution_group="problem", abstraction_estimator="grpo")
    GameConfig(abstractions=0, bare=1, mask_bare=False)
    GameConfig(surrogate="gspo", aggregation="sequence")
    GameConfig(surrogate="cispo", clip_low=1.0, clip_high=4.0)
    GameConfig(solutions=1, solution_estimator="reinforce++", kl_in_reward=True)
