"""The dependency in FastAPI applications."""

# Annotations are no strings here: FastAPI could not look up what is local.

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Depends,
    FastAPI,
    HTTPException,
    Request,
    Response,
    WebSocket,
)
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint

from mavera_rl import Decision, Limiter, ManualClock, UnknownTierError
from mavera_rl.fastapi import (
    MissingKey,
    RateLimit,
    RateLimited,
    client_address,
    header,
    install,
)

Message = MutableMapping[str, Any]

# At most ten in flight.
CHAT = "/mave/chat"


def limiter(tier: str | None = "starter") -> Limiter:
    return Limiter(clock=ManualClock(), tier=tier, keys=64)


def installed(**options: Any) -> FastAPI:
    app = FastAPI()
    install(app, **options)
    return app


def get(app: Any, *paths: str, key: str | None = "k", **more: str) -> list[Any]:
    headers = dict(more)
    if key is not None:
        headers["X-API-Key"] = key

    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://test", headers=headers
        ) as client:
            return [await client.get(path) for path in paths]

    return asyncio.run(run())


def remaining(responses: list[Any]) -> list[str | None]:
    return [r.headers.get("x-ratelimit-remaining") for r in responses]


@pytest.fixture
def everything() -> FastAPI:
    app = installed()
    limit = Depends(RateLimit(limiter()))

    @app.get("/json", dependencies=[limit])
    async def as_json() -> dict[str, int]:
        return {"a": 1}

    @app.get("/sync", dependencies=[limit])
    def sync() -> str:
        return "ok"

    @app.get("/response", dependencies=[limit])
    async def response() -> Response:
        return JSONResponse({"a": 1}, status_code=201)

    @app.get("/stream", dependencies=[limit])
    async def stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"a"
            yield b"b"

        return StreamingResponse(parts())

    @app.get("/teapot", dependencies=[limit])
    async def teapot() -> None:
        raise HTTPException(418)

    @app.get("/error", dependencies=[limit])
    async def error() -> None:
        raise ValueError

    @app.get("/validated", dependencies=[limit])
    async def validated(number: int) -> int:
        return number

    @app.get("/free")
    async def free() -> str:
        return "ok"

    return app


def test_every_response_to_a_limited_request_has_the_headers(
    everything: FastAPI,
) -> None:
    paths = ["/json", "/sync", "/response", "/stream", "/teapot", "/error"]
    responses = get(everything, *paths, "/validated?number=x", "/free", "/nowhere")
    assert [r.status_code for r in responses] == [
        *[200, 200, 201, 200, 418, 500],
        *[422, 200, 404],
    ]
    assert remaining(responses) == [
        *["59", "58", "57", "56", "55", "54"],
        *["53", None, None],
    ]


def test_a_500_has_the_headers_in_debug_mode_too() -> None:
    app = FastAPI(debug=True)
    install(app)

    @app.get("/", dependencies=[Depends(RateLimit(limiter()))])
    async def error() -> None:
        raise ValueError

    assert remaining(get(app, "/")) == ["59"]


@pytest.mark.parametrize(
    ("flavour", "names"),
    [
        ("legacy", {"x-ratelimit-limit"}),
        ("ietf", {"ratelimit"}),
        ("both", {"x-ratelimit-limit", "ratelimit"}),
        (None, set()),
    ],
)
def test_a_refusal_is_a_429_with_the_contracts_body(
    flavour: Any, names: set[str]
) -> None:
    app = installed(headers=flavour)

    @app.get("/", dependencies=[Depends(RateLimit(limiter(), tier=lambda r, k: 1))])
    async def home() -> str:
        return "ok"

    allowed, refused = get(app, "/", "/")
    assert allowed.status_code == 200
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/json"
    assert refused.headers["retry-after"] == "60"
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    for response in (allowed, refused):
        ours = {name for name in response.headers if "ratelimit" in name}
        assert {
            name for name in ours if name in ("x-ratelimit-limit", "ratelimit")
        } == (names)


def test_a_missing_key_is_a_401_with_the_contracts_body(everything: FastAPI) -> None:
    (response,) = get(everything, "/json", key=None)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["error"]["code"] == "invalid_api_key"
    assert get(everything, "/json", key=None, Authorization="Bearer k")[0].is_success


