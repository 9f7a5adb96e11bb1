"""Sampling: on the right side of the partition, and uniform on it."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.tasks import SPLITS, RuleInductionConfig, apply_rule, rule_table, sample
from jaxreason.tasks.rule_induction import instance_residue

HARD = RuleInductionConfig(
    primitives=("reverse", "rotate 1", "add 3", "repeat", "keep even"), max_steps=3, num_examples=3
)
SMALL = RuleInductionConfig(primitives=("reverse",), max_steps=1, list_length=2, num_examples=1)


def draw(config, count, split, seed=0):
    keys = jax.random.split(jax.random.key(seed), count)
    return jax.jit(jax.vmap(partial(sample, config, split=split)))(keys)


def residues(config, problems):
    digits = problems.inputs.digits[..., : config.list_length]
    return np.asarray(jax.vmap(instance_residue)(digits))


def assert_uniform(counts):
    """Chi-square: its mean is the degrees of freedom, its variance twice that."""
    expected = counts.sum() / counts.size
    freedom = max(counts.size - 1, 1)
    assert np.square(counts - expected).sum() / expected < freedom + 4 * np.sqrt(2 * freedom) + 4


@pytest.mark.parametrize("config", [RuleInductionConfig(), HARD, SMALL])
@pytest.mark.parametrize("split", ["train", "new_instances"])
def test_instances_are_on_their_side(config, split):
    values = residues(config, draw(config, 500, split))
    assert (values > 0).all() if split == "train" else (values == 0).all()


def test_new_compositions():
    problems = draw(HARD, 500, "new_compositions")
    assert (residues(HARD, problems) == 0).all()
    held_out = {tuple(rule) for rule in rule_table(HARD).new_compositions.tolist()}
    assert {tuple(rule) for rule in problems.rule.tolist()} <= held_out


@pytest.mark.parametrize("split", ["train", "new_instances"])
def test_instances_are_uniform(split):
    """Of the 10,000 instances of four digits one in ten is held out."""
    problems = draw(SMALL, 60_000, split)
    code = np.asarray(problems.inputs.digits).reshape(-1, 4) @ [1000, 100, 10, 1]
    every = jnp.array(list(itertools.product(range(10), repeat=4)))
    side = np.asarray(jax.vmap(instance_residue)(every.reshape(-1, 2, 2))) > 0
    side = side if split == "train" else ~side
    counts = np.bincount(code, minlength=10_000)
    assert side.sum() == (9000 if split == "train" else 1000)
    assert (counts[~side] == 0).all()
    assert_uniform(counts[side])


@pytest.mark.parametrize("split", SPLITS)
def test_steps_and_rules_of_as_many_steps_are_uniform(split):
    config = RuleInductionConfig()
    rules, counts = np.unique(draw(config, 20_000, split).rule, axis=0, return_counts=True)
    table = rule_table(config)
    part = table.new_compositions if split == "new_compositions" else table.train
    assert sorted(rules.tolist()) == sorted(part.tolist())
    steps = (rules >= 0).sum(1)
    by_steps = [counts[steps == number] for number in np.unique(steps)]
    assert len(by_steps) == (1 if split == "new_compositions" else 2)
    assert_uniform(np.array([group.sum() for group in by_steps]))
    for group in by_steps:
        assert_uniform(group)


def test_outputs_and_trace_follow_from_the_rule():
    problems = draw(HARD, 100, "train")
    apply = jax.vmap(jax.vmap(partial(apply_rule, HARD.primitives), (None, 0)))
    steps = apply(problems.rule, problems.inputs)
    for name in ("digits", "length"):
        every = np.asarray(getattr(steps, name))
        np.testing.assert_array_equal(getattr(problems.outputs, name), every[:, :, -1])
        np.testing.assert_array_equal(getattr(problems.trace, name), every[:, -1])
    answers, queries = jax.vmap(lambda problem: (problem.answer, problem.query))(problems)
    np.testing.assert_array_equal(answers.digits, problems.trace.digits[:, -1])
    np.testing.assert_array_equal(queries.digits, problems.inputs.digits[:, -1])
    assert (np.asarray(problems.inputs.length) == HARD.list_length).all()


def test_residue():
    """From the right the weights are 1, 3, 7, 9, 1, ...: all have an inverse modulo 10."""
    assert int(instance_residue(jnp.array([[2, 1, 1, 1, 1]]))) == (2 + 9 + 7 + 3 + 1) % 10
    changed = jax.vmap(lambda last: instance_residue(jnp.array([[5, 0]]).at[0, 1].set(last)))
    assert sorted(changed(jnp.arange(10)).tolist()) == list(range(10))


def test_residue_does_not_depend_on_the_order_of_lists():
    lists = jax.random.randint(jax.random.key(0), (4, 3), 0, 10)
    assert int(instance_residue(lists)) == int(instance_residue(lists[::-1]))


def test_depends_on_the_key_alone():
    """Not on the batch around it, nor on `jit`."""
    one, batch = (
        sample(SMALL, jax.random.split(jax.random.key(3), 8)[5]),
        draw(SMALL, 8, "train", 3),
    )
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[5]), one, batch)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"primitives": ("reverse", "invert")}, "primitives .'invert'. are unknown; the known"),
        ({"primitives": ("sort", "sort")}, "primitives must be one or more distinct names"),
        ({"primitives": ()}, "primitives must be one or more distinct names"),
        ({"max_steps": 0}, "max_steps must be 1, 2 or 3; got 0"),
        ({"max_steps": 4}, "max_steps must be 1, 2 or 3; got 4"),
        ({"list_length": 1}, "list_length must be 2 or more; got 1"),
        ({"num_examples": 0}, "num_examples must be 1 or more; got 0"),
        ({"held_out": 1.0}, r"held_out must be in \[0, 1\); got 1.0"),
        ({"held_out": -0.1}, r"held_out must be in \[0, 1\); got -0.1"),
        ({"held_out": float("nan")}, r"held_out must be in \[0, 1\); got nan"),
    ],
)
def test_bad_configs_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        RuleInductionConfig(**settings)


def test_bad_splits_are_refused():
    with pytest.raises(ValueError, match="split must be one of .*; got 'test'"):
        sample(SMALL, jax.random.key(0), "test")
    with pytest.raises(ValueError, match="new_compositions has no rules: raise held_out"):
        sample(SMALL, jax.random.key(0), "new_compositions")
