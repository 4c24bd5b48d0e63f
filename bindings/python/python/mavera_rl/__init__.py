"""Exact rate limits, shared by all processes of a host.

>>> from mavera_rl import Limiter, ManualClock
>>> limiter = Limiter(clock=ManualClock())
>>> decision = limiter.check("customer-42", limit=60)
>>> decision.allowed, decision.remaining
(True, 59)

With a path, ``Limiter("/dev/shm/limits")``, the limits are those of all
processes that open it, whatever they are written in.
"""

from ._native import (
    Admission,
    Decision,
    Endpoint,
    Limiter,
    ManualClock,
    Permit,
    Plan,
    Stats,
    __version__,
)
from ._workers import PrivateLimiterWarning
from .errors import (
    ClosedError,
    ConcurrencyLimited,
    InvalidKeyError,
    InvalidOptionError,
    MaveraError,
    PlanError,
    RateLimited,
    RegionError,
    UnknownKeyError,
    UnknownTierError,
)

__all__ = [
    "Admission",
    "ClosedError",
    "ConcurrencyLimited",
    "Decision",
    "Endpoint",
    "InvalidKeyError",
    "InvalidOptionError",
    "Limiter",
    "ManualClock",
    "MaveraError",
    "Permit",
    "Plan",
    "PlanError",
    "PrivateLimiterWarning",
    "RateLimited",
    "RegionError",
    "Stats",
    "UnknownKeyError",
    "UnknownTierError",
    "__version__",
]
