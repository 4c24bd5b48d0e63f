"""A Django middleware: a key's quota, and its permits for requests in flight.

    MIDDLEWARE = ["mavera_rl.django.RateLimitMiddleware", ...]
    MAVERA_RL = {"path": "/dev/shm/limits", "tier": "basic"}

``MAVERA_RL`` may have, each as :class:`mavera_rl.wsgi.RateLimitMiddleware`:

path: of the region, for more than one worker process.
options: keywords of :class:`mavera_rl.Limiter`.
key: a header's name, or the dotted path of a callable that takes the request.
tier: a plan's name, or the dotted path of a callable that takes request and
    key.
headers: ``legacy``, ``ietf``, ``both`` or ``None``.
without_key: ``refuse`` or ``pass``.

A view finds the decision in ``request.META["mavera_rl.decision"]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpResponse  # type: ignore[import-untyped]
from django.utils.module_loading import import_string  # type: ignore[import-untyped]

from ._django import configuration, limiter
from ._http import INVALID_KEY, NO_KEY, numbers
from ._native import Admission
from ._workers import warn_private
from .errors import UnknownKeyError
from .wsgi import _headers, api_key, header

__all__ = ["RateLimitMiddleware", "limiter"]

_CHALLENGE = [("WWW-Authenticate", "Bearer")]


def _callable(given: Any) -> Any:
    return import_string(given) if isinstance(given, str) and "." in given else given


def _one_of_several(request: Any) -> bool:
    # Under ASGI, Django says so always, and so does its test client, by a name
    # that no host has.
    environ: dict[str, Any] = getattr(request, "environ", {})
    return (
        bool(environ.get("wsgi.multiprocess"))
        and environ["SERVER_NAME"] != "testserver"
    )


class RateLimitMiddleware:
    """See the module. Sync and async; never waits."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response
        self._async = iscoroutinefunction(get_response)
        if self._async:
            markcoroutinefunction(self)
        given = configuration()
        key = _callable(given.get("key"))
        read = header(key) if isinstance(key, str) else api_key
        self._key = key if callable(key) else lambda request: read(request.META)
        self._tier = _callable(given.get("tier"))
        self._flavour = given.get("headers", "legacy")
        self._refuses = given.get("without_key", "refuse") == "refuse"

    def __call__(self, request: Any) -> Any:
        """Answers a request."""
        if self._async:
            return self._answer_later(request)
        admission, refusal = self._admit(request)
        if refusal is not None:
            return refusal
        try:
            return self._finish(self._get_response(request), admission)
        except BaseException:
            if admission is not None:
                admission.release()
            raise

    async def _answer_later(self, request: Any) -> Any:
        admission, refusal = self._admit(request)
        if refusal is not None:
            return refusal
        try:
            return self._finish(await self._get_response(request), admission)
        except BaseException:
            # A cancellation too: the client has gone.
            if admission is not None:
                admission.release()
            raise

    def _admit(self, request: Any) -> tuple[Admission | None, Any]:
        """An admission, or what to answer at once, or neither: uncounted."""
        counter = limiter()
        if counter.path is None and counter.enabled and _one_of_several(request):
            warn_private(counter)
        key: Any = self._key(request)
        if not key:
            return None, _json(401, NO_KEY, _CHALLENGE) if self._refuses else None
        choice: Any = self._tier
        if callable(choice):
            choice = choice(request, key)
        tier, limit, window = numbers(choice)
        # It is decoded already. What looks like an escape or a query is neither.
        path = request.path.replace("%", "%25").replace("?", "%3F").replace("#", "%23")
        try:
            admission = counter.admit(key, path, tier, limit=limit, window=window)
        except UnknownKeyError:
            return None, _json(401, INVALID_KEY, _CHALLENGE)
        decision = admission.decision
        request.META["mavera_rl.decision"] = decision
        if admission:
            return admission, None
        return None, _json(429, decision.body(), _headers(decision, self._flavour))

    def _finish(self, response: Any, admission: Admission | None) -> Any:
        if admission is None:
            return response
        for name, value in _headers(admission.decision, self._flavour):
            response[name] = value
        if admission.permit is not None:
            # Not a wrapped close(): that would be a cycle, and the permit of a
            # response that is dropped would wait for the garbage collector.
            response._resource_closers.append(admission.permit.release)
        return response


def _json(status: int, body: bytes, headers: list[tuple[str, str]]) -> Any:
    return HttpResponse(
        body, status=status, content_type="application/json", headers=dict(headers)
    )
