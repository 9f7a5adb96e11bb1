"""What the two-player game needs to know of a family of problems, as a set of pure functions."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxreason.sequences import Sequence

Problem = Any
"""A pytree of arrays; each family has its own."""

SPLITS = ("train", "new_instances", "new_compositions")


@dataclasses.dataclass(frozen=True)
class Task:
    """A family of problems as pure functions of one (unbatched) problem; map them with `vmap`.

    What a family can't say on the device is None: whether a text is right, for instance. What
    needs it then says so, and the metrics that ask for it are left out.

    Attributes:
        sample: `(key, split) -> problem`, with a split out of `SPLITS`.
        abstraction_prompt: `(problem) -> Sequence`: what the abstraction generator is given.
        solution_prompt: `(problem, abstraction, bare) -> Sequence`: what the solution generator
            is given; where `bare` is true the abstraction is withheld, in the same width.
        withheld_prompt: `(abstraction) -> Sequence`: what the solution generator is given where
            the problem is withheld, to find out whether the abstraction alone answers it.
        abstraction_stops: Tokens that end an abstraction.
        solution_stops: Tokens that end a solution.
        abstraction_length: Places that the longest abstraction takes, terminator included.
        solution_length: Places that the longest worked solution takes, terminator included.
        abstraction: `(problem) -> Sequence`: a right abstraction with its terminator, as the
            generator would write it.
        solution: `(problem) -> Sequence`: a worked solution with its terminator.
        answer: `(solution) -> (values [width], valid [])`: the final answer as integers, equal
            for equal answers; `valid` is false where none can be read off.
        reward: `(problem, solution) -> []`: 1.0 if the final answer is right, else 0.0.
        abstraction_is_right: `(problem, abstraction) -> []`: whether the abstraction names a rule
            equivalent to the hidden one.
        follows: `(abstraction, solution) -> []`: whether the solution does what the abstraction
            says.
        leaks: `(problem, abstraction) -> []`: whether the abstraction spells the answer out.
    """

    sample: Callable[[PRNGKeyArray, str], Problem]
    abstraction_prompt: Callable[[Problem], Sequence]
    solution_prompt: Callable[[Problem, Sequence, Bool[Array, ""]], Sequence]
    withheld_prompt: Callable[[Sequence], Sequence]
    abstraction_stops: tuple[int, ...]
    solution_stops: tuple[int, ...]
    abstraction_length: int
    solution_length: int
    abstraction: Callable[[Problem], Sequence] | None = None
    solution: Callable[[Problem], Sequence] | None = None
    answer: Callable[[Sequence], tuple[Int[Array, "width"], Bool[Array, ""]]] | None = None
    reward: Callable[[Problem, Sequence], Float[Array, ""]] | None = None
    abstraction_is_right: Callable[[Problem, Sequence], Bool[Array, ""]] | None = None
    follows: Callable[[Sequence, Sequence], Bool[Array, ""]] | None = None
    leaks: Callable[[Problem, Sequence], Bool[Array, ""]] | None = None

    def asked(self, name: str) -> Callable[..., Any]:
        """Returns a function that not every family has.

        Args:
            name: One of the attributes that may be None.

        Raises:
            ValueError: If this family does not have it.

        Example:
            >>> from jaxreason.tasks import RuleInductionConfig, make_rule_induction
            >>> task = make_rule_induction(RuleInductionConfig())
            >>> task.asked("reward") is task.reward
            True
        """
        function: Callable[..., Any] | None = getattr(self, name)
        if function is None:
            raise ValueError(
                f"the task must state `{name}` for this; it can't be told on the device: let the"
                " host judge instead."
            )
        return function
