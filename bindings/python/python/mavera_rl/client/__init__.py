"""Good manners for callers of rate-limited HTTP APIs.

Independent of any HTTP library: the headers (``parse_quota``,
``parse_retry_after``), the policy (``Retry``), the exact window (``Ledger``),
queues that let requests go as soon as they may (``Queue``, ``AsyncQueue``), and
batchers (``Batcher``, ``AsyncBatcher``).

``mavera_rl.client.httpx`` and ``mavera_rl.client.requests`` put them to work.
They are imported on demand only, for each needs its library.
"""

from __future__ import annotations

from .async_batcher import AsyncBatcher
from .async_queue import AsyncQueue
from .batcher import Batcher
from .errors import BatchError, GaveUp, QueueTimeout, WrongLoopError
from .headers import Quota, parse_quota, parse_retry_after
from .ledger import Ledger
from .monitor import Monitor
from .pace import Answer, Slot
from .queue import Queue
from .retry import Failure, Retry

__all__ = [
    "Answer",
    "AsyncBatcher",
    "AsyncQueue",
    "BatchError",
    "Batcher",
    "Failure",
    "GaveUp",
    "Ledger",
    "Monitor",
    "Queue",
    "QueueTimeout",
    "Quota",
    "Retry",
    "Slot",
    "WrongLoopError",
    "parse_quota",
    "parse_retry_after",
]
