"""The small world: sets of word problems that stand for the paper's, and what is evaluated.

"Front-Loading Reasoning" by Akter et al. (https://arxiv.org/abs/2510.03264) compares a large,
diverse set of mixed quality (LDQ), a small set of high quality (SHQ), their union (LMQ) and the
part of LDQ with long traces (ALF). Here all of them are arithmetic word problems:

- LDQ: eight families in several wordings, many problems. Of ten examples four give the answer at
  once, five a short trace, one a long trace; half ask for a form of the answer; some answers are
  wrong.
- SHQ: the same families in one wording, few problems, long traces, every answer right, no forms.
- Two further families are in no set: they are the unseen ones.
"""

import dataclasses
import json
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from data.arithmetic import FAMILIES, TEMPLATES, problems
from data.families import distinct, in_turn

UNSEEN_FAMILIES = ("average", "perimeter")
SEEN_FAMILIES = tuple(sorted(FAMILIES.keys() - set(UNSEEN_FAMILIES)))
STYLES = MappingProxyType({"direct": 4, "short": 5, "long": 1})
EQUATION = re.compile(r"(?:(.+): )?(\d+) ([-+*/]) (\d+) = (\d+)")


@dataclasses.dataclass(frozen=True)
class Form:
    """A form that a problem asks its answer to have."""

    request: str
    write: Callable[[str], str]
    pattern: re.Pattern[str]


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "brackets": Form("Answer in brackets.", "({})".format, re.compile(r"\(\d+\)")),
        "twice": Form("Answer twice.", "{0} {0}".format, re.compile(r"(\d+) \1")),
        "stop": Form("Answer with a full stop.", "{}.".format, re.compile(r"\d+\.")),
        "equals": Form("Answer after an equals sign.", "= {}".format, re.compile(r"= \d+")),
    }
)


@dataclasses.dataclass(frozen=True)
class WorldConfig:
    """How large the sets are, and how good.

    Raises:
        ValueError: If a number is out of range.
    """

    max_number: int = 8
    """The largest number in a problem's text."""
    templates: int = 2
    """Wordings of each family, in LDQ, reinforcement learning and evaluation."""
    shq_templates: int = 1
    """Wordings of each family in SHQ, of these."""
    ldq_problems: int = 16_000
    """Examples of LDQ."""
    shq_problems: int = 1075
    """Examples of SHQ, and of the disjoint set like it."""
    rl_problems: int = 4000
    """Problems of reinforcement learning."""
    evaluation_problems: int = 192
    """Problems in each evaluation set."""
    corrupted_share: float = 0.1
    """Share of LDQ's answers that are wrong."""
    form_share: float = 0.5
    """Share of LDQ's problems that ask for a form of the answer."""
    seed: int = 0
    """Seed of all problems."""

    def __post_init__(self) -> None:
        for name in ("ldq_problems", "shq_problems", "rl_problems", "evaluation_problems"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}.")
        if not 1 <= self.shq_templates <= self.templates <= TEMPLATES:
            raise ValueError(
                f"shq_templates and templates must rise from 1 to at most {TEMPLATES}; got"
                f" {self.shq_templates} and {self.templates}."
            )
        for name in ("corrupted_share", "form_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1]; got {getattr(self, name):g}.")


Problem = dict[str, str]


def evaluation_sets(config: WorldConfig) -> dict[str, list[Problem]]:
    """Returns the problems of evaluation: families seen and unseen, and forms asked for.

    No problem of theirs is in a training set, see `write_sets`.
    """
    size = config.evaluation_problems
    seen = _draw(config, SEEN_FAMILIES, size, "evaluation seen", set())
    taken = {problem["problem"] for problem in seen}
    unseen = _draw(config, UNSEEN_FAMILIES, size, "evaluation unseen", taken)
    rng = random.Random(f"{config.seed} forms")
    forms = [
        _with_form(problem, rng.choice(list(FORMS)))
        for problem in _draw(config, SEEN_FAMILIES, size, "evaluation forms", taken)
    ]
    return {"seen": seen, "unseen": unseen, "forms": forms}


