"""An adapter for requests that paces, observes and retries.

>>> session.mount("https://", Adapter(limit=60))  # doctest: +SKIP

The same manners as ``mavera_rl.client.httpx.Transport``. To declare requests
safe use ``Retry(safe=...)`` or send an ``Idempotency-Key``.

A place in flight is given back when the body is consumed or the response is
closed; with ``stream=False`` that is before ``Session.send`` returns.

A body is sent again if it is bytes or text, or a file that can be rewound;
generators are sent once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any
from urllib.parse import urlsplit

try:
    import requests
except ImportError as error:
    raise ImportError(
        'mavera_rl.client.requests needs requests: pip install "mavera-rl[requests]"'
    ) from error

from requests.adapters import HTTPAdapter
from requests.exceptions import RequestException
from requests.utils import rewind_body
from urllib3.exceptions import HTTPError, NewConnectionError

from . import errors
from .errors import Cap, QueueTimeout
from .keyed import Keyed
from .monitor import Monitor
from .pace import Slot
from .queue import Queue, wait_on
from .retry import Failure, Retry, is_idempotent
from .tries import MOST_BODY, Tries

__all__ = ["Adapter", "GaveUp", "default_key"]

_PORTS = {"http": 80, "https": 443}


class GaveUp(errors.GaveUp, requests.exceptions.RetryError):
    """The request was tried as often, or for as long, as allowed.

    ``response`` is the last one, a ``requests.Response`` read and closed.
    """

    response: requests.Response | None

    def __init__(
        self,
        *,
        attempts: int,
        elapsed: float,
        retry_after: float | None,
        cap: Cap,
        response: requests.Response | None,
        request: requests.PreparedRequest,
    ) -> None:
        super().__init__(
            attempts=attempts,
            elapsed=elapsed,
            retry_after=retry_after,
            cap=cap,
            response=response,
        )
        self.request = request


def default_key(request: requests.PreparedRequest) -> Hashable:
    """Scheme, host, port, and the API key of the request."""
    url = urlsplit(request.url or "")
    port = url.port or _PORTS.get(url.scheme)
    secret = request.headers.get("x-api-key")
    if secret is None:
        secret = request.headers.get("authorization")
    return (url.scheme, url.hostname, port, secret)


class Adapter(HTTPAdapter):
    """An adapter that keeps within the limits of the APIs it talks to.

    Options as of ``mavera_rl.client.httpx.Transport``; ``adapter`` holds those
    of ``HTTPAdapter``, such as ``pool_maxsize``.

    Raises ``GaveUp`` and whatever ``HTTPAdapter`` raises. Thread-safe as far
    as ``HTTPAdapter`` is. Cannot be pickled.
    """

    def __init__(
        self,
        *,
        limit: int | None = None,
        window: float = 60.0,
        max_in_flight: int | None = None,
        margin: float = 0.0,
        max_wait: float | None = None,
        retry: Retry = Retry(),
        monitor: Monitor | Callable[[Hashable], Monitor] | None = None,
        key: Callable[[requests.PreparedRequest], Hashable] = default_key,
        adapter: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
        wait: Callable[[threading.Condition, float | None], object] = wait_on,
    ) -> None:
        super().__init__(**(adapter or {}))

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
        self._retry = retry
        self._key = key
        self._max_wait = max_wait
        self._clock = clock
        self._sleep = sleep

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("an adapter that shares limits cannot be pickled")

    def queue(self, request: requests.PreparedRequest) -> Queue | None:
        """The queue of a request's key, if there is one. For a look at it."""
        return self._queues.get(self._key(request))

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send one request when its turn comes."""
        options = {
            "stream": stream,
            "timeout": timeout,
            "verify": verify,
            "cert": cert,
            "proxies": proxies,
        }
        with self._queues.lease(self._key(request)) as queue:
            tries = Tries(self._retry)
            while True:
                slot = self._turn(queue, tries, request)
                tries.begin(self._clock())
                response = self._once(slot, tries, request, options)
                if response is not None:
                    return response
                wait = tries.wait(self._clock())
                if isinstance(wait, str):
                    raise self._give_up(tries, wait, request)
                self._sleep(wait)

    def _turn(
        self, queue: Queue, tries: Tries, request: requests.PreparedRequest
    ) -> Slot:
        try:
            return queue.slot(
                tries.timeout(self._clock(), self._max_wait),
                patience=self._retry.max_total,
                front=tries.sent > 0,
            )
        except QueueTimeout as late:
            cap = tries.late(late)
        raise self._give_up(tries, cap, request)

    def _once(
        self,
        slot: Slot,
        tries: Tries,
        request: requests.PreparedRequest,
        options: dict[str, Any],
    ) -> requests.Response | None:
        """One try: the response for the caller, or None if it is repeated."""
        try:
            if tries.sent > 1 and _position(request) is not None:
                rewind_body(request)
            response = super().send(request, **options)
        except RequestException as error:
            failure = _failure(error)
            if failure is Failure.UNSENT:
                slot.cancel()
            else:
                slot.close()
            if failure is None or not self._repeats(tries, request, failure):
                raise
            tries.error = error
            return None
        except BaseException:
            slot.close()
            raise
        try:
            answer = slot.answered(response.headers, response.status_code)
            tries.retry_after = answer.retry_after
            found = self._retry.failure(response.status_code, answer.retry_after)
            if found is None or not self._repeats(tries, request, found):
                _watch(response, slot)
                return response
            _settle(response)
            tries.response = response
        except BaseException:
            slot.close()
            response.close()
            raise
        slot.close()
        return None

    def _repeats(
        self,
        tries: Tries,
        request: requests.PreparedRequest,
        failure: Failure,
    ) -> bool:
        declared = self._retry.safe
        safe = is_idempotent(request.method or "", request.headers) or (
            declared is not None and declared(request)
        )
        return tries.repeats(failure, safe=safe, replayable=_replayable(request))

    def _give_up(
        self, tries: Tries, cap: Cap, request: requests.PreparedRequest
    ) -> GaveUp:
        last = tries.response
        gave_up = GaveUp(
            attempts=tries.sent,
            elapsed=tries.elapsed(self._clock()),
            retry_after=tries.retry_after,
            cap=cap,
            response=last if isinstance(last, requests.Response) else None,
            request=request,
        )
        gave_up.__cause__ = tries.error
        return gave_up


def _failure(error: RequestException) -> Failure | None:
    known = requests.exceptions
    if isinstance(error, known.ConnectTimeout):
        return Failure.UNSENT
    if isinstance(error, known.SSLError):
        return None
    if isinstance(error, known.ConnectionError):
        inner = error.args[0] if error.args else None
        if isinstance(getattr(inner, "reason", None), NewConnectionError):
            return Failure.UNSENT
        return Failure.UNCERTAIN
    if isinstance(error, (known.Timeout, known.ChunkedEncodingError)):
        return Failure.UNCERTAIN
    return None


def _position(request: requests.PreparedRequest) -> int | None:
    position = getattr(request, "_body_position", None)
    return position if isinstance(position, int) else None


def _replayable(request: requests.PreparedRequest) -> bool:
    body: Any = request.body
    if body is None or isinstance(body, (bytes, bytearray, str)):
        return True
    if _position(request) is None or not hasattr(body, "seek"):
        return False
    seekable = getattr(body, "seekable", None)
    return seekable is None or bool(seekable())


def _watch(response: requests.Response, slot: Slot) -> None:
    """Give the place back with the connection, or when closed.

    urllib3 calls ``release_conn`` at the end of the body, and requests calls
    one or both of them from ``Response.close``.
    """
    raw = response.raw

    def ending(original: Callable[[], object]) -> Callable[[], None]:
        def end() -> None:
            try:
                original()
            finally:
                slot.close()

        return end

    for name in ("release_conn", "close"):
        setattr(raw, name, ending(getattr(raw, name)))


def _settle(response: requests.Response) -> None:
    """Read a short body, and free the connection."""
    body = b""
    try:
        body = response.raw.read(MOST_BODY + 1, decode_content=True) or b""
        if len(body) > MOST_BODY:
            body = b""
    except HTTPError:
        body = b""
    finally:
        response.close()
    response._content = body
    response._content_consumed = True
