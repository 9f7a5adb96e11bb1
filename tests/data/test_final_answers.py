"""What a response says in the end."""

import pytest

from data.final_answers import final_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("12", "12"),
        (" 12\n", "12"),
        ("", ""),
        ("2 + 2\nAnswer: 4", "4"),
        ("Answer: 3. No!\nanswer : 4\n", "4"),
        ("Answer:\n1 2\n3 4\n", "1 2\n3 4"),
        ("**Answer:** 4", "4"),
        ("**Answer**: 4", "4"),
        ("**Answer: 4**", "4"),
        ("Answer: **4**", "**4**"),
        ("The Answers: 1, 2", "The Answers: 1, 2"),
        (r"\boxed{3} and \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"Answer: $\boxed{ 4 }$", "4"),
        (r"\boxed{3} is wrong. Answer: 4", "4"),
        (r"Answer: 3, or \boxed{4}", "4"),
        (r"Answer: \boxed{4", r"\boxed{4"),
    ],
)
def test_the_final_answer(text, answer):
    assert final_answer(text) == answer
