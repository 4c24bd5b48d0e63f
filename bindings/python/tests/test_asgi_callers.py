"""Whose request it is to the middleware, and of which endpoint."""

from __future__ import annotations

import asyncio
import functools
import json
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_tools import (
    BODY,
    CHAT,
    CONNECT,
    KEY,
    START,
    Receive,
    Scope,
    Send,
    Server,
    http,
    limiter,
    never,
    ok,
    websocket,
)
from mavera_rl import Limiter, ManualClock
from mavera_rl._asgi_caller import target
from mavera_rl.asgi import RateLimitMiddleware, api_key, client_address, header

# Keys and tiers.


def test_a_request_without_a_key_is_a_401() -> None:
    server = Server().run(RateLimitMiddleware(never, limiter()), http("/", (b"a", b"")))
    start, body = server.sent
    assert start["status"] == 401
    assert server.headers[b"www-authenticate"] == b"Bearer"
    assert server.headers[b"content-type"] == b"application/json"
    assert server.headers[b"content-length"] == b"%d" % len(body["body"])
    assert json.loads(body["body"])["error"]["code"] == "invalid_api_key"


PLAN = """
[tiers]
free = 2
[keys]
known = "free"
"""


@pytest.mark.parametrize("without_key", ["refuse", "pass"])
def test_a_key_that_is_none_of_the_plans_is_a_401(
    tmp_path: Path, without_key: Literal["refuse", "pass"]
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    own = Limiter(clock=ManualClock(), keys=64, plan=plan)
    app = RateLimitMiddleware(ok, own, without_key=without_key)
    assert Server().run(app, http("/", (b"x-api-key", b"known"))).sent[1] == BODY
    start, body = Server().run(app, http()).sent
    assert start["status"] == 401
    assert json.loads(body["body"])["error"]["message"] == "Invalid API key."
    assert Server(CONNECT).run(app, websocket()).sent == [
        {"type": "websocket.close", "code": 1008, "reason": "invalid_api_key"}
    ]


@pytest.mark.parametrize("scope", [http("/", (b"a", b"")), websocket("/", (b"a", b""))])
def test_a_request_without_a_key_passes_if_it_may(scope: Scope) -> None:
    app = RateLimitMiddleware(ok, limiter(), without_key="pass")
    assert Server().run(app, scope).sent == [START, BODY]


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([(b"x-api-key", b"a")], "a"),
        ([(b"x-api-key", b" a\t")], "a"),
        ([(b"authorization", b"Bearer a")], "a"),
        ([(b"authorization", b"bEARER  a ")], "a"),
        ([(b"authorization", b"Bearer b"), (b"x-api-key", b"a")], "a"),
        ([(b"x-api-key", b"a"), (b"authorization", b"Bearer b")], "a"),
        ([(b"x-api-key", b"a"), (b"x-api-key", b"b")], "a"),
        ([(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")], "a"),
        ([(b"x-api-key", b""), (b"authorization", b"Bearer a")], "a"),
        ([(b"authorization", b"Basic a")], None),
        ([(b"authorization", b"Bearer ")], None),
        ([(b"x-api-key", b" ")], None),
        ([(b"x-api-key", "é".encode())], "é"),
        ([(b"x-api-key", b"\xe9")], "é"),
        ([], None),
    ],
)
def test_the_key_is_in_x_api_key_or_a_bearer_token(
    headers: list[tuple[bytes, bytes]], key: str | None
) -> None:
    assert api_key({"headers": headers}) == key


@given(st.binary(), st.binary(), st.binary())
def test_no_bytes_in_a_header_raise(key: bytes, token: bytes, tier: bytes) -> None:
    app = RateLimitMiddleware(ok, SHARED, tier=header("X-Tier"))
    headers = [
        (b"x-api-key", key),
        (b"authorization", b"Bearer " + token),
        (b"x-tier", tier),
    ]
    for scope in (http("/", *headers), http("/", *headers[1:])):
        assert Server().run(app, scope).sent[0]["status"] in (200, 401, 429)


SHARED = limiter()


def test_a_key_is_counted_by_its_bytes() -> None:
    own = limiter()
    for value in ("é".encode(), b"\xe9"):
        Server().run(RateLimitMiddleware(ok, own), http("/", (b"x-api-key", value)))
        assert own.peek(value).used == 1
    assert own.peek("é").used == 1


async def async_key(scope: Scope) -> str:
    await asyncio.sleep(0)
    return "a"


class CallableKey:
    def __call__(self, scope: Scope) -> bytes:
        return b"a"


class AsyncCallableKey:
    async def __call__(self, scope: Scope) -> str:
        return "a"

    async def method(self, scope: Scope) -> str:
        return "a"


async def _second(first: str, scope: Scope) -> str:
    return first


@pytest.mark.parametrize(
    "key",
    [
        "X-Api-Key",
        "authorization",
        header("X-Api-Key"),
        lambda scope: "a",
        async_key,
        CallableKey(),
        AsyncCallableKey(),
        AsyncCallableKey().method,
        functools.partial(_second, "a"),
        functools.partial(AsyncCallableKey()),
    ],
)
def test_a_key_is_a_headers_name_or_a_callable_sync_or_async(key: Any) -> None:
    own = limiter()
    app = RateLimitMiddleware(ok, own, key=key)
    Server().run(app, http("/", (b"x-api-key", b"a"), (b"authorization", b"a")))
    assert own.peek("a").used == 1


@pytest.mark.parametrize("key", [None, "", b""])
def test_a_callable_may_find_no_key(key: str | bytes | None) -> None:
    app = RateLimitMiddleware(never, limiter(), key=lambda scope: key)
    assert Server().run(app, http()).sent[0]["status"] == 401


def test_the_peers_address_is_not_what_a_header_says() -> None:
    scope = http("/", (b"x-forwarded-for", b"10.0.0.9"), client=("192.0.2.1", 5))
    assert client_address(scope) == "192.0.2.1"
    assert client_address({**scope, "client": None}) is None
    assert client_address({"type": "http"}) is None


async def async_tier(scope: Scope, key: str) -> tuple[int, float]:
    await asyncio.sleep(0)
    return 7, 30.0


@pytest.mark.parametrize(
    ("tier", "limit"),
    [
        (None, 60),
        ("basic", 120),
        (lambda scope, key: "enterprise" if key == "k" else "basic", 600),
        (lambda scope, key: 5, 5),
        (lambda scope, key: None, 60),
        (async_tier, 7),
        (header("X-Tier"), 240),
        (header("X-Absent"), 60),
        (header("X-Unknown"), 60),
    ],
)
@pytest.mark.parametrize("key", [api_key, "X-API-Key", lambda scope: "k"])
def test_a_tier_is_a_name_a_callable_or_a_header(
    tier: Any, limit: int, key: Any
) -> None:
    app = RateLimitMiddleware(ok, limiter(), tier=tier, key=key)
    server = Server().run(
        app, http("/", KEY, (b"x-tier", b"professional"), (b"x-unknown", b"\xff"))
    )
    assert server.headers[b"x-ratelimit-limit"] == b"%d" % limit


# Endpoints.


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"path": "/a b", "raw_path": b"/a%20b"}, b"/a%20b"),
        ({"path": "/a", "raw_path": None}, "/a"),
        ({"path": "/a"}, "/a"),
        ({"path": "/a?b#c%2f"}, "/a%3Fb%23c%252f"),
        ({"path": "/é"}, "/%C3%A9"),
        ({"path": "/\udcff"}, "/%ED%B3%BF"),
        ({"path": "/v1/a", "root_path": "/v1"}, "/v1/a"),
        ({"path": "/a", "root_path": "/v1"}, "/v1/a"),
        ({"path": "/v1/a", "root_path": "/v1", "raw_path": b"/v1/a"}, b"/v1/a"),
    ],
)
def test_an_endpoint_is_matched_with_the_path_as_it_was_sent(
    scope: Scope, expected: str | bytes
) -> None:
    assert target(scope) == expected


def test_a_question_mark_within_a_decoded_path_begins_no_query() -> None:
    own = limiter()
    held: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        held.append(own.in_flight("k", CHAT))

    for path in (CHAT, CHAT + "/x", CHAT + "?x"):
        Server().run(RateLimitMiddleware(app, own), http(path, raw_path=None))
    assert held == [1, 1, 0]
