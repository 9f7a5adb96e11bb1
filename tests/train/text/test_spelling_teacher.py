"""The example of a teacher's file."""

import pytest

from data.questions import open_questions
from train.text import spelling_teacher
from train.text.lessons import read_lessons

pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed")


def test_lessons_are_right_and_none_is_tested(tmp_path, capsys):
    file = tmp_path / "lessons.jsonl"
    options = ["--lessons", "40", "--test-questions", "20", "--seed", "3"]
    spelling_teacher.main([str(file), *options])
    assert capsys.readouterr().out == f"40 lessons in {file}\n"
    lessons = read_lessons(str(file))
    questions = open_questions(
        "spell_backward", cache_dir=tmp_path, seed=3, num_train=40, num_test=20
    )
    assert [each.problem for each in lessons] == [each.problem for each in questions.train]
    assert not {each.problem for each in lessons} & {each.problem for each in questions.test}
    helpful = 0
    for lesson, question in zip(lessons, questions.train, strict=True):
        assert questions.verifier(lesson.solution, question.reference) == 1
        word = lesson.problem.rpartition(": ")[2]
        spelled = f"The letters are {' '.join(word)}."
        helpful += lesson.abstraction == spelled
        assert lesson.abstraction in (spelled, *spelling_teacher.ADVICE)
    assert 10 < helpful < 30
    again = tmp_path / "again.jsonl"
    spelling_teacher.main([str(again), *options])
    assert again.read_bytes() == file.read_bytes()


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
        spelling_teacher.main([str(tmp_path / options[0]), *options[1:]])
    assert sentence in capsys.readouterr().err
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [(file.name, "mine")]
