"""Voting rules on simulated agents: `python -m benchmarks.voting_simulation`.

First Table 2 of "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by
Ai et al. (https://arxiv.org/abs/2510.01499), as printed, exact and simulated. Then data sets of few
questions; agents that copy; questions of varying difficulty; and both, where the paper's
assumptions fail; and crowds whose members answer a few questions each. Accuracies are in per cent,
the mean over data sets with its 95% interval; tied options share the win. One JSON line comes last.
"""

import argparse
import dataclasses
import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import stdtrit
from tqdm import tqdm

from benchmarks.timing import format_table
from benchmarks.voting_simulation_figure import save_figure
from jaxreason.voting.dawid_skene import dawid_skene, one_coin_dawid_skene
from jaxreason.voting.item_response import item_response
from jaxreason.voting.low_rank import ow_i, ow_l
from jaxreason.voting.majority import majority
from jaxreason.voting.result import Votes, decide
from jaxreason.voting.second_order import isp, sp
from jaxreason.voting.simulation import copy_answers, simulate_difficulty
from jaxreason.voting.theory import exact_accuracy, population_conditionals
from jaxreason.voting.wawa import wawa
from jaxreason.voting.weighted import ow

PAPER = "Table 2 of the paper"
PAPER_ACCURACIES = (0.6, 0.7, 0.8, 0.9)
PAPER_OPTIONS = (2, 4, 6, 8, 10)
PAPER_QUESTIONS = 10_000
PAPER_TABLE = {  # one data set for each number of options
    "best single": (0.9034, 0.8994, 0.9031, 0.8995, 0.9005),
    "majority": (0.8513, 0.9264, 0.9422, 0.9485, 0.9554),
    "SP": (0.7994, 0.9052, 0.9268, 0.9366, 0.9440),
    "ISP": (0.9048, 0.9445, 0.9578, 0.9623, 0.9649),
    "OW, true accuracies": (0.9137, 0.9494, 0.9605, 0.9646, 0.9681),
}
WEAK_PAIR = (0.6, 0.6, 0.8, 0.8)
COPIES = (0, 0, 2, 3)  # the second of the weak agents copies the first
CROWD = tuple(np.linspace(0.5, 0.95, 100).tolist())
VOTERS = 5  # of the crowd, for each question


class Model(NamedTuple):
    """How a setting's answers come about, for the rules that know it."""

    accuracies: jax.Array  # over all questions
    abilities: jax.Array  # accuracies on a question of average difficulty
    spread: jax.Array
    parents: jax.Array  # whom each agent copies, itself if nobody
    rho: jax.Array


Rule = Callable[[jax.Array, int, Model], Votes]


def without_labels(rule: Callable[..., Votes]) -> Rule:
    """Returns the rule as one that is given the model and does not look at it."""
    return lambda answers, num_options, model: rule(answers, num_options)


def best_single(answers: jax.Array, num_options: int, model: Model) -> Votes:
    """Follows the agent that is truly the best, which takes labels to know."""
    return majority(answers[:, jnp.argmax(model.accuracies)][:, None], num_options)


def ow_with_true_accuracies(answers: jax.Array, num_options: int, model: Model) -> Votes:
    """Votes with the optimal weights for independent agents of the true accuracies."""
    return ow(answers, num_options, model.accuracies)


def bayes_optimal(answers: jax.Array, num_options: int, model: Model) -> Votes:
    """Picks the most probable option under the model that made the answers: no rule does better."""
    right = answers[:, :, None] == jnp.arange(num_options)
    answered = (answers >= 0)[:, :, None]
    copied = (answers == answers[:, model.parents])[:, :, None]
    rates = jnp.where(model.parents == jnp.arange(answers.shape[1]), 0.0, model.rho)[None, :, None]

    def likelihood(difficulty: tuple[jax.Array, jax.Array]) -> jax.Array:
        node, weight = difficulty
        x = jax.nn.sigmoid(jax.scipy.special.logit(model.abilities) - model.spread * node)
        own = jnp.where(right, x[:, None], (1.0 - x[:, None]) / (num_options - 1.0))
        given = (1.0 - rates) * own + jnp.where(copied, rates, 0.0)
        return weight * jnp.prod(jnp.where(answered, given, 1.0), axis=1)

    nodes, weights = (jnp.array(of, jnp.float32) for of in difficulty_nodes(21))
    scores = jnp.log(jnp.sum(jax.lax.map(likelihood, (nodes, weights)), axis=0))
    return decide(scores, answers, jnp.ones(scores.shape, bool), ties="split", key=None)


