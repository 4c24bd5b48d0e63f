"""The middleware, message by message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Literal

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from asgi_tools import (
    BODY,
    CHAT,
    START,
    App,
    Message,
    Receive,
    Scope,
    Send,
    Server,
    http,
    limiter,
    never,
    ok,
    sending,
)
from mavera_rl import Decision, Limiter, ManualClock, UnknownTierError
from mavera_rl.asgi import RateLimitMiddleware

# Headers and refusals.


@pytest.mark.parametrize(
    ("flavour", "names"),
    [
        ("legacy", {b"x-ratelimit-limit", b"x-ratelimit-remaining"}),
        ("ietf", {b"ratelimit", b"ratelimit-policy"}),
        ("both", {b"x-ratelimit-limit", b"ratelimit"}),
        (None, set()),
    ],
)
def test_an_allowed_response_has_the_headers_of_the_flavour(
    flavour: Literal["legacy", "ietf", "both"] | None, names: set[bytes]
) -> None:
    app = RateLimitMiddleware(ok, limiter(), headers=flavour)
    server = Server().run(app, http())
    assert server.kinds == ["http.response.start", "http.response.body"]
    assert names <= server.headers.keys()
    assert server.headers[b"content-type"] == b"text/plain"
    if flavour is None:
        assert server.sent == [START, BODY]


def test_the_headers_count_down() -> None:
    app = RateLimitMiddleware(ok, limiter())
    left = [Server().run(app, http()).headers for _ in range(3)]
    assert [h[b"x-ratelimit-remaining"] for h in left] == [b"59", b"58", b"57"]


@pytest.mark.parametrize("flavour", ["legacy", "ietf", "both", None])
def test_a_refusal_is_a_429_with_the_contracts_body(
    flavour: Literal["legacy", "ietf", "both"] | None,
) -> None:
    app = RateLimitMiddleware(
        never, limiter(), headers=flavour, tier=lambda scope, key: 1
    )
    app._limiter.check("k", limit=1)
    server = Server().run(app, http())
    start, body = server.sent
    assert start["status"] == 429
    assert server.headers[b"content-type"] == b"application/json"
    assert server.headers[b"content-length"] == b"%d" % len(body["body"])
    assert server.headers[b"retry-after"] == b"60"
    assert (b"x-ratelimit-limit" in server.headers) == (flavour in ("legacy", "both"))
    assert (b"ratelimit" in server.headers) == (flavour in ("ietf", "both"))
    assert json.loads(body["body"])["error"]["code"] == "rate_limit_exceeded"


def test_a_refusal_for_what_is_in_flight_says_so() -> None:
    own = limiter()
    held = [own.permit("k", CHAT) for _ in range(10)]
    server = Server().run(RateLimitMiddleware(never, own), http(CHAT))
    assert server.sent[0]["status"] == 429
    assert b"concurrency_limit_exceeded" in server.sent[1]["body"]
    assert own.in_flight("k", CHAT) == len(held)


def test_the_applications_headers_of_the_same_names_are_replaced() -> None:
    theirs = [
        (b"x-ratelimit-limit", b"1"),
        (b"X-RateLimit-Remaining", b"1"),
        (b"retry-after", b"7"),
        (b"x-other", b"1"),
    ]
    app = RateLimitMiddleware(sending({**START, "headers": iter(theirs)}), limiter())
    headers = Server().run(app, http()).headers
    assert headers[b"x-ratelimit-limit"] == b"60"
    assert headers[b"x-ratelimit-remaining"] == b"59"
    assert b"X-RateLimit-Remaining" not in headers
    assert headers[b"x-other"] == b"1"
    # Not ours: the request was allowed.
    assert headers[b"retry-after"] == b"7"


def test_the_applications_retry_after_stays_without_a_flavour() -> None:
    start = {**START, "status": 503, "headers": [(b"retry-after", b"7")]}
    for path in ("/", CHAT):
        app = RateLimitMiddleware(sending(start, BODY), limiter(), headers=None)
        assert Server().run(app, http(path)).sent == [start, BODY]


def test_the_applications_messages_are_not_changed() -> None:
    theirs = [(b"content-type", b"text/plain")]
    start: Message = {"type": "http.response.start", "status": 200, "headers": theirs}
    for path in ("/", CHAT):
        Server().run(RateLimitMiddleware(sending(start, BODY), limiter()), http(path))
        assert start["headers"] is theirs
        assert theirs == [(b"content-type", b"text/plain")]


def test_a_header_is_replaced_in_whatever_case_it_is_written() -> None:
    start = {**START, "headers": [(b"X-RateLimit-Limit", b"1")]}
    headers = Server().run(RateLimitMiddleware(sending(start), limiter()), http())
    assert b"X-RateLimit-Limit" not in headers.headers


def test_a_start_without_headers_gets_them() -> None:
    bare = {"type": "http.response.start", "status": 204}
    server = Server().run(RateLimitMiddleware(sending(bare), limiter()), http())
    assert server.headers[b"x-ratelimit-limit"] == b"60"


@pytest.mark.parametrize("path", ["/", CHAT])
def test_all_other_messages_pass_as_they_are(path: str) -> None:
    others: list[Message] = [
        {"type": "http.response.early_hint", "links": [b"</x>; rel=preload"]},
        {"type": "http.response.debug", "info": {}},
        {"type": "http.response.push", "path": "/x", "headers": []},
        {"type": "http.response.body", "body": b"a", "more_body": True},
        {"type": "http.response.zerocopysend", "file": 3, "more_body": True},
        BODY,
    ]
    app = RateLimitMiddleware(sending(START, *others), limiter())
    server = Server().run(app, http(path))
    assert len(server.sent) == len(others) + 1
    for sent, other in zip(server.sent[1:], others, strict=True):
        assert sent is other


def test_the_application_reads_the_decision_in_its_scope() -> None:
    seen: list[Decision] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["mavera_rl"])

    Server().run(RateLimitMiddleware(app, limiter()), http())
    assert seen[0].remaining == 59


@pytest.mark.parametrize("kind", ["lifespan", "other"])
def test_other_connections_pass_untouched(kind: str) -> None:
    seen: list[tuple[object, ...]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope, receive, send))

    server = Server()
    scope = {"type": kind}
    receive, send = server.receive, server.send
    asyncio.run(_call(RateLimitMiddleware(app, limiter()), scope, receive, send))
    assert seen == [({"type": kind}, receive, send)]


async def _call(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


# Options.


def test_wrong_options_are_found_at_once() -> None:
    with pytest.raises(UnknownTierError, match='no tier "gold"'):
        RateLimitMiddleware(ok, limiter(), tier="gold")
    wrong: Any = "legcy"
    with pytest.raises(ValueError, match="headers"):
        RateLimitMiddleware(ok, limiter(), headers=wrong)
    with pytest.raises(ValueError, match="without_key"):
        RateLimitMiddleware(ok, limiter(), without_key=wrong)


async def _skip_health(scope: Scope) -> bool:
    return bool(scope["path"] == "/health")


@pytest.mark.parametrize("skip", [_skip_health, lambda s: s["path"] == "/health"])
def test_what_is_skipped_is_not_limited(skip: Any) -> None:
    own = limiter()
    app = RateLimitMiddleware(ok, own, skip=skip)
    assert Server().run(app, http("/health")).sent == [START, BODY]
    assert own.peek("k").used == 0
    assert b"x-ratelimit-limit" in Server().run(app, http("/")).headers


# A real application.


def _get(app: Any, *paths: str, **headers: str) -> list[httpx.Response]:
    async def get() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(
            transport=transport,
            base_url="http://test",
            headers=headers or {"X-API-Key": "k"},
        ) as client:
            return [await client.get(path) for path in paths]

    return asyncio.run(get())


def test_starlette_streams_and_runs_its_background_task_without_the_permit() -> None:
    own = limiter()
    held: dict[str, int] = {}

    def note(when: str) -> None:
        held[when] = own.in_flight("k", CHAT)

    async def chat(request: Request) -> Response:
        note("route")

        async def parts() -> AsyncIterator[bytes]:
            note("stream")
            yield b"a"
            yield b"b"

        return StreamingResponse(parts(), background=BackgroundTask(note, "after"))

    app = Starlette(
        routes=[Mount("/mave", routes=[Route("/chat", chat)])],
        middleware=[Middleware(RateLimitMiddleware, limiter=own)],
    )
    (response,) = _get(app, CHAT)
    assert response.text == "ab"
    assert response.headers["x-ratelimit-remaining"] == "59"
    assert held == {"route": 1, "stream": 1, "after": 0}


def test_starlettes_errors_have_the_headers() -> None:
    async def fail(request: Request) -> Response:
        raise ValueError

    app = RateLimitMiddleware(Starlette(routes=[Route("/fail", fail)]), limiter())
    responses = _get(app, "/fail", "/nowhere")
    assert [r.status_code for r in responses] == [500, 404]
    assert [r.headers["x-ratelimit-remaining"] for r in responses] == ["59", "58"]


def test_the_limit_is_the_limit_and_ends_with_the_window() -> None:
    clock = ManualClock()
    own = Limiter(clock=clock, tier="starter", keys=64)

    async def home(request: Request) -> Response:
        return PlainTextResponse("ok")

    app = RateLimitMiddleware(Starlette(routes=[Route("/", home)]), own)
    codes = [r.status_code for r in _get(app, *["/"] * 61)]
    assert codes == [200] * 60 + [429]
    clock.advance(60)
    assert [r.status_code for r in _get(app, "/")] == [200]
