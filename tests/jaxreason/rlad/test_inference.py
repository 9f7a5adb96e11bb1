"""pass@k, and plays as ballots."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.rlad import Play, abstraction_ballots, pass_at_k, solution_ballots
from jaxreason.rollout import Rollout
from jaxreason.sequences import Sequence
from jaxreason.tasks import RuleInductionConfig, Vocabulary, make_rule_induction
from jaxreason.tasks.vocabulary import ANSWER


@pytest.mark.parametrize(
    ("samples", "correct", "k", "expected"),
    [
        (16, 4, 4, 0.728022),
        (8, 2, 4, 0.785714),
        (32, 3, 8, 0.591935),
        (4, 2, 1, 0.5),
        (5, 0, 3, 0.0),
        (5, 5, 1, 1.0),
        (5, 3, 3, 1.0),
    ],
)
def test_golden_pass_at_k(samples, correct, k, expected):
    np.testing.assert_allclose(pass_at_k(jnp.array(correct), samples, k), expected, atol=1e-6)


@pytest.mark.parametrize("k", range(1, 13))
def test_pass_at_k_counts_subsets(k):
    for samples in range(k, 13):
        values = pass_at_k(jnp.arange(13), samples, k)[: samples + 1]
        expected = [
            1 - math.comb(samples - correct, k) / math.comb(samples, k)
            for correct in range(samples + 1)
        ]
        np.testing.assert_allclose(values, expected, atol=1e-6)


def expected_pass(success, samples, k):
    """The mean of the estimate over the binomial number of right samples."""
    correct = np.arange(samples + 1)
    chance = [math.comb(samples, c) * success**c * (1 - success) ** (samples - c) for c in correct]
    return float(np.dot(chance, pass_at_k(jnp.asarray(correct), samples, k)))


@given(st.floats(0, 1), st.sampled_from([(4, 1), (4, 2), (8, 2), (8, 8)]))
def test_pass_at_k_is_unbiased(success, sizes):
    samples, k = sizes
    assert abs(expected_pass(success, samples, k) - (1 - (1 - success) ** k)) < 1e-5


def split_and_pooled(rates, k):
    """At least one success: k samples under each abstraction, against as many at the mean rate."""
    split = 1 - np.prod([1 - expected_pass(rate, 4, k) for rate in rates])
    return split, expected_pass(float(np.mean(rates)), len(rates) * k, len(rates) * k)


def test_golden_split_of_a_budget():
    """Four abstractions of two samples each; eight samples at the mean success .2125."""
    np.testing.assert_allclose(
        split_and_pooled([0.5, 0.1, 0.0, 0.25], 2), [0.886094, 0.852088], atol=1e-5
    )


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_splitting_over_abstractions_never_loses(rates):
    """The geometric mean of the failure rates is at most the arithmetic one."""
    split, pooled = split_and_pooled(rates, 2)
    assert split >= pooled - 1e-5


@pytest.mark.parametrize("k", [0, 5])
def test_impossible_k_is_refused(k):
    with pytest.raises(ValueError, match=rf"k must be in \[1, 4\], the samples; got {k}"):
        pass_at_k(jnp.array(1), 4, k)


CONFIG = RuleInductionConfig(primitives=("reverse",), max_steps=1, list_length=2, num_examples=1)
TASK = make_rule_induction(CONFIG)


def written(answers):
    """Solutions that hold nothing but an answer; None is one without its end."""
    vocabulary = Vocabulary()
    tag, zero, eos = vocabulary.id_of(ANSWER), vocabulary.id_of("0"), vocabulary.eos_id

    def row(answer):
        digits = [] if answer is None else [zero + int(digit) for digit in answer]
        return ([tag, *digits] + [0 if answer is None else eos] + [0] * 4)[:6]

    tokens = jnp.array([[[row(a) for a in slot] for slot in slots] for slots in answers])
    return Sequence(tokens, tokens > 0)


def make_play(answers, abstraction_log_probs):
    """A play of given answers `[problem][slot][solution]` to problems whose answer is 21."""
    problems = jax.vmap(lambda key: TASK.sample(key, "train"))(
        jax.random.split(jax.random.key(0), len(answers))
    )
    digits = problems.outputs.digits.at[:, -1].set(jnp.array([2, 1]))
    outputs = dataclasses.replace(problems.outputs, digits=digits)
    problems = dataclasses.replace(problems, outputs=outputs)
    solutions = written(answers)
    rewards = jax.vmap(jax.vmap(jax.vmap(TASK.reward, (None, 0)), (None, 0)))(problems, solutions)
    log_probs = jnp.array(abstraction_log_probs)[..., None]
    blank = Sequence(jnp.zeros(log_probs.shape, jnp.int32), jnp.ones(log_probs.shape, bool))
    slots = solutions.tokens.shape[1]
    bare = jnp.arange(slots) >= log_probs.shape[1]
    return Play(
        problems=problems,
        abstraction_prompts=jax.tree.map(lambda leaf: leaf[:, 0], blank),
        abstractions=Rollout(blank, log_probs),
        solution_prompts=jax.tree.map(lambda leaf: leaf[:, :, 0], solutions),
        solutions=Rollout(solutions, jnp.zeros(solutions.tokens.shape)),
        rewards=rewards,
        bare=jnp.broadcast_to(bare, (len(answers), slots)),
        given=jax.tree.map(lambda leaf: leaf[:, jnp.zeros(slots, int)], blank),
    )


PLAY = make_play(
    [
        # Two abstractions of three solutions, and a bare slot.
        [["21", "7", "21"], ["7", "7", "21"], ["21", "8", None]],
        [["8", None, "3"], [None, None, None], ["8", "8", "8"]],
    ],
    [[-3.0, -1.0], [-1.0, -2.0]],
)


def bare_ballots(played):
    bare = jax.tree.map(lambda leaf: leaf[:, -1], played.solutions.completion)
    return solution_ballots(TASK, bare, played.rewards[:, -1])


def hinted_ballots(played):
    return abstraction_ballots(TASK, played)


@pytest.mark.parametrize("ballots_of", [hinted_ballots, bare_ballots])
def test_answers_that_are_equal_share_an_option(ballots_of):
    ballots = jax.jit(ballots_of)(PLAY)
    answers, values = np.asarray(ballots.answers), np.asarray(ballots.values)
    for problem, row in enumerate(answers):
        for left, right in np.ndindex(len(row), len(row)):
            if row[left] >= 0 and row[right] >= 0:
                same = (values[problem, left] == values[problem, right]).all()
                assert (row[left] == row[right]) == same


def test_abstractions_vote_in_the_order_of_their_likelihood():
    """Each with its commonest answer, the first of them on ties."""
    ballots = jax.jit(hinted_ballots)(PLAY)
    assert ballots.values[0].tolist() == [[7, -1], [2, 1]]
    assert ballots.values[1, 0].tolist() == [8, -1]
    assert ballots.correct.tolist() == [[False, True], [False, False]]
    assert int(ballots.answers[0, 1]) == int(ballots.truth[0]) >= 0
    assert int(ballots.answers[1, 1]) == -1 and int(ballots.truth[1]) == -1


def test_bare_solutions_vote_for_themselves():
    ballots = jax.jit(bare_ballots)(PLAY)
    assert ballots.values[0, :2].tolist() == [[2, 1], [8, -1]]
    assert ballots.correct.tolist() == [[True, False, False], [False] * 3]
    assert int(ballots.answers[0, 2]) == -1
    assert len(set(ballots.answers[1].tolist())) == 1 and int(ballots.truth[1]) == -1


@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"rewards must have shape \[problem, solution\]"):
        solution_ballots(TASK, PLAY.solutions.completion, PLAY.rewards)
