"""The task as the two players see it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.tasks import (
    SPLITS,
    RuleInductionConfig,
    Sequence,
    Vocabulary,
    decode,
    make_rule_induction,
    to_text,
)
from jaxreason.tasks.vocabulary import ABSTRACTION, SOLUTION

CONFIG = RuleInductionConfig(primitives=("reverse", "add 3", "repeat", "keep even"), max_steps=3)
TASK = make_rule_induction(CONFIG)


@pytest.fixture(scope="module")
def problems():
    keys = jax.random.split(jax.random.key(1), 32)
    return jax.jit(jax.vmap(lambda key: TASK.sample(key, "train")))(keys)


def prompts(problems, bare):
    @jax.jit
    @jax.vmap
    def render(problem):
        return TASK.solution_prompt(problem, TASK.abstraction(problem), jnp.array(bare))

    return render(problems)


def test_prompts_read_like_the_documents_of_supervised_training(problems):
    texts = to_text(CONFIG, problems)
    proposing = decode(jax.jit(jax.vmap(TASK.abstraction_prompt))(problems))
    assert proposing == [text["problem"] + ABSTRACTION for text in texts]
    hinted, bare = (decode(prompts(problems, flag)) for flag in (False, True))
    assert hinted == [text["problem"] + text["abstraction"] + SOLUTION for text in texts]
    assert bare == [text["problem"] + SOLUTION for text in texts]


def test_what_is_to_be_written_reads_like_the_documents(problems):
    texts = to_text(CONFIG, problems)
    abstraction, solution = jax.vmap(lambda p: (TASK.abstraction(p), TASK.solution(p)))(problems)
    words = [text["abstraction"].removeprefix(ABSTRACTION) for text in texts]
    assert decode(abstraction) == [text + SOLUTION for text in words]
    assert decode(solution) == [text["solution"].removeprefix(SOLUTION) for text in texts]


def test_bare_prompts_have_the_width_of_the_others(problems):
    hinted, bare = (prompts(problems, flag) for flag in (False, True))
    assert hinted.tokens.shape == bare.tokens.shape
    assert (bare.length < hinted.length).all()


def test_an_unfinished_abstraction_is_handed_over_as_it_is(problems):
    """The tag that ends an abstraction is not doubled, nor missing where it was cut off."""
    cut = jax.vmap(TASK.abstraction)(problems)
    tag = Vocabulary().id_of(SOLUTION)
    cut = Sequence(cut.tokens, cut.mask & (cut.tokens != tag))
    shown = jax.vmap(TASK.solution_prompt)(problems, cut, jnp.zeros(32, bool))
    assert decode(shown) == decode(prompts(problems, False))


@pytest.mark.parametrize("split", SPLITS)
def test_one_program_from_sampling_to_reward(split):
    @jax.jit
    @jax.vmap
    def rewards(key):
        problem = TASK.sample(key, split)
        solution = TASK.solution(problem)
        return TASK.reward(problem, solution), TASK.abstraction_is_right(
            problem, TASK.abstraction(problem)
        )

    solved, right = rewards(jax.random.split(jax.random.key(0), 16))
    np.testing.assert_array_equal(solved, 1.0)
    assert right.all()
