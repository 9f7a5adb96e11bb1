"""One round: who was asked what, and who wrote what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.rlad import play
from jaxreason.rollout import Sampling, completion_log_probs
from jaxreason.tasks import decode, to_text
from jaxreason.tasks.rule_induction import RuleInductionConfig

COUNT, ABSTRACTIONS, SOLUTIONS, BARE = 3, 2, 2, 2
SAMPLING = (Sampling(temperature=1.2), Sampling(temperature=0.8))


@pytest.fixture(scope="module")
def run(task, model):
    def run(params, problems, keys):
        return play(
            task,
            (model, model),
            params,
            problems,
            keys,
            abstractions=ABSTRACTIONS,
            solutions=SOLUTIONS,
            bare=BARE,
            sampling=SAMPLING,
        )

    return jax.jit(run)


@pytest.fixture(scope="module")
def keys():
    return jax.random.split(jax.random.key(0), COUNT)


@pytest.fixture(scope="module")
def problems(task, keys):
    return jax.jit(jax.vmap(lambda key: task.sample(key, "train")))(keys)


@pytest.fixture(scope="module")
def played(run, params, problems, keys):
    return run(params, problems, keys)


def texts(sequences):
    """Decoded rows of any number of axes, in order."""
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), sequences)
    return np.reshape(decode(flat), sequences.tokens.shape[:-1])


def test_shapes(played):
    slots = ABSTRACTIONS + BARE
    assert played.rewards.shape == (COUNT, slots, SOLUTIONS)
    assert played.solutions.log_probs.shape[:3] == (COUNT, slots, SOLUTIONS)
    assert played.abstractions.log_probs.shape[:2] == (COUNT, ABSTRACTIONS)
    assert played.bare.tolist() == [[False, False, True, True]] * COUNT


def test_prompts(played, problems):
    """As in supervised training: problem, abstraction, tag; a bare one leaves the hint out."""
    config = RuleInductionConfig(
        primitives=("reverse", "add 1"), max_steps=1, list_length=2, num_examples=1
    )
    shown = [text["problem"] for text in to_text(config, problems)]
    asked = texts(played.abstraction_prompts)
    hints = texts(played.abstractions.completion)
    solving = texts(played.solution_prompts)
    for problem in range(COUNT):
        assert asked[problem] == shown[problem] + "<abstraction>"
        for slot in range(ABSTRACTIONS):
            hint = hints[problem, slot].removesuffix("<solution>")
            expected = shown[problem] + "<abstraction>" + hint + "<solution>"
            assert solving[problem, slot] == expected
        assert (solving[problem, ABSTRACTIONS:] == shown[problem] + "<solution>").all()


def test_bare_solutions_do_not_depend_on_the_abstractions(run, params, played, problems, keys):
    other = jax.tree.map(lambda leaf: 30 * leaf, params[0])
    again = run((other, params[1]), problems, keys)
    written, rewritten = texts(played.abstractions.completion), texts(again.abstractions.completion)
    assert (written != rewritten).any()
    before, after = (one.solutions.completion.tokens for one in (played, again))
    np.testing.assert_array_equal(before[:, ABSTRACTIONS:], after[:, ABSTRACTIONS:])
    assert (before[:, :ABSTRACTIONS] != after[:, :ABSTRACTIONS]).any()


def test_every_completion_is_drawn_by_itself(played):
    for rollout in (played.abstractions, played.solutions):
        rows = rollout.completion.tokens.reshape(-1, rollout.completion.tokens.shape[-1])
        assert len({tuple(row) for row in rows.tolist()}) > 0.6 * len(rows)


def test_rewards_are_those_of_the_task(task, played, problems):
    reward_of = jax.vmap(jax.vmap(jax.vmap(task.reward, (None, 0)), (None, 0)))
    np.testing.assert_array_equal(played.rewards, reward_of(problems, played.solutions.completion))


@pytest.mark.parametrize("player", [0, 1])
def test_log_probs_are_those_of_the_player_that_wrote(played, params, model, player):
    """Each under its own parameters and temperature."""
    prompts = (played.abstraction_prompts, played.solution_prompts)[player]
    rollout = (played.abstractions, played.solutions)[player]
    fold = lambda leaf: leaf.reshape(-1, leaf.shape[-1])  # noqa: E731
    prompts, rollout = jax.tree.map(fold, (prompts, rollout))
    score = jax.jit(completion_log_probs, static_argnums=0, static_argnames="sampling")
    scores = score(
        model, params[player], prompts, rollout.completion, sampling=SAMPLING[player]
    ).log_probs
    mask = rollout.completion.mask
    np.testing.assert_allclose(scores[mask], rollout.log_probs[mask], atol=1e-5)


def test_a_problem_does_not_depend_on_the_others(run, params, played, problems, keys):
    order = jnp.array([2, 0, 1])
    shuffled = run(params, jax.tree.map(lambda leaf: leaf[order], problems), keys[order])
    np.testing.assert_array_equal(
        shuffled.solutions.completion.tokens, played.solutions.completion.tokens[order]
    )