def training_problems(config: WorldConfig) -> list[Problem]:
    """Returns problems of the seen families for reinforcement learning, none of evaluation."""
    taken = {problem["bare"] for some in evaluation_sets(config).values() for problem in some}
    return _draw(config, SEEN_FAMILIES, config.rl_problems, "reinforcement", taken)


def write_sets(config: WorldConfig, folder: Path) -> None:
    """Writes the training sets as JSON lines: `ldq`, `shq`, their union `lmq`, and `disjoint`.

    Args:
        config: Their sizes and quality.
        folder: Where to write `NAME.jsonl`.
    """
    taken = {
        problem["bare"] for problems in evaluation_sets(config).values() for problem in problems
    }
    ldq = _draw(config, SEEN_FAMILIES, config.ldq_problems, "ldq", taken)
    narrow = dataclasses.replace(config, templates=config.shq_templates)
    shq = _draw(narrow, SEEN_FAMILIES, config.shq_problems, "shq", taken)
    disjoint = _draw(narrow, SEEN_FAMILIES, config.shq_problems, "disjoint", taken)
    rng = random.Random(f"{config.seed} styles")
    sets = {
        "ldq": [_styled(problem, _style(rng), rng, config) for problem in ldq],
        "shq": [_styled(problem, "long") for problem in shq],
        "disjoint": [_styled(problem, "long") for problem in disjoint],
    }
    sets["lmq"] = sets["ldq"] + sets["shq"]
    for name, rows in sets.items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def read_set(path: Path) -> list[dict[str, Any]]:
    """Returns the examples of a set."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def obeys(problem: Problem, answer: str) -> bool:
    """Tells whether an answer has the form that its problem asks for, right or wrong."""
    return FORMS[problem["form"]].pattern.fullmatch(answer.strip()) is not None


def is_right(problem: Problem, answer: str) -> bool:
    """Tells whether an answer is the problem's."""
    return answer.strip() == problem["answer"]


def _draw(
    config: WorldConfig, families: tuple[str, ...], size: int, name: str, taken: set[str]
) -> list[Problem]:
    """Draws different problems, families in turn, and adds their texts to what is taken."""
    seed = int(random.Random(f"{config.seed} {name}").getrandbits(31))
    streams = [
        distinct(problems(family, config.max_number, seed, config.templates), family, taken)
        for family in families
    ]
    drawn = in_turn(streams, problems=size)["problems"]
    return [problem | {"bare": problem["problem"], "form": ""} for problem in drawn]


def _style(rng: random.Random) -> str:
    return rng.choices(list(STYLES), weights=list(STYLES.values()))[0]


def _styled(
    problem: Problem,
    style: str,
    rng: random.Random | None = None,
    config: WorldConfig | None = None,
) -> dict[str, Any]:
    """Returns a training example; with a generator, its answer may be wrong or have a form."""
    if rng is not None and config is not None:
        if rng.random() < config.corrupted_share:
            problem = problem | {"answer": str(int(problem["answer"]) + rng.randint(1, 5))}
        if rng.random() < config.form_share:
            problem = _with_form(problem, rng.choice(list(FORMS)))
    return {
        "problem": problem["problem"],
        "trace": "" if style == "direct" else _trace(problem, style),
        "answer": problem["answer"],
        "family": problem["family"],
        "template": problem["template"],
    }


def _with_form(problem: Problem, form: str) -> Problem:
    asked = FORMS[form]
    return problem | {
        "problem": f"{problem['problem']} {asked.request}",
        "answer": asked.write(problem["answer"]),
        "form": form,
    }


def _trace(problem: Problem, style: str) -> str:
    lines = problem["trace"].split("\n")
    return "\n".join(map(_long if style == "long" else _short, lines))


def _short(line: str) -> str:
    """Leaves out what a step is about."""
    return line.rpartition(": ")[2]


def _long(line: str) -> str:
    """Counts products and quotients up before it gives them."""
    found = EQUATION.fullmatch(line)
    assert found is not None, line
    label, left, sign, right = found[1], int(found[2]), found[3], int(found[4])
    if sign not in "*/":
        return line
    counted = range(1, 1 + (left if sign == "*" else left // right))
    return f"{label}: {', '.join(str(right * n) for n in counted)}, so {_short(line)}"
