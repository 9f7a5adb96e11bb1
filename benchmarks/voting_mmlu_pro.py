"""Voting rules on the answers of 29 language models: `python -m benchmarks.voting_mmlu_pro`.

The answers are those of 29 models to 5,895 questions of MMLU-Pro ("MMLU-Pro: A More Robust and
Challenging Multi-Task Language Understanding Benchmark" by Wang et al.,
https://arxiv.org/abs/2406.01574), with 1 to 10 options; none is dropped. Rules vote in the pool of
all models and in random pools of 4, 7 and 12. A question counts as wrong if a rule has no answer;
tied options share the win.

What there was to choose in the rules was chosen on one random half of the questions; the other half
is reported. With labels, every pool is given those of 100 random questions, and all accuracies are
of the others; the pool of all models gets several such draws. "auto" is the rule that the diagnosis
of the pool recommends, which the command takes by default. One JSON line comes last.
"""

import argparse
import dataclasses
import importlib.util
import json
import math
import platform
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from benchmarks.voting_mmlu_pro_figure import save_figure
from benchmarks.voting_mmlu_pro_scores import (
    MAJORITY,
    PICKED,
    Score,
    Summary,
    format_tables,
    score_pool,
    summarise,
)
from jaxreason import voting
from jaxreason.voting import Votes
from jaxreason.voting.methods import compiled
from jaxreason.voting.recommendation import recommended_method

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "mmlu_pro_answers.npz"
MAX_OPTIONS = 10
BEST = "best single model, truly"
TRUE = "OW, true accuracies"


class Questions(NamedTuple):
    """The answers of some models to some questions."""

    answers: np.ndarray  # [question, model], -1 where none could be read off
    truth: np.ndarray
    num_options: np.ndarray
    models: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        half: "reported" or "chosen", the half of the questions on which settings were chosen.
        seed: Of the pools and of which questions are labelled.
        pools: Random pools of each size.
        draws: So many times all models vote, each time with other labels.
        sizes: Models in a random pool.
        labels: Labelled questions, for the rules that use them.
        questions: At most so many questions; all of the half if None.
    """

    half: str = "reported"
    seed: int = 0
    pools: int = 200
    draws: int = 20
    sizes: tuple[int, ...] = (4, 7, 12)
    labels: int = 100
    questions: int | None = None


SMALL = Sizes(pools=2, draws=2, sizes=(4,), labels=20, questions=120)


class Pool(NamedTuple):
    """A pool of models."""

    family: str  # "all 29", "4 random", ...
    number: int
    members: np.ndarray


def load(path: Path, sizes: Sizes) -> Questions:
    """Reads a half of the questions.

    Args:
        path: The file of answers.
        sizes: Which half, and how many questions of it.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of answers at {path}; name it with --data.")
    with np.load(path, allow_pickle=False) as data:
        answers, truth, num_options = (
            data[name].astype(np.int32) for name in ("answers", "truth", "num_options")
        )
        models = tuple(str(name) for name in data["models"])
    order = np.random.default_rng(0).permutation(len(truth))
    chosen, reported = np.split(order, [len(order) // 2])
    half = np.sort({"chosen": chosen, "reported": reported}[sizes.half])[: sizes.questions]
    return Questions(answers[half], truth[half], num_options[half], models)


def draw_pools(sizes: Sizes, models: int) -> list[Pool]:
    """Draws the pools: the same for the same seed."""
    rng = np.random.default_rng(sizes.seed)
    pools = [Pool(f"all {models}", number, np.arange(models)) for number in range(sizes.draws)]
    for size in sizes.sizes:
        for number in range(sizes.pools):
            members = np.sort(rng.choice(models, size, replace=False))
            pools.append(Pool(f"{size} random", number, members))
    return pools


def _label_free(rule: Callable[..., Votes]) -> Callable[..., Votes]:
    return lambda answers, num_options, truth, labels: rule(
        answers, num_options, max_options=MAX_OPTIONS
    )


def _semi_supervised(rule: Callable[..., Votes]) -> Callable[..., Votes]:
    return lambda answers, num_options, truth, labels: rule(
        answers, num_options, max_options=MAX_OPTIONS, truth=labels
    )


def _ow(answers: jax.Array, num_options: jax.Array, truth: jax.Array, where: jax.Array) -> Votes:
    accuracies = voting.estimate_accuracies(answers, truth, where)
    return voting.ow(answers, num_options, accuracies, max_options=MAX_OPTIONS)


def _single(
    answers: jax.Array, num_options: jax.Array, truth: jax.Array, where: jax.Array
) -> Votes:
    """Follows the model that is right most often on some questions."""
    right = jnp.sum((answers == truth[:, None]) & where[:, None], axis=0)
    best = answers[:, jnp.argmax(right)][:, None]
    return voting.majority(best, num_options, max_options=MAX_OPTIONS)


Rule = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], Votes]
RULES: dict[str, Rule] = {
    MAJORITY: _label_free(voting.majority),
    "Wawa": _label_free(voting.wawa),
    "SP": _label_free(voting.sp),
    "ISP": _label_free(voting.isp),
    "OW-L": _label_free(voting.ow_l),
    "OW-I": _label_free(voting.ow_i),
    "OW-I, fixed point": _label_free(partial(voting.ow_i, max_iterations=100)),
    "one-coin Dawid-Skene": _label_free(voting.one_coin_dawid_skene),
    "Dawid-Skene": _label_free(voting.dawid_skene),
    "item response, difficulty": _label_free(partial(voting.item_response, dependence=False)),
    "item response, dependence": _label_free(partial(voting.item_response, difficulty=False)),
    "item response": _label_free(voting.item_response),
    "OW, labels": lambda answers, num_options, truth, labels: _ow(
        answers, num_options, truth, labels >= 0
    ),
    "one-coin Dawid-Skene, labels": _semi_supervised(voting.one_coin_dawid_skene),
    "item response, labels": _semi_supervised(voting.item_response),
    PICKED: lambda answers, num_options, truth, labels: _single(
        answers, num_options, truth, labels >= 0
    ),
    TRUE: lambda answers, num_options, truth, labels: _ow(
        answers, num_options, truth, jnp.ones_like(truth, bool)
    ),
    BEST: lambda answers, num_options, truth, labels: _single(
        answers, num_options, truth, jnp.ones_like(truth, bool)
    ),
}
AUTO = {  # by the names of methods
    "auto": {
        "majority": MAJORITY,
        "wawa": "Wawa",
        "one-coin": "one-coin Dawid-Skene",
        "item-response": "item response",
    },
    "auto, labels": {
        "majority": MAJORITY,
        "wawa": "Wawa",
        "ow": "OW, labels",
        "one-coin": "one-coin Dawid-Skene, labels",
        "item-response": "item response, labels",
    },
}
SCORED = ("accuracy", "gain_error", "hard")  # what is kept of a rule in a pool, see `Score`
PEERS = ("MajorityVote", "Wawa", "OneCoinDawidSkene", "DawidSkene", "MMSR")
MISSING = "crowd-kit is not installed (pip install 'jaxreason[peers]'), so its rules are missing."


