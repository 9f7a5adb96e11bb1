"""Results in blocks of questions are those of all questions at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.voting import blocks
from jaxreason.voting.agreement import pairwise_agreement
from jaxreason.voting.blocks import map_blocks, questions_per_block, sum_blocks
from jaxreason.voting.low_rank import fit_accuracies_by_conditionals, ow_i, ow_l
from jaxreason.voting.majority import majority
from jaxreason.voting.second_order import isp, pairwise_conditionals, sp
from jaxreason.voting.wawa import wawa
from jaxreason.voting.weighted import confidence_weighted, ow

QUESTIONS, AGENTS = 23, 4
ACCURACIES = jnp.array([0.6, 0.7, 0.8, 0.9])
ANSWERS = jax.random.randint(jax.random.key(0), (QUESTIONS, AGENTS), -1, 3)
RULES = {
    "majority": majority,
    "wawa": wawa,
    "ow": lambda answers, num_options, **settings: ow(answers, num_options, ACCURACIES, **settings),
    "ow by category": lambda answers, num_options, **settings: ow(
        answers,
        num_options,
        jnp.stack([ACCURACIES, 1 - ACCURACIES], axis=1),
        categories=jnp.arange(QUESTIONS) % 2,
        **settings,
    ),
    "confidence": lambda answers, num_options, **settings: confidence_weighted(
        answers, num_options, jnp.arange(92.0).reshape(QUESTIONS, AGENTS) % 5, **settings
    ),
    "sp": sp,
    "isp": isp,
    "ow_l": ow_l,
    "ow_i": ow_i,
    "ow_i to a fixed point": lambda answers, num_options, **settings: ow_i(
        answers, num_options, max_iterations=100, **settings
    ),
}


@given(questions=st.integers(1, 9), block=st.integers(1, 10))
def test_map_blocks_joins_rows(questions, block):
    numbers = jnp.arange(questions * 2).reshape(questions, 2)
    flags = jnp.arange(questions) % 2 == 0
    doubled, masked = map_blocks(
        lambda numbers, flags: (2 * numbers, jnp.where(flags, 1.0, 0.0)),
        numbers,
        flags,
        block=block,
    )
    np.testing.assert_array_equal(doubled, 2 * numbers)
    np.testing.assert_array_equal(masked, np.arange(questions) % 2 == 0)


@given(questions=st.integers(0, 9), block=st.integers(1, 10))
def test_sum_blocks_fills_up_with_what_does_not_count(questions, block):
    """The filler is -1, False and 0: an abstention, no option, no weight."""
    answers = jnp.arange(questions)
    exists = jnp.ones((questions, 2), bool)
    weights = jnp.full(questions, 0.5)
    counted, existing, weight = sum_blocks(
        lambda *rows: (jnp.sum(rows[0] >= 0), jnp.sum(rows[1], axis=0), jnp.sum(rows[2])),
        answers,
        exists,
        weights,
        block=block,
    )
    assert (int(counted), existing.tolist()) == (questions, [questions] * 2)
    assert float(weight) == questions / 2


def test_block_sizes(monkeypatch):
    monkeypatch.setattr(blocks, "BALLOTS_PER_BLOCK", 100)
    assert questions_per_block(5, 4) == 5
    assert questions_per_block(7, 4) == 3
    assert questions_per_block(1000, 10) == 1
    assert questions_per_block(0, 0) == 100


@pytest.mark.parametrize("by_question", [False, True])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_rules_in_blocks(rule, by_question, monkeypatch):
    """Blocks of 5 questions (of 3 for tables of agent by agent), with a part of one left over."""
    settings, answers = {"num_options": 3}, ANSWERS
    if by_question:
        options = jnp.tile(jnp.array([2, 3, 3, 3]), 6)[:QUESTIONS]
        settings = {"num_options": options, "max_options": 3}
        answers = jnp.where(answers < options[:, None], answers, -1)
    whole = rule(answers, **settings)
    monkeypatch.setattr(blocks, "BALLOTS_PER_BLOCK", 5 * AGENTS * 3)
    assert questions_per_block(AGENTS, 3) == 5
    in_blocks = rule(answers, **settings)
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4),
        in_blocks,
        whole,
    )
    np.testing.assert_array_equal(in_blocks.answers, whole.answers)


@pytest.mark.parametrize("block", [1, 7, 22, 23])
def test_statistics_in_blocks(block, monkeypatch):
    whole = pairwise_agreement(ANSWERS, 3), pairwise_conditionals(ANSWERS, 3)
    monkeypatch.setattr(blocks, "BALLOTS_PER_BLOCK", block * AGENTS * 3)
    in_blocks = pairwise_agreement(ANSWERS, 3), pairwise_conditionals(ANSWERS, 3)
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, atol=1e-6), in_blocks, whole
    )


def test_equation_7_in_blocks(monkeypatch):
    whole = fit_accuracies_by_conditionals(ANSWERS, 3)
    monkeypatch.setattr(blocks, "BALLOTS_PER_BLOCK", 5 * AGENTS * 3)
    np.testing.assert_allclose(fit_accuracies_by_conditionals(ANSWERS, 3), whole, atol=1e-4)


def test_no_block_holds_more_than_the_limit(monkeypatch):
    """The one-hot ballots of 1000 questions never exist at once in the compiled programs."""
    monkeypatch.setattr(blocks, "BALLOTS_PER_BLOCK", 10 * AGENTS * 3)
    answers = jax.ShapeDtypeStruct((1000, AGENTS), jnp.int32)
    num_options = jax.ShapeDtypeStruct((1000,), jnp.int32)
    for rule in (majority, isp, sp, ow_l, ow_i, wawa):
        text = str(
            jax.make_jaxpr(lambda a, k, rule=rule: rule(a, k, max_options=3))(answers, num_options)
        )
        assert f"[1000,{AGENTS},3]" not in text
        assert f"[10,{AGENTS},3]" in text
