"""Problems, abstractions and solutions as text and as tokens."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.tasks import (
    SYMBOLS,
    RuleInductionConfig,
    Sequence,
    Vocabulary,
    compact,
    decode,
    make_rule_induction,
    sample,
    to_text,
)
from jaxreason.tasks.rendering import abstraction_tokens, problem_tokens, solution_tokens
from jaxreason.tasks.verification import parse_abstraction, parse_answer
from jaxreason.tasks.vocabulary import SPACE

CONFIGS = [
    RuleInductionConfig(max_steps=1, num_examples=1),
    RuleInductionConfig(),
    RuleInductionConfig(
        primitives=("drop 1", "take 2", "repeat", "keep even"),
        max_steps=3,
        list_length=2,
        num_examples=3,
    ),
]
SHUFFLED = Vocabulary(
    symbol_ids=tuple(int(i) for i in np.random.default_rng(0).permutation(len(SYMBOLS)) + 5),
    eos_id=1,
    pad_id=3,
)


def draw(config, count=64):
    keys = jax.random.split(jax.random.key(0), count)
    return jax.jit(jax.vmap(partial(sample, config)))(keys)


def plain_text(config, problem):
    """Renders one problem with Python strings."""
    lists = [
        ["".join(map(str, row[:length])) for row, length in zip(*arrays, strict=True)]
        for arrays in (
            (values.digits.tolist(), values.length.tolist())
            for values in (problem.inputs, problem.outputs, problem.trace)
        )
    ]
    inputs, outputs, trace = lists
    words = [config.primitives[index] for index in problem.rule.tolist() if index >= 0]
    shown = [f"{x} -> {y}\n" for x, y in zip(inputs[:-1], outputs[:-1], strict=True)]
    steps = [f" {word} -> {after}" for word, after in zip(words, trace, strict=False)]
    return {
        "problem": "<problem>" + "".join(shown) + inputs[-1] + " -> ",
        "abstraction": "<abstraction> " + " then ".join(words),
        "solution": "<solution>" + "".join(steps) + "<answer>" + outputs[-1],
    }


def test_golden_text(worked, problem):
    texts = to_text(worked, jax.tree.map(lambda leaf: leaf[None], problem))
    assert texts == [
        {
            "problem": "<problem>312 -> 2\n579 -> \n134 -> ",
            "abstraction": "<abstraction> reverse then keep even",
            "solution": "<solution> reverse -> 431 keep even -> 4<answer>4",
        }
    ]


@pytest.mark.parametrize("config", CONFIGS)
def test_text_of_sampled_problems(config):
    problems = draw(config)
    expected = [
        plain_text(config, jax.tree.map(lambda leaf, i=i: leaf[i], problems)) for i in range(64)
    ]
    assert to_text(config, problems) == expected


@pytest.mark.parametrize("vocabulary", [Vocabulary(), SHUFFLED])
@pytest.mark.parametrize("config", CONFIGS)
def test_round_trip(config, vocabulary):
    problems = draw(config)

    @jax.jit
    @jax.vmap
    def there_and_back(problem):
        words = compact(abstraction_tokens(config, vocabulary, problem))
        solution = make_rule_induction(config, vocabulary).solution(problem)
        rule = parse_abstraction(config, vocabulary, words)
        return rule, parse_answer(config, vocabulary, compact(solution)), problem.answer

    (rules, named), (answers, closed), truths = there_and_back(problems)
    assert named.all() and closed.all()
    np.testing.assert_array_equal(rules, problems.rule)
    np.testing.assert_array_equal(answers.digits, truths.digits)
    np.testing.assert_array_equal(answers.length, truths.length)
    if "keep even" in config.primitives:
        assert (truths.length == 0).any() and (truths.length > config.list_length).any()


@pytest.mark.parametrize("config", CONFIGS)
def test_widths_are_fixed_and_enough(config):
    task = make_rule_induction(config)
    problems = draw(config)
    abstraction, solution = jax.vmap(lambda p: (task.abstraction(p), task.solution(p)))(problems)
    assert abstraction.tokens.shape == (64, task.abstraction_length)
    assert solution.tokens.shape == (64, task.solution_length)
    # A stop token ends each, and none stands before.
    for rows, stops in (
        (abstraction, task.abstraction_stops),
        (solution, task.solution_stops),
    ):
        for tokens, mask in zip(np.asarray(rows.tokens), np.asarray(rows.mask), strict=True):
            is_stop = np.isin(tokens[mask], stops)
            assert is_stop[-1] and is_stop.sum() == 1


def test_decode():
    rows = Sequence(
        jnp.array([[4, 11, 2, 0], [8, 13, 99, 0]]), jnp.array([[1, 1, 1, 0], [1, 0, 1, 1]], bool)
    )
    assert decode(rows) == ["<problem>0", " -> \N{REPLACEMENT CHARACTER}"]
    assert decode(Sequence(jnp.zeros((0, 3), jnp.int32), jnp.zeros((0, 3), bool))) == []


@pytest.mark.parametrize("render", [problem_tokens, abstraction_tokens, solution_tokens])
def test_tokens_and_text_say_the_same_in_any_vocabulary(render, worked, problem):
    sequences = [render(worked, vocabulary, problem) for vocabulary in (Vocabulary(), SHUFFLED)]
    texts = [
        decode(jax.tree.map(lambda leaf: leaf[None], sequence), vocabulary)
        for sequence, vocabulary in zip(sequences, (Vocabulary(), SHUFFLED), strict=True)
    ]
    assert texts[0] == texts[1] and len(texts[0][0]) > 5


def test_vocabulary():
    vocabulary = Vocabulary()
    assert [vocabulary.id_of(symbol) for symbol in SYMBOLS] == list(range(4, 4 + len(SYMBOLS)))
    assert vocabulary.digit_ids().tolist() == list(range(11, 21))
    assert vocabulary.primitive_ids(("reverse", "add 1")).tolist() == [
        vocabulary.id_of(f"{SPACE}reverse"),
        vocabulary.id_of(f"{SPACE}add{SPACE}1"),
    ]
    with pytest.raises(KeyError, match="'invert' is not a symbol"):
        vocabulary.id_of("invert")
