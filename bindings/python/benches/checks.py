"""What a check costs, beside an empty call and beside limits."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import limits
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from mavera_rl_floor import Floor

import mavera_rl.limits
from mavera_rl import Limiter
from rounds import Contestant

KEY = "0123456789abcdef0123456789abcdef"
ITEM = limits.parse("8000000/minute")


def _repeat(call: Callable[[], object]) -> Callable[[int], None]:
    def run(count: int) -> None:
        for _ in itertools.repeat(None, count):
            call()

    return run


def _hit(strategy: MovingWindowRateLimiter, item: limits.RateLimitItem) -> object:
    strategy.hit(item, KEY)
    return strategy.get_window_stats(item, KEY)


def contestants() -> list[Contestant]:
    floor = Floor()
    limiter = Limiter(keys=100_000)
    spent = Limiter(keys=1000)
    spent.check(KEY, "starter", cost=60)
    directory = Path(tempfile.mkdtemp(dir="/dev/shm"))
    shared = Limiter(directory / "limits", keys=100_000)
    (directory / "limits").unlink()
    directory.rmdir()
    many = [f"key-{n}" for n in range(10_000)]
    # Touched before, so that no round counts the pages that the kernel gives.
    limiter.check_many(many, limit=2**23)
    keys = itertools.cycle(many)
    # limits' own: 60 of a minute are kept, and then refused.
    memory = MovingWindowRateLimiter(MemoryStorage())
    ours = MovingWindowRateLimiter(mavera_rl.limits.MaveraStorage("mavera://"))
    minute = limits.parse("60/minute")
    check, busy = limiter.check, 2**23

    def loop_check(count: int) -> None:
        for _ in itertools.repeat(None, count):
            check(KEY, "enterprise")

    def loop_empty(count: int) -> None:
        empty = floor.empty
        for _ in itertools.repeat(None, count):
            empty()

    def loop_many(count: int) -> None:
        for done in range(0, count, len(many)):
            limiter.check_many(many[: count - done], limit=busy)

    return [
        Contestant("empty call", loop_empty),
        Contestant("check, by tier", loop_check),
        Contestant("check, by limit", _repeat(lambda: check(KEY, limit=busy))),
        Contestant(
            "check, shared file", _repeat(lambda: shared.check(KEY, limit=busy))
        ),
        Contestant("check, denied", _repeat(lambda: spent.check(KEY, "starter"))),
        Contestant("check, 10 k keys", _repeat(lambda: check(next(keys), limit=busy))),
        Contestant("check_many, 10 k keys", loop_many),
        Contestant(
            "permit and release",
            _repeat(lambda: limiter.permit(KEY, "/mave/chat").release()),
        ),
        Contestant(
            "admit and release",
            _repeat(lambda: limiter.admit(KEY, "/mave/chat", limit=busy).release()),
        ),
        Contestant("limits, memory", _repeat(lambda: _hit(memory, minute))),
        Contestant("limits, mavera", _repeat(lambda: _hit(ours, minute))),
    ]
