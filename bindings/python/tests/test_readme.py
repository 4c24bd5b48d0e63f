"""The examples of both READMEs run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

READMES = [Path(__file__).parents[up] / "README.md" for up in (1, 3)]
BLOCKS = [
    pytest.param(block, id=f"{readme.parent.name}-{number}")
    for readme in READMES
    for number, block in enumerate(
        re.findall(r"^```python\n(.*?)^```$", readme.read_text(), re.M | re.S)
    )
]


def test_there_are_some() -> None:
    assert len(BLOCKS) > 6


@pytest.mark.parametrize("block", BLOCKS)
def test_it_runs(block: str, path: Path) -> None:
    # In a region of its own.
    own = re.sub(r"/dev/shm/[a-z-]+", str(path), block)
    subprocess.run([sys.executable, "-W", "error", "-c", own], check=True)
