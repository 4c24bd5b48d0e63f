from __future__ import annotations

import io
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from client_tools import Clock
from mavera_rl import client as manners
from mavera_rl.client import Retry
from mavera_rl.client.requests import Adapter, GaveUp, default_key

Reply = tuple[int, dict[str, str], bytes]


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: list[Reply | None] = []
        self.bodies: list[bytes] = []
        self.peers: set[Any] = set()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that closes early is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self) -> None:
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.bodies.append(body)
        self.server.peers.add(self.client_address)
        replies = self.server.replies
        step = replies.pop(0) if replies else (200, {}, b"hello")
        if step is None:
            self.close_connection = True
            return
        status, headers, body = step
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_HEAD = do_PUT = answer


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, args=(0.01,)).start()
    yield server
    server.shutdown()
    server.server_close()


class Rig:
    def __init__(self, server: Server, **options: Any) -> None:
        server.replies.clear()
        server.bodies.clear()
        server.peers.clear()
        self.server = server
        self.clock = Clock()
        options.setdefault("retry", Retry(jitter=0.0, backoff=1.0))
        self.adapter = Adapter(
            clock=self.clock,
            wall=self.clock,
            sleep=self.clock.sleep,
            wait=self.clock.wait,
            **options,
        )
        self.session = requests.Session()
        self.session.mount("http://", self.adapter)

    def in_flight(self) -> int:
        request = requests.Request("GET", self.server.url).prepare()
        queue = self.adapter.queue(request)
        return -1 if queue is None else queue.in_flight


@pytest.fixture
def make(shared: Server) -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def rig(**options: Any) -> Rig:
        rigs.append(Rig(shared, **options))
        return rigs[-1]

    yield rig
    for each in rigs:
        each.session.close()


def refused(after: str = "5") -> Reply:
    return (429, {"Retry-After": after}, b"slow down")


def test_a_429_is_repeated_after_its_retry_after_on_the_same_connection(
    make: Callable[..., Rig],
) -> None:
    rig = make()
    rig.server.replies[:] = [refused("40")]
    response = rig.session.post(rig.server.url, data=b"body")
    assert response.text == "hello"
    assert rig.clock.slept == [40.0]
    assert rig.server.bodies == [b"body", b"body"]
    assert len(rig.server.peers) == 1
    assert rig.in_flight() == 0


def test_a_wait_beyond_max_total_is_refused_at_once(
    make: Callable[..., Rig],
) -> None:
    rig = make()
    rig.server.replies[:] = [refused("121")]
    with pytest.raises(GaveUp) as error:
        rig.session.get(rig.server.url)
    assert rig.clock.slept == []
    gave_up = error.value
    assert isinstance(gave_up, requests.exceptions.RetryError)
    assert isinstance(gave_up, manners.GaveUp)
    assert (gave_up.attempts, gave_up.retry_after) == (1, 121.0)
    assert gave_up.cap == "max_total"
    assert gave_up.response is not None
    assert gave_up.response.text == "slow down"
    assert "Retry-After 121 s" in str(gave_up)
    assert gave_up.request.url == rig.server.url


def test_a_long_body_closes_the_connection_before_a_retry(
    make: Callable[..., Rig],
) -> None:
    rig = make()
    rig.server.replies[:] = [(429, {}, b"x" * 100_000)]
    assert rig.session.get(rig.server.url).text == "hello"
    assert rig.in_flight() == 0


def test_a_file_is_rewound_to_where_it_was(make: Callable[..., Rig]) -> None:
    rig = make()
    rig.server.replies[:] = [refused()]
    file = io.BytesIO(b"skipped body")
    file.seek(8)
    assert rig.session.post(rig.server.url, data=file).status_code == 200
    assert rig.server.bodies == [b"body", b"body"]


