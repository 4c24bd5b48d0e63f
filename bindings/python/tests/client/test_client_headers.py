from __future__ import annotations

import math
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from mavera_rl.client import Quota, parse_quota, parse_retry_after
from mavera_rl.client.headers import LONGEST

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("12", 12.0),
        (" 12 ", 12.0),
        ("1.5", 1.5),
        ("2.", 2.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tuesday, 14-Nov-23 22:13:50 GMT", 30.0),
        ("Tue Nov 14 22:13:50 2023", 30.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST),
        ("99999999999999", LONGEST),
        ("-1", None),
        ("NaN", None),
        ("inf", None),
        ("1e400", None),
        ("1e3", None),
        ("1_000", None),
        ("\u0663", None),
        ("soon", None),
        ("", None),
        ("9" * 5000, None),
    ],
)
def test_retry_after_is_read_in_every_form(text: str, seconds: float | None) -> None:
    assert parse_retry_after({"Retry-After": text}, NOW) == seconds


def test_a_date_counts_from_the_servers_own_date_and_not_from_our_clock() -> None:
    headers = {
        "Retry-After": "Tue, 14 Nov 2023 22:13:50 GMT",
        "Date": "Tue, 14 Nov 2023 22:13:20 GMT",
    }
    for skew in (-3600.0, 0.0, 3600.0):
        assert parse_retry_after(headers, NOW + skew) == 30.0


