"""Rate limits for ASGI applications: Starlette, FastAPI, Quart, Django.

    from mavera_rl import Limiter
    from mavera_rl.asgi import RateLimitMiddleware

    app = RateLimitMiddleware(app, Limiter("/dev/shm/limits", tier="basic"))

or ``app.add_middleware(RateLimitMiddleware, limiter=limiter)``. Starlette
answers a 500 outside of the middlewares that were added so; around the whole
application it has the headers, too.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from functools import partial
from typing import Any, Literal, TypeAlias, cast
from urllib.parse import quote

from . import _http
from ._native import Decision, Limiter, Permit
from ._workers import PrivateLimiterWarning, Watch
from .errors import UnknownKeyError, UnknownTierError

__all__ = [
    "PrivateLimiterWarning",
    "RateLimitMiddleware",
    "api_key",
    "client_address",
    "header",
]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_RawHeaders: TypeAlias = Iterable[tuple[bytes, bytes]]
_Key: TypeAlias = str | bytes | None
# Called with a scope here, with a Starlette request in mavera_rl.fastapi.
KeyOption: TypeAlias = "str | Callable[[Any], _Key | Awaitable[_Key]]"
TierOption: TypeAlias = (
    "str | Callable[[Any, Any], _http.Tier | Awaitable[_http.Tier]] | None"
)

DECISION = "mavera_rl"
"""Where an application finds the :class:`Decision` in its scope."""


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
_REPLACED: dict[_http.Flavour | None, frozenset[bytes]] = {
    "legacy": _LEGACY,
    "ietf": _IETF,
    "both": _LEGACY | _IETF,
    None: frozenset(),
}
_REPLACED_IN_REFUSALS = {
    flavour: names | _spelt("Retry-After") for flavour, names in _REPLACED.items()
}

# Not part of a field's value (RFC 9110, 5.5), though not every server takes it
# away.
_SPACE = b" \t"

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


def _text(value: bytes) -> str:
    # As UTF-8, so that text and bytes of a key are the same key to the
    # limiter. Latin-1 reads what is left.
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _find_api_key(headers: _RawHeaders) -> bytes | None:
    authorization: bytes | None = None
    for name, value in headers:
        if name == b"x-api-key":
            key = value.strip(_SPACE)
            if key:
                return key
        elif name == b"authorization" and authorization is None:
            authorization = value
    if authorization is None:
        return None
    token = _http.bearer(authorization.decode("latin-1"))
    return None if token is None else token.encode("latin-1")


def api_key(connection: Mapping[str, Any]) -> str | None:
    """The key in ``X-API-Key``, or else the token of ``Authorization: Bearer``.

    connection: an ASGI scope, or a Starlette request or websocket.
    """
    key = _find_api_key(connection["headers"])
    return None if key is None else _text(key)


class _Header:
    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name.strip().lower().encode("latin-1")

    def find(self, headers: _RawHeaders) -> bytes | None:
        wanted = self._name
        for name, value in headers:
            if name == wanted:
                return value.strip(_SPACE) or None
        return None

    def __call__(self, connection: Mapping[str, Any], key: object = None) -> str | None:
        value = self.find(connection["headers"])
        return None if value is None else _text(value)


def header(name: str) -> _Header:
    """A callable that reads the first header of this name.

    For ``key`` and for ``tier``. Any client can send any header: a tier comes
    from one only behind a gateway that sets it on every request, and so takes
    away what the client sent. A tier that the plan does not have is passed
    over, as if the header was missing.
    """
    return _Header(name)


def client_address(connection: Mapping[str, Any]) -> str | None:
    """The address of the peer, for ``key``; ``None`` over a Unix socket.

    Never from ``X-Forwarded-For``: the client writes that header, and would
    choose its own key, a new one for every request. Behind a proxy let the
    server put the client's address into the scope from a proxy that it trusts
    (uvicorn: ``--proxy-headers --forwarded-allow-ips``).
    """
    client = connection.get("client")
    return str(client[0]) if client else None


def waits(function: Callable[..., object]) -> bool:
    """Whether calling ``function`` gives something to await.

    Functions, bound methods, partials, and objects with an async ``__call__``.
    """
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        type(function).__call__
    )


class Caller:
    """Who is asking and what the tier is: the options ``key`` and ``tier``."""

    __slots__ = (
        "_key",
        "_key_waits",
        "_tier",
        "_tier_waits",
        "_tiers",
        "find",
        "tier",
        "varies",
    )

    def __init__(self, limiter: Limiter, key: KeyOption, tier: TierOption) -> None:
        # Fixed with the plan: only the numbers of a tier can change.
        self._tiers = frozenset(limiter.plan.tiers)
        if isinstance(key, str):
            key = header(key)
        self.find: Callable[[_RawHeaders], bytes | None] | None = None
        """How a key is found in raw headers, if that is all it takes."""
        if key is api_key:
            self.find = _find_api_key
        elif isinstance(key, _Header):
            self.find = key.find
        self._key = key
        self._key_waits = waits(key)
        self.tier: str | None = None
        """The tier of all requests, unless it varies."""
        self._tier: Callable[[Any, Any], _http.Tier | Awaitable[_http.Tier]] | None
        if tier is None or isinstance(tier, str):
            if tier is not None and tier not in self._tiers:
                raise UnknownTierError(
                    f'the plan has no tier "{tier}"; its tiers: '
                    + ", ".join(limiter.plan.tiers)
                )
            self.tier, self._tier, self._tier_waits = tier, None, False
        else:
            self._tier, self._tier_waits = tier, waits(tier)
        self.varies = self._tier is not None
        """Whether the tier is to be asked for, with :meth:`quota`."""

    async def key(self, connection: Mapping[str, Any]) -> _Key:
        if self.find is not None:
            return self.find(connection["headers"])
        key = self._key
        # A name became a header's callable, which has a `find`.
        assert not isinstance(key, str)
        found = key(connection)
        if self._key_waits:
            found = await cast("Awaitable[_Key]", found)
        return cast("_Key", found)

    async def quota(
        self, connection: Mapping[str, Any], key: str | bytes
    ) -> tuple[str | None, int | None, float | None]:
        """Tier, limit and window (seconds) as the limiter takes them."""
        ask = self._tier
        if ask is None:
            return self.tier, None, None
        if self.find is not None and isinstance(key, bytes):
            key = _text(key)
        tier = ask(connection, key)
        if self._tier_waits:
            tier = await cast("Awaitable[_http.Tier]", tier)
        if isinstance(ask, _Header) and tier not in self._tiers:
            tier = None
        return _http.numbers(cast("_http.Tier", tier))


def target(scope: Mapping[str, Any]) -> bytes | str:
    """The path that the client sent, with the prefix of a mounted application."""
    raw: bytes | None = scope.get("raw_path")
    if raw:
        return raw
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    # Within `path` by the specification; servers older than its version 2.4
    # leave it out.
    if root and not path.startswith(root):
        path = root + path
    # Decoded: what is special in a target is only data here.
    return quote(path.encode("utf-8", "surrogatepass"), safe="/;:@&=+$,!~*'()")


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
    replaced = (_REPLACED if decision.allowed else _REPLACED_IN_REFUSALS)[flavour]
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


def _adding_headers(
    send: Send, decision: Decision, flavour: _http.Flavour | None
) -> Send:
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


async def _refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    status: int,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    close: tuple[int, str],
) -> None:
    prefix = ""
    if scope["type"] == "websocket":
        # The handshake is answered after it was received.
        if (await receive())["type"] != "websocket.connect":
            return
        if "websocket.http.response" not in (scope.get("extensions") or ()):
            code, reason = close
            await send({"type": "websocket.close", "code": code, "reason": reason})
            return
        prefix = "websocket."
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *headers,
    ]
    await send(
        {"type": prefix + "http.response.start", "status": status, "headers": headers}
    )
    await send({"type": prefix + "http.response.body", "body": body})


class RateLimitMiddleware:
    """Limits the requests and websockets of an ASGI application.

    limiter: with a path, one limit for all workers of the server.
    key: whose quota a request is charged to: a header's name, or a callable
        that takes the scope and returns ``str``, ``bytes`` or ``None``, async
        or not. ``X-API-Key`` or else a bearer token, if not given. See
        :func:`header` and :func:`client_address`.
    tier: the name of a tier of the plan's; or a callable that takes the scope
        and the key and returns a name, a limit, a limit and its window in
        seconds, or ``None``, async or not; or :func:`header`, with the caution
        said there. ``None``: by the plan and the limiter. A sync callable runs
        in the event loop and must not block.
    headers: ``legacy``, ``ietf`` or ``both``, as :meth:`Decision.headers`; or
        ``None`` for no more than the ``Retry-After`` of refusals. The
        application's own of the same names are replaced.
    without_key: ``refuse`` with a 401 (a CORS preflight has no key: put the
        middleware for CORS around this one), or ``pass`` without a limit. A key
        that is none of the plan's, where the plan alone knows the tiers, is a
        401 in any case.
    skip: a callable that takes the scope; if it returns true, async or not,
        the request is not limited.

    A refused request is answered with 429; the application does not see it. A
    refused websocket is answered so where the server can (the extension
    ``websocket.http.response``), and is closed with code 1013 (1008 for a 401)
    before it is accepted where it cannot. A websocket is charged once, for
    its handshake.

    A permit is held until the last byte of the response was handed to the
    server, the application has ended, or it has received the disconnect.
    Background tasks of Starlette run after that. The application finds the
    :class:`Decision` at ``scope["mavera_rl"]``.

    An endpoint of the plan is matched with the path that the client sent, with
    the prefix of a mounted application.

    Warns with :class:`PrivateLimiterWarning` where several workers each have a
    limiter without a path.

    Raises :class:`UnknownTierError` here if the plan has no such ``tier``;
    during a request what :meth:`Limiter.admit` raises, other than
    :class:`UnknownKeyError`.
    """

    def __init__(
        self,
        app: App,
        limiter: Limiter,
        *,
        key: KeyOption = api_key,
        tier: TierOption = None,
        headers: _http.Flavour | None = "legacy",
        without_key: Literal["refuse", "pass"] = "refuse",
        skip: Callable[[Scope], bool | Awaitable[bool]] | None = None,
    ) -> None:
        if headers not in _REPLACED:
            raise ValueError(f"headers: {headers!r} is no flavour")
        if without_key not in ("refuse", "pass"):
            raise ValueError(f'without_key: {without_key!r}, not "refuse" or "pass"')
        self.app = app
        self._limiter = limiter
        self._caller = Caller(limiter, key, tier)
        self._flavour: _http.Flavour | None = headers
        self._needs_key = without_key == "refuse"
        self._skip = skip
        self._skip_waits = skip is not None and waits(skip)
        self._watch = Watch.over(limiter)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind: str = scope["type"]
        if kind != "http" and kind != "websocket":
            await self.app(scope, receive, send)
            return
        if self._watch is not None and not self._watch.request():
            self._watch = None
        if self._skip is not None:
            skipped = self._skip(scope)
            if self._skip_waits:
                skipped = await cast("Awaitable[bool]", skipped)
            if skipped:
                await self.app(scope, receive, send)
                return

        caller = self._caller
        # Most requests need no coroutine to find key and tier.
        if caller.find is not None:
            key: _Key = caller.find(scope["headers"])
        else:
            key = await caller.key(scope)
        if not key:
            if self._needs_key:
                await self._unknown(_http.NO_KEY, scope, receive, send)
            else:
                await self.app(scope, receive, send)
            return
        try:
            if not caller.varies:
                admission = self._limiter.admit(key, target(scope), caller.tier)
            else:
                tier, limit, window = await caller.quota(scope, key)
                admission = self._limiter.admit(
                    key, target(scope), tier, limit=limit, window=window
                )
        except UnknownKeyError:
            await self._unknown(_http.INVALID_KEY, scope, receive, send)
            return
        # From here on a permit may be held: no await before the `try`.

        decision = admission.decision
        if not decision.allowed:
            await self._refused(decision, scope, receive, send)
            return
        scope[DECISION] = decision
        permit = admission.permit
        if permit is None:
            if self._flavour is None:
                await self.app(scope, receive, send)
                return
            await self.app(
                scope, receive, _adding_headers(send, decision, self._flavour)
            )
            return
        exchange = Exchange(receive, send, self._flavour, decision, (permit,))
        try:
            await self.app(scope, exchange.receive, exchange.send)
        finally:
            exchange.release()

    async def _refused(
        self, decision: Decision, scope: Scope, receive: Receive, send: Send
    ) -> None:
        await _refuse(
            scope,
            receive,
            send,
            429,
            response_headers(decision, self._flavour),
            decision.body(),
            (TRY_AGAIN_LATER, decision.reason or ""),
        )

    async def _unknown(
        self, body: bytes, scope: Scope, receive: Receive, send: Send
    ) -> None:
        await _refuse(
            scope,
            receive,
            send,
            401,
            [(b"www-authenticate", b"Bearer")],
            body,
            (POLICY_VIOLATION, "invalid_api_key"),
        )
