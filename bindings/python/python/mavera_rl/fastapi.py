"""Rate limits for FastAPI, by application, router or route.

    from fastapi import Depends, FastAPI
    from mavera_rl import Limiter
    from mavera_rl.fastapi import RateLimit, install

    app = FastAPI()
    install(app)
    limit = RateLimit(Limiter("/dev/shm/limits", tier="basic"))

    @app.get("/reports", dependencies=[Depends(limit)])
    async def reports() -> list[str]: ...

To limit a whole application whatever its routes are,
:class:`mavera_rl.asgi.RateLimitMiddleware` is simpler and faster.
"""

# Annotations are no strings here: FastAPI cannot look up those of an object's
# `__call__` by name.

from collections.abc import Callable, Mapping
from typing import Any, cast

from fastapi import FastAPI, HTTPException, Response, WebSocket
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, ExceptionHandler, Receive, Scope, Send

from . import _http
from ._asgi_caller import (
    Caller,
    KeyOption,
    TierOption,
    api_key,
    client_address,
    header,
    target,
)
from ._asgi_exchange import POLICY_VIOLATION, TRY_AGAIN_LATER, Exchange
from ._native import Decision, Limiter
from ._workers import PrivateLimiterWarning, Watch
from .errors import RateLimited, UnknownKeyError

__all__ = [
    "MissingKey",
    "PrivateLimiterWarning",
    "RateLimit",
    "RateLimited",
    "UnknownKeyError",
    "api_key",
    "client_address",
    "header",
    "install",
]

# Copies of a scope share the object that is stored here.
_EXCHANGE = "mavera_rl.exchange"
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


class MissingKey(HTTPException):
    """A request without an API key: 401."""

    def __init__(self) -> None:
        super().__init__(401, "No API key.", headers=_CHALLENGE)


class RateLimit:
    """A dependency that limits the requests it is resolved for.

    For ``Depends``, at a parameter, which then is the :class:`Decision`, or in
    the ``dependencies`` of an application, a router or a route, of HTTP and
    websockets (charged once, for the handshake). The application needs
    :func:`install`.

    limiter: with a path, one limit for all workers of the server.
    key: whose quota a request is charged to: a header's name, or a callable
        that takes the Starlette request (on a websocket's route the websocket)
        and returns ``str``, ``bytes`` or ``None``, async or not. ``X-API-Key``
        or else a bearer token, if not given. Without a key: 401.
    tier: the name of a tier of the plan's; or a callable that takes the request
        and the key and returns a name, a limit, a limit and its window in
        seconds, or ``None``, async or not; or :func:`header`, with the caution
        said there. ``None``: by the plan and the limiter. A sync callable runs
        in the event loop and must not block.
    permit: whether the request counts as in flight where the plan has an
        endpoint for its path, until its response is finished. Background tasks
        run after that.

    One object counts once for a request, however often it is depended on; of
    several objects each counts. They do so one after another: when a later one
    refuses, the earlier ones stay charged. The headers are those of the one
    with the least remaining, or of the refusal; permits are all given back at
    the end.

    A refusal is raised as :class:`RateLimited`, a missing key as
    :class:`MissingKey`, one that is none of the plan's, where the plan alone
    knows the tiers, as :class:`UnknownKeyError`. Raises besides
    ``RuntimeError`` without :func:`install`, :class:`UnknownTierError` here if
    the plan has no such ``tier``, and during a request what
    :meth:`Limiter.admit` raises.
    """

    def __init__(
        self,
        limiter: Limiter,
        *,
        key: KeyOption = api_key,
        tier: TierOption = None,
        permit: bool = True,
    ) -> None:
        self._limiter = limiter
        self._caller = Caller(limiter, key, tier)
        self._permit = permit
        self._watch = Watch.over(limiter)

    async def __call__(self, connection: HTTPConnection) -> Decision:
        exchange = _exchange_of(connection.scope)
        if self._watch is not None and not self._watch.request():
            self._watch = None
        key = await self._caller.key(connection)
        if not key:
            raise MissingKey
        tier, limit, window = await self._caller.quota(connection, key)
        if not self._permit:
            decision = self._limiter.check(key, tier, limit=limit, window=window)
        else:
            admission = self._limiter.admit(
                key, target(connection.scope), tier, limit=limit, window=window
            )
            decision = admission.decision
            if admission.permit is not None:
                exchange.hold(admission.permit)
        shown = exchange.decision
        if (
            shown is None
            or not decision.allowed
            or (shown.allowed and decision.remaining < shown.remaining)
        ):
            exchange.decision = decision
        if not decision.allowed:
            raise RateLimited(decision)
        return decision


