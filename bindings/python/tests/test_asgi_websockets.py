"""Websockets: limited once, at their handshake."""

from __future__ import annotations

import json

import pytest

from asgi_tools import (
    CHAT,
    CONNECT,
    DENIAL,
    Message,
    Receive,
    Scope,
    Send,
    Server,
    limiter,
    never,
    websocket,
)
from mavera_rl import Limiter
from mavera_rl.asgi import RateLimitMiddleware


def test_an_accepted_websocket_has_the_headers_and_sees_its_connect() -> None:
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())
        await send({"type": "websocket.accept", "headers": [(b"a", b"b")]})
        await send({"type": "websocket.send", "text": "hello"})

    for path in ("/", CHAT):
        server = Server(CONNECT)
        server.run(RateLimitMiddleware(app, limiter()), websocket(path))
        assert server.kinds == ["websocket.accept", "websocket.send"]
        assert server.headers[b"a"] == b"b"
        assert server.headers[b"x-ratelimit-remaining"] == b"59"
    assert seen == [CONNECT, CONNECT]


@pytest.mark.parametrize("last", ["close", "disconnect", "denial", "return"])
def test_a_websocket_holds_its_permit_until_it_ends(last: str) -> None:
    own = limiter()
    held: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        def note() -> None:
            held.append(own.in_flight("k", CHAT))

        await receive()
        if last == "denial":
            await send({"type": "websocket.http.response.start", "status": 403})
            note()
            await send({"type": "websocket.http.response.body", "body": b"no"})
            note()
            return
        await send({"type": "websocket.accept"})
        await receive()
        await send({"type": "websocket.send", "text": "hello"})
        note()
        if last == "close":
            await send({"type": "websocket.close"})
        elif last == "disconnect":
            await receive()
        else:
            return
        note()

    server = Server(
        CONNECT,
        {"type": "websocket.receive", "text": "x"},
        {"type": "websocket.disconnect", "code": 1000},
    )
    server.run(RateLimitMiddleware(app, own), websocket(CHAT))
    assert held == ([1] if last == "return" else [1, 0])
    assert own.in_flight("k", CHAT) == 0
    assert b"x-ratelimit-limit" in server.headers


def _spent() -> Limiter:
    own = limiter()
    own.check("k", cost=60)
    return own


def test_a_refused_websocket_is_closed_before_it_is_accepted() -> None:
    server = Server(CONNECT).run(RateLimitMiddleware(never, _spent()), websocket())
    assert server.incoming == []
    assert server.sent == [
        {"type": "websocket.close", "code": 1013, "reason": "rate_limit_exceeded"}
    ]


def test_a_websocket_without_a_key_is_closed_before_it_is_accepted() -> None:
    app = RateLimitMiddleware(never, limiter())
    server = Server(CONNECT).run(app, websocket("/", (b"a", b"b")))
    assert server.sent == [
        {"type": "websocket.close", "code": 1008, "reason": "invalid_api_key"}
    ]


@pytest.mark.parametrize(
    ("scope", "status"),
    [(websocket(**DENIAL), 429), (websocket("/", (b"a", b"b"), **DENIAL), 401)],
)
def test_a_refused_websocket_is_answered_where_the_server_can(
    scope: Scope, status: int
) -> None:
    server = Server(CONNECT).run(RateLimitMiddleware(never, _spent()), scope)
    assert server.kinds == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert server.sent[0]["status"] == status
    assert server.headers[b"content-type"] == b"application/json"
    assert (b"retry-after" in server.headers) == (status == 429)
    assert "error" in json.loads(server.sent[1]["body"])


def test_a_refused_websocket_that_is_gone_gets_no_answer() -> None:
    server = Server({"type": "websocket.disconnect", "code": 1006})
    assert server.run(RateLimitMiddleware(never, _spent()), websocket()).sent == []
