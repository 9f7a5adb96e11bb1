"""The game's task of some questions, in the tokens of a pretrained model."""

from collections.abc import Sequence as Seq

from data.questions import Question
from jaxreason.tasks import Task
from train.errors import refuse_bad_values
from train.text.pretrained import Pretrained
from train.text.prompts import TokenisedQuestions, task_of, tokenise
from train.text.rl_config import TextRLConfig


def prepare_game(
    settings: TextRLConfig, pretrained: Pretrained, questions: Seq[Question], instruction: str
) -> tuple[TokenisedQuestions, Task]:
    """Tokenises questions for the game; tells how many are left out.

    Args:
        settings: Lengths of prompts, abstractions and solutions.
        pretrained: The model.
        questions: The questions.
        instruction: How to answer.

    Raises:
        RefusedError: If the model has no template for chats, or every question is too long.
    """
    with refuse_bad_values():
        tokenised = tokenise(
            pretrained.tokenizer,
            questions,
            instruction,
            max_prompt_length=settings.max_prompt_length,
        )
        task = task_of(
            pretrained.tokenizer,
            tokenised,
            abstraction_length=settings.abstraction_length,
            solution_length=settings.solution_length,
        )
    longer = f"; {tokenised.left_out} longer ones are left out" if tokenised.left_out else ""
    print(f"{len(tokenised.questions)} questions{longer}")
    return tokenised, task
