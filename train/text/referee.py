"""Who reads what the players wrote: verdicts, leaks and samples of a round, from its texts."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from typing import Any

import jax
import numpy as np

from data.pretrained.tokenizer import PretrainedTokenizer
from data.questions import Question, QuestionSet
from data.verdicts import Verdicts
from data.verifier_pool import VerifierPool
from jaxreason.rlad import Play, spells_answer
from jaxreason.sequences import Sequence
from train.errors import refuse_bad_values
from train.text.config import TextEvaluationConfig
from train.text.rl_config import TextRLConfig

_GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


@contextlib.contextmanager
def open_pool(
    questions: QuestionSet, settings: TextRLConfig | TextEvaluationConfig
) -> Iterator[VerifierPool]:
    """Starts the processes that judge the answers to a task's questions.

    Raises:
        RefusedError: If the verifier can't start.
    """
    with contextlib.ExitStack() as stack:
        with refuse_bad_values():
            pool = stack.enter_context(
                VerifierPool(
                    questions.verifier, workers=settings.workers, time_limit=settings.time_limit
                )
            )
        yield pool


@dataclasses.dataclass(frozen=True)
class Texts:
    """A round in words; lists are nested as the arrays of `Play` are."""

    questions: list[Question]
    abstractions: list[list[str]]
    solutions: list[list[list[str]]]


class Referee:
    """Judges rounds of text; use its methods with `train.host_round.HostRound`.

    Args:
        tokenizer: The model's.
        questions: The questions that `TextProblem.row` counts.
        pool: Judges a solution by its text.
    """

    def __init__(
        self, tokenizer: PretrainedTokenizer, questions: Seq[Question], pool: VerifierPool
    ) -> None:
        self._tokenizer, self._questions, self._pool = tokenizer, questions, pool
        self._seen: tuple[Texts, Verdicts] | None = None

    def read(self, played: Play) -> Texts:
        """Returns the words of a round."""
        rows = np.asarray(played.problems.row).tolist()
        return Texts(
            [self._questions[row] for row in rows],
            texts_of(self._tokenizer, played.abstractions.completion),
            texts_of(self._tokenizer, played.solutions.completion),
        )

    def judge(self, played: Play) -> Verdicts:
        """Asks the verifier about every solution."""
        texts = self.read(played)
        answers, references = [], []
        for question, slots in zip(texts.questions, texts.solutions, strict=True):
            for solution in (text for slot in slots for text in slot):
                answers.append(solution)
                references.append(question.reference)
        verdicts = self._pool.score(answers, references)
        self._seen = texts, verdicts
        return verdicts

    def find_leaks(self, played: Play) -> np.ndarray:
        """Tells which abstractions of a round give the answer away, `[problem, abstraction]`."""
        texts = self.read(played)
        pairs = zip(texts.questions, texts.abstractions, strict=True)
        found = [[gives_away(text, question) for text in row] for question, row in pairs]
        return np.array(found, bool).reshape(played.abstractions.log_probs.shape[:2])

    def samples(self) -> list[dict[str, Any]]:
        """Returns the round judged last in words; a solution without a verdict has no reward."""
        if self._seen is None:
            return []
        texts, verdicts = self._seen
        shape = (len(texts.questions), len(texts.solutions[0]), len(texts.solutions[0][0]))
        rewards = np.where(verdicts.valid, verdicts.rewards, np.nan).reshape(shape)
        return [
            {
                "problem": question.problem,
                "answer": question.answer,
                "abstractions": [
                    {
                        "text": text,
                        "leaks": gives_away(text, question),
                        "solutions": _told(solutions[slot], rewards[row, slot]),
                    }
                    for slot, text in enumerate(hints)
                ],
                "bare": [
                    solution
                    for slot in range(len(hints), shape[1])
                    for solution in _told(solutions[slot], rewards[row, slot])
                ],
            }
            for row, (question, hints, solutions) in enumerate(
                zip(texts.questions, texts.abstractions, texts.solutions, strict=True)
            )
        ]


def texts_of(tokenizer: PretrainedTokenizer, sequences: Sequence) -> Any:
    """Returns the text of each sequence, in lists nested as the leading axes are."""
    tokens, mask = jax.device_get((sequences.tokens, sequences.mask))

    def read(tokens: np.ndarray, mask: np.ndarray) -> Any:
        if tokens.ndim == 1:
            return tokenizer.decode(tokens[mask].tolist()).strip()
        return [read(*each) for each in zip(tokens, mask, strict=True)]

    return read(tokens, mask)


def gives_away(abstraction: str, question: Question) -> bool:
    """Tells whether the answer stands in an abstraction, and not in the problem already.

    Also a short answer counts, as those of word problems mostly are; commas in numbers do not.

    Example:
        >>> question = Question("2 boxes of 9 pens: how many?", "18", "18")
        >>> gives_away("Multiply 2 by 9.", question), gives_away("It makes 18.", question)
        (False, True)
    """
    hint, problem, answer = (
        _GROUPED.sub("", text) for text in (abstraction, question.problem, question.answer)
    )
    known, told = (spells_answer(text, answer, shortest=1) for text in (problem, hint))
    return told and not known


def _told(solutions: list[str], rewards: np.ndarray) -> list[dict[str, Any]]:
    return [
        {"text": text, "reward": None if np.isnan(reward) else float(reward)}
        for text, reward in zip(solutions, rewards, strict=True)
    ]
