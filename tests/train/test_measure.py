"""What is measured of two players: untrained ones, and stand-ins whose scores are known."""

import dataclasses
import importlib
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.config import DataConfig
from jaxreason.model import ModelConfig, init
from jaxreason.rlad import Ballots
from jaxreason.rollout import Rollout
from jaxreason.sequences import Sequence
from jaxreason.tasks import RuleInductionConfig, Vocabulary, make_rule_induction
from jaxreason.voting import majority
from train.config import EvaluationConfig, ExperimentConfig
from train.measure import (
    AVERAGE,
    BEST,
    GREEDY_ABSTRACTION,
    MEASURES,
    ORACLE,
    PASS,
    PASS_WITHOUT,
    RIGHT,
    RULES,
    SELF_CONSISTENCY,
    WITHOUT,
    WITHOUT_GREEDY,
    Evaluator,
    _expected,
)
from train.report import write_report
from train.run_folder import write_json
from train.samples import worked_problems

SIZES = {"dim": 16, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1, "hidden_dim": 16}
CONFIG = ExperimentConfig(
    data=DataConfig(vocab_size=48),
    model=ModelConfig(vocab_size=48, **SIZES),
    task=RuleInductionConfig(
        primitives=("reverse", "add 1", "add 3"), list_length=2, num_examples=1, held_out=0.5
    ),
    evaluation=EvaluationConfig(problems=12, abstractions=3, solutions=2, samples=2),
)
TASK = make_rule_induction(CONFIG.task)
WIDTH = CONFIG.task.width


def lottery():
    """The task, but any solution has an answer: its first token modulo 3; 0 is right."""

    def ticket(solution):
        return solution.tokens[0] % 3

    return dataclasses.replace(
        TASK,
        answer=lambda solution: (jnp.full(WIDTH, ticket(solution)), jnp.array(True)),
        reward=lambda problem, solution: (ticket(solution) == 0).astype(jnp.float32),
    )


@pytest.fixture(scope="module")
def players():
    draw = jax.jit(init, static_argnums=0)
    return tuple(draw(CONFIG.model, jax.random.key(seed)) for seed in (0, 1))


@pytest.fixture(scope="module")
def evaluator():
    return Evaluator(CONFIG, lottery())


@pytest.fixture(scope="module")
def measured(evaluator, players):
    return evaluator.measure(players, evaluator.calibrate(players), "new_instances")


def test_every_measure_has_a_score_in_the_unit_interval_for_every_problem(measured):
    assert set(measured.scores) == set(MEASURES)
    assert len(MEASURES) == len(set(MEASURES)) == 13
    for name, values in measured.scores.items():
        assert values.shape == (12,), name
        assert (values >= 0).all() and (values <= 1).all(), name


def test_scores_of_plays_follow_from_the_rewards(measured):
    scores, rewards = jax.device_get((measured.scores, measured.played.rewards))
    assert rewards.shape == (12, 3, 2) and 0 < rewards.mean() < 1
    np.testing.assert_allclose(scores[AVERAGE], rewards.mean((1, 2)), rtol=1e-6)
    np.testing.assert_allclose(scores[BEST], rewards.mean(2).max(1), rtol=1e-6)
    np.testing.assert_allclose(scores[PASS], rewards.max((1, 2)), atol=1e-6)
    assert (scores[BEST] >= scores[AVERAGE] - 1e-6).all()
    assert (scores[PASS] >= scores[BEST] - 1e-6).all()


def test_scores_without_an_abstraction_follow_from_as_many_solutions(measured):
    scores, rewards = jax.device_get((measured.scores, measured.bare[1]))
    assert rewards.shape == (12, 6) and 0 < rewards.mean() < 1
    np.testing.assert_allclose(scores[WITHOUT], rewards.mean(1), rtol=1e-6)
    np.testing.assert_allclose(scores[PASS_WITHOUT], rewards.max(1), atol=1e-6)


def share_of_plurality(answers):
    """The chance that a plurality vote, its ties broken by lot, is for 0."""
    counts = Counter(answers)
    tied = [answer for answer, count in counts.items() if count == max(counts.values())]
    return (0 in tied) / len(tied)


