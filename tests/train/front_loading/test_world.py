"""The small world: sets as described, nothing of evaluation in them, graders by hand."""

import re

import pytest

from train.front_loading.world import (
    FORMS,
    SEEN_FAMILIES,
    UNSEEN_FAMILIES,
    WorldConfig,
    evaluation_sets,
    is_right,
    obeys,
    read_set,
    training_problems,
    write_sets,
)

CONFIG = WorldConfig(ldq_problems=2000, shq_problems=60, rl_problems=40, evaluation_problems=40)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_sets(CONFIG, folder)
    return {name: read_set(folder / f"{name}.jsonl") for name in ("ldq", "shq", "lmq", "disjoint")}


def value_of(row):
    """The number in an answer of whatever form."""
    return int(re.search(r"\d+", row["answer"])[0])


def result_of(row):
    return int(row["trace"].rpartition("= ")[2])


def test_sizes_families_and_union(sets):
    assert [len(sets[name]) for name in ("ldq", "shq", "disjoint")] == [2000, 60, 60]
    assert sets["lmq"] == sets["ldq"] + sets["shq"]
    assert {row["family"] for row in sets["ldq"]} == set(SEEN_FAMILIES)
    assert {row["family"] for row in sets["shq"]} == set(SEEN_FAMILIES)
    assert {row["template"] for row in sets["ldq"]} == {"1", "2"}
    assert {row["template"] for row in sets["shq"]} == {"1"}
    assert not set(SEEN_FAMILIES) & set(UNSEEN_FAMILIES)


def test_small_and_clean_means_long_traces_and_right_answers_without_forms(sets):
    requests = [form.request for form in FORMS.values()]
    for row in sets["shq"] + sets["disjoint"]:
        assert ": " in row["trace"] and value_of(row) == result_of(row)
        assert not any(row["problem"].endswith(request) for request in requests)


def test_large_and_diverse_has_its_shares_of_styles_forms_and_errors(sets):
    rows = sets["ldq"]
    direct = sum(not row["trace"] for row in rows) / len(rows)
    long = sum(": " in row["trace"] for row in rows) / len(rows)
    asked = sum(row["problem"].endswith(tuple(f.request for f in FORMS.values())) for row in rows)
    shown = [row for row in rows if row["trace"]]
    wrong = sum(value_of(row) != result_of(row) for row in shown) / len(shown)
    # standard deviations: 0.011, 0.007, 0.011 and 0.009
    assert abs(direct - 0.4) < 0.055 and abs(long - 0.1) < 0.035
    assert abs(asked / len(rows) - 0.5) < 0.055 and abs(wrong - 0.1) < 0.045


def test_equations_of_long_traces_hold_and_count_up(sets):
    for row in sets["shq"]:
        for line in row["trace"].split("\n"):
            left, sign, right, result = re.search(r"(\d+) ([-+*/]) (\d+) = (\d+)$", line).groups()
            made = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__floordiv__}
            assert made[sign](int(left), int(right)) == int(result)
            if sign in "*/":
                counted = [
                    int(n) for n in re.findall(r"\d+", line.partition(": ")[2].split(", so")[0])
                ]
                last = int(result) if sign == "*" else int(left)
                assert counted[-1] == last and counted[0] == int(right)


def test_no_problem_of_evaluation_is_trained_on(sets):
    evaluation = {row["bare"] for rows in evaluation_sets(CONFIG).values() for row in rows}
    for rows in sets.values():
        for row in rows:
            assert not any(row["problem"].startswith(problem) for problem in evaluation)
    assert not evaluation & {row["problem"] for row in training_problems(CONFIG)}


def test_evaluation_sets_are_what_their_names_say():
    found = evaluation_sets(CONFIG)
    assert {row["family"] for row in found["seen"]} == set(SEEN_FAMILIES)
    assert {row["family"] for row in found["unseen"]} == set(UNSEEN_FAMILIES)
    assert all(len(rows) == 40 for rows in found.values())
    assert all(row["problem"].endswith(FORMS[row["form"]].request) for row in found["forms"])
    assert found == evaluation_sets(CONFIG)
    other = WorldConfig(**vars(CONFIG) | {"seed": 1})
    assert found != evaluation_sets(other)


@pytest.mark.parametrize(
    ("form", "obeyed", "broken"),
    [
        ("brackets", "(12)", "12"),
        ("twice", "12 12", "12 13"),
        ("stop", "12.", "12"),
        ("equals", "= 12", "=12="),
    ],
)
def test_graders(form, obeyed, broken):
    problem = {"form": form, "answer": obeyed}
    assert obeys(problem, f" {obeyed}\n") and not obeys(problem, broken)
    assert is_right(problem, obeyed) and not is_right(problem, broken)


def test_a_form_may_be_obeyed_by_a_wrong_answer():
    problem = {"form": "brackets", "answer": "(12)"}
    assert obeys(problem, "(13)") and not is_right(problem, "(13)")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ldq_problems": 0}, "ldq_problems must be at least 1; got 0"),
        ({"form_share": 1.5}, r"form_share must lie in \[0, 1\]; got 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        WorldConfig(**change)


def test_more_problems_than_there_are_is_refused(tmp_path):
    with pytest.raises(ValueError, match="ran out of new problems after .*; ask for fewer"):
        write_sets(WorldConfig(max_number=4, ldq_problems=40_000, evaluation_problems=4), tmp_path)


def test_wordings_of_the_small_set_are_among_those_of_the_large_one():
    with pytest.raises(ValueError, match="must rise from 1 to at most 6; got 3 and 2"):
        WorldConfig(templates=2, shq_templates=3)
