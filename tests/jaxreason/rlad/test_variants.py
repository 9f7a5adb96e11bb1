"""The neighbours of the game: each does what it is the name of."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreason.model import ModelConfig, init
from jaxreason.policy_gradient import clipped_surrogate, grpo
from jaxreason.rlad import GameConfig, Player, init_game, iterate, learn, play, play_round
from jaxreason.rlad.iteration import PARTS, judge
from jaxreason.rollout import Sampling, completion_log_probs

COUNT = 4
KEYS = jax.random.split(jax.random.key(0), COUNT)
GAME = GameConfig(problems=COUNT, abstractions=3, solutions=2, bare=1)
SILENT = {"kl_coef": 0.0, "entropy_coef": 0.0}

PLAYED = ("abstractions", "solutions", "bare", "shared", "leak_samples", "solution_group")
"""What a round depends on; a variant that changes nothing of it compiles no rollout again."""

play_once = jax.jit(play_round, static_argnums=(0, 1, 2))
learn_once = jax.jit(learn, static_argnums=(0, 1, 2), static_argnames="learners")


def run(config, task, players, state, keys, learners=PARTS):
    """One iteration, as its two halves; `test_iteration` has them in one program."""
    names = PLAYED if config.abstractions else (*PLAYED, "mask_bare")
    sizes = dataclasses.replace(GAME, **{name: getattr(config, name) for name in names})
    played, leaked = play_once(sizes, task, players, state, keys)
    return learn_once(config, task, players, state, played, leaked=leaked, learners=learners)


def difference(before, after):
    """The largest change of any parameter."""
    leaves = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    return max(float(abs(a - b).max()) for a, b in leaves)


def game(**changes):
    return dataclasses.replace(GAME, **changes)


@pytest.fixture(scope="module")
def alone(players, params):
    return init_game(players, None, params[1])


def test_one_policy_is_grpo_exactly(lottery, players, params, alone):
    """A step of descent at rate 1 is minus the gradient of GRPO's loss, written out here."""
    config = game(abstractions=0, bare=1, solutions=4, mask_bare=False, **SILENT)
    new, metrics = run(config, lottery, players, alone, KEYS)
    both = jax.vmap(jax.random.split)(KEYS)
    problems = jax.vmap(lambda key: lottery.sample(key, "train"))(both[:, 0])
    models = (players[1].model,) * 2
    played = jax.jit(
        lambda weights: play(
            lottery,
            models,
            (weights, weights),
            problems,
            both[:, 1],
            abstractions=0,
            solutions=4,
            bare=1,
            sampling=(Sampling(), Sampling()),
        )
    )(params[1])
    fold = lambda leaf: leaf.reshape(-1, leaf.shape[-1])  # noqa: E731
    prompts, rollout = jax.tree.map(fold, (played.solution_prompts, played.solutions))
    advantages = grpo(played.rewards[:, 0]).reshape(-1)

    def loss(weights):
        completion = rollout.completion
        scores = completion_log_probs(players[1].model, weights, prompts, completion)
        return clipped_surrogate(
            scores.log_probs, rollout.log_probs, advantages, completion.mask
        ).mean()

    gradient = jax.jit(jax.grad(loss))(params[1])
    expected = jax.tree.map(jnp.subtract, params[1], gradient)
    check = partial(np.testing.assert_allclose, atol=1e-6)
    jax.tree.map(check, new.solution.train.params, expected)
    assert optax.tree.norm(gradient) > 1e-3
    assert new.abstraction is None and "success/with_abstraction" not in metrics


def test_one_abstraction_and_no_bare_prompts_is_grpo_of_the_solver(lottery, players, state):
    """The solver's step with m = 1 is that of GRPO on the prompts that hold the abstraction."""
    config = game(abstractions=1, bare=0, solutions=4, **SILENT)
    new, _ = run(config, lottery, players, state, KEYS)
    played, _ = play_once(config, lottery, players, state, KEYS)
    fold = lambda leaf: leaf.reshape(-1, leaf.shape[-1])  # noqa: E731
    prompts, rollout = jax.tree.map(fold, (played.solution_prompts, played.solutions))
    advantages = grpo(played.rewards[:, 0]).reshape(-1)
    old = state.solution.train.params

    def loss(weights):
        completion = rollout.completion
        scores = completion_log_probs(players[1].model, weights, prompts, completion)
        return clipped_surrogate(
            scores.log_probs, rollout.log_probs, advantages, completion.mask
        ).mean()

    gradient = jax.jit(jax.grad(loss))(old)
    expected = jax.tree.map(jnp.subtract, old, gradient)
    check = partial(np.testing.assert_allclose, atol=1e-6)
    jax.tree.map(check, new.solution.train.params, expected)
    # One abstraction has nothing to be compared with.
    assert difference(state.abstraction.train.params, new.abstraction.train.params) == 0


@pytest.mark.parametrize("frozen", ["abstraction", "solution"])
def test_a_frozen_partner_stays_as_it_is(lottery, players, state, frozen):
    new, metrics = run(game(**{f"{frozen}_update": "frozen"}), lottery, players, state, KEYS)
    other = {"abstraction": "solution", "solution": "abstraction"}[frozen]
    for name, moved in ((frozen, False), (other, True)):
        before, after = (getattr(each, name).train.params for each in (state, new))
        assert (difference(before, after) > 0) == moved
    assert f"{frozen}/loss" not in metrics and f"{other}/loss" in metrics


