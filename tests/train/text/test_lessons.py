"""Warm starts of both players from a teacher's files."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from data.questions import Question, QuestionSet
from data.verifiers import NumberVerifier
from train.errors import RefusedError
from train.loop import Run
from train.metrics import MetricsLog
from train.text import export, pair, rl, sft
from train.text.answers import Answerer, Answers
from train.text.config import TextConfig, TextEvaluationConfig, TextSFTConfig
from train.text.lessons import Lesson, keep_useful, read_lessons, untested
from train.text.pretrained import open_pretrained

LESSONS = tuple(
    Lesson(f"What is {n} + {{1}}?", f"Count on from {n}.", f"{n} + 1\n#### {n + 1}")
    for n in range(6)
)
QUESTIONS = QuestionSet("gsm8k", (), (), NumberVerifier(), "End with ####.", "#### {}")


@pytest.fixture
def teacher(tmp_path):
    file = tmp_path / "teacher.jsonl"
    file.write_text("\n".join(json.dumps(dataclasses.asdict(each)) for each in LESSONS))
    return file


def config_of(tiny_model, sums, **settings):
    sizes = {"steps": 2, "batch_size": 2, "microbatches": 1, "sequence_length": 400, "rank": 2}
    return TextConfig(
        model=str(tiny_model),
        folder=str(sums),
        sft=TextSFTConfig(**(sizes | settings)),
        evaluation=TextEvaluationConfig(questions=2, batch_size=4, max_new_tokens=4),
    )


def test_rows_are_read_and_what_lacks_a_text_is_named(teacher, tmp_path):
    assert tuple(read_lessons(str(teacher))) == LESSONS
    bad = tmp_path / "bad.jsonl"
    for value in ({}, {"abstraction": " "}, {"abstraction": 3}):
        bad.write_text(json.dumps({"problem": "a", "solution": "b"} | value))
        with pytest.raises(RefusedError, match="bad.jsonl.* no text in its field 'abstraction'"):
            read_lessons(str(bad))
    bad.write_text("")
    with pytest.raises(RefusedError, match="holds no rows"):
        read_lessons(str(bad))


def test_what_each_player_learns(tiny_model, sums):
    config = config_of(tiny_model, sums, bare_share=0.5)
    pretrained = open_pretrained(config)
    made = sft.documents_of(pretrained, QUESTIONS, LESSONS, LESSONS[:2], config.sft, 0)
    read = pretrained.tokenizer.decode

    def split(document):
        asked = document.tokens[: document.prompt_length].tolist()
        return read(asked), read(document.tokens[document.prompt_length : -1].tolist())

    proposals, solutions = (list(map(split, made[stage])) for stage in ("sft_abstraction", "sft"))
    assert [response for _, response in proposals] == [each.abstraction for each in LESSONS[:2]]
    assert all(each.problem in asked for (asked, _), each in zip(proposals, LESSONS, strict=False))
    assert [response for _, response in solutions] == [each.solution for each in LESSONS]
    given = [each.abstraction in asked for (asked, _), each in zip(solutions, LESSONS, strict=True)]
    assert sum(given) == 3
    assert all("hint" in asked for (asked, _), has in zip(solutions, given, strict=True) if has)
    ends = {int(document.tokens[-1]) for stage in made.values() for document in stage}
    assert ends <= set(pretrained.tokenizer.stop_ids)


def answered(monkeypatch, texts):
    count = len(texts)
    told = Answers(texts, np.ones((count, 2), int), np.zeros((count, 2), bool), 1.0, 1.0)
    monkeypatch.setattr(Answerer, "compile", lambda *_, **__: None)
    monkeypatch.setattr(Answerer, "answer", lambda *_: told)


def test_only_abstractions_that_raise_success_are_kept(tiny_model, sums, monkeypatch):
    config = config_of(tiny_model, sums, teacher="t.jsonl", filter_samples=2)
    pretrained, lessons = open_pretrained(config), [*LESSONS[:3], Lesson("?", "Think.", "none")]
    right = [str(number + 1) for number in range(3)]
    given = [[right[0], "9"], [right[1], "9"], ["9", "9"], ["1", "1"]]
    bare = [["9", "9"], ["9", right[1]], [right[2], "9"], ["2", "2"]]
    texts = [side for pair in zip(given, bare, strict=True) for side in pair]
    answered(monkeypatch, texts)
    assert keep_useful(config, pretrained, QUESTIONS, lessons) == [LESSONS[0]]
    answered(monkeypatch, [["9", "9"]] * 8)
    with pytest.raises(RefusedError, match="none of the teacher's 4 abstractions"):
        keep_useful(config, pretrained, QUESTIONS, lessons)
    other = dataclasses.replace(QUESTIONS, name="chain_sum")
    with pytest.raises(RefusedError, match="leave sft.filter_samples at 0"):
        keep_useful(config, pretrained, other, lessons)


def test_a_filter_without_a_teacher_is_refused():
    with pytest.raises(ValueError, match="name its files by teacher"):
        TextSFTConfig(filter_samples=2)


def test_both_players_start_from_the_teacher(tiny_model, sums, teacher, tmp_path):
    config = config_of(tiny_model, sums, teacher=str(teacher))
    config = dataclasses.replace(config, rl=dataclasses.replace(config.rl, lora=config.sft.lora))
    path = tmp_path / "run"
    path.mkdir()
    with MetricsLog(path) as metrics:
        run = Run(path, tmp_path, metrics)
        sft.fine_tune_text(config, run)
        pretrained = open_pretrained(config)
        started = rl.first_adapters(config, run, pretrained.model)
        pairs = pair.find_pairs(config, run, pretrained.model)
    models = export.load_text_models(config, path, stage="sft", player="both", step=None)
    assert list(models) == ["abstraction", "solution"]
    for trained, begun, measured in zip(models.values(), started, pairs["sft"], strict=True):
        jax.tree.map(np.testing.assert_array_equal, begun, trained)
        jax.tree.map(np.testing.assert_array_equal, measured, trained)
    first, second = (jax.tree.leaves(each) for each in models.values())
    assert any((a != b).any() for a, b in zip(first, second, strict=True))


def test_no_test_question_is_a_lesson(capsys):
    tests = [Question(f" {LESSONS[n].problem}\n", "", "") for n in (1, 4)]
    questions = dataclasses.replace(QUESTIONS, test=tests)
    assert untested(LESSONS, questions) == [LESSONS[n] for n in (0, 2, 3, 5)]
    assert capsys.readouterr().out == (
        "2 of the teacher's 6 lessons are test questions and left out\n"
    )
    with pytest.raises(RefusedError, match="all lessons of the teacher are test questions"):
        untested([LESSONS[4]], questions)


def test_useful_lessons_are_chosen_once(tiny_model, sums, teacher, tmp_path, monkeypatch):
    """A start that was killed goes on with those of before, whatever would be kept now."""
    config = config_of(tiny_model, sums, teacher=str(teacher), filter_samples=2)
    monkeypatch.setattr(sft, "keep_useful", lambda *args: [LESSONS[0], LESSONS[3]])
    with MetricsLog(tmp_path) as metrics:
        run = Run(tmp_path, tmp_path, metrics)
        pretrained = open_pretrained(config)
        first = sft._kept(config, run, pretrained, QUESTIONS, LESSONS)
        monkeypatch.setattr(sft, "keep_useful", lambda *args: [LESSONS[1]])
        assert sft._kept(config, run, pretrained, QUESTIONS, LESSONS) == first
    assert first == [LESSONS[0], LESSONS[3]]
