from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

import httpx
import pytest

from client_tools import Clock, cancel_at_every_await, run
from mavera_rl import client as manners
from mavera_rl.client import Monitor, Retry
from mavera_rl.client.httpx import (
    AsyncTransport,
    GaveUp,
    Transport,
    default_key,
)

URL = "http://api.test/v1"
STILL = Retry(jitter=0.0, backoff=1.0)
Step = Any  # A response, an exception, or a function of the request.


class Script(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Plays its steps in turn, the last one for ever."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.requests: list[httpx.Request] = []
        self.bodies: list[bytes] = []

    def step(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if callable(step):
            step = step()
        if isinstance(step, BaseException):
            raise step
        assert isinstance(step, httpx.Response)
        return step

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        step = self.steps[0]
        if not isinstance(step, httpx.ConnectError):
            assert isinstance(request.stream, httpx.SyncByteStream)
            self.bodies.append(b"".join(request.stream))
        return self.step(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(1)
        assert isinstance(request.stream, httpx.AsyncByteStream)
        self.bodies.append(b"".join([part async for part in request.stream]))
        return self.step(request)


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks
        self.read = 0
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            self.read += 1
            yield chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            await asyncio.sleep(1)
            self.read += 1
            yield chunk

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True
        await asyncio.sleep(1)


def reply(
    status: int = 200, body: Body | None = None, **headers: str
) -> httpx.Response:
    return httpx.Response(
        status,
        headers={k.replace("_", "-"): v for k, v in headers.items()},
        stream=Body(b"he", b"llo") if body is None else body,
    )


class Rig:
    def __init__(self, *steps: Step, **options: Any) -> None:
        self.clock = Clock()
        self.script = Script(*steps)
        options.setdefault("retry", STILL)
        self.transport = Transport(
            self.script,
            clock=self.clock,
            wall=self.clock,
            sleep=self.clock.sleep,
            wait=self.clock.wait,
            **options,
        )
        self.client = httpx.Client(transport=self.transport)

    def in_flight(self) -> int:
        queue = self.transport.queue(httpx.Request("GET", URL))
        return -1 if queue is None else queue.in_flight


def test_a_429_is_repeated_after_its_retry_after_whatever_the_method() -> None:
    rig = Rig(reply(429, retry_after="40"), reply())
    response = rig.client.post(URL, content=b"body")
    assert response.text == "hello"
    assert rig.clock.slept == [40.0]  # Our own backoff is capped at 30.
    assert rig.script.bodies == [b"body", b"body"]
    assert rig.in_flight() == 0


def test_a_wait_beyond_max_total_is_refused_at_once() -> None:
    rig = Rig(reply(429, retry_after="121"))
    with pytest.raises(GaveUp) as error:
        rig.client.get(URL)
    gave_up = error.value
    assert rig.clock.slept == []
    assert (gave_up.attempts, gave_up.elapsed, gave_up.retry_after) == (1, 0, 121)
    assert gave_up.cap == "max_total"
    assert gave_up.response is not None and gave_up.response.text == "hello"
    assert isinstance(gave_up, (httpx.TransportError, manners.GaveUp))
    assert str(gave_up) == (
        "gave up after 1 attempt in 0.000 s (Retry-After 121 s): the cap is max_total"
    )
    assert rig.in_flight() == 0


def test_requests_that_come_into_a_long_pause_are_refused_at_once_too() -> None:
    rig = Rig(reply(429, retry_after="500"))
    for _ in range(2):
        with pytest.raises(GaveUp) as error:
            rig.client.get(URL)
    assert error.value.attempts == 0 and error.value.cap == "max_total"
    assert len(rig.script.requests) == 1


def test_attempts_are_counted_in_all() -> None:
    rig = Rig(lambda: reply(429), retry=Retry(attempts=3, jitter=0.0, backoff=1.0))
    with pytest.raises(GaveUp) as error:
        rig.client.get(URL)
    assert error.value.attempts == len(rig.script.requests) == 3
    assert error.value.cap == "attempts"
    assert rig.clock.slept == [1.0, 2.0]


@pytest.mark.parametrize(
    ("method", "headers", "extensions", "safe", "tries"),
    [
        ("GET", {}, {}, None, 2),
        ("DELETE", {}, {}, None, 2),
        ("POST", {}, {}, None, 1),
        ("POST", {"Idempotency-Key": "1"}, {}, None, 2),
        ("POST", {}, {"mavera_rl": {"safe": True}}, None, 2),
        ("POST", {}, {}, lambda request: request.url.path == "/v1", 2),
        ("PATCH", {}, {}, lambda request: False, 1),
    ],
)
@pytest.mark.parametrize(
    "failure",
    [
        lambda: reply(502),
        lambda: reply(504),
        lambda: reply(503, retry_after="1"),
        lambda: httpx.ReadTimeout("slow"),
        lambda: httpx.WriteError("broken"),
        lambda: httpx.RemoteProtocolError("gone"),
    ],
)
def test_what_may_have_been_done_is_repeated_only_if_that_is_harmless(
    method: str,
    headers: dict[str, str],
    extensions: dict[str, Any],
    safe: Callable[[Any], bool] | None,
    tries: int,
    failure: Callable[[], Any],
) -> None:
    rig = Rig(failure, reply(), retry=Retry(jitter=0.0, safe=safe))
    try:
        response = rig.client.request(
            method, URL, headers=headers, extensions=extensions
        )
        assert (response.status_code == 200) == (tries == 2)
    except httpx.TransportError:
        assert tries == 1
    assert len(rig.script.requests) == tries
    assert rig.in_flight() == 0


def test_a_503_without_retry_after_is_passed_on() -> None:
    rig = Rig(reply(503))
    assert rig.client.get(URL).status_code == 503
    assert len(rig.script.requests) == 1


@pytest.mark.parametrize(
    "error", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout]
)
def test_a_connection_never_made_is_repeated_and_charges_nothing(
    error: type[Exception],
) -> None:
    rig = Rig(lambda: error("no"), reply(), limit=1)
    assert rig.client.post(URL, content=b"x").status_code == 200
    assert rig.clock.now == 1001.0


def test_a_generator_is_repeated_if_none_of_it_was_read() -> None:
    rig = Rig(httpx.ConnectError("no"), reply())
    assert rig.client.post(URL, content=iter([b"a"])).status_code == 200


def test_a_generator_is_not_repeated_once_read() -> None:
    rig = Rig(reply(429, retry_after="1"), reply())
    response = rig.client.post(URL, content=iter([b"a", b"b"]))
    assert response.status_code == 429
    assert response.text == "hello"
    assert rig.clock.slept == []


def test_the_last_exception_is_the_cause() -> None:
    rig = Rig(lambda: httpx.ReadTimeout("slow"), retry=Retry(attempts=2))
    with pytest.raises(GaveUp) as error:
        rig.client.get(URL)
    assert isinstance(error.value.__cause__, httpx.ReadTimeout)
    assert error.value.response is None


def test_a_response_to_be_repeated_is_read_and_closed_first() -> None:
    body = Body(b"a", b"b")
    rig = Rig(reply(429, body), reply())
    rig.client.get(URL)
    assert (body.read, body.closed) == (2, True)


def test_a_long_body_is_not_read_before_a_retry() -> None:
    body = Body(*[b"x" * 40_000] * 9)
    rig = Rig(reply(429, body), reply())
    rig.client.get(URL)
    assert (body.read, body.closed) == (2, True)


def test_a_place_in_flight_lasts_until_the_body_is_closed() -> None:
    rig = Rig(reply(), max_in_flight=1)
    with rig.client.stream("GET", URL) as response:
        assert rig.in_flight() == 1
        chunks = response.iter_raw()
        assert next(chunks) == b"he"
        assert rig.in_flight() == 1
    assert rig.in_flight() == 0


def test_a_body_read_to_its_end_gives_the_place_back() -> None:
    rig = Rig(reply())
    assert rig.client.get(URL).content == b"hello"
    assert rig.in_flight() == 0


def test_a_response_in_memory_gives_the_place_back() -> None:
    rig = Rig(httpx.Response(200, json={"a": 1}))
    assert rig.client.get(URL).json() == {"a": 1}
    assert rig.in_flight() == 0


def test_a_long_body_is_not_read_before_an_async_retry() -> None:
    async def main() -> None:
        body = Body(*[b"x" * 40_000] * 9)
        transport = AsyncTransport(Script(reply(429, body), reply()))
        async with httpx.AsyncClient(transport=transport) as client:
            assert (await client.get(URL)).text == "hello"
        assert (body.read, body.closed) == (2, True)

    run(main())


def test_a_failing_safe_callable_leaves_nothing_open() -> None:
    def safe(request: httpx.Request) -> bool:
        raise ZeroDivisionError

    body = Body(b"a")
    rig = Rig(reply(502, body), retry=Retry(safe=safe))
    with pytest.raises(ZeroDivisionError):
        rig.client.post(URL)
    assert body.closed and rig.in_flight() == 0

    async def main() -> None:
        body = Body(b"a")
        transport = AsyncTransport(Script(reply(502, body)), retry=Retry(safe=safe))
        async with httpx.AsyncClient(transport=transport) as client:
            with pytest.raises(ZeroDivisionError):
                await client.post(URL)
        assert body.closed
        assert transport.queue(httpx.Request("POST", URL)).in_flight == 0

    run(main())


def test_a_turn_that_comes_after_max_total_is_not_waited_for() -> None:
    rig = Rig(reply(502), limit=1, retry=Retry(max_total=30.0, jitter=0.0))
    with pytest.raises(GaveUp) as error:
        rig.client.get(URL)
    assert (error.value.cap, error.value.attempts) == ("max_total", 1)
    assert rig.clock.now == 1000.5  # Our own backoff, and none of the window.
    assert error.value.response.status_code == 502


def test_requests_are_paced_by_key() -> None:
    rig = Rig(reply, limit=1)
    for key in ("a", "b"):
        rig.client.get(URL, headers={"X-API-Key": key})
    assert rig.clock.now == 1000.0
    rig.client.get(URL, headers={"X-API-Key": "a"})
    assert rig.clock.now == 1060.0


def test_the_default_key_is_where_a_request_goes_and_who_sends_it() -> None:
    def key(url: str, **headers: str) -> Any:
        names = {k.replace("_", "-"): v for k, v in headers.items()}
        return default_key(httpx.Request("GET", url, headers=names))

    assert key("http://a/x", X_API_Key="k") == key("http://a/y", x_api_key="k")
    different = {
        key("http://a"),
        key("https://a"),
        key("http://b"),
        key("http://a:81"),
        key("http://a", x_api_key="k"),
        key("http://a", authorization="Bearer t"),
    }
    assert len(different) == 6


def test_the_servers_limit_is_kept_without_any_configured() -> None:
    rig = Rig(lambda: reply(x_ratelimit_limit="2"))
    for _ in range(3):
        rig.client.get(URL)
    assert rig.clock.now == 1060.0


def test_the_monitor_learns_the_quota() -> None:
    monitor = Monitor(threshold=10)
    rig = Rig(reply(x_ratelimit_limit="60", x_ratelimit_remaining="3"), monitor=monitor)
    rig.client.get(URL)
    assert (monitor.limit, monitor.remaining) == (60, 3)


def test_each_key_has_its_monitor() -> None:
    made: dict[Any, Monitor] = {}

    def monitor(key: Any) -> Monitor:
        return made.setdefault(key, Monitor())

    rig = Rig(lambda: reply(x_ratelimit_remaining="3"), monitor=monitor)
    rig.client.get(URL)
    assert made[default_key(httpx.Request("GET", URL))].remaining == 3


def test_max_wait_bounds_the_wait_for_the_first_turn() -> None:
    rig = Rig(reply, limit=1, max_wait=10.0)
    rig.client.get(URL)
    with pytest.raises(GaveUp) as error:
        rig.client.get(URL)
    assert (error.value.cap, error.value.attempts) == ("max_wait", 0)
    assert rig.clock.now == 1000.0


def test_other_errors_are_passed_on_and_leave_no_trace() -> None:
    rig = Rig(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        rig.client.get(URL)
    assert rig.in_flight() == 0


def test_a_wrong_option_is_told_when_the_transport_is_made() -> None:
    with pytest.raises(ValueError):
        Transport(Script(reply()), limit=0)


def test_threads_share_one_window() -> None:
    rig = Rig(reply, limit=5, max_in_flight=3)
    sent: list[float] = []

    def body() -> None:
        for _ in range(5):
            rig.client.get(URL)
            sent.append(rig.clock.now)

    threads = [threading.Thread(target=body) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(sent) == 20 and rig.clock.now == 1180.0
    assert rig.in_flight() == 0


def test_the_async_transport_paces_retries_and_reads() -> None:
    async def main() -> None:
        script = Script(reply(429, retry_after="5"), reply(), reply())
        transport = AsyncTransport(script, limit=1, retry=STILL)
        async with httpx.AsyncClient(transport=transport) as client:
            response = await client.post(URL, content=b"x")
            assert response.text == "hello"
            assert script.bodies == [b"x", b"x"]
            await client.get(URL)
        # 1 s each way, 2 s of body and 1 s of closing, then 5 s, then a window.
        assert asyncio.get_running_loop().time() >= 1066.0
        assert transport.queue(httpx.Request("GET", URL)).in_flight == 0

    run(main())


def test_the_async_transport_gives_up_at_once() -> None:
    async def main() -> None:
        transport = AsyncTransport(Script(reply(429, retry_after="500")))
        async with httpx.AsyncClient(transport=transport) as client:
            with pytest.raises(GaveUp) as error:
                await client.get(URL)
        assert error.value.response.text == "hello"
        assert asyncio.get_running_loop().time() < 1005.0

    run(main())


def test_async_exceptions_follow_the_same_rules() -> None:
    async def main() -> None:
        script = Script(httpx.ConnectError("no"), httpx.ReadError("no"), reply())
        transport = AsyncTransport(script, retry=STILL)
        async with httpx.AsyncClient(transport=transport) as client:
            assert (await client.get(URL)).status_code == 200
            script.steps = [httpx.ReadError("no")]
            with pytest.raises(httpx.ReadError):
                await client.post(URL)
        assert transport.queue(httpx.Request("GET", URL)).in_flight == 0

    run(main())


def test_cancelling_at_every_await_gives_place_and_connection_back() -> None:
    def scenario() -> tuple[Coroutine[Any, Any, Any], Callable[[], Awaitable[None]]]:
        bodies: list[Body] = []

        def answer(status: int, **headers: str) -> Callable[[], httpx.Response]:
            def make() -> httpx.Response:
                bodies.append(Body(b"a", b"b"))
                return reply(status, bodies[-1], **headers)

            return make

        script = Script(
            answer(429, retry_after="3"),
            httpx.ConnectError("no"),
            httpx.ReadError("no"),
            answer(502),
            answer(200),
        )
        transport = AsyncTransport(script, limit=2, max_in_flight=1, retry=STILL)
        client = httpx.AsyncClient(transport=transport)

        async def victim() -> None:
            assert (await client.get(URL)).text == "ab"
            async with client.stream("GET", URL) as response:
                await response.aread()

        async def check() -> None:
            queue = transport.queue(httpx.Request("GET", URL))
            assert queue is None or (queue.in_flight, queue.waiting) == (0, 0)
            assert all(body.closed for body in bodies)
            script.steps = [answer(200)]
            assert (await client.get(URL)).text == "ab"
            queue = transport.queue(httpx.Request("GET", URL))
            assert queue is not None and queue.in_flight == 0

        return victim(), check

    assert cancel_at_every_await(scenario) >= 30
