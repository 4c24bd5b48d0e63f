"""Clocks, loops and cancellations for the tests of ``mavera_rl.client``."""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any


class Clock:
    """Time that passes only when somebody waits for it."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Timed waits pass at once; the others wait to be notified."""
        if seconds is None:
            assert condition.wait(10), "nobody woke the waiter"
        else:
            self.now += seconds


class _Selector(selectors.SelectSelector):
    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("deadlock: nothing will ever happen")
            self.loop.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time jumps to the next timer."""

    def __init__(self) -> None:
        selector = _Selector()
        selector.loop = self
        self.now = 1000.0
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """``asyncio.run`` in virtual time."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class _Cancelling:
    """Runs a coroutine and cancels its task at the ``k``-th suspension.

    ``late``: the cancellation comes in the same pass as what was waited for.
    """

    def __init__(self, inner: Coroutine[Any, Any, Any], k: int, late: bool) -> None:
        self.inner = inner
        self.left = k
        self.late = late

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self.inner.__await__()
        task = asyncio.current_task()
        assert task is not None
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                waited = steps.throw(error) if error else steps.send(value)
            except StopIteration as end:
                return end.value
            self.left -= 1
            if self.left == 0:
                if self.late and waited is not None:
                    waited.add_done_callback(lambda _: task.cancel())
                else:
                    task.cancel()
            value, error = None, None
            try:
                value = yield waited
            except BaseException as thrown:
                error = thrown


def cancel_at_every_await(
    scenario: Callable[
        [], tuple[Coroutine[Any, Any, Any], Callable[[], Awaitable[None]]]
    ],
    run_with: Callable[[Coroutine[Any, Any, Any]], Any] = run,
) -> int:
    """Cancel a fresh scenario at its 1st, 2nd, … suspension until it completes.

    ``scenario`` returns what to cancel and what must hold afterwards. Returns
    how many cancellations there were.
    """
    cancellations = 0
    for late in (False, True):
        k = 0
        while True:
            k += 1

            async def main(k: int = k, late: bool = late) -> bool:
                victim, check = scenario()
                wrapped = _Cancelling(victim, k, late)

                async def body() -> None:
                    await wrapped

                task = asyncio.ensure_future(body())
                await asyncio.wait([task])
                cancelled = task.cancelled()
                if not cancelled:
                    task.result()
                await asyncio.wait_for(check(), 10_000)
                return cancelled or wrapped.left <= 0

            if not run_with(main()):
                break
            cancellations += 1
    return cancellations