def test_learners_are_those_of_both_players_together(lottery, players, state):
    """Who learns does not change what is played: turn by turn from one state gives both steps."""
    both, _ = run(GAME, lottery, players, state, KEYS)
    for name in ("abstraction", "solution"):
        one, _ = run(GAME, lottery, players, state, KEYS, learners=(name,))
        jax.tree.map(np.testing.assert_array_equal, getattr(one, name), getattr(both, name))


def test_a_shared_model_gets_both_gradients(lottery, players, params, alone):
    """Its step is the weighted mean of the steps that two copies of it would make."""
    shared = game(shared=True, aggregation="sequence")
    new, metrics = run(shared, lottery, players, alone, KEYS)
    twins = init_game(players, params[1], params[1])
    apart, _ = run(game(aggregation="sequence"), lottery, players, twins, KEYS)
    # Twelve abstractions and 4 x 4 x 2 solutions, each sequence counting the same.
    weights = (12 / 44, 32 / 44)
    expected = jax.tree.map(
        lambda a, b: weights[0] * a + weights[1] * b,
        apart.abstraction.train.params,
        apart.solution.train.params,
    )
    check = partial(np.testing.assert_allclose, atol=1e-6)
    jax.tree.map(check, new.solution.train.params, expected)
    assert {"shared/loss", "abstraction/kl", "solution/kl"} <= set(metrics)


def test_a_joint_trajectory_has_one_advantage(lottery, players, alone):
    """With one solution each, abstraction and solution get the same advantage."""
    config = game(
        shared=True,
        solutions=1,
        bare=0,
        solution_group="problem",
        abstraction_estimator="grpo",
    )
    played, _ = play_once(config, lottery, players, alone, KEYS)
    credit, _ = judge(config, lottery, played)
    np.testing.assert_array_equal(credit.abstraction_advantages, credit.solution_advantages[..., 0])
    assert credit.abstraction_advantages.any()


def test_players_of_two_sizes(lottery, params):
    small = ModelConfig(
        vocab_size=40, dim=8, num_layers=2, num_heads=2, num_kv_heads=2, hidden_dim=8
    )
    large = ModelConfig(
        vocab_size=40, dim=16, num_layers=1, num_heads=2, num_kv_heads=1, hidden_dim=16
    )
    pair = (Player(small, optax.sgd(1.0)), Player(large, optax.sgd(1.0)))
    start = init_game(pair, jax.jit(init, static_argnums=0)(small, jax.random.key(0)), params[1])
    new, metrics = run(GAME, lottery, pair, start, KEYS)
    assert difference(start.abstraction.train.params, new.abstraction.train.params) > 0
    assert all(np.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"surrogate": "gspo", "aggregation": "sequence", "kl": "k2"},
        {"surrogate": "cispo", "clip_high": 4.0, "overlong_buffer": 2, "leak_rule": "drop"},
        {
            "solution_estimator": "reinforce++",
            "kl_in_reward": True,
            "kl_coef": 0.1,
            "dual_clip": 3.0,
        },
        {
            "solution_estimator": "reinforce++-baseline",
            "leak_rule": "penalise",
            "leak_samples": 2,
            "abstraction_update": "preference",
        },
        {
            "solution_estimator": "reinforce",
            "aggregation": "constant",
            "dynamic_sampling": True,
            "mask_bare": False,
            "abstraction_update": "rft",
        },
    ],
    ids=str,
)
def test_every_setting_plays(lottery, players, state, changes):
    """Both players get finite steps, and the first update of a policy clips nothing."""
    new, metrics = run(game(**changes), lottery, players, state, KEYS)
    assert all(np.isfinite(value) for value in metrics.values())
    assert difference(state.solution.train.params, new.solution.train.params) > 0
    assert metrics["solution/clip_fraction"] == 0


def test_surrogates_agree_at_the_first_update(lottery, players, state):
    """Where the ratio is 1, PPO's clip, CISPO and REINFORCE have one gradient."""
    steps = [
        run(game(surrogate=name), lottery, players, state, KEYS)[0].solution.train.params
        for name in ("clip", "cispo", "policy_gradient")
    ]
    for other in steps[1:]:
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), steps[0], other)


def test_bare_prompts_keep_their_kl_when_masked(lottery, players, state):
    """Away from the reference, with all rewards equal, only KL is left: bare prompts feel it."""
    won = dataclasses.replace(lottery, reward=lambda problem, solution: jnp.array(1.0))
    away = dataclasses.replace(
        state,
        solution=dataclasses.replace(
            state.solution,
            reference=jax.tree.map(lambda leaf: 1.5 * leaf, state.solution.reference),
        ),
    )
    config = game(entropy_coef=0.0, kl_coef=1.0, dynamic_sampling=True)
    new, metrics = run(config, won, players, away, KEYS)
    assert metrics["solution/kl"] > 0
    assert difference(away.solution.train.params, new.solution.train.params) > 0
    # Abstractions have no spread, and dynamic sampling left none of them.
    assert difference(away.abstraction.train.params, new.abstraction.train.params) == 0


@pytest.mark.usefixtures("as_users_run_it")
def test_a_state_of_the_wrong_kind_is_refused(lottery, players, state, alone):
    for config, given in ((game(shared=True), state), (GAME, alone)):
        with pytest.raises(ValueError, match="must hold an abstraction generator exactly if"):
            iterate(config, lottery, players, given, KEYS)
