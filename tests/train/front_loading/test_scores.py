"""Scores: what counts as an answer, and prompts that are those of training."""

import jax
import numpy as np
import pytest

from data.documents import tokenised
from data.files import Row
from data.renderers import RENDERERS
from data.spans import TAGS
from data.stream import PackedSource, mix
from data.tokenizer import Tokenizer, train_tokenizer
from jaxreason.mixture import Document, Documents, StageSize, best_fit
from jaxreason.model import ModelConfig, init
from train.front_loading.scores import Scorer, answer_of, encode_prompts

TEXT = ["what is 1 + 2 when 3 and 4 are 5 or 6, 7, 8, 9 and 0?"] * 5
MODEL = ModelConfig(
    vocab_size=310, dim=16, num_layers=1, num_heads=2, num_kv_heads=2, hidden_dim=32
)
PROBLEM = {"problem": "what is 1 + 2?", "answer": "3", "form": "brackets"}


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(train_tokenizer(TEXT, vocab_size=310, symbols=TAGS))


@pytest.mark.parametrize(
    ("written", "ends", "answer"),
    [
        ("3", True, "3"),
        ("3", False, ""),
        ("<think>1 + 2 = 3</think>3", True, "3"),
        ("<think>1 + 2 = 3</think>", True, ""),
        ("<think>1 + 2 = 3", False, ""),
    ],
)
def test_what_counts_as_an_answer(tokenizer, written, ends, answer):
    ids = tokenizer.encode(written, with_tags=True) + [tokenizer.eos_id] * ends
    assert answer_of(tokenizer, ids) == answer


def test_prompts_are_those_of_training(tokenizer):
    prompts = encode_prompts(tokenizer, [PROBLEM], 40)
    row = Row("here", PROBLEM)
    trained = tokenised(tokenizer, RENDERERS["problem_answer"](row))
    given = np.asarray(prompts.tokens)[np.asarray(prompts.mask)]
    np.testing.assert_array_equal(given, trained.tokens[: trained.prompt_length])
    with pytest.raises(ValueError, match="the longest problem has .* tokens; raise max_prompt"):
        encode_prompts(tokenizer, [PROBLEM], 3)


def test_a_model_that_knows_one_answer_gets_its_scores(tokenizer, monkeypatch):
    packed = best_fit(Documents.join([Document(np.arange(4, 20, dtype=np.int32))]), 16)
    general = mix(
        [PackedSource("text", packed, False, num_documents=1)],
        [StageSize(2, 0.0)],
        block_size=1,
        seed=0,
    )
    right, wrong = PROBLEM | {"answer": "(3)"}, PROBLEM | {"answer": "(4)"}
    problems = {"seen": [right, wrong], "unseen": [wrong], "forms": [wrong]}
    scorer = Scorer(MODEL, tokenizer, problems, general, max_prompt=40, max_new_tokens=8)
    params = init(MODEL, jax.random.key(0))
    answers = {name: (["(3)"] * len(rows), [False] * len(rows)) for name, rows in problems.items()}
    monkeypatch.setattr(scorer, "_answers", lambda params, name: answers[name])
    scores = scorer.scores(params)
    # of the loss: an untrained model is about as good as a uniform guess among 310 tokens
    assert scores.pop("general_loss") == pytest.approx(np.log(310), abs=0.5)
    assert scores == {"seen": 0.5, "unseen": 0.0, "reasoning": 0.25, "forms": 1.0, "trace": 0.0}


def test_answers_come_from_the_model(tokenizer):
    packed = best_fit(Documents.join([Document(np.arange(4, 20, dtype=np.int32))]), 16)
    source = PackedSource("text", packed, False, num_documents=1)
    general = mix([source], [StageSize(2, 0.0)], block_size=1, seed=0)
    problems = dict.fromkeys(("seen", "unseen", "forms"), [PROBLEM])
    scorer = Scorer(MODEL, tokenizer, problems, general, max_prompt=40, max_new_tokens=8)
    first = scorer.scores(init(MODEL, jax.random.key(0)))
    again = scorer.scores(init(MODEL, jax.random.key(0)))
    other = scorer.scores(init(MODEL, jax.random.key(1)))
    assert first == again and first["general_loss"] != other["general_loss"]
