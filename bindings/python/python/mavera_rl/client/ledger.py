"""The exact window of one key, kept on the caller's side.

Pure: time is an argument, in seconds of one monotonic clock. Not thread-safe.

Purpose
    To know when the next request may go so that a server with a strict
    sliding window of ``limit`` requests never has a reason to refuse it.

Why an entry counts until one window after its answer
    The server stamps a request at some unknown time between sending and
    answer, and counts it for one window from then on. An entry that counts
    here from sending until one window after its answer covers that span
    whatever the latency was. So if never more than ``limit`` entries count
    here, never more than ``limit`` count there. A token or leaky bucket has no
    such proof: it spaces the sendings, and two that were apart when sent may
    arrive within one window.

Other spenders of the same key
    An answer tells ``remaining``. The server counts ``limit - remaining``. Of
    those, ours are at most the entries that still counted when that request
    was sent, and all that are open. What exceeds them was spent by others:
    ``foreign``. If nobody else spends, this is 0, always. It is estimated anew
    by every answer and forgotten one window after the last estimate.

    Requests begun after the one just answered may not have reached the server
    when it counted. They are held in ``doubt`` for one more round trip, so that
    a quota nearly spent by others is not overrun.

Out of order
    An answer to a request that was begun before one already taken into account
    says nothing of limits; it only ends its own entry.

Progress
    With ``remaining`` 0 nothing goes before the reset told. If only the
    foreign estimate stands in the way and no request is open, one probe goes
    at the reset, and its answer renews the estimate. Without a reset told, the
    first entry to leave, or the end of the estimate, does the same. Every wait
    has an end: an instant, or an answer under way.

Limits
    A server whose stamps are rounded up counts an entry longer than one
    window; ``margin`` covers that. Without it the surplus shows as foreign
    units and is waited for all the same, only less exactly. A server with fixed
    windows admits more than this ledger asks for.
"""

from __future__ import annotations

from collections import deque

from ..errors import InvalidOptionError
from .headers import Quota

__all__ = ["Ledger"]

_ROUNDING = 2.0
"""Seconds by which a reset may look later than it is: the server rounds its
stamp up, and the ``Date`` it is compared with down."""


