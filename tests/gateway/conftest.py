"""The gateway under test: its binary, its plan, one running instance.

MAVERA_GATEWAY names the binary. Each instance has a free port, and a
directory of its own in /dev/shm for its region.
"""

import contextlib
import http.client
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

PATIENCE_S = 10
ENDPOINT = "/mave/chat"

PLAN = """\
window = "60s"

[tiers]
starter = 60
basic = 120
professional = 240
enterprise = 600
short = { limit = 3, window = "1s" }

[endpoints]
"/mave/chat" = 10
"/focus-groups" = 5
"/video-analyses" = 3

[keys]
"key-starter" = "starter"
"key-other" = "starter"
"key-basic" = "basic"
"key-professional" = "professional"
"key-enterprise" = "enterprise"
"key-short" = "short"
"key with spaces" = "starter"
"key-negotiated" = { tier = "enterprise", limit = 5000 }
"""


def wait_until(condition, what):
    """Polls until `condition()` is true and returns what it returned."""
    end = time.monotonic() + PATIENCE_S
    while not (result := condition()):
        assert time.monotonic() < end, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.01)
    return result


class Answer:
    """A response that has been read to its end."""

    def __init__(self, response):
        self.status = response.status
        self.body = response.read()
        self.headers = response.headers

    def __getitem__(self, name):
        """The header's value, None without it; more than one is an error."""
        values = self.headers.get_all(name, [])
        assert len(values) < 2, f"{name} is there {len(values)} times"
        return values[0] if values else None

    @property
    def pid(self):
        return int(self["X-Worker-Pid"])


class Gateway:
    """A running gateway."""

    def __init__(self, process, log):
        self.process = process
        self.log = log
        self.started = process.stdout.readline()
        match = re.match(
            r"mavera-gateway: http://127\.0\.0\.1:(\d+), ", self.started
        )
        assert match, f"it said {self.started!r} and {log.read_text()!r}"
        self.port = int(match[1])

    def connect(self):
        return http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=PATIENCE_S
        )

    def ask(self, key=None, path=ENDPOINT, method="GET", body=None, **headers):
        """One request on a connection of its own."""
        headers = {name.replace("_", "-"): v for name, v in headers.items()}
        if key is not None:
            headers["X-API-Key"] = key
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body=body, headers=headers)
            return Answer(connection.getresponse())

    def workers(self):
        """Process ids of the workers, whether they serve already or not."""
        found = set()
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                # The name is in parentheses and may contain anything.
                fields = status.read_text().rpartition(")")[2].split()
                state, parent = fields[:2]
                if int(parent) == self.process.pid and state != "Z":
                    found.add(int(status.parent.name))
        return found

    def serving(self, count):
        """Process ids of `count` workers that have answered."""
        seen = set()

        def all_seen():
            seen.add(self.ask().pid)
            return len(seen) >= count

        wait_until(all_seen, f"{count} workers answer")
        return seen

    def stop(self, how=signal.SIGTERM):
        """Ends it and returns its exit status."""
        self.process.send_signal(how)
        return self.process.wait(PATIENCE_S)


@pytest.fixture(scope="session")
def binary():
    path = os.environ.get("MAVERA_GATEWAY")
    if not path:
        pytest.exit("MAVERA_GATEWAY must name the gateway's binary", 2)
    if not os.access(path, os.X_OK):
        pytest.exit(f"MAVERA_GATEWAY is {path}: no program there", 2)
    return os.path.abspath(path)


@pytest.fixture
def directory():
    path = Path(tempfile.mkdtemp(prefix="mavera-gateway-test.", dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def plan(directory):
    path = directory / "plan.toml"
    path.write_text(PLAN)
    return path


@pytest.fixture
def run(binary, directory, plan):
    """Runs the gateway to its end: the completed process."""

    def run(*arguments, timeout=PATIENCE_S):
        return subprocess.run(
            [binary, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture
def start(binary, directory, plan):
    """Starts gateways, all on the test's region, and ends them afterwards.

    A gateway that the test has not stopped must stop in order: a leak that a
    sanitizer reports, or a worker that crashed on its way out, shows in the
    status.
    """
    gateways = []

    def start(*arguments, region="region", workers=2):
        log = directory / f"log-{len(gateways)}"
        command = [binary, "--port", "0", "--workers", str(workers)]
        command += ["--region", str(directory / region), "--keys", "1000"]
        command += ["--plan", str(plan), *map(str, arguments)]
        with log.open("w") as stderr:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        try:
            gateways.append(Gateway(process, log))
        except BaseException:
            process.kill()
            process.wait()
            process.stdout.close()
            raise
        return gateways[-1]

    yield start
    failures = []
    for gateway in gateways:
        process = gateway.process
        try:
            if process.poll() is None and gateway.stop() != 0:
                failures.append(gateway.log.read_text())
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            failures.append(f"did not stop\n{gateway.log.read_text()}")
        process.stdout.close()
    assert not failures, "\n".join(failures)


@pytest.fixture
def gateway(start):
    return start()
