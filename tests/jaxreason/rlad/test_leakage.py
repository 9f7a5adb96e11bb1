"""Leaks: by the characters of a text, and by what a solver makes of an abstraction alone."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.rlad import find_leaks, spells_answer
from jaxreason.sequences import Sequence


@pytest.mark.parametrize(
    ("abstraction", "answer", "leaks"),
    [
        ("the answer is 42", "42", False),  # too short to tell
        ("there are 1000 cases", "100", False),
        ("so it gives 2025.", "2025", True),
        ("so it gives 2025.", " 20 25 ", True),
        ("x = 1 + \\sqrt{2} holds", "1+\\sqrt{2}", True),
        ("use the root of 2", "1+\\sqrt{2}", False),
        ("call it abcd", "abc", False),
        ("call it abc", "abc", True),
        ("", "2025", False),
        ("anything", "", False),
    ],
)
def test_golden_strings(abstraction, answer, leaks):
    assert spells_answer(abstraction, answer) == leaks


@pytest.mark.parametrize(
    ("abstraction", "leaks"), [("it is 42.", True), ("1420 in all", False), ("it is 4 2", False)]
)
def test_short_answers_can_be_looked_for(abstraction, leaks):
    assert spells_answer(abstraction, "42", shortest=1) == leaks
    assert not spells_answer(abstraction, "42")


@pytest.fixture(scope="module")
def given(task):
    keys = jax.random.split(jax.random.key(0), 3)
    problems = jax.vmap(lambda key: task.sample(key, "train"))(keys)
    right = jax.vmap(task.abstraction)(problems)
    return keys, problems, jax.tree.map(lambda leaf: jnp.stack([leaf, leaf], axis=1), right)


def leaks_of(task, model, params, given, samples=2):
    keys, problems, abstractions = given
    find = partial(find_leaks, task, model, samples=samples)
    return jax.jit(find)(params[0], problems, abstractions, keys)


def test_one_right_sample_is_a_leak(task, model, params, given):
    """Rewards decide: all right, none right, and right where the first token is below 20."""
    for reward, expected in ((1.0, True), (0.0, False)):
        rigged = dataclasses.replace(task, reward=lambda *_, reward=reward: jnp.array(reward))
        assert (leaks_of(rigged, model, params, given) == expected).all()
    lucky = dataclasses.replace(
        task, reward=lambda problem, solution: (solution.tokens[0] < 3).astype(jnp.float32)
    )
    few, many = (leaks_of(lucky, model, params, given, samples=n).mean() for n in (1, 32))
    assert few < many


def test_a_task_without_a_reward_finds_nothing_and_says_so(task, model, params, given):
    with pytest.raises(ValueError, match="the task must state `reward`"):
        leaks_of(dataclasses.replace(task, reward=None), model, params, given)


def test_the_problem_is_withheld(task, model, params, given):
    """Other problems with the same abstractions give the same solutions."""
    keys, _, abstractions = given
    seen = dataclasses.replace(
        task, reward=lambda problem, solution: (solution.tokens[0] < 20).astype(jnp.float32)
    )
    others = jax.vmap(lambda key: task.sample(key, "new_instances"))(keys)
    first = leaks_of(seen, model, params, given, samples=1)
    second = leaks_of(seen, model, params, (keys, others, abstractions), samples=1)
    np.testing.assert_array_equal(first, second)


@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_arguments_are_refused(task, model, params, given):
    with pytest.raises(ValueError, match="samples must be 1 or more; got 0"):
        leaks_of(task, model, params, given, samples=0)
    flat = Sequence(jnp.zeros((3, 2), int), jnp.ones((3, 2), bool))
    with pytest.raises(ValueError, match="abstractions must have shape"):
        leaks_of(task, model, params, (given[0], given[1], flat))
