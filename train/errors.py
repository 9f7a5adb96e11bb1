"""How the programs turn down an input that can't work: one sentence and exit status 2."""

import contextlib
import sys
from collections.abc import Iterator


class RefusedError(ValueError):
    """An input that can't work, told in one sentence: expected, given, what to do."""


@contextlib.contextmanager
def refuse_bad_values() -> Iterator[None]:
    """Turns the `ValueError` of a setting that turns out not to work into a `RefusedError`."""
    try:
        yield
    except ValueError as error:
        raise RefusedError(str(error)) from error


@contextlib.contextmanager
def exit_on_refusal() -> Iterator[None]:
    """Ends the program with status 2 and the sentence, without a traceback, on a `RefusedError`."""
    try:
        yield
    except RefusedError as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        raise SystemExit(2) from None
