"""Runs a verifier in a fixed number of processes, with a time limit for every sample.

A verifier that raises, hangs or takes its process down costs its own sample and nothing else.
Each worker has a connection of its own and holds one sample at a time, so that the clock runs from
when the sample is handed over, and killing a worker can't harm what others share.
"""

import collections
import math
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, Self

from data.verdicts import Outcome, Verdicts, summarized
from data.verifier_process import Worker


class VerifierPool:
    """A verifier in processes of its own; use it in a `with` statement.

    A worker that takes too long is killed, one that dies is found dead, and both are replaced.
    Leaving the `with` statement, in whatever way, ends all of them. `score` may be called from any
    thread; calls take turns.

    Args:
        verifier: Called with an answer and a reference, returns a reward in [0, 1]. A function or
            an object that can be pickled, from a module that can be imported; see
            `data.verifiers`. If it has a method `prepare`, each worker calls that once, before the
            first sample.
        workers: How many processes.
        time_limit: Seconds that the verifier may take for one sample. Waiting for a worker, and
            starting one, don't count.

    Raises:
        ValueError: If the verifier can't be sent to a process or can't start there, or a number
            makes no sense.

    Example:
        >>> from data.verifiers import NumberVerifier
        >>> with VerifierPool(NumberVerifier(), workers=2, time_limit=5.0) as pool:
        ...     verdicts = pool.score(["12", "It is 1,000.", "7"], ["13", "1000", "seven"])
        >>> verdicts.rewards.tolist(), verdicts.valid.tolist()
        ([0.0, 1.0, 0.0], [True, True, False])
        >>> verdicts.messages
        ("ValueError: the reference 'seven' holds no number. (1 time)",)
    """

    def __init__(
        self, verifier: Callable[[str, Any], float], *, workers: int, time_limit: float
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}.")
        if not 0 < time_limit < math.inf:
            raise ValueError(f"time_limit must be positive and finite, got {time_limit}.")
        path = [os.path.abspath(folder) for folder in sys.path]
        self._setup = pickle.dumps((path, _pickled(verifier), 2 * time_limit + 1))
        self._size, self._limit = workers, time_limit
        self._workers: list[Worker] = []
        self._turn = threading.Lock()

    def __enter__(self) -> Self:
        try:
            for _ in range(self._size):
                self._workers.append(Worker(self._setup))
            while any(worker.starting for worker in self._workers):
                for number, worker in self._heard():
                    self._collect(number, worker)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kills all workers."""
        while self._workers:
            self._workers.pop().stop()

    def score(self, answers: Sequence[str], references: Sequence[Any]) -> Verdicts:
        """Verifies answers.

        Args:
            answers: Texts.
            references: What the verifier compares each with, in the same order.

        Returns:
            The rewards, in the same order, and what failed.

        Raises:
            ValueError: If there are not as many answers as references, the pool is closed, or a
                worker that replaces another can't start.
        """
        if len(answers) != len(references):
            raise ValueError(f"got {len(answers)} answers for {len(references)} references.")
        samples = [pickle.dumps(pair) for pair in zip(answers, references, strict=True)]
        with self._turn:
            if not self._workers:
                raise ValueError("the pool is closed; call score inside its `with` statement.")
            outcomes = self._outcomes(samples)
        return summarized([outcomes[number] for number in range(len(samples))])

    def _outcomes(self, samples: list[bytes]) -> dict[int, Outcome]:
        for number, worker in enumerate(self._workers):
            if worker.sample is not None:  # left over from a call that was interrupted
                self._replace(number)
        waiting = collections.deque(range(len(samples)))
        outcomes: dict[int, Outcome] = {}
        while len(outcomes) < len(samples):
            self._hand_out(waiting, samples)
            for number, worker in self._heard():
                sample = worker.sample
                outcome = self._collect(number, worker)
                if sample is not None and outcome is not None:
                    outcomes[sample] = outcome
        return outcomes

    def _hand_out(self, waiting: collections.deque[int], samples: list[bytes]) -> None:
        """Gives each idle worker a sample; one that died while idle is replaced instead."""
        for number, worker in enumerate(self._workers):
            if waiting and worker.idle:
                try:
                    worker.take(waiting[0], samples[waiting[0]], self._limit)
                except OSError:
                    self._replace(number)
                else:
                    waiting.popleft()

    def _heard(self) -> Iterator[tuple[int, Worker]]:
        """Waits, then yields the workers that have something to say or are late."""
        active = {number: worker for number, worker in enumerate(self._workers) if not worker.idle}
        first = min(worker.deadline for worker in active.values())
        patience = max(first - time.monotonic(), 0.0)
        heard = wait([worker.connection for worker in active.values()], patience)
        for number, worker in active.items():
            if worker.connection in heard or worker.late:
                yield number, worker

    def _collect(self, number: int, worker: Worker) -> Outcome | None:
        """Returns what became of a worker's sample; None if it was only starting.

        Raises:
            ValueError: If it can't start.
        """
        if worker.starting:
            reason = worker.started()
            if reason is not None:
                self.close()
                raise ValueError(
                    f"the verifier does not start in a process of its own: {reason}. It must come"
                    " from a module that can be imported, and so must what it needs."
                )
            return None
        outcome = worker.outcome()
        if not worker.idle:
            self._replace(number)
        return outcome

    def _replace(self, number: int) -> None:
        self._workers[number].stop()
        self._workers[number] = Worker(self._setup)


def _pickled(verifier: Callable[[str, Any], float]) -> bytes:
    try:
        return pickle.dumps(verifier)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"the verifier can't be sent to a process of its own: {error}. Make it a function or"
            " a class at the top level of a module."
        ) from error
