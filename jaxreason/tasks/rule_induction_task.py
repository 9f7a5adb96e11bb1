"""Rule induction as a `Task`: prompts, terminators and rewards for the two-player game."""

import dataclasses
from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.sequences import Sequence, compact, concatenate, constant_sequence
from jaxreason.tasks.rendering import abstraction_tokens, problem_tokens, solution_tokens
from jaxreason.tasks.rule_induction import Problem, RuleInductionConfig, sample
from jaxreason.tasks.rules import probe_lists, same_function
from jaxreason.tasks.task import Task
from jaxreason.tasks.verification import (
    holds_digits,
    parse_abstraction,
    parse_answer,
    parse_steps,
)
from jaxreason.tasks.vocabulary import ABSTRACTION, SOLUTION, Vocabulary


def make_rule_induction(config: RuleInductionConfig, vocabulary: Vocabulary = Vocabulary()) -> Task:
    """Makes the rule-induction task of a difficulty and a vocabulary.

    The abstraction generator reads `problem <abstraction>` and writes the rule and `<solution>`,
    with which it hands over; the solution generator reads both and writes its steps, the answer
    and the end of sequence. A bare prompt leaves out everything from `<abstraction>` to the rule.

    Args:
        config: The difficulty.
        vocabulary: The token ids, for instance a tokenizer's.

    Returns:
        The task.

    Example:
        >>> import jax
        >>> task = make_rule_induction(RuleInductionConfig())
        >>> problem = task.sample(jax.random.key(0), "train")
        >>> float(task.reward(problem, task.solution(problem)))
        1.0
    """
    abstraction_tag = constant_sequence(vocabulary.id_of(ABSTRACTION))
    solution_tag = constant_sequence(vocabulary.id_of(SOLUTION))
    eos = constant_sequence(vocabulary.eos_id)

    def abstraction_prompt(problem: Problem) -> Sequence:
        return concatenate([problem_tokens(config, vocabulary, problem), abstraction_tag])

    def solution_prompt(problem: Problem, abstraction: Sequence, bare: Bool[Array, ""]) -> Sequence:
        hint = concatenate([abstraction_tag, _words(vocabulary, abstraction)])
        hint = dataclasses.replace(hint, mask=hint.mask & ~bare)
        return concatenate([problem_tokens(config, vocabulary, problem), hint, solution_tag])

    def abstraction(problem: Problem) -> Sequence:
        return concatenate([abstraction_tokens(config, vocabulary, problem), solution_tag])

    def solution(problem: Problem) -> Sequence:
        return concatenate([solution_tokens(config, vocabulary, problem), eos])

    def answer(solution: Sequence) -> tuple[Int[Array, "width"], Bool[Array, ""]]:
        values, valid = parse_answer(config, vocabulary, compact(solution))
        return jnp.where(values.mask, values.digits, -1), valid

    def reward(problem: Problem, solution: Sequence) -> Float[Array, ""]:
        values, valid = answer(solution)
        truth = jnp.where(problem.answer.mask, problem.answer.digits, -1)
        return (valid & (values == truth).all()).astype(jnp.float32)

    def withheld_prompt(abstraction: Sequence) -> Sequence:
        return concatenate([abstraction_tag, _words(vocabulary, abstraction), solution_tag])

    return Task(
        sample=lambda key, split: sample(config, key, split),
        abstraction_prompt=abstraction_prompt,
        solution_prompt=solution_prompt,
        abstraction=abstraction,
        solution=solution,
        answer=answer,
        reward=reward,
        abstraction_is_right=partial(_is_right, config, vocabulary),
        follows=partial(_follows, config, vocabulary),
        leaks=partial(_leaks, vocabulary),
        withheld_prompt=withheld_prompt,
        abstraction_stops=(vocabulary.id_of(SOLUTION), vocabulary.eos_id),
        solution_stops=(vocabulary.eos_id,),
        abstraction_length=2 * config.max_steps,
        solution_length=config.max_steps * (2 + config.width) + 2 + config.width,
    )


def _words(vocabulary: Vocabulary, abstraction: Sequence) -> Sequence:
    """Leaves out what ends an abstraction."""
    stops = jnp.array([vocabulary.id_of(SOLUTION), vocabulary.eos_id])
    is_stop = (abstraction.tokens[..., None] == stops).any(-1)
    return dataclasses.replace(abstraction, mask=abstraction.mask & ~is_stop)


def _is_right(
    config: RuleInductionConfig, vocabulary: Vocabulary, problem: Problem, abstraction: Sequence
) -> Bool[Array, ""]:
    words = compact(_words(vocabulary, abstraction))
    rule, valid = parse_abstraction(config, vocabulary, words)
    probes = probe_lists(config.list_length, config.width)
    return valid & same_function(config.primitives, rule, problem.rule, probes)


def _follows(
    config: RuleInductionConfig, vocabulary: Vocabulary, abstraction: Sequence, solution: Sequence
) -> Bool[Array, ""]:
    words = compact(_words(vocabulary, abstraction))
    said, valid = parse_abstraction(config, vocabulary, words)
    done = parse_steps(config, vocabulary, compact(solution))
    return valid & (said == done).all()


def _leaks(vocabulary: Vocabulary, problem: Problem, abstraction: Sequence) -> Bool[Array, ""]:
    return holds_digits(vocabulary, compact(abstraction), problem.answer)
