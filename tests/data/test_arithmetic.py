"""Word problems: every equation right, families in equal parts, nothing twice, splits apart."""

import collections
import dataclasses
import re
import string

import pytest

import data.arithmetic
from data.arithmetic import (
    FAMILIES,
    TEMPLATES,
    ArithmeticConfig,
    ArithmeticWordProblems,
    Family,
    problems,
)
from data.array_records import PreparedDataset

WORDS = {"name", "other", "third", "things", "others"}


def word_problems(tmp_path, **settings):
    config = ArithmeticConfig(**settings)
    return PreparedDataset(
        "arithmetic", ArithmeticWordProblems, tmp_path, config.name, config=config
    )


def draws(family, number, max_number=20, seed=0):
    """Returns the problems among the first draws of a family."""
    stream = problems(family, max_number, seed)
    return [row for _, row in zip(range(number), stream, strict=False) if row is not None]


def numbers(text):
    return [int(number) for number in re.findall(r"\d+", text)]


def evaluate(expression):
    """Returns the value of `left sign right`, or None if it is no non-negative integer."""
    left, sign, right = re.fullmatch(r"(\d+) ([-+*/]) (\d+)", expression).groups()
    left, right = int(left), int(right)
    if sign == "+":
        return left + right
    if sign == "-":
        return left - right if left >= right else None
    if sign == "*":
        return left * right
    return left // right if right > 0 and left // right * right == left else None


# The answer by another way than the steps, from the problem's text alone: the numbers in the
# order of the first template, which says the same as the other ones.
ANSWERS = {
    "purchase": lambda count, price, more, cost: sum([price] * count + [cost] * more),
    "sharing": lambda had, found, people: (had + found) // people,
    "travel": lambda speed, hours, rest: rest + sum([speed] * hours),
    "ages": lambda age, known, later: later + (age - known),
    "exchange": lambda had, given, received: had + received - given,
    "perimeter": lambda length, width: length + width + length + width,
    "change": lambda count, price, paid: paid - sum([price] * count),
    "comparison": lambda own, more, fewer: 3 * own + 2 * more - fewer,
    "grouping": lambda total, kept, size: (total - kept) // size,
    "average": lambda a, b, c: (a + b + c) // 3,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_equation_is_right_and_the_last_one_gives_the_answer(family):
    rows = draws(family, 400)
    assert len(rows) > 10
    for row in rows:
        for line in row["trace"].splitlines():
            expression, result = re.fullmatch(r"[A-Za-z ]+: (.+) = (\d+)", line).groups()
            assert evaluate(expression) == int(result), row
        assert row["answer"] == result


@pytest.mark.parametrize("family", FAMILIES)
def test_the_answer_follows_from_the_problem(family, monkeypatch):
    first = dataclasses.replace(FAMILIES[family], templates=FAMILIES[family].templates[:1])
    monkeypatch.setitem(FAMILIES, family, first)
    for row in draws(family, 400):
        assert ANSWERS[family](*numbers(row["problem"])) == int(row["answer"]), row


@pytest.mark.parametrize("family", FAMILIES)
def test_the_templates_differ_and_tell_all_that_the_steps_use(family):
    templates = FAMILIES[family].templates
    assert len(set(templates)) == len(templates) >= 6
    for template in templates:
        fields = {field for _, field, _, _ in string.Formatter().parse(template) if field}
        assert fields - WORDS == set(FAMILIES[family].numbers)


@pytest.mark.parametrize("max_number", [10, 20, 1000])
def test_the_numbers_of_a_problem_range_up_to_the_largest(max_number):
    seen = {
        n
        for family in FAMILIES
        for row in draws(family, 500, max_number)
        for n in numbers(row["problem"])
    }
    assert min(seen) == 2
    assert 0.9 * max_number <= max(seen) <= max_number


def test_a_known_problem(monkeypatch):
    family = Family(
        numbers=("had",),
        steps=("things = 3 * had", "all_left = things - 1"),
        templates=("{name} has {had} {things}.",),
    )
    monkeypatch.setitem(FAMILIES, "known", family)
    monkeypatch.setattr(data.arithmetic, "NAMES", ("Ada",) * 3)
    monkeypatch.setattr(data.arithmetic, "THINGS", ("nuts",) * 2)
    assert draws("known", 1, max_number=2) == [
        {
            "problem": "Ada has 2 nuts.",
            "trace": "nuts: 3 * 2 = 6\nall left: 6 - 1 = 5",
            "answer": "5",
            "family": "known",
            "template": "1",
        }
    ]


def test_families_draw_independently(monkeypatch):
    family = Family(numbers=("a",), steps=("x = a + 1",), templates=("{name} {a}",))
    monkeypatch.setitem(FAMILIES, "one", family)
    monkeypatch.setitem(FAMILIES, "two", family)
    one, two = ([row["problem"] for row in draws(name, 20)] for name in ("one", "two"))
    assert sum(a == b for a, b in zip(one, two, strict=True)) < 10


@pytest.mark.parametrize("step", ["x = a - 2", "x = a - 3", "x = a / 3"])
def test_numbers_that_make_no_sense_give_no_problem(monkeypatch, step):
    """With 2 as the only number: the results 0, -1 and 2/3."""
    family = Family(numbers=("a",), steps=(step,), templates=("{a}",))
    monkeypatch.setitem(FAMILIES, "senseless", family)
    assert draws("senseless", 20, max_number=2) == []


def test_rows_are_balanced_and_distinct(tmp_path):
    dataset = word_problems(tmp_path, num_train=123, num_held_out=47)
    splits = {split: list(dataset.rows(split)) for split in ("train", "held_out")}
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 123, "held_out": 47}
    for rows in splits.values():
        counts = collections.Counter(row["family"] for row in rows)
        assert counts.keys() == FAMILIES.keys()
        assert max(counts.values()) - min(counts.values()) <= 1
    texts = [row["problem"] for rows in splits.values() for row in rows]
    assert len(set(texts)) == len(texts)
    assert set(splits["train"][0]) == {"problem", "trace", "answer", "family", "template"}