def test_a_reset_in_unix_seconds_counts_from_the_servers_own_date() -> None:
    headers = {
        "X-RateLimit-Reset": str(int(NOW) + 7),
        "Date": "Tue, 14 Nov 2023 22:13:20 GMT",
    }
    assert parse_quota(headers, NOW + 500).reset_after == 7.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1700000042", 42.0),
        ("1700000042.5", 42.5),
        ("1700000042500", 42.5),
        ("1699999990", 0.0),
        ("42", 42.0),
        ("0.25", 0.25),
        ("6s", 6.0),
        ("1m30s", 90.0),
        ("250ms", 0.25),
        ("1h2m3.5s", 3723.5),
        ("6m0s", 360.0),
        ("500\u00b5s", 0.0005),
        ("2023-11-14T22:13:50Z", 30.0),
        ("2023-11-14T22:13:50.250z", 30.25),
        ("2023-11-14T23:13:50+01:00", 30.0),
        ("2023-11-14 21:43:50-00:30", 30.0),
        ("2023-02-30T00:00:00Z", None),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("999999999", None),
        ("17000000425000000", None),
        ("-5", None),
        ("5x", None),
        ("s", None),
        ("nan", None),
    ],
)
def test_a_reset_is_read_in_every_form(text: str, seconds: float | None) -> None:
    found = parse_quota({"x-ratelimit-reset": text}, NOW).reset_after
    assert found == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("headers", "quota"),
    [
        ({}, Quota()),
        (
            {
                "X-RATELIMIT-LIMIT": "60",
                "x-ratelimit-remaining": "3",
                "X-RateLimit-Reset": "1700000010",
            },
            Quota(60, 3, 10.0),
        ),
        (
            {
                "x-ratelimit-limit-requests": "500",
                "x-ratelimit-remaining-requests": "499",
                "x-ratelimit-reset-requests": "120ms",
            },
            Quota(500, 499, 0.12),
        ),
        (
            {
                "RateLimit": '"default";r=45;t=12',
                "RateLimit-Policy": '"default";q=60;w=60',
            },
            Quota(60, 45, 12.0, 60.0),
        ),
        (
            {
                "RateLimit": '"in-flight";r=2, "default";r=45;t=12',
                "RateLimit-Policy": '"default";q=60;w=60, "in-flight";q=3;'
                'qu="concurrent-requests"',
            },
            Quota(60, 45, 12.0, 60.0),
        ),
        (
            {
                "RateLimit": '"burst";r=9;t=1, "day";r=4;t=5000',
                "RateLimit-Policy": '"burst";q=10;w=1,"day";q=1000;w=86400',
            },
            Quota(1000, 4, 5000.0, 86400.0),
        ),
        (
            {"RateLimit": '"a,b;\\"c";r=1;t=2;pk=:YQ==:'},
            Quota(None, 1, 2.0),
        ),
        ({"RateLimit": "default;r=45;t=12"}, Quota(None, 45, 12.0)),
        (
            {"RateLimit": "limit=100, remaining=50, reset=5"},
            Quota(100, 50, 5.0),
        ),
        (
            {
                "RateLimit": "limit=100, remaining=50, reset=5",
                "RateLimit-Policy": "100;w=30, 5000;w=3600",
            },
            Quota(100, 50, 5.0, 30.0),
        ),
        (
            {
                "RateLimit-Limit": "100, 100;w=60, 9000;w=3600",
                "RateLimit-Remaining": "7",
                "RateLimit-Reset": "5",
            },
            Quota(100, 7, 5.0, 60.0),
        ),
        (
            {
                "RateLimit": '"d";r=45;t=12',
                "X-RateLimit-Limit": "60",
                "X-RateLimit-Remaining": "45",
            },
            Quota(60, 45, 12.0),
        ),
        (
            {
                "RateLimit": '"d";r=45;t=12',
                "X-RateLimit-Limit": "9000",
                "X-RateLimit-Remaining": "8999",
            },
            Quota(None, 45, 12.0),
        ),
        (
            {
                "X-RateLimit-Limit": "-1",
                "X-RateLimit-Remaining": "many",
                "X-RateLimit-Reset": "inf",
            },
            Quota(),
        ),
        ({"X-RateLimit-Limit": "9" * 20}, Quota()),
        ({"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "-3"}, Quota(60)),
        ({"RateLimit": '"unclosed;r=1'}, Quota()),
        ({"RateLimit": ';;;,,,=""'}, Quota()),
    ],
)
def test_a_quota_is_read_in_every_form(headers: dict[str, str], quota: Quota) -> None:
    assert parse_quota(headers, NOW) == quota


def test_headers_of_httpx_and_requests_are_read() -> None:
    plain = {"X-RateLimit-Limit": "5", "rEtRy-aFtEr": "2"}
    for headers in (httpx.Headers(plain), CaseInsensitiveDict(plain)):
        assert parse_quota(headers, NOW).limit == 5
        assert parse_retry_after(headers, NOW) == 2.0


NAMES = st.sampled_from(
    ["Retry-After", "Date", "RateLimit", "RateLimit-Policy"]
    + [
        f"{prefix}RateLimit-{part}"
        for prefix in ("", "X-")
        for part in ("Limit", "Remaining", "Reset")
    ]
)
JUNK = st.one_of(
    st.text(),
    st.text(alphabet='0123456789.,;="-+:Tz hms\\ rtqw', max_size=60),
    st.floats().map(str),
    st.integers().map(str),
    st.datetimes().map(str),
    st.from_regex(r'"[a-z]*";r=[0-9-]+;t=[0-9.]+(, "[a-z]*";r=1)?'),
)


@given(st.dictionaries(NAMES, JUNK), st.floats(-1e12, 1e12))
def test_junk_never_raises_and_never_leaves_the_range(
    headers: dict[str, str], now: float
) -> None:
    quota = parse_quota(headers, now)
    after = parse_retry_after(headers, now)
    for number in (quota.limit, quota.remaining):
        assert number is None or 0 <= number <= 10**12
    for seconds in (quota.reset_after, after):
        assert seconds is None or 0.0 <= seconds <= LONGEST
        assert seconds is None or math.isfinite(seconds)
    assert quota.window is None or 0.0 < quota.window <= LONGEST


def test_values_that_are_no_text_are_not_read() -> None:
    odd: Any = {"Retry-After": 5, "X-RateLimit-Limit": b"5", 3: "x", "Date": None}
    assert parse_retry_after(odd, NOW) is None
    assert parse_quota(odd, NOW) == Quota()
