"""The compiled iteration."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreason.optimizer import OptimizerConfig, make_optimizer, skipped_updates
from jaxreason.rlad import (
    GameConfig,
    Player,
    assign_credit,
    init_game,
    iterate,
    play,
    play_round,
)
from jaxreason.rollout import Sampling, completion_log_probs

CONFIG = GameConfig(problems=4, abstractions=3, solutions=2, bare=1)
SILENT = dataclasses.replace(CONFIG, kl_coef=0.0, entropy_coef=0.0)
KEYS = jax.random.split(jax.random.key(0), 4)

run = jax.jit(iterate, static_argnums=(0, 1, 2))


def changed(before, after):
    return any(
        bool((a != b).any())
        for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    )


def assert_equal(left, right, **tolerance):
    check = (
        partial(np.testing.assert_allclose, **tolerance)
        if tolerance
        else (np.testing.assert_array_equal)
    )
    jax.tree.map(check, left, right)


@pytest.fixture(scope="module")
def after(lottery, players, state):
    return run(CONFIG, lottery, players, state, KEYS)


def test_both_players_move_and_their_references_stay(state, after):
    new, metrics = after
    for old, player in ((state.abstraction, new.abstraction), (state.solution, new.solution)):
        assert changed(old.train.params, player.train.params)
        assert_equal(old.reference, player.reference)
    assert all(np.isfinite(value) for value in metrics.values())


def test_metrics(after):
    metrics = after[1]
    assert 0.2 < metrics["success/with_abstraction"] < 0.8
    assert metrics["success/best_abstraction"] >= metrics["success/with_abstraction"]
    for name in ("abstraction", "solution"):
        # At the first update the policy is the one that played and the one that KL refers to.
        np.testing.assert_allclose(metrics[f"{name}/ratio"], 1.0, atol=1e-5)
        np.testing.assert_allclose(metrics[f"{name}/kl"], 0.0, atol=1e-6)
        assert metrics[f"{name}/clip_fraction"] == 0
        assert metrics[f"{name}/gradient_norm"] > 0


def plain_gradient(task, player, state, prompts, rollout, advantages):
    """REINFORCE over the tokens of all samples, with the bonus for entropy, on unfolded arrays."""
    fold = lambda leaf: leaf.reshape(-1, leaf.shape[-1])  # noqa: E731
    prompts, rollout = jax.tree.map(fold, (prompts, rollout))
    weights = jnp.where(rollout.completion.mask, advantages.reshape(-1, 1), 0.0)

    def loss(params):
        scores = completion_log_probs(player.model, params, prompts, rollout.completion)
        mask = rollout.completion.mask
        bonus = jnp.where(mask, scores.entropy, 0.0).sum()
        return -((weights * scores.log_probs).sum() + 0.001 * bonus) / mask.sum(dtype=jnp.float32)

    return jax.jit(jax.grad(loss))(state.train.params)


@pytest.mark.parametrize("name", ["abstraction", "solution"])
def test_the_step_is_the_policy_gradient(lottery, players, state, after, name):
    """Played again by hand: with descent at rate 1, a step is minus the gradient."""
    both = jax.vmap(jax.random.split)(KEYS)
    problems = jax.vmap(lambda key: lottery.sample(key, "train"))(both[:, 0])
    models = (players[0].model, players[1].model)
    weights = (state.abstraction.train.params, state.solution.train.params)
    sizes = {"abstractions": 3, "solutions": 2, "bare": 1, "sampling": (Sampling(), Sampling())}
    played = jax.jit(lambda weights: play(lottery, models, weights, problems, both[:, 1], **sizes))(
        weights
    )
    credit = assign_credit(played.rewards, played.bare)
    arguments = {
        "abstraction": (
            played.abstraction_prompts,
            played.abstractions,
            credit.abstraction_advantages[:, :3],
        ),
        "solution": (played.solution_prompts, played.solutions, credit.solution_advantages),
    }[name]
    player = players[0 if name == "abstraction" else 1]
    old, new = getattr(state, name), getattr(after[0], name)
    gradient = plain_gradient(lottery, player, old, *arguments)
    expected = jax.tree.map(jnp.subtract, old.train.params, gradient)
    assert_equal(new.train.params, expected, atol=1e-6)
    assert max(float(abs(leaf).max()) for leaf in jax.tree.leaves(gradient)) > 1e-3


def test_equal_rewards_teach_nothing(task, players, params, model):
    """Without KL and entropy, and without decay, Adam leaves every parameter alone."""
    won = dataclasses.replace(task, reward=lambda problem, solution: jnp.array(1.0))
    adam = make_optimizer(OptimizerConfig(warmup_steps=0, weight_decay=0.0), 10)
    state = init_game((Player(model, adam),) * 2, *params)
    new, metrics = run(SILENT, won, (Player(model, adam),) * 2, state, KEYS)
    assert not changed(state.abstraction.train.params, new.abstraction.train.params)
    assert not changed(state.solution.train.params, new.solution.train.params)
    assert metrics["success/with_abstraction"] == 1 and metrics["abstraction/gradient_norm"] == 0
    assert metrics["abstraction/zero_variance"] == 1


def test_keys_decide(lottery, players, state, after):
    again, _ = run(CONFIG, lottery, players, state, KEYS)
    assert_equal(again, after[0])
    other, _ = run(CONFIG, lottery, players, state, jax.random.split(jax.random.key(1), 4))
    assert changed(other.solution.train.params, after[0].solution.train.params)


def test_seeds_side_by_side(lottery, players, state, after):
    """`vmap` over states and keys gives what each gives alone."""
    stack = lambda leaf: jnp.stack([leaf, 0.9 * leaf])  # noqa: E731
    states = jax.tree.map(stack, state)
    keys = jnp.stack([KEYS, jax.random.split(jax.random.key(1), 4)])
    both = jax.jit(jax.vmap(partial(iterate, CONFIG, lottery, players)))
    new, metrics = both(states, keys)
    first = jax.tree.map(lambda leaf: leaf[0], new)
    assert_equal(first, after[0], atol=1e-5)
    assert metrics["success/with_abstraction"].shape == (2,)


def test_minibatches_must_divide_the_problems(lottery, players, state):
    halves = dataclasses.replace(CONFIG, minibatches=2)
    with pytest.raises(ValueError, match="minibatches must divide the problems; got 2 for 3 keys"):
        iterate(halves, lottery, players, state, KEYS[:3])


@pytest.mark.parametrize("update", ["online", "rft"])
def test_microbatches_change_nothing_but_the_memory(lottery, players, state, update):
    """Sums and weights are added up before they are divided."""
    config = dataclasses.replace(CONFIG, minibatches=2, abstraction_update=update)
    (whole, measured), (cut, metrics) = (
        run(dataclasses.replace(config, microbatches=parts), lottery, players, state, KEYS)
        for parts in (1, 2)
    )
    assert changed(state.solution.train, cut.solution.train)
    assert_equal(whole, cut, atol=1e-5)
    assert_equal(measured, metrics, atol=1e-5)


def mute(task, **changes):
    """The task, when only texts can tell how a round went."""
    names = ("abstraction", "solution", "answer", "reward", "abstraction_is_right", "follows")
    return dataclasses.replace(task, **dict.fromkeys([*names, "leaks"]) | changes)


def test_what_a_task_can_not_tell_is_left_out_of_the_metrics(lottery, players, state, after):
    metrics = run(CONFIG, mute(lottery, reward=lottery.reward), players, state, KEYS)[1]
    told = {"abstraction/right", "abstraction/leak", "solution/adherence"}
    assert set(after[1]) - set(metrics) == told
    for name, value in metrics.items():
        np.testing.assert_allclose(value, after[1][name], atol=1e-6, err_msg=name)


def test_rewards_that_nobody_gave_are_no_numbers(lottery, players, state):
    start = jax.jit(play_round, static_argnums=(0, 1, 2))
    played, leaked = start(CONFIG, mute(lottery), players, state, KEYS)
    assert leaked is None and np.isnan(played.rewards).all()
    assert played.rewards.shape == (4, 4, 2)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, "reward"),
        ({"leak_rule": "drop"}, "leaks"),
        ({"leak_rule": "penalise"}, "leaks"),
    ],
)
def test_what_a_task_must_tell_is_asked_for(lottery, players, state, changes, missing):
    config = dataclasses.replace(CONFIG, **changes)
    task = mute(lottery, **({"reward": lottery.reward} if missing == "leaks" else {}))
    with pytest.raises(ValueError, match=f"the task must state `{missing}` for this"):
        jax.eval_shape(partial(iterate, config, task, players), state, KEYS)


def test_iterations_learn_and_compile_once(lottery, params, model, compilations):
    """Thirty iterations of two updates each, with donated state, find out what wins."""
    adam = make_optimizer(OptimizerConfig(learning_rate=0.03, warmup_steps=0), 60)
    pair = (Player(model, adam),) * 2
    config = dataclasses.replace(CONFIG, minibatches=2, solution_group="problem")
    step = jax.jit(partial(iterate, config, lottery, pair), donate_argnums=0)
    keys = list(jax.random.split(jax.random.key(2), (30, 4)))
    state = init_game(pair, *jax.tree.map(jnp.copy, params))
    success = []
    for index, key in enumerate(keys):
        state, metrics = step(state, key)
        success.append(float(metrics["success/with_abstraction"]))
        if index == 1:
            compiled = len(compilations)
    assert len(compilations) == compiled
    assert np.mean(success[:5]) < 0.75 < 0.9 < np.mean(success[-5:])
    for player in (state.abstraction, state.solution):
        inner = optax.tree.get(player.train.opt_state, "ScaleByAdamState")
        assert int(inner.count) == 60
        assert [int(count) for count in skipped_updates(player.train.opt_state)] == [0, 0]