def test_the_default_config_is_enough(tmp_path):
    rows = list(word_problems(tmp_path).rows("train"))
    assert len({row["problem"] for row in rows}) == ArithmeticConfig().num_train
    dataset = PreparedDataset("arithmetic", ArithmeticWordProblems, tmp_path, "no config")
    assert list(dataset.rows("train")) == rows


def test_few_problems_are_used_up_and_not_repeated(tmp_path, monkeypatch):
    """One number from 2 to 10 and nothing else that varies: nine problems."""
    family = Family(numbers=("a",), steps=("x = a + 1",), templates=("What comes after {a}?",))
    monkeypatch.setitem(FAMILIES, "few", family)
    few = {"families": ("few",), "max_number": 10, "num_train": 6}
    dataset = word_problems(tmp_path, **few, num_held_out=3)
    texts = [row["problem"] for split in ("train", "held_out") for row in dataset.rows(split)]
    assert set(texts) == {f"What comes after {a}?" for a in range(2, 11)}
    with pytest.raises(ValueError, match=r"'few' ran out of new problems after 9; ask for fewer"):
        list(word_problems(tmp_path, **few, num_held_out=4).rows("train"))


def test_the_seed_decides(tmp_path):
    sizes = {"num_train": 20, "num_held_out": 0}
    rows = list(word_problems(tmp_path / "a", **sizes).rows("train"))
    assert list(word_problems(tmp_path / "b", **sizes).rows("train")) == rows
    other = list(word_problems(tmp_path / "a", **sizes, seed=1).rows("train"))
    assert not {row["problem"] for row in rows} & {row["problem"] for row in other}


def test_a_family_has_the_same_problems_whatever_else_is_drawn(tmp_path):
    one = list(word_problems(tmp_path, families=("ages",), num_train=5).rows("train"))
    two = list(word_problems(tmp_path, families=("change", "ages"), num_train=10).rows("train"))
    assert two[1::2] == one


def test_the_config_name_tells_corpora_apart():
    changes = (
        {},
        {"families": ("ages",)},
        {"templates": 2},
        {"max_number": 9},
        {"num_train": 1},
        {"seed": 1},
    )
    names = {ArithmeticConfig(**change).name for change in (*changes, {"num_held_out": 1})}
    assert len(names) == 7
    assert ArithmeticConfig().name in names


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"families": ("agees",)}, "no family 'agees'; the nearest known one is 'ages'"),
        ({"families": ()}, r"at least one and each named once, got \(\)"),
        ({"families": ("ages", "ages")}, "at least one and each named once, got"),
        ({"max_number": 1}, "max_number must be at least 2, got 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ArithmeticConfig(**settings)


def test_only_so_many_templates_are_used(tmp_path):
    rows = list(word_problems(tmp_path, num_train=200, templates=2).rows("train"))
    assert {row["template"] for row in rows} == {"1", "2"}
    assert {len(family.templates) for family in FAMILIES.values()} == {TEMPLATES}
    with pytest.raises(ValueError, match="templates must lie in 1..6; got 7"):
        ArithmeticConfig(templates=7)
