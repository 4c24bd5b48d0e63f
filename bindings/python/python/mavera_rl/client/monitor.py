"""A watch on what is left of a quota."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ..errors import InvalidOptionError
from .headers import Quota

__all__ = ["Monitor"]

_log = logging.getLogger("mavera_rl.client")


class Monitor:
    """Remembers the last quota told, and warns once when little is left.

    ``threshold``: warn when fewer units remain, >= 0. ``on_low`` is called
    with this monitor, without any lock held, in the thread that brought the
    news; what it raises is logged and goes no further. Armed again as soon as
    ``threshold`` or more remain.

    Thread-safe.
    """

    def __init__(
        self,
        threshold: int = 10,
        on_low: Callable[[Monitor], object] | None = None,
    ) -> None:
        if threshold < 0:
            raise InvalidOptionError(f"threshold must be >= 0: {threshold}")
        self._threshold = threshold
        self._on_low = on_low
        self._lock = threading.Lock()
        self._low = False
        self._limit: int | None = None
        self._remaining: int | None = None
        self._reset_at: float | None = None

    @property
    def limit(self) -> int | None:
        """Units per window, as last told."""
        return self._limit

    @property
    def remaining(self) -> int | None:
        """Units left, as last told."""
        return self._remaining

    @property
    def reset_at(self) -> float | None:
        """When units come back, in Unix seconds, as last told."""
        return self._reset_at

    def update(self, quota: Quota, now: float) -> None:
        """Take in what a response said. ``now`` is Unix seconds."""
        with self._lock:
            if quota.limit is not None:
                self._limit = quota.limit
            if quota.reset_after is not None:
                self._reset_at = now + quota.reset_after
            if quota.remaining is None:
                return
            self._remaining = quota.remaining
            low = quota.remaining < self._threshold
            news = low and not self._low
            self._low = low
            if not news:
                return
            told = (quota.remaining, self._limit)
        _log.warning("rate limit: %s of %s requests remain", *told)
        if self._on_low is not None:
            try:
                self._on_low(self)
            except Exception:
                _log.exception("rate limit: the on_low callback failed")