def measure(
    questions: Questions, pools: Sequence[Pool], sizes: Sizes, peers: Sequence[str] = ()
) -> list[Score]:
    """Lets every rule vote in every pool.

    Args:
        questions: The questions.
        pools: The pools.
        sizes: How many labels.
        peers: The rules of crowd-kit that vote, too.
    """
    scores = []
    rng = np.random.default_rng(sizes.seed + 1)
    total = len(pools) * (len(RULES) + len(AUTO) + len(peers))
    with tqdm(total=total, unit="vote", disable=None) as progress:
        for pool in pools:
            progress.set_description(pool.family)
            labels = np.full_like(questions.truth, -1)
            known = rng.choice(len(labels), sizes.labels, replace=False)
            labels[known] = questions.truth[known]
            right = _answer_all(questions, pool, labels, progress)
            took = _choose(questions, pool, labels, progress)
            right |= {name: right[rule] for name, rule in took.items()}
            right |= _answer_peers(questions, pool, peers, progress)
            answers, judged = questions.answers[:, pool.members], labels < 0
            scores += score_pool(pool[:2], answers, questions.truth, judged, right, took)
    return scores


def _answer_all(
    questions: Questions, pool: Pool, labels: np.ndarray, progress: tqdm
) -> dict[str, np.ndarray]:
    """Returns for every rule how much of each question's right option it has."""
    answers, rows = questions.answers[:, pool.members], np.arange(len(labels))
    data = [jnp.asarray(of) for of in (answers, questions.num_options, questions.truth, labels)]
    right = {}
    for name, rule in RULES.items():
        right[name] = np.asarray(_vote(rule, *data))[rows, questions.truth]
        progress.update()
    return right


