"""The storage for limits, through limits' own strategies."""

from __future__ import annotations

import logging
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from limits import parse
from limits.errors import StorageError
from limits.storage import storage_from_string
from limits.strategies import (
    FixedWindowRateLimiter,
    MovingWindowRateLimiter,
    SlidingWindowCounterRateLimiter,
)

from mavera_rl import (
    ClosedError,
    InvalidOptionError,
    Limiter,
    ManualClock,
    MaveraError,
    RegionError,
)
from mavera_rl.limits import MaveraStorage, UnsupportedError

DAY = 86_400


@pytest.fixture
def storage(clock: ManualClock) -> MaveraStorage:
    return MaveraStorage("mavera://?keys=256", clock=clock)


@pytest.fixture
def moving(storage: MaveraStorage) -> MovingWindowRateLimiter:
    return MovingWindowRateLimiter(storage)


def made(uri: str, **options: Any) -> MaveraStorage:
    storage = storage_from_string(uri, **options)
    assert isinstance(storage, MaveraStorage)
    return storage


def settings(storage: MaveraStorage) -> tuple[int, int, float]:
    stats = storage.limiter.stats()
    assert stats is not None
    return stats.keys_capacity, stats.cells, stats.max_window


def capacity(keys: int) -> int:
    """Records of a table for so many keys; there is room to spare."""
    stats = Limiter(keys=keys).stats()
    assert stats is not None
    return stats.keys_capacity


def test_the_scheme_is_known_to_limits_once_the_module_is_imported() -> None:
    assert made("mavera://?keys=100").limiter.path is None


def test_a_limit_admits_exactly_its_amount(moving: MovingWindowRateLimiter) -> None:
    assert [moving.hit(parse("3/minute"), "a") for _ in range(5)] == [
        *[True] * 3,
        *[False] * 2,
    ]


def test_an_entry_leaves_when_its_window_ends_and_not_a_millisecond_before(
    moving: MovingWindowRateLimiter, clock: ManualClock
) -> None:
    item = parse("2/minute")
    assert moving.hit(item, "a")
    clock.advance(30)
    assert moving.hit(item, "a")
    clock.advance(29.999)
    assert not moving.hit(item, "a")
    clock.advance(0.001)
    assert moving.hit(item, "a")
    assert not moving.hit(item, "a")


def test_no_two_windows_side_by_side_admit_twice_the_limit(
    moving: MovingWindowRateLimiter, clock: ManualClock
) -> None:
    item = parse("10/minute")
    clock.advance(59 - clock.now % 60)
    admitted = 0
    for _ in range(20):
        admitted += moving.hit(item, "a")
        clock.advance(0.1)
    assert admitted == 10


def test_stats_say_when_the_oldest_entry_leaves_and_what_remains(
    moving: MovingWindowRateLimiter, clock: ManualClock
) -> None:
    item = parse("3/minute")
    first = clock.now
    moving.hit(item, "a")
    clock.advance(12.345)
    moving.hit(item, "a")
    stats = moving.get_window_stats(item, "a")
    assert stats.reset_time == pytest.approx(first + 60, abs=1e-5)
    assert stats.remaining == 1


def test_stats_of_a_spent_limit_say_when_the_next_hit_is_admitted(
    moving: MovingWindowRateLimiter, clock: ManualClock
) -> None:
    item = parse("2/minute")
    moving.hit(item, "a")
    clock.advance(7)
    moving.hit(item, "a")
    assert not moving.hit(item, "a")
    stats = moving.get_window_stats(item, "a")
    assert stats.remaining == 0
    clock.set(round(stats.reset_time, 3) - 0.001)
    assert not moving.hit(item, "a")
    clock.advance(0.001)
    assert moving.hit(item, "a")


def test_stats_of_an_unknown_key_are_a_window_that_begins_now(
    moving: MovingWindowRateLimiter, clock: ManualClock
) -> None:
    stats = moving.get_window_stats(parse("5/minute"), "a")
    assert stats.reset_time == pytest.approx(clock.now + 60, abs=1e-5)
    assert stats.remaining == 5