def test_a_key_that_is_none_of_the_plans_is_a_401(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('[tiers]\nfree = 2\n[keys]\nknown = "free"\n')
    own = Limiter(clock=ManualClock(), keys=64, plan=plan)
    app = installed()

    @app.get("/", dependencies=[Depends(RateLimit(own))])
    async def home() -> str:
        return "ok"

    assert get(app, "/", key="known")[0].headers["x-ratelimit-limit"] == "2"
    (response,) = get(app, "/", key="unknown")
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["error"]["message"] == "Invalid API key."


def test_the_decision_is_the_parameters_value() -> None:
    app = installed()
    limit = RateLimit(limiter())

    @app.get("/")
    async def home(decision: Annotated[Decision, Depends(limit)]) -> int:
        return decision.remaining

    assert get(app, "/")[0].json() == 59


def test_it_limits_applications_and_routers() -> None:
    own = limiter()
    app = FastAPI(dependencies=[Depends(RateLimit(own))])
    install(app)
    router = APIRouter(
        prefix="/r", dependencies=[Depends(RateLimit(own, key=client_address))]
    )

    @app.get("/")
    async def home() -> str:
        return "ok"

    @router.get("/")
    async def routed() -> str:
        return "ok"

    app.include_router(router)
    assert [r.status_code for r in get(app, "/", "/r/")] == [200, 200]
    assert (own.peek("k").used, own.peek("127.0.0.1").used) == (2, 1)


def test_the_schema_does_not_show_it(everything: FastAPI) -> None:
    operations = [path["get"] for path in everything.openapi()["paths"].values()]
    assert len(operations) == 8
    named = [o["parameters"] for o in operations if "parameters" in o]
    assert [[p["name"] for p in parameters] for parameters in named] == [["number"]]
    json.dumps(everything.openapi())


# Key and tier.


async def async_key(request: Request) -> str:
    await asyncio.sleep(0)
    return request.headers["x-user"]


@pytest.mark.parametrize(
    "key",
    ["X-User", header("X-User"), lambda request: request.headers["x-user"], async_key],
)
def test_the_key_is_a_headers_name_or_a_callable(key: Any) -> None:
    own = limiter()
    app = installed()

    @app.get("/", dependencies=[Depends(RateLimit(own, key=key))])
    async def home() -> str:
        return "ok"

    get(app, "/", **{"X-User": "a"})
    assert own.peek("a").used == 1


async def async_tier(request: Request, key: str) -> tuple[int, float]:
    await asyncio.sleep(0)
    return len(key + request.url.path), 30.0


@pytest.mark.parametrize(
    ("tier", "limit"),
    [
        (None, "60"),
        ("basic", "120"),
        (header("X-Tier"), "240"),
        (async_tier, "2"),
        (lambda request, key: 7, "7"),
    ],
)
def test_the_tier_is_a_name_a_callable_or_a_header(tier: Any, limit: str) -> None:
    app = installed()

    @app.get("/", dependencies=[Depends(RateLimit(limiter(), tier=tier))])
    async def home() -> str:
        return "ok"

    (response,) = get(app, "/", **{"X-Tier": "professional"})
    assert response.headers["x-ratelimit-limit"] == limit


def test_an_unknown_tier_is_found_at_once() -> None:
    with pytest.raises(UnknownTierError):
        RateLimit(limiter(), tier="gold")


# Permits.


def test_a_permit_is_held_until_the_response_is_finished() -> None:
    own = limiter()
    app = installed()
    held: dict[str, int] = {}

    def note(when: str) -> None:
        held[when] = own.in_flight("k", CHAT)

    @app.get(CHAT, dependencies=[Depends(RateLimit(own))])
    async def chat(tasks: BackgroundTasks) -> StreamingResponse:
        note("route")
        tasks.add_task(note, "background")

        async def parts() -> AsyncIterator[bytes]:
            note("stream")
            yield b"a"
            note("end of stream")

        return StreamingResponse(parts(), background=tasks)

    assert get(app, CHAT)[0].text == "a"
    assert held == {"route": 1, "stream": 1, "end of stream": 1, "background": 0}


@pytest.mark.parametrize("status", [418, 500])
def test_a_route_that_raises_gives_its_permit_back(status: int) -> None:
    own = limiter()
    app = installed()

    @app.get(CHAT, dependencies=[Depends(RateLimit(own))])
    def chat() -> None:
        assert own.in_flight("k", CHAT) == 1
        raise HTTPException(418) if status == 418 else ValueError

    assert get(app, CHAT)[0].status_code == status
    assert own.in_flight("k", CHAT) == 0


def test_what_is_in_flight_refuses() -> None:
    own = limiter()
    app = installed()
    held = [own.permit("k", CHAT) for _ in range(10)]
    counted = RateLimit(own)
    uncounted = RateLimit(own, permit=False)

    @app.get(CHAT, dependencies=[Depends(counted)])
    async def chat() -> str:
        return "ok"

    @app.get(CHAT + "/uncounted", dependencies=[Depends(uncounted)])
    async def quick() -> str:
        return "ok"

    refused, allowed = get(app, CHAT, CHAT + "/uncounted")
    assert refused.json()["error"]["code"] == "concurrency_limit_exceeded"
    assert allowed.status_code == 200
    assert own.in_flight("k", CHAT) == len(held)


# Several of them.


def test_one_object_counts_once_and_several_each() -> None:
    own = limiter()
    app = installed()
    limit = RateLimit(own)

    @app.get("/one", dependencies=[Depends(limit), Depends(limit)])
    async def one(decision: Annotated[Decision, Depends(limit)]) -> int:
        return decision.used

    @app.get("/two", dependencies=[Depends(limit), Depends(RateLimit(own))])
    async def two() -> int:
        return own.peek("k").used

    assert [r.json() for r in get(app, "/one", "/two")] == [1, 3]


@pytest.mark.parametrize("order", [1, -1])
def test_the_headers_are_those_of_the_least_remaining(order: int) -> None:
    own = limiter()
    app = installed()
    per_key = Depends(RateLimit(own, tier=lambda request, key: 9))
    per_address = Depends(
        RateLimit(own, key=client_address, tier=lambda request, key: 5)
    )

    @app.get(CHAT, dependencies=[per_key, per_address][::order])
    async def chat() -> int:
        return own.in_flight("k", CHAT) + own.in_flight("127.0.0.1", CHAT)

    (response,) = get(app, CHAT)
    assert response.json() == 2
    assert response.headers["x-ratelimit-limit"] == "5"
    assert own.in_flight("k", CHAT) + own.in_flight("127.0.0.1", CHAT) == 0


def test_a_later_refusal_is_shown_and_leaves_the_earlier_charged() -> None:
    own = limiter()
    app = installed()
    # One is left of the first; the second has 60, and all permits are taken.
    held = [own.permit("127.0.0.1", CHAT) for _ in range(10)]
    first = Depends(RateLimit(own, tier=lambda request, key: 2))
    second = Depends(RateLimit(own, key=client_address))

    @app.get(CHAT, dependencies=[first, second])
    async def chat() -> str:
        return "ok"

    (response,) = get(app, CHAT)
    assert response.status_code == 429
    assert response.json()["error"]["code"] == "concurrency_limit_exceeded"
    assert response.headers["x-ratelimit-limit"] == "60"
    assert int(response.headers["retry-after"]) >= 1
    assert own.peek("k", limit=2).used == 1
    assert own.in_flight("k", CHAT) == 0
    assert own.in_flight("127.0.0.1", CHAT) == len(held)


# Among other things.


def test_without_install_it_says_so() -> None:
    app = FastAPI()

    @app.get("/", dependencies=[Depends(RateLimit(limiter()))])
    async def home() -> str:
        return "ok"

    async def run() -> None:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test"
        ) as client:
            await client.get("/")

    with pytest.raises(RuntimeError, match=r"install\(app\)"):
        asyncio.run(run())


