"""A pair of players on held-out questions: hints against as many solutions without one."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data.number_answers import is_number
from data.questions import QuestionSet
from data.tables import table
from data.verdicts import Verdicts
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
from train.text.referee import Referee, Texts, open_pool
from train.text.results import SPLIT, difference, estimate, estimate_row
from train.text.votes import vote_of

PAIR = "pair.json"
WITH, WITHOUT = "with hints", "without a hint"
BEST, BEST_WITHOUT = "best hint", "best without a hint"
MAJORITY, SELF_CONSISTENCY = "majority with hints", "majority without a hint"
SCORE, SCORE_WITHOUT = "score with hints", "score without a hint"
COMPARED = (
    (WITH, WITHOUT),
    (BEST, BEST_WITHOUT),
    (MAJORITY, SELF_CONSISTENCY),
    (SCORE, SCORE_WITHOUT),
)
"""Measures with hints, and what each is fairly compared with: the best of m slots with hints is
above their mean by chance, too, as is the best of as many slots without one."""
MEASURES = tuple(name for pair in COMPARED for name in reversed(pair))
"""In the order of tables. All count solutions whose reward is 1 but the scores, means of rewards,
which are left out where the verifier gave no parts."""


@dataclasses.dataclass(frozen=True)
class PairScores:
    """How a pair did."""

    scores: dict[str, np.ndarray]
    """One value in [0, 1] a question, by measure; NaN where its solutions could not be judged both
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
        return [
            {**told, "measure": name, **estimate(self.scores[name])}
            for name in MEASURES
            if name in self.scores
        ]

    def differences(self, stage: str) -> list[dict[str, Any]]:
        """Returns every difference with its 95% interval, in the form of evaluation.json."""
        return [
            {
                "claim": f"{stage}: {first} - {second}",
                "split": SPLIT,
                **difference(self.scores[first], self.scores[second]),
            }
            for first, second in COMPARED
            if first in self.scores
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

        To be called once; from then on others are refused.

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
        return PairScores(
            scores=scores_of(self._abstractions, rewards, valid, answers),
            leaks=float(leaks.mean()),
            unjudged=float(1 - valid.mean()),
            samples=referee.samples()[: count - first],
        )

    def _take(self, rows: np.ndarray) -> TextProblem:
        """Returns the problems of these questions."""
        return jax.tree.map(lambda leaf: leaf[rows], self._tokenised.problems)


def scores_of(
    abstractions: int, rewards: np.ndarray, valid: np.ndarray, answers: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the measures of questions.

    Args:
        abstractions: The slots with hints, which come first; as many without one follow.
        rewards: `[question, slot, solution]`.
        valid: Which of them count.
        answers: Equal answers to a question have the same number, -1 for none.

    Returns:
        One value a question for each of `MEASURES`, NaN where it was not judged on both sides;
        scores only if a reward lies between 0 and 1.
    """
    sides = slice(None, abstractions), slice(abstractions, None)
    judged = np.stack([valid[:, side].any((1, 2)) for side in sides]).all(0)
    has_parts = ((rewards > 0) & (rewards < 1) & valid).any()
    found = {}
    for side, names in zip(sides, zip(*COMPARED, strict=True), strict=True):
        mean, best, vote, score = names
        of_side = rewards[:, side], valid[:, side]
        right = of_side[0] >= 1
        found[mean], found[best] = _means(right, of_side[1])
        found[vote] = _voted(right & of_side[1], answers[:, side])
        if has_parts:
            found[score], _ = _means(*of_side)
    return {name: np.where(judged, found[name], np.nan) for name in MEASURES if name in found}


def _means(rewards: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns each question's mean, and that of its best slot; 0 where nothing was judged."""
    counted, counts = np.where(valid, rewards, 0.0), valid.sum(-1)
    mean = counted.sum((1, 2)) / np.maximum(counts.sum(-1), 1)
    return mean, (counted.sum(-1) / np.maximum(counts, 1)).max(-1)


def _voted(right: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Returns how often each question's plain vote is right: all cards are dealt once."""
    votes = voted_accuracy(
        jnp.asarray(right),
        jnp.asarray(answers),
        sizes=(right.shape[1:],),
        key=jax.random.key(0),
        draws=1,
    )
    return np.asarray(votes)[:, 0]


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
    with open_pool(questions, settings) as pool:
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
        generator, solver = rl.load_players(config, run, model)
        if not config.rl.game.abstractions and sft.STAGE in pairs:
            # A solver that had no partner keeps the one that it was warmed up beside.
            generator = pairs[sft.STAGE][0]
        pairs[rl.STAGE] = generator, solver
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
            if name in before and name in after
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
        number, ids = is_number(question.answer), dict[str, int]()
        for place in np.ndindex(shape[1:]):
            text = texts.solutions[row][place[0]][place[1]]
            answer = vote_of(text, is_number=number)
            if answer and valid[row][place]:
                answers[row][place] = ids.setdefault(answer, len(ids))
    return rewards, valid, answers
