"""The binding against an exact sliding log."""

from __future__ import annotations

from collections import defaultdict, deque

from hypothesis import given, settings
from hypothesis import strategies as st

from mavera_rl import ConcurrencyLimited, Limiter, ManualClock, Permit

# Up to 60 a limit is exact to the millisecond with 64 cells.
LIMITS = st.integers(1, 60)
WINDOWS_MS = st.sampled_from([1, 7, 250, 1000, 60_000])


class Log:
    """Every unit with its time: what any other algorithm approximates."""

    def __init__(self) -> None:
        self.units: defaultdict[tuple[str, int], deque[int]] = defaultdict(deque)

    def spend(self, key: str, limit: int, window: int, cost: int, now: int) -> bool:
        units = self.units[key, window]
        while units and units[0] + window <= now:
            units.popleft()
        if len(units) + cost > limit:
            return False
        units.extend([now] * cost)
        return True


@settings(max_examples=300, deadline=None)
@given(
    window=WINDOWS_MS,
    steps=st.lists(
        st.tuples(
            st.sampled_from("abc"),
            LIMITS,
            st.integers(0, 5),
            st.one_of(st.just(0), st.integers(0, 40), st.integers(0, 70_000)),
        ),
        max_size=120,
    ),
)
def test_it_admits_what_an_exact_log_admits(
    window: int, steps: list[tuple[str, int, int, int]]
) -> None:
    clock = ManualClock()
    limiter = Limiter(keys=100, clock=clock)
    log = Log()
    now = 0
    for key, limit, cost, wait in steps:
        clock.advance(wait / 1000)
        now += wait
        cost = min(cost, limit)
        decision = limiter.check(key, limit=limit, window=window / 1000, cost=cost)
        allowed = log.spend(key, limit, window, cost, now)
        spent = len(log.units[key, window])
        assert decision.allowed == allowed
        assert decision.used == spent
        assert decision.remaining == max(0, limit - spent)
        if not decision:
            wait = round(decision.retry_after * 1000)
            oldest = log.units[key, window]
            frees = [at for at in oldest if at + window <= now + wait]
            assert spent - len(frees) + cost <= limit
            frees = [at for at in oldest if at + window <= now + wait - 1]
            assert spent - len(frees) + cost > limit


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from("ab"), st.booleans(), st.integers(0, 20)),
        max_size=80,
    )
)
def test_it_holds_as_many_permits_as_a_list_of_holders(
    steps: list[tuple[str, bool, int]],
) -> None:
    limiter = Limiter(keys=100)
    holders: defaultdict[str, list[Permit]] = defaultdict(list)
    for key, take, number in steps:
        held = holders[key]
        if take:
            most = number % 16 + 1
            try:
                held.append(limiter.permit(key, "jobs", max=most))
            except ConcurrencyLimited as busy:
                assert busy.in_flight == len(held) >= most
            else:
                assert len(held) <= most
        elif held:
            permit = held.pop(number % len(held))
            assert permit.release() and not permit.release()
        assert limiter.in_flight(key, "jobs") == len(held)
