"""A WSGI middleware: a key's quota, and its permits for requests in flight.

    app.wsgi_app = RateLimitMiddleware(app.wsgi_app, Limiter("/dev/shm/limits"))

The permit is held until the server closes the response. While one is held the
response is wrapped, so a server's ``wsgi.file_wrapper`` does not take its short
cut there; elsewhere the response is the application's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal, TypeAlias

from ._http import INVALID_KEY, NO_KEY, Flavour, Tier, bearer, numbers
from ._native import Decision, Limiter, Permit
from ._workers import warn_private
from .errors import UnknownKeyError, UnknownTierError

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["RateLimitMiddleware", "api_key", "client_address", "header"]

Key: TypeAlias = "str | bytes | None"


def _text(value: str) -> Key:
    """A header as it was sent; a server hands its bytes over as latin-1."""
    # Not part of a field's value (RFC 9110, 5.5).
    value = value.strip(" \t")
    if value.isascii():
        return value or None
    sent = value.encode("latin-1")
    try:
        return sent.decode()
    except UnicodeDecodeError:
        return sent


def header(name: str) -> Callable[[WSGIEnvironment], Key]:
    """The key is the header ``name``."""
    variable = "HTTP_" + name.upper().replace("-", "_")

    def read(environ: WSGIEnvironment) -> Key:
        return _text(environ.get(variable, ""))

    return read


_x_api_key = header("X-API-Key")


def api_key(environ: WSGIEnvironment) -> Key:
    """The key is ``X-API-Key``, or else the token of ``Authorization: Bearer``."""
    key = _x_api_key(environ)
    if key is not None:
        return key
    return _text(bearer(environ.get("HTTP_AUTHORIZATION", "")) or "")


def client_address(environ: WSGIEnvironment) -> Key:
    """The key is the address of whoever connected, ``REMOTE_ADDR``.

    Never ``X-Forwarded-For``: every client can write there what it likes, and
    would be another client with each request. Behind a proxy, let the server
    (``ProxyFix``, gunicorn's ``--forwarded-allow-ips``) set the address from
    the header of a proxy that it trusts.
    """
    return environ.get("REMOTE_ADDR") or None


def _target(environ: WSGIEnvironment) -> bytes:
    """The request's path, by which the plan finds its endpoint.

    Not ``RAW_URI`` or ``REQUEST_URI``: after a rewrite they name another path
    than the one that the application routes by, and a request could reach an
    endpoint that the plan does not see.
    """
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    # It is decoded already. What looks like an escape or a query is neither.
    return (
        path.encode("latin-1")
        .replace(b"%", b"%25")
        .replace(b"?", b"%3F")
        .replace(b"#", b"%23")
    )


class _Held:
    """A response whose end gives the permit back."""

    def __init__(self, body: Iterable[bytes], permit: Permit) -> None:
        self._body = body
        self._permit = permit

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._permit.release()


class _SizedHeld(_Held):
    """The same of a list: servers take ``Content-Length`` from a single block."""

    _body: list[bytes] | tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self._body)


class RateLimitMiddleware:
    """Refuses what a key's limits do not admit, and tells clients where they are.

    app: the WSGI application.
    limiter: with a path, if there is more than one worker process.
    key: who is asking: a header's name, or a callable that takes the environ
        and returns ``str``, ``bytes`` or ``None``. :func:`api_key` if not
        given. A ``str`` counts as its UTF-8.
    tier: a name of the plan's, or a callable that takes environ and key and
        returns a name, a limit for a minute, ``(limit, window in seconds)``, or
        ``None``: what plan and limiter say.
    headers: of every response, instead of the application's of the same names:
        see :meth:`Decision.headers`. ``None``: none but a refusal's
        ``Retry-After``.
    without_key: ``refuse`` with 401, or ``pass`` to the application uncounted.
        A key that is none of the plan's, where the plan alone knows the tiers,
        is a 401 in any case.
    skip: a callable that takes the environ; what it says true to passes
        uncounted.

    The application finds the :class:`Decision` in
    ``environ["mavera_rl.decision"]``. Raises :class:`UnknownTierError` here if
    the plan has no such ``tier``; during a request what :meth:`Limiter.admit`
    raises, other than :class:`UnknownKeyError`.
    """

    def __init__(
        self,
        app: WSGIApplication,
        limiter: Limiter,
        *,
        key: str | Callable[[WSGIEnvironment], Key] | None = None,
        tier: str | Callable[[WSGIEnvironment, str | bytes], Tier] | None = None,
        headers: Flavour | None = "legacy",
        without_key: Literal["refuse", "pass"] = "refuse",
        skip: Callable[[WSGIEnvironment], bool] | None = None,
    ) -> None:
        if headers not in ("legacy", "ietf", "both", None):
            raise ValueError(f"headers is {headers!r}")
        if without_key not in ("refuse", "pass"):
            raise ValueError(f"without_key is {without_key!r}")
        if isinstance(tier, str) and tier not in limiter.plan.tiers:
            raise UnknownTierError(
                f'the plan has no tier "{tier}"; its tiers: '
                + ", ".join(limiter.plan.tiers)
            )
        self._app = app
        self._limiter = limiter
        self._key = (
            api_key if key is None else header(key) if isinstance(key, str) else key
        )
        self._tier = tier
        self._flavour: Flavour | None = headers
        self._refuses = without_key == "refuse"
        self._skip = skip

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answers a request."""
        limiter = self._limiter
        if (
            environ.get("wsgi.multiprocess")
            and limiter.path is None
            and limiter.enabled
        ):
            warn_private(limiter)
        if self._skip is not None and self._skip(environ):
            return self._app(environ, start_response)
        key = self._key(environ)
        if not key:
            if not self._refuses:
                return self._app(environ, start_response)
            return _unknown(environ, start_response, NO_KEY)
        choice = self._tier(environ, key) if callable(self._tier) else self._tier
        tier, limit, window = numbers(choice)
        try:
            admission = limiter.admit(
                key, _target(environ), tier, limit=limit, window=window
            )
        except UnknownKeyError:
            return _unknown(environ, start_response, INVALID_KEY)
        decision = admission.decision
        environ["mavera_rl.decision"] = decision
        added = _headers(decision, self._flavour)
        if not admission:
            return _answer(
                environ,
                start_response,
                "429 Too Many Requests",
                added,
                decision.body(),
            )
        start = _adding(start_response, added) if added else start_response
        permit = admission.permit
        if permit is None:
            return self._app(environ, start)
        try:
            body = self._app(environ, start)
        except BaseException:
            permit.release()
            raise
        held = _SizedHeld if isinstance(body, (list, tuple)) else _Held
        return held(body, permit)


def _headers(decision: Decision, flavour: Flavour | None) -> list[tuple[str, str]]:
    if flavour is not None:
        return list(decision.headers(flavour).items())
    if decision.allowed:
        return []
    return [("Retry-After", decision.headers()["Retry-After"])]


def _answer(
    environ: WSGIEnvironment,
    start_response: StartResponse,
    status: str,
    headers: list[tuple[str, str]],
    body: bytes,
) -> list[bytes]:
    about = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response(status, about + headers)
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]


def _unknown(
    environ: WSGIEnvironment, start_response: StartResponse, body: bytes
) -> list[bytes]:
    challenge = [("WWW-Authenticate", "Bearer")]
    return _answer(environ, start_response, "401 Unauthorized", challenge, body)


def _adding(
    start_response: StartResponse, added: list[tuple[str, str]]
) -> StartResponse:
    names = {name.lower() for name, _ in added}

    def start(
        status: str,
        headers: list[tuple[str, str]],
        exc_info: OptExcInfo | None = None,
        /,
    ) -> Callable[[bytes], object]:
        headers = [pair for pair in headers if pair[0].lower() not in names]
        headers += added
        try:
            # Servers tell a second call by whether exc_info was passed.
            if exc_info is None:
                return start_response(status, headers)
            return start_response(status, headers, exc_info)
        finally:
            # Or the traceback would hold its own frame.
            exc_info = None

    return start
