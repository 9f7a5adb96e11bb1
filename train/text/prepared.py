"""What a program with a pretrained model needs before it reads any weights."""

import dataclasses
from collections.abc import Sequence as Seq

from data.pretrained.hf_config import model_config
from data.pretrained.load import load_pretrained
from data.pretrained.models import find_model, open_model, open_tokenizer
from data.pretrained.sources import TensorSource
from data.pretrained.tokenizer import PretrainedTokenizer
from data.questions import Question
from jaxreason.model import ModelConfig, Params
from jaxreason.tasks import Task
from train.errors import refuse_bad_values
from train.text.config import TextConfig
from train.text.prompts import TokenisedQuestions, task_of, tokenise


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A model that is opened, and the game's task of some questions in its tokens."""

    source: TensorSource
    tokenizer: PretrainedTokenizer
    model: ModelConfig
    tokenised: TokenisedQuestions
    task: Task

    def load_base(self) -> Params:
        """Reads the weights.

        Raises:
            RefusedError: If they can't be read.
        """
        with refuse_bad_values():
            return load_pretrained(self.source, dtype=self.model.dtype)[1]


def prepare(config: TextConfig, questions: Seq[Question], instruction: str) -> Prepared:
    """Opens the model and tokenises questions; tells how many are left out.

    Args:
        config: The experiment.
        questions: The questions.
        instruction: How to answer.

    Raises:
        RefusedError: If the model can't be opened, or every question is too long.
    """
    settings = config.rl
    with refuse_bad_values():
        path = find_model(config.model)
        source, tokenizer = open_model(path), open_tokenizer(path)
        model = dataclasses.replace(model_config(source.config), dtype=config.dtype)
        tokenised = tokenise(
            tokenizer, questions, instruction, max_prompt_length=settings.max_prompt_length
        )
        task = task_of(
            tokenizer,
            tokenised,
            abstraction_length=settings.abstraction_length,
            solution_length=settings.solution_length,
        )
    longer = f"; {tokenised.left_out} longer ones are left out" if tokenised.left_out else ""
    print(f"{len(tokenised.questions)} questions{longer}")
    return Prepared(source, tokenizer, model, tokenised, task)
