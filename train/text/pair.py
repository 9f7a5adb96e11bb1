"""A pair of players on held-out questions: hints against as many solutions without one."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data.number_answers import read_number
from data.questions import QuestionSet
from data.tables import table
from data.verdicts import Verdicts
from data.verifier_pool import VerifierPool
from jaxreason.model import Adapters, ModelConfig, Params, attach
from jaxreason.rlad import Play, play, voted_accuracy
from jaxreason.rollout import Sampling
from jaxreason.tasks import Task, TextProblem
from train.loop import Run
from train.memory import check_memory
from train.progress import track
from train.run_folder import write_json
from train.text import rl, sft
from train.text.config import TextConfig
from train.text.prepared import prepare_game
from train.text.pretrained import Pretrained
from train.text.prompts import TokenisedQuestions
from train.text.referee import Referee, Texts
from train.text.results import SPLIT, difference, estimate, estimate_row
from train.text.votes import vote_of

PAIR = "pair.json"
WITH, WITHOUT = "with hints", "without a hint"
BEST = "best hint"
MAJORITY, SELF_CONSISTENCY = "majority with hints", "majority without a hint"
MEASURES = (WITHOUT, WITH, BEST, SELF_CONSISTENCY, MAJORITY)
"""One score a question each, in the order of tables."""
COMPARED = ((WITH, WITHOUT), (BEST, WITHOUT), (MAJORITY, SELF_CONSISTENCY))
"""Pairs whose differences are told."""


@dataclasses.dataclass(frozen=True)
class PairScores:
    """How a pair did."""

    scores: dict[str, np.ndarray]
    """One score in [0, 1] a question, by measure; NaN where its solutions could not be judged both
    with and without hints."""
    leaks: float
    """Share of the hints that give the answer away."""
    unjudged: float
    """Share of the solutions that the verifier failed on; they are left out."""
    samples: list[dict[str, Any]]
    """The last batch, as `Referee.samples` tells it."""

    def rows(self, stage: str) -> list[dict[str, Any]]:
        """Returns every mean with its 95% interval, in the form of evaluation.json."""
        told = {"stage": stage, "split": SPLIT}
        return [{**told, "measure": name, **estimate(self.scores[name])} for name in MEASURES]

    def differences(self, stage: str) -> list[dict[str, Any]]:
        """Returns every difference with its 95% interval, in the form of evaluation.json."""
        return [
            {
                "claim": f"{stage}: {first} - {second}",
                "split": SPLIT,
                **difference(self.scores[first], self.scores[second]),
            }
            for first, second in COMPARED
        ]


class PairEvaluator:
    """Spends m hints x k solutions on every question, and as many solutions without a hint.

    Args:
        task: The task of the questions.
        model: The shape of both players.
        tokenised: The questions.
        abstractions: Hints m for each question.
        solutions: Solutions k under each.
        sampling: The distribution of both players.
        batch: Questions at the same time; bounds the memory.
    """

    def __init__(
        self,
        task: Task,
        model: ModelConfig,
        tokenised: TokenisedQuestions,
        *,
        abstractions: int,
        solutions: int,
        sampling: Sampling,
        batch: int,
    ) -> None:
        self._tokenised, self._abstractions, self._batch = tokenised, abstractions, batch
        self._play: Any = jax.jit(
            partial(
                play,
                task,
                (model, model),
                abstractions=abstractions,
                solutions=solutions,
                bare=abstractions,
                sampling=(sampling, sampling),
            )
        )

    def compile(self, players: tuple[Params, Params]) -> None:
        """Compiles for players like these, arrays or shapes, ahead of the first call.

        Raises:
            RefusedError: If a batch does not fit into memory.
        """
        rows = np.zeros(self._batch, int)
        keys = jax.random.split(jax.random.key(0), self._batch)
        self._play = self._play.lower(players, self._take(rows), keys).compile()
        check_memory({"cache and activations": self._play.memory_analysis().temp_size_in_bytes})

    def __call__(
        self,
        players: tuple[Params, Params],
        referee: Referee,
        *,
        key: jax.Array,
        name: str = "evaluate pair",
    ) -> PairScores:
        """Measures a pair.

        Args:
            players: Parameters of the abstraction and of the solution generator.
            referee: Judges solutions of these questions.
            key: A random key.
            name: What the progress is called.

        Returns:
            Scores of the questions.
        """
        count, batch = len(self._tokenised.questions), self._batch
        keys = jax.random.split(key, count)
        found: list[tuple[np.ndarray, ...]] = []
        with track(name, -(-count // batch)) as progress:
            for number in progress:
                # The last batch is filled up, so that it compiles nothing anew.
                first = number * batch
                rows = np.minimum(np.arange(first, first + batch), count - 1)
                played = self._play(players, self._take(rows), keys[rows])
                verdicts, leaks = referee.judge(played), referee.find_leaks(played)
                told = _read(referee.read(played), played, verdicts)
                found.append(tuple(each[: count - first] for each in (*told, leaks)))
        rewards, valid, answers, leaks = (np.concatenate(each) for each in zip(*found, strict=True))
        with_hints, bare = _both_sides(self._abstractions, rewards, valid, answers)
        return PairScores(
            scores={
                WITHOUT: bare[0],
                WITH: with_hints[0],
                BEST: with_hints[1],
                SELF_CONSISTENCY: bare[2],
                MAJORITY: with_hints[2],
            },
            leaks=float(leaks.mean()),
            unjudged=float(1 - valid.mean()),
            samples=referee.samples()[: count - first],
        )

    def _take(self, rows: np.ndarray) -> TextProblem:
        """Returns the problems of these questions."""
        return jax.tree.map(lambda leaf: leaf[rows], self._tokenised.problems)


def _both_sides(
    abstractions: int, rewards: np.ndarray, valid: np.ndarray, answers: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Scores the slots with hints, which come first, and those without; see `_score`.

    NaN where a question was not judged on both sides.
    """
    sides = slice(None, abstractions), slice(abstractions, None)
    judged = np.stack([valid[:, side].any((1, 2)) for side in sides]).all(0)
    with_hints, bare = (
        [
            np.where(judged, scores, np.nan)
            for scores in _score(rewards[:, side], valid[:, side], answers[:, side])
        ]
        for side in sides
    )
    return with_hints, bare