def test_a_generator_is_not_repeated(make: Callable[..., Rig]) -> None:
    rig = make()
    rig.server.replies[:] = [refused()]
    response = rig.session.post(rig.server.url, data=iter([b"a", b"b"]))
    assert response.status_code == 429 and response.text == "slow down"
    assert rig.server.bodies == [b"ab"]
    assert rig.in_flight() == 0


@pytest.mark.parametrize(
    ("method", "headers", "tries"),
    [("GET", {}, 2), ("POST", {}, 1), ("POST", {"Idempotency-Key": "1"}, 2)],
)
@pytest.mark.parametrize("failure", [(502, {}, b""), None])
def test_what_may_have_been_done_is_repeated_only_if_that_is_harmless(
    make: Callable[..., Rig],
    method: str,
    headers: dict[str, str],
    tries: int,
    failure: Reply | None,
) -> None:
    rig = make()
    rig.server.replies[:] = [failure]
    try:
        response = rig.session.request(method, rig.server.url, headers=headers)
        assert (response.status_code == 200) == (tries == 2)
    except requests.exceptions.ConnectionError:
        assert tries == 1
    assert len(rig.server.bodies) == tries
    assert rig.in_flight() == 0


def test_a_connection_never_made_is_repeated_and_charges_nothing(
    make: Callable[..., Rig],
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        rig = make(retry=Retry(attempts=3, jitter=0.0, backoff=1.0), limit=1)
        with pytest.raises(GaveUp) as error:
            rig.session.post(url, data=b"x")
    assert rig.clock.slept == [1.0, 2.0]
    assert rig.clock.now == 1003.0
    assert isinstance(error.value.__cause__, requests.exceptions.ConnectionError)


def test_a_streamed_response_keeps_its_place_until_consumed(
    make: Callable[..., Rig],
) -> None:
    rig = make(max_in_flight=1)
    response = rig.session.get(rig.server.url, stream=True)
    assert rig.in_flight() == 1
    assert b"".join(response.iter_content(2)) == b"hello"
    assert rig.in_flight() == 0


def test_a_streamed_response_gives_its_place_back_when_closed(
    make: Callable[..., Rig],
) -> None:
    rig = make(max_in_flight=1)
    with rig.session.get(rig.server.url, stream=True):
        assert rig.in_flight() == 1
    assert rig.in_flight() == 0


def test_closing_the_raw_response_gives_the_place_back(
    make: Callable[..., Rig],
) -> None:
    rig = make(max_in_flight=1)
    rig.session.get(rig.server.url, stream=True).raw.close()
    assert rig.in_flight() == 0


@pytest.mark.parametrize(
    ("method", "reply"),
    [("HEAD", (200, {}, b"")), ("GET", (204, {}, b"")), ("GET", (200, {}, b""))],
)
def test_a_response_without_a_body_gives_its_place_back(
    make: Callable[..., Rig], method: str, reply: Reply
) -> None:
    rig = make()
    rig.server.replies[:] = [reply]
    rig.session.request(method, rig.server.url)
    assert rig.in_flight() == 0


def test_a_redirect_gives_its_place_back(make: Callable[..., Rig]) -> None:
    rig = make(max_in_flight=1)
    rig.server.replies[:] = [(302, {"Location": rig.server.url}, b"there")]
    assert rig.session.get(rig.server.url).text == "hello"
    assert rig.in_flight() == 0


def test_requests_are_paced(make: Callable[..., Rig]) -> None:
    rig = make(limit=2)
    for _ in range(3):
        rig.session.get(rig.server.url)
    assert rig.clock.now == 1060.0


def test_the_default_key_is_where_a_request_goes_and_who_sends_it() -> None:
    def key(url: str, **headers: str) -> Any:
        return default_key(requests.Request("GET", url, headers=headers).prepare())

    assert key("http://a/x") == key("http://a:80/y")
    assert len({key("http://a"), key("https://a"), key("http://a:81")}) == 3
    assert key("http://a", Authorization="x") != key("http://a")


def test_an_adapter_is_not_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Adapter())
