import io

import pytest

from train import progress
from train.progress import PlannedStage, clock, print_plan, track


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def time_passes(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def test_elsewhere_a_line_every_ten_seconds(time_passes):
    shown = io.StringIO()
    with track("pretrain", 100, file=shown) as bar:
        time_passes(60)  # the first step compiles
        bar.advance(loss=3.0)
        for _ in bar:
            time_passes(0.5)
            bar.show(loss=2.25)
    lines = shown.getvalue().splitlines()
    assert lines[0] == ("pretrain: 1% (1 of 100 steps), remaining time not known yet | loss 3")
    assert lines[1] == "pretrain: 21% (21 of 100 steps), 2 steps/s, about 0:40 left | loss 2.25"
    assert lines[-1] == "pretrain: done, 100 steps in 1:50 | loss 2.25"
    assert len(lines) == 6


def test_a_resumed_stage_goes_on_where_it_stopped():
    shown = io.StringIO()
    with track("sft", 5, initial=3, file=shown) as bar:
        assert list(bar) == [3, 4]
    assert shown.getvalue() == "sft: done, 2 steps in 0:00\n"


def test_an_interrupted_stage_is_not_called_done():
    shown = io.StringIO()
    with pytest.raises(KeyboardInterrupt), track("rl", 5, file=shown) as bar:
        bar.advance(2)
        raise KeyboardInterrupt
    assert shown.getvalue() == "rl: stopped after 2 of 5 steps and 0:00\n"


def test_on_a_terminal_a_bar_with_time_and_metrics():
    shown = Terminal()
    with track("rl", 10, initial=2, file=shown) as bar:
        for _ in bar:
            bar.show(reward=0.5)
    last = shown.getvalue().split("\r")[-1]
    assert last.startswith("rl: 100%") and "10/10" in last
    assert "reward 0.5" in last and "step/s" in last and "<" in last


def test_plan_is_a_table_with_the_total():
    shown = io.StringIO()
    print_plan([PlannedStage("data", None, 20), PlannedStage("pretrain", 1250, 190.4)], shown)
    assert shown.getvalue().splitlines() == [
        "  Stage     Steps  Expected time",
        "  data             about 0:20",
        "  pretrain  1,250  about 3:10",
        "  total            about 3:30",
        "",
    ]


def test_a_plan_with_an_unknown_time_has_no_total():
    shown = io.StringIO()
    print_plan([PlannedStage("data"), PlannedStage("rl", 5, 3)], shown)
    assert shown.getvalue().splitlines()[-2].split() == ["total", "not", "known"]


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3725, "1:02:05")])
def test_clock(seconds, text):
    assert clock(seconds) == text
