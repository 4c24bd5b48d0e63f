"""Shows what the gateway on FastAPI promises, and fails where it does not.

    python examples/fastapi_demo.py

Four gunicorn workers on a free loopback port, with a region of their own in
/dev/shm. Everything it makes and starts is gone when it ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

HERE = Path(__file__).parent
WORKERS = 4
PATIENCE_S = 20


def check(what: str, holds: bool) -> None:
    if not holds:
        sys.exit(f"fastapi_demo.py: FAILED: {what}")


def poll(what: str, holds: Callable[[], bool]) -> None:
    """Until it holds, and not for long."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        check(f"{what}: not within {PATIENCE_S} s", time.monotonic() < end)
        time.sleep(0.02)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def children(pid: int) -> list[int]:
    return [
        int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ]


class Gateway:
    """The running server."""

    def __init__(self, server: subprocess.Popen[bytes], url: str) -> None:
        self.server = server
        self.url = url

    def ask(self, key: str, path: str = "/mave/chat") -> httpx.Response:
        """On a connection of its own: the kernel chooses the worker."""
        return httpx.get(self.url + path, headers={"X-API-Key": key}, timeout=60)

    def answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return self.ask("nobody").status_code == 401
        return False


@contextlib.contextmanager
def gateway(directory: Path) -> Iterator[Gateway]:
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--workers", str(WORKERS)]
    command += ["--worker-class", "uvicorn_worker.UvicornWorker"]
    command += ["--bind", f"127.0.0.1:{port}", "--chdir", str(HERE)]
    command += ["--log-level", "critical", "--graceful-timeout", "5"]
    command += ["--worker-tmp-dir", "/dev/shm", "fastapi_gateway:app"]
    environment = os.environ | {
        "MAVERA_REGION": str(directory / "region"),
        "MAVERA_PLAN": str(HERE / "gateway" / "demo-plan.toml"),
    }
    with subprocess.Popen(command, env=environment) as server:
        try:
            running = Gateway(server, f"http://127.0.0.1:{port}")
            poll("the gateway answers", running.answers)
            poll("it has its workers", lambda: len(children(server.pid)) == WORKERS)
            yield running
        finally:
            server.terminate()


def one_limit_for_all(gateway: Gateway) -> None:
    print("\n== a. A Starter key spends its 60 over all workers")
    workers = set()
    for used in range(1, 61):
        answer = gateway.ask("demo-starter")
        check(f"request {used} is allowed", answer.status_code == 200)
        left = answer.headers["X-RateLimit-Remaining"]
        check(f"after request {used} remain {left}", left == str(60 - used))
        workers.add(answer.json()["worker"])
    refused = gateway.ask("demo-starter")
    for name, value in refused.headers.items():
        print(f"   | {name}: {value}")
    print(f"   | {refused.text}")
    check("the 61st is 429", refused.status_code == 429)
    code = refused.json()["error"]["code"]
    check("its code is the contract's", code == "rate_limit_exceeded")
    check("it says when to retry", 1 <= int(refused.headers["Retry-After"]) <= 60)
    check("more than one worker served", len(workers) > 1)
    print(f"   ok: 60 admitted by {len(workers)} workers without a gap, then 429")


def a_client_with_manners(gateway: Gateway) -> None:
    print("\n== b. A client with manners asks 4 times its limit at once")
    begun = time.monotonic()
    client = subprocess.run(
        [
            sys.executable,
            HERE / "fastapi_client.py",
            gateway.url + "/mave/chat",
            "demo-short",
            "20",
            "2",
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    took = time.monotonic() - begun
    print(f"   {client.stdout.strip()}, in {took:.1f} s at 5 in 2 s")
    check(f"it sees only 200s: {client.stderr}", client.stdout == "20 times 200\n")
    check("it was paced", took > 3 * 2)
    print("   ok: only 200s")


def what_is_in_flight_dies_with_its_worker(gateway: Gateway) -> None:
    print("\n== c. 3 video analyses run; their workers are killed")
    slow = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import httpx, sys; httpx.get(sys.argv[1], timeout=60, "
                'headers={"X-API-Key": "demo-video"})',
                gateway.url + "/video-analyses?delay_ms=30000",
            ],
            stderr=subprocess.DEVNULL,
        )
        for _ in range(3)
    ]
    asked = 0

    def three_are_charged() -> bool:
        # Asked on another endpoint: here a request might take one's place.
        nonlocal asked
        answer = gateway.ask("demo-video", "/focus-groups")
        asked += 1
        return int(answer.headers["X-RateLimit-Remaining"]) == 240 - asked - 3

    poll("three are in flight", three_are_charged)
    fourth = gateway.ask("demo-video", "/video-analyses")
    check("the fourth is 429", fourth.status_code == 429)
    code = fourth.json()["error"]["code"]
    check("for what is in flight", code == "concurrency_limit_exceeded")
    workers = children(gateway.server.pid)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    for client in slow:
        check("a client of a killed worker has no answer", client.wait() != 0)
    poll(
        "the workers are replaced",
        lambda: len(set(children(gateway.server.pid)) - set(workers)) == WORKERS,
    )
    poll("they answer", gateway.answers)
    next_one = gateway.ask("demo-video", "/video-analyses")
    check("the next one is admitted", next_one.status_code == 200)
    print(f"   ok: {code}, kill -9, and the next one is admitted")


def main() -> None:
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        with gateway(Path(directory)) as running:
            one_limit_for_all(running)
            a_client_with_manners(running)
            what_is_in_flight_dies_with_its_worker(running)
            status = running.ask("nobody").status_code
        check("a key that the plan does not know is 401", status == 401)
    print(f"\nAll of it as promised, in {time.monotonic() - begun:.0f} s.")


if __name__ == "__main__":
    main()
