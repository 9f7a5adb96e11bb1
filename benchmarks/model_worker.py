"""What every side of `benchmarks.generate` and `benchmarks.train_step` shares.

Each side runs in a process, and mostly in an environment, of its own, so this needs nothing but
Python. See `benchmarks.rl_iteration_worker` for how a worker is talked to.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rl_iteration_worker import Worker


@dataclass(frozen=True)
class Work:
    """What one side does in one iteration.

    Attributes:
        folder: The model as transformers loads it, and `tokens.json`: `[batch, length]` ids.
        weights: The GGUF file.
        kind: `generate` or `train`.
        dtype: Type of weights and activations: float32, bfloat16, int8 (of weights) or Q4_1.
        batch: Rows.
        length: Tokens of each prompt, or of each sequence that is learned.
        new_tokens: Tokens to generate for each prompt; nothing ends it earlier.
    """

    folder: str
    weights: str
    kind: str
    dtype: str
    batch: int
    length: int
    new_tokens: int = 0

    @property
    def tokens(self) -> list[list[int]]:
        """The prompts, or what is learned."""
        rows = json.loads((Path(self.folder) / "tokens.json").read_text(encoding="utf-8"))
        return [row[: self.length] for row in rows[: self.batch]]


def given() -> tuple[Work, int]:
    """Returns the work and the number of threads that the benchmark gives as JSON."""
    case = json.loads(sys.argv[1])
    return Work(**case["shape"]), case.get("threads") or 0


def serve_generation(
    worker: Worker, generate: Callable[[int], list[list[int]]], new_tokens: int, **facts: object
) -> None:
    """Generates when asked: first one token, which is mostly prefill, then all of them, timed."""
    first, tokens = [], []
    wanted = worker.ready(**facts)
    while wanted:
        start = time.perf_counter()
        generate(1)
        first.append(time.perf_counter() - start)
        worker.begin()
        tokens = generate(new_tokens)
        wanted = worker.end()
    worker.finish(first_seconds=first, tokens=tokens)


def serve_training(worker: Worker, train: Callable[[], float], **facts: object) -> None:
    """Computes loss and gradients when asked."""
    wanted, loss = worker.ready(**facts), 0.0
    while wanted:
        worker.begin()
        loss = train()
        wanted = worker.end()
    worker.finish(loss=loss)
