"""What can go wrong, and what was refused.

Every exception of this package is a :class:`MaveraError`, and besides one of
the built-in kinds, so that code which knows nothing of this package still
catches it by what it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._native import Decision

__all__ = [
    "ClosedError",
    "ConcurrencyLimited",
    "InvalidKeyError",
    "InvalidOptionError",
    "MaveraError",
    "PlanError",
    "RateLimited",
    "RegionError",
    "UnknownKeyError",
    "UnknownTierError",
]


class MaveraError(Exception):
    """The base of all exceptions of this package."""


class InvalidOptionError(MaveraError, ValueError):
    """A number is out of its range, or two of them contradict each other."""


class InvalidKeyError(MaveraError, ValueError):
    """A key is empty, or a string that UTF-8 cannot write."""


class UnknownTierError(MaveraError, LookupError):
    """The plan has no such tier or endpoint, or none was said for a key."""


class UnknownKeyError(UnknownTierError):
    """The plan lists the keys that may call, and this is none of them."""


class PlanError(MaveraError, ValueError):
    """A plan file cannot be read; the message names file, line and key."""


class RegionError(MaveraError, OSError):
    """A region cannot be opened, or this process not registered with it."""


class ClosedError(MaveraError, ValueError):
    """The limiter was closed."""


class RateLimited(MaveraError):
    """A request was refused, for its quota or for what is in flight."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision)
        self.decision = decision
        """Why, and when to come again."""

    def __str__(self) -> str:
        decision = self.decision
        return f"{decision.reason}: retry after {decision.retry_after} seconds"


class ConcurrencyLimited(MaveraError):
    """As many requests of a key are in flight as may be.

    ``in_flight`` is ``None`` if the region has no room for the key's permits.
    """

    def __init__(self, endpoint: str, in_flight: int | None, max_in_flight: int):
        super().__init__(endpoint, in_flight, max_in_flight)
        self.endpoint = endpoint
        self.in_flight = in_flight
        self.max_in_flight = max_in_flight

    def __str__(self) -> str:
        if self.in_flight is None:
            return f"no room for another key's permits on {self.endpoint}"
        return (
            f"{self.in_flight} requests in flight on {self.endpoint}, "
            f"of {self.max_in_flight} at most"
        )