class Ledger:
    """When the next request of one key may go.

    ``limit``: requests per window, >= 1; None: not limited until an answer
    tells. ``window`` and ``margin`` in seconds, > 0 and >= 0.
    ``max_in_flight``: most requests not yet released, >= 1, or None.
    """

    def __init__(
        self,
        limit: int | None = None,
        window: float = 60.0,
        *,
        max_in_flight: int | None = None,
        margin: float = 0.0,
    ) -> None:
        if limit is not None and limit < 1:
            raise InvalidOptionError(f"limit must be >= 1: {limit}")
        if not 0 < window < float("inf"):
            raise InvalidOptionError(f"window must be > 0: {window}")
        if max_in_flight is not None and max_in_flight < 1:
            raise InvalidOptionError(f"max_in_flight must be >= 1: {max_in_flight}")
        if not 0 <= margin < float("inf"):
            raise InvalidOptionError(f"margin must be >= 0: {margin}")
        self._limit = limit
        self._window = window
        self._margin = margin
        self._max_in_flight = max_in_flight
        self._now = float("-inf")
        self._next = 1
        # Ticket to time of sending. Insertion order is order of sending.
        self._open: dict[int, float] = {}
        self._held: set[int] = set()
        # Times of answers: those that count, and those that no longer do but
        # that an open request may have met at the server.
        self._live: deque[float] = deque()
        self._past: deque[float] = deque()
        self._applied = 0
        self._foreign = 0
        self._foreign_until = 0.0
        self._doubt = 0
        self._doubt_until = 0.0
        self._reset_at: float | None = None
        self._closed_until = float("-inf")
        self._not_before = float("-inf")

    @property
    def limit(self) -> int | None:
        """Requests per window, as configured or as the server last told."""
        return self._limit

    @property
    def window(self) -> float:
        """Seconds, as configured or as the server last told."""
        return self._window

    @property
    def in_flight(self) -> int:
        """Requests begun and not released."""
        return len(self._held)

    @property
    def unanswered(self) -> int:
        """Requests begun and not answered."""
        return len(self._open)

    @property
    def not_before(self) -> float:
        """The end of the pause; -inf if there never was one."""
        return self._not_before

    @property
    def foreign(self) -> int:
        """Units of this window believed to be spent by others."""
        return self._foreign

    def used(self, now: float) -> int:
        """Own requests that count at ``now``."""
        self._expire(now)
        return len(self._live) + len(self._open)

    def ready_at(self, now: float) -> float | None:
        """When the next request may begin: ``now`` or later.

        None: not before an open request is answered or released.
        """
        now = self._expire(now)
        if self._max_in_flight is not None and len(self._held) >= self._max_in_flight:
            return None
        base = max(now, self._not_before, self._closed_until)
        if self._limit is None:
            return base
        own_free = self._free_at(now, 0)
        if own_free is None:
            return None
        foreign, doubt = self._foreign, self._doubt
        free = own_free
        if foreign or doubt:
            ends = [
                self._free_at(now, foreign + doubt),
                self._free_at(max(now, self._doubt_until), foreign),
                self._free_at(max(now, self._foreign_until), doubt),
                max(own_free, self._doubt_until, self._foreign_until),
            ]
            if not self._open and self._reset_at is not None:
                ends.append(max(own_free, self._reset_at))
            free = min(end for end in ends if end is not None)
        return max(base, free)

    def begin(self, now: float) -> int:
        """Count a request as sent; only if ``ready_at(now) <= now``.

        Returns its ticket for ``finish``, ``release`` and ``cancel``.
        """
        now = self._expire(now)
        ticket = self._next
        self._next += 1
        self._open[ticket] = now
        self._held.add(ticket)
        return ticket

    def finish(
        self,
        ticket: int,
        now: float,
        quota: Quota | None = None,
        *,
        refused: bool = False,
    ) -> None:
        """The answer is here, or will never come.

        ``refused``: the server charged nothing, so nothing counts from now on.
        A ticket already finished is ignored.
        """
        # First of all: what expires now may still have met this request.
        now = self._expire(now)
        begun = self._open.pop(ticket, None)
        if begun is None:
            return
        if not refused:
            self._live.append(now)
        self._doubt = min(self._doubt, len(self._open))
        told = quota is not None and quota.remaining is not None
        if quota is not None and ticket > self._applied:
            self._apply(ticket, begun, now, quota)
        if not told and self._reset_at is not None and begun >= self._reset_at:
            # A probe that brought no news is not followed by another at once.
            self._reset_at = None
        self._forget()

    def release(self, ticket: int) -> None:
        """The request is no longer in flight. Idempotent."""
        self._held.discard(ticket)

    def cancel(self, ticket: int) -> None:
        """The request was never sent: its place is as if never taken."""
        self._open.pop(ticket, None)
        self._held.discard(ticket)
        self._doubt = min(self._doubt, len(self._open))
        self._forget()

    def pause(self, until: float) -> None:
        """Begin nothing before ``until``. A pause is never shortened."""
        self._not_before = max(self._not_before, until)

    def owes(self, now: float) -> bool:
        """Whether forgetting this ledger would lose anything at ``now``."""
        now = self._expire(now)
        return bool(
            self._open
            or self._held
            or self._live
            or self._foreign
            or now < self._not_before
            or now < self._closed_until
        )

    def _free_at(self, since: float, others: int) -> float | None:
        """When own entries and ``others`` leave a place, from ``since`` on."""
        assert self._limit is not None
        leave = len(self._live) + len(self._open) + others - self._limit + 1
        if leave <= 0:
            return since
        if leave > len(self._live):
            return None
        return max(since, self._ends(self._live[leave - 1]))

    def _ends(self, answered: float) -> float:
        return answered + self._window + self._margin

    def _expire(self, now: float) -> float:
        # A clock reading that is late by a lock must not bring time back.
        now = self._now = max(now, self._now)
        while self._live and self._ends(self._live[0]) <= now:
            answered = self._live.popleft()
            if self._open:
                self._past.append(answered)
        if self._foreign and self._foreign_until <= now:
            self._foreign = 0
        if self._doubt and self._doubt_until <= now:
            self._doubt = 0
        return now

    def _forget(self) -> None:
        oldest = next(iter(self._open.values()), float("inf"))
        while self._past and self._ends(self._past[0]) <= oldest:
            self._past.popleft()

    def _apply(self, ticket: int, begun: float, now: float, quota: Quota) -> None:
        if quota.window:
            self._window = quota.window
        if quota.limit:
            self._limit = quota.limit
        if quota.remaining is None:
            return
        self._applied = ticket
        after = quota.reset_after
        if after is not None and after <= self._window + _ROUNDING:
            # No unit stays longer than one window; the rest is rounding.
            after = min(after, self._window + self._margin)
        self._reset_at = None if after is None else now + after
        self._closed_until = float("-inf")
        if quota.remaining == 0 and self._reset_at is not None:
            self._closed_until = self._reset_at
        if self._limit is None:
            return
        spent = max(0, self._limit - quota.remaining)
        met = sum(1 for answered in self._past if self._ends(answered) > begun)
        own = len(self._live) + met + len(self._open)
        later = sum(1 for other in self._open if other > ticket)
        self._foreign = max(0, spent - own)
        self._foreign_until = self._ends(now)
        self._doubt = min(later, max(0, spent - (own - later)))
        self._doubt_until = now + (now - begun)
