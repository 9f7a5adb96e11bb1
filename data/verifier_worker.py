"""The program of one worker of `data.verifier_pool`: scores a sample at a time until it is killed.

It is started by its path in a fresh interpreter, so that nothing is imported but what the verifier
needs. The pool's first message says from where.
"""

import contextlib
import pickle
import signal
import sys
from multiprocessing.connection import Connection
from numbers import Real
from typing import Any

MAX_MESSAGE = 200  # characters of a reason


def serve(pool: Connection) -> None:
    """Answers the pool: first that it is ready, or why not; then one outcome for each sample."""
    path, verifier, longest = pickle.loads(pool.recv_bytes())
    sys.path[:] = path
    try:
        verifier = pickle.loads(verifier)
        getattr(verifier, "prepare", lambda: None)()
    except BaseException as error:
        pool.send(_reason(error))
        return
    pool.send(None)
    while True:
        sample = pool.recv_bytes()
        # A worker that outlives its pool in the middle of a sample ends by this alarm.
        signal.setitimer(signal.ITIMER_REAL, longest)
        outcome = _scored(verifier, sample)
        signal.setitimer(signal.ITIMER_REAL, 0)
        pool.send(outcome)


def _scored(verifier: Any, sample: bytes) -> tuple[float | None, str]:
    """Returns a reward, or None and the reason why there is none."""
    try:
        reward = verifier(*pickle.loads(sample))
        if isinstance(reward, Real) and 0 <= float(reward) <= 1:  # so it is no NaN either
            return float(reward), ""
        return None, f"the reward is {reward!r}, not a number in [0, 1]"[:MAX_MESSAGE]
    except BaseException as error:  # one that wants to end the process, too
        return None, _reason(error)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:MAX_MESSAGE]


if __name__ == "__main__":
    with Connection(int(sys.argv[1])) as connection, contextlib.suppress(EOFError, BrokenPipeError):
        serve(connection)