def evaluate_pairs(
    config: TextConfig, run: Run, pretrained: Pretrained, base: Params, questions: QuestionSet
) -> dict[str, PairScores]:
    """Measures the pairs that a run has on the test questions; writes `pair.json`.

    Args:
        config: The experiment; `config.evaluation` says how much is spent on a question.
        run: Its folder.
        pretrained: The model.
        base: Its weights.
        questions: The task.

    Returns:
        Scores by stage: those of the warm starts, if there is one of each player, and those after
        the game, if it is finished. Nothing is written if there are none.

    Raises:
        RefusedError: If it does not fit into memory.
    """
    pairs = find_pairs(config, run, pretrained.model)
    if not pairs:
        return {}
    tokenised, task = prepare_game(config.rl, pretrained, questions.test, questions.instruction)
    settings = config.evaluation
    players = {
        stage: (attach(base, adapters[0]), attach(base, adapters[1]))
        for stage, adapters in pairs.items()
    }
    evaluate = PairEvaluator(
        task,
        pretrained.model,
        tokenised,
        abstractions=settings.abstractions,
        solutions=settings.solutions,
        sampling=Sampling(temperature=config.rl.game.temperature),
        batch=settings.batch_size,
    )
    evaluate.compile(next(iter(players.values())))
    with VerifierPool(
        questions.verifier, workers=settings.workers, time_limit=settings.time_limit
    ) as pool:
        scored = {
            stage: evaluate(
                pair,
                Referee(pretrained.tokenizer, tokenised.questions, pool),
                key=jax.random.fold_in(jax.random.key(config.seed), 4),
                name=f"evaluate pair {stage}",
            )
            for stage, pair in players.items()
        }
    _tell(config, run, scored)
    return scored


def find_pairs(
    config: TextConfig, run: Run, model: ModelConfig
) -> dict[str, tuple[Adapters, Adapters]]:
    """Returns the adapters of both players by stage, of the stages that are finished.

    Warm starts that trained all weights are left out, as no game can start from them.
    """
    pairs = {}
    both = sft.ABSTRACTION_STAGE, sft.STAGE
    if config.sft.rank and all(sft.is_finished(config, run, stage) for stage in both):
        first, second = (rl.load_warm_start(config, run, stage, model) for stage in both)
        pairs[sft.STAGE] = first, second
    if rl.is_finished(config, run):
        pairs[rl.STAGE] = rl.load_players(config, run, model)
    return pairs


def _tell(config: TextConfig, run: Run, scored: Mapping[str, PairScores]) -> None:
    """Writes and shows how the pairs of a run did."""
    rows = [row for stage, each in scored.items() for row in each.rows(stage)]
    differences = [row for stage, each in scored.items() for row in each.differences(stage)]
    if len(scored) == 2:
        before, after = (each.scores for each in scored.values())
        claim = " - ".join(reversed(scored))
        differences += [
            {"claim": f"{claim}, {name}", "split": SPLIT, **difference(after[name], before[name])}
            for name in MEASURES
        ]
    stages = {
        stage: {"leaks": each.leaks, "unjudged": each.unjudged, "samples": each.samples}
        for stage, each in scored.items()
    }
    write_json(run.path / PAIR, {"rows": rows, "differences": differences, "stages": stages})
    budget = f"{config.evaluation.abstractions} x {config.evaluation.solutions}"
    print(f"\nPairs of players, {budget} solutions against as many without a hint\n")
    print(table([estimate_row(f"{row['stage']}, {row['measure']}", row) for row in rows]))
    print(f"\n{table([estimate_row(row['claim'], row) for row in differences])}")
    for stage, each in scored.items():
        print(
            f"\n{stage}: {each.leaks:.1%} of the hints give the answer away; {each.unjudged:.1%} of"
            " the solutions could not be judged and count for nothing"
        )


def _read(
    texts: Texts, played: Play, verdicts: Verdicts
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns rewards, which of them count, and answers as ids, `[question, slot, solution]`."""
    shape = played.rewards.shape
    rewards, valid = verdicts.rewards.reshape(shape), verdicts.valid.reshape(shape)
    answers = np.full(shape, -1, np.int32)
    for row, question in enumerate(texts.questions):
        is_number, ids = read_number(question.answer) is not None, dict[str, int]()
        for place in np.ndindex(shape[1:]):
            text = texts.solutions[row][place[0]][place[1]]
            answer = vote_of(text, is_number=is_number)
            if answer and valid[row][place]:
                answers[row][place] = ids.setdefault(answer, len(ids))
    return rewards, valid, answers


def _score(
    rewards: np.ndarray, valid: np.ndarray, answers: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns each question's mean success, that of its best slot, and that of its vote."""
    counted = np.where(valid, rewards, 0.0)
    mean = counted.sum((1, 2)) / np.maximum(valid.sum((1, 2)), 1)
    best = (counted.sum(-1) / np.maximum(valid.sum(-1), 1)).max(-1)
    # Dealing all cards once is the plain vote.
    votes = voted_accuracy(
        jnp.asarray(counted >= 1),
        jnp.asarray(answers),
        sizes=(rewards.shape[1:],),
        key=jax.random.key(0),
        draws=1,
    )
    return mean, best, np.asarray(votes)[:, 0]