def test_a_mounted_application_needs_its_own_install() -> None:
    own = limiter()
    outer = installed()
    bare, inner = FastAPI(), installed(headers="ietf")
    for app in (bare, inner):

        @app.get("/chat", dependencies=[Depends(RateLimit(own))])
        async def chat() -> int:
            return own.in_flight("k", CHAT)

    outer.mount("/bare", bare)
    outer.mount("/mave", inner)
    without, response = get(outer, "/bare/chat", CHAT)
    assert without.status_code == 500
    assert own.peek("k").used == 1
    assert response.json() == 1
    # Once, and as the outermost says.
    assert response.headers.get_list("x-ratelimit-remaining") == ["59"]
    assert "ratelimit" not in response.headers


def test_install_comes_before_the_first_request() -> None:
    app = FastAPI()
    get(app, "/")
    with pytest.raises(RuntimeError, match="first request"):
        install(app)
    wrong: Any = "legcy"
    with pytest.raises(ValueError, match="headers"):
        install(FastAPI(), headers=wrong)


def test_middlewares_that_copy_the_scope_and_buffer_do_not_matter() -> None:
    own = limiter()
    app = installed()

    class Copying:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(dict(scope), receive, send)

    async def dispatch(request: Request, call: RequestResponseEndpoint) -> Response:
        response = await call(request)
        response.headers["x-seen"] = "1"
        return response

    app.add_middleware(Copying)
    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)

    @app.get(CHAT, dependencies=[Depends(RateLimit(own))])
    async def chat() -> int:
        return own.in_flight("k", CHAT)

    (response,) = get(app, CHAT)
    assert response.json() == 1
    assert response.headers["x-seen"] == "1"
    assert response.headers["x-ratelimit-remaining"] == "59"
    assert own.in_flight("k", CHAT) == 0


