"""The middleware, message by message."""

from __future__ import annotations

import asyncio
import functools
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from mavera_rl import Decision, Limiter, ManualClock, UnknownTierError
from mavera_rl._asgi_caller import target
from mavera_rl._asgi_exchange import Exchange
from mavera_rl.asgi import RateLimitMiddleware, api_key, client_address, header

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# At most ten in flight.
CHAT = "/mave/chat"
KEY = (b"x-api-key", b"k")
START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain")],
}
BODY: Message = {"type": "http.response.body", "body": b"ok"}


def limiter(tier: str | None = "starter") -> Limiter:
    return Limiter(clock=ManualClock(), tier=tier, keys=64)


def http(path: str = "/", *headers: tuple[bytes, bytes], **more: Any) -> Scope:
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "headers": list(headers or (KEY,)),
        **more,
    }


def websocket(path: str = "/", *headers: tuple[bytes, bytes], **more: Any) -> Scope:
    return {**http(path, *headers), "type": "websocket", "extensions": {}, **more}


DENIAL: dict[str, Any] = {"extensions": {"websocket.http.response": {}}}


class Server:
    """Gives an application its messages and keeps what it sends."""

    def __init__(self, *incoming: Message) -> None:
        self.incoming = list(incoming)
        self.sent: list[Message] = []
        # Called at every message, before it counts as sent.
        self.at_send: Callable[[Message], None] = lambda message: None

    async def receive(self) -> Message:
        return self.incoming.pop(0)

    async def send(self, message: Message) -> None:
        self.at_send(message)
        self.sent.append(message)

    def run(self, app: App, scope: Scope) -> Server:
        async def call() -> None:
            await app(scope, self.receive, self.send)

        asyncio.run(call())
        return self

    @property
    def kinds(self) -> list[str]:
        return [message["type"] for message in self.sent]

    @property
    def headers(self) -> dict[bytes, bytes]:
        pairs = list(self.sent[0]["headers"])
        assert len(dict(pairs)) == len(pairs), "a header is there twice"
        return dict(pairs)


def sending(*messages: Message) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


ok = sending(START, BODY)


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("the application was called")


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


# Whose request it is.


def test_a_request_without_a_key_is_a_401() -> None:
    server = Server().run(RateLimitMiddleware(never, limiter()), http("/", (b"a", b"")))
    start, body = server.sent
    assert start["status"] == 401
    assert server.headers[b"www-authenticate"] == b"Bearer"
    assert server.headers[b"content-type"] == b"application/json"
    assert server.headers[b"content-length"] == b"%d" % len(body["body"])
    assert json.loads(body["body"])["error"]["code"] == "invalid_api_key"


PLAN = """
[tiers]
free = 2
[keys]
known = "free"
"""


