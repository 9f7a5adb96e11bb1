"""What a vote found, as text for people. Needs pandas."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxreason.voting.diagnostics import Diagnosis
from jaxreason.voting.evaluation import Evaluation, Score
from jaxreason.voting.findings import FEW_VOTES, MIN_JUDGED, mostly_apart
from jaxreason.voting.methods import METHODS, Method
from jaxreason.voting.recommendation import advise, recommend
from jaxreason.voting.result import Votes
from jaxreason.voting.table import Table
from jaxreason.voting.table_labels import counted, listed, shown
from jaxreason.voting.table_rules import vote_on_table, worker_accuracies

MAX_PAIRS = 10
WIDTH = 100


class Column(NamedTuple):
    """A column of a table of text; the heads of numbers stand on the right, as the numbers do."""

    head: str
    cells: Sequence[str]
    numeric: bool = True


def aligned(columns: Sequence[Column]) -> str:
    """Returns a table as text.

    Args:
        columns: The columns, of equal lengths.

    Returns:
        One line a row, below the heads.

    Example:
        >>> print(aligned([Column("who", ["ann", "benedict"], False), Column("n", ["12", "3"])]))
        who        n
        ann       12
        benedict   3
    """
    laid_out = []
    for column in columns:
        cells = [column.head, *column.cells]
        width = max(map(len, cells))
        laid_out.append(
            [cell.rjust(width) if column.numeric else cell.ljust(width) for cell in cells]
        )
    return "\n".join("  ".join(row).rstrip() for row in zip(*laid_out, strict=True))


def report_text(
    table: Table,
    method: Method,
    votes: Votes,
    diagnosis: Diagnosis,
    evaluation: Evaluation | None = None,
) -> str:
    """Tells everything that a person needs to know before using the answers.

    Args:
        table: The votes.
        method: The method.
        votes: Its outcome.
        diagnosis: What `diagnose` says of the votes.
        evaluation: What `evaluate` found, if there are labels.

    Returns:
        Paragraphs.

    Example:
        >>> from jaxreason.voting.methods import METHODS
        >>> from jaxreason.voting.table import tabulate
        >>> from jaxreason.voting.table_rules import diagnose_table, vote_on_table
        >>> table = tabulate(pd.DataFrame({"task": [1, 2], "ann": ["a", "b"], "ben": ["a", "a"]}))
        >>> votes = vote_on_table(METHODS["majority"], None, table)
        >>> text = report_text(table, METHODS["majority"], votes, diagnose_table(table))
        >>> print(text.splitlines()[0])
        2 tasks, 2 workers, 4 votes; labels 'a', 'b'.
    """
    given = int((table.answers >= 0).sum())
    size = (
        f"{counted(len(table.tasks), 'task')}, {counted(len(table.workers), 'worker')}, "
        f"{counted(given, 'vote')}; {_options_text(table)}."
    )
    paragraphs = [
        _wrapped([size]),
        _wrapped([f"Note: {note}" for note in table.notes]),
        _wrapped(_method_text(table, method, votes, diagnosis)),
        _workers_text(table, method, votes, diagnosis),
        _clones_text(table, diagnosis),
        "" if evaluation is None else _evaluation_text(evaluation, method),
        _wrapped(recommend(diagnosis, [shown(name) for name in table.workers]), mark="- "),
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def answers_text(answers: pd.DataFrame, ties: str) -> str:
    """Counts the answers.

    Args:
        answers: What `describe_answers` returned.
        ties: How ties were broken.

    Returns:
        One sentence.

    Example:
        >>> answers_text(pd.DataFrame({"answer": ["a", None], "tie": [True, False]}), "first")
        '1 answer, 1 task without one; 1 tie, which went to the first label in order.'
    """
    known = int(answers["answer"].notna().sum())
    parts = [counted(known, "answer")]
    if known < len(answers):
        parts.append(f"{counted(len(answers) - known, 'task')} without one")
    tied = int(answers["tie"].sum())
    if not tied:
        return ", ".join(parts) + "."
    winner = "the first label in order" if ties == "first" else "a label at random"
    return f"{', '.join(parts)}; {counted(tied, 'tie')}, which went to {winner}."


def mean_weights(table: Table, votes: Votes) -> np.ndarray | None:
    """Returns one weight a worker, the mean over its votes if it differs between tasks.

    Args:
        table: The votes.
        votes: What a method returned for them.

    Returns:
        The weights, nan for a worker without a vote whose weight differs; None if there are none.

    Example:
        >>> from jaxreason.voting.methods import METHODS
        >>> from jaxreason.voting.table import tabulate
        >>> from jaxreason.voting.table_rules import fit_table, vote_on_table
        >>> table = tabulate(pd.DataFrame({"task": [1, 2], "ann": ["a", "b"], "ben": ["a", "a"]}))
        >>> wawa = METHODS["wawa"]
        >>> mean_weights(table, vote_on_table(wawa, fit_table(wawa, table), table)).tolist()
        [0.75, 0.75]
    """
    if votes.weights is None:
        return None
    weights = np.asarray(votes.weights, float)
    if weights.ndim == 1:
        return weights
    voted = table.answers >= 0
    sums, counts = np.where(voted, weights, 0.0).sum(axis=0), voted.sum(axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _wrapped(sentences: Sequence[str], mark: str = "") -> str:
    """Starts each sentence on a line, none longer than a terminal is wide."""
    wrap = textwrap.TextWrapper(
        WIDTH,
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(wrap.fill(sentence) for sentence in sentences)


def _method_text(
    table: Table, method: Method, votes: Votes, diagnosis: Diagnosis
) -> tuple[str, ...]:
    """Names the method, tells whether it is the one to take and why, and what it changes."""
    best = advise(diagnosis)
    which = "It is recommended" if best.method == method.name else f"Recommended is {best.method}"
    confidence = (
        "Confidence: the share of the weighted votes, no probability of being right."
        if votes.posterior is None
        else "Confidence: too high where workers share errors in a way that the method does not "
        "know of, or answered little."
    )
    sentences: tuple[str, ...] = (
        f"Method {method.name}: {method.summary}.",
        f"{which}: {best.reason}.",
        confidence,
    )
    if method.name == "majority":
        return sentences
    leading = np.asarray(vote_on_table(METHODS["majority"], None, table).winners) > 0
    untied = leading.sum(axis=1) == 1
    others = untied & (leading.argmax(axis=1) != np.asarray(votes.answers))
    sentences += (
        f"Its answer is not the one with the most votes on {others.sum():,} of "
        f"{counted(int(untied.sum()), 'task')} without a tie.",
    )
    chosen = np.asarray(votes.answers)
    alone = int(((chosen >= 0) & ~(table.answers == chosen[:, None]).any(axis=1)).sum())
    if alone:
        empty = "; the answer is left empty there" if table.meanings is not None else ""
        sentences += (
            f"On {counted(alone, 'task')} it takes none of the labels given there, for it takes "
            f"who voted there to be wrong{empty}.",
        )
    return sentences


def _options_text(table: Table) -> str:
    if table.meanings is not None:
        return "open-ended answers"
    if isinstance(table.num_options, int):
        return f"labels {listed(table.labels, most=8)}"
    low, high = int(table.num_options.min()), int(table.num_options.max())
    number = counted(low, "option") if low == high else f"{low} to {high} options"
    first, last = listed(table.labels[:1]), listed(table.labels[high - 1 : high])
    return f"{number} a task, {first if high == 1 else f'{first} to {last}'}"


def _workers_text(table: Table, method: Method, votes: Votes, diagnosis: Diagnosis) -> str:
    """Tells each worker's turnout, accuracy and weight, and what that means."""
    shares = (table.answers >= 0).mean(axis=0)
    estimates = np.asarray(diagnosis.accuracies, float)
    bounds = np.asarray(diagnosis.accuracy_bounds, float)
    columns = [
        Column("worker", [shown(name) for name in table.workers], numeric=False),
        Column("answered", [_percent(share) for share in shares]),
    ]
    rates = [_percent(value) for value in worker_accuracies(table, votes)]
    if votes.accuracies is None:
        columns.append(Column("sides with it", rates))
        notes = [f"sides with it: how often the worker's vote is the answer of {method.name}."]
    else:
        columns.append(Column("accuracy", rates))
        notes = [f"accuracy: as {method.name} estimates it."]
    weights = mean_weights(table, votes)
    if weights is not None:
        columns.append(Column("weight", ["-" if np.isnan(w) else f"{w:.2f}" for w in weights]))
        if np.asarray(votes.weights).ndim == 2:
            notes.append("weight: the mean over the worker's votes; it depends on the task.")
    columns += [
        Column("by agreement", [_percent(value) for value in estimates]),
        Column("95% interval", [_interval(low, high) for low, high in bounds]),
    ]
    notes.append(
        "by agreement: the accuracy that explains how often workers agree (- where that can't "
        "tell): too high where they err together, as on hard tasks."
    )
    labels = np.asarray(diagnosis.labels)
    if (labels > 0).any():
        right = np.asarray(diagnosis.labelled_accuracies, float)
        ends = np.asarray(diagnosis.labelled_bounds, float)
        columns.append(Column("on labels", [_percent(value) for value in right]))
        known = [
            _interval(low, high) if count else "-"
            for (low, high), count in zip(ends, labels, strict=True)
        ]
        columns.append(Column("95% interval", known))
        notes.append("on labels: the share right of the labelled tasks that the worker answered.")
    return "\n".join([aligned(columns), _wrapped(notes)])


