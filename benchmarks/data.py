"""Times the data engine beside its peers: `python -m benchmarks.data`.

- tokenise: our sentencepiece tokenizer beside Hugging Face's `tokenizers`, each trained on the same
  texts to the same vocabulary size, one text after the other.
- pack: ours beside grain's packers and a plain loop that starts a new sequence when a document does
  not fit. What is longer than a sequence was split before: grain's BestFit and FirstFit raise on
  it. Memory is the most that a call allocates; grain streams, ours holds all it packs.
- iterate: ours beside grain's `MapDataset.mix` and a plain loop, over the same packed sources. All
  give the same fields (positions by our function), but `stored arrays` lack positions and stay in
  the 16 bits of the files. The shares are off by so many sequences, or relative to what was asked
  for, over the whole run.
- prefetch: a step on batches from memory, prepared ahead by a thread, and made when they are asked
  for. A step waits if its batch takes more than 5% of its time. On a CPU the step is kept to one
  core, which leaves one to the host as an accelerator does.
- open: a stream whose files are simulated, opened as `data.build` does, and read at far places.

Ways are measured in turn, and those of the last three tables in processes of their own, whose
memory is what they held beyond their imports and the data. One JSON line comes at the end.
"""

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks import data_cases
from benchmarks.data_cases import CUT, OURS, PEER_CUT, READERS, WHOLE, Iterate, Open, Prefetch
from benchmarks.timing import format_table, quartiles
from benchmarks.voting_simulation_figure import INK, SETTINGS
from data.docstrings import SOURCE_ROOT, library_docstrings
from data.documents import tokenised
from data.readers import RuleProblems, WordProblems, read_rows
from data.renderers import SpansReader, find_renderer
from data.spans import TAGS, Spans, whole_parts
from data.tokenizer import Tokenizer, train_tokenizer
from jaxreason.mixture import Documents, fit

ROOT = Path(__file__).resolve().parents[1]
PEER_TOKENIZER = "tokenizers"
MISSING = (
    "tokenizers is not installed, so only our tokenizer is timed; `pip install tokenizers` brings"
    " it."
)
WAITED = 0.05  # of a step


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is measured, and how much of it.

    Attributes:
        documents: Of each corpus at most.
        vocab_size: Of both tokenizers.
        lengths: Tokens in packed sequences; the last one is that of the simulated sources.
        bins: Sequences that grain's packers keep open.
        sequences: Of each simulated source. Grain's shuffle is slow below some thousands.
        sources: Numbers of sources that are mixed.
        batch_size: Sequences in a batch.
        batches: How many are timed at a time, of the step as well.
        prefetch: How many are prepared ahead.
        step_seconds: How long a step takes, about.
        tokens: Of the stream that is opened.
        reads: Batches that are read of it.
        calls: How many times everything is timed in a process.
        rounds: Processes of each way.
        isolated: Whether there are any; else memory says little.
    """

    documents: int = 10_000
    vocab_size: int = 8192
    lengths: tuple[int, ...] = (512, 2048)
    bins: int = 64
    sequences: int = 16_384
    sources: tuple[int, ...] = (1, 32)
    batch_size: int = 32
    batches: int = 100
    prefetch: int = 4
    step_seconds: float = 0.02
    tokens: int = 10**9
    reads: int = 50
    calls: int = 5
    rounds: int = 5
    isolated: bool = True


SMOKE = Plan(60, 512, (64, 128), 4, 64, (1, 32), 8, 40, 2, 0.001, 10**6, 3, 1, 1, isolated=False)

Row = dict[str, Any]
Rows = list[Row]


def corpora(num_documents: int) -> dict[str, list[Spans]]:
    """Reads docstrings, and makes two kinds of problems with solutions."""
    docstrings = (text for _, text in library_docstrings(SOURCE_ROOT))
    texts = dict.fromkeys(itertools.islice(docstrings, num_documents))
    examples = {"docstrings": [Spans(answer=(text,)) for text in texts]}
    problems = {
        "arithmetic": (WordProblems(num_documents), "problem_trace_answer"),
        "rules": (RuleProblems(num_documents), "rule_induction"),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, (reader, renderer) in problems.items():
            rows = read_rows(reader, Path(folder))
            examples[name] = list(SpansReader(rows, find_renderer(renderer), on_bad_row="error"))
    return examples


def time_in_turn(ways: Mapping[str, Callable[[], Any]], calls: int) -> dict[str, list[float]]:
    """Times calls of each way, one way after the other, after a first one of each."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(calls + 1):
        for name, call in ways.items():
            start = time.perf_counter()
            call()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def speed(tokens: int, seconds: Sequence[float]) -> Row:
    """Returns tokens a second: the median and the quartiles."""
    fast, median, slow = quartiles(seconds)
    return {"speed": tokens / median, "low": tokens / slow, "high": tokens / fast}


