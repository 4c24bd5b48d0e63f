"""The WSGI middleware, called as a server would."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

from mavera_rl import Decision, Limiter, ManualClock, Plan, UnknownTierError
from mavera_rl import wsgi as module
from mavera_rl.wsgi import RateLimitMiddleware, api_key, client_address, header

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

KEY = "HTTP_X_API_KEY"
SLOW = "/video-analyses"


class Answer:
    """What a server saw of a response that it has not closed."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[tuple[str, str]], OptExcInfo | None]] = []
        self.written = b""
        self.result: Iterable[bytes] = ()

    def start(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: OptExcInfo | None = None,
        /,
    ) -> Callable[[bytes], object]:
        self.calls.append((status, headers, exc_info))
        return self.write

    def write(self, data: bytes) -> None:
        self.written += data

    @property
    def status(self) -> int:
        return int(self.calls[-1][0].split()[0])

    @property
    def headers(self) -> dict[str, str]:
        pairs = self.calls[-1][1]
        assert len({name.lower() for name, _ in pairs}) == len(pairs)
        return dict(pairs)

    def close(self) -> None:
        close = getattr(self.result, "close", None)
        if close is not None:
            close()


def environ(path: str = "/", **variables: Any) -> WSGIEnvironment:
    made: WSGIEnvironment = {"PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": ""}
    setup_testing_defaults(made)
    made.update({KEY: "a", **variables})
    return made


def begin(app: WSGIApplication, path: str = "/", **variables: Any) -> Answer:
    answer = Answer()
    answer.result = app(environ(path, **variables), answer.start)
    return answer


def call(
    app: WSGIApplication, path: str = "/", **variables: Any
) -> tuple[Answer, bytes]:
    """A request as a server does it that keeps to the letter of the PEP."""
    answer = begin(validator(app), path, **variables)
    try:
        body = b"".join(answer.result)
    finally:
        answer.close()
    return answer, body


