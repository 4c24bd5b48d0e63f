"""The demonstration: it passes, cleans up, and fails when it should."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import wait_until

DEMO = Path(__file__).resolve().parents[2] / "examples" / "gateway" / "demo.sh"


def leftovers():
    return set(Path("/dev/shm").glob("mavera-gateway-demo.*"))


@pytest.fixture
def nothing_left():
    before = leftovers()
    yield
    assert leftovers() <= before


@pytest.mark.usefixtures("nothing_left")
def test_the_demo_keeps_its_promises_in_time(binary):
    begun = time.monotonic()
    result = subprocess.run(
        [DEMO, binary], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("   ok: ") == 9
    assert time.monotonic() - begun < 20


@pytest.mark.usefixtures("nothing_left")
def test_an_interrupted_demo_leaves_nothing(binary):
    before = leftovers()
    process = subprocess.Popen(
        [DEMO, binary], stdout=subprocess.PIPE, text=True
    )
    with process.stdout:
        while not process.stdout.readline().startswith("== a."):
            assert process.poll() is None
        (made,) = wait_until(lambda: leftovers() - before, "its directory")
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 143
    assert not made.exists()


@pytest.mark.usefixtures("nothing_left")
def test_a_program_that_is_no_gateway_fails_the_demo(directory):
    fake = directory / "fake"
    fake.write_text("#!/bin/sh\necho no gateway >&2\nexit 1\n")
    os.chmod(fake, 0o755)
    result = subprocess.run(
        [DEMO, fake], capture_output=True, text=True, timeout=30
    )
    assert result.returncode == 1
    assert "demo.sh: FAILED: " in result.stderr
    assert "no gateway" in result.stderr
