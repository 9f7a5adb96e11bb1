"""Questions with what their answers are compared with."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Question:
    """A question and its answer."""

    problem: str
    """The question."""
    reference: Any
    """What the verifier compares an answer with."""
    answer: str
    """The final answer as text."""
    solution: str = ""
    """A worked solution with the final answer, where the source has one."""


@dataclasses.dataclass(frozen=True)
class QuestionSet:
    """Questions of one source."""

    name: str
    """The source."""
    train: Sequence[Question]
    """Questions to learn from."""
    test: Sequence[Question]
    """Questions to be measured on."""
    verifier: Callable[[str, Any], float]
    """Called with the text of an answer and a reference."""
    instruction: str
    """How to answer; put after the problem."""
