"""Scores at equal tokens, by hand: interpolation in the logarithm, whatever order a file has."""

import numpy as np
import pytest

from train.rlad import report

# An abstraction takes 2 tokens, a solution with one 6, one without 8: m x k takes m (2 + 6 k).
TOKENS = {
    "tokens/abstraction": [2.0, 2.0],
    "tokens/solution": [6.0, 6.0],
    "tokens/bare": [8.0, 8.0],
}
SCORES = {
    # As a JSON file orders them, by name: 16 before 2.
    "pass/1": [0.1, 0.2],
    "pass/1 x 1": [0.2, 0.3],
    "pass/1 x 2": [0.3, 0.3],
    "pass/16": [0.7, 0.8],
    "pass/16 x 1": [0.6, 0.7],
    "pass/2": [0.3, 0.4],
    "pass/2 x 1": [0.4, 0.5],
}
CELL = {"scores": {"new_instances": {**SCORES, **TOKENS}, "hard": SCORES}}


@pytest.mark.parametrize("split", ["new_instances", "hard"])
def test_more_abstractions(split):
    """8 tokens buy 1 x 1, 16 buy 2 x 1, 128 buy 16 x 1: 32 are a third of the way between."""
    along = lambda budget: report._along(CELL, split, "pass", 1, budget)  # noqa: E731
    np.testing.assert_allclose(along(8), [0.2, 0.3])
    np.testing.assert_allclose(along(16), [0.4, 0.5])
    np.testing.assert_allclose(along(32), [0.4 + 0.2 / 3, 0.5 + 0.2 / 3])
    assert along(7) is None and along(129) is None


def test_more_solutions_without_an_abstraction():
    plain = lambda budget: report._plain(CELL, "new_instances", "pass", budget)  # noqa: E731
    np.testing.assert_allclose(plain(8), [0.1, 0.2])
    np.testing.assert_allclose(plain(8 * 2**0.5), [0.2, 0.3])
    np.testing.assert_allclose(plain(128), [0.7, 0.8])


def test_more_solutions_with_one_abstraction():
    """1 x 1 takes 8 tokens, 1 x 2 takes 14."""
    found = report._one_abstraction(CELL, "new_instances", "pass", [8, 112**0.5, 15])
    np.testing.assert_allclose(found[:2], [[0.2, 0.3], [0.25, 0.3]])
    assert found[2] is None


def test_costs_that_do_not_increase_are_refused():
    with pytest.raises(ValueError, match="must increase"):
        report._interpolated([[8.0], [4.0]], [[0.1], [0.2]], 6.0)


def test_what_was_not_measured_is_a_dash():
    shown = report._differences([np.array([0.5, 0.7]), None], [np.array([0.2, 0.4]), np.zeros(2)])
    assert shown == ["+30.0 [+30.0, +30.0]", "-"]


def test_adherence_without_an_abstraction_is_to_the_one_not_shown():
    control = lambda success, adherence: {"success": [success] * 2, "adherence": [adherence] * 2}  # noqa: E731
    by = {name: control(0.5, 0.25) for name in report.CONTROL_TITLES}
    by |= {"partner": control(0.75, 0.8), "none": control(0.5, 0.3), "generic": control(0.25, 0.1)}
    text = report._control_tables({"RLAD": {"new_instances": by}}, "solver", "generic")
    success, adherence = (each.splitlines() for each in text.split("\n\n")[::2])
    assert success[-1].endswith("| +50.0 [+50.0, +50.0] |")
    assert adherence[0].endswith("| its partner's less its partner's, not shown |")
    assert adherence[-1].endswith("| 30.0 [30.0, 30.0] | +50.0 [+50.0, +50.0] |")
