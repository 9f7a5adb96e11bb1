"""Prompts of text problems, put together from tokens."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from jaxreason.tasks import Sequence, TextProblem, make_text_task

STOP, MARK = 2, 3


def rows(*texts, width):
    """Token rows, padded on the left."""
    tokens = jnp.array([[0] * (width - len(text)) + list(text) for text in texts])
    mask = jnp.array([[False] * (width - len(text)) + [True] * len(text) for text in texts])
    return Sequence(tokens, mask)


POOL = TextProblem(
    row=jnp.array([0, 1]),
    propose=rows([10], [11, 12], width=3),
    before=rows([20, 21], [22], width=2),
    after=rows([30], [30], width=1),
    bare=rows([20, 31], [22, 31, 32, 33, 34, 35, 36, 37], width=8),
)
WITHHELD = jax.tree.map(lambda leaf: leaf[0], (rows([40], width=1), rows([41, 42], width=2)))
TASK = make_text_task(
    POOL, WITHHELD, stops=(STOP,), silent=(MARK,), abstraction_length=4, solution_length=8
)
HINT = Sequence(jnp.array([50, MARK, 51, STOP]), jnp.ones(4, bool))


def words(sequence):
    return sequence.tokens[sequence.mask].tolist()


def problem(row):
    return jax.tree.map(lambda leaf: leaf[row], POOL)


@pytest.mark.parametrize(
    ("row", "propose", "hinted", "bare"),
    [
        (0, [10], [20, 21, 50, 51, 30], [20, 31]),
        (1, [11, 12], [22, 50, 51, 30], [22, 31, 32, 33, 34, 35, 36, 37]),
    ],
)
def test_prompts_are_their_pieces(row, propose, hinted, bare):
    """Neither what ends an abstraction nor a token without text is passed on."""
    given = TASK.solution_prompt(problem(row), HINT, jnp.array(False))
    alone = TASK.solution_prompt(problem(row), HINT, jnp.array(True))
    assert words(TASK.abstraction_prompt(problem(row))) == propose
    assert words(given) == hinted and words(alone) == bare
    assert given.tokens.shape == alone.tokens.shape == (8,)


def test_the_wider_prompt_sets_the_width():
    narrow = dataclasses.replace(problem(0), bare=Sequence(jnp.array([60]), jnp.ones(1, bool)))
    given, alone = (TASK.solution_prompt(narrow, HINT, jnp.array(bare)) for bare in (False, True))
    assert given.tokens.shape == alone.tokens.shape == (7,)
    assert words(alone) == [60] and words(given) == [20, 21, 50, 51, 30]


def test_an_abstraction_of_nothing_is_passed_on_as_nothing():
    empty = Sequence(jnp.full(4, STOP), jnp.array([True, False, False, False]))
    assert words(TASK.solution_prompt(problem(0), empty, jnp.array(False))) == [20, 21, 30]


def test_a_withheld_problem_leaves_the_abstraction():
    assert words(TASK.withheld_prompt(HINT)) == [40, 50, 51, 41, 42]


def test_every_problem_of_the_pool_is_drawn():
    keys = jax.random.split(jax.random.key(0), 32)
    drawn = jax.jit(jax.vmap(lambda key: TASK.sample(key, "train")))(keys)
    assert set(drawn.row.tolist()) == {0, 1}
    assert (drawn.before.tokens == POOL.before.tokens[drawn.row]).all()


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="one split, 'train'; got 'new_instances'"):
        TASK.sample(jax.random.key(0), "new_instances")
    empty = jax.tree.map(lambda leaf: leaf[:0], POOL)
    with pytest.raises(ValueError, match="the pool must hold one problem or more"):
        make_text_task(empty, WITHHELD, stops=(2,), abstraction_length=4, solution_length=8)
