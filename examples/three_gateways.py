"""One limit for three languages: gateways in C, Go and Python on one region.

    python examples/three_gateways.py C_GATEWAY GO_GATEWAY

Everything it makes and starts is gone when it ends; fails where a promise is
not kept.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from fastapi_demo import HERE, Gateway, check, gateway, poll

LIMIT, VIDEOS = 60, 3
VIDEO = "/video-analyses"


@contextlib.contextmanager
def started(directory: Path, command: list[str | Path]) -> Iterator[Gateway]:
    """A gateway that says where it listens."""
    plan = HERE / "gateway" / "demo-plan.toml"
    said = directory / f"{Path(command[0]).name}.out"
    command = [*command, "--region", directory / "region", "--plan", plan]
    with said.open("w") as out, subprocess.Popen(command, stdout=out) as server:
        try:
            poll("it says where it listens", lambda: "http://" in said.read_text())
            url = "http://" + said.read_text().split("http://")[1].split()[0].strip(",")
            running = Gateway(server, url)
            poll("it answers", running.answers)
            yield running
        finally:
            server.terminate()


def one_quota(gateways: dict[str, Gateway]) -> None:
    print("\n== a. A Starter key spends its 60 through all three in turn")
    turns = itertools.islice(itertools.cycle(gateways.items()), LIMIT)
    for used, (language, one) in enumerate(turns, start=1):
        answer = one.ask("demo-starter")
        check(f"request {used}, to {language}, is allowed", answer.status_code == 200)
        left = answer.headers["X-RateLimit-Remaining"]
        check(f"after request {used} remain {left}", left == str(LIMIT - used))
    for language, one in gateways.items():
        refused = one.ask("demo-starter")
        check(f"the next, to {language}, is 429", refused.status_code == 429)
        check("with the contract's code", "rate_limit_exceeded" in refused.text)
        print(f"   | {language}: 429, Retry-After: {refused.headers['Retry-After']}")
    print(f"   ok: {LIMIT} admitted without a gap, and then none, whichever is asked")


def one_limit_on_what_is_in_flight(gateways: dict[str, Gateway]) -> None:
    print(f"\n== b. {VIDEOS} video analyses run, one in each language")
    slow = []
    for one in gateways.values():
        address = urlsplit(one.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port)
        connection.request(
            "GET", f"{VIDEO}?delay_ms=30000", headers={"X-API-Key": "demo-video"}
        )
        slow.append(connection)
    asked = itertools.count(1)
    first = next(iter(gateways.values()))

    def are_charged() -> bool:
        # Asked on another endpoint: here a request might take one's place.
        left = first.ask("demo-video", "/focus-groups").headers["X-RateLimit-Remaining"]
        return int(left) == 240 - next(asked) - VIDEOS

    poll("they are in flight", are_charged)
    for language, one in gateways.items():
        refused = one.ask("demo-video", VIDEO)
        check(f"the fourth, to {language}, is 429", refused.status_code == 429)
        check("for what is in flight", "concurrency_limit_exceeded" in refused.text)
        print(f"   | {language}: 429, {refused.json()['error']['message']}")
    gateways["Go"].server.kill()
    gateways["Go"].server.wait()
    time.sleep(0.01)  # An owner is asked after at most once in 5 ms.
    for language in "C", "Python":
        answer = gateways[language].ask("demo-video", VIDEO)
        check(f"{language} has the place", answer.status_code == 200)
    print("   ok: refused by all; the Go gateway is killed, and its place is free")
    for connection in slow:
        connection.close()


def main() -> None:
    c_gateway, go_gateway = (Path(path).resolve() for path in sys.argv[1:])
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as name,
        started(Path(name), [c_gateway, "--port", "0"]) as c,
        started(Path(name), [go_gateway, "--listen", "127.0.0.1:0"]) as go,
        gateway(Path(name)) as python,
    ):
        gateways = {"C": c, "Go": go, "Python": python}
        for language, one in gateways.items():
            print(f"{language}: {one.url}")
        one_quota(gateways)
        one_limit_on_what_is_in_flight(gateways)
    print(f"\nAll of it as promised, in {time.monotonic() - begun:.0f} s.")


if __name__ == "__main__":
    main()