@pytest.mark.parametrize("without_key", ["refuse", "pass"])
def test_a_key_that_is_none_of_the_plans_is_a_401(
    tmp_path: Path, without_key: Literal["refuse", "pass"]
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    own = Limiter(clock=ManualClock(), keys=64, plan=plan)
    app = RateLimitMiddleware(ok, own, without_key=without_key)
    assert Server().run(app, http("/", (b"x-api-key", b"known"))).sent[1] == BODY
    start, body = Server().run(app, http()).sent
    assert start["status"] == 401
    assert json.loads(body["body"])["error"]["message"] == "Invalid API key."
    assert Server(CONNECT).run(app, websocket()).sent == [
        {"type": "websocket.close", "code": 1008, "reason": "invalid_api_key"}
    ]


@pytest.mark.parametrize("scope", [http("/", (b"a", b"")), websocket("/", (b"a", b""))])
def test_a_request_without_a_key_passes_if_it_may(scope: Scope) -> None:
    app = RateLimitMiddleware(ok, limiter(), without_key="pass")
    assert Server().run(app, scope).sent == [START, BODY]


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([(b"x-api-key", b"a")], "a"),
        ([(b"x-api-key", b" a\t")], "a"),
        ([(b"authorization", b"Bearer a")], "a"),
        ([(b"authorization", b"bEARER  a ")], "a"),
        ([(b"authorization", b"Bearer b"), (b"x-api-key", b"a")], "a"),
        ([(b"x-api-key", b"a"), (b"authorization", b"Bearer b")], "a"),
        ([(b"x-api-key", b"a"), (b"x-api-key", b"b")], "a"),
        ([(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")], "a"),
        ([(b"x-api-key", b""), (b"authorization", b"Bearer a")], "a"),
        ([(b"authorization", b"Basic a")], None),
        ([(b"authorization", b"Bearer ")], None),
        ([(b"x-api-key", b" ")], None),
        ([(b"x-api-key", "é".encode())], "é"),
        ([(b"x-api-key", b"\xe9")], "é"),
        ([], None),
    ],
)
def test_the_key_is_in_x_api_key_or_a_bearer_token(
    headers: list[tuple[bytes, bytes]], key: str | None
) -> None:
    assert api_key({"headers": headers}) == key


@given(st.binary(), st.binary(), st.binary())
def test_no_bytes_in_a_header_raise(key: bytes, token: bytes, tier: bytes) -> None:
    app = RateLimitMiddleware(ok, SHARED, tier=header("X-Tier"))
    headers = [
        (b"x-api-key", key),
        (b"authorization", b"Bearer " + token),
        (b"x-tier", tier),
    ]
    for scope in (http("/", *headers), http("/", *headers[1:])):
        assert Server().run(app, scope).sent[0]["status"] in (200, 401, 429)


SHARED = limiter()


def test_a_key_is_counted_by_its_bytes() -> None:
    own = limiter()
    for value in ("é".encode(), b"\xe9"):
        Server().run(RateLimitMiddleware(ok, own), http("/", (b"x-api-key", value)))
        assert own.peek(value).used == 1
    assert own.peek("é").used == 1


async def async_key(scope: Scope) -> str:
    await asyncio.sleep(0)
    return "a"


class CallableKey:
    def __call__(self, scope: Scope) -> bytes:
        return b"a"


class AsyncCallableKey:
    async def __call__(self, scope: Scope) -> str:
        return "a"

    async def method(self, scope: Scope) -> str:
        return "a"


async def _second(first: str, scope: Scope) -> str:
    return first


@pytest.mark.parametrize(
    "key",
    [
        "X-Api-Key",
        "authorization",
        header("X-Api-Key"),
        lambda scope: "a",
        async_key,
        CallableKey(),
        AsyncCallableKey(),
        AsyncCallableKey().method,
        functools.partial(_second, "a"),
        functools.partial(AsyncCallableKey()),
    ],
)
def test_a_key_is_a_headers_name_or_a_callable_sync_or_async(key: Any) -> None:
    own = limiter()
    app = RateLimitMiddleware(ok, own, key=key)
    Server().run(app, http("/", (b"x-api-key", b"a"), (b"authorization", b"a")))
    assert own.peek("a").used == 1


@pytest.mark.parametrize("key", [None, "", b""])
def test_a_callable_may_find_no_key(key: str | bytes | None) -> None:
    app = RateLimitMiddleware(never, limiter(), key=lambda scope: key)
    assert Server().run(app, http()).sent[0]["status"] == 401


def test_the_peers_address_is_not_what_a_header_says() -> None:
    scope = http("/", (b"x-forwarded-for", b"10.0.0.9"), client=("192.0.2.1", 5))
    assert client_address(scope) == "192.0.2.1"
    assert client_address({**scope, "client": None}) is None
    assert client_address({"type": "http"}) is None


async def async_tier(scope: Scope, key: str) -> tuple[int, float]:
    await asyncio.sleep(0)
    return 7, 30.0


@pytest.mark.parametrize(
    ("tier", "limit"),
    [
        (None, 60),
        ("basic", 120),
        (lambda scope, key: "enterprise" if key == "k" else "basic", 600),
        (lambda scope, key: 5, 5),
        (lambda scope, key: None, 60),
        (async_tier, 7),
        (header("X-Tier"), 240),
        (header("X-Absent"), 60),
        (header("X-Unknown"), 60),
    ],
)
@pytest.mark.parametrize("key", [api_key, "X-API-Key", lambda scope: "k"])
def test_a_tier_is_a_name_a_callable_or_a_header(
    tier: Any, limit: int, key: Any
) -> None:
    app = RateLimitMiddleware(ok, limiter(), tier=tier, key=key)
    server = Server().run(
        app, http("/", KEY, (b"x-tier", b"professional"), (b"x-unknown", b"\xff"))
    )
    assert server.headers[b"x-ratelimit-limit"] == b"%d" % limit


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


# Endpoints.


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"path": "/a b", "raw_path": b"/a%20b"}, b"/a%20b"),
        ({"path": "/a", "raw_path": None}, "/a"),
        ({"path": "/a"}, "/a"),
        ({"path": "/a?b#c%2f"}, "/a%3Fb%23c%252f"),
        ({"path": "/é"}, "/%C3%A9"),
        ({"path": "/\udcff"}, "/%ED%B3%BF"),
        ({"path": "/v1/a", "root_path": "/v1"}, "/v1/a"),
        ({"path": "/a", "root_path": "/v1"}, "/v1/a"),
        ({"path": "/v1/a", "root_path": "/v1", "raw_path": b"/v1/a"}, b"/v1/a"),
    ],
)
def test_an_endpoint_is_matched_with_the_path_as_it_was_sent(
    scope: Scope, expected: str | bytes
) -> None:
    assert target(scope) == expected


