"""What a mixture is: sources, how much of each, in which order, and how clean."""

import dataclasses
import math
import re
from types import MappingProxyType
from typing import Any, Literal, get_args

from data.readers import Reader
from data.renderers import find_renderer
from jaxreason.mixture import OnCap, Overlong

Group = Literal["base", "reasoning"]
Part = Literal["train", "held_out"]
OnBadRow = Literal["error", "skip"]
Packing = Literal["best_fit", "cut"]
CHOICES = MappingProxyType(
    {
        "group": get_args(Group),
        "part": get_args(Part),
        "on_bad_row": get_args(OnBadRow),
        "packing": (None, *get_args(Packing)),
        "overlong": get_args(Overlong),
    }
)
"""What some settings of a source may be."""


def _check_count(name: str, value: Any, least: int) -> None:
    _check(
        _is_count(value, least), f"{name} must be a whole number from {least} on; got {value!r}."
    )


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and value >= least


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


@dataclasses.dataclass(frozen=True)
class Source:
    """One source: where its examples come from, which of them to take, how much of them to give.

    Raises:
        ValueError: If a setting is out of range.
    """

    name: str
    """What tables and folders call it; its order in the stream follows from it."""
    read: Reader
    """Where its rows are."""
    renderer: str = "text"
    """How a row becomes prompt, trace and answer, see `data.renderers`."""
    group: Group = "base"
    """Whether its tokens count towards the reasoning density."""
    part: Part = "train"
    """Which problems: those for training, or the share that the mixture holds out."""
    on_bad_row: OnBadRow = "error"
    """What becomes of a malformed row; skipped ones are counted."""
    near_duplicates: float | None = 0.8
    """The similarity from which on an example is dropped that resembles one of this source or of
    the evaluation; None for problems from templates, which are all alike. Exact duplicates are
    always dropped, also those between sources."""

    weight: float = 1.0
    """Its share of its group's loss-bearing tokens, not necessarily normalised."""
    max_passes: float = 4.0
    """How often the stream may pass through it: more than about four times teaches ever less."""

    families: tuple[str, ...] = ()
    """Diversity: the only families to take; empty for all."""
    max_templates: int | None = None
    """Diversity: how many templates of each family to take, those that come first in the source;
    None for all."""
    verified_only: bool = False
    """Quality: only examples whose answer was found to be right."""
    min_trace_tokens: int = 0
    """Quality: only traces of at least so many tokens."""
    corrupted_share: float = 0.0
    """Quality: the share of examples that get another example's answer."""
    max_documents: int | None = None
    """Scale: the most examples to take, chosen at random by the mixture's seed."""
    match_passes: float | None = None
    """Repetition: take just so many examples that the stream passes through them so often."""

    prompt_loss: bool = False
    """Whether prompts bear loss, too, as they do in much of pretraining."""
    packing: Packing | None = None
    """`best_fit` keeps documents whole, `cut` has no padding; default: base is cut."""
    overlong: Overlong = "split"
    """What becomes of documents longer than a sequence under `best_fit`."""

    def __post_init__(self) -> None:
        _check(
            re.fullmatch(r"[\w.-]+", self.name) is not None,
            "a source's name is made of letters, digits, '.', '_' and '-', as it also names"
            f" folders; got {self.name!r}.",
        )
        _check(
            isinstance(self.read, Reader),
            f"read of source {self.name} must be one of `data.readers`, such as"
            f" Files('corpus.jsonl'); got {self.read!r}.",
        )
        find_renderer(self.renderer)
        for name, (holds, condition) in self._conditions().items():
            value = getattr(self, name)
            _check(holds, f"{name} of source {self.name} must {condition}; got {value!r}.")

    def _conditions(self) -> dict[str, tuple[bool, str]]:
        """Returns by setting whether it is in range, and what it must be."""
        near, passes = self.near_duplicates, self.match_passes
        limits = {"max_documents": self.max_documents, "max_templates": self.max_templates}
        choices = {
            name: (getattr(self, name) in known, f"be one of {known}")
            for name, known in CHOICES.items()
        }
        counts = {
            name: (limit is None or _is_count(limit, 1), "be a whole number above 0")
            for name, limit in limits.items()
        }
        return (
            choices
            | counts
            | {
                "near_duplicates": (near is None or 0 < near <= 1, "lie in (0, 1]"),
                "weight": (0 <= self.weight < math.inf, "be 0 or more"),
                "max_passes": (self.max_passes > 0, "be above 0"),
                "families": (not isinstance(self.families, str), "be a tuple, as in ('algebra',)"),
                "min_trace_tokens": (self.min_trace_tokens >= 0, "be 0 or more"),
                "corrupted_share": (0 <= self.corrupted_share <= 1, "lie in [0, 1]"),
                "match_passes": (passes is None or passes > 0, "be above 0"),
            }
        )

    @property
    def is_reasoning(self) -> bool:
        """Whether its tokens count towards the reasoning density."""
        return self.group == "reasoning"

    @property
    def packs_whole(self) -> bool:
        """Whether documents stay whole."""
        return (self.packing or ("best_fit" if self.is_reasoning else "cut")) == "best_fit"


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of the stream, so long in tokens, with its reasoning density."""

    tokens: int
    """Its length in tokens, rounded to whole sequences."""
    reasoning_token_share: float
    """Density: loss-bearing tokens of reasoning sources over all loss-bearing tokens."""

    def __post_init__(self) -> None:
        _check(0 < self.tokens < math.inf, f"tokens of a stage must be above 0; got {self.tokens}.")
        _check(
            0 <= self.reasoning_token_share <= 1,
            f"reasoning_token_share must lie in [0, 1]; got {self.reasoning_token_share:g}.",
        )


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """The mixture's tokenizer: trained on its sources, or a file."""

    vocab_size: int = 8192
    """Tokens, if it is trained."""
    train_documents: int = 20_000
    """Examples that it is trained on, the first ones of every source in equal parts."""
    model: str = ""
    """The file of a sentencepiece model to take instead of training one. It keeps text as it is,
    see `data.tokenizer.Tokenizer`, and has `<think>` and `</think>` as tokens."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "train_documents"):
            _check_count(name, getattr(self, name), least=1)


@dataclasses.dataclass(frozen=True)
class MixtureConfig:
    """A mixture of sources with an exact reasoning density.

    Raises:
        ValueError: If a setting is out of range, or two sources have one name.
    """

    sources: tuple[Source, ...]
    """What it is made of."""
    stages: tuple[Stage, ...]
    """One after the other: `(Stage(600 * B, 0.0), Stage(400 * B, 0.2))`."""
    sequence_length: int = 2048
    """Tokens in a packed sequence."""
    block_size: int = 256
    """Sequences in a block; shares are exact to one sequence in every block."""
    on_cap: OnCap = "error"
    """What to do if a source's `max_passes` binds."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """How text becomes tokens."""
    evaluation: tuple[Source, ...] = ()
    """What the model will be evaluated on: its problems and examples are kept out of training. Of
    each, `read`, `renderer` and `on_bad_row` count, and `part`: `held_out` means its problems that
    the mixture holds out, the default all of them."""
    held_out_share: float = 0.0
    """The share of problems of every source that only `part="held_out"` has. Name such a source
    under `evaluation`, too, to keep texts that resemble its own out of training."""
    seed: int = 0
    """Seed of the choice of examples, of the order and of what is held out."""

    def __post_init__(self) -> None:
        for name in ("sources", "stages", "evaluation"):
            value = getattr(self, name)
            _check(
                isinstance(value, tuple | list),
                f"{name} must be a tuple, as in `(one,)`; got {value!r}.",
            )
            _check(name == "evaluation" or len(value) > 0, f"a mixture needs {name}; it has none.")
        for name, least in (("sequence_length", 2), ("block_size", 1), ("seed", 0)):
            _check_count(name, getattr(self, name), least)
        known = get_args(OnCap)
        _check(self.on_cap in known, f"on_cap must be one of {known}; got {self.on_cap!r}.")
        _check(
            0 <= self.held_out_share < 1,
            f"held_out_share must lie in [0, 1); got {self.held_out_share:g}.",
        )
        self._check_sources()

    def _check_sources(self) -> None:
        sources = (*self.sources, *self.evaluation)
        names = [source.name for source in sources]
        for source in sources:
            name = source.name
            _check(names.count(name) == 1, f"two sources are called {name}; rename one.")
            _check(
                source.part == "train" or self.held_out_share > 0,
                f"source {name} is of the part that is held out, and held_out_share is 0.",
            )

    @property
    def total_tokens(self) -> int:
        """The stream's length in tokens, as asked for."""
        return sum(stage.tokens for stage in self.stages)


def sequences_of(tokens: int, sequence_length: int) -> int:
    """Returns the whole sequences nearest to so many tokens, at least one."""
    return max(1, math.floor(tokens / sequence_length + 0.5))
