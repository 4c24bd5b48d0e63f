"""Whether, and when, a request may be sent again.

Pure: no clock, no sleep; elapsed time is an argument.

What may be repeated depends on what is known of the last try:

=============  ==========================================  =================
``Failure``    Seen as                                     May be repeated
=============  ==========================================  =================
``REFUSED``    429: the server did nothing                 any method
``UNSENT``     no connection was ever made                 any method
``UNCERTAIN``  502, 504, 503 with Retry-After, an error    idempotent or safe
               after the request was, or may have been,
               sent
=============  ==========================================  =================

A body that cannot be read again ends the tries, unless nothing was read yet
(``UNSENT``). A 503 without Retry-After is no invitation and is passed on.

The wait before a try is never shorter than Retry-After. ``max_backoff`` caps
this package's own backoff only: a cap over both would come back too early.
"""

from __future__ import annotations

import math
import random as _random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ..errors import InvalidOptionError
from .errors import Cap

__all__ = ["Failure", "Retry", "is_idempotent"]

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""RFC 9110, 9.2.2."""


class Failure(Enum):
    """What is known of a try that failed."""

    REFUSED = "refused"
    UNSENT = "unsent"
    UNCERTAIN = "uncertain"


def is_idempotent(method: str, headers: Mapping[str, object]) -> bool:
    """Whether repeating does no more than once, by method or by header."""
    return method.upper() in IDEMPOTENT or any(
        name.lower() == "idempotency-key" for name in headers
    )


@dataclass(frozen=True, slots=True)
class Retry:
    """The policy. Immutable; safe from any thread if ``random`` is."""

    attempts: int = 5
    """Most tries in all, >= 1. With 1 nothing is repeated, and every response
    and exception is passed on as it is."""
    max_total: float = 120.0
    """Seconds from the start of the first try, > 0, in which the last try has
    to begin. A wait that would end later is not begun."""
    backoff: float = 0.5
    """Seconds before the first repetition, >= 0."""
    factor: float = 2.0
    """By what the backoff grows each time, >= 1."""
    max_backoff: float = 30.0
    """Most seconds of backoff, >= 0. Does not shorten Retry-After."""
    jitter: float = 0.1
    """A wait is lengthened by a random share of itself up to this, >= 0."""
    statuses: frozenset[int] = frozenset({429, 502, 503, 504})
    """Which statuses are repeated. Those added here count as uncertain."""
    safe: Callable[[Any], bool] | None = None
    """Tells of a request (of the HTTP library in use) that it may be repeated
    whatever its method."""
    random: Callable[[], float] = field(default=_random.random, repr=False)
    """Uniform in [0, 1)."""

    def __post_init__(self) -> None:
        for ok, rule in (
            (self.attempts >= 1, "attempts must be >= 1"),
            (self.max_total > 0, "max_total must be > 0"),
            (0 <= self.backoff < math.inf, "backoff must be >= 0"),
            (1 <= self.factor < math.inf, "factor must be >= 1"),
            (0 <= self.max_backoff < math.inf, "max_backoff must be >= 0"),
            (0 <= self.jitter < math.inf, "jitter must be >= 0"),
        ):
            if not ok:
                raise InvalidOptionError(rule)

    def failure(self, status: int, retry_after: float | None) -> Failure | None:
        """What a status means; None if the response is the answer."""
        if status not in self.statuses:
            return None
        if status == 429:
            return Failure.REFUSED
        if status == 503 and retry_after is None:
            return None
        return Failure.UNCERTAIN

    def may_repeat(self, failure: Failure, *, safe: bool, replayable: bool) -> bool:
        """Whether the request may be sent again at all.

        ``safe``: repeating does no harm. ``replayable``: its body can be read
        again.
        """
        if self.attempts == 1:
            return False
        if failure is Failure.UNSENT:
            return True
        return replayable and (safe or failure is Failure.REFUSED)

    def wait(self, attempt: int, retry_after: float | None) -> float:
        """Seconds to wait after the failed try ``attempt`` (1 is the first).

        Never less than ``retry_after``.
        """
        try:
            own = self.backoff * self.factor ** (attempt - 1)
        except OverflowError:
            own = self.max_backoff
        wait = max(retry_after or 0.0, min(self.max_backoff, own))
        return wait * (1.0 + self.jitter * self.random())

    def cap(self, attempt: int, elapsed: float, wait: float) -> Cap | None:
        """The cap that forbids another try after ``wait`` seconds, if any."""
        if attempt >= self.attempts:
            return "attempts"
        if elapsed + wait > self.max_total:
            return "max_total"
        return None
