from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mavera_rl import errors
from mavera_rl.client import Ledger, Quota

WINDOW = 1000.0  # Integers as floats: no sum here is rounded.


@dataclass
class Server:
    """A strict sliding window over an exact log."""

    limit: int
    log: deque[float] = field(default_factory=deque)
    refused: int = 0

    def ask(self, now: float) -> bool:
        while self.log and self.log[0] + WINDOW <= now:
            self.log.popleft()
        if len(self.log) >= self.limit:
            return False
        self.log.append(now)
        return True

    def stamp(self, now: float) -> tuple[int, float]:
        while self.log and self.log[0] + WINDOW <= now:
            self.log.popleft()
        reset = self.log[0] + WINDOW if self.log else now
        return self.limit - len(self.log), reset


def simulate(
    limit: int,
    trips: list[tuple[int, int, int]],
    foreign: Sequence[int] = (),
    **options: Any,
) -> tuple[Server, Ledger, float]:
    """Send one request per trip (to admission, to stamp, to answer)."""
    server, ledger = Server(limit), Ledger(limit, WINDOW, **options)
    events: list[tuple[float, int, str, Any]] = []
    counter = iter(range(10**9))

    def at(time: float, kind: str, data: Any = None) -> None:
        heapq.heappush(events, (time, next(counter), kind, data))

    for when in foreign:
        at(float(when), "foreign")
    waiting = list(reversed(trips))
    now, done = 0.0, 0
    while done < len(trips):
        ready = ledger.ready_at(now) if waiting else None
        if ready is not None and ready <= now:
            trip = waiting.pop()
            at(now + trip[0], "admit", (ledger.begin(now), trip))
            continue
        assert events or ready is not None, "deadlock"
        if ready is not None and (not events or ready < events[0][0]):
            now = ready
            continue
        now, _, kind, data = heapq.heappop(events)
        if kind == "foreign":
            server.ask(now)
            continue
        ticket, trip, *rest = data
        if kind == "admit":
            admitted = server.ask(now)
            at(now + trip[1], "stamp", (ticket, trip, admitted))
        elif kind == "stamp":
            at(now + trip[2], "answer", (ticket, trip, rest[0], *server.stamp(now)))
        else:
            admitted, remaining, reset = rest
            quota = Quota(limit, remaining, max(0.0, reset - now))
            ledger.finish(ticket, now, quota, refused=not admitted)
            ledger.release(ticket)
            if admitted:
                done += 1
            else:
                server.refused += 1
                ledger.pause(max(now, reset))
                waiting.append(trip)
    return server, ledger, now


TRIP = st.tuples(st.integers(0, 1500), st.integers(0, 500), st.integers(0, 1500))


@settings(max_examples=300, deadline=None)
@given(
    limit=st.integers(1, 8),
    trips=st.lists(TRIP, max_size=40),
    in_flight=st.none() | st.integers(1, 5),
)
def test_a_strict_server_never_refuses_a_sole_spender(
    limit: int, trips: list[tuple[int, int, int]], in_flight: int | None
) -> None:
    server, ledger, _ = simulate(limit, trips, max_in_flight=in_flight)
    assert server.refused == 0
    assert ledger.foreign == 0


@settings(max_examples=200, deadline=None)
@given(
    limit=st.integers(1, 8),
    trips=st.lists(
        st.tuples(st.integers(0, 100), st.integers(0, 50), st.integers(0, 100)),
        max_size=40,
    ),
    foreign=st.lists(st.integers(0, 5000), max_size=30),
    in_flight=st.integers(1, 4),
)
def test_other_spenders_cause_no_deadlock_and_boundedly_many_refusals(
    limit: int,
    trips: list[tuple[int, int, int]],
    foreign: list[int],
    in_flight: int,
) -> None:
    server, _, now = simulate(limit, trips, foreign, max_in_flight=in_flight)
    # A refusal pauses until a unit leaves the server's window, at most limit
    # of which do so while one foreign unit is in it.
    assert server.refused <= len(foreign) * in_flight * limit
    # Each window lets at least one of ours through after the others ended.
    assert now <= 5000 + (len(trips) + 2) * (WINDOW + 250)