def with_ratios(rows: Rows) -> Rows:
    """Adds how many times as fast as each way the one of ours is beside which it stands."""
    speeds = {row["method"]: row["speed"] for row in rows}
    return [row | {"ratio": speeds[row["beside"]] / row["speed"]} for row in rows]


def measure_tokenise(plan: Plan, texts: Mapping[str, list[str]], tokenizer: Tokenizer) -> Rows:
    """Times encoding each corpus, one text after the other."""
    encoders: dict[str, Callable[[str], Sequence[int]]] = {OURS: tokenizer.encode}
    if importlib.util.find_spec(PEER_TOKENIZER):
        encoders[PEER_TOKENIZER] = _peer_encoder(plan, texts)
    rows = []
    for corpus, part in texts.items():
        ways = {name: _counts_tokens(encode, part) for name, encode in encoders.items()}
        size = sum(len(text.encode()) for text in part)
        of_corpus = []
        for name, seconds in time_in_turn(ways, plan.calls).items():
            tokens = ways[name]()
            row = {"corpus": corpus, "method": name, "beside": OURS} | speed(tokens, seconds)
            row["token_bytes"] = size / tokens
            of_corpus.append(row | {"megabytes": row["speed"] * row["token_bytes"] / 1e6})
        rows += with_ratios(of_corpus)
    return rows


def _counts_tokens(encode: Callable[[str], Sequence[int]], texts: list[str]) -> Callable[[], int]:
    return lambda: sum(len(encode(text)) for text in texts)


def _peer_encoder(plan: Plan, texts: Mapping[str, list[str]]) -> Callable[[str], Sequence[int]]:
    """Trains a byte-level tokenizer of the other library, which splits digits as ours does."""
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    peer = tokenizers.Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    peer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    trainer = trainers.BpeTrainer(
        vocab_size=plan.vocab_size, initial_alphabet=byte_level.alphabet(), show_progress=False
    )
    peer.train_from_iterator(itertools.chain(*texts.values()), trainer)
    return lambda text: peer.encode(text).ids


def measure_pack(plan: Plan, corpus: str, documents: Documents, length: int) -> Rows:
    """Times packing one corpus, and says how full the sequences are."""
    documents = fit(documents, length, overlong="split").documents
    ways = data_cases.packers(documents, length, plan.bins)
    tokens, rows = int(documents.lengths.sum()), []
    for name, seconds in time_in_turn(ways, plan.calls).items():
        tracemalloc.start()
        num_sequences = ways[name]()
        beside = CUT if name in (CUT, PEER_CUT) else WHOLE
        row = {"corpus": corpus, "length": length, "method": name, "beside": beside}
        row["allocated_mib"] = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        row["efficiency"] = tokens / (num_sequences * length)
        rows.append(row | speed(tokens, seconds))
    return with_ratios(rows)


def measure_iterate(plan: Plan, folder: Path, num_sources: int) -> Rows:
    """Times reading batches in every way, each in processes of its own."""
    results: dict[str, Rows] = {method: [] for method in READERS}
    for method in list(READERS) * plan.rounds:
        case = Iterate(**_reading(plan, folder, num_sources), method=method)
        results[method].append(run_case("iterate", case, plan))
    tokens = plan.batches * plan.batch_size * plan.lengths[-1]
    rows = []
    for method, of_way in results.items():
        row = {"sources": num_sources, "method": method, "beside": OURS} | of_way[0]
        row |= {name: max(result[name] for result in of_way) for name in row if "mib" in name}
        row["seconds"] = [second for result in of_way for second in result["seconds"]]
        row |= speed(tokens, row["seconds"])
        rows.append(row | {"batch_ms": 1e3 * tokens / plan.batches / row["speed"]})
    return with_ratios(rows)


def _reading(plan: Plan, folder: Path, num_sources: int) -> Row:
    names = ("batch_size", "batches", "calls", "prefetch")
    sizes = {name: getattr(plan, name) for name in names}
    return {"folder": str(folder), "num_sources": num_sources} | sizes


