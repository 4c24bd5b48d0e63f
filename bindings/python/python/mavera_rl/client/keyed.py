"""One queue for each key, forgotten when it has nothing to remember."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

__all__ = ["MOST_KEYS", "Keyed"]

MOST_KEYS = 1024
"""Keys kept, as long as idle ones can be forgotten."""


class _Owing(Protocol):
    def owes(self) -> bool: ...


Q = TypeVar("Q", bound=_Owing)


class _Entry(Generic[Q]):
    __slots__ = ("leases", "queue")

    def __init__(self, queue: Q) -> None:
        self.queue = queue
        self.leases = 0


class Keyed(Generic[Q]):
    """Makes a queue for each key that is asked for.

    Above ``most`` keys the least recently used idle ones are forgotten. A key
    that is in use, or that still owes its server a wait, never is: to forget
    it would break its limit. So more than ``most`` keys are kept only while
    more than ``most`` owe, each for about one window after its last request.

    Thread-safe.
    """

    def __init__(self, make: Callable[[Hashable], Q], most: int = MOST_KEYS) -> None:
        self._make = make
        self._most = most
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry[Q]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @contextmanager
    def lease(self, key: Hashable) -> Iterator[Q]:
        """The queue of ``key``, not to be forgotten within the block."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                entry = _Entry(self._make(key))
                self._entries[key] = entry
            self._entries.move_to_end(key)
            entry.leases += 1
            self._forget()
        try:
            yield entry.queue
        finally:
            with self._lock:
                entry.leases -= 1

    def get(self, key: Hashable) -> Q | None:
        """The queue of ``key`` if it is remembered."""
        with self._lock:
            entry = self._entries.get(key)
            return None if entry is None else entry.queue

    def _forget(self) -> None:
        if len(self._entries) <= self._most:
            return
        for key, entry in list(self._entries.items()):
            if entry.leases == 0 and not entry.queue.owes():
                del self._entries[key]
                if len(self._entries) <= self._most:
                    return
