"""The Django middleware, through Django's own clients and handlers."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults

import django  # type: ignore[import-untyped]
import pytest
from asgiref.sync import iscoroutinefunction
from django import http, test
from django.conf import settings  # type: ignore[import-untyped]
from django.core.exceptions import ImproperlyConfigured  # type: ignore[import-untyped]
from django.core.handlers.wsgi import WSGIHandler  # type: ignore[import-untyped]
from django.test.utils import override_settings  # type: ignore[import-untyped]
from django.urls import path as route  # type: ignore[import-untyped]

from mavera_rl import Limiter, ManualClock
from mavera_rl import django as module
from mavera_rl.django import RateLimitMiddleware
from mavera_rl.django import limiter as opened

# Whichever file comes first configures the process.
if not settings.configured:
    settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="for tests", USE_TZ=True)
    django.setup()

# Django has no types, and what a checker infers from its source is not so.
HttpResponse: Any = http.HttpResponse
StreamingHttpResponse: Any = http.StreamingHttpResponse
FileResponse: Any = http.FileResponse
Client: Any = test.Client
AsyncClient: Any = test.AsyncClient
RequestFactory: Any = test.RequestFactory
AsyncRequestFactory: Any = test.AsyncRequestFactory

KEY = {"HTTP_X_API_KEY": "a"}
SLOW = "/video-analyses"


def index(request: Any) -> Any:
    response = HttpResponse(str(request.META["mavera_rl.decision"].remaining))
    response["x-ratelimit-limit"] = "1000000"
    return response


def stream(request: Any) -> Any:
    return StreamingHttpResponse(iter([b"one", b"two"]))


def broken(request: Any) -> Any:
    raise RuntimeError("gone wrong")


def file(request: Any) -> Any:
    return FileResponse(io.BytesIO(b"file"))


urlpatterns = [
    route("", index),
    route("video-analyses", index),
    route("video-analyses/stream", stream),
    route("video-analyses/broken", broken),
    route("video-analyses/file", file),
]


class Urls:
    """This module's views; its name is the test runner's choice."""

    urlpatterns = urlpatterns


def by_tenant(request: Any) -> str | None:
    tenant: str | None = request.headers.get("X-Tenant")
    return tenant


def seven(request: Any, key: str) -> tuple[int, float]:
    return 7, 30.0


Configure = Callable[..., None]


@pytest.fixture
def configure(clock: ManualClock) -> Iterator[Configure]:
    """Settings of one test; the limiter is opened anew."""
    active: list[Any] = []

    def configure(**given: Any) -> None:
        options = {"keys": 1000, "clock": clock, **given.pop("options", {})}
        active.append(
            override_settings(
                MAVERA_RL={"tier": "starter", "options": options, **given},
                MIDDLEWARE=["mavera_rl.django.RateLimitMiddleware"],
                ROOT_URLCONF=Urls,
            )
        )
        active[-1].enable()

    yield configure
    for override in reversed(active):
        override.disable()


@pytest.fixture
def client(configure: Configure) -> Any:
    configure()
    return Client()


@pytest.fixture
def held(client: Any) -> Callable[[], int]:
    return lambda: opened().in_flight("a", SLOW)


def test_every_response_has_the_headers(client: Any, clock: ManualClock) -> None:
    response = client.get("/", **KEY)
    assert (response.status_code, response.content) == (200, b"59")
    assert response["X-RateLimit-Limit"] == "60"
    assert response["X-RateLimit-Remaining"] == "59"
    assert response["X-RateLimit-Reset"] == str(int(clock.now) + 60)
    missing = client.get("/no-such-page", **KEY)
    assert (missing.status_code, missing["X-RateLimit-Remaining"]) == (404, "58")


def test_what_is_above_the_limit_is_refused_with_the_contract_s_body(
    client: Any, clock: ManualClock
) -> None:
    statuses = [client.get("/", **KEY).status_code for _ in range(62)]
    assert statuses == [200] * 60 + [429] * 2
    response = client.get("/", **KEY)
    assert response["Retry-After"] == "60"
    assert response["X-RateLimit-Remaining"] == "0"
    assert response["Content-Type"] == "application/json"
    assert response.json()["error"]["code"] == "rate_limit_exceeded"
    clock.advance(60)
    assert client.get("/", **KEY).status_code == 200


def test_without_a_key_a_request_is_refused(client: Any) -> None:
    response = client.get("/")
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Bearer"
    assert response.json()["error"]["code"] == "invalid_api_key"
    assert client.get("/", HTTP_AUTHORIZATION="Bearer a").status_code == 200


def test_without_a_key_a_request_may_pass(configure: Configure) -> None:
    configure(without_key="pass")
    response = Client().get(SLOW + "/stream")
    assert response.status_code == 200
    assert "X-RateLimit-Limit" not in response


PLAN = """
[tiers]
free = 2
[keys]
known = "free"
"""


def test_a_key_that_is_none_of_the_plan_s_is_refused(
    configure: Configure, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    configure(tier=None, options={"plan": plan})
    assert Client().get("/", HTTP_X_API_KEY="known").status_code == 200
    response = Client().get("/", HTTP_X_API_KEY="unknown")
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Bearer"
    assert response.json()["error"]["message"] == "Invalid API key."


def test_key_and_tier_may_be_callables_by_path_or_themselves(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {"tests.by_tenant": by_tenant, "tests.seven": seven}
    monkeypatch.setattr(module, "import_string", named.__getitem__)
    for key, tier in (("tests.by_tenant", "tests.seven"), (by_tenant, seven)):
        configure(key=key, tier=tier)
        response = Client().get("/", HTTP_X_TENANT="t")
        assert response["X-RateLimit-Limit"] == "7"
        assert opened().peek("t", limit=7, window=30).used == 1


def test_the_key_may_be_another_header(configure: Configure) -> None:
    configure(key="X-Tenant")
    assert Client().get("/", HTTP_X_TENANT="t").status_code == 200
    assert opened().peek("t", "starter").used == 1


@pytest.mark.parametrize(
    ("flavour", "names"),
    [("ietf", {"RateLimit-Policy", "RateLimit"}), (None, set())],
)
def test_the_headers_are_of_the_flavour_asked_for(
    configure: Configure, flavour: str | None, names: set[str]
) -> None:
    configure(headers=flavour, tier=lambda request, key: 1)
    client = Client()
    first = set(client.get("/", **KEY).headers)
    # The view's own is left alone where no flavour replaces it.
    assert first == {"Content-Type", "x-ratelimit-limit", *names}
    refused = set(client.get("/", **KEY).headers)
    assert refused == {"Content-Type", "Retry-After", *names}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"paths": "x"}, "'paths', but knows only path, options"),
        ({"headers": "Legacy"}, "'Legacy'"),
        ({"without_key": "deny"}, "'deny'"),
    ],
)
def test_a_setting_that_does_not_exist_is_an_error(
    configure: Configure, given: dict[str, str], message: str
) -> None:
    configure(**given)
    with pytest.raises(ImproperlyConfigured, match=message):
        Client().get("/", **KEY)


def test_the_limiter_is_opened_once_and_shared_with_who_opens_its_path(
    configure: Configure, path: Path, clock: ManualClock
) -> None:
    configure(path=str(path))
    assert opened() is opened()
    Client().get("/", **KEY)
    with Limiter(path, clock=clock) as other:
        assert other.peek("a", "starter").used == 1


def test_a_permit_is_held_until_a_stream_ends(
    client: Any, held: Callable[[], int]
) -> None:
    responses = [client.get(SLOW + "/stream", **KEY) for _ in range(3)]
    assert held() == 3
    refused = client.get(SLOW, **KEY)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "concurrency_limit_exceeded"
    for response in responses:
        assert b"".join(response.streaming_content) == b"onetwo"
    assert held() == 0
    assert client.get(SLOW, **KEY).status_code == 200


def test_a_permit_is_given_back_when_the_response_is_closed(
    client: Any, held: Callable[[], int]
) -> None:
    middleware = RateLimitMiddleware(lambda request: HttpResponse("x"))
    response = middleware(RequestFactory().get(SLOW, **KEY))
    assert held() == 1
    response.close()
    assert held() == 0
    response.close()
    assert held() == 0


def test_a_permit_is_given_back_if_a_view_raises(
    client: Any, held: Callable[[], int]
) -> None:
    client.raise_request_exception = False
    assert client.get(SLOW + "/broken", **KEY).status_code == 500
    assert held() == 0

    def stop(request: Any) -> Any:
        assert held() == 1
        raise SystemExit

    with pytest.raises(SystemExit) as raised:
        RateLimitMiddleware(stop)(RequestFactory().get(SLOW, **KEY))
    # Also while its traceback holds the frames that had the permit.
    assert raised.tb is not None
    assert held() == 0


def test_a_permit_is_given_back_if_the_response_is_dropped(
    client: Any, held: Callable[[], int]
) -> None:
    middleware = RateLimitMiddleware(lambda request: HttpResponse("x"))
    response = middleware(RequestFactory().get(SLOW, **KEY))
    assert held() == 1
    del response
    assert held() == 0


def test_a_file_that_the_server_sends_itself_holds_its_permit(
    client: Any, held: Callable[[], int]
) -> None:
    environ: dict[str, Any] = {"PATH_INFO": SLOW + "/file", **KEY}
    setup_testing_defaults(environ)
    environ["wsgi.file_wrapper"] = FileWrapper
    response = WSGIHandler()(environ, lambda status, headers: None)
    assert isinstance(response, FileWrapper)
    assert held() == 1
    response.close()
    assert held() == 0


@pytest.mark.parametrize("path", [SLOW + "%3Fx", SLOW + "%23x", "/video%252Danalyses"])
def test_what_was_decoded_is_not_decoded_again(
    client: Any, held: Callable[[], int], path: str
) -> None:
    middleware = RateLimitMiddleware(lambda request: HttpResponse("x"))
    response = middleware(RequestFactory().get(path, **KEY))
    assert response.status_code == 200
    assert held() == 0
    response.close()


def test_it_is_asynchronous_under_an_asynchronous_handler(
    client: Any, held: Callable[[], int]
) -> None:
    async def view(request: Any) -> Any:
        assert held() == 1

        async def parts() -> AsyncIterator[bytes]:
            yield b"part"

        return StreamingHttpResponse(parts())

    async def scenario() -> Any:
        middleware = RateLimitMiddleware(view)
        # What is around it asks.
        assert iscoroutinefunction(middleware)
        request = AsyncRequestFactory().get(SLOW, headers={"X-API-Key": "a"})
        response = await middleware(request)
        assert held() == 1
        assert [part async for part in response.streaming_content] == [b"part"]
        response.close()
        assert held() == 0
        return response

    assert asyncio.run(scenario())["X-RateLimit-Remaining"] == "59"


def test_an_asynchronous_refusal_and_one_without_a_key(configure: Configure) -> None:
    configure(tier=lambda request, key: 1)

    async def view(request: Any) -> Any:
        return HttpResponse("x")

    async def statuses() -> list[int]:
        middleware = RateLimitMiddleware(view)
        make = AsyncRequestFactory()
        keys = [{"X-API-Key": "a"}, {"X-API-Key": "a"}, {}]
        requests = [make.get("/", headers=headers) for headers in keys]
        return [(await middleware(request)).status_code for request in requests]

    assert asyncio.run(statuses()) == [200, 429, 401]


def test_a_permit_is_given_back_if_the_client_goes(
    client: Any, held: Callable[[], int]
) -> None:
    async def scenario() -> None:
        began = asyncio.Event()

        async def view(request: Any) -> Any:
            began.set()
            await asyncio.Event().wait()

        request = AsyncRequestFactory().get(SLOW, headers={"X-API-Key": "a"})
        task = asyncio.ensure_future(RateLimitMiddleware(view)(request))
        await began.wait()
        assert held() == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert held() == 0

    asyncio.run(scenario())


def test_the_whole_of_django_s_asynchronous_handler_is_limited(
    client: Any, held: Callable[[], int]
) -> None:
    async def scenario() -> Any:
        return await AsyncClient().get(SLOW, headers={"X-API-Key": "a"})

    response = asyncio.run(scenario())
    assert (response.status_code, response["X-RateLimit-Limit"]) == (200, "60")
    assert held() == 0


@pytest.mark.parametrize(
    ("server", "several", "warned"),
    [("example.com", True, 1), ("example.com", False, 0), ("testserver", True, 0)],
)
def test_a_private_limiter_in_several_processes_is_warned_of(
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    server: str,
    several: bool,
    warned: int,
) -> None:
    warnings: list[Limiter] = []
    monkeypatch.setattr(module, "warn_private", warnings.append)
    environ = {"wsgi.multiprocess": several, "SERVER_NAME": server}
    assert client.get("/", **KEY, **environ).status_code == 200
    assert warnings == [opened()] * warned


def test_a_refusal_s_body_is_json(configure: Configure) -> None:
    configure(tier=lambda request, key: 1)
    client = Client()
    client.get("/", **KEY)
    body = json.loads(client.get("/", **KEY).content)
    assert set(body) == {"error"}
