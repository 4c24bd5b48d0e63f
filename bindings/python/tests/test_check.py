"""check, peek and check_many."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mavera_rl import (
    Decision,
    InvalidOptionError,
    Limiter,
    ManualClock,
    Plan,
    UnknownTierError,
)


def test_a_tier_is_counted_down_and_then_refused(
    limiter: Limiter, clock: ManualClock
) -> None:
    for used in range(1, 61):
        decision = limiter.check("key", "starter")
        assert decision.allowed and decision
        assert (decision.limit, decision.window) == (60, 60.0)
        assert (decision.used, decision.remaining) == (used, 60 - used)
        assert (decision.retry_after, decision.reason) == (0.0, None)
        assert decision.reset_at == clock.now + decision.reset_after
        clock.advance(0.5)
    decision = limiter.check("key", "starter")
    assert not decision.allowed and not decision
    assert decision.reason == "rate_limit_exceeded"
    assert (decision.used, decision.remaining) == (60, 0)


def test_waiting_retry_after_is_enough_and_a_millisecond_less_is_not(
    limiter: Limiter, clock: ManualClock
) -> None:
    for _ in range(3):
        limiter.check("key", limit=3)
        clock.advance(1.25)
    refused = limiter.check("key", limit=3)
    clock.advance(refused.retry_after - 0.001)
    assert not limiter.check("key", limit=3)
    clock.advance(0.001)
    assert limiter.check("key", limit=3)


def test_a_window_is_in_seconds_and_apart_from_others(
    limiter: Limiter, clock: ManualClock
) -> None:
    assert limiter.check("key", limit=1, window=0.25)
    assert not limiter.check("key", limit=1, window=0.25)
    assert limiter.check("key", limit=1)
    clock.advance(0.251)
    assert limiter.check("key", limit=1, window=0.25)


def test_a_cost_is_charged_whole_or_not_at_all(limiter: Limiter) -> None:
    assert limiter.check("key", limit=10, cost=7).remaining == 3
    assert not limiter.check("key", limit=10, cost=4)
    assert limiter.check("key", limit=10, cost=3).remaining == 0


def test_a_cost_of_nothing_and_a_peek_charge_nothing(limiter: Limiter) -> None:
    assert limiter.peek("key", limit=1).remaining == 1
    assert limiter.check("key", limit=1, cost=0).remaining == 1
    assert limiter.check("key", limit=1)
    assert not limiter.peek("key", limit=1)
    assert limiter.stats().inserted == 1  # type: ignore[union-attr]


def test_a_cost_above_the_limit_is_an_error(limiter: Limiter) -> None:
    with pytest.raises(InvalidOptionError, match="cost 6 exceeds limit 5"):
        limiter.check("key", limit=5, cost=6)


def test_a_limit_of_0_admits_nothing(limiter: Limiter) -> None:
    with pytest.raises(InvalidOptionError, match="cost 1 exceeds limit 0"):
        limiter.check("key", limit=0)


def test_a_changed_limit_keeps_what_was_spent(limiter: Limiter) -> None:
    assert limiter.check("key", "starter", cost=60).remaining == 0
    assert limiter.check("key", "basic").remaining == 59
    lowered = limiter.peek("key", limit=10)
    assert (lowered.allowed, lowered.used, lowered.remaining) == (False, 61, 0)


def test_without_tier_and_limit_the_plan_decides(path: object) -> None:
    limiter = Limiter(keys=10)
    with pytest.raises(UnknownTierError, match="give tier or limit"):
        limiter.check("key")
    assert Limiter(keys=10, tier="basic").check("key").limit == 120


def test_an_unknown_tier_names_the_known_ones(limiter: Limiter) -> None:
    known = "starter, basic, professional, enterprise"
    with pytest.raises(UnknownTierError, match=f'no tier "gold"; its tiers: {known}'):
        limiter.check("key", "gold")
    with pytest.raises(LookupError):
        Limiter(keys=10, tier="gold")


def test_tier_and_limit_together_are_an_error(limiter: Limiter) -> None:
    with pytest.raises(TypeError, match="not both"):
        limiter.check("key", "starter", limit=5)
    with pytest.raises(TypeError, match="window goes with limit"):
        limiter.check("key", "starter", window=5)


@pytest.mark.parametrize("limit", [-1, 2**23 + 1, 2**32, 2**80])
def test_a_limit_out_of_range_is_an_error_of_value(
    limiter: Limiter, limit: int
) -> None:
    with pytest.raises(InvalidOptionError, match="limit") as caught:
        limiter.check("key", limit=limit)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("limit", ["60", 60.0, True, [60]])
def test_a_limit_that_is_no_whole_number_is_an_error_of_type(
    limiter: Limiter, limit: object
) -> None:
    with pytest.raises(TypeError, match="limit must be int"):
        limiter.check("key", limit=limit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "window", [0, -1, 0.0004, float("nan"), float("inf"), 1e10, 61]
)
def test_a_window_out_of_range_is_an_error(limiter: Limiter, window: float) -> None:
    with pytest.raises(InvalidOptionError, match="window"):
        limiter.check("key", limit=5, window=window)
    assert limiter.check("key", limit=5).remaining == 4


def test_many_are_answered_as_one_by_one(limiter: Limiter) -> None:
    keys: list[str | bytes] = ["a", "b", b"a", "a", "b"]
    answers = limiter.check_many(keys, limit=2)
    assert [answer.allowed for answer in answers] == [True, True, True, False, True]
    assert [answer.remaining for answer in answers] == [1, 1, 0, 0, 0]
    assert limiter.check_many([], limit=2) == []
    assert len(limiter.check_many((str(n) for n in range(700)), limit=2)) == 700


def test_many_with_one_that_is_wrong_charge_nothing(limiter: Limiter) -> None:
    with pytest.raises(ValueError, match="key is empty"):
        limiter.check_many(["a", "b", ""], limit=2)
    with pytest.raises(TypeError):
        limiter.check_many(["a", 1], limit=2)  # type: ignore[list-item]
    with pytest.raises(TypeError, match="several"):
        limiter.check_many("key", limit=2)
    with pytest.raises(InvalidOptionError, match="cost 3 exceeds limit 2"):
        limiter.check_many(["a", "b"], limit=2, cost=3)
    with pytest.raises(InvalidOptionError, match="window_ms 61000"):
        limiter.check_many(["a", "b"], limit=2, window=61)
    assert limiter.peek("a", limit=2).used == 0


def test_many_of_a_plan_with_one_that_is_wrong_charge_nothing(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('[keys]\na = "starter"\nb = { tier = "starter", limit = 1 }\n')
    limiter = Limiter(keys=10, plan=plan)
    with pytest.raises(InvalidOptionError, match="cost 2 exceeds limit 1"):
        limiter.check_many(["a", "b"], cost=2)
    assert limiter.peek("a").used == 0


def test_threads_spend_exactly_the_limit() -> None:
    limiter = Limiter(keys=100)
    allowed: list[int] = []

    def spend() -> None:
        allowed.append(sum(bool(limiter.check("key", limit=1000)) for _ in range(600)))

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(allowed) == 1000


def test_others_run_while_many_are_checked() -> None:
    limiter = Limiter(keys=100_000)
    keys = [str(n) for n in range(100_000)]

    def ran_meanwhile(call: Callable[[], object]) -> bool:
        gate, ran = threading.Lock(), []
        gate.acquire()

        def wait() -> None:
            with gate:
                ran.append(True)

        thread = threading.Thread(target=wait)
        thread.start()
        gate.release()
        call()
        # Nobody is made to let go of the GIL: whoever ran, ran in the call.
        result = bool(ran)
        thread.join()
        return result

    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)
    try:
        assert not ran_meanwhile(lambda: limiter.check_many(keys[:100], limit=2))
        # On a busy machine the other thread may come too late.
        assert any(
            ran_meanwhile(lambda: limiter.check_many(keys, limit=2)) for _ in range(100)
        )
    finally:
        sys.setswitchinterval(interval)


def test_real_time_passes() -> None:
    limiter = Limiter(keys=10)
    assert limiter.check("key", limit=1, window=0.05)
    refused = limiter.check("key", limit=1, window=0.05)
    assert 0 < refused.retry_after <= 0.052
    assert abs(refused.reset_at - time.time()) < 2
    time.sleep(refused.retry_after)
    assert limiter.check("key", limit=1, window=0.05)


def test_a_full_table_answers_by_its_policy(clock: ManualClock) -> None:
    for on_full, allowed in ("deny", False), ("allow", True):
        limiter = Limiter(keys=1, clock=clock, on_full=on_full)  # type: ignore[arg-type]
        capacity = limiter.stats().keys_capacity  # type: ignore[union-attr]
        answers = limiter.check_many(map(str, range(capacity + 1)), limit=5)
        last: Decision = answers[-1]
        assert last.allowed == last.untracked == allowed
        assert last.reason == (None if allowed else "table_full")
        assert limiter.stats().full == 1  # type: ignore[union-attr]


def test_a_plan_may_change_while_it_is_in_use(limiter: Limiter) -> None:
    plan = limiter.plan
    assert isinstance(plan, Plan)
    plan.set_tier("starter", 2)
    assert [bool(limiter.check("key", "starter")) for _ in range(3)] == [1, 1, 0]


def test_a_million_checks_leave_the_process_no_larger() -> None:
    def resident_kb() -> int:
        with open("/proc/self/smaps_rollup") as rollup:
            return sum(
                int(line.split()[1]) for line in rollup if line.startswith("Private_")
            )

    def spend(checks: int) -> None:
        for n in range(checks):
            limiter.check(keys[n % len(keys)], "enterprise").headers()

    limiter = Limiter(keys=1000)
    keys = [str(n) for n in range(1000)]
    spend(50_000)
    gc.collect()
    before = resident_kb()
    spend(1_000_000)
    gc.collect()
    assert resident_kb() - before < 512
