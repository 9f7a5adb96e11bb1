"""What is measured of a pair of players on held-out problems: one score for each problem."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxreason.model import Params
from jaxreason.rlad import (
    Ballots,
    Play,
    abstraction_ballots,
    pass_at_k,
    play,
    solution_ballots,
    solve,
)
from jaxreason.rollout import Sampling
from jaxreason.tasks import Task
from jaxreason.voting import estimate_accuracies, isp, majority, ow
from jaxreason.voting.result import Votes
from train.config import ExperimentConfig

Players = tuple[Params, Params]
Scores = dict[str, jax.Array]
GREEDY = Sampling(temperature=0.0)
RIGHT_ABSTRACTIONS = "right abstractions"
WITHOUT, WITHOUT_GREEDY = "without abstraction, sampled", "without abstraction, greedy"
AVERAGE, GREEDY_ABSTRACTION = "average over abstractions", "greedy abstraction"
SELF_CONSISTENCY = "majority without abstraction"


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The scores of one split, `[problem]` each, and what they come from."""

    scores: Scores
    played: Play
    votes: dict[str, Votes]
    ballots: Ballots


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Compiled evaluation of any pair of players of an experiment.

    Attributes:
        measure: `(players, accuracies, split) -> Measurement` with everything.
        calibrate: `(players) -> accuracies [abstraction]` of the votes, on training problems.
        success: `(players, split) -> (sampled [problem], greedy [problem])` with abstractions.
    """

    measure: Callable[[Players, jax.Array, str], Measurement]
    calibrate: Callable[[Players], jax.Array]
    success: Callable[[Players, str], tuple[jax.Array, jax.Array]]


def make_evaluator(config: ExperimentConfig, task: Task) -> Evaluator:
    """Compiles the evaluation of an experiment; the same problems come for every pair.

    Args:
        config: The experiment.
        task: Its task in the ids of its tokenizer.

    Returns:
        The evaluator.
    """
    settings = config.evaluation
    sampling = Sampling(temperature=settings.temperature)
    root = jax.random.fold_in(jax.random.key(config.seed), 4)

    def draw(split: str, count: int) -> tuple[Any, jax.Array]:
        key = jax.random.fold_in(root, ("train", "new_instances", "new_compositions").index(split))
        problem_key, play_key = jax.random.split(key)
        sample = jax.vmap(lambda key: task.sample(key, split))
        problems = sample(jax.random.split(problem_key, count))
        return problems, jax.random.split(play_key, count)

    def rounds(players: Players, problems: Any, keys: jax.Array, bare: int, greedy: bool) -> Play:
        return play(
            task,
            (config.model, config.model),
            players,
            problems,
            keys,
            abstractions=1 if greedy else settings.abstractions,
            solutions=1 if greedy else settings.solutions,
            bare=bare,
            sampling=(GREEDY, GREEDY) if greedy else (sampling, sampling),
        )

    @jax.jit
    def calibrate(players: Players) -> jax.Array:
        problems, keys = draw("train", settings.calibration_problems)
        ballots = abstraction_ballots(task, rounds(players, problems, keys, 0, False))
        return estimate_accuracies(ballots.answers, ballots.truth)

    def success(players: Players, split: str) -> tuple[jax.Array, jax.Array]:
        problems, keys = draw(split, settings.problems)
        sampled = rounds(players, problems, keys, 0, False).rewards.mean((1, 2))
        return sampled, rounds(players, problems, keys, 0, True).rewards[:, 0, 0]

    def measure(players: Players, accuracies: jax.Array, split: str) -> tuple:
        problems, keys = draw(split, settings.problems)
        sampled = rounds(players, problems, keys, settings.abstractions, False)
        greedy = rounds(players, problems, keys, 1, True)
        right = jax.vmap(task.abstraction)(problems)
        _, _, oracle = solve(
            task,
            config.model,
            players[1],
            problems,
            jax.tree.map(lambda leaf: leaf[:, None], right),
            jnp.zeros((settings.problems, 1), bool),
            keys,
            solutions=1,
            sampling=GREEDY,
        )
        ballots = abstraction_ballots(task, sampled)
        votes = _vote(ballots, accuracies)
        scores = _success_scores(task, sampled, greedy, oracle[:, 0, 0])
        bare_ballots = solution_ballots(task, sampled)
        options = bare_ballots.answers.shape[1] + 1
        scores[SELF_CONSISTENCY] = _expected(majority(bare_ballots.answers, options), bare_ballots)
        scores |= {rule: _expected(vote, ballots) for rule, vote in votes.items()}
        return scores, sampled, votes, ballots

    compiled = jax.jit(measure, static_argnames="split")
    return Evaluator(
        measure=lambda players, accuracies, split: Measurement(
            *compiled(players, accuracies, split=split)
        ),
        calibrate=calibrate,
        success=jax.jit(success, static_argnames="split"),
    )


def _success_scores(task: Task, sampled: Play, greedy: Play, oracle: jax.Array) -> Scores:
    """Returns every score that needs no vote."""
    count = sampled.abstractions.log_probs.shape[1]
    given, bare = sampled.rewards[:, :count], sampled.rewards[:, count:]
    samples = given.shape[1] * given.shape[2]
    judge = jax.vmap(jax.vmap(task.abstraction_is_right, (None, 0)))
    right = judge(sampled.problems, sampled.abstractions.completion)
    passed = lambda rewards: pass_at_k(  # noqa: E731
        rewards.sum((1, 2)).astype(jnp.int32), samples, samples
    )
    return {
        WITHOUT_GREEDY: greedy.rewards[:, 1, 0],
        GREEDY_ABSTRACTION: greedy.rewards[:, 0, 0],
        WITHOUT: bare.mean((1, 2)),
        AVERAGE: given.mean((1, 2)),
        "best abstraction": given.mean(-1).max(-1),
        "oracle abstraction": oracle,
        RIGHT_ABSTRACTIONS: right.mean(-1),
        f"pass@{samples} without abstraction": passed(bare),
        f"pass@{samples}": passed(given),
    }


def _vote(ballots: Ballots, accuracies: jax.Array) -> dict[str, Votes]:
    """Aggregates the answers by every rule.

    Answers are open, so the number of options is taken as one more than that of agents, the same
    for all problems.
    """
    problems, agents = ballots.answers.shape
    options = jnp.full((problems,), agents + 1, jnp.int32)
    common = {"num_options": options, "max_options": agents + 1}
    return {
        "majority": majority(ballots.answers, **common),
        "OW": ow(ballots.answers, accuracies=accuracies, **common),
        "ISP": isp(ballots.answers, **common),
    }


def _expected(votes: Votes, ballots: Ballots) -> jax.Array:
    """Returns the chance that a vote with ties split picks the right option."""
    right = jax.nn.one_hot(ballots.truth, votes.winners.shape[1])
    return (votes.winners * right).sum(-1)
