"""Many small messages as few large requests, for threads.

No thread of its own: the first caller of a batch leads it. It waits until the
batch is full or old enough, sends it, and hands out the answers. A leader that
leaves early hands the lead to another caller of its batch.

Several batches may be under way at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from ..errors import ClosedError
from .batch import Batch, Entry, Rules, answers_of
from .errors import BatchError, QueueTimeout
from .queue import wait_on

__all__ = ["Batcher"]

M = TypeVar("M")
R = TypeVar("R")


class _Shared(Generic[M, R]):
    """A batch and the condition its callers wait on."""

    def __init__(self, lock: threading.Lock, born: float) -> None:
        self.batch: Batch[M, R] = Batch()
        self.changed = threading.Condition(lock)
        self.born = born
        self.due = False
        self.taken = False


class Batcher(Generic[M, R]):
    """Collects messages and sends them together.

    ``send`` gets a list of messages and returns as many answers, in order. An
    answer that is an ``Exception`` is raised to its caller alone; what ``send``
    raises is raised to all callers of that batch. ``max_count``: most messages
    of a batch, >= 1. ``max_size``: most ``size`` of a batch in all, > 0, or
    None; a message that alone exceeds it is sent alone, for only the receiver
    knows whether it is too large. ``max_age``: seconds, >= 0, that the first
    message of a batch waits for others.

    ``clock`` (monotonic seconds) and ``wait`` (see ``Queue``) are there for
    tests. Thread-safe.
    """

    def __init__(
        self,
        send: Callable[[list[M]], Sequence[R | Exception]],
        max_count: int = 20,
        max_size: int | None = None,
        size: Callable[[M], int] = cast("Callable[[Any], int]", len),
        max_age: float = 0.05,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Condition, float | None], object] = wait_on,
    ) -> None:
        self._rules = Rules(max_count, max_size, size, max_age)
        self._send = send
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._open: _Shared[M, R] | None = None
        self._under_way = 0
        self._closed = False

    def submit(self, message: M, timeout: float | None = None) -> R:
        """Send a message with others and return its own answer.

        ``timeout``: most seconds to wait for it; a message whose batch was not
        sent by then is withdrawn. ``send`` itself is not interrupted, so a
        caller that leads may wait longer.

        Raises what its answer is, or what ``send`` raised; ``QueueTimeout``;
        ``BatchError`` if the answers do not fit; ``ClosedError``.
        """
        size = self._rules.measure(message)
        with self._lock:
            if self._closed:
                raise ClosedError("the batcher is closed")
            deadline = None if timeout is None else self._clock() + timeout
            shared = self._place(size)
            entry: Entry[M, R] = Entry(message, size)
            shared.batch.add(entry)
            if self._rules.full(shared.batch):
                self._seal(shared)
            try:
                leads = self._await_lead(shared, entry, deadline)
            except BaseException:
                # Not sent yet: nobody will miss the message.
                if not shared.taken:
                    self._withdraw(shared, entry)
                raise
            if leads:
                shared.taken = True
                self._seal(shared)
        if leads:
            self._deliver(shared)
        return entry.result()

    def close(self) -> None:
        """Send what waits, and wait until all is sent. Idempotent."""
        with self._lock:
            self._closed = True
            if self._open is not None:
                self._seal(self._open)
            while self._under_way:
                self._idle.wait()

    def __enter__(self) -> Batcher[M, R]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _place(self, size: int) -> _Shared[M, R]:
        shared = self._open
        if shared is not None and not self._rules.fits(shared.batch, size):
            self._seal(shared)
            shared = None
        if shared is None:
            shared = self._open = _Shared(self._lock, self._clock())
            self._under_way += 1
        return shared

    def _seal(self, shared: _Shared[M, R]) -> None:
        shared.due = True
        if self._open is shared:
            self._open = None
        shared.changed.notify_all()

    def _await_lead(
        self,
        shared: _Shared[M, R],
        entry: Entry[M, R],
        deadline: float | None,
    ) -> bool:
        """True: this caller sends. False: its answer is here."""
        while not entry.done:
            now = self._clock()
            leads = not shared.taken and shared.batch.entries[0] is entry
            due = shared.born + self._rules.max_age
            if leads and (shared.due or now >= due):
                return True
            if deadline is not None and now >= deadline:
                raise QueueTimeout("the answer did not come in time")
            until = deadline
            if leads:
                until = due if until is None else min(due, until)
            self._wait(shared.changed, None if until is None else until - now)
        return False

    def _withdraw(self, shared: _Shared[M, R], entry: Entry[M, R]) -> None:
        shared.batch.remove(entry)
        if shared.batch.entries:
            shared.changed.notify_all()
            return
        if self._open is shared:
            self._open = None
        self._ended()

    def _ended(self) -> None:
        self._under_way -= 1
        self._idle.notify_all()

    def _deliver(self, shared: _Shared[M, R]) -> None:
        entries = shared.batch.entries
        outcomes: Sequence[R | Exception] = [
            BatchError("the sender of the batch was interrupted") for _ in entries
        ]
        try:
            outcomes = answers_of(
                self._send([entry.message for entry in entries]), len(entries)
            )
        except Exception as error:
            outcomes = [error] * len(entries)
        finally:
            with self._lock:
                for entry, outcome in zip(entries, outcomes, strict=True):
                    entry.settle(outcome)
                shared.changed.notify_all()
                self._ended()