def hello(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


@pytest.fixture
def app(limiter: Limiter) -> RateLimitMiddleware:
    return RateLimitMiddleware(hello, limiter, tier=lambda environ, key: 2)


def test_the_application_s_answer_is_passed_on_with_the_headers(
    app: RateLimitMiddleware, clock: ManualClock
) -> None:
    answer, body = call(app)
    assert body == b"hello"
    assert answer.status == 200
    assert answer.headers == {
        "Content-Type": "text/plain",
        "X-RateLimit-Limit": "2",
        "X-RateLimit-Remaining": "1",
        "X-RateLimit-Reset": str(int(clock.now) + 60),
    }


def test_what_is_above_the_limit_is_refused_with_the_contract_s_body(
    app: RateLimitMiddleware, clock: ManualClock
) -> None:
    call(app)
    call(app)
    clock.advance(0.5)
    answer, body = call(app)
    assert answer.calls[0][0] == "429 Too Many Requests"
    assert answer.headers["Retry-After"] == "60"
    assert answer.headers["X-RateLimit-Remaining"] == "0"
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Length"] == str(len(body))
    assert json.loads(body)["error"]["code"] == "rate_limit_exceeded"
    clock.advance(59.5)
    assert call(app)[0].status == 200


def test_a_refusal_of_a_head_has_no_body(app: RateLimitMiddleware) -> None:
    answers = [call(app, REQUEST_METHOD="HEAD") for _ in range(3)]
    assert answers[2][0].status == 429
    assert answers[2][0].headers["Content-Length"] != "0"
    assert answers[2][1] == b""


def test_the_application_is_not_called_for_a_refusal(limiter: Limiter) -> None:
    calls = []

    def counting(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> list[bytes]:
        calls.append(environ["mavera_rl.decision"])
        return hello(environ, start_response)

    app = RateLimitMiddleware(counting, limiter, tier=lambda environ, key: 2)
    for _ in range(5):
        call(app)
    assert len(calls) == 2
    assert [isinstance(seen, Decision) and seen.remaining for seen in calls] == [1, 0]


@pytest.mark.parametrize(
    ("flavour", "names"),
    [
        ("legacy", ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"]),
        ("ietf", ["RateLimit-Policy", "RateLimit"]),
        (None, []),
    ],
)
def test_the_headers_are_of_the_flavour_asked_for(
    limiter: Limiter, flavour: Any, names: list[str]
) -> None:
    app = RateLimitMiddleware(
        hello, limiter, tier=lambda environ, key: 1, headers=flavour
    )
    assert set(call(app)[0].headers) == {"Content-Type", *names}
    refused = call(app)[0].headers
    assert set(refused) == {"Content-Type", "Content-Length", "Retry-After", *names}
    assert refused["Retry-After"] == "60"


def test_options_that_do_not_exist_are_errors(limiter: Limiter) -> None:
    with pytest.raises(ValueError, match="headers"):
        RateLimitMiddleware(hello, limiter, headers="Legacy")  # type: ignore[arg-type]  # pyright: ignore
    with pytest.raises(ValueError, match="without_key"):
        RateLimitMiddleware(hello, limiter, without_key="deny")  # type: ignore[arg-type]  # pyright: ignore


def test_without_a_key_a_request_is_refused(limiter: Limiter) -> None:
    answer, body = call(RateLimitMiddleware(hello, limiter), **{KEY: ""})
    assert answer.calls[0][0] == "401 Unauthorized"
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.headers["Content-Length"] == str(len(body))
    assert json.loads(body)["error"]["code"] == "invalid_api_key"


def test_without_a_key_a_request_may_pass(limiter: Limiter) -> None:
    app = RateLimitMiddleware(hello, limiter, without_key="pass")
    answer, body = call(app, **{KEY: ""})
    assert (answer.status, body) == (200, b"hello")
    assert "X-RateLimit-Limit" not in answer.headers


PLAN = """
[tiers]
free = 2
[keys]
known = "free"
"""


@pytest.mark.parametrize("without_key", ["refuse", "pass"])
def test_a_key_that_is_none_of_the_plan_s_is_refused(
    tmp_path: Path, without_key: Any
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    limiter = Limiter(keys=256, plan=plan)
    app = RateLimitMiddleware(hello, limiter, without_key=without_key)
    assert call(app, **{KEY: "known"})[0].status == 200
    answer, body = call(app, **{KEY: "unknown"})
    assert answer.calls[0][0] == "401 Unauthorized"
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert json.loads(body)["error"]["message"] == "Invalid API key."


def test_what_is_skipped_is_not_counted(limiter: Limiter) -> None:
    app = RateLimitMiddleware(
        hello,
        limiter,
        tier=lambda environ, key: 1,
        skip=lambda environ: environ["PATH_INFO"] == "/health",
    )
    assert [call(app, "/health")[0].status for _ in range(3)] == [200] * 3
    assert [call(app)[0].status for _ in range(2)] == [200, 429]


@pytest.mark.parametrize(
    ("variables", "key"),
    [
        ({"HTTP_X_API_KEY": "k"}, "k"),
        ({"HTTP_AUTHORIZATION": "Bearer k"}, "k"),
        ({"HTTP_AUTHORIZATION": "bEARER  k "}, "k"),
        ({"HTTP_X_API_KEY": "x", "HTTP_AUTHORIZATION": "Bearer y"}, "x"),
        ({"HTTP_X_API_KEY": "", "HTTP_AUTHORIZATION": "Bearer y"}, "y"),
        ({"HTTP_AUTHORIZATION": "Basic k"}, None),
        ({"HTTP_X_API_KEY": " k\t"}, "k"),
        ({"HTTP_X_API_KEY": " ", "HTTP_AUTHORIZATION": "Bearer y"}, "y"),
        ({"HTTP_X_API_KEY": ""}, None),
        ({}, None),
        # Bytes of UTF-8, as a server hands them over, and others.
        ({"HTTP_X_API_KEY": "Ã¤"}, "ä"),
        ({"HTTP_X_API_KEY": "\xe4"}, b"\xe4"),
        ({"HTTP_AUTHORIZATION": "Bearer \xe4"}, b"\xe4"),
    ],
)
def test_an_api_key_is_a_header_s_or_a_bearer_s(
    variables: dict[str, str], key: str | bytes | None
) -> None:
    assert api_key(variables) == key


def test_a_key_of_other_bytes_is_the_limiter_s_key_of_these_bytes(
    app: RateLimitMiddleware, limiter: Limiter
) -> None:
    call(app, **{KEY: "\xe4\xff"})
    call(app, **{KEY: "Ã¤"})
    assert limiter.peek(b"\xe4\xff", limit=2).used == 1
    assert limiter.peek("ä", limit=2).used == 1


def test_the_key_may_be_another_header_or_a_callable_s(limiter: Limiter) -> None:
    for key in ("X-Tenant", header("x-tenant"), lambda environ: b"t"):
        app = RateLimitMiddleware(hello, limiter, key=key, tier=lambda e, k: 10)
        call(app, HTTP_X_TENANT="t")
    assert limiter.peek("t", limit=10).used == 3


def test_a_client_s_address_is_not_what_the_client_says_it_is(
    limiter: Limiter,
) -> None:
    app = RateLimitMiddleware(
        hello, limiter, key=client_address, tier=lambda environ, key: 1
    )
    statuses = [
        call(app, REMOTE_ADDR="192.0.2.1", HTTP_X_FORWARDED_FOR=f"192.0.2.{n}")[
            0
        ].status
        for n in (2, 3)
    ]
    assert statuses == [200, 429]
    assert client_address({}) is None


def test_the_tier_is_a_name_or_what_a_callable_says(limiter: Limiter) -> None:
    seen: list[str | bytes] = []

    def tier(environ: WSGIEnvironment, key: str | bytes) -> tuple[int, float]:
        seen.append(key)
        return 7, 30.0

    assert call(RateLimitMiddleware(hello, limiter, tier="basic"))[0].headers[
        "X-RateLimit-Limit"
    ] == str(120)
    app = RateLimitMiddleware(hello, limiter, tier=tier, headers="ietf")
    policy = call(app)[0].headers["RateLimit-Policy"]
    assert "q=7" in policy
    assert "w=30" in policy
    assert seen == ["a"]
    with pytest.raises(UnknownTierError, match="gold.*starter"):
        RateLimitMiddleware(hello, limiter, tier="gold")


def test_headers_of_the_same_names_are_replaced(limiter: Limiter) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        headers = [
            ("Content-Type", "text/plain"),
            ("x-RATELIMIT-limit", "1000000"),
            ("Retry-After", "7"),
        ]
        start_response("503 Service Unavailable", headers)
        return [b""]

    limited = RateLimitMiddleware(app, limiter, tier="basic")
    headers = call(limited)[0].headers
    assert headers["X-RateLimit-Limit"] == "120"
    assert "x-RATELIMIT-limit" not in headers
    assert headers["Retry-After"] == "7"


def test_a_generator_that_starts_late_gets_the_headers(limiter: Limiter) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"late"

    for path in ("/", SLOW):
        answer = begin(RateLimitMiddleware(app, limiter, tier="basic"), path)
        assert answer.calls == []
        assert list(answer.result) == [b"late"]
        assert answer.headers["X-RateLimit-Limit"] == "120"
        answer.close()


def test_a_second_start_with_exc_info_gets_the_headers(limiter: Limiter) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            raise RuntimeError("gone wrong")
        except RuntimeError:
            error = [("Content-Type", "text/plain"), ("X-Error", "yes")]
            start_response("500 Gone Wrong", error, sys.exc_info())
        return [b""]

    answer = begin(RateLimitMiddleware(app, limiter, tier="basic"))
    first, second = answer.calls
    assert first[2] is None
    assert second[2] is not None
    assert second[2][0] is RuntimeError
    assert answer.status == 500
    assert answer.headers["X-RateLimit-Limit"] == "120"
    assert answer.headers["X-Error"] == "yes"


def test_the_server_s_write_is_passed_on(limiter: Limiter) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])(b"written")
        return []

    answer = begin(RateLimitMiddleware(app, limiter, tier="basic"), SLOW)
    assert answer.written == b"written"
    answer.close()


@pytest.fixture
def held(limiter: Limiter) -> Callable[[], int]:
    return lambda: limiter.in_flight("a", SLOW)


def limited(app: WSGIApplication, limiter: Limiter) -> RateLimitMiddleware:
    return RateLimitMiddleware(app, limiter, tier="basic")


def test_a_permit_is_held_until_the_response_is_closed(
    limiter: Limiter, held: Callable[[], int]
) -> None:
    app = limited(hello, limiter)
    answers = [begin(app, SLOW) for _ in range(3)]
    assert held() == 3
    refused, body = call(app, SLOW)
    assert refused.status == 429
    assert json.loads(body)["error"]["code"] == "concurrency_limit_exceeded"
    assert int(refused.headers["Retry-After"]) >= 1
    assert b"".join(answers[0].result) == b"hello"
    assert held() == 3
    answers[0].close()
    assert held() == 2
    answers[0].close()
    assert held() == 2
    assert call(app, SLOW)[0].status == 200


def test_a_permit_is_given_back_if_the_application_raises(
    limiter: Limiter, held: Callable[[], int]
) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        assert held() == 1
        raise SystemExit

    with pytest.raises(SystemExit) as raised:
        begin(limited(app, limiter), SLOW)
    # Also while its traceback holds the frames that had the permit.
    assert raised.tb is not None
    assert held() == 0


def test_a_permit_is_given_back_if_the_response_raises(
    limiter: Limiter, held: Callable[[], int]
) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"part"
        raise RuntimeError("gone wrong")

    with pytest.raises(RuntimeError, match="gone wrong"):
        call(limited(app, limiter), SLOW)
    assert held() == 0


def test_a_permit_is_given_back_if_the_response_s_close_raises(
    limiter: Limiter, held: Callable[[], int]
) -> None:
    closed = []

    class Body(list[bytes]):
        def close(self) -> None:
            closed.append(held())
            raise RuntimeError("cannot close")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        return Body([b"x"])

    answer = begin(limited(app, limiter), SLOW)
    with pytest.raises(RuntimeError, match="cannot close"):
        answer.close()
    assert closed == [1]
    assert held() == 0


def test_a_permit_is_given_back_if_the_server_drops_the_response(
    limiter: Limiter, held: Callable[[], int]
) -> None:
    answer = begin(limited(hello, limiter), SLOW)
    assert held() == 1
    del answer
    assert held() == 0


def test_a_response_without_a_permit_is_the_application_s_own(
    limiter: Limiter,
) -> None:
    body = FileWrapper(io.BytesIO(b"file"))

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return body

    assert begin(limited(app, limiter), "/").result is body
    answer = begin(limited(app, limiter), SLOW)
    assert answer.result is not body
    assert b"".join(answer.result) == b"file"
    answer.close()
    assert body.filelike.closed


def test_a_list_keeps_its_length(limiter: Limiter) -> None:
    answer = begin(limited(hello, limiter), SLOW)
    assert len(answer.result) == 1  # type: ignore[arg-type]  # pyright: ignore
    answer.close()


@pytest.mark.parametrize(
    "variables",
    [
        {"PATH_INFO": SLOW},
        {"PATH_INFO": SLOW + "/1"},
        {"PATH_INFO": "//video-analyses"},
        {"SCRIPT_NAME": SLOW, "PATH_INFO": "/1"},
        {"SCRIPT_NAME": SLOW, "PATH_INFO": ""},
        {"PATH_INFO": SLOW, "QUERY_STRING": "a=b"},
        {"PATH_INFO": SLOW, "RAW_URI": "/before-a-rewrite"},
        {"PATH_INFO": SLOW, "REQUEST_URI": "/before-a-rewrite"},
    ],
)
def test_the_endpoint_is_the_one_that_the_application_routes_by(
    limiter: Limiter, held: Callable[[], int], variables: dict[str, str]
) -> None:
    answer = begin(limited(hello, limiter), **variables)
    assert held() == 1
    answer.close()


@pytest.mark.parametrize("path", [SLOW + "?x", SLOW + "#x", "/video%2Danalyses"])
def test_what_was_decoded_is_not_decoded_again(
    limiter: Limiter, held: Callable[[], int], path: str
) -> None:
    assert Plan().endpoint(path) is not None
    answer = begin(limited(hello, limiter), path)
    assert held() == 0
    answer.close()


def test_a_path_that_utf_8_cannot_write_is_a_path(limiter: Limiter) -> None:
    assert call(limited(hello, limiter), "/\xff")[0].status == 200


@pytest.mark.parametrize(
    ("multiprocess", "enabled", "warned"),
    [(True, True, 1), (False, True, 0), (True, False, 0)],
)
def test_a_private_limiter_in_several_processes_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, multiprocess: bool, enabled: bool, warned: int
) -> None:
    warnings: list[Limiter] = []
    monkeypatch.setattr(module, "warn_private", warnings.append)
    limiter = Limiter(keys=256, enabled=enabled)
    variables: dict[str, Any] = {"wsgi.multiprocess": multiprocess}
    call(limited(hello, limiter), **variables)
    assert warnings == [limiter] * warned
