"""What is measured of a pair of players on held-out problems: one score for each problem."""

import dataclasses
from functools import partial
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
    propose,
    solution_ballots,
    solve,
)
from jaxreason.rollout import Rollout, Sampling
from jaxreason.tasks import SPLITS, Task
from jaxreason.voting import Votes, estimate_accuracies, isp, majority, ow
from train.config import ExperimentConfig

Players = tuple[Params, Params]
Scores = dict[str, jax.Array]
GREEDY = Sampling(temperature=0.0)
WITHOUT_GREEDY, GREEDY_ABSTRACTION = "without abstraction, greedy", "greedy abstraction"
WITHOUT, AVERAGE = "without abstraction, sampled", "average over abstractions"
BEST, ORACLE, RIGHT = "best abstraction", "oracle abstraction, greedy", "right abstractions"
PASS_WITHOUT, PASS = "pass@mk without abstraction", "pass@mk"
SELF_CONSISTENCY = "majority without abstraction"
RULES = ("majority", "OW", "ISP")
MEASURES = (
    *(WITHOUT_GREEDY, GREEDY_ABSTRACTION, WITHOUT, AVERAGE, BEST, ORACLE, RIGHT),
    *(PASS_WITHOUT, PASS, SELF_CONSISTENCY, *RULES),
)
"""All measures, in the order of tables."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Measurement:
    """One score for each problem and measure, and what the scores come from."""

    scores: Scores
    played: Play
    bare: tuple[Rollout, jax.Array]
    ballots: Ballots
    votes: dict[str, Votes]


class Evaluator:
    """Compiled evaluation of any pair of players of an experiment, on the same problems for all.

    Each part is compiled once, for all pairs and splits.

    Args:
        config: The experiment.
        task: Its task in the ids of its tokenizer.
    """

    def __init__(self, config: ExperimentConfig, task: Task) -> None:
        self.task = task
        self._config = config
        self._play = jax.jit(self._play_sampled)
        self._without = jax.jit(self._solve_bare)
        self._greedily = jax.jit(self._solve_greedily)
        self._score = jax.jit(self._score_plays)

    def measure(self, players: Players, accuracies: jax.Array, split: str) -> Measurement:
        """Measures everything on a held-out split.

        Args:
            players: The parameters of the abstraction and the solution generator.
            accuracies: From `calibrate`.
            split: Which problems.
        """
        problems, keys = self._draw(split)
        played = self._play(players, problems, keys)
        bare = self._without(players, problems, keys)
        greedy = self._greedily(players, problems, keys)
        return self._score(played, bare, greedy, accuracies)

    def calibrate(self, players: Players) -> jax.Array:
        """Estimates, on training problems, how often each rank of abstraction votes rightly."""
        ballots = self._ballots(self._play(players, *self._draw("train")))
        return estimate_accuracies(ballots.answers, ballots.truth)

    def success(self, players: Players, split: str) -> tuple[jax.Array, jax.Array]:
        """Returns each problem's success with abstractions, sampled and greedy."""
        problems, keys = self._draw(split)
        sampled = self._play(players, problems, keys).rewards.mean((1, 2))
        return sampled, self._greedily(players, problems, keys)[:, 0]

    @partial(jax.jit, static_argnums=(0, 1))
    def _draw(self, split: str) -> tuple[Any, jax.Array]:
        """Draws the problems of a split and a key for each."""
        root = jax.random.fold_in(jax.random.key(self._config.seed), 4)
        problem_key, play_key = jax.random.split(jax.random.fold_in(root, SPLITS.index(split)))
        count = self._config.evaluation.problems
        sample = jax.vmap(lambda key: self.task.sample(key, split))
        return sample(jax.random.split(problem_key, count)), jax.random.split(play_key, count)

    @partial(jax.jit, static_argnums=0)
    def _ballots(self, played: Play) -> Ballots:
        return abstraction_ballots(self.task, played)

    def _play_sampled(self, players: Players, problems: Any, keys: jax.Array) -> Play:
        """Plays m abstractions x k solutions."""
        settings = self._config.evaluation
        sampling = Sampling(temperature=settings.temperature)
        return play(
            self.task,
            (self._config.model, self._config.model),
            players,
            problems,
            keys,
            abstractions=settings.abstractions,
            solutions=settings.solutions,
            bare=0,
            sampling=(sampling, sampling),
        )

    def _solve_bare(
        self, players: Players, problems: Any, keys: jax.Array
    ) -> tuple[Rollout, jax.Array]:
        """Writes m x k solutions without an abstraction, `[problem, solution]`."""
        settings = self._config.evaluation
        right = jax.vmap(self.task.abstraction)(problems)
        _, solutions, rewards = solve(
            self.task,
            self._config.model,
            players[1],
            problems,
            jax.tree.map(lambda leaf: leaf[:, None], right),
            jnp.ones((len(keys), 1), bool),
            keys,
            solutions=settings.abstractions * settings.solutions,
            sampling=Sampling(temperature=settings.temperature),
        )
        return jax.tree.map(lambda leaf: leaf[:, 0], (solutions, rewards))

    def _solve_greedily(self, players: Players, problems: Any, keys: jax.Array) -> jax.Array:
        """Solves greedily with the greedy, with the right, and without an abstraction."""
        model = self._config.model
        _, written = propose(
            self.task, model, players[0], problems, keys, abstractions=1, sampling=GREEDY
        )
        right = jax.vmap(self.task.abstraction)(problems)
        given = jax.tree.map(
            lambda own, true: jnp.stack([own[:, 0], true, true], axis=1), written.completion, right
        )
        bare = jnp.broadcast_to(jnp.array([False, False, True]), (len(keys), 3))
        _, _, rewards = solve(
            self.task, model, players[1], problems, given, bare, keys, solutions=1, sampling=GREEDY
        )
        return rewards[:, :, 0]

    def _score_plays(
        self,
        played: Play,
        bare: tuple[Rollout, jax.Array],
        greedy: jax.Array,
        accuracies: jax.Array,
    ) -> Measurement:
        """Turns plays into scores and votes."""
        solutions, bare_rewards = bare
        ballots = abstraction_ballots(self.task, played)
        votes = _vote(ballots, accuracies)
        alone = solution_ballots(self.task, solutions.completion, bare_rewards)
        agreed = majority(alone.answers, alone.answers.shape[1] + 1)
        judge = jax.vmap(jax.vmap(self.task.abstraction_is_right, (None, 0)))
        samples = bare_rewards.shape[1]
        passed = partial(pass_at_k, samples=samples, k=samples)
        rewards = played.rewards
        return Measurement(
            scores={
                WITHOUT_GREEDY: greedy[:, 2],
                GREEDY_ABSTRACTION: greedy[:, 0],
                WITHOUT: bare_rewards.mean(-1),
                AVERAGE: rewards.mean((1, 2)),
                BEST: rewards.mean(-1).max(-1),
                ORACLE: greedy[:, 1],
                RIGHT: judge(played.problems, played.abstractions.completion).mean(-1),
                PASS_WITHOUT: passed((bare_rewards > 0).sum(-1)),
                PASS: passed((rewards > 0).sum((1, 2))),
                SELF_CONSISTENCY: _expected(agreed, alone),
                **{rule: _expected(vote, ballots) for rule, vote in votes.items()},
            },
            played=played,
            bare=bare,
            ballots=ballots,
            votes=votes,
        )


def _vote(ballots: Ballots, accuracies: jax.Array) -> dict[str, Votes]:
    """Aggregates the answers by every rule.

    Answers are open, so the number of options is taken as one more than that of agents, the same
    for all problems.
    """
    problems, agents = ballots.answers.shape
    options = jnp.full((problems,), agents + 1, jnp.int32)
    common: dict[str, Any] = {"num_options": options, "max_options": agents + 1}
    outcomes = (
        majority(ballots.answers, **common),
        ow(ballots.answers, accuracies=accuracies, **common),
        isp(ballots.answers, **common),
    )
    return dict(zip(RULES, outcomes, strict=True))


def _expected(votes: Votes, ballots: Ballots) -> jax.Array:
    """Returns the chance that a vote with ties split picks the right option."""
    right = jax.nn.one_hot(ballots.truth, votes.winners.shape[1])
    return (votes.winners * right).sum(-1)
