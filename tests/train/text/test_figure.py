"""The figure of a run on text."""

import pytest
from matplotlib.figure import Figure

from train.metrics import MetricsLog
from train.run_folder import write_json
from train.text import figure

ROW = {"split": "test", "mean": 0.25, "low": 0.2, "high": 0.3, "count": 50}


@pytest.fixture
def drawn(monkeypatch):
    """Returns the axes of each figure that is saved."""
    found = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (found.append(self.axes), save(self, *a, **k))
    )
    return found


def test_each_kind_of_numbers_gets_a_panel(tmp_path, drawn):
    with MetricsLog(tmp_path) as log:
        for step in range(1, 31):
            log.write("sft", step, {"loss": 3.0 / step})
            without = float("nan") if step == 3 else 0.25
            game = {"success/with_abstraction": 0.5, "success/without_abstraction": without}
            log.write("rl", step, game | {"abstraction/leak": float("nan")})
    rows = [
        {**ROW, "stage": stage, "measure": measure}
        for stage, measure in (("base", "accuracy"), ("base", "pass@2"), ("sft", "accuracy"))
    ]
    write_json(tmp_path / "evaluation.json", {"rows": rows})
    pair = [{**ROW, "stage": "rl", "measure": "with hints"}]
    write_json(tmp_path / "pair.json", {"rows": pair})
    assert figure.save_figure(tmp_path).read_bytes().startswith(b"\x89PNG")
    ((losses, game, measured),) = drawn
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["Fine-tuning"]
    (line,) = (line for line in losses.get_lines() if line.get_label() == "Fine-tuning")
    assert line.get_ydata()[15] == pytest.approx(sum(3 / n for n in range(14, 19)) / 5)
    assert [text.get_text() for text in game.get_legend().get_texts()] == ["with a hint", "without"]
    assert [len(line.get_xdata()) for line in game.get_lines()] == [30, 30, 29, 29]
    labels = [text.get_text() for text in measured.get_yticklabels()]
    assert labels == [
        "Base model: accuracy",
        "Fine-tuning: accuracy",
        "Two-player RL: with hints",
    ]


def test_an_evaluation_alone_has_one_panel(tmp_path, drawn):
    write_json(
        tmp_path / "evaluation.json", {"rows": [{**ROW, "stage": "base", "measure": "accuracy"}]}
    )
    figure.save_figure(tmp_path)
    assert [len(axes) for axes in drawn] == [1]
