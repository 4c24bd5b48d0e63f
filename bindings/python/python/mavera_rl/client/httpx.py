"""Transports for httpx that pace, observe and retry.

>>> client = httpx.Client(transport=Transport(limit=60))  # doctest: +SKIP

A request waits for its turn, is sent, and its answer is taken in: quota,
limits, a pause for all requests of its key. If it failed and may be repeated
it waits and takes a turn again, before all that never had one. What may be
repeated, and when, is told in ``mavera_rl.client.retry``; a single request can
be declared safe with ``extensions={"mavera_rl": {"safe": True}}``.

A place in flight is given back when the response is closed, or read to its
end; a response that is dropped without either keeps its place, as it keeps its
connection.

A body is sent again only if httpx holds it in memory; generators, and
multipart bodies not read before, are sent once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Hashable
from types import TracebackType

try:
    import httpx
except ImportError as error:
    raise ImportError(
        'mavera_rl.client.httpx needs httpx: pip install "mavera-rl[httpx]"'
    ) from error

from . import errors
from . import httpx_bodies as bodies
from .async_queue import AsyncQueue
from .errors import Cap, QueueTimeout
from .keyed import Keyed
from .monitor import Monitor
from .pace import Slot
from .queue import Queue, wait_on
from .retry import Failure, Retry, is_idempotent
from .tries import Tries

__all__ = ["AsyncTransport", "GaveUp", "Transport", "default_key"]

_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_UNCERTAIN = (
    httpx.TimeoutException,
    httpx.NetworkError,
    httpx.RemoteProtocolError,
)


class GaveUp(errors.GaveUp, httpx.TransportError):
    """The request was tried as often, or for as long, as allowed.

    ``response`` is the last one, an ``httpx.Response`` read and closed.
    """

    response: httpx.Response | None


def default_key(request: httpx.Request) -> Hashable:
    """Scheme, host, port, and the API key of the request."""
    url = request.url
    secret = request.headers.get("x-api-key")
    if secret is None:
        secret = request.headers.get("authorization")
    return (url.scheme, url.host, url.port, secret)


class _Common:
    """What does not wait."""

    def __init__(
        self,
        retry: Retry,
        key: Callable[[httpx.Request], Hashable],
        max_wait: float | None,
    ) -> None:
        self._retry = retry
        self._key = key
        self._max_wait = max_wait

    def _repeats(self, tries: Tries, request: httpx.Request, failure: Failure) -> bool:
        own = request.extensions.get("mavera_rl")
        declared = self._retry.safe
        safe = (
            is_idempotent(request.method, request.headers)
            or (isinstance(own, dict) and own.get("safe") is True)
            or (declared is not None and declared(request))
        )
        return tries.repeats(failure, safe=safe, replayable=bodies.in_memory(request))

    def _give_up(self, tries: Tries, cap: Cap, now: float) -> GaveUp:
        gave_up = GaveUp(
            attempts=tries.sent,
            elapsed=tries.elapsed(now),
            retry_after=tries.retry_after,
            cap=cap,
            response=tries.response,
        )
        gave_up.__cause__ = tries.error
        return gave_up


class Transport(_Common, httpx.BaseTransport):
    """A transport that keeps within the limits of the APIs it talks to.

    ``wrapped`` sends; ``httpx.HTTPTransport()`` if None. ``limit`` requests
    per ``window`` seconds and key; with None requests are not held back until
    the server tells its limit. ``max_in_flight`` and ``margin``: see
    ``Ledger``. ``max_wait``: most seconds a request waits for its first turn;
    None: as long as it takes, but never through a pause longer than
    ``retry.max_total``. ``monitor``: one for all keys, or a function of the key
    that makes one; None makes one for each key. ``key``: what the server counts
    by.

    ``clock`` (monotonic seconds), ``wall`` (Unix seconds), ``sleep`` and
    ``wait`` (see ``Queue``) are there for tests.

    Raises ``GaveUp`` and whatever ``wrapped`` raises. Thread-safe if
    ``wrapped`` is.
    """

    def __init__(
        self,
        wrapped: httpx.BaseTransport | None = None,
        *,
        limit: int | None = None,
        window: float = 60.0,
        max_in_flight: int | None = None,
        margin: float = 0.0,
        max_wait: float | None = None,
        retry: Retry = Retry(),
        monitor: Monitor | Callable[[Hashable], Monitor] | None = None,
        key: Callable[[httpx.Request], Hashable] = default_key,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
        wait: Callable[[threading.Condition, float | None], object] = wait_on,
    ) -> None:
        super().__init__(retry, key, max_wait)

        def make(name: Hashable) -> Queue:
            return Queue(
                limit,
                window,
                max_in_flight=max_in_flight,
                margin=margin,
                monitor=monitor(name) if callable(monitor) else monitor,
                clock=clock,
                wall=wall,
                wait=wait,
            )

        make(None)  # A wrong option is told here, not by the first request.
        self._queues = Keyed(make)
        self._wrapped = httpx.HTTPTransport() if wrapped is None else wrapped
        self._clock = clock
        self._sleep = sleep

    def queue(self, request: httpx.Request) -> Queue | None:
        """The queue of a request's key, if there is one. For a look at it."""
        return self._queues.get(self._key(request))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request when its turn comes."""
        with self._queues.lease(self._key(request)) as queue:
            tries = Tries(self._retry)
            while True:
                slot = self._turn(queue, tries)
                tries.begin(self._clock())
                response = self._once(slot, tries, request)
                if response is not None:
                    return response
                wait = tries.wait(self._clock())
                if isinstance(wait, str):
                    raise self._give_up(tries, wait, self._clock())
                self._sleep(wait)

    def _turn(self, queue: Queue, tries: Tries) -> Slot:
        try:
            return queue.slot(
                tries.timeout(self._clock(), self._max_wait),
                patience=self._retry.max_total,
                front=tries.sent > 0,
            )
        except QueueTimeout as late:
            cap = tries.late(late)
        raise self._give_up(tries, cap, self._clock())

    def _once(
        self, slot: Slot, tries: Tries, request: httpx.Request
    ) -> httpx.Response | None:
        """One try: the response for the caller, or None if it is repeated."""
        try:
            response = self._wrapped.handle_request(request)
        except _UNSENT as error:
            slot.cancel()
            if not self._repeats(tries, request, Failure.UNSENT):
                raise
            tries.error = error
            return None
        except _UNCERTAIN as error:
            slot.close()
            if not self._repeats(tries, request, Failure.UNCERTAIN):
                raise
            tries.error = error
            return None
        except BaseException:
            slot.close()
            raise
        try:
            answer = slot.answered(response.headers, response.status_code)
            tries.retry_after = answer.retry_after
            failure = self._retry.failure(response.status_code, answer.retry_after)
            if failure is None or not self._repeats(tries, request, failure):
                return bodies.watched(response, slot)
            tries.response = bodies.settled(response, request)
        except BaseException:
            slot.close()
            response.close()
            raise
        slot.close()
        return None

    def close(self) -> None:
        """Close the wrapped transport."""
        self._wrapped.close()

    def __enter__(self) -> Transport:
        self._wrapped.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._wrapped.__exit__(exc_type, exc_value, traceback)


class AsyncTransport(_Common, httpx.AsyncBaseTransport):
    """``Transport`` for ``httpx.AsyncClient`` under asyncio.

    The same options; time is the event loop's. Belongs to the loop it is
    first used in, as an ``AsyncClient`` does. A cancelled request gives its
    place and its connection back; if it may have been sent it counts.
    """

    def __init__(
        self,
        wrapped: httpx.AsyncBaseTransport | None = None,
        *,
        limit: int | None = None,
        window: float = 60.0,
        max_in_flight: int | None = None,
        margin: float = 0.0,
        max_wait: float | None = None,
        retry: Retry = Retry(),
        monitor: Monitor | Callable[[Hashable], Monitor] | None = None,
        key: Callable[[httpx.Request], Hashable] = default_key,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(retry, key, max_wait)

        def make(name: Hashable) -> AsyncQueue:
            return AsyncQueue(
                limit,
                window,
                max_in_flight=max_in_flight,
                margin=margin,
                monitor=monitor(name) if callable(monitor) else monitor,
                wall=wall,
            )

        make(None)
        self._queues = Keyed(make)
        self._wrapped = httpx.AsyncHTTPTransport() if wrapped is None else wrapped

    def queue(self, request: httpx.Request) -> AsyncQueue | None:
        """The queue of a request's key, if there is one. For a look at it."""
        return self._queues.get(self._key(request))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request when its turn comes."""
        clock = asyncio.get_running_loop().time
        with self._queues.lease(self._key(request)) as queue:
            tries = Tries(self._retry)
            while True:
                slot = await self._turn(queue, tries, clock)
                tries.begin(clock())
                response = await self._once(slot, tries, request)
                if response is not None:
                    return response
                wait = tries.wait(clock())
                if isinstance(wait, str):
                    raise self._give_up(tries, wait, clock())
                await asyncio.sleep(wait)

    async def _turn(
        self, queue: AsyncQueue, tries: Tries, clock: Callable[[], float]
    ) -> Slot:
        try:
            return await queue.slot(
                tries.timeout(clock(), self._max_wait),
                patience=self._retry.max_total,
                front=tries.sent > 0,
            )
        except QueueTimeout as late:
            cap = tries.late(late)
        raise self._give_up(tries, cap, clock())

    async def _once(
        self, slot: Slot, tries: Tries, request: httpx.Request
    ) -> httpx.Response | None:
        try:
            response = await self._wrapped.handle_async_request(request)
        except _UNSENT as error:
            slot.cancel()
            if not self._repeats(tries, request, Failure.UNSENT):
                raise
            tries.error = error
            return None
        except _UNCERTAIN as error:
            slot.close()
            if not self._repeats(tries, request, Failure.UNCERTAIN):
                raise
            tries.error = error
            return None
        except BaseException:
            slot.close()
            raise
        try:
            answer = slot.answered(response.headers, response.status_code)
            tries.retry_after = answer.retry_after
            failure = self._retry.failure(response.status_code, answer.retry_after)
            if failure is None or not self._repeats(tries, request, failure):
                return bodies.async_watched(response, slot)
            tries.response = await bodies.async_settled(response, request)
        except BaseException:
            slot.close()
            await response.aclose()
            raise
        slot.close()
        return None

    async def aclose(self) -> None:
        """Close the wrapped transport."""
        await self._wrapped.aclose()

    async def __aenter__(self) -> AsyncTransport:
        await self._wrapped.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._wrapped.__aexit__(exc_type, exc_value, traceback)
