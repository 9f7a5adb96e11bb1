"""The world before the game: what documents hold, and which of their tokens are learned."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.studies.rlad_tiny import CONFIG
from jaxreason.model import init
from jaxreason.tasks import decode
from train.rlad import world
from train.rlad.world import (
    document,
    make_task,
    pretrain,
    teacher_abstraction,
    useful_documents,
    warm_up,
)

WORLD = CONFIG.world
TASK = make_task(WORLD)
KEYS = jax.random.split(jax.random.key(0), 64)


def texts(rows, mask):
    return decode(dataclasses.replace(rows, mask=mask))


def documents(world, part):
    return jax.jit(jax.vmap(lambda key: document(world, TASK, key, part)))(KEYS)


@pytest.mark.parametrize("part", ["both", "abstraction", "solution"])
def test_what_is_learned(part):
    """Nothing of the problem; the words and the tag that ends them; the solution to its end."""
    world = dataclasses.replace(WORLD, teacher_error=0.0, bare_share=0.0)
    rows, learned = documents(world, part)
    problems = jax.vmap(lambda key: TASK.sample(jax.random.split(key, 3)[0], "train"))(KEYS)
    said = texts(*_split(jax.vmap(TASK.abstraction)(problems)))
    done = texts(*_split(jax.vmap(TASK.solution)(problems)))
    expected = {
        "both": [a + b for a, b in zip(said, done, strict=True)],
        "abstraction": said,
        "solution": done,
    }[part]
    assert texts(rows, learned) == expected


def _split(sequence):
    return sequence, sequence.mask


def test_bare_documents_have_no_abstraction():
    world = dataclasses.replace(WORLD, bare_share=1.0)
    rows, learned = documents(world, "both")
    assert not any("<abstraction>" in text for text in texts(rows, rows.mask))
    assert all(text.startswith(" ") for text in texts(rows, learned))
    # The abstraction generator has nothing to learn from them, so it gets none.
    rows, _ = documents(world, "abstraction")
    assert all("<abstraction>" in text for text in texts(rows, rows.mask))


def test_the_teacher_errs_as_often_as_it_is_told():
    """An error may hit the right rule by chance; the share below is of wrong words."""
    keys = jax.random.split(jax.random.key(1), 600)
    problems = jax.vmap(lambda key: TASK.sample(key, "train"))(keys)
    for error in (0.0, 0.5):
        world = dataclasses.replace(WORLD, teacher_error=error)
        said = jax.vmap(partial(teacher_abstraction, world))(problems, keys)
        right = jax.vmap(TASK.abstraction_is_right)(problems, said).mean()
        rules = 9 if error else 1
        assert abs(float(right) - (1 - error * (1 - 1 / rules))) < 0.08


def test_training_lowers_the_loss():
    stage = dataclasses.replace(WORLD.base, steps=120, documents=16)
    train = partial(warm_up, WORLD, stage, WORLD.model, part="both")
    params = init(WORLD.model, jax.random.key(0))
    _, losses = jax.jit(lambda params, key: train(params, key))(params, jax.random.key(1))
    assert losses[-5:].mean() < 0.8 * losses[:2].mean()


def test_seeds_side_by_side_are_seeds_alone():
    keys = jax.random.split(jax.random.key(2), 2)
    train = partial(pretrain, WORLD, WORLD.model)
    together = jax.jit(jax.vmap(train))(keys)
    alone = jax.jit(train)(keys[1])
    check = partial(np.testing.assert_allclose, atol=2e-4)
    jax.tree.map(lambda a, b: check(a[1], b), together, alone)


@pytest.mark.parametrize("useful", [True, False])
def test_the_filter_keeps_what_raises_success(useful, monkeypatch):
    """Every third document, by a stand-in for the judge; all of them if none is useful."""

    def judge(task, model, params, problems, abstractions, keys, **_):
        return ((jnp.arange(len(keys)) % 3 == 0) & useful)[:, None]

    monkeypatch.setattr(world, "raises_success", judge)
    params = init(WORLD.model, jax.random.key(0))
    keys, weights = useful_documents(WORLD, WORLD.model, params, jax.random.key(3))
    expected = np.where((np.arange(len(keys)) % 3 == 0) | (not useful), 0.0, -np.inf)
    np.testing.assert_array_equal(weights, expected)