def _clones_text(table: Table, diagnosis: Diagnosis) -> str:
    """Tells which pairs of workers agree more than their accuracies explain, the closest first."""
    if not np.isfinite(np.asarray(diagnosis.z_scores)).any():
        return "Whether workers copy from each other can't be told: four need to share tasks."
    copying, clones = np.asarray(diagnosis.copying, float), np.asarray(diagnosis.clones)
    pairs = [(int(i), int(j)) for i, j in np.argwhere(np.triu(clones, 1))]
    if not pairs and mostly_apart(diagnosis):
        return (
            "Whether workers copy from each other can't be told: most pairs share fewer than "
            f"{FEW_VOTES} tasks."
        )
    if not pairs:
        return "No two workers agree more than their accuracies explain."
    pairs = sorted(pairs, key=lambda pair: -copying[pair])
    names = [shown(name) for name in table.workers]
    first = [f"{names[i]} and {names[j]}" for i, j in pairs[:MAX_PAIRS]]
    rates, predicted = np.asarray(diagnosis.agreement), np.asarray(diagnosis.predicted)
    listing = aligned(
        [
            Column("pair", first, numeric=False),
            Column("agreement", [f"{rates[pair]:.2f}" for pair in pairs[:MAX_PAIRS]]),
            Column("expected", [f"{predicted[pair]:.2f}" for pair in pairs[:MAX_PAIRS]]),
            Column("as if copied", [_percent(copying[pair]) for pair in pairs[:MAX_PAIRS]]),
        ]
    )
    more = len(pairs) - MAX_PAIRS
    tail = [f"and {more:,} more."] if more > 0 else []
    head = (
        f"{counted(len(pairs), 'pair')} of workers that agree more than their accuracies explain "
        "(agreement: 0 by chance, 1 always):"
    )
    return "\n".join([_wrapped([head]), listing, *tail])


