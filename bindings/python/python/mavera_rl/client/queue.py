"""A fair queue before one key of a rate-limited API, for threads.

No thread of its own: the caller at the head waits for the instant its turn
comes, all others wait for it to leave. Whoever leaves, in whatever way, wakes
the next.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from .errors import QueueTimeout
from .ledger import Ledger
from .monitor import Monitor
from .pace import Answer, Slot, read_answer

__all__ = ["Queue"]


def wait_on(condition: threading.Condition, seconds: float | None) -> None:
    """Wait until notified, or for at most so many seconds."""
    condition.wait(seconds)


class _Waiter:
    __slots__ = ("condition", "deadline", "patience")

    def __init__(
        self,
        lock: threading.Lock,
        deadline: float | None,
        patience: float | None,
    ) -> None:
        self.condition = threading.Condition(lock)
        self.deadline = deadline
        self.patience = patience


class Queue:
    """Lets requests of one key go, in order, each as soon as it may.

    ``limit``, ``window``, ``max_in_flight``, ``margin``: see ``Ledger``.
    ``clock``: monotonic seconds. ``wall``: Unix seconds. ``wait``: waits on a
    condition for at most so many seconds, or until notified if None.

    Thread-safe. Not to be used on both sides of a fork.
    """

    def __init__(
        self,
        limit: int | None = None,
        window: float = 60.0,
        *,
        max_in_flight: int | None = None,
        margin: float = 0.0,
        monitor: Monitor | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        wait: Callable[[threading.Condition, float | None], object] = wait_on,
    ) -> None:
        self._ledger = Ledger(limit, window, max_in_flight=max_in_flight, margin=margin)
        self.monitor = Monitor() if monitor is None else monitor
        """What the server last told."""
        self._clock = clock
        self._wall = wall
        self._wait = wait
        self._lock = threading.Lock()
        self._waiters: deque[_Waiter] = deque()

    @property
    def in_flight(self) -> int:
        """Slots taken and not given back."""
        with self._lock:
            return self._ledger.in_flight

    @property
    def waiting(self) -> int:
        """Callers waiting for their turn."""
        with self._lock:
            return len(self._waiters)

    @property
    def limit(self) -> int | None:
        """Requests per window, as configured or as the server last told."""
        with self._lock:
            return self._ledger.limit

    def pause(self, seconds: float) -> None:
        """Let nobody go for so many seconds. A pause is never shortened."""
        with self._lock:
            self._ledger.pause(self._clock() + seconds)
            self._wake_all()

    def owes(self) -> bool:
        """Whether this queue holds anything worth remembering."""
        with self._lock:
            return bool(self._waiters) or self._ledger.owes(self._clock())

    def slot(
        self,
        timeout: float | None = None,
        *,
        patience: float | None = None,
        front: bool = False,
    ) -> Slot:
        """Wait for the turn and take it. Use as ``with queue.slot() as slot``.

        ``timeout``: most seconds to wait; None: as long as it takes.
        ``patience``: longest pause to wait out, in seconds. ``front``: before
        all others, for a request that had its turn and was sent back.

        Raises ``QueueTimeout`` when the time is over, or at once when it is
        sure that the turn cannot come in time.
        """
        with self._lock:
            deadline = None if timeout is None else self._clock() + timeout
            waiter = _Waiter(self._lock, deadline, patience)
            if front:
                self._waiters.appendleft(waiter)
            else:
                self._waiters.append(waiter)
            try:
                return Slot(self, self._take(waiter))
            finally:
                self._waiters.remove(waiter)
                self._wake_next()

    def _take(self, waiter: _Waiter) -> int:
        ledger = self._ledger
        while True:
            now = self._clock()
            head = self._waiters[0] is waiter
            ready = ledger.ready_at(now)
            if head and ready is not None and ready <= now:
                return ledger.begin(now)
            check_patience(ledger, now, ready, waiter.deadline, waiter.patience)
            until = waiter.deadline
            if head and ready is not None:
                until = ready if until is None else min(ready, until)
            self._wait(waiter.condition, None if until is None else until - now)

    def answer_slot(
        self, ticket: int, headers: Mapping[str, str], status: int
    ) -> Answer:
        """For ``Slot``."""
        wall = self._wall()
        answer = read_answer(headers, status, wall)
        with self._lock:
            now = self._clock()
            self._ledger.finish(ticket, now, answer.quota, refused=answer.refused)
            if answer.pause is not None:
                self._ledger.pause(now + answer.pause)
                self._wake_all()
            self._wake_next()
        self.monitor.update(answer.quota, wall)
        return answer

    def cancel_slot(self, ticket: int) -> None:
        """For ``Slot``."""
        with self._lock:
            self._ledger.cancel(ticket)
            self._wake_next()

    def close_slot(self, ticket: int) -> None:
        """For ``Slot``."""
        with self._lock:
            self._ledger.finish(ticket, self._clock())
            self._ledger.release(ticket)
            self._wake_next()

    def _wake_next(self) -> None:
        if self._waiters:
            self._waiters[0].condition.notify()

    def _wake_all(self) -> None:
        for waiter in self._waiters:
            waiter.condition.notify()


def check_patience(
    ledger: Ledger,
    now: float,
    ready: float | None,
    deadline: float | None,
    patience: float | None,
) -> None:
    """Raise ``QueueTimeout`` if the turn is, or will surely be, too late."""
    paused = ledger.not_before - now
    if patience is not None and paused > patience:
        raise QueueTimeout(
            f"the server asked for a pause of another {paused:.3f} s", paused
        )
    if deadline is None:
        return
    if now >= deadline:
        raise QueueTimeout("the turn did not come in time")
    # While a request is open its answer may bring the turn forward. A pause
    # is never shortened.
    settled = ledger.not_before
    if ready is not None and ledger.unanswered == 0:
        settled = max(settled, ready)
    if settled > deadline:
        raise QueueTimeout(f"the turn comes in {settled - now:.3f} s at the earliest")
