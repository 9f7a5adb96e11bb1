import importlib
import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from jaxreason.voting.estimator import Aggregator

command = importlib.import_module("jaxreason.voting.__main__")

ACCURACIES = {"ann": 0.9, "ben": 0.8, "eve": 0.6, "zoe": 0.6}
FILES = ("votes.csv", "votes.parquet", "votes.jsonl", "wide.csv", "wide.parquet", "wide.ndjson")


def draw(tasks=40, seed=0):
    """A wide table of the votes of four workers, zoe a copy of eve, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=tasks)
    names = np.array(["cat", "dog", "fox"])
    columns = {}
    for worker, accuracy in ACCURACIES.items():
        wrong = (truth + rng.integers(1, 3, tasks)) % 3
        columns[worker] = names[np.where(rng.random(tasks) < accuracy, truth, wrong)]
    columns["zoe"] = columns["eve"]
    ids = [f"t{task}" for task in range(tasks)]
    wide = pd.DataFrame({"task": ids} | columns)
    wide.loc[3, "ann"] = None
    return wide, pd.DataFrame({"task": ids, "label": names[truth]})


WIDE, TRUTH = draw()
LONG = WIDE.melt("task", var_name="worker", value_name="label").dropna()


def save(data, path):
    if path.suffix == ".csv":
        data.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        data.to_parquet(path, index=False)
    else:
        rows = data.astype(object).where(data.notna(), None).to_dict("records")
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def votes(tmp_path):
    return save(LONG, tmp_path / "votes.csv")


@pytest.fixture
def run(capsys):
    """Returns `run(*arguments)`, which runs the command and returns what it printed."""

    def run(*arguments) -> str:
        command.main([str(argument) for argument in arguments])
        return capsys.readouterr().out

    return run


@pytest.fixture
def refuse(capsys):
    """Returns `refuse(*arguments)`: the sentence with which the command ends."""

    def refuse(*arguments) -> str:
        with pytest.raises(SystemExit) as ended:
            command.main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert ended.value.code == 2
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert printed.err.count("\n") == 1
        return printed.err.removeprefix("error: ").rstrip("\n")

    return refuse


def written(path):
    return pd.read_csv(path).set_index("task")


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_gives_the_answers_of_the_estimator(tmp_path, run, name):
    data = LONG if name.startswith("votes") else WIDE
    path = save(data, tmp_path / name)
    text = run(path, "--method", "majority")
    output = tmp_path / f"{path.stem}.answers.csv"
    assert f"Wrote {output}: 40 answers" in text
    answers = written(output)
    expected = Aggregator("majority").fit(LONG).answers_.loc[answers.index]
    assert list(answers.columns) == ["answer", "confidence", "runner_up", "tie"]
    assert (answers["answer"] == expected["answer"]).all()
    assert (answers["tie"] == expected["tie"]).all()
    np.testing.assert_allclose(answers["confidence"], expected["confidence"], atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, output.name])


def test_it_runs_as_a_program(tmp_path, votes):
    call = [sys.executable, "-m", "jaxreason.voting", str(votes)]
    finished = subprocess.run(call, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    assert (tmp_path / "votes.answers.csv").exists()


def test_the_report_tells_of_workers_copies_and_what_to_do(votes, run):
    text = run(votes)
    assert "40 tasks, 4 workers, 159 votes; labels 'cat', 'dog', 'fox'." in text
    assert "Method majority: the most votes.\nIt is recommended: " in text
    lines = text.splitlines()
    head = next(line for line in lines if line.startswith("worker "))
    assert head.split() == [
        *("worker", "answered", "sides", "with", "it", "by", "agreement", "95%", "interval")
    ]
    rows = [line.split()[0] for line in lines[lines.index(head) + 1 :][:4]]
    assert sorted(rows) == sorted(ACCURACIES)
    assert "eve and zoe" in text
    assert "97.5%" in text  # ann left out one of 40


def test_by_default_it_takes_the_method_that_it_recommends(tmp_path, run):
    wide, _ = draw(tasks=300)
    path = save(wide, tmp_path / "many.csv")
    text = run(path)
    assert "Method item-response: questions differ" in text
    assert "It is recommended: some agents agree more than their accuracies explain, and " in text
    assert "Its answer is not the one with the most votes on" in text
    head = next(line for line in text.splitlines() if line.startswith("worker "))
    assert head.split() == [
        *("worker", "answered", "accuracy", "weight", "by", "agreement", "95%", "interval")
    ]
    assert max(map(len, text.replace(str(tmp_path), "").splitlines())) <= 100
    expected = Aggregator().fit(wide)
    assert expected.method_ == "item-response"
    assert written(tmp_path / "many.answers.csv")["answer"].to_dict() == expected.labels_.to_dict()


def test_who_reads_the_first_line_alone_gets_the_files_all_the_same(tmp_path, votes):
    call = f"{sys.executable} -m jaxreason.voting {votes} --method majority | true"
    finished = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {call}"], capture_output=True, text=True, timeout=300
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert len(written(tmp_path / "votes.answers.csv")) == 40


def test_a_narrow_terminal_shows_other_letters_by_their_codes(tmp_path, votes):
    votes.write_text(votes.read_text().replace("zoe", "zoë"))
    call = [sys.executable, "-m", "jaxreason.voting", str(votes), "--method", "majority"]
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    finished = subprocess.run(call, capture_output=True, text=True, timeout=300, env=ascii_only)
    assert finished.returncode == 0, finished.stderr
    assert "zo\\xeb" in finished.stdout


def test_an_interrupt_leaves_nothing_half_written(tmp_path, votes, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_csv", interrupt)
    with pytest.raises(SystemExit) as ended:
        command.main([str(votes), "--method", "majority"])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["votes.csv"]


@pytest.mark.parametrize("seed", ["-1", "4294967296", "x"])
def test_a_seed_is_a_number_of_32_bits(votes, refuse, seed):
    assert "--seed: must be a number from 0 to 2**32 - 1; got" in refuse(votes, f"--seed={seed}")


def test_half_a_character_is_refused(tmp_path, refuse):
    path = tmp_path / "votes.jsonl"
    path.write_text('{"task": 1, "\\ud800": "a", "ben": "b"}\n')
    assert "a name has half a character" in refuse(path)


def test_letters_that_the_font_has_not_are_drawn_as_boxes(tmp_path, votes, run):
    votes.write_text(votes.read_text(encoding="utf-8").replace("zoe", "鬱$x$"), encoding="utf-8")
    run(votes, "--method", "majority", "--plot", tmp_path / "workers.png")
    assert (tmp_path / "workers.png").stat().st_size > 0


def test_labels_of_all_tasks_measure_a_method_that_reads_none(tmp_path, votes, run):
    labels = save(TRUTH, tmp_path / "truth.csv")
    text = run(votes, "--method", "isp", "--labels", labels)
    answers = written(tmp_path / "votes.answers.csv")
    assert answers["truth"].to_dict() == dict(TRUTH.to_numpy())
    assert "Accuracy on 40 labelled tasks:" in text
    assert "isp saw no label." in text
    assert "isp less majority:" in text
    assert "best single worker, by the other labels" in text
    assert "Best single worker so picked: ann" in text


def test_labels_of_some_tasks_are_learned_from_and_judged_apart(tmp_path, votes, run):
    labels = save(TRUTH[:20], tmp_path / "truth.jsonl")
    text = run(votes, "--labels", labels, "--method", "ow", "--output", tmp_path / "ow.csv")
    assert "Accuracy on 20 labelled tasks:" in text
    assert "ow, with the other labels" in text
    assert "cut in 5 parts at random" in text
    assert "The answers written come from a fit with all labels." in text
    assert written(tmp_path / "ow.csv")["truth"].notna().sum() == 20
    learned = ("--method", "item-response", "--output", tmp_path / "learned.csv")
    text = run(votes, "--labels", labels, *learned)
    assert "Method item-response: questions differ" in text
    assert "Recommended is majority: " in text
    (confidence,) = re.findall(r"Mean confidence of item-response on them: (.*)%", text)
    assert 100 / 3 <= float(confidence) <= 100
    assert "Confidence: too high where workers share errors" in text
    assert "item-response, without labels" in text
    assert "item-response, with the other labels" in text


def test_one_label_is_too_few_to_judge_what_is_learned(tmp_path, votes, run):
    labels = save(TRUTH[:1], tmp_path / "truth.csv")
    text = run(votes, "--labels", labels, "--method", "ow")
    assert "One labelled task is too few to judge what is learned from labels." in text
    assert "ow, with" not in text


def test_whole_numbers_in_parquet_match_those_in_csv(tmp_path, run):
    numbers = pd.DataFrame({"task": [1, 2, 3], "a": [1, 0, None], "b": [1, 1, 0], "c": [1, 0, 0]})
    votes = save(numbers, tmp_path / "votes.parquet")
    labels = save(pd.DataFrame({"task": [1, 2], "label": [1, 0]}), tmp_path / "truth.csv")
    assert "Accuracy on 2 labelled tasks" in run(votes, "--labels", labels, "--method", "isp")
    assert written(tmp_path / "votes.answers.csv")["answer"].tolist() == [1, 0, 0]


def test_open_ended_and_multiple_choice_tables(tmp_path, run):
    data = pd.DataFrame({"task": ["x", "y"], "a": ["1/2", "7"], "b": ["1/2", "8"], "c": ["3", "8"]})
    path = save(data, tmp_path / "numbers.csv")
    text = run(path, "--open-ended", "--method", "majority")
    assert "open-ended answers" in text
    assert "Whether workers copy from each other can't be told" in text
    assert written(tmp_path / "numbers.answers.csv")["answer"].tolist() == ["1/2", "8"]
    choices = data.assign(num_options=[3, 4], a=["A", "B"], b=["A", "D"], c=["C", "D"])
    text = run(save(choices, tmp_path / "choices.csv"), "--method", "majority")
    assert "3 to 4 options a task, 'A' to 'D'" in text
    assert written(tmp_path / "choices.answers.csv")["answer"].tolist() == ["A", "D"]


def test_spaces_around_a_cell_of_a_csv_file_do_not_count(tmp_path, run):
    path = tmp_path / "spaces.csv"
    path.write_text("task , ann, ben\n t1,x , x\nt2 , y,  \n")
    text = run(path, "--method", "majority")
    assert "labels 'x', 'y'." in text and "differ only" not in text
    assert "1 of 4 labels is missing" in text
    assert written(tmp_path / "spaces.answers.csv")["answer"].tolist() == ["x", "y"]


def test_a_picture_is_drawn(tmp_path, votes, run):
    picture = tmp_path / "workers.png"
    assert f"Wrote {picture}." in run(votes, "--plot", picture, "--method", "ow-l")
    assert picture.read_bytes().startswith(b"\x89PNG")
    vector = tmp_path / "workers.svg"
    run(votes, "--plot", vector, "--force", "--method", "isp")
    assert "</svg>" in vector.read_text()


def test_ties_are_counted_and_drawn_by_the_seed(tmp_path, run):
    data = pd.DataFrame({"task": range(30), "a": "x", "b": "y"})
    path = save(data, tmp_path / "ties.csv")
    text = run(path, "--method", "majority")
    assert "30 answers; 30 ties, which went to the first label in order." in text
    first = written(tmp_path / "ties.answers.csv")
    assert set(first["answer"]) == {"x"}
    assert set(first["confidence"]) == {0.5}
    drawn = []
    for seed in (1, 1, 2):
        run(path, "--method", "majority", "--ties", "random", "--seed", seed, "--force")
        drawn.append(written(tmp_path / "ties.answers.csv")["answer"].tolist())
    assert drawn[0] == drawn[1] != drawn[2]


def test_everything_left_out_or_odd_is_told(tmp_path, run):
    rows = [
        "task,worker,label",
        "t1,a,x",
        "t1,a,x",
        "t1,b,y",
        "t2,a,",
        "t3,c,y",
        "t3,b,y",
        "t1,c,x",
    ]
    path = tmp_path / "odd.csv"
    path.write_text("\ufeff" + "\n".join(rows))
    text = run(path, "--method", "majority")
    assert "Note: Votes given more than once count once: 'x' by worker 'a' on task 't1'." in text
    assert "Note: 1 of 7 labels is missing and counts as an abstention." in text
    assert "Note: 1 task without any vote, kept without an answer: 't2'." in text
    assert "Note: 1 worker with one vote, kept" in text
    assert "2 answers, 1 task without one" in text
    answers = written(tmp_path / "odd.answers.csv")
    assert answers["answer"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("empty.csv", "", "empty.csv is empty."),
        ("blank.csv", "\n\n", "blank.csv is empty."),
        ("empty.jsonl", "", "empty.jsonl is empty."),
        ("head.csv", "task,worker,label\n", "The table holds no votes: it has no row"),
        ("none.csv", "task,worker,label\nt,a,\n", "every label is empty."),
        ("short.csv", "task,worker\nt,a\n", "'label' is missing among 'task', 'worker'."),
        (
            "alone.csv",
            "task\nt\n",
            "A table of votes is long (columns task, worker, label) or wide",
        ),
        ("ragged.csv", "task,a\nt,x,y\n", "Expected 2 fields in line 2, saw 3"),
        ("twice.csv", "task,a,a\nt,x,y\n", "several are named 'a'."),
        ("nameless.csv", "task,,b\nt,x,y\n", "column 2 has no name in the first line."),
        ("latin.csv", b"task,a\nt,\xe9\n", "latin.csv is not text in UTF-8"),
        ("votes.xlsx", "x", "must be one of .csv, .parquet, .jsonl, .ndjson by its name"),
        ("broken.parquet", "x", "broken.parquet is no Parquet file that can be read."),
        ("broken.jsonl", '{"task": 1}\n{"task"\n', "broken.jsonl, line 2 is no JSON:"),
        ("list.jsonl", "[1]\n", "list.jsonl, line 1 must be an object"),
        (
            "twice.jsonl",
            '{"task": 1, "a": 1, "a": 2}\n',
            "twice.jsonl, line 1: a name stands twice.",
        ),
        (
            "mixed.jsonl",
            '{"task": "t", "a": 1, "b": "1"}\n',
            "must be of one type; got numbers such as 1 and text such as '1'.",
        ),
        (
            "conflict.csv",
            "task,worker,label\nt,a,x\nt,a,y\nu,a,x\n",
            "different labels were given: 'x', 'y' by worker 'a' on task 't'.",
        ),
        ("taskless.csv", "task,worker,label\n,a,x\n", "the column 'task' is empty in row 1"),
    ],
)
def test_each_table_that_cannot_be_used_has_its_sentence(tmp_path, refuse, name, content, sentence):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert sentence in refuse(path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "content, sentence",
    [
        ("task,answer\nt1,cat\n", "must have the columns task and label; got task, answer."),
        ("task,worker,label\nt1,a,cat\n", "must have the columns task and label"),
        ("task,label\nx,cat\n", "The truth must name tasks of the votes, such as 't0'"),
        ("task,label\nt1,cow\n", "No vote has any of the truth's labels 'cow'"),
        ("task,label\nt1,cat\nt1,dog\n", "the truth has several for 't1'."),
        ("task,label\n,cat\n", "row 1 (without the header) has a label but no task."),
        ("task,label\n", "it has no label at all."),
    ],
)
def test_each_file_of_labels_that_cannot_be_used_has_its_sentence(
    tmp_path, votes, refuse, content, sentence
):
    labels = tmp_path / "truth.csv"
    labels.write_text(content)
    assert sentence in refuse(votes, "--labels", labels)


def test_what_may_not_be_written_is_refused_before_the_work(tmp_path, votes, refuse, monkeypatch):
    output = tmp_path / "out.csv"
    closed = output

    def access(path, mode):
        assert mode == os.W_OK
        return path != closed

    monkeypatch.setattr(os, "access", access)
    output.write_text("mine")
    assert "it may not be written to" in refuse(votes, "--output", output, "--force")
    closed = tmp_path
    assert "its folder may not be written to" in refuse(votes, "--plot", tmp_path / "workers.png")
    assert output.read_text() == "mine"


def test_a_crowd_of_few_answers_each_is_not_judged(tmp_path, run):
    rng = np.random.default_rng(0)
    votes = pd.DataFrame({"task": range(60)} | {f"w{n}": None for n in range(20)}, dtype=object)
    for task in range(60):
        votes.loc[task, [f"w{n}" for n in rng.permutation(20)[:3]]] = list(
            rng.choice(["a", "b"], 3)
        )
    labels = save(pd.DataFrame({"task": range(60), "label": "a"}), tmp_path / "truth.csv")
    text = run(save(votes, tmp_path / "sparse.csv"), "--labels", labels, "--method", "majority")
    assert "can't be told: most pairs share fewer than 30 tasks." in text
    for claim in ("vote about as well as", "Abstain more often", "dictator", "No two workers"):
        assert claim not in text
    few = save(pd.DataFrame({"task": range(12), "label": "a"}), tmp_path / "few.csv")
    text = run(tmp_path / "sparse.csv", "--labels", few, "--method", "majority", "--force")
    assert "No worker answered 10 labelled tasks, to be picked as the best." in text
    for claim in ("best single worker", "The best agent by the labels", "By the other labels"):
        assert claim not in text


def test_progress_is_told_at_a_terminal_alone(votes, monkeypatch, capsys):
    command.main([str(votes), "--method", "majority"])
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    command.main([str(votes), "--method", "majority", "--force"])
    told = capsys.readouterr().err.splitlines()
    assert told == ["Looking at who agrees with whom ...", "Combining the votes by majority ..."]


def test_files_are_never_overwritten_unasked(tmp_path, votes, run, refuse):
    output = tmp_path / "out.csv"
    output.write_text("mine")
    assert "exists; name another file" in refuse(votes, "--output", output)
    assert output.read_text() == "mine"
    run(votes, "--output", output, "--force", "--method", "majority")
    assert output.read_text().startswith("task,answer,confidence,runner_up,tie\n")
    before = votes.read_text()
    assert "is also read or written otherwise" in refuse(votes, "--output", votes, "--force")
    assert votes.read_text() == before


@pytest.mark.parametrize(
    "options, sentence",
    [
        (("--method", "best"), "argument --method: invalid choice: 'best'"),
        (("--output", "out.parquet"), "out.parquet must end in .csv."),
        (("--output", "no/folder/out.csv"), "There is no folder no/folder to write out.csv to."),
        (("--plot", "picture.jpg"), "picture.jpg must end in .png or .pdf or .svg."),
        (("--labels", "no.csv"), "Can't read no.csv: no such file or directory."),
        (("--method", "ow"), "give the truth of some, or take a method that needs none."),
        (("--method", "dawid-skene", "--open-ended"), "open-ended answers don't."),
        (("--colour", "red"), "unrecognized arguments: --colour red"),
    ],
)
def test_each_option_that_cannot_work_has_its_sentence(votes, refuse, options, sentence):
    assert sentence in refuse(votes, *options)


def test_a_file_that_is_not_there(tmp_path, refuse):
    assert "no such file" in refuse(tmp_path / "votes.csv")


def test_an_answer_that_cannot_be_written_leaves_nothing(tmp_path, votes, refuse, monkeypatch):
    def fail(self, path, **_):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
    with pytest.raises(SystemExit):
        command.main([str(votes), "--method", "majority"])
    assert [path.name for path in tmp_path.iterdir()] == ["votes.csv"]


@pytest.mark.parametrize("package", ["pandas", "pyarrow", "matplotlib"])
def test_a_missing_package_is_told_with_the_extra(tmp_path, votes, refuse, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    sentence = refuse(votes, "--plot", tmp_path / "picture.png")
    assert (
        sentence
        == f"This needs {package}, which is not installed: pip install 'jaxreason[voting]'."
    )


def test_help_lists_methods_and_shows_both_kinds_of_table(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert "Confidences are too high where workers share errors" in text
    assert "task,worker,label" in text
    assert "question,ann,ben,eve" in text
    for name, method in command.METHODS.items():
        assert f"  {name} " in text
        assert method.summary in text
