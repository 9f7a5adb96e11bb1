"""Rules are told apart as functions, here by trying every list there is."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.tasks import PRIMITIVES, DigitList, RuleInductionConfig, apply_rule, rule_table
from jaxreason.tasks.rules import probe_lists, same_function

CONFIGS = {
    "default": RuleInductionConfig(),
    "all primitives": RuleInductionConfig(primitives=tuple(PRIMITIVES), held_out=0.3),
    "three steps": RuleInductionConfig(
        primitives=("reverse", "rotate 1", "take 2", "repeat", "keep even", "add 3"), max_steps=3
    ),
    "pairs of digits": RuleInductionConfig(
        primitives=("swap", "reverse", "sort", "flip"), list_length=2, held_out=0.5
    ),
}
by_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def all_lists(config):
    digits = np.array(list(itertools.product(range(10), repeat=config.list_length)), np.int32)
    digits = np.pad(digits, ((0, 0), (0, config.width - config.list_length)))
    return DigitList(jnp.asarray(digits), jnp.full(len(digits), config.list_length, jnp.int32))


def functions(config, rules):
    """Returns, for each rule, its results on every list as one hashable value."""

    @jax.jit
    def results(rules):
        apply = partial(apply_rule, config.primitives)
        every = jax.vmap(jax.vmap(apply, (None, 0)), (0, None))(rules, all_lists(config))
        return jnp.concatenate([every.digits[:, :, -1], every.length[:, :, -1:]], axis=-1)

    return [result.tobytes() for result in np.asarray(results(jnp.asarray(rules)))]


def all_rules(config):
    names = range(len(config.primitives))
    return np.array(
        [
            [*rule, *[-1] * (config.max_steps - len(rule))]
            for steps in range(1, config.max_steps + 1)
            for rule in itertools.product(names, repeat=steps)
        ],
        np.int32,
    )


@by_config
def test_splits_share_no_function(config):
    table = rule_table(config)
    train, held_out = (functions(config, part) for part in (table.train, table.new_compositions))
    assert not set(train) & set(held_out)
    assert len(set(train)) == len(train) and len(set(held_out)) == len(held_out)


@by_config
def test_table_holds_every_function_but_the_identity(config):
    """So the probe lists tell all of them apart."""
    table = rule_table(config)
    rules = np.concatenate([table.train, table.new_compositions])
    (identity,) = functions(config, np.full((1, config.max_steps), -1, np.int32))
    assert set(functions(config, rules)) == set(functions(config, all_rules(config))) - {identity}


@by_config
def test_share_and_length_of_held_out_rules(config):
    table = rule_table(config)
    steps = [(np.asarray(part) >= 0).sum(1) for part in (table.train, table.new_compositions)]
    longer = (steps[0] >= 2).sum() + len(steps[1])
    assert (steps[1] >= 2).all()
    assert len(steps[1]) == round(config.held_out * longer) > 0


def test_shortest_rule_stands_for_its_function():
    """Reversing twice changes nothing, so of reverse and sort three functions remain."""
    config = RuleInductionConfig(primitives=("reverse", "sort"), held_out=0.0)
    table = rule_table(config)
    assert table.train.tolist() == [[0, -1], [1, -1], [1, 0]]
    assert table.new_compositions.shape == (0, 2)


def test_seed_chooses_what_is_held_out():
    tables = [rule_table(RuleInductionConfig(seed=seed)) for seed in (0, 0, 1)]
    held_out = [np.asarray(table.new_compositions).tolist() for table in tables]
    assert held_out[0] == held_out[1] != held_out[2]


def test_table_is_the_same_under_jit():
    config = CONFIGS["pairs of digits"]

    @jax.jit
    def program(offset):
        table = rule_table(config)
        return table.train + offset

    assert program(0).tolist() == rule_table(config).train.tolist()


def test_same_function():
    probes = probe_lists(3, 6)
    names = ("reverse", "add 1", "take 2", "repeat")
    same = jax.jit(lambda left, right: same_function(names, left, right, probes))
    assert same(jnp.array([0, 1]), jnp.array([1, 0]))
    assert same(jnp.array([0, 0]), jnp.array([-1, -1]))
    assert not same(jnp.array([0, 2]), jnp.array([2, 0]))
    assert not same(jnp.array([3, -1]), jnp.array([-1, -1]))
