"""Requests in flight: permit and admit."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import pickle
import threading
from collections.abc import Callable

import pytest

from mavera_rl import (
    Admission,
    ConcurrencyLimited,
    InvalidOptionError,
    Limiter,
    Permit,
    UnknownTierError,
)

VIDEO = "/video-analyses"


def held(limiter: Limiter) -> int:
    return limiter.in_flight("key", VIDEO)


def test_as_many_as_the_plan_says_are_held_at_once(limiter: Limiter) -> None:
    permits = [limiter.permit("key", f"{VIDEO}/{n}?x=1") for n in range(3)]
    assert held(limiter) == 3
    with pytest.raises(ConcurrencyLimited) as caught:
        limiter.permit("key", VIDEO)
    error = caught.value
    assert (error.endpoint, error.in_flight, error.max_in_flight) == (VIDEO, 3, 3)
    assert str(error) == f"3 requests in flight on {VIDEO}, of 3 at most"
    assert limiter.permit("other", VIDEO) and limiter.permit("key", "/mave/chat")
    assert permits[1].release()
    assert limiter.permit("key", VIDEO)


def test_a_second_release_says_that_it_changed_nothing(limiter: Limiter) -> None:
    permit = limiter.permit("key", VIDEO)
    assert not permit.released and repr(permit) == "<Permit held>"
    assert permit.release()
    assert permit.released and repr(permit) == "<Permit released>"
    other = limiter.permit("key", VIDEO)
    assert not permit.release() and held(limiter) == 1
    assert other.release()


def test_it_is_held_within_with(limiter: Limiter) -> None:
    with limiter.permit("key", VIDEO) as permit:
        assert isinstance(permit, Permit) and held(limiter) == 1
    assert held(limiter) == 0
    with pytest.raises(KeyError), limiter.permit("key", VIDEO):
        raise KeyError
    assert held(limiter) == 0


def test_it_is_held_within_async_with(limiter: Limiter) -> None:
    async def main() -> None:
        async with limiter.permit("key", VIDEO) as permit:
            assert isinstance(permit, Permit)
            await asyncio.sleep(0)
            assert held(limiter) == 1
        assert held(limiter) == 0
        with pytest.raises(KeyError):
            async with limiter.admit("key", VIDEO, "starter") as admission:
                assert isinstance(admission, Admission) and held(limiter) == 1
                raise KeyError
        assert held(limiter) == 0

    asyncio.run(main())


def test_a_cancelled_task_gives_it_back(limiter: Limiter) -> None:
    async def hold() -> None:
        async with limiter.permit("key", VIDEO):
            await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(hold())
        await asyncio.sleep(0)
        assert held(limiter) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert held(limiter) == 0


def test_a_dropped_one_is_given_back(limiter: Limiter) -> None:
    permit: Permit | None = limiter.permit("key", VIDEO)
    assert permit and held(limiter) == 1
    del permit
    gc.collect()
    assert held(limiter) == 0


def test_another_thread_may_release_it(limiter: Limiter) -> None:
    permit = limiter.permit("key", VIDEO)
    thread = threading.Thread(target=permit.release)
    thread.start()
    thread.join()
    assert permit.released and held(limiter) == 0


def test_any_name_will_do_with_a_maximum_of_ones_own(limiter: Limiter) -> None:
    with pytest.raises(UnknownTierError, match='no endpoint for "exports": give max'):
        limiter.permit("key", "exports")
    with limiter.permit("key", "exports", max=1):
        assert limiter.in_flight("key", "exports") == 1
        with pytest.raises(ConcurrencyLimited):
            limiter.permit("key", "exports", max=1)
        assert limiter.permit("key", "exports", max=2)


@pytest.mark.parametrize("maximum", [0, 17, -1])
def test_a_maximum_out_of_range_is_an_error(limiter: Limiter, maximum: int) -> None:
    with pytest.raises(InvalidOptionError, match="max"):
        limiter.permit("key", VIDEO, max=maximum)


def test_a_lease_ends() -> None:
    limiter = Limiter(keys=10)
    with pytest.raises(InvalidOptionError, match="lease"):
        limiter.permit("key", VIDEO, lease=100_000)
    permit = limiter.permit("key", VIDEO, max=1, lease=0.001)
    other: Permit | None = None
    # It counts whole seconds, and one more.
    deadline = threading.Event()
    for _ in range(400):
        try:
            other = limiter.permit("key", VIDEO, max=1)
            break
        except ConcurrencyLimited:
            deadline.wait(0.01)
    assert other is not None
    assert not permit.release() and other.release()


def test_an_admission_has_permit_and_quota(limiter: Limiter) -> None:
    admission = limiter.admit("key", b"/video-analyses?id=7", "starter")
    decision = admission.decision
    assert admission and admission.allowed and decision.allowed
    assert (decision.endpoint, decision.in_flight, decision.max_in_flight) == (
        VIDEO,
        1,
        3,
    )
    assert decision.remaining == 59
    assert admission.permit is not None and held(limiter) == 1
    assert admission.release() and not admission.release()
    assert held(limiter) == 0


def test_refused_for_what_is_in_flight_it_charges_nothing(limiter: Limiter) -> None:
    admitted = [limiter.admit("key", VIDEO, limit=50) for _ in range(3)]
    refused = limiter.admit("key", VIDEO, limit=50)
    assert not refused and refused.permit is None and not refused.release()
    decision = refused.decision
    assert decision.reason == "concurrency_limit_exceeded"
    assert (decision.in_flight, decision.used, decision.retry_after) == (3, 3, 1.0)
    error = json.loads(decision.body())["error"]
    assert error["code"] == "concurrency_limit_exceeded"
    assert f"on {VIDEO}: at most 3 at a time" in error["message"]
    assert "in_flight=3/3 on /video-analyses" in repr(decision)
    assert all(admission.release() for admission in admitted)


def test_refused_for_its_quota_it_holds_nothing(limiter: Limiter) -> None:
    with limiter.admit("key", VIDEO, limit=1):
        pass
    refused = limiter.admit("key", VIDEO, limit=1)
    assert refused.decision.reason == "rate_limit_exceeded" and held(limiter) == 0


def test_elsewhere_there_is_a_quota_only(limiter: Limiter) -> None:
    admission = limiter.admit("key", "/elsewhere", limit=1, window=30)
    assert admission and admission.permit is None and not admission.release()
    decision = admission.decision
    assert (decision.endpoint, decision.max_in_flight) == (None, 0)
    assert decision.window == 30


def test_another_spelling_does_not_slip_past(limiter: Limiter) -> None:
    for target in "/%76ideo-analyses", "//video-analyses/7", b"/x/../video-analyses":
        with limiter.admit("key", target, limit=9) as admission:
            assert admission.decision.endpoint == VIDEO


@pytest.mark.parametrize("make", [pickle.dumps, copy.copy, copy.deepcopy])
def test_they_stay_where_they_are(
    limiter: Limiter, make: Callable[[object], object]
) -> None:
    permit = limiter.permit("key", VIDEO)
    admission = limiter.admit("key", VIDEO, limit=5)
    for one in permit, admission, limiter:
        with pytest.raises(TypeError, match="cannot pickle"):
            make(one)
    assert permit.release() and admission.release()