def test_majorities_count_answers_and_split_ties(measured):
    scores, ballots, bare = jax.device_get((measured.scores, measured.ballots, measured.bare))
    tickets = bare[0].completion.tokens[..., 0] % 3
    expected = [share_of_plurality(row.tolist()) for row in tickets]
    np.testing.assert_allclose(scores[SELF_CONSISTENCY], expected, rtol=1e-6)
    expected = [share_of_plurality(row.tolist()) for row in ballots.values[..., 0]]
    np.testing.assert_allclose(scores["majority"], expected, rtol=1e-6)
    assert set(expected) - {0.0, 1.0}, "no vote was tied"


def test_a_tie_is_worth_its_share():
    answers = jnp.array([[0, 0, 1], [0, 1, 2], [0, 1, -1], [1, 1, 0], [-1, -1, -1], [0, 0, 1]])
    truth = jnp.array([0, 1, 1, 0, -1, -1])
    ballots = Ballots(answers, truth, answers == truth[:, None], answers[..., None])
    scores = _expected(majority(answers, 4), ballots)
    np.testing.assert_allclose(scores, [1, 1 / 3, 1 / 2, 0, 0, 0], rtol=1e-6)


def test_success_is_what_measure_calls_average_and_greedy(evaluator, players, measured):
    sampled, greedy = evaluator.success(players, "new_instances")
    np.testing.assert_array_equal(sampled, measured.scores[AVERAGE])
    np.testing.assert_array_equal(greedy, measured.scores[GREEDY_ABSTRACTION])


def test_accuracies_are_one_a_rank_on_training_problems(evaluator, players):
    accuracies = evaluator.calibrate(players)
    assert accuracies.shape == (3,)
    assert (accuracies > 0).all() and (accuracies < 1).all()


def test_all_pairs_meet_the_same_problems_and_compile_nothing(
    evaluator, players, measured, compilations
):
    accuracies = jnp.full(3, 0.5)
    evaluator.measure(players, accuracies, "new_compositions")
    first = evaluator.success(players, "new_compositions")
    compilations.clear()
    swapped = evaluator.measure(players[::-1], accuracies, "new_instances")
    other = evaluator.measure(players[::-1], accuracies, "new_compositions")
    second = evaluator.success(players[::-1], "new_compositions")
    assert not compilations
    assert not np.array_equal(first[0], second[0])
    jax.tree.map(np.testing.assert_array_equal, swapped.played.problems, measured.played.problems)
    assert not np.array_equal(swapped.played.rewards, measured.played.rewards)
    assert not np.array_equal(other.played.problems.inputs.digits, swapped.played.problems.inputs)


def propose_right_first(task, config, params, problems, keys, *, abstractions, sampling):
    """A generator that names the rule first, and then the rules of the problems before."""
    del config, params, sampling
    right = jax.vmap(task.abstraction)(problems)
    take = lambda leaf: jnp.stack([jnp.roll(leaf, slot, 0) for slot in range(abstractions)], 1)  # noqa: E731
    completion = jax.tree.map(take, right)
    prompts = jax.vmap(task.abstraction_prompt)(problems)
    return prompts, Rollout(completion, jnp.zeros(completion.tokens.shape))


def solve_if_told(task, config, params, problems, abstractions, bare, keys, *, solutions, sampling):
    """A solver that is right where it is given an abstraction that is, and silent elsewhere."""
    del config, params, keys, sampling
    judge = jax.vmap(jax.vmap(task.abstraction_is_right, (None, 0)))
    knows = judge(problems, abstractions) & ~bare
    knows = jnp.repeat(knows[..., None], solutions, axis=2)
    right = jax.vmap(task.solution)(problems)
    spread = lambda leaf: jnp.broadcast_to(leaf[:, None, None], (*knows.shape, leaf.shape[-1]))  # noqa: E731
    written = Sequence(spread(right.tokens), spread(right.mask) & knows[..., None])
    reward_of = jax.vmap(jax.vmap(jax.vmap(task.reward, (None, 0)), (None, 0)))
    rollout = Rollout(written, jnp.zeros(written.tokens.shape))
    return None, rollout, reward_of(problems, written)


