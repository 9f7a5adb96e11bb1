"""Writes lessons on spelling words backward: `python -m train.text.spelling_teacher OUT`.

An example of the files that `python -m train.sft --sft.teacher FILE` learns from, for the family
`spell_backward` of reasoning-gym. Half of the lessons have an abstraction that helps, the word's
letters one by one, which a model that reads pieces of words can't see; the others have advice that
says nothing about the word. Which of the two to write is left for the game to find out. Solutions
write the letters backward first, then the word.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.cache import default_cache_dir
from data.questions import Question, open_questions
from train.errors import RefusedError, exit_on_refusal, refuse_bad_values

TASK = "spell_backward"
ADVICE = (
    "Start with the last letter and go back one letter at a time.",
    "Read the word from its end to its beginning.",
    "The first letter comes last, and the last one first.",
    "Work slowly and leave no letter out.",
)


def lesson_of(question: Question, random: np.random.Generator) -> dict[str, str]:
    """Returns a lesson; a coin decides whether its abstraction helps.

    Example:
        >>> question = Question("Spell this word backward: sun", None, "nus")
        >>> lesson_of(question, np.random.default_rng(0))["abstraction"]
        'The letters are s u n.'
    """
    backward, forward = " ".join(question.answer), " ".join(reversed(question.answer))
    spelled, advice = f"The letters are {forward}.", ADVICE[random.integers(len(ADVICE))]
    return {
        "problem": question.problem,
        "abstraction": spelled if random.random() < 0.5 else advice,
        "solution": f"{backward}\nAnswer: {question.answer}",
    }


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m train.text.spelling_teacher", description=__doc__.splitlines()[0]
    )
    parser.add_argument("out", type=Path, help="the JSON-lines file to write")
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
            TASK,
            cache_dir=default_cache_dir(),
            seed=options.seed,
            num_train=options.lessons,
            num_test=options.test_questions,
        )
        random = np.random.default_rng(options.seed)
        lessons = [lesson_of(question, random) for question in questions.train]
        options.out.write_text("".join(json.dumps(each) + "\n" for each in lessons), "utf-8")
    print(f"{len(lessons):,} lessons in {options.out}")


if __name__ == "__main__":
    main()
