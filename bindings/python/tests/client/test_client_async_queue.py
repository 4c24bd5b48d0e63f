from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from client_tools import cancel_at_every_await, run
from mavera_rl.client import AsyncQueue, QueueTimeout, WrongLoopError


def now() -> float:
    return asyncio.get_running_loop().time()


def test_the_next_request_waits_until_a_place_leaves_the_window() -> None:
    async def main() -> None:
        queue = AsyncQueue(2)
        for _ in range(3):
            async with queue.slot() as slot:
                slot.answered({}, 200)
        assert now() == pytest.approx(1060.0)
        assert queue.in_flight == 0

    run(main())


def test_a_later_caller_never_overtakes() -> None:
    async def main() -> None:
        queue = AsyncQueue(3, max_in_flight=2)
        order: list[int] = []

        async def caller(number: int) -> None:
            async with queue.slot():
                order.append(number)
                await asyncio.sleep(1 + number % 3)

        await asyncio.gather(*(caller(n) for n in range(20)))
        assert order == list(range(20))

    run(main())


def test_a_cancelled_waiter_wakes_the_next() -> None:
    async def main() -> None:
        queue = AsyncQueue(max_in_flight=1)
        held = await queue.slot()

        async def caller() -> float:
            async with queue.slot():
                return now()

        first = asyncio.ensure_future(caller())
        second = asyncio.ensure_future(caller())
        await asyncio.sleep(0)
        held.close()  # The first has its turn now, and is cancelled with it.
        first.cancel()
        assert await asyncio.wait_for(second, 1) == 1000.0
        assert queue.in_flight == queue.waiting == 0

    run(main())


def test_a_timeout_comes_when_it_is_due_and_leaves_no_trace() -> None:
    async def main() -> None:
        queue = AsyncQueue(max_in_flight=1)
        held = await queue.slot()
        with pytest.raises(QueueTimeout):
            await queue.slot(timeout=5)
        assert now() == pytest.approx(1005.0)
        assert queue.waiting == 0
        held.close()
        async with queue.slot(timeout=0):
            pass

    run(main())


def test_a_turn_that_cannot_come_in_time_is_refused_at_once() -> None:
    async def main() -> None:
        queue = AsyncQueue(1)
        async with queue.slot():
            pass
        with pytest.raises(QueueTimeout, match="at the earliest"):
            await queue.slot(timeout=30)
        assert now() == 1000.0

    run(main())


def test_a_pause_reaches_those_who_wait_already() -> None:
    async def main() -> None:
        queue = AsyncQueue(max_in_flight=1)
        held = await queue.slot()

        async def caller(patience: float | None) -> float:
            async with queue.slot(patience=patience):
                return now()

        patient = asyncio.ensure_future(caller(None))
        hasty = asyncio.ensure_future(caller(10.0))
        await asyncio.sleep(0)
        held.answered({"Retry-After": "30"}, 429)
        with pytest.raises(QueueTimeout):
            await hasty
        assert now() == 1000.0
        held.close()
        assert await patient == pytest.approx(1030.0)

    run(main())


def test_cancelling_at_every_await_leaks_nothing() -> None:
    def scenario() -> tuple[Coroutine[Any, Any, Any], Callable[[], Awaitable[None]]]:
        queue = AsyncQueue(2, max_in_flight=1)

        async def victim() -> None:
            for _ in range(3):
                async with queue.slot(timeout=200) as slot:
                    await asyncio.sleep(1)
                    slot.answered({}, 200)
                    await asyncio.sleep(1)

        async def check() -> None:
            assert queue.in_flight == queue.waiting == 0
            async with queue.slot() as slot:
                slot.answered({}, 200)
            assert queue.in_flight == 0

        return victim(), check

    assert cancel_at_every_await(scenario) >= 12


def test_another_loop_is_refused_clearly() -> None:
    queue = AsyncQueue()

    async def use() -> None:
        async with queue.slot():
            pass

    run(use())
    with pytest.raises(WrongLoopError):
        run(use())
