"""Opening, closing and describing a limiter."""

from __future__ import annotations

import os
import pickle
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mavera_rl import (
    ClosedError,
    InvalidOptionError,
    Limiter,
    ManualClock,
    MaveraError,
    Plan,
    PlanError,
    RegionError,
    UnknownKeyError,
)


def test_those_who_open_a_path_share_its_limit(path: Path) -> None:
    with Limiter(path, keys=100) as one, Limiter(str(path)) as two:
        assert one.check("key", limit=3).remaining == 2
        assert two.check("key", limit=3).remaining == 1
        assert one.path == path
    # What is counted stays in the file.
    assert Limiter(path).check("key", limit=3).remaining == 0


def test_options_that_differ_name_both_values(path: Path) -> None:
    first = Limiter(path, keys=100, cells=64)
    with pytest.raises(RegionError, match="cells.*64.*128|cells.*128.*64") as caught:
        Limiter(path, cells=128)
    assert isinstance(caught.value, OSError)
    assert first.stats().cells == 64  # type: ignore[union-attr]


def test_a_path_that_is_no_place_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        Limiter(tmp_path / "nowhere" / "limits", keys=10)
    (tmp_path / "text").write_text("not a region" * 1000)
    with pytest.raises(RegionError, match="text"):
        Limiter(tmp_path / "text")


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"keys": 0}, "keys is 0"),
        ({"keys": -1}, "keys is -1"),
        ({"keys": 2**64}, "keys"),
        ({"cells": 100}, "cells is 100"),
        ({"cells": 4}, "cells is 4"),
        ({"max_window": 0}, "max_window"),
        ({"mode": 0o077}, "mode"),
        ({"permit_keys": 0}, "permit_keys"),
        ({"permit_cells": 12}, "permit_cells"),
        ({"on_full": "explode"}, "on_full"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, Any], names: str) -> None:
    with pytest.raises(InvalidOptionError, match=names):
        Limiter(**options)


@pytest.mark.parametrize("clock", ["", "tsc", 3, ManualClock])
def test_a_clock_is_one_of_three(clock: Any) -> None:
    with pytest.raises(ValueError, match='"precise", "coarse" or a ManualClock'):
        Limiter(keys=10, clock=clock)


def test_clocks_do_not_mix(path: Path, clock: ManualClock) -> None:
    manual = Limiter(path, keys=10, clock=clock)
    with pytest.raises(RegionError, match="clock"):
        Limiter(path, clock="precise")
    with pytest.raises(InvalidOptionError, match="time"):
        Limiter(path).check("key", limit=1)
    assert manual.check("key", limit=1)
    assert Limiter(keys=10, clock="coarse").check("key", limit=1)


def test_a_mode_is_the_files(path: Path) -> None:
    Limiter(path, keys=10, mode=0o640)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


CALLS: list[Callable[[Limiter], object]] = [
    lambda limiter: limiter.check("key", limit=1),
    lambda limiter: limiter.peek("key", limit=1),
    lambda limiter: limiter.check_many(["key"], limit=1),
    lambda limiter: limiter.admit("key", "/mave/chat", limit=1),
    lambda limiter: limiter.permit("key", "/mave/chat"),
    lambda limiter: limiter.in_flight("key", "/mave/chat"),
    lambda limiter: limiter.stats(),
]


@pytest.mark.parametrize("call", CALLS)
def test_after_close_every_call_is_an_error(call: Callable[[Limiter], object]) -> None:
    limiter = Limiter(keys=10)
    call(limiter)
    limiter.close()
    limiter.close()
    assert limiter.closed and repr(limiter) == "<Limiter private closed>"
    with pytest.raises(ClosedError, match="closed") as caught:
        call(limiter)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, MaveraError)


def test_close_lets_go_of_the_region(path: Path) -> None:
    def mapped() -> bool:
        return str(os.stat(path).st_ino) in Path("/proc/self/maps").read_text()

    descriptors = len(os.listdir("/proc/self/fd"))
    limiter = Limiter(path, keys=10)
    permit = limiter.permit("key", "/mave/chat")
    limiter.close()
    # A permit outlives the limiter it came from.
    assert mapped() and Limiter(path).in_flight("key", "/mave/chat") == 1
    assert permit.release()
    del permit, limiter
    assert not mapped() and len(os.listdir("/proc/self/fd")) == descriptors