def _choose(questions: Questions, pool: Pool, labels: np.ndarray, progress: tqdm) -> dict[str, str]:
    """Returns the rule that each automatic choice takes."""
    answers = jnp.asarray(questions.answers[:, pool.members])
    took = {}
    for name, rules in AUTO.items():
        diagnosis = _diagnose(
            answers,
            num_options=jnp.asarray(questions.num_options),
            max_options=MAX_OPTIONS,
            truth=jnp.asarray(labels) if "labels" in name else None,
            key=jax.random.key(pool.number),
        )
        took[name] = rules[recommended_method(diagnosis)]
        progress.update()
    return took


_diagnose = compiled(voting.diagnose)


def _answer_peers(
    questions: Questions, pool: Pool, peers: Sequence[str], progress: tqdm
) -> dict[str, np.ndarray]:
    """Does the same with crowd-kit's rules; a question without an answer is wrong."""
    if not peers:
        return {}
    import pandas as pd
    from crowdkit import aggregation

    answers = questions.answers[:, pool.members]
    tasks, workers = np.nonzero(answers >= 0)
    table = pd.DataFrame({"task": tasks, "worker": workers, "label": answers[tasks, workers]})
    right = {}
    for name in peers:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it calls pandas in ways that pandas will end
            found = getattr(aggregation, name)().fit_predict(table)
        given = found.reindex(range(len(answers)), fill_value=-1).to_numpy()
        right[f"crowd-kit {name}"] = (given == questions.truth).astype(float)
        progress.update()
    return right


@partial(jax.jit, static_argnums=0)
def _vote(rule: Rule, *data: jax.Array) -> jax.Array:
    return rule(*data).winners


def write_folder(
    folder: Path,
    sizes: Sizes,
    pools: Sequence[Pool],
    scores: Sequence[Score],
    summaries: Sequence[Summary],
    text: str,
) -> None:
    """Writes config.json, metrics.jsonl (a line a pool), tables.txt and figure.png.

    Args:
        folder: Where to; made if it is not there.
        sizes: How much was measured.
        pools: The pools.
        scores: Every rule in every pool.
        summaries: Every rule over the pools.
        text: The tables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "sizes": dataclasses.asdict(sizes),
        "of_a_rule": SCORED,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    lines = [json.dumps(_record(pool, scores)) + "\n" for pool in pools]
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "tables.txt").write_text(text + "\n", encoding="utf-8")
    save_figure([dataclasses.asdict(s) for s in summaries], folder / "figure.png")


def _record(pool: Pool, scores: Sequence[Score]) -> dict[str, Any]:
    """Returns what is kept of a pool; thousands of rows would be too much."""
    of_pool = [s for s in scores if (s.family, s.number) == (pool.family, pool.number)]
    return {
        "family": pool.family,
        "number": pool.number,
        "models": pool.members.tolist(),
        "hard_questions": of_pool[0].hard_questions,
        "rules": {s.rule: [_kept(getattr(s, name)) for name in SCORED] for s in of_pool},
        "took": {s.rule: s.took for s in of_pool if s.took},
    }


def _kept(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)


def main(argv: Sequence[str] | None = None) -> None:
    """Votes, prints the tables and, if asked, writes them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a few small pools, to see it run")
    parser.add_argument(
        "--half",
        choices=("reported", "chosen"),
        default="reported",
        help="which half of the questions (default: the one that nothing was chosen on)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the pools and labels (default: 0)")
    parser.add_argument("--pools", type=int, help="random pools of each size (default: 200)")
    parser.add_argument("--data", type=Path, default=DATA, help="the file of answers")
    parser.add_argument("--output", type=Path, help="folder for the numbers, tables and figure")
    options = parser.parse_args(argv)
    sizes = SMALL if options.small else Sizes()
    sizes = dataclasses.replace(sizes, half=options.half, seed=options.seed)
    if options.pools is not None:
        sizes = dataclasses.replace(sizes, pools=options.pools)
    try:
        questions = load(options.data, sizes)
    except FileNotFoundError as error:
        parser.exit(2, f"error: {error}\n")
    pools = draw_pools(sizes, len(questions.models))
    peers = PEERS if importlib.util.find_spec("crowdkit") else ()
    scores = measure(questions, pools, sizes, peers)
    summaries = summarise(scores)
    text = format_tables(summaries)
    if not peers:
        text = f"{MISSING}\n\n{text}"
    print(text, end="\n\n")
    if options.output:
        write_folder(options.output, sizes, pools, scores, summaries, text)
    print(json.dumps([dataclasses.asdict(s) for s in summaries]))


if __name__ == "__main__":
    main()
