"""A storage for `limits <https://limits.readthedocs.io>`_, and with it for
flask-limiter and slowapi.

Importing this module registers the schemes ``mavera`` and ``async+mavera``::

    import mavera_rl.limits

    Limiter(..., storage_uri="mavera:///dev/shm/limits", strategy="moving-window")

The path is one limit for all processes that open it; without one,
``mavera://``, this process counts alone. Options are the query's or keywords
(``storage_options``), by the names that :class:`mavera_rl.Limiter` has:
``mavera:///dev/shm/limits?keys=100000&cells=256&mode=0o660``.

``max_window`` is a day (86 400 s) in a new region, because "200 per day" is
usual; an existing region keeps what it has. A key's record can go to another
key only so long after its last admission. So ``keys`` must cover the keys of a
day, not those of a minute; if no limit is longer than an hour, say
``max_window=3600``.

Limits up to ``cells - 4`` (60) are exact to the millisecond. Greater ones are
exact to about ``window / cells``, on the strict side: "200 per day" at 64
cells may free a request 23 minutes late, at 256 cells not at all.

The moving window is the one strategy. A fixed window admits twice its limit
across its border, so it is not offered.

flask-limiter and slowapi compute ``Retry-After`` from the reset time
themselves and round it down, so a client may be told a second too little.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

from limits.aio.storage import MovingWindowSupport as AsyncMovingWindowSupport
from limits.aio.storage import Storage as AsyncStorage
from limits.storage import MovingWindowSupport, Storage

from ._native import Limiter
from .errors import (
    ClosedError,
    InvalidOptionError,
    MaveraError,
    RegionError,
)

__all__ = ["AsyncMaveraStorage", "MaveraStorage", "UnsupportedError"]

_log = logging.getLogger(__name__)

_DAY = 86_400.0

_FIXED = (
    "the mavera storage has no fixed window, which admits twice its limit across "
    'its border. Pass strategy="moving-window" to flask-limiter or slowapi '
    '(RATELIMIT_STRATEGY = "moving-window"), or use '
    "limits.strategies.MovingWindowRateLimiter"
)
_CLEAR = (
    "the mavera storage cannot clear a key: what was charged is not taken back. "
    "Let its window pass, or count under another key"
)
_RESET = (
    "the mavera storage cannot reset a region that others may use: what was "
    "charged is not taken back. Use another path, or mavera:// in tests"
)


class UnsupportedError(MaveraError, NotImplementedError):
    """The storage was asked for what it cannot do exactly; says what to do."""


def _bool(text: str) -> bool:
    try:
        return {"1": True, "true": True, "0": False, "false": False}[text.lower()]
    except KeyError:
        raise ValueError(text) from None


def _octal(text: str) -> int:
    return int(text, 8)


# How each option of the limiter's reads as text.
_OPTIONS: Mapping[str, Callable[[str], object]] = {
    "keys": int,
    "cells": int,
    "max_window": float,
    "clock": str,
    "on_full": str,
    "mode": _octal,
    "permit_keys": int,
    "permit_cells": int,
    "plan": str,
    "tier": str,
    "enabled": _bool,
}


def _parse(uri: str) -> tuple[str | None, dict[str, str]]:
    """Path and options of a storage's URI."""
    parts = urlsplit(uri)
    if parts.netloc:
        raise InvalidOptionError(
            f"{uri!r} names a host, {parts.netloc!r}. A path has three slashes: "
            "mavera:///dev/shm/limits"
        )
    if parts.fragment:
        raise InvalidOptionError(f"{uri!r} has a fragment; write # as %23")
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
    except ValueError as error:
        raise InvalidOptionError(f"{uri!r}: {error}") from None
    options = dict(pairs)
    if len(options) < len(pairs):
        raise InvalidOptionError(f"{uri!r} gives an option twice")
    return unquote(parts.path) or None, options


