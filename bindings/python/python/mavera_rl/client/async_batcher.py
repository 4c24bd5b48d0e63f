"""Many small messages as few large requests, for asyncio.

Each batch is sent by a task of its own, so that a cancelled caller does not
take the messages of the others with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from ..errors import ClosedError
from .batch import Batch, Entry, Rules, answers_of
from .errors import BatchError, WrongLoopError

__all__ = ["AsyncBatcher"]

M = TypeVar("M")
R = TypeVar("R")


class AsyncBatcher(Generic[M, R]):
    """``Batcher`` for asyncio: ``answer = await batcher.submit(message)``.

    The same options; ``send`` is a coroutine function, time is the loop's. A
    cancelled caller's message is withdrawn if its batch was not sent yet.

    Belongs to the event loop it is first used in; from any other it raises
    ``WrongLoopError``. Not thread-safe.
    """

    def __init__(
        self,
        send: Callable[[list[M]], Awaitable[Sequence[R | Exception]]],
        max_count: int = 20,
        max_size: int | None = None,
        size: Callable[[M], int] = cast("Callable[[Any], int]", len),
        max_age: float = 0.05,
    ) -> None:
        self._rules = Rules(max_count, max_size, size, max_age)
        self._send = send
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open: Batch[M, R] | None = None
        self._futures: dict[Entry[M, R], asyncio.Future[R]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def submit(self, message: M) -> R:
        """Send a message with others and return its own answer.

        Raises what its answer is, or what ``send`` raised; ``BatchError`` if
        the answers do not fit; ``ClosedError``.
        """
        loop = self._bind()
        if self._closed:
            raise ClosedError("the batcher is closed")
        size = self._rules.measure(message)
        batch = self._open
        if batch is not None and not self._rules.fits(batch, size):
            self._flush()
            batch = None
        if batch is None:
            batch = self._open = Batch()
            self._timer = loop.call_later(self._rules.max_age, self._flush)
        entry: Entry[M, R] = Entry(message, size)
        batch.add(entry)
        future: asyncio.Future[R] = loop.create_future()
        self._futures[entry] = future
        if self._rules.full(batch):
            self._flush()
        try:
            return await future
        finally:
            del self._futures[entry]
            if batch is self._open and not entry.done:
                self._withdraw(batch, entry)

    async def aclose(self) -> None:
        """Send what waits, and wait until all is sent. Idempotent."""
        self._bind()
        self._closed = True
        self._flush()
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def __aenter__(self) -> AsyncBatcher[M, R]:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

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

    def _withdraw(self, batch: Batch[M, R], entry: Entry[M, R]) -> None:
        batch.remove(entry)
        if not batch.entries:
            self._open = None
            self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        self._stop_timer()
        batch, self._open = self._open, None
        if batch is None:
            return
        task = self._bind().create_task(self._deliver(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, batch: Batch[M, R]) -> None:
        entries = batch.entries
        outcomes: Sequence[R | Exception] = [
            BatchError("the sender of the batch was interrupted") for _ in entries
        ]
        try:
            outcomes = answers_of(
                await self._send([entry.message for entry in entries]),
                len(entries),
            )
        except Exception as error:
            outcomes = [error] * len(entries)
        finally:
            for entry, outcome in zip(entries, outcomes, strict=True):
                self._settle(entry, outcome)

    def _settle(self, entry: Entry[M, R], outcome: R | Exception) -> None:
        future = self._futures.get(entry)
        if future is None or future.done():
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
