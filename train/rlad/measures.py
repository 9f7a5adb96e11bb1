"""What is measured of a pair of players: samples of both, and the numbers made of them."""

import dataclasses
from functools import partial
from typing import Any, no_type_check

import jax
import jax.numpy as jnp

from jaxreason.model import ModelConfig, Params
from jaxreason.rlad import CONTROLS, control_abstractions, pass_at_k, play, propose, solve
from jaxreason.rlad.allocation import pass_at_mk
from jaxreason.rlad.voted import voted_accuracy
from jaxreason.rollout import Sampling
from jaxreason.tasks import Task
from jaxreason.voting import index_answers

Players = tuple[Params, Params]
VOTE_DRAWS = 16
CHUNK = 32
"""Problems that are sampled at the same time; bounds the memory of caches."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class Sampled:
    """What a pair of players wrote for held-out problems.

    Attributes:
        correct: `[problem, abstraction, solution]`.
        answers: Option indices, -1 for none, `[problem, abstraction, solution]`.
        bare_correct: `[problem, solution]`, without an abstraction.
        bare_answers: `[problem, solution]`.
        tokens: Mean generated tokens of an abstraction, a solution with one, a solution without.
        right: Share of abstractions that name the rule, `[problem]`.
        adherence: Share of solutions that follow their abstraction, `[problem]`.
    """

    correct: jax.Array
    answers: jax.Array
    bare_correct: jax.Array
    bare_answers: jax.Array
    tokens: dict[str, jax.Array]
    right: jax.Array
    adherence: jax.Array


def draw_problems(task: Task, key: jax.Array, split: str, count: int) -> tuple[Any, jax.Array]:
    """Draws held-out problems, and a key for each."""
    problem_key, play_key = jax.random.split(key)
    problems = jax.vmap(lambda key: task.sample(key, split))(jax.random.split(problem_key, count))
    return problems, jax.random.split(play_key, count)


def base_success(
    task: Task, model: ModelConfig, params: Params, problems: Any, keys: jax.Array, samples: int
) -> jax.Array:
    """Returns how often a model solves each problem without an abstraction, `[problem]`."""
    return _bare(task, model, params, problems, keys, samples).rewards.mean((1, 2))


def sample_pair(
    task: Task,
    models: tuple[ModelConfig, ModelConfig],
    players: Players,
    problems: Any,
    keys: jax.Array,
    *,
    abstractions: int,
    solutions: int,
    bare: int,
) -> Sampled:
    """Samples m x k solutions under a generator's abstractions, and solutions without one.

    A few problems at a time, which bounds the memory of the caches.
    """
    some = partial(
        _sample_some,
        task,
        models,
        players,
        abstractions=abstractions,
        solutions=solutions,
        bare=bare,
    )
    chunks = max(1, len(keys) // CHUNK)
    cut = jax.tree.map(lambda leaf: leaf.reshape(chunks, -1, *leaf.shape[1:]), (problems, keys))
    sampled = jax.lax.map(lambda chunk: some(*chunk), cut)
    merge = lambda leaf: leaf.reshape(-1, *leaf.shape[2:]) if leaf.ndim > 1 else leaf.mean()  # noqa: E731
    return jax.tree.map(merge, sampled)


def _sample_some(
    task: Task,
    models: tuple[ModelConfig, ModelConfig],
    players: Players,
    problems: Any,
    keys: jax.Array,
    *,
    abstractions: int,
    solutions: int,
    bare: int,
) -> Sampled:
    sampling = Sampling()
    played = play(
        task,
        models,
        players,
        problems,
        keys,
        abstractions=abstractions,
        solutions=solutions,
        bare=0,
        sampling=(sampling, sampling),
    )
    alone = _bare(task, models[1], players[1], problems, keys, bare)
    answers = _index(task, played.solutions.completion)
    bare_answers = _index(task, alone.solutions.completion)
    judge = jax.vmap(jax.vmap(task.abstraction_is_right, (None, 0)))
    follows = jax.vmap(jax.vmap(jax.vmap(task.follows, (None, 0))))
    written = played.abstractions.completion
    return Sampled(
        correct=played.rewards,
        answers=answers,
        bare_correct=alone.rewards[:, 0],
        bare_answers=bare_answers[:, 0],
        tokens={
            "abstraction": written.length.mean(),
            "solution": played.solutions.completion.length.mean(),
            "bare": alone.solutions.completion.length.mean(),
        },
        right=judge(problems, written).mean(-1),
        adherence=follows(played.given, played.solutions.completion).mean((1, 2)),
    )


def score(sampled: Sampled, chosen: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
    """Turns samples into numbers, over the chosen problems.

    Args:
        sampled: The samples.
        chosen: Which problems count, `[problem]`.
        key: For the subsets that vote.

    Returns:
        `average`, `best`, `bare`, `right`, `adherence`; `pass/m x k` and `vote/m x k` for each
        power of two; `pass/n` and `vote/n` without abstractions.
    """
    over = partial(_mean_over, chosen)
    _, abstractions, solutions = sampled.correct.shape
    scores = {
        "average": over(sampled.correct.mean((1, 2))),
        "best": over(sampled.correct.mean(2).max(1)),
        "bare": over(sampled.bare_correct.mean(1)),
        "right": over(sampled.right),
        "adherence": over(sampled.adherence),
    }
    vote = partial(voted_accuracy, key=key, draws=VOTE_DRAWS)
    sizes = tuple((m, k) for m in _powers(abstractions) for k in _powers(solutions))
    voted = vote(sampled.correct, sampled.answers, sizes=sizes)
    for number, (m, k) in enumerate(sizes):
        scores[f"pass/{m} x {k}"] = over(pass_at_mk(sampled.correct, m=m, k=k))
        scores[f"vote/{m} x {k}"] = over(voted[:, number])
    correct = (sampled.bare_correct > 0).sum(1)
    samples = sampled.bare_correct.shape[1]
    counts = _powers(samples)
    alone = (sampled.bare_correct[:, None], sampled.bare_answers[:, None])
    voted = vote(*alone, sizes=tuple((1, count) for count in counts))
    for number, count in enumerate(counts):
        scores[f"pass/{count}"] = over(pass_at_k(correct, samples, count))
        scores[f"vote/{count}"] = over(voted[:, number])
    return scores


def score_controls(
    task: Task,
    models: tuple[ModelConfig, ModelConfig],
    players: Players,
    problems: Any,
    keys: jax.Array,
    *,
    abstractions: int,
    solutions: int,
) -> dict[str, dict[str, jax.Array]]:
    """Measures a solver given the abstractions of each control: success and adherence."""
    _, written = propose(
        task, models[0], players[0], problems, keys, abstractions=abstractions, sampling=Sampling()
    )
    each = [control_abstractions(task, name, problems, written.completion) for name in CONTROLS]
    longest = max(given.tokens.shape[-1] for given, _ in each)
    room = lambda leaf: ((0, 0), (0, 0), (0, longest - leaf.shape[-1]))  # noqa: E731
    padded = [jax.tree.map(lambda leaf: jnp.pad(leaf, room(leaf)), given) for given, _ in each]
    given = jax.tree.map(lambda *leaves: jnp.stack(leaves), *padded)
    withheld = jnp.array([hides for _, hides in each])

    def measure(control: tuple[Any, jax.Array]) -> dict[str, jax.Array]:
        given, withheld = control
        bare = jnp.broadcast_to(withheld, given.tokens.shape[:2])
        _, solved, rewards = solve(
            task,
            models[1],
            players[1],
            problems,
            given,
            bare,
            keys,
            solutions=solutions,
            sampling=Sampling(),
        )
        follows = jax.vmap(jax.vmap(jax.vmap(task.follows, (None, 0))))
        return {"success": rewards.mean(), "adherence": follows(given, solved.completion).mean()}

    scores = jax.lax.map(measure, (given, withheld))  # one program for all of them
    return {
        name: jax.tree.map(lambda leaf, at=at: leaf[at], scores) for at, name in enumerate(CONTROLS)
    }


def _bare(
    task: Task, model: ModelConfig, params: Params, problems: Any, keys: jax.Array, samples: int
) -> Any:
    sampling = Sampling()
    return play(
        task,
        (model, model),
        (params, params),
        problems,
        jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys),
        abstractions=0,
        solutions=samples,
        bare=1,
        sampling=(sampling, sampling),
    )


def _index(task: Task, solutions: Any) -> jax.Array:
    """Numbers the distinct answers of each problem."""
    values, valid = jax.vmap(jax.vmap(jax.vmap(task.answer)))(solutions)
    count = valid.shape[0]
    answers, _ = index_answers(
        values.reshape(count, -1, values.shape[-1]), valid.reshape(count, -1)
    )
    return answers.reshape(valid.shape)


def _powers(limit: int) -> list[int]:
    return [2**power for power in range(limit.bit_length()) if 2**power <= limit]


def _mean_over(chosen: jax.Array, values: jax.Array) -> jax.Array:
    return jnp.where(chosen, values, 0.0).sum() / jnp.maximum(chosen.sum(dtype=jnp.float32), 1.0)
