"""llama.cpp's side of `benchmarks.generate`: one row, with the weights as the file holds them.

Runs in an environment of its own; see `benchmarks/make_peers.sh`.
"""

import itertools
import os

from llama_cpp import Llama

from benchmarks.model_worker import given, serve_generation
from benchmarks.rl_iteration_worker import Worker, versions


def main() -> None:
    """Serves the work that is given."""
    worker, (work, threads) = Worker(), given()
    threads = threads or len(os.sched_getaffinity(0))
    model = Llama(
        work.weights,
        n_ctx=work.length + work.new_tokens,
        n_threads=threads,
        n_threads_batch=threads,
        verbose=False,
    )
    (prompt,) = work.tokens

    def generate(count: int) -> list[list[int]]:
        model.reset()
        drawn = model.generate(prompt, temp=0.0, repeat_penalty=1.0)
        return [list(itertools.islice(drawn, count))]

    serve_generation(
        worker, generate, work.new_tokens, threads=threads, versions=versions("llama-cpp-python")
    )


if __name__ == "__main__":
    main()
