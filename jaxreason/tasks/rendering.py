"""Problems, abstractions and worked solutions of rule induction as tokens and as text."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.sequences import Sequence, concatenate, constant_sequence
from jaxreason.tasks.digit_lists import DigitList
from jaxreason.tasks.rule_induction import Problem, RuleInductionConfig
from jaxreason.tasks.vocabulary import (
    ABSTRACTION,
    ANSWER,
    ARROW,
    NEWLINE,
    PROBLEM,
    SOLUTION,
    SPACE,
    SYMBOLS,
    THEN,
    Vocabulary,
)


def _symbol(vocabulary: Vocabulary, symbol: str) -> Sequence:
    return constant_sequence(vocabulary.id_of(symbol))


def _digits(vocabulary: Vocabulary, values: DigitList) -> Sequence:
    return Sequence(vocabulary.digit_ids()[values.digits], values.mask)


def _flatten(rows: Sequence) -> Sequence:
    return Sequence(rows.tokens.reshape(-1), rows.mask.reshape(-1))


def problem_tokens(
    config: RuleInductionConfig, vocabulary: Vocabulary, problem: Problem
) -> Sequence:
    """Renders the examples and the query, up to the arrow after the query.

    Args:
        config: The difficulty, which fixes the widths.
        vocabulary: The token ids.
        problem: One problem.

    Returns:
        A sequence of fixed width, `[time]`; places of shorter lists are masked.

    Example:
        >>> from jaxreason.tasks.rule_induction import sample
        >>> config = RuleInductionConfig(list_length=4, num_examples=2)
        >>> render = lambda key: problem_tokens(config, Vocabulary(), sample(config, key))
        >>> jax.eval_shape(render, jax.random.key(0)).tokens.shape  # 1 + 2 (4 + 1 + 4 + 1) + 4 + 1
        (26,)
    """
    arrow, newline = _symbol(vocabulary, ARROW), _symbol(vocabulary, NEWLINE)

    def pair(given: DigitList, result: DigitList) -> Sequence:
        shown = [_digits(vocabulary, given), arrow, _digits(vocabulary, result), newline]
        return concatenate(shown)

    shown = jax.tree.map(lambda leaf: leaf[:-1], (problem.inputs, problem.outputs))
    examples = _flatten(jax.vmap(pair)(*shown))
    query = _digits(vocabulary, problem.query)
    return concatenate([_symbol(vocabulary, PROBLEM), examples, query, arrow])


def abstraction_tokens(
    config: RuleInductionConfig, vocabulary: Vocabulary, problem: Problem
) -> Sequence:
    """Renders the rule in words, `reverse then add 3`, without tags, `[2 * max_steps - 1]`."""
    words = _rule_words(config, vocabulary, problem)
    first = jax.tree.map(lambda leaf: leaf[:1], words)
    rest = jax.tree.map(lambda leaf: leaf[1:, None], words)
    then = constant_sequence(vocabulary.id_of(THEN))
    then_word = jax.vmap(
        lambda word: Sequence(
            jnp.concatenate([then.tokens, word.tokens]), jnp.concatenate([word.mask, word.mask])
        )
    )(rest)
    return concatenate([first, _flatten(then_word)])


def _rule_words(config: RuleInductionConfig, vocabulary: Vocabulary, problem: Problem) -> Sequence:
    present = problem.rule >= 0
    ids = vocabulary.primitive_ids(config.primitives)[jnp.maximum(problem.rule, 0)]
    return Sequence(ids, present)


def solution_tokens(
    config: RuleInductionConfig, vocabulary: Vocabulary, problem: Problem
) -> Sequence:
    """Renders the worked solution, ` reverse -> 365 add 3 -> 698<answer>698`, without its end."""
    words = _rule_words(config, vocabulary, problem)
    arrow = _symbol(vocabulary, ARROW)

    def step(word: Sequence, after: DigitList) -> Sequence:
        one = jax.tree.map(lambda leaf: leaf[None], word)
        shown = concatenate([one, arrow, _digits(vocabulary, after)])
        return Sequence(shown.tokens, shown.mask & word.mask)

    steps = _flatten(jax.vmap(step)(words, problem.trace))
    answer = _digits(vocabulary, problem.answer)
    return concatenate([steps, _symbol(vocabulary, ANSWER), answer])


def to_text(config: RuleInductionConfig, problems: Problem) -> list[dict[str, str]]:
    """Renders a batch of problems as text on the host.

    Args:
        config: The difficulty.
        problems: Problems with one leading batch axis.

    Returns:
        For each problem `problem`, `abstraction` and `solution`, tags included. A tokenizer with
        `SYMBOLS` as user-defined symbols encodes them to the ids that the functions above give.

    Example:
        >>> from jaxreason.tasks.rule_induction import sample
        >>> config = RuleInductionConfig()
        >>> problems = jax.vmap(lambda key: sample(config, key))(jax.random.key(0)[None])
        >>> to_text(config, problems)[0]["abstraction"].startswith("<abstraction> ")
        True
    """
    texts = [decode(sequences) for sequences in _render(config, problems)]
    return [
        {"problem": problem, "abstraction": ABSTRACTION + words, "solution": SOLUTION + steps}
        for problem, words, steps in zip(*texts, strict=True)
    ]


@partial(jax.jit, static_argnames="config")
def _render(config: RuleInductionConfig, problems: Problem) -> tuple[Sequence, Sequence, Sequence]:
    def render(problem: Problem) -> tuple[Sequence, Sequence, Sequence]:
        given = (config, Vocabulary(), problem)
        return problem_tokens(*given), abstraction_tokens(*given), solution_tokens(*given)

    return jax.vmap(render)(problems)


def decode(sequences: Sequence, vocabulary: Vocabulary = Vocabulary()) -> list[str]:
    """Turns a batch of token sequences into text; the end of sequence and padding leave no trace.

    Args:
        sequences: Sequences `[batch, time]`.
        vocabulary: The token ids.

    Returns:
        One string a row; a token that is no symbol of the family reads as a replacement mark.

    Example:
        >>> decode(Sequence(jnp.array([[11, 12]]), jnp.array([[True, True]])))
        ['01']
    """
    text = {i: s.replace(SPACE, " ") for i, s in zip(vocabulary.symbol_ids, SYMBOLS, strict=True)}
    text |= {vocabulary.eos_id: "", vocabulary.pad_id: ""}
    tokens, mask = np.asarray(sequences.tokens), np.asarray(sequences.mask)
    return [
        "".join(text.get(int(token), "\N{REPLACEMENT CHARACTER}") for token in row[keep])
        for row, keep in zip(tokens, mask, strict=True)
    ]