def difficulty_nodes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns points and weights (Gauss-Hermite) that stand for standard normal difficulties."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return nodes, weights / weights.sum()


RULES: Mapping[str, Rule] = {
    "majority": without_labels(majority),
    "best single": best_single,
    "SP": without_labels(sp),
    "ISP": without_labels(isp),
    "Wawa": without_labels(wawa),
    "OW-L": without_labels(ow_l),
    "OW-I": without_labels(ow_i),
    "one-coin Dawid-Skene": without_labels(one_coin_dawid_skene),
    "Dawid-Skene": without_labels(dawid_skene),
    "item response, difficulty": without_labels(partial(item_response, dependence=False)),
    "item response, dependence": without_labels(partial(item_response, difficulty=False)),
    "item response": without_labels(item_response),
    "OW, true accuracies": ow_with_true_accuracies,
    "Bayes optimal, true model": bayes_optimal,
}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is simulated: questions in a data set, and data sets (repetitions)."""

    seed: int = 0
    questions: int = PAPER_QUESTIONS
    repetitions: int = 10
    few_questions: tuple[int, ...] = (10, 50, 300)
    few_repetitions: int = 300
    few_answers: tuple[int, ...] = (10, 30, 100)  # of each agent of a crowd


SMALL = Sizes(
    questions=100, repetitions=3, few_questions=(10, 30), few_repetitions=5, few_answers=(10,)
)


@dataclasses.dataclass(frozen=True)
class Setting:
    """One column of a table.

    Attributes:
        table: The table's title.
        variable: What varies in the table.
        value: Its value.
        questions: Questions in a data set.
        repetitions: The number of data sets.
        accuracies: How often each agent is right on a question of average difficulty.
        num_options: The number of options of every question.
        spread: The standard deviation of the questions' difficulties, in logits.
        parents: Whom each agent copies, itself if nobody; nobody copies if empty.
        rho: How often an agent copies its parent.
        voters: How many agents, drawn at random, answer each question; all if None.
    """

    table: str
    variable: str
    value: float
    questions: int
    repetitions: int
    accuracies: tuple[float, ...] = PAPER_ACCURACIES
    num_options: int = 4
    spread: float = 0.0
    parents: tuple[int, ...] = ()
    rho: float = 0.0
    voters: int | None = None


@dataclasses.dataclass(frozen=True)
class Cell:
    """The accuracy of a rule in a setting, as a fraction.

    Attributes:
        table: The table's title.
        variable: What varies in the table.
        value: Its value.
        rule: The rule's name.
        source: "paper", "exact" or "simulated".
        accuracy: The accuracy, if simulated the mean over the data sets.
        margin: Half the width of its 95% interval, if simulated.
        gain: The mean difference to majority on the same data sets.
        gain_margin: Half the width of its 95% interval.
    """

    table: str
    variable: str
    value: float
    rule: str
    source: str
    accuracy: float
    margin: float | None = None
    gain: float | None = None
    gain_margin: float | None = None


def list_settings(sizes: Sizes) -> list[Setting]:
    """Returns the columns of all tables, in order."""
    large = {"questions": sizes.questions, "repetitions": sizes.repetitions}
    clones, difficulty = "One weak agent copies another", "Questions of varying difficulty"
    both = "Copies, and questions of difficulty sd 2"
    weak = {"accuracies": WEAK_PAIR, "parents": COPIES}
    crowd = {"accuracies": CROWD, "voters": VOTERS, "repetitions": sizes.repetitions}
    rates, spreads = (0.0, 0.3, 0.6, 0.9), (0.0, 1.0, 2.0, 3.0)
    return [
        *(Setting(PAPER, "K", k, num_options=k, **large) for k in PAPER_OPTIONS),
        *(
            Setting("Few questions", "questions", few, few, sizes.few_repetitions)
            for few in sizes.few_questions
        ),
        *(Setting(clones, "rho", rho, rho=rho, **weak, **large) for rho in rates),
        *(Setting(difficulty, "sd", sd, spread=sd, **large) for sd in spreads),
        *(Setting(both, "rho", rho, rho=rho, spread=2.0, **weak, **large) for rho in rates),
        *(
            Setting(
                "A crowd of 100, 5 for each question",
                "answers",
                few,
                questions=few * len(CROWD) // VOTERS,
                **crowd,
            )
            for few in sizes.few_answers
        ),
    ]


def measure(settings: Sequence[Setting], seed: int) -> list[Cell]:
    """Simulates every setting and lets every rule vote on the same data sets.

    Args:
        settings: The settings.
        seed: Of all randomness; every setting draws from its own part of it.
    """
    cells = []
    with tqdm(total=len(settings) * len(RULES), unit="vote", disable=None) as progress:
        for number, setting in enumerate(settings):
            key = jax.random.fold_in(jax.random.key(seed), number)
            keys = jax.random.split(key, setting.repetitions)
            model = model_of(setting)
            size = (setting.num_options, setting.questions, setting.voters)
            answers, truth = _simulate(keys, model, *size)
            scores = {}
            for name, rule in RULES.items():
                progress.set_description(f"{setting.table}, {setting.variable} {setting.value:g}")
                if rule is best_single and setting.voters is not None:
                    progress.update()  # it leaves most questions out
                    continue
                found = _score(rule, answers, truth, model, setting.num_options)
                scores[name] = np.asarray(found, float)
                progress.update()
            cells += _summarise(setting, scores)
    return cells


def model_of(setting: Setting) -> Model:
    """Returns how a setting's answers come about."""
    x = jnp.array(setting.accuracies)
    return Model(
        jnp.array(mean_accuracies(setting.accuracies, setting.spread), x.dtype),
        x,
        jnp.array(setting.spread),
        jnp.array(setting.parents or range(len(x))),
        jnp.array(setting.rho),
    )