def test_stats_after_all_entries_have_left_are_those_of_an_unknown_key(
    moving: MovingWindowRateLimiter, clock: ManualClock
) -> None:
    item = parse("5/minute")
    moving.hit(item, "a", cost=5)
    clock.advance(60)
    stats = moving.get_window_stats(item, "a")
    assert stats.reset_time == pytest.approx(clock.now + 60, abs=1e-5)
    assert stats.remaining == 5


def test_a_test_charges_nothing(moving: MovingWindowRateLimiter) -> None:
    item = parse("2/minute")
    assert all(moving.test(item, "a") for _ in range(10))
    assert moving.test(item, "a", cost=2)
    assert not moving.test(item, "a", cost=3)
    assert moving.hit(item, "a")
    assert not moving.test(item, "a", cost=2)
    assert moving.hit(item, "a")
    assert not moving.test(item, "a")


def test_a_hit_of_several_units_is_charged_whole_or_not_at_all(
    moving: MovingWindowRateLimiter,
) -> None:
    item = parse("5/minute")
    assert moving.hit(item, "a", cost=3)
    assert not moving.hit(item, "a", cost=3)
    assert moving.get_window_stats(item, "a").remaining == 2
    assert moving.hit(item, "a", cost=2)


def test_an_amount_above_the_limit_is_refused_and_nothing_charged(
    storage: MaveraStorage,
) -> None:
    assert storage.acquire_entry("a", 2, 60, 3) is False
    assert storage.acquire_entry("a", 0, 60) is False
    assert storage.get_moving_window("a", 2, 60)[1] == 0


def test_an_amount_of_nothing_is_admitted_and_charges_nothing(
    storage: MaveraStorage,
) -> None:
    assert storage.acquire_entry("a", 1, 60, 0)
    assert storage.acquire_entry("a", 1, 60)
    assert storage.acquire_entry("a", 1, 60, 0)
    assert storage.acquire_entry("b", 0, 60, 0)
    assert storage.get_moving_window("b", 0, 60)[1] == 0
    assert storage.get_moving_window("a", 1, 60)[1] == 1


def test_a_limit_lowered_below_what_was_spent_has_nothing_remaining(
    storage: MaveraStorage,
) -> None:
    storage.acquire_entry("a", 5, 60, 5)
    assert storage.get_moving_window("a", 2, 60)[1] == 2


def test_keys_and_windows_are_counted_apart(moving: MovingWindowRateLimiter) -> None:
    minute, hour = parse("1/minute"), parse("1/hour")
    assert moving.hit(minute, "a")
    assert moving.hit(hour, "a")
    assert moving.hit(minute, "b")
    assert not moving.hit(minute, "a")


def test_a_key_that_utf_8_cannot_write_is_a_key(
    moving: MovingWindowRateLimiter,
) -> None:
    item = parse("1/minute")
    assert moving.hit(item, "\udc80")
    assert not moving.hit(item, "\udc80")
    assert moving.hit(item, "\udc81")


def test_a_day_is_within_the_default_window(
    moving: MovingWindowRateLimiter, clock: ManualClock
) -> None:
    item = parse("50/day")
    assert sum(moving.hit(item, "a") for _ in range(60)) == 50
    clock.advance(DAY - 0.001)
    assert not moving.hit(item, "a")
    clock.advance(0.001)
    assert moving.hit(item, "a")


def test_a_window_longer_than_the_region_s_is_an_error(
    storage: MaveraStorage,
) -> None:
    with pytest.raises(InvalidOptionError, match="max_window"):
        storage.acquire_entry("a", 1, DAY + 1)


def test_threads_together_get_exactly_the_limit(
    moving: MovingWindowRateLimiter,
) -> None:
    item = parse("50/minute")
    admitted: list[int] = []

    def spend() -> None:
        admitted.append(sum(moving.hit(item, "a") for _ in range(40)))

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(admitted) == 50


def test_a_full_table_refuses_unless_told_to_allow(clock: ManualClock) -> None:
    item = parse("5/minute")
    for policy, refused in (("deny", True), ("allow", False)):
        storage = MaveraStorage("mavera://?keys=256", on_full=policy, clock=clock)
        moving = MovingWindowRateLimiter(storage)
        hits = [moving.hit(item, str(key)) for key in range(1000)]
        assert (False in hits) is refused


