"""The command `python -m jaxreason.voting answers.csv`: from a table of votes to answers."""

import argparse
import importlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from jaxreason.voting.methods import AUTO, METHODS

if TYPE_CHECKING:
    import pandas as pd

    from jaxreason.voting.diagnostics import Diagnosis
    from jaxreason.voting.result import Votes
    from jaxreason.voting.table import Table

DESCRIPTION = """\
Combines the labels that several workers (people, models) gave to tasks into one answer a task.

Prints each worker's estimated accuracy and weight, workers who seem to copy from each other, and
what to keep in mind; writes the answers with their confidence as CSV.
"""
EPILOG = """\
A table is read by its columns; an empty cell is an abstention, spaces around a cell of a CSV file
don't count.

  long: one vote a row               wide: one task a row, a column for each worker
    task,worker,label                  question,ann,ben,eve
    q1,ann,cat                         q1,cat,dog,cat
    q1,ben,dog                         q2,dog,,dog

By default every label that occurs is an option of every task. A further column num_options says
that tasks are multiple choice, with the first so many of the labels A, B, ... or 0, 1, ... as
options. --open-ended says that labels mean something only within a task, such as the results of
calculations. Files may be CSV (.csv), Parquet (.parquet) or JSON lines (.jsonl, .ndjson).

The written columns: task, answer, confidence (the method's probability for the answer; for methods
without a model its share of the weighted votes), runner_up, tie, and with --labels the truth.
Confidences are too high where workers share errors in a way that the method does not know of, or
answered little; with --labels the report tells by how much. An open-ended answer or runner-up is
empty where the method takes none of the answers given to be right.

examples:
  python -m jaxreason.voting answers.csv
  python -m jaxreason.voting answers.parquet --method isp --plot workers.png
  python -m jaxreason.voting answers.csv --labels truth.csv --output combined.csv

methods:
"""
DRAWABLE = (".png", ".pdf", ".svg")


