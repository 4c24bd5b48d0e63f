"""Several processes on one region: fork, spawn, kill."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mavera_rl import ConcurrencyLimited, Limiter
from spender import spend

VIDEO = "/video-analyses"
METHODS = ["fork", "spawn", "forkserver"]


@pytest.mark.parametrize("method", METHODS)
def test_processes_spend_exactly_the_limit(path: Path, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    limiter = Limiter(path, keys=100)
    pipes, processes = [], []
    for _ in range(3):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=spend, args=(path, 300, theirs))
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    allowed = sum(pipe.recv() for pipe in pipes)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert allowed == 500 and not limiter.check("key", limit=500)


def in_child(body: Callable[[], None]) -> None:
    """Runs it in a forked child, and fails if it fails."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            body()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_limiter_opened_before_fork_works_after_it(path: Path) -> None:
    limiter = Limiter(path, keys=100)
    permit = limiter.permit("key", VIDEO, max=2)

    def child() -> None:
        assert limiter.check("key", limit=5).remaining == 3
        # The parent's permit counts, and is not the child's to give back.
        assert not permit.release()
        with limiter.permit("key", VIDEO, max=2):
            try:
                limiter.permit("key", VIDEO, max=2)
            except ConcurrencyLimited as busy:
                assert busy.in_flight == 2
        limiter.permit("key", VIDEO, max=2)

    assert limiter.check("key", limit=5).remaining == 4
    in_child(child)
    assert limiter.check("key", limit=5).remaining == 2
    assert limiter.in_flight("key", VIDEO) == 1
    assert permit.release()


def test_a_child_may_close_what_its_parent_uses(path: Path) -> None:
    limiter = Limiter(path, keys=100)
    permit = limiter.permit("key", VIDEO)
    in_child(limiter.close)
    assert limiter.check("key", limit=5) and limiter.in_flight("key", VIDEO) == 1
    assert permit.release()


HOLD = """
import sys, time
from mavera_rl import Limiter
limiter = Limiter(sys.argv[1])
held = [limiter.permit("key", "/video-analyses") for _ in range(3)]
print("held", flush=True)
time.sleep(60)
"""


def test_a_killed_processs_permits_are_free_at_once(path: Path) -> None:
    limiter = Limiter(path, keys=100)
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE
        )
        with child:
            assert child.stdout and child.stdout.readline() == b"held\n"
            with pytest.raises(ConcurrencyLimited):
                limiter.permit("key", VIDEO)
            child.send_signal(signal.SIGKILL)
        # An owner is asked after at most once in 5 ms.
        time.sleep(0.01)
        with limiter.permit("key", VIDEO):
            pass


def test_a_process_that_ends_leaves_nothing_in_flight(path: Path) -> None:
    limiter = Limiter(path, keys=100)
    # It never releases, and its interpreter never gets to drop anything.
    in_child(lambda: os._exit(0) if limiter.permit("key", VIDEO) else None)
    time.sleep(0.01)
    permits = [limiter.permit("key", VIDEO) for _ in range(3)]
    assert all(permit.release() for permit in permits)
