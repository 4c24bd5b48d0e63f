"""A server and applications that are no more than their messages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mavera_rl import Limiter, ManualClock

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# At most ten in flight.
CHAT = "/mave/chat"
KEY = (b"x-api-key", b"k")
START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain")],
}
BODY: Message = {"type": "http.response.body", "body": b"ok"}
CONNECT: Message = {"type": "websocket.connect"}


def limiter(tier: str | None = "starter") -> Limiter:
    return Limiter(clock=ManualClock(), tier=tier, keys=64)


def http(path: str = "/", *headers: tuple[bytes, bytes], **more: Any) -> Scope:
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "headers": list(headers or (KEY,)),
        **more,
    }


def websocket(path: str = "/", *headers: tuple[bytes, bytes], **more: Any) -> Scope:
    return {**http(path, *headers), "type": "websocket", "extensions": {}, **more}


# For `websocket`: the server can answer a handshake.
DENIAL: dict[str, Any] = {"extensions": {"websocket.http.response": {}}}


class Server:
    """Gives an application its messages and keeps what it sends."""

    def __init__(self, *incoming: Message) -> None:
        self.incoming = list(incoming)
        self.sent: list[Message] = []
        # Called at every message, before it counts as sent.
        self.at_send: Callable[[Message], None] = lambda message: None

    async def receive(self) -> Message:
        return self.incoming.pop(0)

    async def send(self, message: Message) -> None:
        self.at_send(message)
        self.sent.append(message)

    def run(self, app: App, scope: Scope) -> Server:
        async def call() -> None:
            await app(scope, self.receive, self.send)

        asyncio.run(call())
        return self

    @property
    def kinds(self) -> list[str]:
        return [message["type"] for message in self.sent]

    @property
    def headers(self) -> dict[bytes, bytes]:
        pairs = list(self.sent[0]["headers"])
        assert len(dict(pairs)) == len(pairs), "a header is there twice"
        return dict(pairs)


def sending(*messages: Message) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


ok = sending(START, BODY)


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("the application was called")
