"""The symbols in which problems, abstractions and solutions are written, and their token ids."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxreason.tasks.digit_lists import PRIMITIVES

SPACE = "\u2581"
PROBLEM, ABSTRACTION, SOLUTION, ANSWER = "<problem>", "<abstraction>", "<solution>", "<answer>"
ARROW, THEN, NEWLINE = f"{SPACE}->{SPACE}", f"{SPACE}then", "\n"
DIGITS = tuple("0123456789")


def primitive_symbol(name: str) -> str:
    """Returns the symbol of a primitive, with sentencepiece's mark for spaces.

    Example:
        >>> primitive_symbol("add 3").replace(SPACE, "_")
        '_add_3'
    """
    return SPACE + name.replace(" ", SPACE)


SYMBOLS: tuple[str, ...] = (
    *(PROBLEM, ABSTRACTION, SOLUTION, ANSWER, ARROW, THEN, NEWLINE),
    *DIGITS,
    *(primitive_symbol(name) for name in PRIMITIVES),
)
"""All symbols of the family, whatever the difficulty, for a tokenizer's user-defined symbols."""


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Which token id stands for which symbol.

    Attributes:
        symbol_ids: The id of each entry of `SYMBOLS`, in that order.
        eos_id: The end-of-sequence token.
        pad_id: The token that fills places which do not count.
    """

    symbol_ids: tuple[int, ...] = tuple(range(4, 4 + len(SYMBOLS)))
    eos_id: int = 2
    pad_id: int = 0

    def id_of(self, symbol: str) -> int:
        """Returns the token id of a symbol.

        Raises:
            KeyError: If `symbol` is not one of `SYMBOLS`.
        """
        if symbol not in SYMBOLS:
            raise KeyError(f"{symbol!r} is not a symbol of the rule-induction tasks: {SYMBOLS}.")
        return self.symbol_ids[SYMBOLS.index(symbol)]

    def digit_ids(self) -> Int[Array, "10"]:
        """Returns the token ids of the digits 0 to 9."""
        return jnp.array([self.id_of(digit) for digit in DIGITS], jnp.int32)

    def primitive_ids(self, names: tuple[str, ...]) -> Int[Array, "primitive"]:
        """Returns the token ids of the named primitives."""
        return jnp.array([self.id_of(primitive_symbol(name)) for name in names], jnp.int32)
