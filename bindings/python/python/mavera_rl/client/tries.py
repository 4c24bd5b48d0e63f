"""The tries of one request. Pure: time is an argument."""

from __future__ import annotations

from .errors import Cap, QueueTimeout
from .retry import Failure, Retry

__all__ = ["MOST_BODY", "Tries"]

MOST_BODY = 65_536
"""Bytes of a failed response read so that its connection can be used again.
Of a longer one the connection is closed and no body is kept."""


class Tries:
    """Counts the tries of one request and says how they go on.

    Not thread-safe; a request is sent by one caller at a time.
    """

    __slots__ = ("error", "response", "retry", "retry_after", "sent", "started")

    def __init__(self, retry: Retry) -> None:
        self.retry = retry
        self.sent = 0
        self.started: float | None = None
        self.retry_after: float | None = None
        self.response: object | None = None
        self.error: Exception | None = None

    def elapsed(self, now: float) -> float:
        """Seconds since the first try began."""
        return 0.0 if self.started is None else now - self.started

    def timeout(self, now: float, max_wait: float | None) -> float | None:
        """Seconds the next try may wait for its turn.

        The first waits ``max_wait``; ``max_total`` begins with it. For the
        others it is what remains of ``max_total``.
        """
        if self.sent == 0:
            return max_wait
        return max(0.0, self.retry.max_total - self.elapsed(now))

    def begin(self, now: float) -> None:
        """A try is about to be sent."""
        if self.started is None:
            self.started = now
        self.sent += 1
        self.retry_after = None
        self.response = None
        self.error = None

    def repeats(self, failure: Failure, *, safe: bool, replayable: bool) -> bool:
        """Whether a failure is ours to handle, or to be passed on."""
        return self.retry.may_repeat(failure, safe=safe, replayable=replayable)

    def wait(self, now: float) -> float | Cap:
        """Seconds until the next try, or the cap that forbids it."""
        wait = self.retry.wait(self.sent, self.retry_after)
        cap = self.retry.cap(self.sent, self.elapsed(now), wait)
        return wait if cap is None else cap

    def late(self, error: QueueTimeout) -> Cap:
        """The cap that is hit if the turn does not come in time."""
        if self.sent == 0:
            self.error = error
            self.retry_after = error.paused
            return "max_wait" if error.paused is None else "max_total"
        return "max_total"
