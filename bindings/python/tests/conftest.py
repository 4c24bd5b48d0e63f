"""What all tests of the package share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from mavera_rl import Limiter, ManualClock

# On a busy machine time says nothing of a test.
settings.register_profile(
    "busy", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def limiter(clock: ManualClock) -> Iterator[Limiter]:
    """Private, and at a time that the test says."""
    with Limiter(keys=1000, clock=clock) as limiter:
        yield limiter


@pytest.fixture
def path() -> Iterator[Path]:
    """Where a region may be made."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory, "limits")