def _evaluation_text(evaluation: Evaluation, method: Method) -> str:
    """Tells how often the method is right, and on what grounds."""
    rows: list[tuple[str, Score]] = [("majority", evaluation.majority)]
    if evaluation.without_labels is not None:
        rows.append((f"{method.name}, without labels", evaluation.without_labels))
    learns = method.truth != "ignored"
    if evaluation.rule is not None and method.name != "majority":
        rows.append(
            (f"{method.name}, with the other labels" if learns else method.name, evaluation.rule)
        )
    if evaluation.best_worker is not None:
        rows.append(("best single worker, by the other labels", evaluation.best_worker))
    lines = [
        f"Accuracy on {counted(evaluation.labelled, 'labelled task')}:",
        aligned(
            [
                Column("", [name for name, _ in rows], numeric=False),
                Column("accuracy", [_percent(score.mean) for _, score in rows]),
                Column("95% interval", [_interval(score.low, score.high) for _, score in rows]),
            ]
        ),
    ]
    if evaluation.gain is not None and method.name != "majority":
        gain = evaluation.gain
        lines.append(
            f"{method.name} less majority: {100 * gain.mean:+.1f} points "
            f"(95% interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f})."
        )
    if evaluation.confidence is not None:
        lines.append(
            f"Mean confidence of {method.name} on them: {_percent(evaluation.confidence)}."
        )
    return "\n".join([*lines, _wrapped(_grounds(evaluation, method))])


def _grounds(evaluation: Evaluation, method: Method) -> list[str]:
    """Says which labels which number rests on."""
    if not evaluation.folds:
        return ["One labelled task is too few to judge what is learned from labels."]
    lines = []
    if method.truth == "ignored":
        lines.append(f"{method.name} saw no label.")
    if evaluation.picked or method.truth != "ignored":
        parts = f"the labelled tasks were cut in {evaluation.folds} parts at random"
        judged = "each was judged with the labels of the others alone"
        lines.append(f"By the other labels: {parts}, {judged}.")
    if evaluation.picked:
        picked = ", ".join(map(shown, evaluation.picked))
        lines.append(f"Best single worker so picked: {picked}. A task left out counts as wrong.")
    else:
        lines.append(f"No worker answered {MIN_JUDGED} labelled tasks, to be picked as the best.")
    if method.truth != "ignored":
        lines.append("The answers written come from a fit with all labels.")
    lines.append("Ties count in part: 1 / 2 where one of two tied options is right.")
    return lines


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.1f}%"


def _interval(low: float, high: float) -> str:
    return "-" if np.isnan(low) else f"{100 * low:.1f} to {100 * high:.1f}%"
