"""From records to documents: which tokens there are, and which of them bear loss."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data.spans import Spans, Tag, Text, parted, parted_solution
from data.tokenizer import AnyTokenizer
from jaxreason.mixture import Document
from jaxreason.tasks.vocabulary import ABSTRACTION, SOLUTION


@dataclasses.dataclass(frozen=True)
class Record:
    """One problem with its abstraction and worked solution, the latter two with their tags."""

    problem: str
    abstraction: str
    solution: str


def tokenised(tokenizer: AnyTokenizer, spans: Spans, *, end: bool = True) -> Document:
    """Turns an example into tokens: prompt, trace, answer and the end of sequence.

    Args:
        tokenizer: The tokenizer; it must have the tags of the example as symbols.
        spans: The example.
        end: Whether the end of sequence follows; it counts as part of the answer.

    Returns:
        The document.

    Raises:
        ValueError: If the tokenizer lacks a tag, or a text is not valid Unicode.
    """
    prompt, trace, answer = (
        _ids(tokenizer, text) for text in (spans.prompt, spans.trace, spans.answer)
    )
    answer += [tokenizer.eos_id] * end
    tokens = np.array(prompt + trace + answer, np.int32)
    return Document(tokens, prompt_length=len(prompt), answer_length=len(answer))


def _ids(tokenizer: AnyTokenizer, text: Text) -> list[int]:
    ids: list[int] = []
    for part in text:
        ids += (
            tokenizer.symbol_ids([part.symbol]) if isinstance(part, Tag) else tokenizer.encode(part)
        )
    return ids


def reasoning_document(tokenizer: AnyTokenizer, record: Record, *, bare: bool = False) -> Document:
    """Renders a whole record for pretraining; loss on all but the problem, whose digits are random.

    Args:
        tokenizer: The tokenizer.
        record: The record.
        bare: Whether to leave the abstraction out.
    """
    hint = "" if bare else record.abstraction
    return _rendered(tokenizer, record.problem, hint + record.solution)


def abstraction_example(tokenizer: AnyTokenizer, record: Record) -> Document:
    """Renders problem -> abstraction; loss on the rule and on the solution tag that ends it."""
    words = record.abstraction.removeprefix(ABSTRACTION)
    return _rendered(tokenizer, record.problem + ABSTRACTION, words + SOLUTION, end=False)


def solution_example(tokenizer: AnyTokenizer, record: Record, *, bare: bool = False) -> Document:
    """Renders problem and abstraction -> worked solution; loss on the solution and its end.

    Args:
        tokenizer: The tokenizer.
        record: The record.
        bare: Whether to leave the abstraction out of the prompt.
    """
    hint = "" if bare else record.abstraction
    trace = record.solution.removeprefix(SOLUTION)
    return _rendered(tokenizer, record.problem + hint + SOLUTION, trace)


def imperfect_teacher(abstractions: Sequence[str], *, error: float, seed: int) -> list[str]:
    """Replaces a share of the abstractions by other records' different ones.

    Args:
        abstractions: Right abstractions, one a record.
        error: The share that becomes wrong, exact to one record.
        seed: Chooses which ones, and by what.

    Returns:
        The abstractions of a teacher that errs in `round(error * len(abstractions))` of them.

    Raises:
        ValueError: If `error` is outside [0, 1], or all abstractions are the same.
    """
    if not 0 <= error <= 1:
        raise ValueError(f"a teacher's error must lie in [0, 1]; got {error:g}.")
    rng = np.random.default_rng(seed)
    wrong = rng.permutation(len(abstractions))[: round(error * len(abstractions))]
    if len(wrong) and len(set(abstractions)) < 2:
        raise ValueError("an erring teacher needs two different abstractions; all are the same.")
    taught = list(abstractions)
    for record in wrong:
        while taught[record] == abstractions[record]:
            taught[record] = abstractions[rng.integers(len(abstractions))]
    return taught


def _rendered(
    tokenizer: AnyTokenizer, prompt: str, completion: str, *, end: bool = True
) -> Document:
    """Renders what follows a prompt of the rule tasks."""
    trace, answer = parted_solution(completion)
    return tokenised(tokenizer, Spans(parted(prompt), trace, answer), end=end)