def test_other_spenders_of_a_busy_key_cause_few_refusals() -> None:
    luck = random.Random(7)
    refused = sent = 0
    for _ in range(300):
        trips = [
            (luck.randint(0, 100), luck.randint(0, 50), luck.randint(0, 100))
            for _ in range(luck.randint(1, 60))
        ]
        foreign = [luck.randint(0, 5000) for _ in range(luck.randint(0, 60))]
        server, _, _ = simulate(
            luck.randint(1, 12), trips, foreign, max_in_flight=luck.randint(1, 8)
        )
        refused += server.refused
        sent += len(trips)
    assert refused < 0.15 * sent


@settings(max_examples=200, deadline=None)
@given(limit=st.integers(1, 8), trips=st.lists(TRIP, max_size=30))
def test_an_idle_client_is_never_delayed(
    limit: int, trips: list[tuple[int, int, int]]
) -> None:
    _, ledger, now = simulate(limit, trips)
    later = now + WINDOW
    assert ledger.ready_at(later) == later
    assert not ledger.owes(later)


def test_a_place_is_taken_until_one_window_after_the_answer() -> None:
    ledger = Ledger(1, 60.0)
    ticket = ledger.begin(0.0)
    assert ledger.ready_at(100.0) is None
    ledger.finish(ticket, 100.0)
    assert ledger.ready_at(100.0) == 160.0


def test_a_margin_lengthens_the_window() -> None:
    ledger = Ledger(1, 60.0, margin=1.0)
    ledger.finish(ledger.begin(0.0), 0.0)
    assert ledger.ready_at(0.0) == 61.0


def test_a_cancelled_request_was_never_there() -> None:
    ledger = Ledger(1, 60.0, max_in_flight=1)
    ledger.cancel(ledger.begin(0.0))
    assert ledger.ready_at(0.0) == 0.0
    assert not ledger.owes(0.0)


def test_a_request_that_failed_on_its_way_counts_as_sent() -> None:
    ledger = Ledger(1, 60.0)
    ticket = ledger.begin(0.0)
    ledger.finish(ticket, 5.0)
    ledger.release(ticket)
    assert ledger.ready_at(5.0) == 65.0


def test_a_refused_request_does_not_count() -> None:
    ledger = Ledger(2, 60.0)
    ledger.finish(ledger.begin(0.0), 1.0, Quota(), refused=True)
    assert ledger.used(1.0) == 0


def test_a_place_in_flight_lasts_until_released() -> None:
    ledger = Ledger(None, max_in_flight=1)
    ticket = ledger.begin(0.0)
    ledger.finish(ticket, 1.0)
    assert ledger.ready_at(1.0) is None
    ledger.release(ticket)
    assert ledger.ready_at(1.0) == 1.0


def test_a_pause_stops_everything_and_is_never_shortened() -> None:
    ledger = Ledger(None)
    ledger.pause(30.0)
    ledger.pause(20.0)
    assert ledger.ready_at(0.0) == 30.0


def test_the_servers_limit_and_window_are_adopted() -> None:
    ledger = Ledger(None)
    ledger.finish(ledger.begin(0.0), 0.0, Quota(2, 1, 10.0, 10.0))
    assert (ledger.limit, ledger.window) == (2, 10.0)
    ledger.finish(ledger.begin(0.0), 0.0)
    assert ledger.ready_at(0.0) == 10.0


def test_a_limit_of_zero_is_not_believed() -> None:
    ledger = Ledger(5)
    ledger.finish(ledger.begin(0.0), 0.0, Quota(0, 0))
    assert ledger.limit == 5


def test_foreign_units_are_counted_and_estimated_anew() -> None:
    ledger = Ledger(10, 60.0)
    ledger.finish(ledger.begin(0.0), 1.0, Quota(10, 4, 59.0))
    assert ledger.foreign == 5
    ledger.finish(ledger.begin(2.0), 3.0, Quota(10, 8, 59.0))
    assert ledger.foreign == 0


def test_nothing_goes_before_the_reset_when_nothing_remains() -> None:
    ledger = Ledger(10, 60.0)
    ledger.finish(ledger.begin(0.0), 1.0, Quota(10, 0, 20.0))
    assert ledger.ready_at(1.0) == 21.0


