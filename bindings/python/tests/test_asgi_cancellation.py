"""A task that is cancelled, at whichever await, leaves no permit behind."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any

import pytest
from fastapi import Depends, FastAPI

from asgi_tools import CHAT, DENIAL, App, Message, Receive, Scope, Send, http, limiter
from mavera_rl import Limiter
from mavera_rl.asgi import RateLimitMiddleware
from mavera_rl.fastapi import RateLimit, install


@types.coroutine
def suspend() -> Generator[None, None, None]:
    """One suspension, without an event loop."""
    yield


def cancelled_at(k: int, work: Coroutine[Any, Any, None]) -> bool:
    """Runs ``work`` and cancels it at its ``k``-th suspension.

    ``False``: it did not have so many.
    """
    suspensions = 0
    try:
        work.send(None)
        while True:
            suspensions += 1
            if suspensions == k:
                work.throw(asyncio.CancelledError())
            else:
                work.send(None)
    except StopIteration:
        return suspensions >= k
    except asyncio.CancelledError:
        return True


def roomy() -> Limiter:
    """With room for a request at every await that is tried."""
    own = limiter()
    own.plan.set_tier("starter", 1000)
    return own


def scope_of(kind: str) -> Scope:
    return {**http(CHAT), "type": kind, "query_string": b"", **DENIAL}


class Server:
    """Suspends at every message, before it counts as sent and after."""

    def __init__(self, *incoming: str) -> None:
        self.incoming = list(incoming)
        self.sent: list[str] = []

    async def receive(self) -> Message:
        await suspend()
        return {"type": self.incoming.pop(0)}

    async def send(self, message: Message) -> None:
        await suspend()
        self.sent.append(message["type"])
        await suspend()


async def http_app(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b"b"})
        await suspend()
    finally:
        await suspend()


async def websocket_app(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await send({"type": "websocket.send", "text": "x"})
        await receive()
        await send({"type": "websocket.close"})
    finally:
        await suspend()


async def stubborn_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Goes on when it is cancelled."""
    for message in (
        {"type": "http.response.start", "status": 200},
        {"type": "http.response.body", "body": b"a", "more_body": True},
        {"type": "http.response.body", "body": b"b"},
    ):
        try:
            await send(message)
        except asyncio.CancelledError:
            await suspend()


async def key(scope: Scope) -> str:
    await suspend()
    return "k"


async def tier(scope: Scope, key: str) -> str:
    await suspend()
    return "starter"


async def skip(scope: Scope) -> bool:
    await suspend()
    return False


INCOMING = {
    "http": ("http.request", "http.disconnect"),
    "websocket": ("websocket.connect", "websocket.receive", "websocket.disconnect"),
}


@pytest.mark.parametrize(
    ("kind", "app", "least"),
    [("http", http_app, 9), ("http", stubborn_app, 6), ("websocket", websocket_app, 9)],
)
@pytest.mark.parametrize("headers", ["legacy", None])
def test_cancelled_at_any_await_no_permit_is_held(
    kind: str, app: App, least: int, headers: Any
) -> None:
    own = roomy()
    limited = RateLimitMiddleware(
        app, own, key=key, tier=tier, skip=skip, headers=headers
    )
    k = 1
    while True:
        server = Server(*INCOMING[kind])
        cancelled = cancelled_at(
            k, limited(scope_of(kind), server.receive, server.send)
        )
        assert own.in_flight("k", CHAT) == 0, f"cancelled at suspension {k}"
        if not cancelled:
            break
        k += 1
    # Those of key, tier and skip besides the application's.
    assert k > least + 3


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_a_refusal_cancelled_at_any_await_leaves_what_others_hold(kind: str) -> None:
    own = roomy()
    held = [own.permit("k", CHAT) for _ in range(10)]
    limited = RateLimitMiddleware(http_app, own, key=key)
    k = 1
    while True:
        server = Server(*INCOMING[kind])
        work = limited(scope_of(kind), server.receive, server.send)
        cancelled = cancelled_at(k, work)
        assert own.in_flight("k", CHAT) == len(held)
        if not cancelled:
            break
        k += 1
    assert [name.removeprefix("websocket.") for name in server.sent] == [
        "http.response.start",
        "http.response.body",
    ]
    assert own.peek("k").used == 0


@pytest.mark.parametrize("after", range(1, 16))
def test_a_fastapi_route_whose_task_is_cancelled_holds_no_permit(after: int) -> None:
    own = roomy()
    app = FastAPI()
    install(app)

    async def slow_tier(request: object, key: str) -> str:
        await asyncio.sleep(0)
        return "starter"

    @app.get(CHAT, dependencies=[Depends(RateLimit(own, tier=slow_tier))])
    async def chat() -> str:
        for _ in range(4):
            await asyncio.sleep(0)
        return "ok"

    async def receive() -> Message:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        await asyncio.sleep(0)

    # Kept: a permit that nothing refers to is given back anyway.
    scope = scope_of("http")

    async def run() -> None:
        async def call() -> None:
            await app(scope, receive, send)

        task = asyncio.ensure_future(call())
        for _ in range(after):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(run())
    assert "app" in scope
    assert own.in_flight("k", CHAT) == 0
