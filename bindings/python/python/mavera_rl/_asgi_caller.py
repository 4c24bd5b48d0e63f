"""Who is asking: the key of a connection, its tier, and its target.

For the middleware as for the dependency of FastAPI. Nothing here reads or
sends a message.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias, cast
from urllib.parse import quote

from . import _http
from ._native import Limiter
from .errors import UnknownTierError

_RawHeaders: TypeAlias = Iterable[tuple[bytes, bytes]]
Key: TypeAlias = str | bytes | None
# Called with a scope here, with a Starlette request in mavera_rl.fastapi.
KeyOption: TypeAlias = "str | Callable[[Any], Key | Awaitable[Key]]"
TierOption: TypeAlias = (
    "str | Callable[[Any, Any], _http.Tier | Awaitable[_http.Tier]] | None"
)

# Not part of a field's value (RFC 9110, 5.5), though not every server takes it
# away.
_SPACE = b" \t"


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

    async def key(self, connection: Mapping[str, Any]) -> Key:
        if self.find is not None:
            return self.find(connection["headers"])
        key = self._key
        # A name became a header's callable, which has a `find`.
        assert not isinstance(key, str)
        found = key(connection)
        if self._key_waits:
            found = await cast("Awaitable[Key]", found)
        return cast("Key", found)

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
