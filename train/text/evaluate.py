"""Evaluation of a pretrained model on questions whose answers a verifier judges."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from data.questions import QuestionSet
from data.tables import table
from data.verdicts import Verdicts
from data.verifier_pool import VerifierPool
from jaxreason.model import Adapters, Params, attach
from jaxreason.rlad import pass_at_k
from train.errors import refuse_bad_values
from train.intervals import difference_interval, mean_interval
from train.loop import Run, record_seconds
from train.run_folder import write_json
from train.text import sft
from train.text.answers import Answerer, Answers
from train.text.config import TextConfig, TextEvaluationConfig
from train.text.pretrained import Pretrained, open_pretrained, open_task

BASE = "base"
SPLIT = "test"
ACCURACY, SCORE = "accuracy", "score"


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """Responses with what the verifier said."""

    answers: Answers
    rewards: np.ndarray
    """float32 `[question, sample]`; 0 where not valid."""
    valid: np.ndarray
    """bool `[question, sample]`, which responses have a reward."""
    verdicts: Verdicts
    """What the verifier said, with its failures."""


def evaluate_text(config: TextConfig, run: Run) -> None:
    """Evaluates the pretrained model and, where a run has it, the fine-tuned one.

    Writes evaluation.json and samples.json into the run folder.

    Args:
        config: The experiment.
        run: Where to write; a finished fine-tuning there is evaluated too.

    Raises:
        RefusedError: If the model or the questions can't be had, or memory does not suffice.
    """
    pretrained = open_pretrained(config)
    questions = open_task(config, run, num_train=0)
    evaluator = Evaluator(config, pretrained, questions)
    with refuse_bad_values():
        pool = VerifierPool(
            questions.verifier,
            workers=config.evaluation.workers,
            time_limit=config.evaluation.time_limit,
        )
    judged = {}
    with pool:
        compiled = evaluator.answerer.compile(pretrained.shapes(config.dtype))
        base = pretrained.load(config.dtype)
        judged[BASE] = evaluator.judge(base, compiled, BASE, pool)
        if sft.is_finished(config, run):
            tuned = tuned_params(base, sft.load_tuned(config, run, pretrained))
            compiled = evaluator.answerer.compile(tuned)
            judged[sft.STAGE] = evaluator.judge(tuned, compiled, sft.STAGE, pool)
    report(config, run, questions, judged)


def tuned_params(base: Params, trained: Params | Adapters) -> Params:
    """Returns what fine-tuning trained as the model takes it."""
    return attach(base, trained) if isinstance(trained, Adapters) else trained


class Evaluator:
    """The questions of an evaluation, ready to be put to models of one shape.

    Args:
        config: The experiment.
        pretrained: The model.
        questions: The task.
    """

    def __init__(self, config: TextConfig, pretrained: Pretrained, questions: QuestionSet) -> None:
        self._questions, self._samples = questions.test, config.evaluation.samples
        with refuse_bad_values():
            prompts = [pretrained.prompt(questions.prompt(each)) for each in questions.test]
        self.answerer = Answerer(
            pretrained.model, pretrained.tokenizer, prompts, config.evaluation, config.seed
        )

    def judge(self, params: Params, compiled: Any, stage: str, pool: VerifierPool) -> Judged:
        """Draws responses and has them judged."""
        answers = self.answerer.answer(params, compiled, f"evaluate {stage}")
        references = [question.reference for question in self._questions]
        with refuse_bad_values():
            verdicts = pool.score(
                [text for texts in answers.texts for text in texts],
                [reference for reference in references for _ in range(self._samples)],
            )
        shape = (len(references), self._samples)
        rewards, valid = verdicts.rewards.reshape(shape), verdicts.valid.reshape(shape)
        return Judged(answers, rewards, valid, verdicts)


def measures_of(rewards: np.ndarray, valid: np.ndarray) -> dict[str, np.ndarray]:
    """Computes each measure for each question; NaN where the verifier failed.

    A response is right if its reward is 1. Where a verifier gives part of the reward, its mean is a
    measure of its own. The chance that one of k samples is right is left open for a question of
    which fewer than k were judged.

    Args:
        rewards: `[question, sample]`.
        valid: Which of them count.

    Example:
        >>> rewards, valid = np.eye(2), np.array([[True, True], [True, False]])
        >>> {name: values.tolist() for name, values in measures_of(rewards, valid).items()}
        {'accuracy': [0.5, 0.0], 'pass@2': [1.0, nan]}
    """
    counts = valid.sum(1)
    right = ((rewards >= 1) & valid).sum(1)
    judged = np.where(counts > 0, counts, np.nan)
    measures = {ACCURACY: right / judged}
    if ((rewards > 0) & (rewards < 1) & valid).any():
        measures[SCORE] = np.where(valid, rewards, 0.0).sum(1) / judged
    for k in sizes(rewards.shape[1]):
        values = np.full(len(rewards), np.nan)
        for samples in {int(count) for count in counts if count >= k}:
            chosen = counts == samples
            values[chosen] = pass_at_k(jnp.asarray(right[chosen]), samples, k)
        measures[f"pass@{k}"] = values
    return measures


def sizes(samples: int) -> list[int]:
    """Returns the sizes k of pass@k: powers of two, and all samples.

    Example:
        >>> sizes(1), sizes(6)
        ([], [2, 4, 6])
    """
    powers = [1 << power for power in range(1, samples.bit_length())]
    return sorted({*powers, samples} - {1})


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
            **_estimate(mean_interval(_known(values))),
        }
        for stage, found in measures.items()
        for name, values in found.items()
    ]
    differences = [
        {"claim": f"{stage} - {BASE}, {name}", "split": SPLIT, **_difference(values, before)}
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


def _known(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


def _estimate(estimate: Any) -> dict[str, Any]:
    return dataclasses.asdict(estimate)


def _difference(values: np.ndarray, before: np.ndarray) -> dict[str, Any]:
    both = ~(np.isnan(values) | np.isnan(before))
    return _estimate(difference_interval(values[both], before[both]))


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
    print(table([_row(f"{row['stage']}, {row['measure']}", row) for row in rows]))
    if differences:
        print(f"\n{table([_row(row['claim'], row) for row in differences])}")
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


def _row(name: str, row: dict[str, Any]) -> dict[str, str]:
    texts = {part: f"{100 * row[part]:.1f}%" for part in ("mean", "low", "high")}
    return {"measure": name, **texts, "questions": f"{row['count']:,}"}
