"""Problems in the words of a pretrained model, as a `Task`: prompts are put together from tokens.

The texts were made and tokenised before; whether an answer is right, Python has to say.
"""

import dataclasses
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from jaxreason.checks import check_that
from jaxreason.sequences import Sequence, concatenate
from jaxreason.tasks.task import Task


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class TextProblem:
    """A problem as the pieces of its prompts.

    Attributes:
        row: Its place among the problems that it was tokenised with, `[]`.
        propose: What the abstraction generator is given.
        before: What the solution generator is given, up to the abstraction.
        after: What it is given from there on.
        bare: What it is given without an abstraction.
    """

    row: Int[Array, "..."]
    propose: Sequence
    before: Sequence
    after: Sequence
    bare: Sequence


def make_text_task(
    pool: TextProblem,
    withheld: tuple[Sequence, Sequence],
    *,
    stops: tuple[int, ...],
    silent: tuple[int, ...] = (),
    abstraction_length: int,
    solution_length: int,
) -> Task:
    """Makes a task of tokenised problems.

    An abstraction is passed on without the tokens that end it, and without those that have no
    text, such as the marks of turns, so that it can't end the turn that it is put into.

    Args:
        pool: Problems with one batch axis, which `sample` draws from; it knows one split, `train`.
        withheld: What the solution generator is given before and after an abstraction where the
            problem is withheld.
        stops: Tokens that end what is written.
        silent: Further tokens of an abstraction that are not passed on.
        abstraction_length: Places of the longest abstraction, terminator included.
        solution_length: Places of the longest solution, terminator included.

    Returns:
        The task; it has no reward, nor anything else that has to read texts.

    Raises:
        ValueError: If there is no problem in the pool.

    Example:
        >>> words = lambda *ids: Sequence(jnp.array([ids]), jnp.ones((1, len(ids)), bool))
        >>> pool = TextProblem(
        ...     jnp.array([0]), words(5), words(6, 7), after=words(8), bare=words(6, 9))
        >>> before, after = jax.tree.map(lambda leaf: leaf[0], (words(4), words(8)))
        >>> task = make_text_task(
        ...     pool, (before, after), stops=(2,), abstraction_length=2, solution_length=8)
        >>> problem = task.sample(jax.random.key(0), "train")
        >>> hint = Sequence(jnp.array([3, 2]), jnp.ones(2, bool))
        >>> for is_bare in (False, True):
        ...     prompt = task.solution_prompt(problem, hint, jnp.array(is_bare))
        ...     print(prompt.tokens[prompt.mask].tolist())
        [6, 7, 3, 8]
        [6, 9]
    """
    count = pool.row.shape[0]
    check_that(count >= 1, "the pool must hold one problem or more; got none.")
    unspoken = jnp.array(sorted({*stops, *silent}), jnp.int32)

    def spoken(abstraction: Sequence) -> Sequence:
        is_silent = (abstraction.tokens[..., None] == unspoken).any(-1)
        return dataclasses.replace(abstraction, mask=abstraction.mask & ~is_silent)

    def sample(key: PRNGKeyArray, split: str) -> TextProblem:
        check_that(split == "train", f"a text task has one split, 'train'; got {split!r}.")
        row = jax.random.randint(key, (), 0, count)
        return jax.tree.map(lambda leaf: leaf[row], pool)

    def solution_prompt(
        problem: TextProblem, abstraction: Sequence, bare: Bool[Array, ""]
    ) -> Sequence:
        hinted = concatenate([problem.before, spoken(abstraction), problem.after])
        width = max(hinted.tokens.shape[-1], problem.bare.tokens.shape[-1])
        pick = lambda alone, told: jnp.where(bare, alone, told)  # noqa: E731
        return jax.tree.map(pick, _padded(problem.bare, width), _padded(hinted, width))

    def withheld_prompt(abstraction: Sequence) -> Sequence:
        return concatenate([withheld[0], spoken(abstraction), withheld[1]])

    return Task(
        sample=sample,
        abstraction_prompt=lambda problem: problem.propose,
        solution_prompt=solution_prompt,
        withheld_prompt=withheld_prompt,
        abstraction_stops=stops,
        solution_stops=stops,
        abstraction_length=abstraction_length,
        solution_length=solution_length,
    )


def _padded(sequence: Sequence, width: int) -> Sequence:
    """Puts padding before a sequence."""
    room = (width - sequence.tokens.shape[-1], 0)
    return jax.tree.map(lambda leaf: jnp.pad(leaf, room), sequence)
