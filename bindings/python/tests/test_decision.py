"""Decisions are values, and say what the response's headers say."""

from __future__ import annotations

import json

import pytest

from mavera_rl import Decision, Limiter, ManualClock, RateLimited


@pytest.fixture
def refused(limiter: Limiter) -> Decision:
    limiter.check("key", "starter", cost=60)
    return limiter.check("key", "starter")


def test_it_cannot_be_changed(limiter: Limiter) -> None:
    decision = limiter.check("key", limit=1)
    with pytest.raises(AttributeError):
        decision.allowed = False  # type: ignore[misc]
    with pytest.raises(AttributeError):
        decision.note = 1  # type: ignore[attr-defined]
    assert not hasattr(decision, "__dict__")


def test_equal_ones_are_equal(limiter: Limiter) -> None:
    one, two = limiter.peek("a", limit=1), limiter.peek("b", limit=1)
    assert one == two and hash(one) == hash(two)
    assert one != limiter.peek("a", limit=2) and one != "allowed"
    on = [limiter.admit(key, "/mave/chat", limit=9).decision for key in "cd"]
    assert on[0] == on[1] and len({*on}) == 1
    assert on[0] != limiter.admit("e", "/focus-groups", limit=9).decision


def test_its_headers_are_the_contracts(limiter: Limiter, clock: ManualClock) -> None:
    assert limiter.check("key", "starter").headers() == {
        "X-RateLimit-Limit": "60",
        "X-RateLimit-Remaining": "59",
        "X-RateLimit-Reset": str(int(clock.now) + 60),
    }


def test_a_refusals_headers_say_when_to_come_again(
    refused: Decision, clock: ManualClock
) -> None:
    assert refused.headers() == {
        "X-RateLimit-Limit": "60",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(int(clock.now) + 60),
        "Retry-After": "60",
    }
    assert refused.reset_at == clock.now + 60


def test_the_drafts_headers(refused: Decision) -> None:
    assert refused.headers("ietf") == {
        "RateLimit-Policy": '"default";q=60;w=60',
        "RateLimit": '"default";r=0;t=60',
        "Retry-After": "60",
    }
    assert len(refused.headers("both")) == 6
    with pytest.raises(ValueError, match='"legacy", "ietf" or "both"'):
        refused.headers("x")  # type: ignore[arg-type]


def test_raw_headers_are_bytes_with_names_in_lower_case(refused: Decision) -> None:
    assert refused.raw_headers("both") == [
        (name.lower().encode(), value.encode())
        for name, value in refused.headers("both").items()
    ]


def test_its_body_is_the_contracts(refused: Decision) -> None:
    assert json.loads(refused.body()) == {
        "error": {
            "message": "Rate limit exceeded. Please retry after 60 seconds.",
            "type": "rate_limit_error",
            "code": "rate_limit_exceeded",
            "param": None,
        }
    }


def test_an_allowed_one_has_no_body(limiter: Limiter) -> None:
    assert limiter.check("key", limit=1).body() == b""


def test_it_shows_what_it_says(limiter: Limiter, refused: Decision) -> None:
    assert repr(limiter.check("other", limit=5)) == "<Decision allowed remaining=4/5>"
    assert repr(refused) == (
        "<Decision rate_limit_exceeded retry_after=60 remaining=0/60>"
    )


def test_a_refusal_can_be_raised(refused: Decision) -> None:
    error = RateLimited(refused)
    assert error.decision is refused
    assert str(error) == "rate_limit_exceeded: retry after 60.0 seconds"
