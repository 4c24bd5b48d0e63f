"""The README's examples run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.M | re.S)


def test_there_are_some() -> None:
    assert len(BLOCKS) > 4


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_it_runs(block: str, path: Path) -> None:
    # In a region of its own.
    own = re.sub(r"/dev/shm/[a-z-]+", str(path), block)
    subprocess.run([sys.executable, "-W", "error", "-c", own], check=True)
