"""The WSGI middleware under Flask and under gunicorn."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask, Response, g
from flask import request as flask_request

from mavera_rl import Limiter
from mavera_rl.wsgi import RateLimitMiddleware

PATIENCE = 10.0
"""Seconds until something that should happen counts as not happening."""


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_flask_application_is_limited_and_streams_hold_their_permit(
    limiter: Limiter,
) -> None:
    app = Flask(__name__)
    app.wsgi_app = RateLimitMiddleware(  # type: ignore[method-assign]
        app.wsgi_app, limiter, tier=lambda environ, key: 3
    )

    @app.get("/")
    def index() -> str:
        g.remaining = flask_request.environ["mavera_rl.decision"].remaining
        return str(g.remaining)

    @app.get("/mave/chat")
    def chat() -> Response:
        return Response(iter([b"one", b"two"]))

    client = app.test_client()
    assert client.get("/").status_code == 401
    key = {"Authorization": "Bearer a"}
    answer = client.get("/", headers=key)
    assert (answer.text, answer.headers["X-RateLimit-Remaining"]) == ("2", "2")
    with client.get("/mave/chat", headers=key, buffered=False) as stream:
        assert limiter.in_flight("a", "/mave/chat") == 1
        assert stream.data == b"onetwo"
    assert limiter.in_flight("a", "/mave/chat") == 0
    assert client.get("/no-such-page", headers=key).status_code == 404
    refused = client.get("/", headers=key)
    assert refused.status_code == 429
    assert refused.get_json()["error"]["code"] == "rate_limit_exceeded"


APPLICATION = """
import os, threading, time
from mavera_rl import Limiter
from mavera_rl.wsgi import RateLimitMiddleware

def app(environ, start_response):
    if environ["PATH_INFO"].endswith("/slow"):
        name = f"{{os.getpid()}}-{{threading.get_ident()}}"
        open(os.path.join({directory!r}, name), "w").close()
        threading.Event().wait()
    if environ["PATH_INFO"] == "/meet":
        open(os.path.join({directory!r}, str(os.getpid())), "w").close()
        while len(os.listdir({directory!r})) < 2:
            time.sleep(0.001)
    # Long enough for the other worker to take the next request.
    time.sleep(0.002)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]

application = RateLimitMiddleware(app, Limiter({path!r}), tier="starter")
"""


class Server:
    def __init__(self, address: tuple[str, int], pids: Path, region: Limiter) -> None:
        self.address = address
        self.pids = pids
        self.region = region

    def connect(self, target: str, key: str) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE)
        connection.request("GET", target, headers={"X-API-Key": key})
        return connection

    def get(self, target: str, key: str) -> tuple[int, bytes]:
        connection = self.connect(target, key)
        try:
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@pytest.fixture
def server(path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """Gunicorn with two workers of so many threads."""
    directory = path.parent
    pids = directory / "pids"
    pids.mkdir()
    text = APPLICATION.format(directory=str(pids), path=str(path))
    (directory / "application.py").write_text(text)
    with (
        Limiter(path, keys=1000) as region,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        command = [
            *(sys.executable, "-m", "gunicorn", "application:application"),
            *("--workers", "2", "--threads", str(request.param)),
            *("--bind", f"fd://{listener.fileno()}", "--chdir", str(directory)),
            *("--no-control-socket", "--log-level", "warning"),
        ]
        gunicorn = subprocess.Popen(
            command,
            pass_fds=[listener.fileno()],
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield Server(listener.getsockname(), pids, region)
        finally:
            # The blocked threads would keep the workers for their grace period.
            os.killpg(gunicorn.pid, signal.SIGKILL)
            gunicorn.wait()


@pytest.mark.parametrize("server", [1], indirect=True)
def test_two_workers_admit_exactly_the_limit(server: Server) -> None:
    answers: list[tuple[int, bytes]] = []
    # Each worker takes one request at a time, and these end together.
    meeting = [server.connect("/meet", "b") for _ in range(2)]
    for connection in meeting:
        assert connection.getresponse().status == 200
        connection.close()

    def spend() -> None:
        for _ in range(25):
            answers.append(server.get("/", "a"))

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    admitted = [body for status, body in answers if status == 200]
    assert len(answers) == 100
    assert len(admitted) == 60
    assert len(set(admitted)) == 2


@pytest.mark.parametrize("server", [4], indirect=True)
def test_a_worker_that_is_killed_frees_the_permits_of_its_requests(
    server: Server,
) -> None:
    endpoint = "/video-analyses"
    slow = [server.connect(endpoint + "/slow", "a") for _ in range(3)]
    until(lambda: server.region.in_flight("a", endpoint) == 3)
    status, body = server.get(endpoint, "a")
    assert status == 429
    assert b"concurrency_limit_exceeded" in body
    # A permit is taken before the application is called.
    until(lambda: len(list(server.pids.iterdir())) == 3)
    workers = {int(file.name.split("-")[0]) for file in server.pids.iterdir()}
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    for connection in slow:
        # The connection ends with the worker that held it.
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            connection.getresponse()
        connection.close()
    status, body = server.get(endpoint, "a")
    assert status == 200
    assert int(body) not in workers
    # A response is closed after the client has read it.
    until(lambda: server.region.in_flight("a", endpoint) == 0)
