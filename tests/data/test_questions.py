"""Questions by the name of a task: what they ask, what is right, and which are drawn."""

import json
import pickle
import sys
from pathlib import Path

import pytest

from data.questions import open_questions

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "gsm8k"


@pytest.fixture
def gsm8k(tmp_path):
    for split, count in (("train", 9), ("test", 4)):
        rows = [
            {
                "question": f"{split} {n} + 1?",
                "answer": f"It is <<{n}+1={n + 1}>>{n + 1}.\n#### {n + 1}",
            }
            for n in range(count)
        ]
        text = "\n".join(map(json.dumps, rows))
        (tmp_path / f"{split}.jsonl").write_text(text)
    return tmp_path


def opened(name, folder=None, seed=0, num_train=9, num_test=4):
    return open_questions(
        name,
        folder and str(folder),
        cache_dir=Path("unused"),
        seed=seed,
        num_train=num_train,
        num_test=num_test,
    )


def test_gsm8k(gsm8k):
    found = opened("gsm8k", gsm8k)
    by_problem = {question.problem: question for question in found.train}
    assert sorted(by_problem) == [f"train {n} + 1?" for n in range(9)]
    question = by_problem["train 4 + 1?"]
    assert found.response(question) == "It is 5.\n#### 5"
    assert found.prompt(question).startswith("train 4 + 1?\n\nSolve this step by step.")
    assert found.verifier(found.response(question), question.reference) == 1.0
    assert found.verifier("It is 6.", question.reference) == 0.0


def test_fewer_questions_are_the_first_of_more_and_seeds_differ(gsm8k):
    many, few = opened("gsm8k", gsm8k, num_train=99), opened("gsm8k", gsm8k, num_train=2)
    assert len(many.train) == 9 and many.train[:2] == few.train and many.test == few.test
    assert opened("gsm8k", gsm8k, seed=1).train != many.train
    assert opened("gsm8k", gsm8k, num_train=0).train == ()


def test_what_can_not_be_opened_is_one_sentence(gsm8k):
    with pytest.raises(ValueError, match=r"num_test must be 0 or more; got -1\."):
        opened("gsm8k", gsm8k, num_test=-1)
    with pytest.raises(ValueError, match="there is no folder /nowhere"):
        opened("gsm8k", "/nowhere")
    (gsm8k / "test.jsonl").write_text('{"question": "1?", "answer": "one"}')
    with pytest.raises(
        ValueError, match=r"test.jsonl, line 1: field 'answer' must end with '#### '"
    ):
        opened("gsm8k", gsm8k)


def test_without_reasoning_gym_another_task_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(
        ValueError, match=r"the task 'chain_sum' .* run `pip install reasoning-gym`\."
    ):
        opened("chain_sum")


def test_families_of_reasoning_gym():
    pytest.importorskip("reasoning_gym", reason="its families need the extra `tasks`")
    found = opened("spell_backward", num_train=30, num_test=10)
    problems = [question.problem for question in (*found.train, *found.test)]
    assert (len(found.train), len(found.test), len(set(problems))) == (30, 10, 40)
    assert opened("spell_backward", num_train=3, num_test=10).test == found.test
    question, verifier = found.train[0], pickle.loads(pickle.dumps(found.verifier))
    assert found.response(question) == f"Answer: {question.answer}"
    assert verifier(f"Hm. {found.response(question)}", question.reference) == 1.0
    assert verifier(f"{question.answer}x", question.reference) < 1.0


@pytest.mark.parametrize(("name", "nearest"), [("gsm8", "gsm8k"), ("chain_sums", "chain_sum")])
def test_an_unknown_task_is_told_the_nearest(name, nearest):
    pytest.importorskip("reasoning_gym", reason="its families need the extra `tasks`")
    with pytest.raises(
        ValueError, match=f"there is no task '{name}'; the nearest .* is '{nearest}'"
    ):
        opened(name)
    with pytest.raises(ValueError, match="chain_sum are drawn, not read; leave out the folder"):
        opened("chain_sum", folder="x")


def test_every_solution_of_gsm8k_is_right():
    if not SHARED.exists():
        pytest.skip("GSM8K does not lie beside the checkout")
    found = opened("gsm8k", SHARED, num_train=10**5, num_test=10**5)
    assert (len(found.train), len(found.test)) == (7473, 1319)
    for question in found.test:
        assert found.verifier(found.response(question), question.reference) == 1.0
        assert "<<" not in question.solution