@partial(jax.jit, static_argnums=(2, 3, 4))
def _simulate(
    keys: jax.Array, model: Model, num_options: int, questions: int, voters: int | None
) -> tuple[jax.Array, jax.Array]:
    """Draws one data set a key: answers `[data set, question, agent]` and truths."""

    def draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        of_answers, of_copies, of_voters = jax.random.split(key, 3)
        answers, truth = simulate_difficulty(
            of_answers, model.abilities, num_options, questions, spread=model.spread
        )
        answers = copy_answers(of_copies, answers, parents=model.parents, rho=model.rho)
        if voters is not None:
            lots = jax.random.uniform(of_voters, answers.shape)
            drawn = lots >= jax.lax.top_k(lots, voters)[0][:, -1:]
            answers = jnp.where(drawn, answers, -1)
        return answers, truth

    return jax.vmap(draw)(keys)


@partial(jax.jit, static_argnums=(0, 4))
def _score(
    rule: Rule, answers: jax.Array, truth: jax.Array, model: Model, num_options: int
) -> jax.Array:
    """Returns the rule's accuracy on each data set."""

    def score(answers: jax.Array, truth: jax.Array) -> jax.Array:
        winners = rule(answers, num_options, model).winners
        return jnp.mean(jnp.take_along_axis(winners, truth[:, None], axis=1))

    # Small data sets go through together; large ones one by one, each until its own fit converges.
    together = max(1, PAPER_QUESTIONS // answers.shape[1])
    return jax.lax.map(lambda data: score(*data), (answers, truth), batch_size=together)


def _summarise(setting: Setting, scores: Mapping[str, np.ndarray]) -> list[Cell]:
    """Returns the means of a setting, with the half widths of Student's 95% intervals."""
    count = setting.repetitions
    factor = float(stdtrit(count - 1, 0.975)) / math.sqrt(count)
    cells = []
    for name, values in scores.items():
        gains = values - scores["majority"]
        cell = Cell(
            setting.table,
            setting.variable,
            setting.value,
            name,
            "simulated",
            accuracy=float(values.mean()),
            margin=factor * float(values.std(ddof=1)),
            gain=float(gains.mean()),
            gain_margin=factor * float(gains.std(ddof=1)),
        )
        cells.append(cell)
    return cells


def mean_accuracies(accuracies: Sequence[float], spread: float) -> tuple[float, ...]:
    """Averages accuracies over the questions' difficulties, by Gauss-Hermite quadrature.

    Args:
        accuracies: How often each agent is right on a question of average difficulty.
        spread: The standard deviation of the difficulties, in logits.
    """
    nodes, weights = difficulty_nodes(61)
    x = np.array(accuracies)
    chances = 1 / (1 + np.exp(spread * nodes[:, None] - np.log(x / (1 - x))))
    return tuple((weights @ chances).tolist())


def known_cells() -> list[Cell]:
    """Returns the paper's Table 2 as printed, and exact for rules that need not learn."""
    x = jnp.array(PAPER_ACCURACIES)
    best = PAPER_ACCURACIES.index(max(PAPER_ACCURACIES))
    cells = []
    for place, options in enumerate(PAPER_OPTIONS):
        conditionals = population_conditionals(x, options)
        rules = {
            "best single": lambda answers, options: majority(answers[:, best, None], options),
            "majority": majority,
            "SP": partial(sp, conditionals=conditionals),
            "ISP": partial(isp, conditionals=conditionals),
            "OW, true accuracies": partial(ow, accuracies=x),
        }
        for name, rule in rules.items():
            exact = float(exact_accuracy(rule, x, options))
            for source, value in (("paper", PAPER_TABLE[name][place]), ("exact", exact)):
                cells.append(Cell(PAPER, "K", options, name, source, value))
    return cells


def largest_deviation(cells: Sequence[Cell]) -> float:
    """Returns how far a printed cell is from the exact one, in standard errors of one data set."""
    of = {(cell.source, cell.rule, cell.value): cell.accuracy for cell in cells}
    exact = {key[1:]: accuracy for key, accuracy in of.items() if key[0] == "exact"}
    return max(
        abs(of["paper", *key] - p) / math.sqrt(p * (1 - p) / PAPER_QUESTIONS)
        for key, p in exact.items()
    )


def format_tables(cells: Sequence[Cell]) -> str:
    """Lays out all tables as text, in per cent."""
    titles = dict.fromkeys(cell.table for cell in cells if cell.source == "simulated")
    return "\n\n".join(_format_table(title, cells) for title in titles)


def _format_table(title: str, cells: Sequence[Cell]) -> str:
    """Lays out one table: a row for each rule and source, a column for each value."""
    cells = [cell for cell in cells if cell.table == title]
    values = list(dict.fromkeys(cell.value for cell in cells))
    rows: dict[tuple[str, str], dict[float, str]] = {}
    for rule in RULES:
        for source in ("paper", "exact", "simulated"):
            for cell in cells:
                if (cell.rule, cell.source) == (rule, source):
                    rows.setdefault((rule, source), {})[cell.value] = _format_cell(cell)
    has_sources = any(cell.source != "simulated" for cell in cells)
    header = ["rule", *["source"] * has_sources]
    header += [f"{cells[0].variable} {value:g}" for value in values]
    lines = []
    for (rule, source), by_value in rows.items():
        row = [by_value.get(value, "") for value in values]
        lines.append([rule, *[source] * has_sources, *row])
    return f"{title}\n\n{format_table(header, lines)}"


def _format_cell(cell: Cell) -> str:
    if cell.margin is None:
        return f"{100 * cell.accuracy:.2f}" + " " * 6
    return f"{100 * cell.accuracy:.2f} ±{100 * cell.margin:4.2f}"


def write_folder(folder: Path, sizes: Sizes, cells: Sequence[Cell], text: str) -> None:
    """Writes config.json, metrics.jsonl, tables.txt and figure.png.

    Args:
        folder: Where to; made if it is not there.
        sizes: How much was simulated.
        cells: All accuracies.
        text: The tables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "sizes": dataclasses.asdict(sizes),
        "settings": [dataclasses.asdict(setting) for setting in list_settings(sizes)],
        "jax": jax.__version__,
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    lines = [json.dumps(dataclasses.asdict(cell)) + "\n" for cell in cells]
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "tables.txt").write_text(text + "\n", encoding="utf-8")
    simulated = [dataclasses.asdict(cell) for cell in cells if cell.source == "simulated"]
    save_figure(simulated, folder / "figure.png")


def main(argv: Sequence[str] | None = None) -> None:
    """Simulates, prints the tables and, if asked, writes them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a few small data sets, to see it run")
    parser.add_argument("--seed", type=int, default=0, help="of all randomness (default: 0)")
    parser.add_argument("--output", type=Path, help="folder for the numbers, tables and figure")
    options = parser.parse_args(argv)
    sizes = dataclasses.replace(SMALL if options.small else Sizes(), seed=options.seed)
    cells = known_cells() + measure(list_settings(sizes), sizes.seed)
    text = format_tables(cells)
    deviation = largest_deviation(cells)
    text += (
        f"\n\nThe paper's cells are within {deviation:.1f} standard errors (of "
        f"{PAPER_QUESTIONS:,} questions) of the exact values."
    )
    print(text, end="\n\n")
    if options.output:
        write_folder(options.output, sizes, cells, text)
    summary = {
        "sizes": dataclasses.asdict(sizes),
        "largest_deviation": deviation,
        "cells": [dataclasses.asdict(cell) for cell in cells],
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
