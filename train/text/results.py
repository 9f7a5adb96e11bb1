"""What an evaluation on text writes into its run folder and shows."""

import dataclasses
from typing import Any

import numpy as np

from data.questions import QuestionSet
from data.tables import table
from train.intervals import difference_interval, mean_interval
from train.loop import Run, record_seconds
from train.run_folder import write_json
from train.text.config import TextConfig, TextEvaluationConfig
from train.text.measures import Judged, measures_of

BASE = "base"
SPLIT = "test"


def report(config: TextConfig, run: Run, questions: QuestionSet, judged: dict[str, Judged]) -> None:
    """Writes what was measured into the run folder, and shows it.

    Args:
        config: The experiment.
        run: Where to write.
        questions: The task.
        judged: The responses by stage, `BASE` among them.
    """
    measures = {name: measures_of(each.rewards, each.valid) for name, each in judged.items()}
    rows = [
        {
            "stage": stage,
            "split": SPLIT,
            "measure": name,
            **estimate(values),
        }
        for stage, found in measures.items()
        for name, values in found.items()
    ]
    differences = [
        {"claim": f"{stage} - {BASE}, {name}", "split": SPLIT, **difference(values, before)}
        for stage, found in measures.items()
        if stage != BASE
        for name, values in found.items()
        if (before := measures[BASE].get(name)) is not None
    ]
    generation = [{"stage": stage, **_speed(each)} for stage, each in judged.items()]
    for stage, each in judged.items():
        record_seconds(run.path, f"evaluate_{stage}", each.answers.seconds)
    write_json(run.path / "samples.json", _samples(questions, judged))
    write_json(
        run.path / "evaluation.json",
        {"rows": rows, "differences": differences, "generation": generation},
    )
    _show(config.evaluation, questions, judged, rows, differences, generation)


def estimate(values: np.ndarray) -> dict[str, Any]:
    """Returns the mean of the questions that have a value, with its 95% interval.

    Example:
        >>> estimate(np.array([0.5, np.nan, 0.5]))
        {'mean': 0.5, 'low': 0.5, 'high': 0.5, 'count': 2}
    """
    return dataclasses.asdict(mean_interval(values[~np.isnan(values)]))


def difference(values: np.ndarray, before: np.ndarray) -> dict[str, Any]:
    """Returns the mean difference over the questions that have both values, with its interval.

    Example:
        >>> difference(np.array([1.0, 1.0, np.nan]), np.array([0.5, 0.5, 0.0]))
        {'mean': 0.5, 'low': 0.5, 'high': 0.5, 'count': 2}
    """
    both = ~(np.isnan(values) | np.isnan(before))
    return dataclasses.asdict(difference_interval(values[both], before[both]))


def _speed(judged: Judged) -> dict[str, Any]:
    answers, verdicts = judged.answers, judged.verdicts
    return {
        "responses": answers.tokens.size,
        "tokens": int(answers.tokens.sum()),
        "seconds": answers.seconds,
        "compile_seconds": answers.compile_seconds,
        "tokens_per_second": answers.tokens_per_second,
        "hit_limit": float(answers.was_cut.mean()),
        **{name.replace("/", "_"): share for name, share in verdicts.shares().items()},
        "verifier_messages": verdicts.messages,
    }


def _samples(questions: QuestionSet, judged: dict[str, Judged]) -> list[dict[str, Any]]:
    """Returns every question with the responses of every stage."""
    return [
        {
            "split": SPLIT,
            "problem": question.problem,
            "answer": question.answer,
            "responses": {
                stage: [
                    {
                        "text": text,
                        "reward": float(each.rewards[number, sample])
                        if each.valid[number, sample]
                        else None,
                        "hit_limit": bool(each.answers.was_cut[number, sample]),
                    }
                    for sample, text in enumerate(each.answers.texts[number])
                ]
                for stage, each in judged.items()
            },
        }
        for number, question in enumerate(questions.test)
    ]


def _show(
    settings: TextEvaluationConfig,
    questions: QuestionSet,
    judged: dict[str, Judged],
    rows: list[dict[str, Any]],
    differences: list[dict[str, Any]],
    generation: list[dict[str, Any]],
) -> None:
    """Prints a few responses, then the numbers."""
    last, each = list(judged.items())[-1]
    for number, question in enumerate(questions.test[: settings.shown]):
        mark = {True: "right", False: "not right"}[bool(each.rewards[number, 0] >= 1)]
        mark = mark if each.valid[number, 0] else "not judged"
        print(f"\n--- {question.problem.strip()}\n--- {last}, {mark} ({question.answer} is):")
        print(each.answers.texts[number][0].strip())
    print(f"\n{questions.name}, {len(questions.test)} test questions, intervals of 95%\n")
    print(table([estimate_row(f"{row['stage']}, {row['measure']}", row) for row in rows]))
    if differences:
        print(f"\n{table([estimate_row(row['claim'], row) for row in differences])}")
    for row in generation:
        print(
            f"\n{row['stage']}: {row['tokens']:,} tokens in {row['seconds']:.1f} s,"
            f" {row['tokens_per_second']:.1f} a second (compiling took {row['compile_seconds']:.1f}"
            f" s more); {row['hit_limit']:.1%} of {row['responses']:,} responses hit the limit of"
            f" {settings.max_new_tokens}; the verifier failed at {row['verifier_failed']:.1%} and"
            f" timed out at {row['verifier_timed_out']:.1%}, which count for nothing"
        )
        for message in row["verifier_messages"]:
            print(f"  {message}")


def estimate_row(name: str, row: dict[str, Any]) -> dict[str, str]:
    """Returns a line of a table: a mean with its interval, in percent."""
    texts = {part: f"{100 * row[part]:.1f}%" for part in ("mean", "low", "high")}
    return {"measure": name, **texts, "questions": f"{row['count']:,}"}
