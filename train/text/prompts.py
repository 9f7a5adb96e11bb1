"""What the two players are told, and their prompts in tokens.

After the prompts of "RLAD: Training LLMs to Discover Abstractions for Solving Reasoning Problems"
by Qu et al. (https://arxiv.org/abs/2510.02263), in words that a small model understands.
"""

import dataclasses
from collections.abc import Sequence as Seq
from typing import NamedTuple

import jax
import jax.numpy as jnp

from data.pretrained.tokenizer import PretrainedTokenizer
from data.questions import Question
from jaxreason.rollout import pad_prompts
from jaxreason.tasks import Sequence, Task, TextProblem, make_text_task
from train.errors import RefusedError

PLACE = "\ufdef"
"""Stands for the hint: a code point that is never a character of a text."""
STEP = 16
"""Prompts are padded to a multiple of so many tokens."""
PROPOSE = (
    "{problem}\n\n"
    "Do not solve this problem. Write a hint for somebody who will: name the idea, the rule or the"
    " method that helps, and a mistake to avoid, in one or two short sentences. The hint must not"
    " give the answer away."
)
HINTED = "{problem}\n\nHere is a hint that may help:\n{hint}\n\n{instruction}"
BARE = "{problem}\n\n{instruction}"
WITHHELD = (
    "Here is a hint for a problem that you can't see:\n{hint}\n\n"
    "Guess the answer of the problem. {instruction}"
)


@dataclasses.dataclass(frozen=True)
class TokenisedQuestions:
    """Questions in text, and as the pieces of their prompts."""

    questions: tuple[Question, ...]
    """Those whose prompts are short enough; `problems.row` counts them."""
    problems: TextProblem
    """Their prompts, with one batch axis."""
    withheld: tuple[Sequence, Sequence]
    """The prompt around a hint where the problem is withheld."""
    left_out: int
    """How many were too long."""


def tokenise(
    tokenizer: PretrainedTokenizer,
    questions: Seq[Question],
    instruction: str,
    *,
    max_prompt_length: int,
) -> TokenisedQuestions:
    """Makes the prompts of questions by the model's chat template.

    Args:
        tokenizer: The model's.
        questions: The questions.
        instruction: How to answer.
        max_prompt_length: Tokens of the longest prompt, the hint not counted.

    Raises:
        RefusedError: If every prompt is too long.
        ValueError: If the model has no chat template, or it can't be applied.
    """
    pieces = [pieces_of(tokenizer, question.problem, instruction) for question in questions]
    kept = [row for row, each in enumerate(pieces) if each.length <= max_prompt_length]
    if not kept:
        shortest = min((each.length for each in pieces), default=0)
        raise RefusedError(
            f"none of the {len(pieces)} questions has a prompt of at most {max_prompt_length}"
            f" tokens; the shortest has {shortest}: raise max_prompt_length."
        )
    columns = zip(*(pieces[row] for row in kept), strict=True)
    pad = lambda texts: pad_prompts(  # noqa: E731
        texts, buckets=(_rounded_up(max(map(len, texts))),), pad_id=tokenizer.pad_id
    )
    propose, before, after, bare = map(pad, columns)
    around = _around(tokenizer, WITHHELD.format(hint=PLACE, instruction=instruction))
    return TokenisedQuestions(
        tuple(questions[row] for row in kept),
        TextProblem(jnp.arange(len(kept)), propose, before, after, bare),
        tuple(jax.tree.map(lambda leaf: leaf[0], pad([side])) for side in around),
        len(pieces) - len(kept),
    )


def task_of(
    tokenizer: PretrainedTokenizer,
    tokenised: TokenisedQuestions,
    *,
    abstraction_length: int,
    solution_length: int,
) -> Task:
    """Returns the game's task of tokenised questions.

    Args:
        tokenizer: The model's.
        tokenised: Questions and prompts.
        abstraction_length: Tokens of the longest hint.
        solution_length: Tokens of the longest solution.
    """
    ids = range(tokenizer.vocab_size)
    return make_text_task(
        tokenised.problems,
        tokenised.withheld,
        stops=tokenizer.stop_ids,
        silent=tuple(token for token in ids if not tokenizer.token_bytes(token)),
        abstraction_length=abstraction_length,
        solution_length=solution_length,
    )


class Pieces(NamedTuple):
    """The prompts of a problem in token ids."""

    propose: list[int]
    """What asks for a hint."""
    before: list[int]
    """What the solver reads before a hint."""
    after: list[int]
    """What it reads after one."""
    bare: list[int]
    """What it reads without a hint."""

    @property
    def length(self) -> int:
        """Tokens of the longest prompt, the hint not counted."""
        return max(len(self.propose), len(self.before) + len(self.after), len(self.bare))


def pieces_of(tokenizer: PretrainedTokenizer, problem: str, instruction: str) -> Pieces:
    """Returns the prompts of a problem by the model's chat template.

    Raises:
        ValueError: If the model has no chat template, or it can't be applied.
    """
    problem = problem.replace(PLACE, "").strip()
    hinted = HINTED.format(problem=problem, hint=PLACE, instruction=instruction)
    propose, bare = (
        tokenizer.encode_chat(_as_user(text), add_generation_prompt=True)
        for text in (
            PROPOSE.format(problem=problem),
            BARE.format(problem=problem, instruction=instruction),
        )
    )
    return Pieces(propose, *_around(tokenizer, hinted), bare)


def _rounded_up(length: int) -> int:
    """Returns a multiple of `STEP`: other questions of a task seldom need other programs."""
    return -(-length // STEP) * STEP


def _around(tokenizer: PretrainedTokenizer, text: str) -> tuple[list[int], list[int]]:
    return tokenizer.encode_chat_around(_as_user(text), PLACE, add_generation_prompt=True)


def _as_user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]
