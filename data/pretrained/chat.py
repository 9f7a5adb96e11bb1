"""Chat templates: messages become the text that a model was tuned on.

A template is code from a file that somebody else wrote: it runs in jinja's sandbox, sees plain
texts only, and no clock. Templates that ask for today's date write their own default instead.
"""

import functools
import importlib
import json
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, NoReturn

Messages = Sequence[Mapping[str, str]]
"""Each with a `role` (system, user or assistant) and a `content`."""


class ChatTemplate:
    """A chat template of a pretrained model, with the settings that transformers renders with.

    Args:
        source: The template, as in `chat_template.jinja`.
        tokens: What it may name: `bos_token`, `eos_token` and other special tokens.

    Example:
        >>> template = ChatTemplate(
        ...     "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}"
        ... )
        >>> template.render([{"role": "user", "content": "1 + 1?"}])
        '[user] 1 + 1?'
    """

    def __init__(self, source: str, tokens: Mapping[str, str] | None = None) -> None:
        self.source = source
        self._tokens = dict(tokens or {})

    def render(self, messages: Messages, *, add_generation_prompt: bool = False) -> str:
        """Returns the text of messages.

        Args:
            messages: What was said so far.
            add_generation_prompt: Whether to end with the beginning of the assistant's answer.

        Raises:
            ValueError: If a message is not of texts with `role` and `content`, or the template is
                not valid, refuses the messages or tries what the sandbox forbids.
        """
        values = {"messages": checked(messages), "add_generation_prompt": add_generation_prompt}
        try:
            return self._compiled.render(self._tokens | values)
        except Exception as error:  # the template's code may raise anything
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise ValueError(f"the chat template can't be applied: {reason}.") from error

    @functools.cached_property
    def _compiled(self) -> Any:
        return _environment().from_string(self.source)


def checked(messages: Messages) -> list[dict[str, str]]:
    """Returns messages as plain dicts of plain texts.

    Raises:
        ValueError: If a message is not of texts, or lacks its role or content.
    """
    for number, message in enumerate(messages, start=1):
        is_whole = isinstance(message, Mapping) and {"role", "content"} <= set(message)
        if not is_whole or not all(isinstance(value, str) for value in message.values()):
            raise ValueError(
                f"message {number} must be a mapping of texts with 'role' and 'content'."
            )
    return [{name: str(value) for name, value in message.items()} for message in messages]


@functools.cache
def _environment() -> Any:
    """Returns the sandbox, with what transformers' `_compile_jinja_template` gives to templates."""
    jinja2 = _jinja2()

    class Generation(jinja2.ext.Extension):
        """Takes `generation` and `endgeneration`, which mark what is learned, for nothing."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(["name:endgeneration"], drop_needle=True)

    def raise_exception(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = raise_exception
    return environment


def _to_json(value: Any, indent: int | None = None) -> str:
    """Jinja's own filter would escape HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _jinja2() -> ModuleType:
    """Imports `jinja2` when it is first needed."""
    try:
        for part in ("ext", "sandbox"):
            importlib.import_module(f"jinja2.{part}")
    except ImportError as error:
        raise ValueError(
            "chat templates need a package that is missing; run `pip install jinja2`."
        ) from error
    return importlib.import_module("jinja2")