def test_options_are_read_from_the_uri(path: Path) -> None:
    storage = made(f"mavera://{path}?keys=256&cells=128&max_window=3600&mode=0o640")
    assert settings(storage) == (capacity(256), 128, 3600)
    assert str(storage.limiter.path) == str(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640


def test_options_are_read_from_keywords_as_text_or_numbers(path: Path) -> None:
    storage = made(
        f"mavera://{path}", keys=256, cells="128", max_window=3600, mode="640"
    )
    assert settings(storage) == (capacity(256), 128, 3600)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640


def test_a_path_s_percent_encoding_is_undone(path: Path) -> None:
    storage = made(f"mavera://{path}%20one%23two?keys=256")
    assert str(storage.limiter.path) == f"{path} one#two"


def test_a_limiter_that_is_not_enabled_admits_everything() -> None:
    storage = made("mavera://?enabled=false")
    assert all(storage.acquire_entry("a", 1, 60) for _ in range(5))
    assert storage.get_moving_window("a", 1, 60)[1] == 0


def test_an_unknown_option_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(InvalidOptionError, match=r"'key', but: keys, cells, .*limiter"):
        made("mavera://?key=5")
    with pytest.raises(InvalidOptionError, match="'socket_timeout', but: keys"):
        made("mavera://", socket_timeout=5)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("mavera://dev/shm/limits", "three slashes"),
        ("mavera:///dev/shm/a#b", "%23"),
        ("mavera://?keys=many", "keys is 'many'"),
        ("mavera://?enabled=perhaps", "enabled is 'perhaps'"),
        ("mavera://?mode=0o999", "mode is '0o999'"),
        ("mavera://?keys", "keys"),
        ("mavera://?keys=1&keys=2", "twice"),
    ],
)
def test_a_uri_that_cannot_be_read_says_why(uri: str, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        made(uri)


def test_an_option_in_the_uri_and_as_a_keyword_is_an_error() -> None:
    with pytest.raises(InvalidOptionError, match="keys"):
        made("mavera://?keys=5", keys=6)


def test_an_open_limiter_can_be_passed(limiter: Limiter) -> None:
    storage = made("mavera://", limiter=limiter)
    assert storage.limiter is limiter
    assert storage.acquire_entry("a", 1, 60)
    assert not limiter.check("a", limit=1, window=60)


def test_an_open_limiter_comes_without_a_path_and_options(limiter: Limiter) -> None:
    with pytest.raises(InvalidOptionError, match="limiter"):
        made("mavera:///dev/shm/limits", limiter=limiter)
    with pytest.raises(InvalidOptionError, match="limiter"):
        made("mavera://?keys=5", limiter=limiter)


def test_two_storages_of_one_path_are_one_limit(path: Path) -> None:
    one, two = (made(f"mavera://{path}?keys=256") for _ in range(2))
    assert one.acquire_entry("a", 2, 60)
    assert two.acquire_entry("a", 2, 60)
    assert not one.acquire_entry("a", 2, 60)


def test_a_region_made_by_somebody_else_keeps_its_window(path: Path) -> None:
    Limiter(path, keys=256, max_window=60).close()
    storage = made(f"mavera://{path}")
    assert settings(storage) == (capacity(256), 64, 60)


def test_an_option_that_an_existing_region_contradicts_is_an_error(
    path: Path,
) -> None:
    Limiter(path, keys=256, max_window=60).close()
    with pytest.raises(RegionError, match="max_window"):
        made(f"mavera://{path}?max_window=3600")
    with pytest.raises(RegionError, match="keys"):
        made(f"mavera://{path}?keys=512")


@pytest.mark.parametrize("call", ["incr", "get", "get_expiry"])
def test_a_fixed_window_is_refused_with_the_remedy(
    storage: MaveraStorage, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    arguments: tuple[object, ...] = ("a", 60) if call == "incr" else ("a",)
    with pytest.raises(NotImplementedError) as raised:
        getattr(storage, call)(*arguments)
    assert isinstance(raised.value, MaveraError)
    assert 'strategy="moving-window"' in str(raised.value)
    assert "MovingWindowRateLimiter" in str(raised.value)
    assert "twice" in str(raised.value)
    assert caplog.messages == [str(raised.value)]


def test_the_remedy_is_logged_once(
    storage: MaveraStorage, caplog: pytest.LogCaptureFixture
) -> None:
    fixed = FixedWindowRateLimiter(storage)
    for _ in range(3):
        with pytest.raises(UnsupportedError):
            fixed.hit(parse("1/minute"), "a")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_the_sliding_counter_is_not_offered(storage: MaveraStorage) -> None:
    with pytest.raises(NotImplementedError, match="MaveraStorage"):
        SlidingWindowCounterRateLimiter(storage)


def test_a_key_is_not_cleared(storage: MaveraStorage) -> None:
    storage.acquire_entry("a", 1, 60)
    with pytest.raises(UnsupportedError, match="not taken back"):
        storage.clear("a")
    assert not storage.acquire_entry("a", 1, 60)


def test_a_private_storage_is_reset(storage: MaveraStorage) -> None:
    storage.acquire_entry("a", 1, 60)
    storage.reset()
    assert storage.acquire_entry("a", 1, 60)
    assert settings(storage) == (capacity(256), 64, DAY)


def test_what_others_may_count_in_is_not_reset(path: Path, limiter: Limiter) -> None:
    for storage in (MaveraStorage(f"mavera://{path}"), MaveraStorage(limiter=limiter)):
        storage.acquire_entry("a", 1, 60)
        with pytest.raises(UnsupportedError, match="others may use"):
            storage.reset()
        assert not storage.acquire_entry("a", 1, 60)


def test_a_check_is_true_while_the_limiter_is_open(storage: MaveraStorage) -> None:
    assert storage.check()
    storage.limiter.close()
    assert not storage.check()


def test_a_closed_limiter_is_wrapped_as_limits_wants_it() -> None:
    plain = MaveraStorage(keys=256)
    plain.limiter.close()
    with pytest.raises(ClosedError):
        plain.acquire_entry("a", 1, 60)
    wrapping = MaveraStorage(keys=256, wrap_exceptions=True)
    wrapping.limiter.close()
    with pytest.raises(StorageError, match="closed"):
        wrapping.acquire_entry("a", 1, 60)
    with pytest.raises(UnsupportedError):
        wrapping.incr("a", 60)


# Gives limits' tests this storage in place of the servers that they start.
CONFTEST = """
import asyncio, inspect, sys, types
import pytest
import mavera_rl.limits

lazy = types.ModuleType("pytest_lazy_fixtures")
lazy.lf = str
sys.modules["pytest_lazy_fixtures"] = lazy
import tests.utils as utils

def storage(uri):
    return pytest.mark.parametrize("uri, args, fixture", [(uri, {}, None)])

utils.all_storage = utils.async_all_storage = lambda test: test
utils.moving_window_storage = storage("mavera://?keys=1000")
utils.async_moving_window_storage = storage("async+mavera://?keys=1000")

@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if inspect.iscoroutinefunction(pyfuncitem.obj):
        names = pyfuncitem._fixtureinfo.argnames
        asyncio.run(pyfuncitem.obj(**{n: pyfuncitem.funcargs[n] for n in names}))
        return True
"""

LIMITS = os.environ.get("LIMITS_SOURCE")
"""The unpacked source of limits: ``pip download --no-deps --no-binary limits``."""


@pytest.mark.skipif(LIMITS is None, reason="LIMITS_SOURCE does not name its source")
def test_limits_own_tests_of_the_moving_window_pass(tmp_path: Path) -> None:
    assert LIMITS is not None
    shutil.copytree(Path(LIMITS, "tests"), tmp_path / "tests")
    (tmp_path / "tests" / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    # Of the two others, one clears a key. The other does too, and wants the
    # first of a million units to leave to the millisecond.
    which = "MovingWindow and not varying_cost and not huge_cost"
    files = ["tests/test_strategy.py", "tests/aio/test_strategy.py"]
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:warnings",
            "-k",
            which,
            *files,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout
    assert re.search(r"\d+ passed", run.stdout), run.stdout
