"""Questions with verifiable answers, by the name of a task: GSM8K, and reasoning-gym's families."""

import dataclasses
import difflib
import importlib.util
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data import reasoning_gym
from data.families import distinct
from data.hub import HuggingFaceFolder
from data.readers import Reader, Tfds, read_rows
from data.renderers import SpansReader, find_renderer
from data.spans import Tag
from data.verifiers import FinalAnswerVerifier, NumberVerifier, ReasoningGymVerifier

GSM8K = "gsm8k"


@dataclasses.dataclass(frozen=True)
class Question:
    """A problem and what its answers are compared with."""

    problem: str
    """What is asked."""
    reference: Any
    """What the verifier compares a response with."""
    answer: str
    """The final answer."""
    solution: str = ""
    """A worked solution with the final answer, where the source has one."""


@dataclasses.dataclass(frozen=True)
class QuestionSet:
    """The questions of a task; no problem is in both splits of a family that is drawn."""

    name: str
    """The task's name."""
    train: Sequence[Question]
    """Those to learn from."""
    test: Sequence[Question]
    """Those to be evaluated on."""
    verifier: Callable[[str, Any], float]
    """Called with a whole response and a reference, returns a reward in [0, 1]."""
    instruction: str
    """How to answer; it is put after the problem."""
    final: str = "Answer: {}"
    """How that asks for a final answer to be written, which stands for `{}`."""

    def prompt(self, question: Question) -> str:
        """Returns what a model is asked."""
        return f"{question.problem.strip()}\n\n{self.instruction}"

    def response(self, question: Question) -> str:
        """Returns a right response: the worked solution, or the final answer alone."""
        return question.solution or self.final.replace("{}", question.answer)


def open_questions(
    name: str,
    folder: str | None = None,
    *,
    cache_dir: Path,
    seed: int,
    num_train: int,
    num_test: int,
) -> QuestionSet:
    r"""Opens the questions of a task.

    The test questions don't depend on how many train questions are asked for, nor the other way
    round, and more of them begin with those of fewer; reasoning-gym's training questions do depend
    on `num_test`, as they are the next ones drawn.

    Args:
        name: `gsm8k` ("Training Verifiers to Solve Math Word Problems" by Cobbe et al.,
            https://arxiv.org/abs/2110.14168), or a family of reasoning-gym.
        folder: Where GSM8K lies, as the Hugging Face hub lays it out; through TFDS if None.
        cache_dir: Where TFDS puts what it downloads.
        seed: Which of GSM8K's questions, or which draws of a family.
        num_train: Training questions; of GSM8K all if there are fewer.
        num_test: Test questions, likewise.

    Raises:
        ValueError: If there is no such task, a package or a file of it is missing, or it has not
            so many different questions.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> line = '{"question": "1 + 1?", "answer": "1 + 1 = <<1+1=2>>2\\n#### 2"}'
        >>> for split in ("train", "test"):
        ...     _ = (folder / f"{split}.jsonl").write_text(line)
        >>> found = open_questions(
        ...     "gsm8k", str(folder), cache_dir=folder, seed=0, num_train=5, num_test=5)
        >>> found.train[0].solution, found.verifier("Two? No, 2.", found.test[0].reference)
        ('1 + 1 = 2\n#### 2', 1.0)
    """
    for kind, count in (("num_train", num_train), ("num_test", num_test)):
        if count < 0:
            raise ValueError(f"{kind} must be 0 or more; got {count}.")
    if name == GSM8K:
        return _gsm8k(folder, cache_dir, seed, num_train, num_test)
    _check_family(name)
    if folder is not None:
        raise ValueError(f"the questions of {name} are drawn, not read; leave out the folder.")
    return _reasoning_gym(name, seed, num_train, num_test)


def _check_family(name: str) -> None:
    if importlib.util.find_spec("reasoning_gym") is None:
        raise ValueError(
            f"the task {name!r} is not {GSM8K}, and the others are those of a package that is"
            " missing; run `pip install reasoning-gym`."
        )
    known = [GSM8K, *sorted(reasoning_gym.family_names())]
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
        raise ValueError(f"there is no task {name!r}; the nearest known one is {nearest!r}.")


def _gsm8k(
    folder: str | None, cache_dir: Path, seed: int, num_train: int, num_test: int
) -> QuestionSet:
    chosen = {}
    for split, count in (("train", num_train), ("test", num_test)):
        reader: Reader = HuggingFaceFolder(folder, split) if folder else Tfds(GSM8K, split)
        found = list(_gsm8k_questions(reader, cache_dir)) if count else []
        order = np.random.default_rng(seed).permutation(len(found))
        chosen[split] = tuple(found[index] for index in order[:count])
    return QuestionSet(
        name=GSM8K,
        verifier=NumberVerifier(),
        instruction="Solve this step by step. End with a line of its own: #### and then the final"
        " number.",
        final="#### {}",
        **chosen,
    )


def _gsm8k_questions(reader: Reader, cache_dir: Path) -> Iterator[Question]:
    for spans in SpansReader(read_rows(reader, cache_dir), find_renderer(GSM8K)):
        trace, answer = (
            "".join(part for part in text if not isinstance(part, Tag))
            for text in (spans.trace, spans.answer)
        )
        yield Question(spans.problem, answer, answer, f"{trace}\n#### {answer}".lstrip())


def _reasoning_gym(name: str, seed: int, num_train: int, num_test: int) -> QuestionSet:
    draws = reasoning_gym.DRAWS_PER_PROBLEM * (num_train + num_test)
    rows = (
        {"problem": entry["question"], "entry": entry}
        for entry in reasoning_gym.entries(name, draws, seed)
    )
    found = (
        Question(row["problem"], row["entry"], row["entry"]["answer"])
        for row in distinct(rows, name, set())
    )
    return QuestionSet(
        name=name,
        test=tuple(itertools.islice(found, num_test)),
        train=tuple(itertools.islice(found, num_train)),
        verifier=FinalAnswerVerifier(ReasoningGymVerifier(name)),
        instruction='End with a line that begins with "Answer:" and then gives the answer alone.',
    )
