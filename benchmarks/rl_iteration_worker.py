"""What every side of `benchmarks.rl_iteration` shares: the work, and how a worker is talked to.

Each side runs in a process, and mostly in an environment, of its own, so this needs nothing but
Python. A worker says what it is, then waits for lines on its input: `run 3` makes it do three
iterations and answer with their seconds; `end` makes it answer with what it checked, and end.
"""

import json
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

ROPE_THETA = 10_000
NORM_EPSILON = 1e-5
INIT_DEVIATION = 0.02
LEARNING_RATE = 1e-6  # so small that the policy stays as random as it starts
CLIP_NORM = 1.0


@dataclass(frozen=True)
class Shape:
    """The work of one iteration.

    Attributes:
        vocab_size: Token ids; the embedding is also the output projection.
        dim: Width of the residual stream.
        num_layers: Blocks of the Llama kind: RMS norms, rotary positions, SwiGLU, no biases.
        num_heads: Query heads.
        num_kv_heads: Key-value heads.
        hidden_dim: Width of the feed-forward layer.
        problems: Prompts in an iteration.
        completions: Completions of each prompt, which are compared with one another.
        prompt_length: Tokens of each prompt, none of them padding.
        completion_length: Tokens of each completion; nothing ends one earlier.
    """

    vocab_size: int
    dim: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    hidden_dim: int
    problems: int
    completions: int
    prompt_length: int
    completion_length: int

    @property
    def rows(self) -> int:
        """Completions in an iteration."""
        return self.problems * self.completions

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.dim // self.num_heads

    @property
    def parameters(self) -> int:
        """Number of parameters: what every side has to have."""
        attention = 2 * self.dim * (self.num_heads + self.num_kv_heads) * self.head_dim
        layer = attention + 3 * self.dim * self.hidden_dim + 2 * self.dim
        return self.vocab_size * self.dim + self.num_layers * layer + self.dim


def random_prompt(shape: Shape, generator: random.Random) -> str:
    """Returns the ids of a random prompt, as the words that the peers' tokenizers read."""
    return " ".join(str(generator.randrange(shape.vocab_size)) for _ in range(shape.prompt_length))


def even_share(tokens: Sequence[int]) -> float:
    """Returns the reward of a completion: the share of even ids."""
    return sum(token % 2 == 0 for token in tokens) / len(tokens)


def versions(*packages: str) -> dict[str, str]:
    """Returns the versions of Python and of packages."""
    return {"python": sys.version.split()[0]} | {name: version(name) for name in packages}


class Worker:
    """The talk of a worker with the benchmark; the clock runs between `begin` and `end`.

    What libraries print goes to the error stream, so that it does not mix with the answers.
    """

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._wanted = 0
        self._seconds: list[float] = []
        self._lengths: set[int] = set()
        self._rewards: list[float] = []

    def ready(self, **facts: Any) -> bool:
        """Says that iterations can begin, and returns whether one is wanted."""
        self._answer(facts)
        return self._listen()

    def begin(self) -> None:
        """Starts the clock of one iteration."""
        self._start = time.perf_counter()

    def elapsed(self) -> float:
        """Returns the seconds since `begin`."""
        return time.perf_counter() - self._start

    def end(self) -> bool:
        """Stops the clock, and returns, perhaps much later, whether another one is wanted."""
        self._seconds.append(self.elapsed())
        if len(self._seconds) < self._wanted:
            return True
        self._answer({"seconds": self._seconds})
        return self._listen()

    def note(self, lengths: Sequence[int], rewards: Sequence[float]) -> None:
        """Keeps what the completions of one iteration were like."""
        self._lengths.update(lengths)
        self._rewards.append(sum(rewards) / len(rewards))

    def close(self, change: float) -> None:
        """Answers with what was checked: lengths, rewards, the largest change of a parameter."""
        rewards = sum(self._rewards) / max(len(self._rewards), 1)
        lengths = sorted(self._lengths)
        self.finish(lengths=lengths, mean_reward=rewards, largest_change=change)

    def finish(self, **facts: Any) -> None:
        """Answers with what was found out."""
        self._answer(facts)

    def _answer(self, facts: dict[str, Any]) -> None:
        print(json.dumps(facts), file=self._answers, flush=True)

    def _listen(self) -> bool:
        command, *count = (sys.stdin.readline() or "end").split()
        self._seconds, self._wanted = [], int(count[0]) if count else 0
        return command == "run"