def _exchange_of(scope: Mapping[str, Any]) -> Exchange:
    exchange = scope.get(_EXCHANGE)
    # A mounted application finds the exchange of the outer one, but it handles
    # exceptions itself.
    handlers = getattr(scope.get("app"), "exception_handlers", {})
    if not isinstance(exchange, Exchange) or RateLimited not in handlers:
        raise RuntimeError(
            "RateLimit needs mavera_rl.fastapi.install(app), of a mounted "
            "application as well"
        )
    return exchange


class _Exchanges:
    """Gives every connection its exchange."""

    def __init__(self, app: ASGIApp, flavour: _http.Flavour | None) -> None:
        self.app = app
        self._flavour: _http.Flavour | None = flavour

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or _EXCHANGE in scope:
            await self.app(scope, receive, send)
            return
        exchange = Exchange(receive, send, self._flavour)
        scope[_EXCHANGE] = exchange
        try:
            await self.app(scope, exchange.receive, exchange.send)
        finally:
            exchange.release()


def install(app: FastAPI, *, headers: _http.Flavour | None = "legacy") -> None:
    """Prepares ``app`` for :class:`RateLimit`, before its first request.

    Every response to a limited request gets the ``headers``, errors and
    ``Response`` objects included: ``legacy``, ``ietf`` or ``both``, as
    :meth:`Decision.headers`, or ``None`` for no more than the ``Retry-After``
    of refusals. :class:`RateLimited` is answered with 429, :class:`MissingKey`
    and :class:`UnknownKeyError` with 401; an exception handler that is added afterwards
    replaces that answer, and keeps the headers. Websockets are refused so too,
    or closed with code 1013 and 1008 where the server cannot.

    A mounted FastAPI application needs its own ``install``; the outermost
    one's ``headers`` count. Raises ``RuntimeError`` if the application has
    started.
    """
    if headers not in ("legacy", "ietf", "both", None):
        raise ValueError(f"headers: {headers!r} is no flavour")
    if app.middleware_stack is not None:
        raise RuntimeError("install() comes before the application's first request")
    app.add_exception_handler(RateLimited, cast(ExceptionHandler, _on_refusal))
    app.add_exception_handler(MissingKey, cast(ExceptionHandler, _on_no_caller))
    app.add_exception_handler(UnknownKeyError, cast(ExceptionHandler, _on_no_caller))
    # Around the whole stack: what `add_middleware` adds is inside of the one
    # that answers an unhandled exception, so that a 500 would have no headers.
    build: Callable[[], ASGIApp] = app.build_middleware_stack

    def build_middleware_stack() -> ASGIApp:
        return _Exchanges(build(), headers)

    app.build_middleware_stack = build_middleware_stack  # type: ignore[method-assign]


async def _on_refusal(
    connection: Request | WebSocket, error: Exception
) -> Response | None:
    assert isinstance(error, RateLimited)
    decision = error.decision
    # Its headers are added on the way out.
    response = Response(decision.body(), 429, media_type="application/json")
    return await _answer(connection, response, TRY_AGAIN_LATER, decision.reason)


async def _on_no_caller(
    connection: Request | WebSocket, error: Exception
) -> Response | None:
    body = _http.NO_KEY if isinstance(error, MissingKey) else _http.INVALID_KEY
    response = Response(body, 401, headers=_CHALLENGE, media_type="application/json")
    return await _answer(connection, response, POLICY_VIOLATION, "invalid_api_key")


async def _answer(
    connection: Request | WebSocket, response: Response, code: int, reason: str | None
) -> Response | None:
    if not isinstance(connection, WebSocket):
        return response
    if "websocket.http.response" in (connection.scope.get("extensions") or ()):
        await connection.send_denial_response(response)
    else:
        await connection.close(code, reason)
    return None
