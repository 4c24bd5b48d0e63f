from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera_rl import errors
from mavera_rl.client import Failure, Retry
from mavera_rl.client.retry import is_idempotent


@given(
    attempt=st.integers(1, 5000),
    after=st.floats(0, 1e6),
    backoff=st.floats(0, 100),
    factor=st.floats(1, 10),
    cap=st.floats(0, 100),
    jitter=st.floats(0, 3),
    luck=st.floats(0, 1, exclude_max=True),
)
def test_a_wait_is_never_shorter_than_retry_after(
    attempt: int,
    after: float,
    backoff: float,
    factor: float,
    cap: float,
    jitter: float,
    luck: float,
) -> None:
    retry = Retry(
        backoff=backoff,
        factor=factor,
        max_backoff=cap,
        jitter=jitter,
        random=lambda: luck,
    )
    assert retry.wait(attempt, after) >= after
    assert retry.wait(attempt, None) <= cap * (1 + jitter) + 1e-9


def test_the_backoff_cap_does_not_retry_earlier_than_retry_after() -> None:
    # httpx-retries applied its cap to both and came back too early.
    retry = Retry(max_backoff=1.0, jitter=0.0)
    assert retry.wait(1, 60.0) == 60.0


def test_the_backoff_grows_by_its_factor_up_to_its_cap() -> None:
    retry = Retry(backoff=1.0, factor=3.0, max_backoff=10.0, jitter=0.0)
    assert [retry.wait(n, None) for n in (1, 2, 3, 4)] == [1.0, 3.0, 9.0, 10.0]


def test_jitter_only_lengthens() -> None:
    retry = Retry(backoff=1.0, jitter=0.5, random=lambda: 0.999)
    assert 1.4 < retry.wait(1, None) < 1.5


@pytest.mark.parametrize(
    ("status", "after", "failure"),
    [
        (200, None, None),
        (429, None, Failure.REFUSED),
        (429, 1.0, Failure.REFUSED),
        (503, 1.0, Failure.UNCERTAIN),
        (503, None, None),
        (502, None, Failure.UNCERTAIN),
        (504, None, Failure.UNCERTAIN),
        (500, 1.0, None),
    ],
)
def test_a_status_tells_what_happened(
    status: int, after: float | None, failure: Failure | None
) -> None:
    assert Retry().failure(status, after) is failure


@pytest.mark.parametrize(
    ("failure", "safe", "replayable", "may"),
    [
        (Failure.REFUSED, False, True, True),
        (Failure.REFUSED, True, False, False),
        (Failure.UNSENT, False, False, True),
        (Failure.UNCERTAIN, False, True, False),
        (Failure.UNCERTAIN, True, True, True),
        (Failure.UNCERTAIN, True, False, False),
    ],
)
def test_only_what_does_no_harm_is_repeated(
    failure: Failure, safe: bool, replayable: bool, may: bool
) -> None:
    assert Retry().may_repeat(failure, safe=safe, replayable=replayable) is may


def test_a_single_attempt_passes_everything_on() -> None:
    assert not Retry(attempts=1).may_repeat(Failure.UNSENT, safe=True, replayable=True)


def test_methods_and_the_idempotency_key_make_a_request_idempotent() -> None:
    for method in ("GET", "head", "OPTIONS", "TRACE", "PUT", "DELETE"):
        assert is_idempotent(method, {})
    for method in ("POST", "PATCH", "CONNECT"):
        assert not is_idempotent(method, {})
        assert is_idempotent(method, {"idempotency-KEY": "1"})


def test_each_cap_is_named() -> None:
    retry = Retry(attempts=3, max_total=10.0)
    assert retry.cap(1, 0.0, 10.0) is None
    assert retry.cap(1, 0.0, 10.1) == "max_total"
    assert retry.cap(3, 0.0, 0.0) == "attempts"


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": 0},
        {"max_total": 0.0},
        {"backoff": -1.0},
        {"factor": 0.5},
        {"max_backoff": float("nan")},
        {"jitter": -0.1},
    ],
)
def test_a_number_out_of_range_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(errors.InvalidOptionError):
        Retry(**options)  # type: ignore[arg-type]
