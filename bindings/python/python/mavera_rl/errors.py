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
    "UnknownTierError",
]


class MaveraError(Exception):
    """The base of all exceptions of this package."""


class InvalidOptionError(MaveraError, ValueError):
    """A number is out of its range, or two of them contradict each other."""


class InvalidKeyError(MaveraError, ValueError):
    """A key is empty, or a string that UTF-8 cannot write."""


class UnknownTierError(MaveraError, LookupError):
    """The plan has no such tier, key or endpoint."""


class PlanError(MaveraError, ValueError):
    """A plan file cannot be read; the message names file, line and key."""


class RegionError(MaveraError, OSError):
    """A region cannot be opened, or this process not registered with it."""


class ClosedError(MaveraError, ValueError):
    """The limiter was closed."""


class RateLimited(MaveraError):
    """A request was refused. Nothing was charged."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision)
        self.decision = decision
        """Why, and when to come again."""

    def __str__(self) -> str:
        return self.decision.message


class ConcurrencyLimited(RateLimited):
    """As many requests of the key are in flight as may be."""
