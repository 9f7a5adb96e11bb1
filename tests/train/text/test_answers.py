"""Batches of answers: which prompts stand together changes nothing."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxreason.model import forward
from train.text.answers import Answerer
from train.text.config import TextConfig, TextEvaluationConfig
from train.text.pretrained import open_pretrained
from train.text.sft import conversation

TEXTS = ["one", "what is 2 + 2?", "the number of steps by which it ends, if it ever ends at all"]


@pytest.fixture(scope="module")
def pretrained(tiny_model):
    return open_pretrained(TextConfig(model=str(tiny_model)))


@pytest.fixture(scope="module")
def params(pretrained):
    return pretrained.load("float32")


def answered(pretrained, params, **settings):
    prompts = [pretrained.prompt(text) for text in TEXTS]
    settings = TextEvaluationConfig(max_new_tokens=12, **settings)
    answerer = Answerer(pretrained.model, pretrained.tokenizer, prompts, settings, seed=3)
    return answerer.answer(params, answerer.compile(params, unloaded=0), "answer")


def test_batches_change_nothing(pretrained, params):
    how = {"samples": 2, "temperature": 1.0}
    alone, together = (answered(pretrained, params, batch_size=n, **how) for n in (1, 2))
    assert alone.texts == together.texts
    assert len({text for texts in alone.texts for text in texts}) > 3
    np.testing.assert_array_equal(alone.tokens, together.tokens)
    np.testing.assert_array_equal(alone.was_cut, together.was_cut)
    assert ((alone.tokens == 12) | ~alone.was_cut).all()


def test_greedy_answers_are_the_most_likely_tokens(pretrained, params):
    answers = answered(pretrained, params, batch_size=3)
    logits_of = jax.jit(lambda tokens: forward(pretrained.model, params, tokens))
    for text, (found,), (count,) in zip(TEXTS, answers.texts, answers.tokens, strict=True):
        tokens = pretrained.prompt(text)
        start = len(tokens)
        for _ in range(count):
            padded = np.pad(tokens, (0, 128 - len(tokens)))[None]
            tokens.append(int(logits_of(padded)[0, len(tokens) - 1].argmax()))
        assert pretrained.tokenizer.decode(tokens[start:]) == found


def test_a_conversation_is_the_template_s_and_only_its_answer_is_learned(pretrained):
    document = conversation(pretrained, pretrained.prompt("2 + 2?"), "It is 4.")
    turns = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "It is 4."}]
    whole = pretrained.tokenizer.encode_chat(turns)
    np.testing.assert_array_equal(document.tokens, whole[: len(document.tokens)])
    assert document.tokens[-1] == pretrained.tokenizer.stop_ids[0]
    learned = document.tokens[document.prompt_length :].tolist()
    assert pretrained.tokenizer.decode(learned) == "It is 4."


def test_a_tokenizer_of_another_model_is_refused(pretrained, tiny_model, monkeypatch):
    small = dataclasses.replace(pretrained.model, vocab_size=99)
    monkeypatch.setattr("train.text.pretrained.model_config", lambda _: small)
    with pytest.raises(ValueError, match="and the model knows 99: they are not of one model"):
        open_pretrained(TextConfig(model=str(tiny_model)))
