"""Behind real servers: clients that go away, websockets, several workers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import mavera_rl
from mavera_rl import Limiter
from mavera_rl.asgi import RateLimitMiddleware

uvicorn = pytest.importorskip("uvicorn")

CHAT = "/mave/chat"
HEADERS = {"X-API-Key": "k"}


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Polls: what happens in a server's thread has no clock to inject."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    """uvicorn in a thread, on a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(
                app, log_level="error", lifespan="off", timeout_graceful_shutdown=5
            )
        )
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, daemon=True
        )
        thread.start()
        try:
            assert until(lambda: server.started)
            yield f"127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(10)


async def _starts_a_stream(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"first", "more_body": True})


async def listening_app(scope: Any, receive: Any, send: Any) -> None:
    """Streams nothing more, and waits for the disconnect."""
    await _starts_a_stream(send)
    while (await receive())["type"] != "http.disconnect":
        pass


async def writing_app(scope: Any, receive: Any, send: Any) -> None:
    """Goes on writing for as long as the client is there, and asks no one."""
    await _starts_a_stream(send)
    listener = asyncio.ensure_future(listening_for_disconnect(receive))
    while not listener.done():
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.sleep(0.001)


async def listening_for_disconnect(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@pytest.mark.parametrize("app", [listening_app, writing_app])
def test_a_client_that_goes_away_gives_its_permit_back(app: Any) -> None:
    own = Limiter(tier="starter", keys=64)
    with serving(RateLimitMiddleware(app, own)) as address:
        with httpx.stream(
            "GET", f"http://{address}{CHAT}", headers=HEADERS
        ) as response:
            assert response.headers["x-ratelimit-remaining"] == "59"
            # Kept: a generator that is dropped closes the connection.
            parts = response.iter_raw()
            assert next(parts).startswith(b"first")
            assert own.in_flight("k", CHAT) == 1
        assert until(lambda: own.in_flight("k", CHAT) == 0)


def test_starlettes_stream_to_a_client_that_goes_away_gives_its_permit_back() -> None:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    async def chat(request: Request) -> StreamingResponse:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x"
                await asyncio.sleep(0.001)

        return StreamingResponse(endless())

    own = Limiter(tier="starter", keys=64)
    app = RateLimitMiddleware(Starlette(routes=[Route(CHAT, chat)]), own)
    with serving(app) as address:
        with httpx.stream(
            "GET", f"http://{address}{CHAT}", headers=HEADERS
        ) as response:
            parts = response.iter_raw()
            assert next(parts).startswith(b"x")
            assert own.in_flight("k", CHAT) == 1
        assert until(lambda: own.in_flight("k", CHAT) == 0)


def test_a_refusal_keeps_the_connection_usable() -> None:
    own = Limiter(tier="starter", keys=64)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    limited = RateLimitMiddleware(app, own, tier=lambda scope, key: 2)
    with (
        serving(limited) as address,
        httpx.Client(base_url=f"http://{address}", headers=HEADERS) as client,
    ):
        answers = [client.get("/") for _ in range(3)]
        answers.append(client.head("/"))
    assert [r.status_code for r in answers] == [204, 204, 429, 429]
    assert answers[2].json()["error"]["code"] == "rate_limit_exceeded"
    assert answers[3].content == b""


def test_a_websocket_holds_its_permit_while_it_is_open() -> None:
    pytest.importorskip("websockets")
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    own = Limiter(tier="starter", keys=64)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    with serving(RateLimitMiddleware(app, own)) as address:
        url = f"ws://{address}{CHAT}"
        with connect(url, additional_headers=HEADERS) as websocket:
            response = websocket.response
            assert response is not None
            assert response.headers["x-ratelimit-remaining"] == "59"
            assert own.in_flight("k", CHAT) == 1
        assert until(lambda: own.in_flight("k", CHAT) == 0)

        held = [own.permit("k", CHAT) for _ in range(10)]
        with pytest.raises(InvalidStatus) as refused:
            connect(url, additional_headers=HEADERS).__enter__()
        assert refused.value.response.status_code == 429
        body = refused.value.response.body
        assert json.loads(body or b"")["error"]["code"] == "concurrency_limit_exceeded"
        assert own.in_flight("k", CHAT) == len(held)

        with pytest.raises(InvalidStatus) as unknown:
            connect(url).__enter__()
        assert unknown.value.response.status_code == 401


# Several workers.

MODULE = """
import os
from mavera_rl import Limiter
from mavera_rl.asgi import RateLimitMiddleware

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})

path = os.environ.get("REGION")
app = RateLimitMiddleware(app, Limiter(path, tier="enterprise", keys=64))
"""


@contextlib.contextmanager
def workers(
    directory: Path, count: int, region: Path | None = None
) -> Iterator[tuple[str, Path]]:
    """``uvicorn --workers``: its address and the file with its output."""
    (directory / "service.py").write_text(MODULE)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = dict(os.environ)
    environment.pop("PYTEST_XDIST_WORKER", None)
    environment["PYTHONPATH"] = os.pathsep.join(
        (str(directory), str(Path(mavera_rl.__file__).parent.parent))
    )
    if region is not None:
        environment["REGION"] = str(region)
    log = directory / "log"
    command = f"-m uvicorn service:app --port {port} --workers {count} --lifespan off"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command.split()],
            env=environment,
            cwd=directory,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield f"http://127.0.0.1:{port}/", log
        finally:
            process.terminate()
            process.wait(20)


def _pids_that_answer(url: str, enough: Callable[[set[str]], bool]) -> set[str]:
    pids: set[str] = set()

    def asked() -> bool:
        # A connection each, so that any worker may answer.
        with contextlib.suppress(httpx.TransportError):
            pids.add(httpx.get(url, headers=HEADERS).text)
        return enough(pids)

    assert until(asked, 20.0)
    return pids


def test_workers_whose_limiter_is_their_own_warn(tmp_path: Path) -> None:
    with workers(tmp_path, 2) as (url, log):
        _pids_that_answer(url, lambda pids: "PrivateLimiterWarning" in log.read_text())
    assert 'Limiter("/dev/shm/NAME")' in log.read_text()


@pytest.mark.parametrize(("count", "shared"), [(2, True), (1, False)])
def test_workers_that_share_a_limiter_or_a_single_one_do_not_warn(
    tmp_path: Path, count: int, shared: bool
) -> None:
    region = tmp_path / "region" if shared else None
    with workers(tmp_path, count, region) as (url, log):
        _pids_that_answer(url, lambda pids: len(pids) == count)
        for _ in range(20):
            httpx.get(url, headers=HEADERS)
    assert "PrivateLimiterWarning" not in log.read_text()
    assert "no path" not in log.read_text()
