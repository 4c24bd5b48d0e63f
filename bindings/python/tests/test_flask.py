"""flask-limiter with this storage in place of ``memory://``."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

import mavera_rl.limits  # noqa: F401

# What an application changes: one line.
MEMORY = {"storage_uri": "memory://"}
MAVERA = {"storage_uri": "mavera://?keys=1000", "strategy": "moving-window"}


def application(**storage: Any) -> Flask:
    app = Flask(__name__)
    limiter = Limiter(
        get_remote_address,
        app=app,
        default_limits=["200 per day", "50 per hour"],
        headers_enabled=True,
        **storage,
    )

    @app.get("/slow")
    @limiter.limit("3 per minute")
    def slow() -> str:
        return "slow"

    @app.get("/fast")
    def fast() -> str:
        return "fast"

    return app


@pytest.mark.parametrize("storage", [MEMORY, MAVERA], ids=["memory", "mavera"])
def test_an_application_answers_as_before(storage: dict[str, str]) -> None:
    client = application(**storage).test_client()
    now = time.time()
    answers = [client.get("/slow") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 2
    assert [answer.headers["X-RateLimit-Limit"] for answer in answers] == ["3"] * 5
    remaining = [answer.headers["X-RateLimit-Remaining"] for answer in answers]
    assert remaining == ["2", "1", "0", "0", "0"]
    for answer in answers:
        assert now + 55 < int(answer.headers["X-RateLimit-Reset"]) < now + 66
        assert 50 < int(answer.headers["Retry-After"]) <= 61
    assert client.get("/fast").headers["X-RateLimit-Limit"] == "50"


def test_limits_of_an_hour_and_a_day_are_counted_beside_each_other() -> None:
    client = application(**MAVERA).test_client()
    statuses = [client.get("/fast").status_code for _ in range(60)]
    assert statuses == [200] * 50 + [429] * 10


WORKER = """
import sys
from flask import Flask
from flask_limiter import Limiter
import mavera_rl.limits

app = Flask("app")
limiter = Limiter(lambda: "one client", app=app, storage_uri=sys.argv[1],
                  strategy="moving-window", default_limits=["50 per hour"])
app.add_url_rule("/", view_func=lambda: "", endpoint="index")
client = app.test_client()
print("ready", flush=True)
sys.stdin.readline()
print(sum(client.get("/").status_code == 200 for _ in range(40)))
"""


@pytest.fixture
def workers(path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    command = [sys.executable, "-c", WORKER, f"mavera://{path}?keys=1000"]
    started = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    yield started
    for worker in started:
        worker.kill()
        worker.communicate()


def test_two_workers_on_one_path_admit_exactly_the_limit(
    workers: list[subprocess.Popen[str]],
) -> None:
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    counts = []
    for worker in workers:
        assert worker.stdout is not None
        counts.append(int(worker.stdout.readline()))
    assert sum(counts) == 50


def test_the_default_strategy_fails_with_the_remedy() -> None:
    app = application(storage_uri="mavera://?keys=1000")
    app.testing = True
    with pytest.raises(NotImplementedError, match='strategy="moving-window"'):
        app.test_client().get("/slow")


def test_the_remedy_is_seen_although_the_fallback_takes_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = application(
        storage_uri="mavera://?keys=1000", in_memory_fallback_enabled=True
    )
    assert app.test_client().get("/slow").status_code == 200
    assert any('strategy="moving-window"' in text for text in caplog.messages)


def test_a_reset_of_the_limiter_works_in_one_process_and_is_declined_on_a_path(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for uri, again in (("mavera://?keys=1000", 200), (f"mavera://{path}", 429)):
        app = Flask(__name__)
        limiter = Limiter(
            get_remote_address,
            app=app,
            default_limits=["1 per minute"],
            storage_uri=uri,
            strategy="moving-window",
        )
        app.add_url_rule("/", view_func=lambda: "", endpoint="index")
        client = app.test_client()
        assert client.get("/").status_code == 200
        limiter.reset()
        assert client.get("/").status_code == again
    assert any("does not support being reset" in text for text in caplog.messages)
