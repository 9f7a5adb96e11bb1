"""One worker of `data.verifier_pool`, seen from the pool: a process and what it is busy with."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from data.verdicts import Outcome

PROGRAM = Path(__file__).with_name("verifier_worker.py")
START_LIMIT = 300.0  # seconds for a process to import what its verifier needs


class Worker:
    """A process of its own that scores one sample at a time.

    It is a fresh interpreter, not a fork: jax has threads, and a fork of threads may hang. Nor is
    it one of `multiprocessing`, which would import the main program, and jax with it, in each.

    Args:
        setup: What `data.verifier_worker` reads first.
    """

    def __init__(self, setup: bytes) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        with theirs:
            handle = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(PROGRAM), str(handle)],
                pass_fds=[handle],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # an interrupt at the keyboard is for the pool alone
            )
        self.starting = True
        self.sample: int | None = None
        self.deadline = time.monotonic() + START_LIMIT
        with contextlib.suppress(OSError):  # gone already; `started` tells
            self.connection.send_bytes(setup)

    @property
    def idle(self) -> bool:
        return not self.starting and self.sample is None

    @property
    def late(self) -> bool:
        return time.monotonic() >= self.deadline

    def started(self) -> str | None:
        """Takes the message that it is ready; returns why it is not, if so."""
        try:
            if not self.connection.poll():
                return f"it was not ready after {START_LIMIT:g} s"
            reason = self.connection.recv()
        except (EOFError, OSError):
            return self._ending()
        self.starting = reason is not None
        return reason

    def take(self, sample: int, content: bytes, limit: float) -> None:
        """Hands it a sample, from when its time runs.

        Raises:
            OSError: If the process has ended.
        """
        self.sample, self._limit = sample, limit
        self.deadline = time.monotonic() + limit
        self.connection.send_bytes(content)

    def outcome(self) -> Outcome:
        """Returns what became of its sample; if there is no reward for it to take, stays busy."""
        late = Outcome(None, f"no reward within {self._limit:g} s", timed_out=True)
        try:
            if not self.connection.poll():
                return late
            reward, reason = self.connection.recv()
        except (EOFError, OSError):
            return late if self.late else Outcome(None, self._ending())
        self.sample = None
        return Outcome(reward, reason)

    def stop(self) -> None:
        """Kills the process and those that it has started."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self.connection.close()

    def _ending(self) -> str:
        """Says how a process ended that closed its connection."""
        self.stop()
        code = self._process.returncode
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        return f"its process ended {how}"
