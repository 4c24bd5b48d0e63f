"""Warns when each worker of a server counts for itself.

A limiter without a path counts in one process. Under a server with several
workers every one of them then grants the whole limit, and nothing fails: the
limits are merely that many times too high.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from glob import glob

from ._native import Limiter

__all__ = ["PrivateLimiterWarning", "Watch", "is_one_of_several", "warn_private"]

_MESSAGE = (
    "this process may be one of several workers, but its limiter has no path: each "
    "worker counts for itself, so that the limits are as many times too high. Share "
    'one region: Limiter("/dev/shm/NAME")'
)

# Workers start within seconds of each other, and may do so after the first
# request. Later than this many requests it is not worth looking any more.
_LAST_LOOK = 1024

_log = logging.getLogger("mavera_rl")

# By process id: a child that was forked after the warning warns for itself.
_warned: dict[int, object] = {}


class PrivateLimiterWarning(UserWarning):
    """Several workers, and a limiter that each of them has for itself."""


def warn_private(limiter: Limiter) -> None:
    """Warns, once per process, that ``limiter`` is not shared by its workers.

    As :class:`PrivateLimiterWarning`, and in the log ``mavera_rl``. Does
    nothing for a limiter that has a path or is not enabled.
    """
    if limiter.path is not None or not limiter.enabled:
        return
    # One atomic step, and no lock that a fork could leave locked in the child.
    mine = object()
    if _warned.setdefault(os.getpid(), mine) is not mine:
        return
    _log.warning(_MESSAGE)
    warnings.warn(_MESSAGE, PrivateLimiterWarning, stacklevel=2)


def is_one_of_several(
    pid: int | None = None, parent: int | None = None, proc: str = "/proc"
) -> bool:
    """Whether another process looks like a worker of the same server.

    It does if it has the same parent, executable and command line, digits
    aside: spawned workers are told numbers of file descriptors. The parent
    must have that executable as well. A supervisor has; a shell, whose
    children have nothing to do with each other, has not.

    Linux only. Where ``/proc`` does not tell, as of a parent that belongs to
    another user, the answer is ``False``.
    """
    pid = os.getpid() if pid is None else pid
    parent = os.getppid() if parent is None else parent
    # The workers of pytest-xdist have all the signs.
    if "PYTEST_XDIST_WORKER" in os.environ:
        return False
    try:
        mine = _program(proc, pid)
        if os.readlink(f"{proc}/{parent}/exe") != mine[0]:
            return False
        siblings = _children(proc, parent)
    except OSError:
        return False
    for sibling in siblings:
        if sibling == pid:
            continue
        try:
            if _program(proc, sibling) == mine:
                return True
        except OSError:
            # It ended meanwhile.
            continue
    return False


def _children(proc: str, parent: int) -> list[int]:
    # A child is listed under the thread that started it.
    found: list[int] = []
    for path in glob(f"{proc}/{parent}/task/*/children"):
        with open(path, "rb") as file:
            found.extend(int(pid) for pid in file.read().split())
    return found


def _program(proc: str, pid: int) -> tuple[str, bytes]:
    with open(f"{proc}/{pid}/cmdline", "rb") as file:
        command = file.read()
    return os.readlink(f"{proc}/{pid}/exe"), re.sub(rb"[0-9]+", b"", command)


class Watch:
    """Looks for other workers at requests number 1, 2, 4, … 1024."""

    __slots__ = ("_limiter", "_next", "_seen")

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self._seen = 0
        self._next = 1

    @classmethod
    def over(cls, limiter: Limiter) -> Watch | None:
        """``None`` for a limiter that is shared, or not enabled."""
        if limiter.path is None and limiter.enabled:
            return cls(limiter)
        return None

    def request(self) -> bool:
        """Counts a request; ``False``: this is no longer needed."""
        self._seen += 1
        if self._seen < self._next:
            return True
        self._next *= 2
        if is_one_of_several():
            warn_private(self._limiter)
            return False
        return self._next <= _LAST_LOOK
