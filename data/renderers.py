"""From rows of files or data sets to spans: one renderer for each way to write an example down."""

import dataclasses
import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

import numpy as np

from data.files import BadRowError, Row
from data.spans import Spans, Text, parted, parted_solution, thought

TEXT, TEXT_OR_EMPTY, TURNS = "text", "text, which may be empty", "a list of turns"
VERIFIED = ("verified", "correctness")
"""Fields that tell whether an answer was found to be right; the first that is a bool counts."""
PLACES_KEPT = 3


@dataclasses.dataclass(frozen=True)
class Renderer:
    """Turns rows with certain fields into spans."""

    name: str
    fields: Mapping[str, str]
    """The fields that a row must have, each with its type: `TEXT`, `TEXT_OR_EMPTY` or `TURNS`."""
    render: Callable[[Row], Spans]
    """Makes spans of a row whose fields were checked and decoded; may raise `BadRowError`."""
    families: tuple[str, ...] = ("family", "domain")
    """Fields that name the kind of problem; the first of them that is text counts."""

    def __call__(self, row: Row) -> Spans:
        """Returns the spans of a row, with its family, template and whether it was verified.

        Raises:
            BadRowError: If a field is missing or is not what it must be.
        """
        checked = {name: _checked(row, name, kind) for name, kind in self.fields.items()}
        families = (decoded(row.values.get(name)) for name in self.families)
        template = decoded(row.values.get("template"))
        flags = (row.values.get(name) for name in VERIFIED)
        return dataclasses.replace(
            self.render(Row(row.place, {**row.values, **checked})),
            family=next((name for name in families if name and isinstance(name, str)), ""),
            template=template if isinstance(template, str) else "",
            verified=next(
                (bool(flag) for flag in flags if isinstance(flag, bool | np.bool_)), None
            ),
        )


class SpansReader:
    """The spans of rows, one at a time; counts what it reads and what it skips.

    Attributes:
        num_rows: How many rows were read, with those skipped.
        skipped: How many rows were skipped, by what was wrong with them.
        places: Where the first few of them stand, by what was wrong with them.
    """

    def __init__(
        self, rows: Iterable[Row | BadRowError], renderer: Renderer, *, on_bad_row: str = "error"
    ) -> None:
        if on_bad_row not in ("error", "skip"):
            raise ValueError(f"on_bad_row must be 'error' or 'skip'; got {on_bad_row!r}.")
        self._rows, self._renderer, self._skips = rows, renderer, on_bad_row == "skip"
        self._reset()

    def __iter__(self) -> Iterator[Spans]:
        """Yields the spans.

        Raises:
            ValueError: If no row is left, or a row can't be used and none may be skipped.
        """
        self._reset()
        for row in self._rows:
            self.num_rows += 1
            try:
                spans = self._spans(row)
            except BadRowError as bad:
                if not self._skips:
                    raise
                self._note(bad)
                continue
            yield spans
        self._check_that_rows_are_left()

    def _reset(self) -> None:
        self.num_rows = 0
        self.skipped: dict[str, int] = {}
        self.places: dict[str, list[str]] = {}

    def _spans(self, row: Row | BadRowError) -> Spans:
        if isinstance(row, BadRowError):
            raise row
        return self._renderer(row)

    def _note(self, bad: BadRowError) -> None:
        self.skipped[bad.problem] = self.skipped.get(bad.problem, 0) + 1
        places = self.places.setdefault(bad.problem, [])
        if len(places) < PLACES_KEPT:
            places.append(bad.place)

    def _check_that_rows_are_left(self) -> None:
        if self.num_rows == 0:
            raise ValueError("the source is empty: it has no rows.")
        if self.num_rows == sum(self.skipped.values()):
            told = (
                f"{problem} ({count} row{'s'[: count > 1]}, first at {self.places[problem][0]})"
                for problem, count in self.skipped.items()
            )
            raise ValueError(f"the source is empty: every row was skipped; {'; '.join(told)}.")


def find_renderer(name: str) -> Renderer:
    """Returns the renderer of this name.

    Raises:
        ValueError: If there is none.
    """
    if name in RENDERERS:
        return RENDERERS[name]
    near = get_close_matches(name, RENDERERS, n=1, cutoff=0.0)[0]
    known = ", ".join(RENDERERS)
    raise ValueError(f"there is no renderer {name!r}; did you mean {near!r}? There are {known}.")


