import dataclasses
import json

import jax
import jax.numpy as jnp
import pytest

from data.documents import Record
from data.tokenizer import Tokenizer, train_tokenizer
from jaxreason.model import ModelConfig, init
from jaxreason.rlad import raises_success
from jaxreason.tasks import SYMBOLS, RuleInductionConfig, make_rule_induction, to_text
from train.errors import RefusedError
from train.sft import vocabulary_of
from train.useful_abstractions import BATCH, find_useful

CONFIG = RuleInductionConfig(num_examples=2, list_length=2)
MODEL = ModelConfig(
    vocab_size=360, dim=16, num_layers=1, num_heads=2, num_kv_heads=2, hidden_dim=16
)
RECORDS = BATCH + 20  # the second batch is not full


@pytest.fixture(scope="module")
def game():
    """Returns problems, their records, the tokenizer and the task in its ids."""
    keys = jax.random.split(jax.random.key(0), RECORDS)
    drawn = make_rule_induction(CONFIG)
    problems = jax.vmap(lambda key: drawn.sample(key, "train"))(keys)
    texts = to_text(CONFIG, problems)
    records = [Record(each["problem"], each["abstraction"], each["solution"]) for each in texts]
    words = (json.dumps.__doc__ or "").splitlines()
    tokenizer = Tokenizer(train_tokenizer(words, vocab_size=360, symbols=SYMBOLS))
    return problems, records, tokenizer, make_rule_induction(CONFIG, vocabulary_of(tokenizer))


def by_first_token(task, modulus):
    """Returns the task where a solution's answer is its first token, modulo a number."""

    def answer(solution):
        return solution.tokens[:1] % modulus, jnp.array(True)

    def reward(problem, solution):
        right, _ = answer(task.solution(problem))
        return (answer(solution)[0] == right).all().astype(jnp.float32)

    return dataclasses.replace(task, answer=answer, reward=reward)


def test_texts_are_judged_as_problems_on_the_device_are(game):
    problems, records, tokenizer, task = game
    task, params, key = by_first_token(task, 3), init(MODEL, jax.random.key(1)), jax.random.key(2)
    found = find_useful(task, MODEL, params, tokenizer, records, samples=4, key=key)
    right = jax.vmap(task.abstraction)(problems)
    keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(jnp.arange(RECORDS))
    abstractions = jax.tree.map(lambda leaf: leaf[:, None], right)
    wanted = raises_success(task, MODEL, params, problems, abstractions, keys, samples=4)[:, 0]
    assert found.tolist() == wanted.tolist()
    assert 0.1 < found.mean() < 0.9


def test_a_teacher_who_helps_nowhere_is_refused(game):
    _, records, tokenizer, task = game
    task, params = by_first_token(task, 1), init(MODEL, jax.random.key(1))  # all answers are 0
    with pytest.raises(RefusedError, match="none of the 3 abstractions"):
        find_useful(task, MODEL, params, tokenizer, records[:3], samples=1, key=jax.random.key(2))
