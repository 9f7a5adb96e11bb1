import html.parser
import json
import math
import re
import shutil
from pathlib import Path

import pytest

from train.metrics import MetricsLog
from train.report import write_report
from train.run_folder import write_json

MEASURES = [
    "without abstraction, greedy",
    "without abstraction, sampled",
    "greedy abstraction",
    "average over abstractions",
    "best abstraction",
    "oracle abstraction",
    "pass@16",
    "majority",
    "OW",
    "ISP",
    "names <the> rule",
]
SCRIPT = "<script>alert('x')</script>"


class Tags(html.parser.HTMLParser):
    """Checks that tags are closed in order and gathers what the page would load."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.loaded = [], [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.loaded += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(page):
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    return tags


def solution(correct):
    return {"text": f"reverse {SCRIPT}", "answer": "698", "correct": correct}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("demo")
    rows = [
        {
            **{"stage": stage, "split": split, "measure": measure, "count": 200},
            **{"mean": 0.5 + 0.01 * number, "low": 0.4, "high": 0.6},
        }
        for stage in ("pretrain", "sft", "rl")
        for split in ("new_instances", "new_compositions")
        for number, measure in enumerate(MEASURES)
        if stage != "pretrain" or "without" in measure
    ]
    differences = [
        {"claim": f"Claim {SCRIPT}", "split": "new_instances", "count": 200, **bounds}
        for bounds in (
            {"mean": 0.2, "low": 0.1, "high": 0.3},
            {"mean": None, "low": -1.0, "high": 1.0},
            {"mean": -0.2, "low": -0.3, "high": -0.1},
        )
    ]
    seconds = {"data": 12.0, "pretrain": 190.0, "rl": None}
    evaluation = {"rows": rows, "differences": differences, "seconds": seconds}
    write_json(path / "evaluation.json", evaluation)
    vote = {"rule": "majority", "answer": "698", "correct": True}
    abstraction = {"text": SCRIPT, "equivalent": True, "solutions": [solution(True)]}
    problem = {
        **{"split": "new_instances", "problem": f"312 -> 546\n{SCRIPT}", "rule": "sort"},
        **{"answer": "698", "bare": [solution(False)], "abstractions": [abstraction]},
        "votes": [
            {**vote, "scores": {"698": 0.75, "12": 0.25, "3": None}},
            {**vote, "rule": "OW", "scores": {}},
            {**vote, "rule": "ISP", "answer": "", "scores": {"698": -1.0, "12": -2.0}},
        ],
    }
    write_json(path / "samples.json", [problem])
    write_json(path / "config.json", {"seed": 7, "rl": {"steps": 90, "clip": [0.2, 0.28]}})
    write_json(path / "versions.json", {"jax": "0.10.2", "devices": ["cpu: cpu"]})
    with MetricsLog(path) as log:
        for step in range(1, 41):
            log.write("pretrain", step, {"loss": 3.0 / step, "skipped": 0})
            log.write("rl", step, {"reward/solver": 0.01 * step, "reward/abstraction": math.nan})
    return path


@pytest.fixture(scope="module")
def page(run):
    return write_report(run).read_text()


@pytest.fixture
def copied(run, tmp_path):
    return Path(shutil.copytree(run, tmp_path / "copy"))


def test_every_measure_stage_and_number_is_on_the_page(page):
    for measure in MEASURES[:-1]:
        assert page.count(f'<th scope="row">{measure}</th>') == 2
    assert "names &lt;the&gt; rule" in page
    for text in ("Pretraining", "Fine-tuning", "Two-player RL", "New compositions", "200 problems"):
        assert text in page
    assert "<b>53.0</b>" in page and "40.0 – 60.0" in page
    assert "+20.0 [+10.0, +30.0]" in page and "−20.0 [−30.0, −10.0]" in page


def test_settings_versions_and_times_are_on_the_page(page):
    for name, value in {"steps": "90", "clip": "0.2, 0.28", "seed": "7", "jax": "0.10.2"}.items():
        assert f'<th scope="row">{name}</th><td>{value}</td>' in page
    assert "3:10" in page and "3:22" in page


def test_text_is_escaped_and_the_page_stands_alone(page):
    tags = parsed(page)
    assert "script" not in tags.seen
    assert page.count("&lt;script&gt;") == 3 + 1 + 1 + 2
    assert all(target.startswith("#") for target in tags.loaded)
    assert not re.findall(r"url\((?!#)|@import", page)


def test_figures_follow_the_pages_colours(page):
    assert page.count('role="img" aria-label="Accuracy by stage') == 2
    assert page.count("over steps") == 3
    assert "var(--series-1)" in page
    assert not re.search(r"#0000\d\d", page)


def test_right_and_wrong_have_a_symbol_and_a_colour(page):
    assert re.search(r'class="right" role="img" aria-label="right">✓', page)
    assert re.search(r'class="wrong" role="img" aria-label="wrong">✗', page)
    assert re.findall(r'aria-label="(higher|lower|not settled)"', page) == [
        "higher",
        "not settled",
        "lower",
    ]


def test_an_empty_run_folder_says_what_is_missing(tmp_path):
    page = write_report(tmp_path).read_text()
    parsed(page)
    assert page.count('class="missing"') == 8


@pytest.mark.parametrize("name", ["evaluation", "samples", "config", "versions"])
def test_any_file_may_be_missing(copied, name):
    (copied / f"{name}.json").unlink()
    (copied / "metrics.jsonl").unlink()
    parsed(write_report(copied).read_text())


def test_a_stage_without_headline_measures_still_has_a_figure(copied):
    row = {"stage": "pretrain", "split": "new_instances", "measure": "accuracy", "count": 0}
    row |= {"mean": None, "low": 0.0, "high": 1.0}
    (copied / "evaluation.json").write_text(json.dumps({"rows": [row]}))
    page = write_report(copied).read_text()
    parsed(page)
    assert "Accuracy by stage" in page


def test_the_same_files_give_the_same_page(run, page):
    assert write_report(run).read_text() == page


def test_a_run_on_text_shows_responses_hints_and_both_kinds_of_numbers(tmp_path):
    said = {"text": f"{SCRIPT} 2 x 9 pens\n#### 18", "reward": 1.0}
    wrong = {"text": "#### " + "9" * 90, "reward": 0.5}
    unjudged = {"text": "Nobody knows.", "reward": None}
    row = {"split": "test", "mean": 0.25, "low": 0.2, "high": 0.3, "count": 50}
    sample = {"problem": "2 boxes of 9?", "answer": "18"}
    responses = {"base": [wrong | {"hit_limit": True}], "sft": [said | {"hit_limit": False}]}
    write_json(
        tmp_path / "samples.json", [{**sample, "split": "test", "responses": responses}] * 30
    )
    accuracy = {"measure": "accuracy", "mean": 0.1}
    rows = [{**row, "stage": stage, **accuracy} for stage in ("base", "rl")]
    write_json(tmp_path / "evaluation.json", {"rows": rows, "differences": []})
    hints = [
        {"text": "It makes 18.", "leaks": True, "solutions": [said, wrong]},
        {"text": "Multiply.", "leaks": False, "solutions": [wrong, unjudged]},
    ]
    pair = {
        "rows": [{**row, "stage": "rl", "measure": "with hints"}],
        "differences": [{**row, "claim": "rl: with hints - without a hint"}],
        "stages": {"rl": {"samples": [{**sample, "abstractions": hints, "bare": [wrong]}]}},
    }
    write_json(tmp_path / "pair.json", pair)
    write_json(tmp_path / "seconds.json", {"evaluate_base": 65.0})
    page = write_report(tmp_path).read_text()
    tags = parsed(page)
    assert "script" not in tags.seen
    assert page.count("<h3>Problem") == 12 + 1
    assert page.count("gives the answer away") == 1 and "“Multiply.”" in page
    assert f"<code>{'9' * 60}</code>" in page and "<code>18</code>" in page
    assert page.count('aria-label="not judged"') == 1 and "<code>no answer</code>" in page
    shown = ("With hints", "Accuracy</span>", "Base model", "Evaluation of the base model", "1:05")
    for text in (*shown, "+25.0"):
        assert text in page
    assert "Hidden rule" not in page
