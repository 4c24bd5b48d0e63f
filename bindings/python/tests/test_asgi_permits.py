"""How long a permit is held."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from asgi_tools import (
    BODY,
    CHAT,
    START,
    Message,
    Receive,
    Scope,
    Send,
    Server,
    http,
    limiter,
    sending,
    websocket,
)
from mavera_rl._asgi_exchange import Exchange
from mavera_rl.asgi import RateLimitMiddleware


def test_a_permit_is_held_until_the_last_body_was_sent() -> None:
    own = limiter()
    held: list[int] = []
    server = Server()
    server.at_send = lambda message: held.append(own.in_flight("k", CHAT))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({**BODY, "more_body": True})
        await send({**BODY, "more_body": False})
        held.append(own.in_flight("k", CHAT))

    server.run(RateLimitMiddleware(app, own), http(CHAT))
    assert held == [1, 1, 1, 0]


@pytest.mark.parametrize(
    "last",
    [
        {"type": "http.response.body"},
        {"type": "http.response.pathsend", "path": "/x"},
        {"type": "http.response.zerocopysend", "file": 3},
    ],
)
def test_a_permit_is_released_after_any_kind_of_last_message(last: Message) -> None:
    own = limiter()
    held: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        held.append(own.in_flight("k", CHAT))
        await send(last)
        held.append(own.in_flight("k", CHAT))

    Server().run(RateLimitMiddleware(app, own), http(CHAT))
    assert held == [1, 0]


def test_with_trailers_a_permit_is_held_until_the_last_of_them() -> None:
    own = limiter()
    held: list[int] = []
    trailers: Message = {"type": "http.response.trailers", "headers": []}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in (
            {**START, "trailers": True},
            BODY,
            {**trailers, "more_trailers": True},
            trailers,
        ):
            await send(message)
            held.append(own.in_flight("k", CHAT))

    Server().run(RateLimitMiddleware(app, own), http(CHAT))
    assert held == [1, 1, 1, 0]


@pytest.mark.parametrize("sent", [[], [START], [START, {**BODY, "more_body": True}]])
def test_an_application_that_returns_early_gives_its_permit_back(
    sent: list[Message],
) -> None:
    own = limiter()
    Server().run(RateLimitMiddleware(sending(*sent), own), http(CHAT))
    assert own.in_flight("k", CHAT) == 0
    assert own.peek("k").used == 1


@pytest.mark.parametrize("error", [ValueError, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize("scope", [http(CHAT), websocket(CHAT)])
def test_an_application_that_raises_gives_its_permit_back(
    error: type[BaseException], scope: Scope
) -> None:
    own = limiter()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert own.in_flight("k", CHAT) == 1
        raise error

    with pytest.raises(error):
        Server().run(RateLimitMiddleware(app, own), scope)
    assert own.in_flight("k", CHAT) == 0


def test_a_server_that_cannot_send_the_last_body_gets_the_permit_back() -> None:
    own = limiter()
    held: list[int] = []
    server = Server()

    def fail(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError("gone")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        with pytest.raises(OSError, match="gone"):
            await send(BODY)
        held.append(own.in_flight("k", CHAT))

    server.at_send = fail
    server.run(RateLimitMiddleware(app, own), http(CHAT))
    assert held == [0]


def test_a_permit_is_released_when_the_application_hears_of_the_disconnect() -> None:
    own = limiter()
    held: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(2):
            await receive()
            held.append(own.in_flight("k", CHAT))

    request = {"type": "http.request", "body": b"x"}
    server = Server(request, {"type": "http.disconnect"})
    server.run(RateLimitMiddleware(app, own), http(CHAT))
    assert held == [1, 0]


class CountingPermit:
    def __init__(self) -> None:
        self.releases = 0

    def release(self) -> bool:
        self.releases += 1
        return True


def test_a_permit_is_released_once() -> None:
    server = Server({"type": "http.disconnect"})
    exchange = Exchange(server.receive, server.send, "legacy")
    permits: list[Any] = [CountingPermit(), CountingPermit()]
    for permit in permits:
        exchange.hold(permit)

    async def run() -> None:
        await exchange.send(START)
        await exchange.send(BODY)
        await exchange.send(BODY)
        await exchange.receive()

    asyncio.run(run())
    exchange.release()
    assert [permit.releases for permit in permits] == [1, 1]


def test_a_permit_is_not_taken_from_whoever_has_it_next() -> None:
    own = limiter()
    others = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(BODY)
        others.append(own.permit("k", CHAT))
        await send(BODY)
        await receive()

    server = Server({"type": "http.disconnect"})
    server.run(RateLimitMiddleware(app, own), http(CHAT))
    assert own.in_flight("k", CHAT) == len(others) == 1


def test_no_order_of_messages_leaves_a_permit_behind() -> None:
    own = limiter("enterprise")
    messages: list[Message] = [
        {**START, "trailers": True},
        START,
        BODY,
        {**BODY, "more_body": True},
        {"type": "http.response.trailers", "headers": []},
        {"type": "http.response.pathsend", "path": "/x"},
        {"type": "websocket.accept"},
        {"type": "websocket.close"},
    ]
    order = random.Random(7)
    for _ in range(200):
        some = order.choices(messages, k=order.randrange(6))
        scope = order.choice([http, websocket])(CHAT)
        own.plan.set_tier("enterprise", 1_000_000)
        Server().run(RateLimitMiddleware(sending(*some), own), scope)
        assert own.in_flight("k", CHAT) == 0
