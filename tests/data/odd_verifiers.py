"""Verifiers for the tests of the pool: what each does, the answer says.

A module of its own, and by itself on the path: a worker imports it without pytest.
"""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time

FOREVER = 3600.0


class Unspeakable(Exception):
    """Can't be sent to another process."""

    def __init__(self, first, second):
        super().__init__(lambda: (first, second))

    def __str__(self):
        return "no words"


def act(answer, reference):
    """Returns the reference, unless the answer says to do something else."""
    if answer == "loop":
        while True:
            pass
    if answer == "loop in C":
        return float(max(itertools.repeat(1)))  # no Python code runs, so no signal handler does
    if answer == "sleep":
        time.sleep(FOREVER)
    if answer == "swallow":
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(FOREVER)
    if answer == "divide":
        return 1 / 0
    if answer == "unspeakable":
        raise Unspeakable(1, 2)
    if answer == "leave":
        sys.exit(0)
    if answer == "exit":
        os._exit(3)
    if answer == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if answer == "nothing":
        return None
    return reference


def process(answer, reference):
    """Returns a number that tells processes apart, exactly in float32."""
    return os.getpid() % 2**20 / 2**20


def child(answer, reference):
    """Starts a process, writes its number to the file `reference`, and hangs."""
    started = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({FOREVER})"])
    with open(reference, "w") as file:
        file.write(str(started.pid))
    time.sleep(FOREVER)


def modules(answer, reference):
    """Tells whether a module is imported."""
    return float(reference in sys.modules)


class Prepared:
    """Takes longer to prepare than the tests give it for a sample, and its time for each."""

    ready = False

    def prepare(self):
        time.sleep(1.5)
        self.ready = True

    def __call__(self, answer, reference):
        time.sleep(reference)
        return float(self.ready)


class Unprepared:
    def __init__(self, how):
        self.how = how

    def prepare(self):
        act(self.how, None)

    def __call__(self, answer, reference):
        return 1.0
