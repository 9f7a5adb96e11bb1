"""Rendering records: tokens, loss masks, and agreement with the task's own rendering."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.documents import (
    Record,
    abstraction_example,
    imperfect_teacher,
    reasoning_document,
    solution_example,
    tokenised,
)
from data.spans import Spans
from jaxreason.tasks import SYMBOLS, Vocabulary, make_rule_induction, sample, to_text

RECORD = Record(
    problem="<problem>12 -> 21\n34 -> ",
    abstraction="<abstraction> reverse",
    solution="<solution> reverse -> 43<answer>43",
)


def learned(tokenizer, document):
    """The text of the loss-bearing tokens, with the end of sequence written out."""
    tokens = document.tokens[document.prompt_length :].tolist()
    ends = tokens[-1:] == [tokenizer.eos_id]
    return tokenizer.decode(tokens) + "</s>" * ends


def test_what_bears_loss(tokenizer):
    reasoning = RECORD.abstraction + RECORD.solution
    assert learned(tokenizer, tokenised(tokenizer, Spans(answer=("words",)))) == "words</s>"
    assert learned(tokenizer, reasoning_document(tokenizer, RECORD)) == reasoning + "</s>"
    bare = reasoning_document(tokenizer, RECORD, bare=True)
    assert learned(tokenizer, bare) == RECORD.solution + "</s>"
    assert learned(tokenizer, abstraction_example(tokenizer, RECORD)) == " reverse<solution>"
    trace = " reverse -> 43<answer>43</s>"
    for bare in (False, True):
        assert learned(tokenizer, solution_example(tokenizer, RECORD, bare=bare)) == trace


def test_what_stands_in_the_prompt(tokenizer):
    def text(document):
        return tokenizer.decode(document.tokens.tolist())

    whole = RECORD.problem + RECORD.abstraction + RECORD.solution
    assert text(reasoning_document(tokenizer, RECORD)) == whole
    assert text(abstraction_example(tokenizer, RECORD)) == (
        RECORD.problem + RECORD.abstraction + "<solution>"
    )
    assert text(solution_example(tokenizer, RECORD)) == whole
    for render in (reasoning_document, solution_example):
        assert text(render(tokenizer, RECORD, bare=True)) == RECORD.problem + RECORD.solution


def test_documents_hold_the_very_tokens_that_the_task_renders_on_device(tokenizer, task):
    family = make_rule_induction(task, Vocabulary(tokenizer.symbol_ids(SYMBOLS)))
    keys = jax.random.split(jax.random.key(0), 8)
    problems = jax.vmap(lambda key: sample(task, key, "train"))(keys)

    def render(problem):
        abstraction = family.abstraction(problem)
        prompts = (
            family.abstraction_prompt(problem),
            family.solution_prompt(problem, abstraction, jnp.bool_(False)),
            family.solution_prompt(problem, abstraction, jnp.bool_(True)),
        )
        solution = family.solution(problem)
        return tuple(zip(prompts, (abstraction, solution, solution), strict=True))

    expected = jax.jit(jax.vmap(render))(problems)
    for row, text in enumerate(to_text(task, problems)):
        record = Record(**{name: text[name] for name in ("problem", "abstraction", "solution")})
        documents = (
            abstraction_example(tokenizer, record),
            solution_example(tokenizer, record),
            solution_example(tokenizer, record, bare=True),
        )
        for document, (prompt, completion) in zip(documents, expected, strict=True):
            given = prompt.tokens[row][prompt.mask[row]]
            written = completion.tokens[row][completion.mask[row]]
            np.testing.assert_array_equal(document.tokens, np.concatenate([given, written]))
            assert document.prompt_length == len(given)


@pytest.mark.parametrize("error", [0, 0.25, 0.5, 1])
def test_a_teacher_errs_in_exactly_its_share(error):
    right = ["a", "b", "b", "c"] * 25
    taught = imperfect_teacher(right, error=error, seed=1)
    assert sum(x != y for x, y in zip(right, taught, strict=True)) == error * 100
    assert set(taught) <= set(right)
    assert taught == imperfect_teacher(right, error=error, seed=1)


def test_a_wrong_abstraction_is_any_other_records():
    # "a" is wrong throughout and can only be replaced by "b" (30 records) or "c" (10).
    taught = imperfect_teacher(["a"] * 400 + ["b"] * 30 + ["c"] * 10, error=1, seed=0)
    counts = Counter(taught[:400])
    assert counts["a"] == 0
    assert 250 < counts["b"] < 350  # expected 300, standard deviation 8.7


def test_an_impossible_teacher_is_refused():
    with pytest.raises(ValueError, match=r"error must lie in \[0, 1\]"):
        imperfect_teacher(["a", "b"], error=1.5, seed=0)
    with pytest.raises(ValueError, match="all are the same"):
        imperfect_teacher(["a", "a"], error=0.5, seed=0)
