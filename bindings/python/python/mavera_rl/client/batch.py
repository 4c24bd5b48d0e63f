"""What both batchers share. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from ..errors import InvalidOptionError
from .errors import BatchError

__all__ = ["Batch", "Entry", "Rules", "answers_of"]

M = TypeVar("M")
R = TypeVar("R")


class Entry(Generic[M, R]):
    """A message and, later, what came of it."""

    __slots__ = ("done", "message", "outcome", "size")

    def __init__(self, message: M, size: int) -> None:
        self.message = message
        self.size = size
        self.done = False
        self.outcome: R | Exception | None = None

    def settle(self, outcome: R | Exception) -> None:
        self.outcome = outcome
        self.done = True

    def result(self) -> R:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return cast(R, self.outcome)


class Batch(Generic[M, R]):
    """Messages to be sent together, in order of arrival."""

    __slots__ = ("entries", "size")

    def __init__(self) -> None:
        self.entries: list[Entry[M, R]] = []
        self.size = 0

    def add(self, entry: Entry[M, R]) -> None:
        self.entries.append(entry)
        self.size += entry.size

    def remove(self, entry: Entry[M, R]) -> None:
        self.entries.remove(entry)
        self.size -= entry.size


@dataclass(frozen=True, slots=True)
class Rules(Generic[M]):
    """When a batch is full. Raises ``InvalidOptionError`` on wrong options."""

    max_count: int
    max_size: int | None
    size: Callable[[M], int]
    max_age: float

    def __post_init__(self) -> None:
        if self.max_count < 1:
            raise InvalidOptionError(f"max_count must be >= 1: {self.max_count}")
        if self.max_size is not None and self.max_size < 1:
            raise InvalidOptionError(f"max_size must be >= 1: {self.max_size}")
        if not 0 <= self.max_age < math.inf:
            raise InvalidOptionError(f"max_age must be >= 0: {self.max_age}")

    def measure(self, message: M) -> int:
        """The size of a message; 0 where sizes do not matter."""
        return 0 if self.max_size is None else self.size(message)

    def fits(self, batch: Batch[M, R], size: int) -> bool:
        """Whether a message of this size still goes in."""
        if not batch.entries:
            return True
        if len(batch.entries) >= self.max_count:
            return False
        return self.max_size is None or batch.size + size <= self.max_size

    def full(self, batch: Batch[M, R]) -> bool:
        """Whether nothing more goes in, so that waiting is of no use."""
        return len(batch.entries) >= self.max_count or (
            self.max_size is not None and batch.size >= self.max_size
        )


def answers_of(answers: Sequence[R | Exception], count: int) -> Sequence[R | Exception]:
    """The answers, or ``BatchError`` if there are not ``count`` of them."""
    if len(answers) != count:
        raise BatchError(f"send returned {len(answers)} answers to {count} messages")
    return answers
