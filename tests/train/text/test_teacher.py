"""The examples of a teacher's file."""

import re

import pytest

from data.questions import open_questions
from train.text import teacher
from train.text.lessons import read_lessons

pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed")


@pytest.mark.parametrize("task", ["aiw", "spell_backward"])
def test_lessons_are_right_and_none_is_tested(tmp_path, capsys, task):
    file = tmp_path / "lessons.jsonl"
    options = ["--task", task, "--lessons", "40", "--test-questions", "20", "--seed", "3"]
    teacher.main([str(file), *options])
    assert capsys.readouterr().out == f"40 lessons in {file}\n"
    lessons = read_lessons(str(file))
    questions = open_questions(task, cache_dir=tmp_path, seed=3, num_train=40, num_test=20)
    assert [each.problem for each in lessons] == [each.problem.strip() for each in questions.train]
    assert not {each.problem for each in lessons} & {each.problem for each in questions.test}
    helpful = 0
    for lesson, question in zip(lessons, questions.train, strict=True):
        assert questions.verifier(lesson.solution, question.reference) == 1
        helpful += lesson.abstraction not in teacher.TEACHERS[task].advice
    assert 10 < helpful < 30
    again = tmp_path / "again.jsonl"
    teacher.main([str(again), *options])
    assert again.read_bytes() == file.read_bytes()


def test_abstractions_say_what_the_solver_needs_to_know(tmp_path):
    questions = open_questions(
        "spell_backward", cache_dir=tmp_path, seed=1, num_train=9, num_test=0
    )
    for question in questions.train:
        word = question.problem.rpartition(": ")[2]
        assert teacher.spell(question).abstraction == f"The letters are {' '.join(word)}."


def test_alice_is_added_to_the_women_that_she_has(tmp_path):
    questions = open_questions("aiw", cache_dir=tmp_path, seed=2, num_train=90, num_test=0)
    kinds = set()
    for question in questions.train:
        taught = teacher.count_alice(question)
        has = re.fullmatch(
            r"(\w+) is one of the (.*) herself, so add her to the (\d+)\.", taught.abstraction
        )
        name, women, number = has.groups()
        assert question.problem.startswith(f"{name} has ")
        assert f"{number} {women}" in question.problem
        assert taught.solution.startswith(f"{number} + 1 = {question.answer}\n")
        kinds.add(women)
    assert kinds == {"sisters", "female friends", "female colleagues"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["lessons.jsonl"], "exists already; name another file."),
        (["new.jsonl", "--lessons", "0"], "--lessons must be 1 or more; got 0."),
        (["nowhere/new.jsonl"], "there is no folder"),
    ],
)
def test_what_can_not_be_written_is_refused(tmp_path, capsys, options, sentence):
    file = tmp_path / "lessons.jsonl"
    file.write_text("mine")
    with pytest.raises(SystemExit):
        teacher.main([str(tmp_path / options[0]), *options[1:]])
    assert sentence in capsys.readouterr().err
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [(file.name, "mine")]
