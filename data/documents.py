"""From records to documents: which tokens there are, and which of them bear loss."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data.tokenizer import Tokenizer
from jaxreason.mixture import Document
from jaxreason.tasks.vocabulary import ABSTRACTION, SOLUTION


@dataclasses.dataclass(frozen=True)
class Record:
    """One problem with its abstraction and worked solution, the latter two with their tags."""

    problem: str
    abstraction: str
    solution: str


def text_document(tokenizer: Tokenizer, text: str) -> Document:
    """Renders plain text and the end of sequence; every token bears loss."""
    return _document(tokenizer, prompt="", completion=text, end=True)


def reasoning_document(tokenizer: Tokenizer, record: Record, *, bare: bool = False) -> Document:
    """Renders a whole record for pretraining; loss on all but the problem, whose digits are random.

    Args:
        tokenizer: The tokenizer.
        record: The record.
        bare: Whether to leave the abstraction out.
    """
    hint = "" if bare else record.abstraction
    return _document(tokenizer, prompt=record.problem, completion=hint + record.solution, end=True)


def abstraction_example(tokenizer: Tokenizer, record: Record) -> Document:
    """Renders problem -> abstraction; loss on the rule and on the solution tag that ends it."""
    words = record.abstraction.removeprefix(ABSTRACTION)
    return _document(
        tokenizer, prompt=record.problem + ABSTRACTION, completion=words + SOLUTION, end=False
    )


def solution_example(tokenizer: Tokenizer, record: Record, *, bare: bool = False) -> Document:
    """Renders problem and abstraction -> worked solution; loss on the solution and its end.

    Args:
        tokenizer: The tokenizer.
        record: The record.
        bare: Whether to leave the abstraction out of the prompt.
    """
    hint = "" if bare else record.abstraction
    trace = record.solution.removeprefix(SOLUTION)
    return _document(tokenizer, prompt=record.problem + hint + SOLUTION, completion=trace, end=True)


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


def _document(tokenizer: Tokenizer, *, prompt: str, completion: str, end: bool) -> Document:
    """Joins a prompt without loss and a completion with loss, ended by eos if `end`."""
    given = tokenizer.encode(prompt)
    learned = tokenizer.encode(completion) + [tokenizer.eos_id] * end
    tokens = np.array(given + learned, np.int32)
    return Document(tokens=tokens, loss_mask=np.arange(len(tokens)) >= len(given))