def test_an_applications_own_handlers_keep_the_headers() -> None:
    app = installed()

    @app.exception_handler(RateLimited)
    async def refused(request: Request, error: RateLimited) -> Response:
        return Response("slow down", 429, headers={"Retry-After": "1"})

    @app.exception_handler(MissingKey)
    async def missing(request: Request, error: MissingKey) -> Response:
        return Response("who?", error.status_code)

    @app.get("/", dependencies=[Depends(RateLimit(limiter(), tier=lambda r, k: 1))])
    async def home() -> str:
        return "ok"

    _, response = get(app, "/", "/")
    assert response.text == "slow down"
    assert response.headers.get_list("retry-after") == ["60"]
    assert response.headers["x-ratelimit-remaining"] == "0"
    assert get(app, "/", key=None)[0].text == "who?"


# Websockets.


def talk(
    app: Callable[..., Awaitable[None]], *, key: str = "k", denial: bool = False
) -> list[Message]:
    incoming: list[Message] = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "hello"},
        {"type": "websocket.disconnect", "code": 1000},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": CHAT,
        "raw_path": CHAT.encode(),
        "root_path": "",
        "scheme": "ws",
        "query_string": b"",
        "headers": [(b"x-api-key", key.encode())],
        "subprotocols": [],
        "client": ("127.0.0.1", 5),
        "server": ("test", 80),
        "extensions": {"websocket.http.response": {}} if denial else {},
    }

    async def run() -> None:
        await app(scope, receive, send)

    asyncio.run(run())
    return sent


def test_a_websockets_route_is_limited_at_its_handshake() -> None:
    own = limiter()
    app = installed()

    @app.websocket(CHAT)
    async def chat(
        websocket: WebSocket, decision: Annotated[Decision, Depends(RateLimit(own))]
    ) -> None:
        await websocket.accept()
        await websocket.receive_text()
        await websocket.send_json(own.in_flight("k", CHAT))
        await websocket.receive()
        assert own.in_flight("k", CHAT) == 0

    accept, answer = talk(app)
    assert (b"x-ratelimit-remaining", b"59") in accept["headers"]
    assert answer["text"] == "1"

    own.check("k", cost=59)
    assert talk(app) == [
        {"type": "websocket.close", "code": 1013, "reason": "rate_limit_exceeded"}
    ]
    start, body = talk(app, denial=True)
    assert start["type"] == "websocket.http.response.start"
    assert start["status"] == 429
    assert (b"retry-after", b"60") in start["headers"]
    assert b"rate_limit_exceeded" in body["body"]

    assert talk(app, key="") == [
        {"type": "websocket.close", "code": 1008, "reason": "invalid_api_key"}
    ]
    start, body = talk(app, key="", denial=True)
    assert start["status"] == 401
    assert b"invalid_api_key" in body["body"]
