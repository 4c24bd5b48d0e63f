"""Rate limits for ASGI applications: Starlette, FastAPI, Quart, Django.

    from mavera_rl import Limiter
    from mavera_rl.asgi import RateLimitMiddleware

    app = RateLimitMiddleware(app, Limiter("/dev/shm/limits", tier="basic"))

or ``app.add_middleware(RateLimitMiddleware, limiter=limiter)``. Starlette
answers a 500 outside of the middlewares that were added so; around the whole
application it has the headers, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Literal, TypeAlias, cast

from . import _http
from ._asgi_caller import (
    Caller,
    Key,
    KeyOption,
    TierOption,
    api_key,
    client_address,
    header,
    target,
    waits,
)
from ._asgi_exchange import (
    POLICY_VIOLATION,
    REPLACED,
    TRY_AGAIN_LATER,
    Exchange,
    Receive,
    Send,
    adding_headers,
    response_headers,
)
from ._native import Decision, Limiter
from ._workers import PrivateLimiterWarning, Watch
from .errors import UnknownKeyError

__all__ = [
    "PrivateLimiterWarning",
    "RateLimitMiddleware",
    "api_key",
    "client_address",
    "header",
]

Scope: TypeAlias = MutableMapping[str, Any]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

DECISION = "mavera_rl"
"""Where an application finds the :class:`Decision` in its scope."""


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
        if headers not in REPLACED:
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
            key: Key = caller.find(scope["headers"])
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
                scope, receive, adding_headers(send, decision, self._flavour)
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
