"""Against a real server with a strict window, over loopback, in real time."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import requests
import uvicorn

from mavera_rl.client.httpx import AsyncTransport, Transport
from mavera_rl.client.requests import Adapter

LIMIT, WINDOW, REQUESTS, WORKERS = 10, 1.0, 35, 5


class Strict:
    """Admits ``LIMIT`` requests of a key in any window, and tells."""

    def __init__(self) -> None:
        self.logs: dict[str, deque[float]] = {}
        self.statuses: dict[str, list[int]] = {}

    def decide(self, key: str) -> tuple[int, dict[str, str]]:
        now = time.monotonic()
        log = self.logs.setdefault(key, deque())
        while log and log[0] + WINDOW <= now:
            log.popleft()
        status = 200 if len(log) < LIMIT else 429
        if status == 200:
            log.append(now)
        wait = log[0] + WINDOW - now
        headers = {
            "X-RateLimit-Limit": str(LIMIT),
            "X-RateLimit-Remaining": str(LIMIT - len(log)),
            "X-RateLimit-Reset": str(math.ceil(time.time() + wait)),
        }
        if status == 429:
            headers["Retry-After"] = str(math.ceil(wait))
        self.statuses.setdefault(key, []).append(status)
        return status, headers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        given = {k.decode().lower(): v.decode() for k, v in scope["headers"]}
        status, headers = self.decide(given.get("x-api-key", ""))
        body = json.dumps(
            {"error": {"code": "rate_limit_exceeded"}} if status == 429 else {}
        ).encode()
        headers["Content-Length"] = str(len(body))
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
            }
        )
        await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Strict]]:
    strict = Strict()
    config = uvicorn.Config(
        strict, port=0, log_level="warning", lifespan="off", ws="none"
    )
    runner = uvicorn.Server(config)
    thread = threading.Thread(target=runner.run)
    thread.start()
    end = time.monotonic() + 10
    while not runner.started:
        assert time.monotonic() < end and thread.is_alive()
        time.sleep(0.005)
    port = runner.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/", strict
    runner.should_exit = True
    thread.join(10)


def settled(strict: Strict, key: str, statuses: list[int]) -> None:
    assert statuses == [200] * REQUESTS
    assert strict.statuses[key] == [200] * REQUESTS, "the server had to refuse"


def test_httpx_clients_are_never_refused(server: tuple[str, Strict]) -> None:
    url, strict = server
    transport = Transport(limit=LIMIT, window=WINDOW)
    with (
        httpx.Client(transport=transport, headers={"X-API-Key": "s"}) as client,
        ThreadPoolExecutor(WORKERS) as pool,
    ):
        answers = pool.map(lambda _: client.get(url), range(REQUESTS))
        settled(strict, "s", [a.status_code for a in answers])


def test_async_httpx_clients_are_never_refused(
    server: tuple[str, Strict],
) -> None:
    url, strict = server

    async def main() -> list[int]:
        transport = AsyncTransport(limit=LIMIT, window=WINDOW)
        headers = {"X-API-Key": "a"}
        async with httpx.AsyncClient(transport=transport, headers=headers) as client:
            answers = await asyncio.gather(*(client.get(url) for _ in range(REQUESTS)))
        return [answer.status_code for answer in answers]

    settled(strict, "a", asyncio.run(main()))


def test_requests_sessions_are_never_refused(server: tuple[str, Strict]) -> None:
    url, strict = server
    with requests.Session() as session:
        session.mount("http://", Adapter(limit=LIMIT, window=WINDOW))
        session.headers["X-API-Key"] = "r"
        with ThreadPoolExecutor(WORKERS) as pool:
            answers = pool.map(lambda _: session.get(url), range(REQUESTS))
            settled(strict, "r", [a.status_code for a in answers])


def test_two_clients_that_share_a_key_get_all_through(
    server: tuple[str, Strict],
) -> None:
    url, strict = server
    headers = {"X-API-Key": "shared"}
    clients = [
        httpx.Client(transport=Transport(window=WINDOW), headers=headers)
        for _ in range(2)
    ]
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda n: clients[n % 2].get(url), range(24))
        assert [a.status_code for a in answers] == [200] * 24
    for client in clients:
        client.close()
    assert strict.statuses["shared"].count(429) <= 8