class RefusedError(ValueError):
    """An input that can't work, told in one sentence: expected, given, what to do."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; --help shows all options.\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; ends with status 2 and one sentence if the input can't be used."""
    arguments = _parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name may hold what the terminal can't show
            stream.reconfigure(errors="backslashreplace")
    try:
        _run(arguments)
    except RefusedError as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # whoever read the report has seen enough; the files are written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, METHODS))
    summaries = {AUTO: "the one that the report recommends"}
    summaries |= {name: method.summary for name, method in METHODS.items()}
    methods = "\n".join(f"  {name.ljust(width)}  {text}" for name, text in summaries.items())
    parser = _Parser(
        prog="python -m jaxreason.voting",
        description=DESCRIPTION,
        epilog=EPILOG + methods,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("votes", type=Path, help="the table of votes")
    add(
        "--method",
        default=AUTO,
        choices=(AUTO, *METHODS),
        metavar="NAME",
        help="how to combine, see below (default: %(default)s)",
    )
    add(
        "--labels",
        type=Path,
        metavar="FILE",
        help="right labels of some or all tasks (columns task, label): to measure accuracies, and "
        "to learn from where the method can",
    )
    add("--output", type=Path, metavar="FILE", help="default: the table's name with .answers.csv")
    add("--plot", type=Path, metavar="FILE", help="draw the workers (.png, .pdf or .svg)")
    add("--force", action="store_true", help="overwrite files that exist")
    add(
        "--ties",
        default="first",
        choices=("first", "random"),
        help="who wins among equals: the first label in order, or one at random (default: first)",
    )
    add("--seed", type=_seed, default=0, help="of everything random (default: 0)")
    add("--open-ended", action="store_true", help="labels mean something only within a task")
    add(
        "--duplicates",
        default="error",
        choices=("error", "first", "last"),
        help="which counts if a worker gave a task different labels (default: error)",
    )
    return parser


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 2**32 - 1; got {text!r}")
    return int(text)


def _run(arguments: argparse.Namespace) -> None:
    """Reads, votes, writes and tells."""
    modules = ("pandas", "pyarrow") + (("matplotlib",) if arguments.plot else ())
    for name in modules:
        _need(name)
    from jaxreason.voting import report, table_rules
    from jaxreason.voting.evaluation import evaluate, judged_tasks

    inputs = [path for path in (arguments.votes, arguments.labels) if path is not None]
    output = arguments.output or arguments.votes.with_name(f"{arguments.votes.stem}.answers.csv")
    _check_target(output, (".csv",), inputs, arguments.force)
    if arguments.plot is not None:
        _check_target(arguments.plot, DRAWABLE, [*inputs, output], arguments.force)
    table = _read_table(arguments)
    _progress("Looking at who agrees with whom")
    diagnosis = table_rules.diagnose_table(table, seed=arguments.seed)
    method = table_rules.choose_method(arguments.method, table, diagnosis)
    _progress(f"Combining the votes by {method.name}")
    parameters = table_rules.fit_table(method, table)
    votes = table_rules.vote_on_table(
        method, parameters, table, ties=arguments.ties, seed=arguments.seed
    )
    answers = table_rules.describe_answers(table, votes)
    evaluation = None
    if arguments.labels is not None:
        answers["truth"] = table.name_options(table.truth)
    if judged_tasks(table).any():
        _progress("Judging it by the labels")
        evaluation = evaluate(method, table, seed=arguments.seed)
    text = report.report_text(table, method, votes, diagnosis, evaluation)
    _write(output, lambda path: answers.to_csv(path, float_format="%.6g"))
    text += f"\n\nWrote {output}: {report.answers_text(answers, arguments.ties)}"
    if arguments.plot is not None:
        _draw(arguments.plot, table, votes, diagnosis)
        text += f"\nWrote {arguments.plot}."
    print(text, flush=True)


def _progress(text: str) -> None:
    """Tells a person at a terminal what takes its time, which is mostly compiling."""
    if sys.stderr.isatty():
        print(f"{text} ...", file=sys.stderr, flush=True)


def _draw(path: Path, table: "Table", votes: "Votes", diagnosis: "Diagnosis") -> None:
    """Draws the workers."""
    from jaxreason.voting.plot import plot_workers
    from jaxreason.voting.report import mean_weights
    from jaxreason.voting.table_rules import worker_accuracies

    figure = plot_workers(
        tuple(table.workers),
        diagnosis,
        accuracies=None if votes.accuracies is None else worker_accuracies(table, votes),
        weights=mean_weights(table, votes),
    )
    kind = path.suffix[1:].lower()
    with warnings.catch_warnings():  # a box stands for a letter that the font has not
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        _write(path, lambda path: figure.savefig(path, format=kind, dpi=150))


def _need(module: str) -> None:
    """Imports a package of the extra."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise RefusedError(
            f"This needs {module}, which is not installed: pip install 'jaxreason[voting]'."
        ) from error


def _read_table(arguments: argparse.Namespace) -> "Table":
    """Reads the files; what is wrong with the data comes out here."""
    from jaxreason.voting.table import as_text, tabulate
    from jaxreason.voting.table_labels import DataError
    from jaxreason.voting.table_rules import check_suits

    try:
        votes, truth = as_text(_read(arguments.votes)), None
        if arguments.labels is not None:
            labels = as_text(_read(arguments.labels))
            truth = _truth(labels, arguments.labels)
        table = tabulate(
            votes, truth, open_ended=arguments.open_ended, duplicates=arguments.duplicates
        )
        if arguments.method != AUTO:
            check_suits(METHODS[arguments.method], table, table.truth)
        return table
    except DataError as error:
        raise RefusedError(str(error)) from error


def _truth(labels: "pd.DataFrame", path: Path) -> "pd.Series":
    """Returns the right labels by task."""
    if not {"task", "label"} <= set(labels.columns) or "worker" in labels.columns:
        given = ", ".join(map(str, labels.columns))
        raise RefusedError(f"{path} must have the columns task and label; got {given}.")
    if labels["task"].isna().any():
        row = int(labels["task"].isna().to_numpy().argmax()) + 1
        raise RefusedError(f"{path}: row {row} (without the header) has a label but no task.")
    return labels.set_index("task")["label"]


def _read(path: Path) -> "pd.DataFrame":
    """Reads a table by its file's suffix."""
    readers = {
        ".csv": _read_csv,
        ".parquet": _read_parquet,
        ".jsonl": _read_json_lines,
        ".ndjson": _read_json_lines,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise RefusedError(
            f"A table must be one of {', '.join(readers)} by its name; got {path.name!r}."
        )
    try:
        if path.stat().st_size == 0:
            raise RefusedError(f"{path} is empty.")
        return reader(path)
    except UnicodeDecodeError as error:
        raise RefusedError(f"{path} is not text in UTF-8: save it as that.") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise RefusedError(f"Can't read {path}: {reason[:1].lower()}{reason[1:]}.") from error


def _read_csv(path: Path) -> "pd.DataFrame":
    """Reads CSV, all values as text without spaces around it, only empty cells as missing."""
    import pandas as pd

    try:
        data = pd.read_csv(
            path,
            header=None,
            dtype=str,
            keep_default_na=False,
            na_values=[""],
            encoding="utf-8-sig",
        )
    except pd.errors.EmptyDataError as error:
        raise RefusedError(f"{path} is empty.") from error
    except pd.errors.ParserError as error:
        reason = str(error).splitlines()[0].removeprefix("Error tokenizing data. C error: ")
        raise RefusedError(f"{path} is no regular CSV: {reason.strip().rstrip('.')}.") from error
    data = data.apply(lambda column: column.str.strip().replace("", None))
    heads = data.iloc[0].fillna("").tolist()
    if "" in heads[1:]:  # the first may be an index's, which pandas leaves empty
        number = heads.index("", 1) + 1
        raise RefusedError(f"{path}: column {number} has no name in the first line.")
    data = data.iloc[1:].reset_index(drop=True)
    data.columns = pd.Index(heads)
    return data


def _read_parquet(path: Path) -> "pd.DataFrame":
    import pandas as pd
    import pyarrow

    try:
        data = pd.read_parquet(path)
    except pyarrow.ArrowException as error:
        raise RefusedError(f"{path} is no Parquet file that can be read.") from error
    return data if isinstance(data.index, pd.RangeIndex) else data.reset_index()


def _read_json_lines(path: Path) -> "pd.DataFrame":
    import pandas as pd

    rows = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                rows.append(_json_object(line.rstrip(), f"{path}, line {number}"))
    return pd.DataFrame(rows, dtype=object)


def _json_object(line: str, place: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise RefusedError(f"{place}: a name stands twice.")
        for name, _ in pairs:
            name.encode()
        return dict(pairs)

    try:
        row = json.loads(line, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise RefusedError(f"{place} is no JSON: {error.msg} at column {error.colno}.") from error
    except UnicodeEncodeError as error:
        raise RefusedError(f"{place}: a name has half a character of two code units.") from error
    if not isinstance(row, dict):
        raise RefusedError(f'{place} must be an object such as {{"task": ...}}; got {line[:40]!r}.')
    return row


def _check_target(path: Path, suffixes: Sequence[str], inputs: Sequence[Path], force: bool) -> None:
    """Checks that a file can be written, before any work is done."""
    if path.suffix.lower() not in suffixes:
        raise RefusedError(f"{path} must end in {' or '.join(suffixes)}.")
    if any(path.resolve() == other.resolve() for other in inputs):
        raise RefusedError(f"{path} is also read or written otherwise; name another file.")
    if not path.parent.is_dir():
        raise RefusedError(f"There is no folder {path.parent} to write {path.name} to.")
    if path.is_dir():
        raise RefusedError(f"{path} is a folder; name a file.")
    if path.exists() and not force:
        raise RefusedError(f"{path} exists; name another file, or overwrite it with --force.")
    if not os.access(path.parent, os.W_OK):
        raise RefusedError(f"Can't write {path}: its folder may not be written to.")
    if path.exists() and not os.access(path, os.W_OK):
        raise RefusedError(f"Can't overwrite {path}: it may not be written to.")


def _write(path: Path, save: Callable[[Path], object]) -> None:
    """Writes a file whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save(partial)
        partial.replace(path)
    except OSError as error:
        raise RefusedError(f"Can't write {path}: {error.strerror or error}.") from error
    finally:
        partial.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
