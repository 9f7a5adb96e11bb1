"""Reading rules and answers back from tokens, and judging them, on the device."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from jaxreason.sequences import Sequence
from jaxreason.tasks.digit_lists import DigitList
from jaxreason.tasks.rule_induction import RuleInductionConfig
from jaxreason.tasks.vocabulary import ANSWER, THEN, Vocabulary


def parse_answer(
    config: RuleInductionConfig, vocabulary: Vocabulary, solution: Sequence
) -> tuple[DigitList, Bool[Array, ""]]:
    """Reads the digits between the last `<answer>` and the first end of sequence.

    Args:
        config: The difficulty, which gives the longest list.
        vocabulary: The token ids.
        solution: What the solution generator wrote, `[time]`, its valid tokens first.

    Returns:
        The list `[width]` and whether there is one: an answer must be closed by the end of
        sequence, hold nothing but digits, and be no longer than `width`.

    Example:
        >>> vocabulary = Vocabulary()
        >>> written = [vocabulary.id_of(symbol) for symbol in (ANSWER, "3", "6", "5")]
        >>> tokens = jnp.array([*written, vocabulary.eos_id])
        >>> solution = Sequence(tokens, jnp.ones(5, bool))
        >>> values, valid = parse_answer(RuleInductionConfig(), vocabulary, solution)
        >>> values.digits.tolist(), bool(valid)
        ([3, 6, 5], True)
    """
    digit, is_digit = _lookup(solution, vocabulary.digit_ids())
    position = jnp.arange(solution.tokens.shape[-1])
    is_end = solution.mask & (solution.tokens == vocabulary.eos_id)
    ended = jnp.cumsum(is_end) > 0
    is_tag = solution.mask & ~ended & (solution.tokens == vocabulary.id_of(ANSWER))
    start = jnp.where(is_tag, position, -1).max() + 1
    stops = (position >= start) & ~is_digit
    end = jnp.where(stops, position, position.shape[0]).min()
    closed = (is_end & (position == end)).any()
    length = end - start
    valid = is_tag.any() & closed & (length <= config.width)
    length = jnp.where(valid, length, 0)
    offset = jnp.arange(config.width)
    digits = digit[jnp.clip(start + offset, 0, position.shape[0] - 1)]
    return DigitList(jnp.where(offset < length, digits, 0), length), valid


def parse_abstraction(
    config: RuleInductionConfig, vocabulary: Vocabulary, abstraction: Sequence
) -> tuple[Int[Array, "step"], Bool[Array, ""]]:
    """Reads a rule back from its words, `reverse then add 3`.

    Args:
        config: The difficulty.
        vocabulary: The token ids.
        abstraction: Words without tags or terminator, `[time]`, valid tokens first.

    Returns:
        The rule `[max_steps]`, padded with -1, and whether the words are one: primitives of the
        config joined by `then`, at most `max_steps` of them.

    Example:
        >>> config, vocabulary = RuleInductionConfig(primitives=("sort", "add 3")), Vocabulary()
        >>> add, sort = vocabulary.primitive_ids(("add 3", "sort"))
        >>> words = jnp.array([add, vocabulary.id_of(THEN), sort])
        >>> abstraction = Sequence(words, jnp.ones(3, bool))
        >>> rule, valid = parse_abstraction(config, vocabulary, abstraction)
        >>> rule.tolist(), bool(valid)
        ([1, 0], True)
    """
    index, is_primitive = _lookup(abstraction, vocabulary.primitive_ids(config.primitives))
    is_then = abstraction.mask & (abstraction.tokens == vocabulary.id_of(THEN))
    position = jnp.arange(abstraction.tokens.shape[-1])
    fits = jnp.where(position % 2 == 0, is_primitive, is_then) | ~abstraction.mask
    length = abstraction.length
    valid = fits.all() & (length % 2 == 1) & (length < 2 * config.max_steps)
    slots = jnp.where(is_primitive, index, -1)
    slots = jnp.pad(slots, (0, max(0, 2 * config.max_steps - slots.shape[0])), constant_values=-1)
    rule = slots[: 2 * config.max_steps : 2]
    return jnp.where(valid, rule, -1), valid


def parse_steps(
    config: RuleInductionConfig, vocabulary: Vocabulary, solution: Sequence
) -> Int[Array, "step"]:
    """Reads off which primitives a worked solution applies, in their order.

    Args:
        config: The difficulty.
        vocabulary: The token ids.
        solution: What the solution generator wrote, `[time]`, its valid tokens first.

    Returns:
        Indices of the primitives named before the first `<answer>`, `[max_steps]`, padded with -1;
        all -2 if there are more than `max_steps`.

    Example:
        >>> config, vocabulary = RuleInductionConfig(primitives=("sort", "add 3")), Vocabulary()
        >>> add, sort = vocabulary.primitive_ids(("add 3", "sort"))
        >>> written = [add, vocabulary.id_of("3"), sort, vocabulary.id_of(ANSWER), sort]
        >>> solution = Sequence(jnp.array(written), jnp.ones(5, bool))
        >>> parse_steps(config, vocabulary, solution).tolist()
        [1, 0]
    """
    index, is_primitive = _lookup(solution, vocabulary.primitive_ids(config.primitives))
    answered = jnp.cumsum(solution.tokens == vocabulary.id_of(ANSWER)) > 0
    is_step = is_primitive & ~answered
    count = is_step.sum()
    order = jnp.argsort(~is_step, stable=True)
    steps = jnp.pad(index[order], (0, config.max_steps), constant_values=-1)[: config.max_steps]
    steps = jnp.where(jnp.arange(config.max_steps) < count, steps, -1)
    return jnp.where(count > config.max_steps, -2, steps)


def holds_digits(vocabulary: Vocabulary, sequence: Sequence, values: DigitList) -> Bool[Array, ""]:
    """Tells whether a list's digits stand in a sequence, one right after the other.

    Args:
        vocabulary: The token ids.
        sequence: Any tokens, `[time]`, valid ones first.
        values: The list, `[width]`; an empty one is never held.

    Example:
        >>> vocabulary = Vocabulary()
        >>> tokens = jnp.array([7, *(vocabulary.id_of(digit) for digit in "365")])
        >>> values = DigitList(jnp.array([6, 5, 0]), jnp.array(2))
        >>> bool(holds_digits(vocabulary, Sequence(tokens, jnp.ones(4, bool)), values))
        True
    """
    time, width = sequence.tokens.shape[-1], values.digits.shape[-1]
    tokens = jnp.where(sequence.mask, sequence.tokens, -1)
    padded = jnp.pad(tokens, (0, width), constant_values=-1)
    windows = padded[jnp.arange(time)[:, None] + jnp.arange(width)]
    same = windows == vocabulary.digit_ids()[values.digits]
    return (same | ~values.mask).all(-1).any() & (values.length > 0)


def _lookup(
    sequence: Sequence, ids: Int[Array, "symbol"]
) -> tuple[Int[Array, "time"], Bool[Array, "time"]]:
    """Finds each token's index in `ids`, and whether it is there at all."""
    match = (sequence.tokens[:, None] == ids) & sequence.mask[:, None]
    return match.argmax(-1), match.any(-1)