def measure_prefetch(plan: Plan, folder: Path) -> Rows:
    """Times a step whose batches come in three ways, and what it waits for them."""
    reading = _reading(plan, folder, plan.sources[-1])
    times = run_case("prefetch", Prefetch(**reading, step_seconds=plan.step_seconds), plan)
    alone = quartiles(times["from memory"]["step"])[1]
    rows = []
    for data, of_way in times.items():
        low, median, high = (1e3 * seconds for seconds in quartiles(of_way["step"]))
        row = {"data": data, "step_ms": median, "low": low, "high": high}
        row |= {"slower": median / 1e3 / alone - 1, "wait_ms": 1e3 * quartiles(of_way["wait"])[1]}
        row |= {"longest_ms": 1e3 * max(of_way["wait"])}
        rows.append(row | {"waited": float(np.mean(np.array(of_way["wait"]) > WAITED * alone))})
    return rows


def measure_open(plan: Plan, folder: Path, num_sources: int, model: bytes) -> Row:
    """Times opening a simulated stream and reading far places of it, in a process of its own."""
    sizes = (plan.tokens, num_sources, plan.lengths[-1], plan.batch_size, plan.reads)
    case = Open(str(folder), *sizes)
    case.write_index(model)
    row = {"sources": num_sources} | run_case("open", case, plan)
    first, *others = (1e3 * seconds for seconds in row.pop("read_seconds"))
    return row | {"first_ms": first, "far_ms": quartiles(others)[1], "longest_ms": max(others)}


