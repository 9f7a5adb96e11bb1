import math

from train.summary import percent, points, summary_table, tables_of, title


def row(stage, split, measure, mean, low=0.1, high=0.9):
    names = ("stage", "split", "measure", "mean", "low", "high", "count")
    return dict(zip(names, (stage, split, measure, mean, low, high, 200), strict=True))


EVALUATION = {
    "rows": [
        row("pretrain", "new_instances", "without abstraction, greedy", 0.2, 0.15, 0.25),
        row("rl", "new_instances", "best abstraction", 0.8, 0.7, 0.9),
        row("rl", "new_instances", "without abstraction, greedy", 1.0, 0.981, 1.0),
        row("rl", "new_compositions", "ISP", 0.5, 0.4, 0.6),
    ],
    "differences": [
        {
            "claim": "RL improved the solver",
            "split": "new_instances",
            "mean": 0.125,
            "low": -0.01,
            "high": 0.26,
            "count": 200,
        }
    ],
}


def test_tables_keep_the_order_of_first_appearance():
    instances, compositions = tables_of(EVALUATION)
    assert (instances.split, instances.count) == ("new_instances", 200)
    assert instances.stages == ["pretrain", "rl"]
    assert instances.measures == ["without abstraction, greedy", "best abstraction"]
    assert compositions.stages == ["rl"]


def test_the_terminal_table_is_aligned_and_whole():
    lines = summary_table(EVALUATION).splitlines()
    assert lines[0].split("  ")[0] == "New instances (200 problems)"
    assert lines[1].startswith("  without abstraction, greedy")
    assert lines[1].endswith("100.0 [98.1, 100.0]")
    assert "20.0 [15.0, 25.0]" in lines[1]
    assert lines[2].split() == ["best", "abstraction", "–", "80.0", "[70.0,", "90.0]"]
    assert lines[0].index("Two-player RL") == lines[1].index("100.0")
    assert any("+12.5 [−1.0, +26.0]" in line and "(new instances)" in line for line in lines)


def test_nothing_evaluated_is_said():
    assert summary_table({}) == "Nothing has been evaluated yet."


def test_unknown_numbers_are_dashes():
    assert percent(None) == percent(math.nan) == "–"
    assert points({"mean": None, "low": -1.0, "high": 1.0}) == "– [−100.0, +100.0]"


def test_titles():
    assert title("new_compositions") == "New compositions"
    assert title("rl") == "Two-player RL"
    assert title("OW") == "OW"
