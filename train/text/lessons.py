"""What a teacher wrote: problems with an abstraction and a worked solution, for both players."""

import dataclasses
from collections.abc import Sequence as Seq

import numpy as np

from data.files import BadRowError, Files
from data.questions import GSM8K, QuestionSet
from train.errors import RefusedError, refuse_bad_values
from train.text.answers import Answerer
from train.text.config import TextConfig
from train.text.pretrained import Pretrained, size_of
from train.text.prompts import Pieces, pieces_of
from train.text.referee import open_pool

FIELDS = ("problem", "abstraction", "solution")


@dataclasses.dataclass(frozen=True)
class Lesson:
    """A problem as a teacher solved it."""

    problem: str
    abstraction: str
    solution: str


def read_lessons(paths: str) -> list[Lesson]:
    """Reads files whose rows have a problem, an abstraction and a solution.

    Raises:
        RefusedError: If there is no such file, or a row lacks one of them.
    """
    lessons = []
    with refuse_bad_values():
        for row in Files(paths).rows():
            if isinstance(row, BadRowError):
                raise row
            texts = [row.values.get(name) for name in FIELDS]
            for name, text in zip(FIELDS, texts, strict=True):
                if not isinstance(text, str) or not text.strip():
                    raise RefusedError(
                        f"{row.place} has no text in its field {name!r}; a teacher's rows have"
                        f" {', '.join(FIELDS)}."
                    )
            lessons.append(Lesson(*(text.strip() for text in texts)))
    if not lessons:
        raise RefusedError(f"{paths} holds no rows; a teacher's rows have {', '.join(FIELDS)}.")
    return lessons


def untested(lessons: Seq[Lesson], questions: QuestionSet) -> list[Lesson]:
    """Leaves out lessons whose problem is a test question, and tells how many.

    Raises:
        RefusedError: If nothing is left.
    """
    tested = {" ".join(question.problem.split()) for question in questions.test}
    kept = [each for each in lessons if " ".join(each.problem.split()) not in tested]
    if len(kept) < len(lessons):
        print(
            f"{len(lessons) - len(kept):,} of the teacher's {len(lessons):,} lessons are test"
            " questions and left out"
        )
    if not kept:
        raise RefusedError("all lessons of the teacher are test questions: nothing may be learned.")
    return kept


def prompts_of(pretrained: Pretrained, lesson: Lesson, instruction: str) -> tuple[Pieces, Seq[int]]:
    """Returns the pieces of a lesson's prompts, and the solver's prompt with its abstraction."""
    pieces = pieces_of(pretrained.tokenizer, lesson.problem, instruction)
    hint = pretrained.tokenizer.encode(lesson.abstraction)
    return pieces, [*pieces.before, *hint, *pieces.after]


def keep_useful(
    config: TextConfig, pretrained: Pretrained, questions: QuestionSet, lessons: Seq[Lesson]
) -> list[Lesson]:
    """Keeps the lessons whose abstraction lets the model succeed more often than none, strictly.

    The rule of `jaxreason.rlad.raises_success`, with a verifier's verdicts: solutions that it could
    not judge don't count, and a lesson of which one side could not be judged at all is left out.

    Args:
        config: The experiment; `config.sft.filter_samples` solutions are drawn for each prompt.
        pretrained: The solver.
        questions: The task, for its instruction and verifier.
        lessons: What the teacher wrote.

    Raises:
        RefusedError: If the task's verifier does not compare with texts, memory does not suffice,
            or no abstraction raises success.
    """
    if questions.name != GSM8K:
        raise RefusedError(
            f"the verifier of {questions.name} can't compare with a teacher's solution: leave"
            " sft.filter_samples at 0."
        )
    settings = dataclasses.replace(
        config.evaluation,
        samples=config.sft.filter_samples,
        temperature=config.rl.game.temperature,
        top_p=1.0,
    )
    prompts: list[Seq[int]] = []
    with refuse_bad_values():
        for lesson in lessons:
            pieces, hinted = prompts_of(pretrained, lesson, questions.instruction)
            prompts += [hinted, pieces.bare]
    answerer = Answerer(pretrained.model, pretrained.tokenizer, prompts, settings, config.seed)
    shapes = pretrained.shapes(config.dtype)
    compiled = answerer.compile(shapes, unloaded=size_of(shapes))
    answers = answerer.answer(pretrained.load(config.dtype), compiled, "useful abstractions")
    with open_pool(questions, settings) as pool, refuse_bad_values():
        verdicts = pool.score(
            [text for texts in answers.texts for text in texts],
            [each.solution for each in lessons for _ in range(2 * settings.samples)],
        )
    shape = (len(lessons), 2, settings.samples)
    valid = verdicts.valid.reshape(shape)
    counts = valid.sum(-1)
    right = np.where(valid, verdicts.rewards.reshape(shape), 0.0).sum(-1)
    success = right / np.where(counts > 0, counts, np.nan)
    kept = [each for each, (given, bare) in zip(lessons, success, strict=True) if given > bare]
    if not kept:
        raise RefusedError(
            f"none of the teacher's {len(lessons)} abstractions lets the model succeed more often"
            " than without it: set sft.filter_samples to 0, or take other abstractions."
        )
    print(
        f"{len(kept):,} of the teacher's {len(lessons):,} abstractions raise success and are kept"
    )
    return kept
