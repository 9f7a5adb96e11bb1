"""Writes lessons for both players: `python -m train.text.teacher OUT --task aiw`.

Examples of the files that `python -m train.sft --sft.teacher FILE` learns from, for two families of
reasoning-gym. Half of the lessons have an abstraction that says what the solver needs to know of
this problem, the others advice that holds for every one. Which of the two to write is left for the
game to find out. Solutions are worked, and don't depend on the abstraction.

- `aiw`, Alice in Wonderland: she is one of the sisters that her brothers have, which models forget
  (Nezhurina et al., https://arxiv.org/abs/2406.02061). A solution adds her to the number she has.
- `spell_backward`: the word's letters one by one, which a model that reads pieces of words can't
  see. A solution writes the letters backward first, then the word.
"""

import argparse
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.cache import default_cache_dir
from data.questions import Question, open_questions
from train.errors import RefusedError, exit_on_refusal, refuse_bad_values

_WOMEN = re.compile(r"(\d+) (sisters|female friends|female colleagues)")


class Taught(NamedTuple):
    """What a teacher says of a question."""

    abstraction: str
    """What the solver needs to know of it."""
    solution: str
    """A worked solution."""


class Teacher(NamedTuple):
    """A teacher of one family."""

    teach: Callable[[Question], Taught]
    """Solves a question."""
    advice: tuple[str, ...]
    """Abstractions that hold for every question."""


def spell(question: Question) -> Taught:
    r"""Teaches `spell_backward`.

    Example:
        >>> spell(Question("Spell this word backward: sun", None, "nus"))
        Taught(abstraction='The letters are s u n.', solution='n u s\nAnswer: nus')
    """
    backward, forward = " ".join(question.answer), " ".join(reversed(question.answer))
    return Taught(f"The letters are {forward}.", f"{backward}\nAnswer: {question.answer}")


def count_alice(question: Question) -> Taught:
    r"""Teaches `aiw`.

    Example:
        >>> asked = "Mary has 2 brothers and she also has 4 sisters. How many sisters does Mary's"
        >>> taught = count_alice(Question(f"{asked} brother have?", None, "5"))
        >>> taught.abstraction
        'Mary is one of the sisters herself, so add her to the 4.'
        >>> taught.solution
        '4 + 1 = 5\nAnswer: 5'
    """
    name = question.problem.split(maxsplit=1)[0]
    number, women = _WOMEN.findall(question.problem)[0]
    return Taught(
        f"{name} is one of the {women} herself, so add her to the {number}.",
        f"{number} + 1 = {int(number) + 1}\nAnswer: {question.answer}",
    )


TEACHERS = {
    "aiw": Teacher(
        count_alice,
        (
            "Read every number before you answer.",
            "Look for the people that the question is about.",
            "Not every number in the question matters.",
            "The answer is one small number.",
        ),
    ),
    "spell_backward": Teacher(
        spell,
        (
            "Start with the last letter and go back one letter at a time.",
            "Read the word from its end to its beginning.",
            "The first letter comes last, and the last one first.",
            "Work slowly and leave no letter out.",
        ),
    ),
}


def lesson_of(question: Question, teacher: Teacher, random: np.random.Generator) -> dict[str, str]:
    """Returns a lesson; a coin decides whether its abstraction helps."""
    taught, advice = teacher.teach(question), teacher.advice[random.integers(len(teacher.advice))]
    return {
        "problem": question.problem,
        "abstraction": taught.abstraction if random.random() < 0.5 else advice,
        "solution": taught.solution,
    }


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m train.text.teacher", description=__doc__.splitlines()[0]
    )
    parser.add_argument("out", type=Path, help="the JSON-lines file to write")
    parser.add_argument(
        "--task",
        choices=tuple(TEACHERS),
        default="aiw",
        help="(default: aiw)",
    )
    parser.add_argument("--lessons", type=int, default=1500, help="how many (default: 1500)")
    parser.add_argument(
        "--seed", type=int, default=0, help="the seed of the experiment (default: 0)"
    )
    parser.add_argument(
        "--test-questions",
        type=int,
        default=200,
        help="the experiment's evaluation.questions, none of which is a lesson (default: 200)",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Writes the file."""
    options = _parse(argv)
    with exit_on_refusal(), refuse_bad_values():
        if options.out.exists():
            raise RefusedError(f"{options.out} exists already; name another file.")
        if options.lessons < 1:
            raise RefusedError(f"--lessons must be 1 or more; got {options.lessons}.")
        if not options.out.parent.is_dir():
            raise RefusedError(f"there is no folder {options.out.parent} to write into.")
        questions = open_questions(
            options.task,
            cache_dir=default_cache_dir(),
            seed=options.seed,
            num_train=options.lessons,
            num_test=options.test_questions,
        )
        random = np.random.default_rng(options.seed)
        teacher = TEACHERS[options.task]
        lessons = [lesson_of(question, teacher, random) for question in questions.train]
        options.out.write_text("".join(json.dumps(each) + "\n" for each in lessons), "utf-8")
    print(f"{len(lessons):,} lessons in {options.out}")


if __name__ == "__main__":
    main()
