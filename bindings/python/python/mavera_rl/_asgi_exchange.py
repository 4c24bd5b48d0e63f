"""The messages of a connection: headers are added, permits are given back.

For the middleware as for the dependency of FastAPI. Nothing here knows whose
connection it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from . import _http
from ._native import Decision, Permit

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


def _spelt(*names: str) -> frozenset[bytes]:
    # Lower case by the specification, but not by every application. Cheaper
    # than to convert each name of each response.
    return frozenset(
        spelling.encode()
        for name in names
        for spelling in (name.lower(), name, name.title())
    )


_RETRY_AFTER = b"retry-after"
_LEGACY = _spelt("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
_IETF = _spelt("RateLimit-Policy", "RateLimit")
REPLACED: dict[_http.Flavour | None, frozenset[bytes]] = {
    "legacy": _LEGACY,
    "ietf": _IETF,
    "both": _LEGACY | _IETF,
    None: frozenset(),
}
"""By flavour, the application's own headers that ours take the place of."""

_REPLACED_IN_REFUSALS = {
    flavour: names | _spelt("Retry-After") for flavour, names in REPLACED.items()
}

_OTHER_STARTS = frozenset(("websocket.accept", "websocket.http.response.start"))

# The messages that may be the last of a response, with the flag by which they
# say that they are not.
_LAST = {
    "http.response.body": "more_body",
    "http.response.pathsend": "",
    "http.response.zerocopysend": "more_body",
    "websocket.http.response.body": "more_body",
    "websocket.close": "",
}
_LAST_TRAILERS = {"http.response.trailers": "more_trailers"}

# RFC 6455, 7.4.1 and IANA's registry: policy violation, try again later.
POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013


def response_headers(
    decision: Decision, flavour: _http.Flavour | None
) -> list[tuple[bytes, bytes]]:
    """The headers that say ``decision``.

    Without a flavour a refusal still has ``Retry-After``: a client that does
    not know when to come again comes at once.
    """
    if flavour is not None:
        return decision.raw_headers(flavour)
    if decision.allowed:
        return []
    return [pair for pair in decision.raw_headers() if pair[0] == _RETRY_AFTER]


def _with_headers(
    message: Message, decision: Decision, flavour: _http.Flavour | None
) -> Message:
    replaced = (REPLACED if decision.allowed else _REPLACED_IN_REFUSALS)[flavour]
    # Copies: message and list may be constants of the application's.
    headers: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
    for name, _ in headers:
        if name in replaced:
            headers = [pair for pair in headers if pair[0] not in replaced]
            break
    headers += response_headers(decision, flavour)
    message = dict(message)
    message["headers"] = headers
    return message


def adding_headers(
    send: Send, decision: Decision, flavour: _http.Flavour | None
) -> Send:
    """A ``send`` that adds to a response the headers that say ``decision``."""

    # A closure is made and called faster than an object.
    def adding(message: Message) -> Awaitable[None]:
        kind: str = message["type"]
        if kind == "http.response.start" or kind in _OTHER_STARTS:
            message = _with_headers(message, decision, flavour)
        return send(message)

    return adding


class Exchange:
    """The two ways of a connection: adds headers, gives the permits back.

    In place of ``receive`` and ``send`` an application gets those of this
    object. Permits are given back once the last message of the response was
    sent, at a disconnect, and by :meth:`release`, which the owner calls when
    the application is done, however it ended.
    """

    __slots__ = ("_flavour", "_last", "_permits", "_receive", "_send", "decision")

    def __init__(
        self,
        receive: Receive,
        send: Send,
        flavour: _http.Flavour | None,
        decision: Decision | None = None,
        permits: tuple[Permit, ...] = (),
    ) -> None:
        self._receive = receive
        self._send = send
        self._flavour: _http.Flavour | None = flavour
        self._permits = permits
        self._last = _LAST
        self.decision = decision
        """The one that the headers tell of."""

    def hold(self, permit: Permit) -> None:
        """Gives ``permit`` back at the end."""
        self._permits += (permit,)

    def release(self) -> None:
        """Gives back what is held; does nothing the second time."""
        permits, self._permits = self._permits, ()
        for permit in permits:
            permit.release()

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] in ("http.disconnect", "websocket.disconnect"):
            self.release()
        return message

    # Not async, which would cost a coroutine for every message.
    def send(self, message: Message) -> Awaitable[None]:
        kind: str = message["type"]
        if kind == "http.response.start" or kind in _OTHER_STARTS:
            if message.get("trailers", False):
                self._last = _LAST_TRAILERS
            if self.decision is not None:
                message = _with_headers(message, self.decision, self._flavour)
            return self._send(message)
        if self._permits:
            more = self._last.get(kind)
            if more is not None and not message.get(more, False):
                return self._send_last(message)
        return self._send(message)

    async def _send_last(self, message: Message) -> None:
        try:
            await self._send(message)
        finally:
            self.release()
