"""The asynchronous storage for limits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from limits import parse
from limits.aio.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter
from limits.errors import StorageError
from limits.storage import storage_from_string

from mavera_rl import InvalidOptionError, ManualClock
from mavera_rl.limits import AsyncMaveraStorage, MaveraStorage, UnsupportedError

T = TypeVar("T")


def run(what: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(what)


@pytest.fixture
def storage(clock: ManualClock) -> AsyncMaveraStorage:
    return AsyncMaveraStorage("async+mavera://?keys=1000", clock=clock)


def test_the_scheme_is_known_to_limits(path: Path) -> None:
    storage = storage_from_string(f"async+mavera://{path}?keys=256")
    assert isinstance(storage, AsyncMaveraStorage)
    assert str(storage.limiter.path) == str(path)
    with pytest.raises(InvalidOptionError, match="but: keys"):
        storage_from_string("async+mavera://?key=5")


def test_tasks_together_get_exactly_the_limit(storage: AsyncMaveraStorage) -> None:
    moving = MovingWindowRateLimiter(storage)

    async def spend() -> int:
        hits = [moving.hit(parse("20/minute"), "a") for _ in range(30)]
        return sum(await asyncio.gather(*hits))

    assert run(spend()) == 20


def test_stats_say_when_the_oldest_entry_leaves_and_what_remains(
    storage: AsyncMaveraStorage, clock: ManualClock
) -> None:
    moving = MovingWindowRateLimiter(storage)
    item = parse("3/minute")
    first = clock.now
    assert run(moving.get_window_stats(item, "a")).reset_time == pytest.approx(
        first + 60, abs=1e-5
    )
    run(moving.hit(item, "a"))
    clock.advance(20)
    run(moving.hit(item, "a"))
    stats = run(moving.get_window_stats(item, "a"))
    assert stats.reset_time == pytest.approx(first + 60, abs=1e-5)
    assert stats.remaining == 1


def test_a_test_charges_nothing(storage: AsyncMaveraStorage) -> None:
    moving = MovingWindowRateLimiter(storage)
    item = parse("2/minute")
    assert all(run(moving.test(item, "a", cost=2)) for _ in range(5))
    assert run(moving.hit(item, "a", cost=2))
    assert not run(moving.test(item, "a"))


def test_an_amount_above_the_limit_is_refused(storage: AsyncMaveraStorage) -> None:
    assert run(storage.acquire_entry("a", 2, 60, 3)) is False
    assert run(storage.get_moving_window("a", 2, 60))[1] == 0


def test_it_shares_a_path_with_the_synchronous_storage(path: Path) -> None:
    one = MaveraStorage(f"mavera://{path}?keys=256")
    two = AsyncMaveraStorage(f"async+mavera://{path}?keys=256")
    assert one.acquire_entry("a", 2, 60)
    assert run(two.acquire_entry("a", 2, 60))
    assert not run(two.acquire_entry("a", 2, 60))


def test_a_fixed_window_is_refused_with_the_remedy(
    storage: AsyncMaveraStorage,
) -> None:
    fixed = FixedWindowRateLimiter(storage)
    item = parse("1/minute")
    calls: list[Coroutine[Any, Any, object]] = [
        fixed.hit(item, "a"),
        fixed.test(item, "a"),
        storage.get("a"),
        storage.get_expiry("a"),
    ]
    for call in calls:
        with pytest.raises(UnsupportedError, match="moving-window"):
            run(call)


def test_a_key_is_not_cleared_and_a_private_storage_is_reset(
    storage: AsyncMaveraStorage,
) -> None:
    run(storage.acquire_entry("a", 1, 60))
    with pytest.raises(UnsupportedError):
        run(storage.clear("a"))
    assert not run(storage.acquire_entry("a", 1, 60))
    run(storage.reset())
    assert run(storage.acquire_entry("a", 1, 60))


def test_a_closed_limiter_is_no_longer_healthy() -> None:
    storage = AsyncMaveraStorage(keys=256, wrap_exceptions=True)
    assert run(storage.check())
    storage.limiter.close()
    assert not run(storage.check())
    with pytest.raises(StorageError, match="closed"):
        run(storage.acquire_entry("a", 1, 60))
