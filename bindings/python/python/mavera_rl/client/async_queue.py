"""A fair queue before one key of a rate-limited API, for asyncio.

No task of its own: a timer of the loop fires at the instant the caller at the
head may go. Time is the loop's own, ``loop.time()``.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from types import TracebackType

from .errors import QueueTimeout, WrongLoopError
from .ledger import Ledger
from .monitor import Monitor
from .pace import Answer, Slot, read_answer
from .queue import check_patience

__all__ = ["AsyncQueue", "Turn"]


class _Waiter:
    __slots__ = ("deadline", "future", "patience", "queued")

    def __init__(
        self,
        future: asyncio.Future[int],
        deadline: float | None,
        patience: float | None,
    ) -> None:
        self.future = future
        self.deadline = deadline
        self.patience = patience
        self.queued = True


class Turn:
    """``async with queue.slot() as slot``, or ``slot = await queue.slot()``."""

    __slots__ = ("_front", "_patience", "_queue", "_slot", "_timeout")

    def __init__(
        self,
        queue: AsyncQueue,
        timeout: float | None,
        patience: float | None,
        front: bool,
    ) -> None:
        self._queue = queue
        self._timeout = timeout
        self._patience = patience
        self._front = front
        self._slot: Slot | None = None

    async def _take(self) -> Slot:
        ticket = await self._queue._take(self._timeout, self._patience, self._front)
        return Slot(self._queue, ticket)

    def __await__(self) -> Generator[object, None, Slot]:
        return self._take().__await__()

    async def __aenter__(self) -> Slot:
        self._slot = await self._take()
        return self._slot

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._slot is not None:
            self._slot.close()


class AsyncQueue:
    """Lets requests of one key go, in order, each as soon as it may.

    ``limit``, ``window``, ``max_in_flight``, ``margin``: see ``Ledger``.
    ``wall``: Unix seconds.

    Belongs to the event loop it is first used in; from any other it raises
    ``WrongLoopError``. Not thread-safe.
    """

    def __init__(
        self,
        limit: int | None = None,
        window: float = 60.0,
        *,
        max_in_flight: int | None = None,
        margin: float = 0.0,
        monitor: Monitor | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = Ledger(limit, window, max_in_flight=max_in_flight, margin=margin)
        self.monitor = Monitor() if monitor is None else monitor
        """What the server last told."""
        self._wall = wall
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiters: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def in_flight(self) -> int:
        """Slots taken and not given back."""
        return self._ledger.in_flight

    @property
    def waiting(self) -> int:
        """Callers waiting for their turn."""
        return len(self._waiters)

    @property
    def limit(self) -> int | None:
        """Requests per window, as configured or as the server last told."""
        return self._ledger.limit

    def pause(self, seconds: float) -> None:
        """Let nobody go for so many seconds. A pause is never shortened.

        To be called in the loop, as all else here.
        """
        self._ledger.pause(self._bind().time() + seconds)
        self._sweep()
        self._pump()

    def owes(self) -> bool:
        """Whether this queue holds anything worth remembering."""
        if self._loop is None:
            return False
        return bool(self._waiters) or self._ledger.owes(self._loop.time())

    def slot(
        self,
        timeout: float | None = None,
        *,
        patience: float | None = None,
        front: bool = False,
    ) -> Turn:
        """Wait for the turn and take it: ``async with queue.slot() as slot``.

        ``timeout``: most seconds to wait; None: as long as it takes.
        ``patience``: longest pause to wait out, in seconds. ``front``: before
        all others, for a request that had its turn and was sent back.

        Raises ``QueueTimeout`` when the time is over, or at once when it is
        sure that the turn cannot come in time.
        """
        return Turn(self, timeout, patience, front)

    async def _take(
        self, timeout: float | None, patience: float | None, front: bool
    ) -> int:
        loop = self._bind()
        deadline = None if timeout is None else loop.time() + timeout
        future: asyncio.Future[int] = loop.create_future()
        waiter = _Waiter(future, deadline, patience)
        if front:
            self._waiters.appendleft(waiter)
        else:
            self._waiters.append(waiter)
        self._pump()
        self._check(waiter, loop.time())
        expiry = None
        if deadline is not None and not future.done():
            expiry = loop.call_at(deadline, self._expire, waiter)
        try:
            return await future
        except BaseException:
            # The turn may have come in the same pass as the cancellation.
            came = future.done() and not future.cancelled()
            if came and future.exception() is None:
                self._ledger.cancel(future.result())
            raise
        finally:
            if expiry is not None:
                expiry.cancel()
            if waiter.queued:
                self._waiters.remove(waiter)
            self._pump()

    def answer_slot(
        self, ticket: int, headers: Mapping[str, str], status: int
    ) -> Answer:
        """For ``Slot``."""
        wall = self._wall()
        answer = read_answer(headers, status, wall)
        now = self._bind().time()
        self._ledger.finish(ticket, now, answer.quota, refused=answer.refused)
        if answer.pause is not None:
            self._ledger.pause(now + answer.pause)
            self._sweep()
        self._pump()
        self.monitor.update(answer.quota, wall)
        return answer

    def cancel_slot(self, ticket: int) -> None:
        """For ``Slot``."""
        self._ledger.cancel(ticket)
        self._pump()

    def close_slot(self, ticket: int) -> None:
        """For ``Slot``."""
        assert self._loop is not None
        self._ledger.finish(ticket, self._loop.time())
        self._ledger.release(ticket)
        self._pump()

    def _bind(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise WrongLoopError(
                "this object belongs to the event loop it was first used in; "
                "make one for each loop"
            )
        return loop

    def _pump(self) -> None:
        """Let go whoever may, and set the timer for the next."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = loop.time()
        ready = self._ledger.ready_at(now)
        while self._waiters and ready is not None and ready <= now:
            waiter = self._waiters.popleft()
            waiter.queued = False
            if not waiter.future.done():
                waiter.future.set_result(self._ledger.begin(now))
                ready = self._ledger.ready_at(now)
        if self._waiters and ready is not None:
            self._timer = loop.call_at(ready, self._pump)

    def _sweep(self) -> None:
        """Send away whoever waits in vain since the pause."""
        now = self._bind().time()
        for waiter in self._waiters:
            self._check(waiter, now)

    def _expire(self, waiter: _Waiter) -> None:
        # The timer may fire a clock tick early; the deadline is what counts.
        now = self._bind().time()
        self._check(waiter, max(now, waiter.deadline or now))

    def _check(self, waiter: _Waiter, now: float) -> None:
        if waiter.future.done():
            return
        try:
            check_patience(
                self._ledger,
                now,
                self._ledger.ready_at(now),
                waiter.deadline,
                waiter.patience,
            )
        except QueueTimeout as error:
            waiter.future.set_exception(error)
