"""What a middleware adds to a Starlette request, in process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import limits
import slowapi
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from slowapi.middleware import SlowAPIASGIMiddleware
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from mavera_rl import Limiter
from mavera_rl.asgi import RateLimitMiddleware
from rounds import Contestant

LIMIT = 8_000_000
KEY = b"0123456789abcdef0123456789abcdef"


async def answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


def _starlette() -> Starlette:
    return Starlette(routes=[Route("/mave/chat", answer), Route("/other", answer)])


class _PlainLimits:
    """limits, as a careful hand would write it."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.strategy = MovingWindowRateLimiter(MemoryStorage())
        # Of the usual size: a minute of 60 is kept, the rest refused, so that
        # its list does not grow with the rounds.
        self.item = limits.parse("60/minute")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        key = next(v for k, v in scope["headers"] if k == b"x-api-key").decode()
        self.strategy.hit(self.item, key)
        reset, remaining = self.strategy.get_window_stats(self.item, key)
        headers = [
            (b"x-ratelimit-limit", b"%d" % self.item.amount),
            (b"x-ratelimit-remaining", b"%d" % remaining),
            (b"x-ratelimit-reset", b"%d" % reset),
        ]

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        await self.app(scope, receive, with_headers)


def _slowapi() -> Any:
    app = _starlette()
    app.state.limiter = slowapi.Limiter(
        key_func=lambda request: request.headers["x-api-key"],
        default_limits=["60/minute"],
        strategy="moving-window",
        headers_enabled=True,
    )
    app.add_middleware(SlowAPIASGIMiddleware)
    return app


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Any) -> None:
    pass


def _requests(app: Any, path: str) -> Callable[[int], None]:
    template = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [
            (b"host", b"localhost"),
            (b"user-agent", b"bench"),
            (b"accept", b"*/*"),
            (b"x-api-key", KEY),
        ],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
    }

    async def some(count: int) -> None:
        for _ in range(count):
            await app(dict(template), _receive, _send)

    loop = asyncio.new_event_loop()
    return lambda count: loop.run_until_complete(some(count))


def contestants() -> list[Contestant]:
    limiter = Limiter(keys=1000)
    ours = RateLimitMiddleware(_starlette(), limiter, tier=lambda scope, key: LIMIT)
    tier = Limiter(keys=1000)
    tier.plan.set_tier("enterprise", LIMIT)
    by_tier = RateLimitMiddleware(_starlette(), tier, tier="enterprise")
    return [
        Contestant("bare Starlette", _requests(_starlette(), "/other")),
        Contestant("bare Starlette, again", _requests(_starlette(), "/other")),
        Contestant("mavera, quota", _requests(by_tier, "/other")),
        Contestant("mavera, quota and permit", _requests(by_tier, "/mave/chat")),
        Contestant("mavera, tier by callable", _requests(ours, "/other")),
        Contestant("limits by hand", _requests(_PlainLimits(_starlette()), "/other")),
        Contestant("slowapi", _requests(_slowapi(), "/other")),
    ]
