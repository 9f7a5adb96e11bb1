"""Verifiers in processes: what fails or hangs costs its own sample, and no process is left."""

import importlib
import math
import os
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import data.verifier_process
from data.verdicts import Outcome, summarized
from data.verifier_pool import VerifierPool
from data.verifiers import NumberVerifier

LIMIT = 1.0
PATIENCE = 60.0  # seconds that a test gives a process to end before it counts as left over


@pytest.fixture
def odd(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield importlib.import_module("odd_verifiers")
    sys.modules.pop("odd_verifiers")


@pytest.fixture
def started(monkeypatch):
    """All processes that pools start, by the order in which they do."""
    processes, start = [], subprocess.Popen

    def noted(*args, **kwargs):
        processes.append(start(*args, **kwargs))
        return processes[-1]

    monkeypatch.setattr(data.verifier_process.subprocess, "Popen", noted)
    return processes


def is_running(pid: int) -> bool:
    """Whether there is such a process, not counting one that only waits to be collected."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def ends(pid: int) -> bool:
    """Whether a process that this one can't wait for ends in time."""
    deadline = time.monotonic() + PATIENCE
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_running(pid)


def acted(odd, *answers: str, workers: int = 2):
    with VerifierPool(odd.act, workers=workers, time_limit=LIMIT) as pool:
        return pool.score(answers, [1.0] * len(answers))


def test_rewards_keep_their_order_with_more_samples_than_workers(odd, started):
    rewards = np.random.default_rng(0).random(40).astype(np.float32)
    with VerifierPool(odd.act, workers=3, time_limit=LIMIT) as pool:
        verdicts = pool.score(["good"] * 40, rewards.tolist())
    assert verdicts.rewards.dtype == np.float32
    assert verdicts.valid.dtype == bool
    assert verdicts.rewards.tolist() == rewards.tolist()
    assert verdicts.valid.all()
    assert verdicts.shares() == {"verifier/failed": 0.0, "verifier/timed_out": 0.0}
    assert verdicts.messages == ()
    assert len(started) == 3


def test_no_samples(odd):
    verdicts = acted(odd)
    assert verdicts.rewards.shape == verdicts.valid.shape == (0,)
    assert verdicts.shares() == {"verifier/failed": 0.0, "verifier/timed_out": 0.0}


@pytest.mark.parametrize("hang", ["loop", "loop in C", "sleep", "swallow"])
def test_a_hang_is_killed_and_the_others_are_scored(odd, started, hang):
    verdicts = acted(odd, "good", hang, *["good"] * 6)
    assert verdicts.valid.tolist() == [True, False] + [True] * 6
    assert verdicts.rewards.tolist() == [1, 0, 1, 1, 1, 1, 1, 1]
    assert (verdicts.failed, verdicts.timed_out) == (0, 1)
    assert verdicts.messages == ("no reward within 1 s (1 time)",)
    assert verdicts.shares() == {"verifier/failed": 0.0, "verifier/timed_out": 0.125}
    assert len(started) == 3  # one was replaced


@pytest.mark.parametrize(
    ("answer", "reference", "message"),
    [
        ("divide", 1.0, "ZeroDivisionError: division by zero"),
        ("unspeakable", 1.0, "Unspeakable: no words"),
        ("leave", 1.0, "SystemExit: 0"),
        ("exit", 1.0, "its process ended with code 3"),
        ("crash", 1.0, "its process ended by SIGSEGV"),
        ("nothing", 1.0, "the reward is None, not a number in [0, 1]"),
        ("good", math.nan, "the reward is nan, not a number in [0, 1]"),
        ("good", math.inf, "the reward is inf, not a number in [0, 1]"),
        ("good", -0.1, "the reward is -0.1, not a number in [0, 1]"),
        ("good", 1.5, "the reward is 1.5, not a number in [0, 1]"),
        ("good", "1.0", "the reward is '1.0', not a number in [0, 1]"),
        ("good", "x" * 1000, "the reward is 'xxx"),
    ],
)
def test_a_failure_is_counted_and_masked(odd, answer, reference, message):
    with VerifierPool(odd.act, workers=2, time_limit=LIMIT) as pool:
        answers = ["good", answer, "good", answer, "good"]
        verdicts = pool.score(answers, [0.5, reference, 0.25, reference, 1.0])
    assert verdicts.rewards.tolist() == [0.5, 0.0, 0.25, 0.0, 1.0]
    assert verdicts.valid.tolist() == [True, False, True, False, True]
    assert (verdicts.failed, verdicts.timed_out) == (2, 0)
    assert verdicts.shares() == {"verifier/failed": 0.4, "verifier/timed_out": 0.0}
    assert verdicts.messages[0].startswith(message)
    assert verdicts.messages[0].endswith("(2 times)")
    assert len(verdicts.messages[0]) <= 210


def test_numbers_of_any_kind_are_rewards(odd):
    values = [True, 1, Fraction(1, 4), np.float32(0.5), np.float64(0.75), np.int64(0), 0]
    with VerifierPool(odd.act, workers=1, time_limit=LIMIT) as pool:
        verdicts = pool.score(["good"] * 7, values)
    assert verdicts.rewards.tolist() == [1.0, 1.0, 0.25, 0.5, 0.75, 0.0, 0.0]
    assert verdicts.valid.all()


def test_one_worker_survives_everything(odd):
    """Most bad samples take the only worker down; none may take the pool or a good sample."""
    bad = ["exit", "sleep", "crash", "exit", "divide", "exit"]
    answers = [answer for each in bad for answer in (each, "good")]
    verdicts = acted(odd, *answers, workers=1)
    assert verdicts.valid.tolist() == [False, True] * 6
    assert verdicts.rewards.tolist() == [0.0, 1.0] * 6
    assert (verdicts.failed, verdicts.timed_out) == (5, 1)
    assert verdicts.messages == (
        "its process ended with code 3 (3 times)",
        "no reward within 1 s (1 time)",
        "its process ended by SIGSEGV (1 time)",
        "ZeroDivisionError: division by zero (1 time)",
    )


def test_calls_after_a_hang(odd):
    with VerifierPool(odd.act, workers=2, time_limit=LIMIT) as pool:
        for answers in (["loop"] * 2, ["good"] * 5, ["good", "sleep"], ["good"]):
            verdicts = pool.score(answers, [1.0] * len(answers))
            assert verdicts.valid.tolist() == [answer == "good" for answer in answers]


def test_workers_are_kept_and_used(odd, started):
    with VerifierPool(odd.process, workers=2, time_limit=LIMIT) as pool:
        seen = {reward for _ in range(5) for reward in pool.score([""] * 20, [""] * 20).rewards}
    assert seen <= {process.pid % 2**20 / 2**20 for process in started}
    assert len(started) == 2


def test_a_worker_that_died_between_calls_is_replaced(odd, started):
    with VerifierPool(odd.act, workers=2, time_limit=LIMIT) as pool:
        for process in started[:2]:
            process.kill()
            process.wait()
        verdicts = pool.score(["good"] * 4, [1.0] * 4)
    assert verdicts.valid.all()


def test_the_limit_leaves_out_the_start_and_the_wait(odd):
    """Preparing takes longer than the limit, and so do all samples of one worker together."""
    with VerifierPool(odd.Prepared(), workers=1, time_limit=LIMIT) as pool:
        verdicts = pool.score([""] * 5, [0.3] * 5)
    assert verdicts.rewards.tolist() == [1.0] * 5
    assert verdicts.valid.all()


def test_processes_end_with_the_pool(odd, started):
    with VerifierPool(odd.act, workers=3, time_limit=LIMIT) as pool:
        pool.score(["loop", "good", "exit"], [1.0] * 3)
    assert len(started) == 5
    assert [process.returncode is None for process in started] == [False] * 5


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_processes_end_with_an_error_in_the_statement(odd, started, error):
    with pytest.raises(error), VerifierPool(odd.act, workers=2, time_limit=LIMIT):
        raise error
    assert [process.returncode is None for process in started] == [False] * 2


def interrupting(*, after: int):
    """Returns `wait` as it is interrupted at the keyboard in its `after`-th call."""
    wait, calls = data.verifier_pool.wait, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == after:
            raise KeyboardInterrupt
        return wait(*args)

    return interrupted


def test_an_interrupted_call_leaves_no_process(odd, started, monkeypatch):
    with (
        pytest.raises(KeyboardInterrupt),
        VerifierPool(odd.act, workers=2, time_limit=LIMIT) as pool,
    ):
        monkeypatch.setattr("data.verifier_pool.wait", interrupting(after=1))
        pool.score(["loop"] * 4, [1.0] * 4)
    assert [process.returncode is None for process in started] == [False] * 2


def test_an_interrupted_start_leaves_no_process(odd, started, monkeypatch):
    monkeypatch.setattr("data.verifier_pool.wait", interrupting(after=1))
    with (
        pytest.raises(KeyboardInterrupt),
        VerifierPool(odd.act, workers=2, time_limit=LIMIT),
    ):
        pytest.fail("never entered")
    assert [process.returncode is None for process in started] == [False] * 2


def test_an_interrupted_call_leaves_nothing_to_the_next(odd, monkeypatch):
    with VerifierPool(odd.act, workers=2, time_limit=LIMIT) as pool:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("data.verifier_pool.wait", interrupting(after=2))
            pool.score(["good"] * 4, [1.0] * 4)
        assert pool.score(["good"] * 4, [0.25] * 4).rewards.tolist() == [0.25] * 4


def test_what_a_verifier_started_is_killed_with_it(odd, tmp_path):
    with VerifierPool(odd.child, workers=1, time_limit=LIMIT) as pool:
        verdicts = pool.score([""], [str(tmp_path / "pid")])
    assert verdicts.timed_out == 1
    assert ends(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("answer", ["good", "sleep", "loop in C"])
def test_workers_end_when_the_main_program_is_killed(odd, answer):
    """Idle ones find their connection closed, busy ones end by their alarm."""
    code = f"""
import os, signal, sys, threading
sys.path[:] = {sys.path!r}
import odd_verifiers
from data.verifier_pool import VerifierPool
with VerifierPool(odd_verifiers.act, workers=2, time_limit=0.5) as pool:
    pids = [worker._process.pid for worker in pool._workers]
    if {answer!r} != "good":
        threading.Thread(target=pool.score, args=([{answer!r}] * 2, [1.0] * 2), daemon=True).start()
        while any(worker.idle for worker in pool._workers):
            pass
    print(*pids, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    pids = [int(pid) for pid in ended.stdout.split()]
    assert len(pids) == 2, ended.stderr
    assert [ends(pid) for pid in pids] == [True, True]


def test_calls_of_several_threads_take_turns(odd):
    found = {}
    with VerifierPool(odd.act, workers=2, time_limit=LIMIT) as pool:

        def score(reward):
            found[reward] = pool.score(["good"] * 20, [reward] * 20).rewards.tolist()

        threads = [threading.Thread(target=score, args=(reward,)) for reward in (0.25, 0.5, 0.75)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {reward: [reward] * 20 for reward in (0.25, 0.5, 0.75)}


@pytest.mark.parametrize("module", ["jax", "numpy", "tensorflow_datasets", "pytest", "sympy"])
def test_workers_import_only_what_the_verifier_needs(odd, module):
    with VerifierPool(odd.modules, workers=1, time_limit=LIMIT) as pool:
        verdicts = pool.score(["", ""], [module, "os"])
    assert verdicts.rewards.tolist() == [0.0, 1.0]


def test_number_verifier_in_a_pool():
    with VerifierPool(NumberVerifier(), workers=2, time_limit=LIMIT) as pool:
        verdicts = pool.score(["It is 5.", "no idea", "7"], ["5", "5", "seven"])
    assert verdicts.rewards.tolist() == [1.0, 0.0, 0.0]
    assert verdicts.valid.tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("verifier", "settings", "message"),
    [
        (NumberVerifier(), {"workers": 0}, "workers must be at least 1, got 0"),
        (NumberVerifier(), {"time_limit": 0.0}, "time_limit must be positive and finite, got 0.0"),
        (NumberVerifier(), {"time_limit": math.inf}, "positive and finite, got inf"),
        (NumberVerifier(), {"time_limit": math.nan}, "positive and finite, got nan"),
        (lambda answer, reference: 1.0, {}, "can't be sent to a process of its own: .* top level"),
    ],
)
def test_settings_that_make_no_sense(verifier, settings, message):
    with pytest.raises(ValueError, match=message):
        VerifierPool(verifier, **{"workers": 1, "time_limit": LIMIT} | settings)


@pytest.mark.parametrize(
    ("how", "message"),
    [("divide", "ZeroDivisionError: division by zero"), ("exit", "its process ended with code 3")],
)
def test_a_verifier_that_does_not_start(odd, started, how, message):
    with (
        pytest.raises(ValueError, match=f"does not start in a process of its own: {message}"),
        VerifierPool(odd.Unprepared(how), workers=2, time_limit=LIMIT),
    ):
        pytest.fail("never entered")
    assert [process.returncode is None for process in started] == [False] * 2


def test_a_verifier_that_never_gets_ready(odd, started, monkeypatch):
    monkeypatch.setattr("data.verifier_process.START_LIMIT", 0.5)
    with (
        pytest.raises(ValueError, match=r"it was not ready after 0\.5 s"),
        VerifierPool(odd.Unprepared("sleep"), workers=1, time_limit=LIMIT),
    ):
        pytest.fail("never entered")
    assert started[0].returncode is not None


def test_a_verifier_that_workers_cannot_import(odd, monkeypatch):
    here = os.path.dirname(__file__)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != here])
    pool = VerifierPool(odd.act, workers=1, time_limit=LIMIT)
    with pytest.raises(ValueError, match="ModuleNotFoundError: No module named 'odd_verifiers'"):
        pool.__enter__()


def test_calls_that_make_no_sense(odd):
    pool = VerifierPool(odd.act, workers=1, time_limit=LIMIT)
    with pytest.raises(ValueError, match="the pool is closed; call score inside its `with`"):
        pool.score([], [])
    with pool, pytest.raises(ValueError, match="got 1 answers for 2 references"):
        pool.score(["1"], ["1", "2"])
    with pytest.raises(ValueError, match="the pool is closed"):
        pool.score([], [])


def test_messages_are_a_few():
    reasons = ["a", "b", "a", "c", "d", "e", "f"]
    verdicts = summarized([Outcome(None, reason) for reason in reasons])
    assert verdicts.failed == 7
    assert verdicts.messages == (
        "a (2 times)",
        "b (1 time)",
        "c (1 time)",
        "d (1 time)",
        "e (1 time)",
    )