@pytest.fixture(scope="module")
def told(players):
    """The measurement of the two stand-ins on the real task."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("jaxreason.rlad.play", "train.measure"):
            patch.setattr(importlib.import_module(name), "propose", propose_right_first)
            patch.setattr(importlib.import_module(name), "solve", solve_if_told)
        evaluator = Evaluator(CONFIG, TASK)
        return evaluator.measure(players, evaluator.calibrate(players), "new_instances")


def rights(problems):
    """Which of the three abstractions of `propose_right_first` name the rule."""
    digits = np.asarray(problems.rule)
    proposed = np.stack([np.roll(digits, slot, 0) for slot in range(3)], 1)
    return (proposed == digits[:, None]).all(-1)


def test_stand_ins_score_what_they_must(told):
    scores = jax.device_get(told.scores)
    right = rights(told.played.problems)
    assert right[:, 0].all() and not right[:, 1:].all()
    ones = (BEST, ORACLE, GREEDY_ABSTRACTION, PASS, *RULES)
    zeros = (WITHOUT, WITHOUT_GREEDY, PASS_WITHOUT, SELF_CONSISTENCY)
    for names, value in ((ones, 1.0), (zeros, 0.0)):
        for name in names:
            np.testing.assert_allclose(scores[name], value, atol=1e-6, err_msg=name)
    # The rules of the table compute different functions, so only the same words are right.
    np.testing.assert_allclose(scores[RIGHT], right.mean(1), rtol=1e-6)
    np.testing.assert_allclose(scores[AVERAGE], right.mean(1), rtol=1e-6)


@pytest.fixture(scope="module")
def worked(told):
    return worked_problems(TASK, Vocabulary(), "new_instances", told, 5)


def test_worked_problems_say_what_was_right(told, worked):
    assert len(worked) == 5
    right = rights(told.played.problems)
    for problem, expected in zip(worked, right, strict=False):
        assert [shown["equivalent"] for shown in problem["abstractions"]] == expected.tolist()
        assert problem["abstractions"][0]["text"] == problem["rule"]
        for shown in problem["abstractions"]:
            assert (shown["text"] == problem["rule"]) == shown["equivalent"]
            for solution in shown["solutions"]:
                assert solution["correct"] == shown["equivalent"]
                assert solution["answer"] == (problem["answer"] if solution["correct"] else "")
        assert [solution["correct"] for solution in problem["bare"]] == [False, False]
        for vote in problem["votes"]:
            assert vote["correct"] and vote["answer"] == problem["answer"]


def test_worked_problems_read_as_the_task_is_written(told, worked):
    problems = jax.device_get(told.played.problems)
    for index, shown in enumerate(worked):
        rule = [CONFIG.task.primitives[step] for step in problems.rule[index] if step >= 0]
        assert shown["rule"] == " then ".join(rule)
        example, query = ("".join(map(str, row)) for row in problems.inputs.digits[index])
        result, answer = ("".join(map(str, row)) for row in problems.outputs.digits[index])
        assert shown["problem"].split() == [example, "->", result, query, "->"]
        assert shown["answer"] == answer
        assert all(name in shown["abstractions"][0]["solutions"][0]["text"] for name in rule)


def test_flags_agree_with_rewards_for_any_players(measured, evaluator):
    worked = worked_problems(evaluator.task, Vocabulary(), "new_instances", measured, 12)
    flags = [
        [[solution["correct"] for solution in shown["solutions"]] for shown in one["abstractions"]]
        for one in worked
    ]
    np.testing.assert_array_equal(flags, measured.played.rewards > 0)
    bare = [[solution["correct"] for solution in one["bare"]] for one in worked]
    np.testing.assert_array_equal(bare, measured.bare[1][:, :2] > 0)
    for one in worked:
        assert [vote["rule"] for vote in one["votes"]] == list(RULES)
        vote = one["votes"][0]
        assert vote["correct"] == (vote["answer"] == "0" * WIDTH)
        assert vote["scores"][vote["answer"]] == max(vote["scores"].values())


def test_the_report_shows_worked_problems(tmp_path, worked):
    write_json(tmp_path / "samples.json", worked)
    page = write_report(tmp_path).read_text()
    for problem in worked:
        assert problem["rule"] in page and problem["answer"] in page
        assert {vote["rule"] for vote in problem["votes"]} == set(RULES)