def test_a_question_mark_within_a_decoded_path_begins_no_query() -> None:
    own = limiter()
    held: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        held.append(own.in_flight("k", CHAT))

    for path in (CHAT, CHAT + "/x", CHAT + "?x"):
        Server().run(RateLimitMiddleware(app, own), http(path, raw_path=None))
    assert held == [1, 1, 0]


# Permits.


def test_a_permit_is_held_until_the_last_body_was_sent() -> None:
    own = limiter()
    held: list[int] = []
    server = Server()
    server.at_send = lambda message: held.append(own.in_flight("k", CHAT))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({**BODY, "more_body": True})
        await send({**BODY, "more_body": False})
        held.append(own.in_flight("k", CHAT))

    server.run(RateLimitMiddleware(app, own), http(CHAT))
    assert held == [1, 1, 1, 0]


@pytest.mark.parametrize(
    "last",
    [
        {"type": "http.response.body"},
        {"type": "http.response.pathsend", "path": "/x"},
        {"type": "http.response.zerocopysend", "file": 3},
    ],
)
def test_a_permit_is_released_after_any_kind_of_last_message(last: Message) -> None:
    own = limiter()
    held: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        held.append(own.in_flight("k", CHAT))
        await send(last)
        held.append(own.in_flight("k", CHAT))

    Server().run(RateLimitMiddleware(app, own), http(CHAT))
    assert held == [1, 0]


def test_with_trailers_a_permit_is_held_until_the_last_of_them() -> None:
    own = limiter()
    held: list[int] = []
    trailers: Message = {"type": "http.response.trailers", "headers": []}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in (
            {**START, "trailers": True},
            BODY,
            {**trailers, "more_trailers": True},
            trailers,
        ):
            await send(message)
            held.append(own.in_flight("k", CHAT))

    Server().run(RateLimitMiddleware(app, own), http(CHAT))
    assert held == [1, 1, 1, 0]


@pytest.mark.parametrize("sent", [[], [START], [START, {**BODY, "more_body": True}]])
def test_an_application_that_returns_early_gives_its_permit_back(
    sent: list[Message],
) -> None:
    own = limiter()
    Server().run(RateLimitMiddleware(sending(*sent), own), http(CHAT))
    assert own.in_flight("k", CHAT) == 0
    assert own.peek("k").used == 1


