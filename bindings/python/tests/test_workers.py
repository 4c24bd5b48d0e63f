"""Whether this process is one of several workers, and what it says then."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from mavera_rl import Limiter, ManualClock, _workers
from mavera_rl._workers import (
    PrivateLimiterWarning,
    Watch,
    is_one_of_several,
    warn_private,
)
from mavera_rl.asgi import RateLimitMiddleware

MASTER, ME, OTHER = 10, 11, 12
PYTHON = "/usr/bin/python3"
SPAWN = "python3 -c spawn_main(tracker_fd=5, pipe_handle={}) --multiprocessing-fork"
TRACKER = "python3 -c from multiprocessing.resource_tracker import main;main(4)"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_workers, "_warned", {})
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)


class Proc:
    """A /proc with a master and its children."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.children: list[int] = []
        self.process(MASTER, command="server master")

    def process(self, pid: int, *, exe: str = PYTHON, command: str) -> None:
        here = self.root / str(pid)
        here.mkdir()
        (here / "exe").symlink_to(exe)
        (here / "cmdline").write_bytes(command.replace(" ", "\0").encode())

    def child(self, pid: int, *, exe: str = PYTHON, command: str = "worker") -> None:
        self.process(pid, exe=exe, command=command)
        self.children.append(pid)
        task = self.root / str(MASTER) / "task" / str(MASTER)
        task.mkdir(parents=True, exist_ok=True)
        (task / "children").write_text("".join(f"{c} " for c in self.children))

    @property
    def several(self) -> bool:
        return is_one_of_several(ME, MASTER, str(self.root))


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def test_a_sibling_with_the_same_command_is_another_worker(proc: Proc) -> None:
    proc.child(ME)
    assert not proc.several
    proc.child(OTHER)
    assert proc.several


def test_numbers_in_the_command_make_no_difference(proc: Proc) -> None:
    proc.child(ME, command=SPAWN.format(7))
    proc.child(OTHER, command=SPAWN.format(11))
    assert proc.several


def test_a_helper_process_is_no_worker(proc: Proc) -> None:
    proc.child(ME, command=SPAWN.format(7))
    proc.child(OTHER, command=TRACKER)
    assert not proc.several


def test_the_children_of_a_shell_have_nothing_to_do_with_each_other(
    proc: Proc,
) -> None:
    proc.child(ME)
    proc.child(OTHER)
    (proc.root / str(MASTER) / "exe").unlink()
    (proc.root / str(MASTER) / "exe").symlink_to("/bin/bash")
    assert not proc.several


def test_another_executable_is_no_worker(proc: Proc) -> None:
    proc.child(ME)
    proc.child(OTHER, exe="/usr/bin/python3.9")
    assert not proc.several


def test_children_of_any_thread_of_the_master_count(proc: Proc) -> None:
    proc.child(ME)
    proc.process(OTHER, command="worker")
    thread = proc.root / str(MASTER) / "task" / "99"
    thread.mkdir()
    (thread / "children").write_text(f"{OTHER} ")
    assert proc.several


def test_a_sibling_that_has_ended_is_passed_over(proc: Proc) -> None:
    proc.child(ME)
    proc.child(OTHER)
    (proc.root / str(OTHER) / "cmdline").unlink()
    assert not proc.several
    proc.child(13)
    assert proc.several


def test_a_proc_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    assert not is_one_of_several(ME, MASTER, str(tmp_path))
    assert not is_one_of_several(ME, MASTER, str(tmp_path / "none"))


def test_a_test_runners_workers_are_none(
    proc: Proc, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc.child(ME)
    proc.child(OTHER)
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    assert not proc.several


def test_this_process_is_alone() -> None:
    assert not is_one_of_several()


# The warning.


def private() -> Limiter:
    return Limiter(clock=ManualClock(), tier="starter", keys=64)


def test_it_warns_once_with_the_remedy(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.warns(PrivateLimiterWarning, match=r'Limiter\("/dev/shm/NAME"\)'):
        warn_private(private())
    warn_private(private())
    assert [(r.name, r.levelno) for r in caplog.records] == [
        ("mavera_rl", logging.WARNING)
    ]


def test_a_shared_limiter_and_a_disabled_one_are_no_reason(tmp_path: Path) -> None:
    shared = Limiter(tmp_path / "region", keys=64, clock=ManualClock())
    for limiter in (shared, Limiter(enabled=False)):
        warn_private(limiter)
        assert Watch.over(limiter) is None
    assert not _workers._warned


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="fork warns")
def test_a_forked_child_warns_for_itself() -> None:
    with pytest.warns(PrivateLimiterWarning):
        warn_private(private())
    with warnings.catch_warnings():
        # Python warns of a fork in a process with threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        try:
            warn_private(private())
        except PrivateLimiterWarning:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """At which request of a :class:`Watch` it looked."""
    found: list[int] = []

    def alone() -> bool:
        found.append(0)
        return False

    monkeypatch.setattr(_workers, "is_one_of_several", alone)
    return found


def test_it_looks_more_and_more_rarely(looks: list[int]) -> None:
    watch = Watch(private())
    at: list[int] = []
    requests = 0
    going = True
    while going:
        requests += 1
        before = len(looks)
        going = watch.request()
        if len(looks) > before:
            at.append(requests)
    assert at == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
    assert requests == 1024


def test_a_middleware_warns_at_a_request_and_stops_looking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[int] = []

    def several() -> bool:
        looked.append(0)
        # The second worker starts after the first request.
        return len(looked) == 2

    monkeypatch.setattr(_workers, "is_one_of_several", several)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    limited = RateLimitMiddleware(app, private())
    scope = {"type": "http", "path": "/", "headers": [(b"x-api-key", b"k")]}

    def request() -> None:
        async def unused(*message: Any) -> Any:
            raise AssertionError

        async def run() -> None:
            await limited(dict(scope), unused, unused)

        asyncio.run(run())

    request()
    with pytest.warns(PrivateLimiterWarning):
        request()
    for _ in range(8):
        request()
    assert len(looked) == 2