def run_case(name: str, case: Any, plan: Plan) -> Row:
    """Measures a case, in a process of its own unless the plan says otherwise."""
    if not plan.isolated:
        return case.measure()
    environment = dict(os.environ)
    if name == "prefetch":
        flags = environment.get("XLA_FLAGS", "")
        environment["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false"
    command = [sys.executable, "-m", "benchmarks.data_cases", name]
    finished = subprocess.run(
        [*command, json.dumps(dataclasses.asdict(case))],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    if finished.returncode:
        raise RuntimeError(f"{name}, {case}:\n{finished.stderr}")
    return json.loads(finished.stdout.splitlines()[-1])


def measured(plan: Plan) -> Iterator[tuple[str, Rows]]:
    """Yields the rows of each table."""
    examples = corpora(plan.documents)
    texts = {name: ["".join(whole_parts(one)) for one in part] for name, part in examples.items()}
    joined = itertools.chain(*texts.values())
    model = train_tokenizer(joined, vocab_size=plan.vocab_size, symbols=TAGS)
    tokenizer = Tokenizer(model)
    yield "tokenise", measure_tokenise(plan, texts, tokenizer)
    rows = []
    for corpus, part in examples.items():
        documents = Documents.join(tokenised(tokenizer, example) for example in part)
        for length in plan.lengths:
            rows += measure_pack(plan, corpus, documents, length)
    yield "pack", rows
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        packed = data_cases.write_packed(folder, "packed", plan.sequences, plan.lengths[-1])
        of_sources = [measure_iterate(plan, packed, number) for number in plan.sources]
        yield "iterate", list(itertools.chain(*of_sources))
        yield "prefetch", measure_prefetch(plan, packed)
        opened = [measure_open(plan, folder / f"{count}", count, model) for count in plan.sources]
        yield "open", opened


SPEED = "tokens/s={speed:,.0f}; quartiles={low:,.0f}-{high:,.0f}; ratio={ratio:.2f}"
TABLES = MappingProxyType(  # headers and cells
    {
        "tokenise": "corpus={corpus}; method={method}; "
        f"{SPEED}; MB/s={{megabytes:.2f}}; bytes/token={{token_bytes:.2f}}",
        "pack": "corpus={corpus}; length={length}; method={method}; "
        f"{SPEED}; full={{efficiency:.2%}}; memory MiB={{allocated_mib:,.1f}}",
        "iterate": "sources={sources}; method={method}; "
        f"{SPEED}; ms/batch={{batch_ms:.2f}}; memory MiB={{used_mib:,.1f}}; "
        "process MiB={peak_mib:,.0f}; sequences off={sequences_off:,.1f}; "
        "share off={relative_off:.2%}",
        "prefetch": "batches={data}; ms/step={step_ms:.2f}; quartiles={low:.2f}-{high:.2f}; "
        "slower={slower:.1%}; ms until batch={wait_ms:.3f}; longest={longest_ms:.2f}; "
        "steps that waited={waited:.1%}",
        "open": "sources={sources}; tokens={tokens:,}; seconds={open_seconds:.3f}; "
        "memory MiB={opened_mib:,.1f}; process MiB={process_mib:,.0f}; "
        "first batch ms={first_ms:.2f}; far batch ms={far_ms:.2f}; longest={longest_ms:.2f}; "
        "process MiB then={peak_mib:,.0f}",
    }
)


def format_rows(name: str, rows: Rows) -> str:
    """Lays out a table; its ratio is how many times as fast ours is."""
    columns = [column.split("=") for column in TABLES[name].split("; ")]
    lines = [[cell.format(**row) for _, cell in columns] for row in rows]
    return f"{name}\n\n{format_table([header for header, _ in columns], lines)}"


PANELS = (  # table, measure, its unit and scale, what a bar is called
    ("tokenise", "speed", "million tokens/s", 1e6, "{corpus}, {method}"),
    ("pack", "speed", "million tokens/s of docstrings, by length", 1e6, "{length}, {method}"),
    ("iterate", "speed", "million tokens/s, by number of sources", 1e6, "{sources}, {method}"),
    ("prefetch", "step_ms", "ms/step", 1.0, "{data}"),
)


def save_figure(tables: Mapping[str, Rows], path: Path) -> None:
    """Draws the speeds as bars, ours in blue, as a PNG."""
    with matplotlib.rc_context(SETTINGS | {"axes.grid.axis": "x"}):
        figure = Figure(figsize=(11, 7), layout="constrained")
        for axes, panel in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
            name, field, unit, scale, label = panel
            corpora = ("docstrings",) if name == "pack" else ("docstrings", "arithmetic", "rules")
            rows = [row for row in tables[name] if row.get("corpus", "docstrings") in corpora]
            labels = [label.format(**row) for row in rows]
            colors = ["#2563eb" if OURS in row.get("method", OURS) else "#d1a054" for row in rows]
            bars = axes.barh(labels, [row[field] / scale for row in rows], 0.7, color=colors)
            axes.bar_label(bars, fmt="{:,.3g}", padding=3, fontsize=7.5, color=INK)
            axes.tick_params("y", labelsize=7.5)
            axes.invert_yaxis()
            axes.margins(x=0.15)
            axes.set(title=name, xlabel=unit)
        figure.savefig(path)


def write_folder(folder: Path, plan: Plan, tables: Mapping[str, Rows], text: str) -> None:
    """Writes config.json, metrics.jsonl, tables.txt and figure.png."""
    folder.mkdir(parents=True, exist_ok=True)
    config = json.dumps(dataclasses.asdict(plan) | versions(), indent=2)
    (folder / "config.json").write_text(config + "\n", encoding="utf-8")
    lines = [
        json.dumps({"table": name} | row) + "\n" for name, rows in tables.items() for row in rows
    ]
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "tables.txt").write_text(text + "\n", encoding="utf-8")
    save_figure(tables, folder / "figure.png")


def versions() -> dict[str, Any]:
    """Returns what ran."""
    packages = ("jax", "numpy", "grain", "sentencepiece", PEER_TOKENIZER)
    known = [name for name in packages if importlib.util.find_spec(name)]
    versions = {name: importlib.metadata.version(name) for name in known}
    machine = {"python": platform.python_version(), "cores": os.cpu_count()}
    return versions | machine | {"device": jax.devices()[0].device_kind}


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints the tables and, if asked, writes them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see it run")
    parser.add_argument("--output", type=Path, help="folder for the numbers, tables and figure")
    options = parser.parse_args(argv)
    plan = SMOKE if options.smoke else Plan()
    tables = dict(tqdm(measured(plan), total=len(TABLES), unit="table", disable=None))
    text = "\n\n".join(format_rows(name, rows) for name, rows in tables.items())
    if not importlib.util.find_spec(PEER_TOKENIZER):
        text = f"{MISSING}\n\n{text}"
    print(text, end="\n\n")
    if options.output:
        write_folder(options.output, plan, tables, text)
    print(json.dumps({"plan": dataclasses.asdict(plan)} | versions() | tables))


if __name__ == "__main__":
    main()
