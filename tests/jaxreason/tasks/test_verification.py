"""Parsers against plain Python, on whatever a model may write."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxreason.tasks import (
    RuleInductionConfig,
    Sequence,
    Vocabulary,
    compact,
    make_rule_induction,
    sample,
)
from jaxreason.tasks.verification import parse_abstraction, parse_answer
from jaxreason.tasks.vocabulary import ANSWER, SOLUTION, SPACE, THEN

CONFIG = RuleInductionConfig(primitives=("reverse", "add 3", "repeat", "keep even"), max_steps=3)
VOCABULARY = Vocabulary()
TASK = make_rule_induction(CONFIG)
TAG, EOS, JUNK = VOCABULARY.id_of(ANSWER), VOCABULARY.eos_id, 39
DIGIT = VOCABULARY.id_of("0")
WORDS = {name: VOCABULARY.id_of(SPACE + name.replace(" ", SPACE)) for name in CONFIG.primitives}
AND_THEN, HAND_OVER = VOCABULARY.id_of(THEN), VOCABULARY.id_of(SOLUTION)
TIME = 9

answer_of = jax.jit(TASK.answer)
parse_rule = jax.jit(partial(parse_abstraction, CONFIG, VOCABULARY))
parse_list = jax.jit(partial(parse_answer, CONFIG, VOCABULARY))


def sequences(*common):
    """Sequences of mostly common tokens, with gaps."""
    token = st.one_of(st.sampled_from(common), st.integers(0, JUNK))
    rows = st.lists(st.tuples(token, st.booleans()), min_size=TIME, max_size=TIME)
    return rows.map(
        lambda row: Sequence(
            jnp.array([token for token, _ in row]), jnp.array([valid for _, valid in row])
        )
    )


def row(*tokens):
    filled = [*tokens, *[0] * (TIME - len(tokens))]
    return Sequence(jnp.array(filled), jnp.arange(TIME) < len(tokens))


def front(sequence):
    """The tokens that count, as a list."""
    return np.asarray(sequence.tokens)[np.asarray(sequence.mask)].tolist()


def python_answer(tokens):
    if EOS not in tokens:
        return None
    tokens = tokens[: tokens.index(EOS)]
    if TAG not in tokens:
        return None
    digits = [token - DIGIT for token in tokens[len(tokens) - tokens[::-1].index(TAG) :]]
    right = all(0 <= digit <= 9 for digit in digits) and len(digits) <= CONFIG.width
    return digits if right else None


def python_rule(tokens):
    if len(tokens) % 2 == 0 or len(tokens) > 2 * CONFIG.max_steps - 1:
        return None
    if any(token != AND_THEN for token in tokens[1::2]):
        return None
    ids = list(WORDS.values())
    if any(token not in ids for token in tokens[::2]):
        return None
    return [ids.index(token) for token in tokens[::2]]


@settings(max_examples=300)
@given(sequences(TAG, EOS, DIGIT, DIGIT + 7))
@example(row(TAG, EOS))
@example(row(TAG, DIGIT + 1, TAG, DIGIT + 2, EOS))
@example(row(TAG, *[DIGIT + 1] * 6, EOS))
@example(row(TAG, *[DIGIT + 1] * 7, EOS))
@example(row(TAG, DIGIT))
@example(row(TAG, DIGIT, EOS, TAG, DIGIT, EOS))
@example(row(DIGIT, EOS))
@example(row())
def test_parse_answer(sequence):
    expected = python_answer(front(sequence))
    values, valid = answer_of(sequence)
    assert bool(valid) == (expected is not None)
    shown = expected or []
    assert values.tolist() == shown + [-1] * (CONFIG.width - len(shown))


@settings(max_examples=300)
@given(sequences(AND_THEN, AND_THEN, *WORDS.values()))
@example(row(WORDS["reverse"], AND_THEN, WORDS["add 3"]))
@example(row(*[WORDS["reverse"], AND_THEN] * 2, WORDS["add 3"]))
@example(row(*[WORDS["reverse"], AND_THEN] * 3, WORDS["add 3"]))
@example(row(WORDS["reverse"], AND_THEN))
@example(row())
def test_parse_abstraction(sequence):
    tokens = front(sequence)
    expected = python_rule(tokens)
    rule, valid = parse_rule(row(*tokens))
    assert bool(valid) == (expected is not None)
    shown = expected or []
    assert rule.tolist() == shown + [-1] * (CONFIG.max_steps - len(shown))


@pytest.mark.parametrize("time", [1, 2])
def test_short_sequences(time):
    """Shorter than the longest rule or answer."""
    reverse = Sequence(jnp.full((time,), WORDS["reverse"]), jnp.arange(time) < 1)
    rule, valid = parse_rule(reverse)
    assert valid and rule.tolist() == [0, -1, -1]
    values, closed = parse_list(Sequence(jnp.array([TAG, EOS])[:time], jnp.ones(time, bool)))
    assert bool(closed) == (time == 2) and values.digits.tolist() == [0] * CONFIG.width


@pytest.fixture(scope="module")
def problems():
    keys = jax.random.split(jax.random.key(0), 64)
    return jax.jit(jax.vmap(partial(sample, CONFIG)))(keys)


@pytest.fixture(scope="module")
def solutions(problems):
    """Worked solutions, moved to the front of their rows as a model would write them."""
    return jax.vmap(lambda problem: compact(TASK.solution(problem)))(problems)


reward_each = jax.jit(jax.vmap(TASK.reward))


def test_truth_is_rewarded(problems, solutions):
    rewards = reward_each(problems, solutions)
    assert rewards.shape == (64,) and (rewards == 1).all()


def test_every_change_of_one_token_of_the_answer_is_refused(problems, solutions):
    tag_at = (solutions.tokens == TAG).argmax(1)
    end_at = solutions.length - 1
    reward_of_all = jax.jit(jax.vmap(jax.vmap(TASK.reward, (None, 0)), (0, 0)))
    other = jnp.arange(1, JUNK + 1)
    for offset in range(CONFIG.width + 2):
        place = jnp.minimum(tag_at + offset, end_at)
        truth = jnp.take_along_axis(solutions.tokens, place[:, None], 1)
        changed = (truth + other) % (JUNK + 1)
        tokens = jax.vmap(lambda row, at, new: jax.vmap(lambda t: row.at[at].set(t))(new))(
            solutions.tokens, place, changed
        )
        mask = jnp.broadcast_to(solutions.mask[:, None], tokens.shape)
        rewards = reward_of_all(problems, Sequence(tokens, mask))
        assert rewards.shape == (64, JUNK) and (rewards == 0).all()


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_unclosed_answers_are_refused(problems, solutions, missing):
    time = jnp.arange(solutions.tokens.shape[1])
    cut = Sequence(solutions.tokens, time < solutions.length[:, None] - missing)
    assert (reward_each(problems, cut) == 0).all()


@pytest.mark.parametrize("token", [0, TAG, DIGIT, JUNK, HAND_OVER])
def test_anything_before_the_end_of_the_answer_is_refused(problems, solutions, token):
    """One token more, between the last digit and the end of sequence."""
    place = jnp.arange(solutions.tokens.shape[1] + 1)
    end = solutions.length[:, None] - 1
    longer = jnp.pad(solutions.tokens, ((0, 0), (0, 1)))
    tokens = jnp.where(place < end, longer, jnp.where(place == end, token, EOS))
    answers = jax.vmap(lambda problem: problem.answer)(problems)
    rewards = reward_each(problems, Sequence(tokens, place <= end + 1))
    # A second tag begins another, empty answer.
    refused = answers.length > 0 if token == TAG else jnp.ones(64, bool)
    assert (rewards[refused] == 0).all() and refused.any()


def test_working_is_not_judged(problems, solutions):
    """Only the answer counts; this holds the reward to what the task verifies."""
    tokens = solutions.tokens.at[:, 0].set(JUNK)
    assert (reward_each(problems, Sequence(tokens, solutions.mask)) == 1).all()


def test_padding_anywhere_changes_nothing(problems):
    spread = jax.vmap(TASK.solution)(problems)
    assert not (spread.mask == jnp.sort(spread.mask, axis=1, descending=True)).all()
    assert (reward_each(problems, spread) == 1).all()


def test_right_abstractions(problem, worked):
    """The hidden rule is `reverse then keep even`; both steps commute."""
    task = make_rule_induction(worked)
    is_right = jax.jit(task.abstraction_is_right)
    assert is_right(problem, task.abstraction(problem))
    reverse, even = WORDS["reverse"], WORDS["keep even"]
    for tokens, expected in [
        ((reverse, AND_THEN, even, HAND_OVER), True),
        ((even, AND_THEN, reverse, HAND_OVER), True),
        ((even, AND_THEN, reverse), True),  # cut off before the tag, but the rule is there
        ((even, AND_THEN, even, AND_THEN, reverse), True),
        ((even, HAND_OVER), False),
        ((even, AND_THEN, HAND_OVER), False),
        ((even, reverse, HAND_OVER), False),
        ((HAND_OVER,), False),
        ((), False),
    ]:
        assert bool(is_right(problem, row(*tokens))) == expected, tokens


def test_no_words_are_no_rule_even_where_nothing_would_do():
    """An invalid abstraction must not pass for the rule that changes nothing."""
    rule, valid = parse_rule(row(JUNK))
    assert not valid and rule.tolist() == [-1, -1, -1]
