r"""Verifiers that need Python: numbers, LaTeX, and the scorers of `reasoning-gym`.

A verifier is called with the text of an answer and with what it is compared to, and returns a
reward in [0, 1]. A wrong or an unreadable answer is a reward of 0. A reference that can't be read
is an error: it says nothing about the answer. Verifiers are small frozen objects that can be sent
to another process, where `data.verifier_pool.VerifierPool` runs them with a time limit. One that
has to import something first does so in `prepare`, which the limit leaves out.
"""

import dataclasses
import functools
import importlib.util
import logging
from collections.abc import Callable
from types import ModuleType
from typing import Any

from data.families import check_families
from data.final_answers import final_answer
from data.number_answers import read_number

COMPOSITE = "composite"  # the family of `reasoning-gym` that mixes others, which it must be told
LATEX_MARKS = ("$", r"\(", r"\[", r"\boxed")


@dataclasses.dataclass(frozen=True)
class NumberVerifier:
    """Compares numbers exactly, as `data.number_answers.read_number` reads them.

    Example:
        >>> NumberVerifier()("The total is $1,000.00.", "#### 1000")
        1.0
        >>> NumberVerifier()("about 0.33", "1/3")
        0.0
    """

    def __call__(self, answer: str, reference: str) -> float:
        """Returns 1 if the answer's number is the reference's, else 0.

        Args:
            answer: A text; without a number it is wrong.
            reference: A text with the right number.

        Raises:
            ValueError: If the reference holds no number.
        """
        expected = read_number(reference)
        if expected is None:
            raise ValueError(f"the reference {reference!r} holds no number.")
        return float(read_number(answer) == expected)


@dataclasses.dataclass(frozen=True)
class LatexVerifier:
    r"""Compares mathematics by value, with the optional package `math-verify`.

    Fractions, roots, sets, intervals, matrices, equations and expressions with symbols are equal
    if they mean the same; numbers need to agree to six decimals. An answer shows its mathematics
    between dollar signs or in `\boxed{...}`; a number or a fraction may also stand alone.

    `math-verify` would limit its time by a signal, which works in a main thread only. That is
    switched off: run this verifier in a `VerifierPool`, as an expression may take forever.

    Raises:
        ValueError: If `math-verify` is missing.
    """

    def __post_init__(self) -> None:
        if importlib.util.find_spec("math_verify") is None:
            raise ValueError(
                "LatexVerifier needs a package that is missing; run `pip install math-verify`."
            )

    def prepare(self) -> None:
        """Imports `math-verify`, and leaves out its warning that nothing limits its time."""
        logging.getLogger("math_verify").setLevel(logging.ERROR)
        self(r"$\frac{1}{2}$", "0.5")  # its parser loads its tables when it first reads something

    def __call__(self, answer: str, reference: str) -> float:
        r"""Returns 1 if the answer equals the reference, else 0.

        Args:
            answer: A text; without mathematics it is wrong.
            reference: The right answer, in LaTeX; dollar signs or `\boxed{...}` may be there.

        Raises:
            ValueError: If the reference holds no mathematics.
        """
        import math_verify

        marked = any(mark in reference for mark in LATEX_MARKS)
        read = functools.partial(math_verify.parse, parsing_timeout=None, raise_on_error=True)
        expected = read(reference if marked else f"${reference}$")
        if not expected:
            raise ValueError(f"the reference {reference!r} holds no mathematics.")
        return float(
            math_verify.verify(expected, read(answer), timeout_seconds=None, raise_on_error=True)
        )


@dataclasses.dataclass(frozen=True)
class ReasoningGymVerifier:
    """Scores answers as a family of the optional package `reasoning-gym` does.

    Some families give part of the reward for an answer that is partly right.

    Raises:
        ValueError: If `reasoning-gym` is missing or has no such family.
    """

    name: str
    """The name of one of `reasoning_gym`'s data sets."""

    def __post_init__(self) -> None:
        check_families((self.name,), _reasoning_gym().factory.DATASETS.keys() - {COMPOSITE})

    def prepare(self) -> None:
        """Imports `reasoning-gym`."""
        _scorer(self.name)

    def __call__(self, answer: str, reference: dict[str, Any]) -> float:
        """Returns the family's score of an answer.

        Args:
            answer: A text, the answer alone.
            reference: An entry of the family's data set: `question`, `answer` and `metadata`.
        """
        return _scorer(self.name)(answer, reference)


@dataclasses.dataclass(frozen=True)
class FinalAnswerVerifier:
    r"""Has another verifier judge what a text says in the end, see `data.final_answers`.

    Example:
        >>> FinalAnswerVerifier(NumberVerifier())("Answer: 12\nAnswer: 13", "12")
        0.0
    """

    verifier: Callable[[str, Any], float]
    """One that takes an answer alone."""

    def prepare(self) -> None:
        """Prepares the other one, if that is to be prepared."""
        getattr(self.verifier, "prepare", lambda: None)()

    def __call__(self, answer: str, reference: Any) -> float:
        """Returns the reward of a whole response; arguments as the other one takes them."""
        return self.verifier(final_answer(answer), reference)


@functools.cache
def _scorer(name: str) -> Callable[[str, dict[str, Any]], float]:
    return _reasoning_gym().get_score_answer_fn(name)


def _reasoning_gym() -> ModuleType:
    """Imports `reasoning_gym` when it is first needed."""
    try:
        import reasoning_gym
    except ImportError as error:
        raise ValueError(
            "ReasoningGymVerifier needs a package that is missing; run `pip install reasoning-gym`."
        ) from error
    return reasoning_gym
