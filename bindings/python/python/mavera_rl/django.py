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

import threading
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings  # type: ignore[import-untyped]
from django.core.exceptions import ImproperlyConfigured  # type: ignore[import-untyped]
from django.core.signals import setting_changed  # type: ignore[import-untyped]
from django.http import HttpResponse  # type: ignore[import-untyped]
from django.utils.module_loading import import_string  # type: ignore[import-untyped]

from ._http import INVALID_KEY, NO_KEY, numbers
from ._native import Admission, Limiter
from ._workers import warn_private
from .errors import UnknownKeyError
from .wsgi import _headers, api_key, header

__all__ = ["RateLimitMiddleware", "limiter"]

_KNOWN: dict[str, tuple[object, ...]] = {
    "path": (),
    "options": (),
    "key": (),
    "tier": (),
    "headers": ("legacy", "ietf", "both", None),
    "without_key": ("refuse", "pass"),
}
_CHALLENGE = [("WWW-Authenticate", "Bearer")]
_lock = threading.Lock()
_limiter: Limiter | None = None


def _settings() -> dict[str, Any]:
    given: dict[str, Any] = getattr(settings, "MAVERA_RL", {})
    for name, value in given.items():
        if name not in _KNOWN:
            raise ImproperlyConfigured(
                f"MAVERA_RL has {name!r}, but knows only {', '.join(_KNOWN)}"
            )
        if _KNOWN[name] and value not in _KNOWN[name]:
            raise ImproperlyConfigured(
                f"MAVERA_RL[{name!r}] is {value!r}, not one of {_KNOWN[name]}"
            )
    return given


def limiter() -> Limiter:
    """The limiter of this process, by ``MAVERA_RL``; opened at the first call.

    Raises what :class:`mavera_rl.Limiter` raises, and ``ImproperlyConfigured``.
    """
    global _limiter
    with _lock:
        if _limiter is None:
            given = _settings()
            _limiter = Limiter(given.get("path"), **given.get("options", {}))
        return _limiter


def _changed(*, setting: str, **_: object) -> None:
    global _limiter
    if setting == "MAVERA_RL":
        with _lock:
            _limiter = None


# For tests, which override settings.
setting_changed.connect(_changed)


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
        given = _settings()
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