def test_not_enabled_it_allows_everything_and_opens_nothing(path: Path) -> None:
    limiter = Limiter(path, enabled=False)
    assert not limiter.enabled and not path.exists()
    for _ in range(100):
        decision = limiter.check("key", "starter")
        assert decision and decision.untracked and decision.remaining == 60
    assert len(limiter.check_many(["a", "b"], limit=1)) == 2
    assert limiter.admit("key", "/video-analyses", "starter")
    with limiter.permit("key", "/video-analyses", max=1) as permit:
        assert permit.untracked
    assert limiter.in_flight("key", "/video-analyses") == 0
    assert limiter.stats() is None
    # What is wrong is wrong all the same.
    with pytest.raises(LookupError):
        limiter.check("key", "gold")


def test_it_is_not_pickled_but_says_what_to_do() -> None:
    with pytest.raises(TypeError, match="open the same path"):
        pickle.dumps(Limiter(keys=10))


def test_its_counters(limiter: Limiter) -> None:
    limiter.check_many(["a", "b"], limit=1)
    stats = limiter.stats()
    assert stats is not None
    assert (stats.inserted, stats.keys_held, stats.evicted, stats.full) == (2, 2, 0, 0)
    assert stats.keys_capacity >= 1000 and stats.bytes > 1000 * 64 * 8
    assert (stats.cells, stats.permit_cells, stats.max_window) == (64, 16, 60.0)


PLAN = """
window = "60s"
[tiers]
free = { limit = 2, window = "2h" }
[endpoints]
"/jobs" = { in_flight = 2, also = ["/*/jobs"], lease = "5m" }
[keys]
"known" = "free"
"big" = { tier = "free", limit = 5000, window = "1s" }
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    return path


def test_a_plan_from_a_file(plan: Path) -> None:
    limiter = Limiter(keys=10, plan=plan, tier="free")
    assert limiter.plan.tiers == {"free": (2, 7200.0)}
    [endpoint] = limiter.plan.endpoints
    assert (endpoint.path, endpoint.max_in_flight, endpoint.lease) == ("/jobs", 2, 300)
    assert limiter.plan.endpoint("/v1/jobs?x").path == "/jobs"  # type: ignore[union-attr]
    assert limiter.plan.endpoint("/other") is None
    assert limiter.plan.key_policy("big") == (5000, 1.0)
    assert limiter.plan.key_policy("unknown") is None
    # The region holds windows as long as the plan's longest.
    assert limiter.check("known").window == 7200
    assert limiter.check("big").limit == 5000
    assert limiter.check("unknown").limit == 2


def test_a_key_that_a_plan_does_not_list_is_told_apart(plan: Path) -> None:
    limiter = Limiter(keys=10, plan=plan)
    with pytest.raises(UnknownKeyError, match="does not list this key"):
        limiter.check("unknown")
    assert limiter.check("unknown", "free")


def test_a_plan_that_is_wrong_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text("[tiers]\nfree = -1\n")
    with pytest.raises(PlanError, match=r"plan\.toml:2: tiers\.free") as caught:
        Plan.load(path)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(PlanError, match="cannot read"):
        Limiter(plan=tmp_path / "none.toml")


def test_the_contract_is_the_plan_if_none_is_given() -> None:
    plan = Plan()
    assert {name: limit for name, (limit, _) in plan.tiers.items()} == {
        "starter": 60,
        "basic": 120,
        "professional": 240,
        "enterprise": 600,
    }
    assert [(end.path, end.max_in_flight) for end in plan.endpoints] == [
        ("/mave/chat", 10),
        ("/focus-groups", 5),
        ("/video-analyses", 3),
    ]


def test_a_manual_clock_stands_until_it_is_moved() -> None:
    clock = ManualClock(100.5)
    assert clock.now == 100.5
    clock.advance(0.25)
    assert clock.now == 100.75
    clock.set(3)
    assert clock.now == 3 and repr(clock) == "ManualClock(now=3)"
    for wrong in -1.0, float("nan"), 1e13:
        with pytest.raises(ValueError):
            clock.advance(wrong)
        with pytest.raises(ValueError):
            clock.set(wrong)


def test_a_clock_that_goes_back_admits_no_more(
    limiter: Limiter, clock: ManualClock
) -> None:
    assert limiter.check("key", limit=1)
    clock.set(clock.now - 3600)
    assert not limiter.check("key", limit=1)
