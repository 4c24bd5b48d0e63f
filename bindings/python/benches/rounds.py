"""Contestants that take turns, so that noise hits all of them alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

ROUNDS = 15
ROUND_S = 0.05


@dataclass
class Contestant:
    """``run(n)`` does it n times."""

    name: str
    run: Callable[[int], None]
    times: list[float] = field(default_factory=list)

    @property
    def ns(self) -> float:
        """The median of the rounds, nanoseconds each."""
        return statistics.median(self.times)

    @property
    def spread(self) -> tuple[float, float]:
        return min(self.times), max(self.times)


def race(contestants: list[Contestant]) -> dict[str, Contestant]:
    """All of them, in interleaved rounds of equal length."""
    counts = [_calibrate(one.run) for one in contestants]
    gc.collect()
    gc.disable()
    try:
        for _ in range(ROUNDS):
            for one, count in zip(contestants, counts, strict=True):
                begun = time.perf_counter_ns()
                one.run(count)
                one.times.append((time.perf_counter_ns() - begun) / count)
    finally:
        gc.enable()
    return {one.name: one for one in contestants}


def _calibrate(run: Callable[[int], None]) -> int:
    count = 10
    while True:
        begun = time.perf_counter()
        run(count)
        took = time.perf_counter() - begun
        if took > ROUND_S / 5:
            return max(1, round(count * ROUND_S / took))
        count *= 4