@pytest.mark.parametrize("error", [ValueError, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize("scope", [http(CHAT), websocket(CHAT)])
def test_an_application_that_raises_gives_its_permit_back(
    error: type[BaseException], scope: Scope
) -> None:
    own = limiter()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert own.in_flight("k", CHAT) == 1
        raise error

    with pytest.raises(error):
        Server().run(RateLimitMiddleware(app, own), scope)
    assert own.in_flight("k", CHAT) == 0


def test_a_server_that_cannot_send_the_last_body_gets_the_permit_back() -> None:
    own = limiter()
    held: list[int] = []
    server = Server()

    def fail(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError("gone")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        with pytest.raises(OSError, match="gone"):
            await send(BODY)
        held.append(own.in_flight("k", CHAT))

    server.at_send = fail
    server.run(RateLimitMiddleware(app, own), http(CHAT))
    assert held == [0]


def test_a_permit_is_released_when_the_application_hears_of_the_disconnect() -> None:
    own = limiter()
    held: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(2):
            await receive()
            held.append(own.in_flight("k", CHAT))

    request = {"type": "http.request", "body": b"x"}
    server = Server(request, {"type": "http.disconnect"})
    server.run(RateLimitMiddleware(app, own), http(CHAT))
    assert held == [1, 0]


class CountingPermit:
    def __init__(self) -> None:
        self.releases = 0

    def release(self) -> bool:
        self.releases += 1
        return True


def test_a_permit_is_released_once() -> None:
    server = Server({"type": "http.disconnect"})
    exchange = Exchange(server.receive, server.send, "legacy")
    permits: list[Any] = [CountingPermit(), CountingPermit()]
    for permit in permits:
        exchange.hold(permit)

    async def run() -> None:
        await exchange.send(START)
        await exchange.send(BODY)
        await exchange.send(BODY)
        await exchange.receive()

    asyncio.run(run())
    exchange.release()
    assert [permit.releases for permit in permits] == [1, 1]


def test_a_permit_is_not_taken_from_whoever_has_it_next() -> None:
    own = limiter()
    others = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(BODY)
        others.append(own.permit("k", CHAT))
        await send(BODY)
        await receive()

    server = Server({"type": "http.disconnect"})
    server.run(RateLimitMiddleware(app, own), http(CHAT))
    assert own.in_flight("k", CHAT) == len(others) == 1


# Websockets.

CONNECT: Message = {"type": "websocket.connect"}


def test_an_accepted_websocket_has_the_headers_and_sees_its_connect() -> None:
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())
        await send({"type": "websocket.accept", "headers": [(b"a", b"b")]})
        await send({"type": "websocket.send", "text": "hello"})

    for path in ("/", CHAT):
        server = Server(CONNECT)
        server.run(RateLimitMiddleware(app, limiter()), websocket(path))
        assert server.kinds == ["websocket.accept", "websocket.send"]
        assert server.headers[b"a"] == b"b"
        assert server.headers[b"x-ratelimit-remaining"] == b"59"
    assert seen == [CONNECT, CONNECT]


@pytest.mark.parametrize("last", ["close", "disconnect", "denial", "return"])
def test_a_websocket_holds_its_permit_until_it_ends(last: str) -> None:
    own = limiter()
    held: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        def note() -> None:
            held.append(own.in_flight("k", CHAT))

        await receive()
        if last == "denial":
            await send({"type": "websocket.http.response.start", "status": 403})
            note()
            await send({"type": "websocket.http.response.body", "body": b"no"})
            note()
            return
        await send({"type": "websocket.accept"})
        await receive()
        await send({"type": "websocket.send", "text": "hello"})
        note()
        if last == "close":
            await send({"type": "websocket.close"})
        elif last == "disconnect":
            await receive()
        else:
            return
        note()

    server = Server(
        CONNECT,
        {"type": "websocket.receive", "text": "x"},
        {"type": "websocket.disconnect", "code": 1000},
    )
    server.run(RateLimitMiddleware(app, own), websocket(CHAT))
    assert held == ([1] if last == "return" else [1, 0])
    assert own.in_flight("k", CHAT) == 0
    assert b"x-ratelimit-limit" in server.headers


def _spent() -> Limiter:
    own = limiter()
    own.check("k", cost=60)
    return own


def test_a_refused_websocket_is_closed_before_it_is_accepted() -> None:
    server = Server(CONNECT).run(RateLimitMiddleware(never, _spent()), websocket())
    assert server.incoming == []
    assert server.sent == [
        {"type": "websocket.close", "code": 1013, "reason": "rate_limit_exceeded"}
    ]


def test_a_websocket_without_a_key_is_closed_before_it_is_accepted() -> None:
    app = RateLimitMiddleware(never, limiter())
    server = Server(CONNECT).run(app, websocket("/", (b"a", b"b")))
    assert server.sent == [
        {"type": "websocket.close", "code": 1008, "reason": "invalid_api_key"}
    ]


@pytest.mark.parametrize(
    ("scope", "status"),
    [(websocket(**DENIAL), 429), (websocket("/", (b"a", b"b"), **DENIAL), 401)],
)
def test_a_refused_websocket_is_answered_where_the_server_can(
    scope: Scope, status: int
) -> None:
    server = Server(CONNECT).run(RateLimitMiddleware(never, _spent()), scope)
    assert server.kinds == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert server.sent[0]["status"] == status
    assert server.headers[b"content-type"] == b"application/json"
    assert (b"retry-after" in server.headers) == (status == 429)
    assert "error" in json.loads(server.sent[1]["body"])


def test_a_refused_websocket_that_is_gone_gets_no_answer() -> None:
    server = Server({"type": "websocket.disconnect", "code": 1006})
    assert server.run(RateLimitMiddleware(never, _spent()), websocket()).sent == []


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


def test_no_order_of_messages_leaves_a_permit_behind() -> None:
    own = limiter("enterprise")
    messages: list[Message] = [
        {**START, "trailers": True},
        START,
        BODY,
        {**BODY, "more_body": True},
        {"type": "http.response.trailers", "headers": []},
        {"type": "http.response.pathsend", "path": "/x"},
        {"type": "websocket.accept"},
        {"type": "websocket.close"},
    ]
    order = random.Random(7)
    for _ in range(200):
        some = order.choices(messages, k=order.randrange(6))
        scope = order.choice([http, websocket])(CHAT)
        own.plan.set_tier("enterprise", 1_000_000)
        Server().run(RateLimitMiddleware(sending(*some), own), scope)
        assert own.in_flight("k", CHAT) == 0
