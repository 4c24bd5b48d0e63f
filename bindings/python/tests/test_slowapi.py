"""slowapi with this storage in place of ``memory://``."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import mavera_rl.limits  # noqa: F401

# slowapi 0.1.10 calls what Python 3.14 deprecates, and its types are partial.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

MEMORY = {"storage_uri": "memory://"}
MAVERA = {"storage_uri": "mavera://?keys=1000", "strategy": "moving-window"}


def application(**storage: Any) -> Any:
    from slowapi import Limiter, _rate_limit_exceeded_handler
    from slowapi.errors import RateLimitExceeded
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    limiter = Limiter(lambda: "one client", headers_enabled=True, **storage)

    @limiter.limit("3/minute")
    async def index(request: Request) -> PlainTextResponse:
        return PlainTextResponse("")

    app = Starlette(
        routes=[Route("/", index)],
        exception_handlers={RateLimitExceeded: _rate_limit_exceeded_handler},  # type: ignore[dict-item]
    )
    app.state.limiter = limiter
    return app


def get(app: Any, times: int) -> list[Any]:
    import asyncio

    import httpx

    async def all_of_them() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as one:
            return [await one.get("/") for _ in range(times)]

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("storage", [MEMORY, MAVERA], ids=["memory", "mavera"])
def test_an_application_answers_as_before(storage: dict[str, str]) -> None:
    now = time.time()
    answers = get(application(**storage), 5)
    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 2
    remaining = [answer.headers["X-RateLimit-Remaining"] for answer in answers]
    assert remaining == ["2", "1", "0", "0", "0"]
    for answer in answers:
        assert answer.headers["X-RateLimit-Limit"] == "3"
        assert now + 55 < float(answer.headers["X-RateLimit-Reset"]) < now + 66
        assert 50 < int(answer.headers["Retry-After"]) <= 61


def test_the_default_strategy_fails_with_the_remedy() -> None:
    with pytest.raises(NotImplementedError, match='strategy="moving-window"'):
        get(application(storage_uri="mavera://?keys=1000"), 1)


WORKER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("app", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
app = module.application(storage_uri=sys.argv[2], strategy="moving-window")
print(sum(answer.status_code == 200 for answer in module.get(app, 3)))
"""


def test_two_workers_on_one_path_admit_exactly_the_limit(path: Path) -> None:
    command = [sys.executable, "-c", WORKER, __file__, f"mavera://{path}?keys=1000"]
    workers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    counts = [worker.communicate(timeout=20)[0] for worker in workers]
    assert sum(map(int, counts)) == 3
