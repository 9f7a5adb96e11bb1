"""Whether a solution follows an abstraction, and whether an abstraction gives the answer away."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.tasks import (
    DigitList,
    RuleInductionConfig,
    Sequence,
    Vocabulary,
    decode,
    make_rule_induction,
)
from jaxreason.tasks.verification import holds_digits, parse_steps
from jaxreason.tasks.vocabulary import ABSTRACTION, ANSWER, SOLUTION

CONFIG = RuleInductionConfig(primitives=("reverse", "add 3", "sort"), max_steps=2)
VOCABULARY = Vocabulary()
TASK = make_rule_induction(CONFIG)
ID = VOCABULARY.id_of
REVERSE, ADD, SORT = (int(i) for i in VOCABULARY.primitive_ids(CONFIG.primitives))
TIME = 10

follows, leaks = jax.jit(TASK.follows), jax.jit(TASK.leaks)
hold = jax.jit(partial(holds_digits, VOCABULARY))


@pytest.fixture(scope="module")
def problems():
    keys = jax.random.split(jax.random.key(0), 16)
    return jax.jit(jax.vmap(lambda key: TASK.sample(key, "train")))(keys)


def row(*tokens):
    return Sequence(
        jnp.array([*tokens, *[0] * (TIME - len(tokens))]), jnp.arange(TIME) < len(tokens)
    )


def test_worked_solutions_follow_their_rule(problems):
    said, done = jax.vmap(TASK.abstraction)(problems), jax.vmap(TASK.solution)(problems)
    assert jax.vmap(TASK.follows)(said, done).all()
    other = jax.tree.map(lambda leaf: jnp.roll(leaf, 1, axis=0), said)
    same = jax.vmap(lambda a, b: (a.tokens == b.tokens).all())(said, other)
    assert (jax.vmap(TASK.follows)(other, done) == same).all()


@pytest.mark.parametrize(
    ("abstraction", "solution", "expected"),
    [
        ((SORT, ID(SOLUTION)), (SORT, ID("1"), ID(ANSWER), ID("1")), True),
        ((SORT,), (ID("1"), SORT), True),
        ((SORT,), (SORT, SORT), False),
        ((SORT,), (ADD,), False),
        ((SORT,), (ID(ANSWER), SORT), False),  # a step after the answer is none
        ((SORT,), (SORT, ADD, ADD), False),  # more steps than a rule has
        ((ID("1"),), (), False),  # no rule: nothing to follow
        ((), (), False),
    ],
)
def test_golden_adherence(abstraction, solution, expected):
    assert bool(follows(row(*abstraction), row(*solution))) == expected


@given(st.lists(st.sampled_from([REVERSE, ADD, SORT, ID("1"), ID("2")]), max_size=TIME))
def test_steps_are_the_primitives_in_order(tokens):
    names = [REVERSE, ADD, SORT]
    steps = [names.index(token) for token in tokens if token in names]
    expected = [*steps, -1, -1][:2] if len(steps) <= 2 else [-2, -2]
    assert parse_steps(CONFIG, VOCABULARY, row(*tokens)).tolist() == expected


@given(st.lists(st.integers(0, 3), max_size=TIME), st.lists(st.integers(0, 3), max_size=3))
def test_digits_are_held_as_a_substring(text, digits):
    written = row(*[ID(str(digit)) for digit in text])
    values = DigitList(jnp.array([*digits, 0, 0, 0][:3]), jnp.array(len(digits)))
    shown = "".join(map(str, text))
    expected = bool(digits) and "".join(map(str, digits)) in shown
    assert bool(hold(written, values)) == expected


def test_gaps_do_not_hide_a_leak(problems):
    problem = jax.tree.map(lambda leaf: leaf[0], problems)
    count = int(problem.answer.length)
    digits = [ID(str(digit)) for digit in problem.answer.digits[:count].tolist()]
    spread = [token for digit in digits for token in (digit, 0)]
    mask = [True, False] * count
    padded = Sequence(jnp.array(spread), jnp.array(mask))
    assert bool(leaks(problem, padded))
    assert not bool(leaks(problem, jax.jit(TASK.abstraction)(problem)))


def test_the_problem_is_withheld_and_the_abstraction_is_not():
    prompt = TASK.withheld_prompt(row(SORT, ID(SOLUTION)))
    flat = jax.tree.map(lambda leaf: leaf[None], prompt)
    assert decode(flat)[0] == f"{ABSTRACTION} sort{SOLUTION}"