def _checked(row: Row, name: str, kind: str) -> Any:
    """Returns a field, decoded, if it is of its kind."""
    field = f"field {name!r}"
    if name not in row.values:
        found = ", ".join(row.values) or "none"
        raise BadRowError(row.place, f"{field} is missing", f"the row's fields: {found}")
    value = decoded(row.values[name])
    if kind == TURNS:
        return _checked_turns(row, field, value)
    return _checked_text(row, field, value, may_be_empty=kind == TEXT_OR_EMPTY)


def decoded(value: Any) -> Any:
    """Returns text for bytes in UTF-8, which is how TFDS stores text, else the value itself."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


def _checked_text(row: Row, field: str, value: Any, may_be_empty: bool) -> str:
    if not isinstance(value, str):
        raise BadRowError(row.place, f"{field} must be text", f"got {reprlib.repr(value)}")
    if not (may_be_empty or value.strip()):
        raise BadRowError(row.place, f"{field} must not be empty", f"got {reprlib.repr(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        detail = f"character {error.start + 1} is half of a surrogate pair"
        raise BadRowError(row.place, f"{field} must be text", detail) from error
    return value


def _checked_turns(row: Row, field: str, value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list | tuple | np.ndarray) or not all(
        isinstance(turn, Mapping) for turn in value
    ):
        raise BadRowError(row.place, f"{field} must be {TURNS}", f"got {reprlib.repr(value)}")
    return list(value)


def _text(row: Row) -> Spans:
    return Spans(answer=(row.values["text"],))


def asked(problem: str) -> Text:
    """Returns a problem as a prompt: a line break parts it from what a model answers."""
    return (f"{problem}\n",)


def _solved(problem: str, trace: str, answer: str) -> Spans:
    """Returns a problem with its answer and, unless it is blank, the thought before it."""
    return Spans(
        prompt=asked(problem),
        trace=thought(trace if trace.strip() else ""),
        answer=(answer,),
        problem=problem,
    )


def _problem_answer(row: Row) -> Spans:
    return _solved(row.values["problem"], "", row.values["answer"])


def _problem_trace_answer(row: Row) -> Spans:
    return _solved(row.values["problem"], row.values["trace"], row.values["answer"])


def _gsm8k(row: Row) -> Spans:
    """The worked solution is the trace, without its marks for a calculator (`<<48/2=24>>`)."""
    solution, mark, result = row.values["answer"].rpartition("####")
    result = result.strip()
    if not mark or not result or "\n" in result:
        problem = "field 'answer' must end with '#### ' and the result"
        raise BadRowError(row.place, problem, f"got {reprlib.repr(row.values['answer'])}")
    trace = re.sub(r"<<[^<>\n]*>>", "", solution).strip()
    return _solved(row.values["question"], trace, result)


def _openmathinstruct(row: Row) -> Spans:
    values = row.values
    return _solved(values["problem"], values["generated_solution"], values["expected_answer"])


def _abstraction(row: Row) -> Spans:
    """The abstraction is a trace without tags of thinking."""
    problem = row.values["problem"]
    return Spans(
        prompt=asked(problem),
        trace=(row.values["abstraction"],),
        answer=(row.values["solution"],),
        problem=problem,
    )


def _rule_induction(row: Row) -> Spans:
    """The rule tasks have tags of their own; abstraction and steps are the trace."""
    trace, answer = parted_solution(row.values["solution"])
    abstraction = parted(row.values["abstraction"])
    problem = row.values["problem"]
    return Spans(parted(problem), abstraction + trace, answer, problem=problem)


def _rule_induction_bare(row: Row) -> Spans:
    trace, answer = parted_solution(row.values["solution"])
    problem = row.values["problem"]
    return Spans(parted(problem), trace, answer, problem=problem)


ROLES = MappingProxyType(
    {
        **dict.fromkeys(("system", "developer"), "system"),
        **dict.fromkeys(("user", "human"), "user"),
        **dict.fromkeys(("assistant", "gpt"), "assistant"),
    }
)
"""Roles in conversations, and what each is here."""
THOUGHT_MARKS = (
    ("<think>", "</think>", "", ""),
    (
        *("<|begin_of_thought|>", "<|end_of_thought|>"),
        *("<|begin_of_solution|>", "<|end_of_solution|>"),
    ),
)
"""How texts of models mark thoughts and, in the second way, what follows from them."""


def _openthoughts(row: Row) -> Spans:
    system = decoded(row.values.get("system"))
    given = "" if system is None else _checked_text(row, "field 'system'", system, True)
    return _conversation(row, "conversations", ("from", "value"), given)


def _messages(row: Row) -> Spans:
    return _conversation(row, "messages", ("role", "content"))


def _conversation(row: Row, field: str, keys: tuple[str, str], system: str = "") -> Spans:
    """Returns the last turn of the assistant; what stands before it is the prompt.

    The turns of the prompt are joined by empty lines, their roles left out. The problem is the
    first question, so that conversations that begin alike stay in one split. Turns after the last
    one of the assistant are left out.
    """
    turns = row.values[field]
    roles = [_role(row, f"{field}[].{keys[0]}", turn.get(keys[0])) for turn in turns]
    if "user" not in roles or "assistant" not in roles[roles.index("user") :]:
        problem = f"field {field!r} must have a turn of the user and one of the assistant after it"
        raise BadRowError(row.place, problem, f"got the roles {reprlib.repr(roles)}")
    last = len(roles) - 1 - roles[::-1].index("assistant")
    name = f"field '{field}[].{keys[1]}'"
    texts = [
        _checked_text(row, name, decoded(turn.get(keys[1])), may_be_empty=role == "system")
        for turn, role in zip(turns[: last + 1], roles, strict=False)
    ]
    trace, answer = _trace_and_answer(row, name, turns[last], texts[last])
    return dataclasses.replace(
        _solved(texts[roles.index("user")], trace, answer),
        prompt=asked("\n\n".join(text for text in (system, *texts[:last]) if text)),
    )


def _role(row: Row, name: str, role: Any) -> str:
    role = decoded(role)
    if not isinstance(role, str) or role not in ROLES:
        problem = f"field {name!r} must be one of {', '.join(ROLES)}"
        raise BadRowError(row.place, problem, f"got {reprlib.repr(role)}")
    return ROLES[role]


def _trace_and_answer(row: Row, name: str, turn: Mapping[str, Any], text: str) -> tuple[str, str]:
    """Returns the thought in a turn of the assistant, empty if there is none, and the answer.

    Marks of thoughts count only where the turn begins with one; further ones are only text.
    """
    for field in ("reasoning_content", "reasoning"):
        if turn.get(field):
            return _checked_text(row, f"field {field!r}", decoded(turn[field]), True), text
    for opening, closing, before, after in THOUGHT_MARKS:
        if text.lstrip().startswith(opening):
            trace, _, rest = text.lstrip().removeprefix(opening).partition(closing)
            rest = rest.strip()
            answer = rest.removeprefix(before).removesuffix(after).strip()
            if not (answer and rest.startswith(before) and rest.endswith(after)):
                problem = f"{name} must close its thought and give an answer"
                raise BadRowError(row.place, problem, f"it ends in {text[-40:]!r}")
            return trace.strip(), answer
    return "", text


RENDERERS = MappingProxyType(
    {
        renderer.name: renderer
        for renderer in (
            Renderer("text", {"text": TEXT}, _text),
            Renderer("problem_answer", {"problem": TEXT, "answer": TEXT}, _problem_answer),
            Renderer(
                "problem_trace_answer",
                {"problem": TEXT, "trace": TEXT_OR_EMPTY, "answer": TEXT},
                _problem_trace_answer,
            ),
            Renderer("gsm8k", {"question": TEXT, "answer": TEXT}, _gsm8k),
            Renderer(
                "openmathinstruct",
                {"problem": TEXT, "generated_solution": TEXT, "expected_answer": TEXT},
                _openmathinstruct,
                families=("problem_source",),
            ),
            Renderer("openthoughts", {"conversations": TURNS}, _openthoughts),
            Renderer("messages", {"messages": TURNS}, _messages, families=("category", "domain")),
            Renderer(
                "abstraction",
                {"problem": TEXT, "abstraction": TEXT, "solution": TEXT},
                _abstraction,
            ),
            Renderer(
                "rule_induction",
                {"problem": TEXT, "abstraction": TEXT, "solution": TEXT},
                _rule_induction,
            ),
            Renderer(
                "rule_induction_bare", {"problem": TEXT, "solution": TEXT}, _rule_induction_bare
            ),
        )
    }
)
"""Renderers by name."""
