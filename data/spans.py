"""What an example is, whatever file it comes from: a prompt, a trace and an answer."""

import dataclasses
import re

from jaxreason.tasks.vocabulary import ABSTRACTION, ANSWER, PROBLEM, SOLUTION


@dataclasses.dataclass(frozen=True)
class Tag:
    """A token of its own that separates parts of a document; no text can spell it."""

    symbol: str
    """How it is written, as in `<think>`."""


THINK, END_OF_THINK = Tag("<think>"), Tag("</think>")
RULE_TAGS = (PROBLEM, ABSTRACTION, SOLUTION, ANSWER)
"""How the rule tasks write theirs."""
TAGS = (THINK.symbol, END_OF_THINK.symbol, *RULE_TAGS)
"""All tags, for a tokenizer's symbols."""

Text = tuple[str | Tag, ...]
"""Texts of users and tags, in order."""


@dataclasses.dataclass(frozen=True)
class Spans:
    """One example; which tokens bear loss and how long the trace is follow from its spans.

    Raises:
        ValueError: If trace and answer are both empty.
    """

    prompt: Text = ()
    """What is given; bears no loss."""
    trace: Text = ()
    """The reasoning."""
    answer: Text = ()
    """What follows from it; of a plain text, all of it."""
    problem: str = ""
    """What is asked: examples of one problem stay in one split. Empty: the example stands alone."""
    family: str = ""
    """The kind of problem or the domain, as the source names it."""
    template: str = ""
    """The wording among those of its family, as the source names it."""
    verified: bool | None = None
    """Whether the answer was found to be right; None if nobody looked."""

    def __post_init__(self) -> None:
        if not (plain(self.trace) or plain(self.answer)):
            raise ValueError("an example needs a trace or an answer; both are empty.")


def plain(text: Text) -> str:
    """Returns a text with its tags written out."""
    return "".join(part.symbol if isinstance(part, Tag) else part for part in text)


def thought(trace: str) -> Text:
    """Returns a trace between the tags of thinking, or nothing if it is empty."""
    return (THINK, trace, END_OF_THINK) if trace else ()


def parted(text: str) -> Text:
    """Parts a text of the rule tasks, which a program of ours wrote, at its tags."""
    parts = (part for part in re.split(f"({'|'.join(RULE_TAGS)})", text) if part)
    return tuple(Tag(part) if part in RULE_TAGS else part for part in parts)


def parted_solution(text: str) -> tuple[Text, Text]:
    """Parts a solution of the rule tasks into its trace and its answer, which begins at its tag."""
    trace, tag, answer = text.partition(ANSWER)
    return parted(trace), parted(tag + answer)


def whole_parts(example: Spans) -> list[str]:
    """Returns the texts of an example without its tags."""
    text = example.prompt + example.trace + example.answer
    return [part for part in text if not isinstance(part, Tag)]
