"""What both queues share: the slot, and what an answer does to the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from .headers import Quota, parse_quota, parse_retry_after

__all__ = ["Answer", "Slot", "read_answer"]

_PAUSING = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a response said to its caller's manners."""

    quota: Quota
    retry_after: float | None
    """Seconds, or None."""
    refused: bool
    """429: nothing was charged."""
    pause: float | None
    """Seconds for which all requests of the key stop, or None."""


def read_answer(headers: Mapping[str, str], status: int, now: float) -> Answer:
    """Read a response. ``now`` is Unix seconds. Never raises on junk."""
    after = parse_retry_after(headers, now)
    return Answer(
        quota=parse_quota(headers, now),
        retry_after=after,
        refused=status == 429,
        pause=after if status in _PAUSING else None,
    )


class Host(Protocol):
    """The queue, as its slots see it. Each call is cheap and never waits."""

    def answer_slot(
        self, ticket: int, headers: Mapping[str, str], status: int
    ) -> Answer: ...

    def cancel_slot(self, ticket: int) -> None: ...

    def close_slot(self, ticket: int) -> None: ...


class Slot:
    """Leave to send one request.

    After sending call ``answered`` when the headers are here. ``close`` (or
    the end of the ``with`` block) gives the place in flight back. A slot
    closed without an answer counts as sent: the server may have charged it.
    If surely nothing was sent, call ``cancel``.

    All methods are idempotent. Thread-safe as far as its queue is.
    """

    __slots__ = ("_done", "_host", "_ticket")

    def __init__(self, host: Host, ticket: int) -> None:
        self._host = host
        self._ticket = ticket
        self._done = False

    def answered(self, headers: Mapping[str, str], status: int) -> Answer:
        """Take in the answer: quota, limits, a pause. Returns what it said."""
        return self._host.answer_slot(self._ticket, headers, status)

    def cancel(self) -> None:
        """Nothing was sent: give the place back as if never taken."""
        if not self._done:
            self._done = True
            self._host.cancel_slot(self._ticket)

    def close(self) -> None:
        """The request is no longer in flight."""
        if not self._done:
            self._done = True
            self._host.close_slot(self._ticket)

    def __enter__(self) -> Slot:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
