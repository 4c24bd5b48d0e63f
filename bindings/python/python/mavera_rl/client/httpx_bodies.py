"""Bodies of httpx: watched until closed, read before a retry, sent again."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import cast

import httpx

from .pace import Slot
from .tries import MOST_BODY

__all__ = ["async_settled", "async_watched", "in_memory", "settled", "watched"]


class _Stream(httpx.SyncByteStream):
    def __init__(self, inner: httpx.SyncByteStream, slot: Slot) -> None:
        self._inner = inner
        self._slot = slot

    def __iter__(self) -> Iterator[bytes]:
        yield from self._inner

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            self._slot.close()


class _AsyncStream(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, slot: Slot) -> None:
        self._inner = inner
        self._slot = slot

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            yield chunk

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            self._slot.close()


def watched(response: httpx.Response, slot: Slot) -> httpx.Response:
    """The response, which gives the place back when it is closed."""
    if response.is_closed:
        # Its body is in memory already; nobody will close it again.
        slot.close()
    else:
        response.stream = _Stream(cast(httpx.SyncByteStream, response.stream), slot)
    return response


def async_watched(response: httpx.Response, slot: Slot) -> httpx.Response:
    """The same for asyncio."""
    if response.is_closed:
        slot.close()
    else:
        response.stream = _AsyncStream(
            cast(httpx.AsyncByteStream, response.stream), slot
        )
    return response


def settled(response: httpx.Response, request: httpx.Request) -> httpx.Response:
    """The response with a short body read, and its connection free."""
    body = bytearray()
    if not response.is_closed:
        try:
            for chunk in cast(httpx.SyncByteStream, response.stream):
                body += chunk
                if len(body) > MOST_BODY:
                    body.clear()
                    break
        except httpx.TransportError:
            body.clear()
        finally:
            response.close()
    return _kept(response, request, bytes(body))


async def async_settled(
    response: httpx.Response, request: httpx.Request
) -> httpx.Response:
    """The same for asyncio."""
    body = bytearray()
    if not response.is_closed:
        try:
            async for chunk in cast(httpx.AsyncByteStream, response.stream):
                body += chunk
                if len(body) > MOST_BODY:
                    body.clear()
                    break
        except httpx.TransportError:
            body.clear()
        finally:
            await response.aclose()
    return _kept(response, request, bytes(body))


def _kept(
    response: httpx.Response, request: httpx.Request, body: bytes
) -> httpx.Response:
    if hasattr(response, "_content"):
        response.request = request
        return response
    kept = httpx.Response(
        response.status_code,
        headers=response.headers,
        stream=httpx.ByteStream(body),
        request=request,
        extensions=response.extensions,
    )
    with contextlib.suppress(httpx.DecodingError):
        kept.read()
    return kept


def in_memory(request: httpx.Request) -> bool:
    """Whether the body can be sent again."""
    try:
        return request.content is not None
    except httpx.RequestNotRead:
        return isinstance(request.stream, httpx.ByteStream)
