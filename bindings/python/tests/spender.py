"""What a child of test_processes.py runs: by its name, to be spawned."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path

from mavera_rl import Limiter


def spend(path: Path, checks: int, pipe: Connection) -> None:
    with Limiter(path) as limiter:
        pipe.send(sum(bool(limiter.check("key", limit=500)) for _ in range(checks)))