def test_one_probe_goes_at_the_reset_and_its_answer_refreshes() -> None:
    ledger = Ledger(10, 60.0)
    ledger.finish(ledger.begin(0.0), 1.0, Quota(10, 0, 20.0))
    probe = ledger.begin(21.0)
    assert ledger.ready_at(21.0) != 21.0
    ledger.finish(probe, 22.0, Quota(10, 6, 30.0))
    assert ledger.ready_at(22.0) == 22.0


def test_a_probe_without_news_is_not_followed_by_another_at_once() -> None:
    ledger = Ledger(10, 60.0)
    ledger.finish(ledger.begin(0.0), 1.0, Quota(10, 0, 20.0))
    ledger.finish(ledger.begin(21.0), 22.0)
    assert ledger.ready_at(22.0) == 61.0


def test_a_probe_that_was_cancelled_may_go_again() -> None:
    ledger = Ledger(10, 60.0)
    ledger.finish(ledger.begin(0.0), 1.0, Quota(10, 0, 20.0))
    ledger.cancel(ledger.begin(21.0))
    assert ledger.ready_at(21.0) == 21.0


def test_a_late_answer_to_an_earlier_request_does_not_undo_newer_news() -> None:
    ledger = Ledger(10, 60.0)
    first, second = ledger.begin(0.0), ledger.begin(0.0)
    ledger.finish(second, 1.0, Quota(10, 3, 50.0))
    assert ledger.foreign == 5
    ledger.finish(first, 2.0, Quota(10, 9, 50.0))
    assert ledger.foreign == 5


def test_an_entry_that_left_here_while_an_answer_was_under_way_is_not_foreign() -> None:
    ledger = Ledger(10, 60.0)
    ledger.finish(ledger.begin(0.0), 0.0)
    slow = ledger.begin(59.0)
    assert ledger.used(61.0) == 1
    ledger.finish(slow, 62.0, Quota(10, 8, 1.0))
    assert ledger.foreign == 0


def test_a_long_request_under_way_does_not_hold_back_the_others() -> None:
    ledger = Ledger(4, 60.0)
    quick = ledger.begin(0.0)
    for _ in range(2):
        ledger.begin(0.0)
    ledger.finish(quick, 0.1, Quota(4, 1, 60.0))
    ready = ledger.ready_at(0.1)
    assert ready is not None and ready <= 0.2


def test_a_rounded_reset_is_never_longer_than_a_window() -> None:
    ledger = Ledger(1, 10.0)
    ledger.finish(ledger.begin(0.0), 0.0, Quota(1, 0, 11.5))
    assert ledger.ready_at(0.0) == 10.0


def test_a_reset_far_beyond_the_window_is_believed() -> None:
    ledger = Ledger(1, 10.0)
    ledger.finish(ledger.begin(0.0), 0.0, Quota(1, 0, 3600.0))
    assert ledger.ready_at(0.0) == 3600.0


def test_an_older_clock_reading_does_not_bring_time_back() -> None:
    ledger = Ledger(1, 60.0)
    ledger.finish(ledger.begin(10.0), 10.0)
    assert ledger.ready_at(5.0) == 70.0
    assert ledger.ready_at(70.0) == 70.0


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 0},
        {"window": 0.0},
        {"window": float("nan")},
        {"max_in_flight": 0},
        {"margin": -1.0},
    ],
)
def test_a_number_out_of_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidOptionError):
        Ledger(**options)


def test_a_late_reading_does_not_let_a_request_begin_in_the_past() -> None:
    ledger = Ledger(None)
    ledger.finish(ledger.begin(10.0), 10.0)
    assert ledger.ready_at(5.0) == 10.0


def test_an_entry_that_left_before_a_request_was_sent_hides_no_foreign_unit() -> None:
    ledger = Ledger(10, 60.0)
    ledger.finish(ledger.begin(0.0), 0.0)
    ledger.begin(10.0)
    ledger.finish(ledger.begin(61.0), 62.0, Quota(10, 7, 1.0))
    assert ledger.foreign == 1