def _read(given: Mapping[str, object]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in given.items():
        if name not in _OPTIONS:
            known = ", ".join([*_OPTIONS, "limiter"])
            raise InvalidOptionError(
                f"the mavera storage has no option {name!r}, but: {known}"
            )
        if isinstance(value, str):
            try:
                value = _OPTIONS[name](value)
            except ValueError:
                raise InvalidOptionError(f"{name} is {value!r}") from None
        options[name] = value
    return options


def _open(path: str | None, options: dict[str, Any]) -> Limiter:
    if "max_window" in options:
        return Limiter(path, **options)
    try:
        # First as for a new region: to look for the file beforehand would race
        # with the other workers that start now.
        return Limiter(path, **options, max_window=_DAY)
    except RegionError:
        if path is None:
            raise
        # An existing region may have another. If it was not that, this fails
        # for the same reason.
        return Limiter(path, **options)


class _Store:
    """What both storages do; they differ in ``async`` alone."""

    def __init__(
        self, uri: str | None, limiter: Limiter | None, keywords: dict[str, Any]
    ) -> None:
        self._warned = False
        path, options = _parse(uri) if uri else (None, {})
        if both := options.keys() & keywords.keys():
            raise InvalidOptionError(
                f"given in the URI and as keywords: {', '.join(sorted(both))}"
            )
        self._path = path
        self._options = _read({**options, **keywords})
        self._own = limiter is None
        if limiter is None:
            self.limiter = _open(path, self._options)
        elif path is None and not self._options:
            self.limiter = limiter
        else:
            raise InvalidOptionError("limiter comes without a path and options")

    def acquire(self, key: str, limit: int, expiry: int, amount: int) -> bool:
        if amount > limit:
            return False
        return self.limiter.check(
            _bytes(key), limit=limit, window=expiry, cost=amount
        ).allowed

    def window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        decision = self.limiter.peek(_bytes(key), limit=limit, window=expiry, cost=0)
        count = limit - decision.remaining
        # With entries, reset_at is when the oldest leaves. Without any, it is
        # now, and a window that began now is what limits expects.
        return decision.reset_at - (expiry if count else 0), count

    def reset(self) -> None:
        if not self._own or self._path is not None:
            raise UnsupportedError(_RESET)
        # Nobody else counts in it, so another one in its place is a reset.
        self.limiter = _open(None, self._options)

    def check(self) -> bool:
        return not self.limiter.closed

    def refuse_fixed(self) -> NoReturn:
        # With a fallback, flask-limiter and slowapi drop the exception and say
        # that the storage is unreachable.
        if not self._warned:
            self._warned = True
            _log.error("%s", _FIXED)
        raise UnsupportedError(_FIXED)


def _bytes(key: str) -> bytes:
    # Keys come from requests. One that UTF-8 cannot write is a key as well.
    return key.encode("utf-8", "surrogatepass")


class MaveraStorage(Storage, MovingWindowSupport):
    """The storage of ``mavera://``. Thread-safe; works on through ``fork``.

    uri: ``mavera://``, or ``mavera:///path?option=value``.
    wrap_exceptions: raise :class:`limits.errors.StorageError` instead of
        :class:`RegionError` and :class:`ClosedError`.
    limiter: an open limiter to count in, instead of a path and options.
    options: see the module.

    Raises :class:`InvalidOptionError`, :class:`RegionError`.
    """

    STORAGE_SCHEME = ["mavera"]

    def __init__(
        self,
        uri: str | None = None,
        wrap_exceptions: bool = False,
        *,
        limiter: Limiter | None = None,
        **options: Any,
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._store = _Store(uri, limiter, options)

    @property
    def limiter(self) -> Limiter:
        """The limiter that counts."""
        return self._store.limiter

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """What a region can fail with while it is used."""
        return RegionError, ClosedError

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Charges ``amount`` if ``limit`` in ``expiry`` seconds admits them.

        ``False``, and nothing charged, if not; also for an ``amount`` above the
        limit, and if the table is full and its policy is to deny. Raises
        :class:`InvalidOptionError` if ``expiry`` is above ``max_window``.
        """
        return self._store.acquire(key, limit, expiry, amount)

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the window began, in Unix seconds, and how much it counts.

        ``expiry`` seconds after its beginning the oldest entry leaves. Charges
        nothing. Raises as :meth:`acquire_entry`.
        """
        return self._store.window(key, limit, expiry)

    def check(self) -> bool:
        """Whether the limiter is open."""
        return self._store.check()

    def reset(self) -> int | None:
        """Forgets all entries of a ``mavera://`` that this storage opened.

        Raises :class:`UnsupportedError` for any other.
        """
        self._store.reset()
        return None

    def clear(self, key: str) -> None:
        """Raises :class:`UnsupportedError`: a charge is not taken back."""
        raise UnsupportedError(_CLEAR)

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Raises :class:`UnsupportedError`: there is no fixed window."""
        self._store.refuse_fixed()

    def get(self, key: str) -> int:
        """Raises :class:`UnsupportedError`: there is no fixed window."""
        self._store.refuse_fixed()

    def get_expiry(self, key: str) -> float:
        """Raises :class:`UnsupportedError`: there is no fixed window."""
        self._store.refuse_fixed()


class AsyncMaveraStorage(AsyncStorage, AsyncMovingWindowSupport):
    """The storage of ``async+mavera://``, as :class:`MaveraStorage`.

    Its methods never wait: a check takes less than a switch of tasks.
    """

    STORAGE_SCHEME = ["async+mavera"]

    def __init__(
        self,
        uri: str | None = None,
        wrap_exceptions: bool = False,
        *,
        limiter: Limiter | None = None,
        **options: Any,
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._store = _Store(uri, limiter, options)

    @property
    def limiter(self) -> Limiter:
        """The limiter that counts."""
        return self._store.limiter

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """What a region can fail with while it is used."""
        return RegionError, ClosedError

    async def acquire_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """As :meth:`MaveraStorage.acquire_entry`."""
        return self._store.acquire(key, limit, expiry, amount)

    async def get_moving_window(
        self, key: str, limit: int, expiry: int
    ) -> tuple[float, int]:
        """As :meth:`MaveraStorage.get_moving_window`."""
        return self._store.window(key, limit, expiry)

    async def check(self) -> bool:
        """Whether the limiter is open."""
        return self._store.check()

    async def reset(self) -> int | None:
        """As :meth:`MaveraStorage.reset`."""
        self._store.reset()
        return None

    async def clear(self, key: str) -> None:
        """Raises :class:`UnsupportedError`: a charge is not taken back."""
        raise UnsupportedError(_CLEAR)

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Raises :class:`UnsupportedError`: there is no fixed window."""
        self._store.refuse_fixed()

    async def get(self, key: str) -> int:
        """Raises :class:`UnsupportedError`: there is no fixed window."""
        self._store.refuse_fixed()

    async def get_expiry(self, key: str) -> float:
        """Raises :class:`UnsupportedError`: there is no fixed window."""
        self._store.refuse_fixed()
