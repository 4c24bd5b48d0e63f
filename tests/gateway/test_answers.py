"""What a client hears: keys, headers, statuses and bodies."""

import contextlib
import json
import re
import time

import pytest
from conftest import ENDPOINT, Answer, wait_until

LEGACY = ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"]
IETF = ["RateLimit-Policy", "RateLimit"]


def limit_headers(answer):
    return [
        name for name in answer.headers if "ratelimit" in name.lower()
    ]


def error_of(answer):
    error = json.loads(answer.body)["error"]
    assert list(error) == ["message", "type", "code", "param"]
    assert error["message"]
    return error["type"], error["code"], error["param"]


def spend(gateway, key, limit):
    """Spends what is left of a key's quota: its first refusal."""
    for _ in range(limit + 1):
        answer = gateway.ask(key)
        if answer.status != 200:
            return answer
    raise AssertionError(f"more than {limit} were admitted")


# --- keys ---


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X_API_Key": ""},
        {"X_API_Key": "unknown"},
        {"X_API_Key": "KEY-STARTER"},
        {"X_API_Key": "key-starter2"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer unknown"},
        {"Authorization": "Basic key-starter"},
        {"Authorization": "key-starter"},
        {"Authorization": "Bearerkey-starter"},
    ],
    ids=lambda headers: str(headers) or "none",
)
@pytest.mark.parametrize("path", [ENDPOINT, "/none"])
def test_without_a_known_key_it_is_401_without_limit_headers(
    gateway, headers, path
):
    answer = gateway.ask(path=path, **headers)
    assert answer.status == 401
    assert answer["Content-Type"] == "application/json"
    assert answer["WWW-Authenticate"] == "Bearer"
    assert error_of(answer) == (
        "authentication_error",
        "invalid_api_key",
        None,
    )
    assert limit_headers(answer) == []
    assert answer["Retry-After"] is None


@pytest.mark.parametrize(
    "headers",
    [
        {"X_API_Key": "key-starter"},
        {"x_api_key": "key-starter"},
        {"Authorization": "Bearer key-starter"},
        {"Authorization": "bearer key-starter"},
        {"Authorization": "BEARER   key-starter"},
        {"X_API_Key": "", "Authorization": "Bearer key-starter"},
        {"X_API_Key": "key with spaces"},
    ],
    ids=str,
)
def test_a_known_key_is_taken_from_either_header(gateway, headers):
    answer = gateway.ask(**headers)
    assert answer.status == 200
    assert answer["X-RateLimit-Remaining"] == "59"


def test_both_headers_with_the_same_key_are_one_quota(gateway):
    assert gateway.ask("key-starter")["X-RateLimit-Remaining"] == "59"
    answer = gateway.ask(Authorization="Bearer key-starter")
    assert answer["X-RateLimit-Remaining"] == "58"


def test_x_api_key_wins_over_a_bearer_token(gateway):
    answer = gateway.ask("key-basic", Authorization="Bearer key-starter")
    assert answer["X-RateLimit-Limit"] == "120"
    assert gateway.ask("key-starter")["X-RateLimit-Remaining"] == "59"


def test_a_401_charges_nobody(gateway):
    for _ in range(5):
        assert gateway.ask("unknown").status == 401
    assert gateway.ask("key-starter")["X-RateLimit-Remaining"] == "59"


# --- what is admitted ---


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path", [ENDPOINT, "/focus-groups", "/video-analyses", ENDPOINT + "?a=1"]
)
def test_every_endpoint_of_the_plan_answers(gateway, path, method):
    body = b'{"a": 1}' if method == "POST" else None
    answer = gateway.ask("key-starter", path, method, body)
    assert answer.status == 200
    assert answer["Content-Type"] == "application/json"
    json.loads(answer.body)


@pytest.mark.parametrize(
    ("key", "limit"),
    [
        ("key-starter", 60),
        ("key-basic", 120),
        ("key-professional", 240),
        ("key-enterprise", 600),
        ("key-negotiated", 5000),
        ("key-short", 3),
    ],
)
def test_a_key_has_its_own_tiers_or_negotiated_limit(gateway, key, limit):
    answer = gateway.ask(key)
    assert answer["X-RateLimit-Limit"] == str(limit)
    assert answer["X-RateLimit-Remaining"] == str(limit - 1)


def test_requests_on_one_connection_are_all_charged(gateway):
    with contextlib.closing(gateway.connect()) as connection:
        for used in range(1, 11):
            connection.request(
                "POST", ENDPOINT, b"x" * used, {"X-API-Key": "key-starter"}
            )
            answer = Answer(connection.getresponse())
            assert answer["X-RateLimit-Remaining"] == str(60 - used)


def test_a_large_body_is_read_and_the_answer_arrives(gateway):
    answer = gateway.ask("key-starter", method="POST", body=b"x" * 3_000_000)
    assert answer.status == 200


def test_every_worker_answers_and_says_which_it_is(gateway):
    assert gateway.serving(2) == gateway.workers()


# --- headers ---


@pytest.mark.parametrize(
    ("flavour", "names"),
    [("legacy", LEGACY), ("ietf", IETF), ("both", LEGACY + IETF)],
)
def test_the_flavour_decides_which_headers_there_are(start, flavour, names):
    gateway = start("--headers", flavour)
    for answer in (gateway.ask("key-starter"), spend(gateway, "key-short", 3)):
        assert sorted(limit_headers(answer)) == sorted(names)


def test_legacy_is_the_default(gateway):
    assert limit_headers(gateway.ask("key-starter")) == LEGACY


def test_legacy_headers_are_whole_numbers_and_reset_is_near(gateway):
    before = int(time.time())
    answer = gateway.ask("key-starter")
    assert answer["X-RateLimit-Limit"] == "60"
    assert answer["X-RateLimit-Remaining"] == "59"
    assert re.fullmatch(r"\d+", answer["X-RateLimit-Reset"])
    reset = int(answer["X-RateLimit-Reset"])
    assert before + 59 <= reset <= time.time() + 62


def test_ietf_headers_name_quota_window_rest_and_seconds(start):
    answer = start("--headers", "ietf").ask("key-starter")
    assert answer["RateLimit-Policy"] == (
        '"default";q=60;w=60, "in-flight";q=10;qu="concurrent-requests"'
    )
    match = re.fullmatch(
        r'"default";r=59;t=(\d+), "in-flight";r=9', answer["RateLimit"]
    )
    assert match, answer["RateLimit"]
    assert 59 <= int(match[1]) <= 61


# --- paths and methods that are not there ---


@pytest.mark.parametrize(
    "path",
    ["/", "/none", ENDPOINT + "ter", "/mave", "/MAVE/chat", "/v1/mave/chat"],
)
def test_an_unknown_path_is_404_and_charged(gateway, path):
    answer = gateway.ask("key-starter", path)
    assert answer.status == 404
    assert answer["Content-Type"] == "application/json"
    assert error_of(answer) == ("invalid_request_error", "not_found", None)
    assert limit_headers(answer) == LEGACY
    assert answer["X-RateLimit-Remaining"] == "59"
    assert gateway.ask("key-starter")["X-RateLimit-Remaining"] == "58"


@pytest.mark.parametrize(
    "path",
    [
        ENDPOINT + "/",
        ENDPOINT + "/7?x=1",
        "//mave/./chat",
        "/x/../mave/chat",
        "/%6dave%2Fchat",
    ],
)
def test_other_spellings_of_a_path_are_the_endpoint(gateway, path):
    assert gateway.ask("key-starter", path).status == 200


@pytest.mark.parametrize(
    "method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"]
)
def test_an_unsupported_method_is_405_with_allow_and_charged(gateway, method):
    answer = gateway.ask("key-starter", method=method)
    assert answer.status == 405
    assert answer["Allow"] == "GET, POST"
    assert answer["Content-Type"] == "application/json"
    if method != "HEAD":
        assert error_of(answer) == (
            "invalid_request_error",
            "method_not_allowed",
            None,
        )
    assert limit_headers(answer) == LEGACY
    assert answer["X-RateLimit-Remaining"] == "59"
    assert gateway.ask("key-starter")["X-RateLimit-Remaining"] == "58"


@pytest.mark.parametrize(
    ("path", "method"), [("/none", "GET"), (ENDPOINT, "DELETE")]
)
def test_a_spent_key_is_429_before_404_and_405(gateway, path, method):
    spend(gateway, "key-starter", 60)
    assert gateway.ask("key-starter", path, method).status == 429


# --- refusals ---


@pytest.mark.parametrize("flavour", ["legacy", "ietf", "both"])
def test_a_refusal_is_the_contracts(start, flavour):
    gateway = start("--headers", flavour)
    answer = spend(gateway, "key-starter", 60)
    now = time.time()

    assert answer.status == 429
    assert answer["Content-Type"] == "application/json"
    assert answer["Retry-After"].isdigit()
    retry = int(answer["Retry-After"])
    assert 1 <= retry <= 60
    assert answer.body.decode() == (
        '{"error":{"message":"Rate limit exceeded. Please retry after '
        f'{retry} seconds.","type":"rate_limit_error",'
        '"code":"rate_limit_exceeded","param":null}}'
    )
    assert answer["Content-Length"] == str(len(answer.body))
    if flavour != "ietf":
        assert answer["X-RateLimit-Limit"] == "60"
        assert answer["X-RateLimit-Remaining"] == "0"
        assert abs(int(answer["X-RateLimit-Reset"]) - (now + retry)) <= 1.5
    if flavour != "legacy":
        assert answer["RateLimit"] == (
            f'"default";r=0;t={retry}, "in-flight";r=10'
        )


def test_a_refused_post_gets_its_answer_on_a_connection_that_lives(gateway):
    spend(gateway, "key-starter", 60)
    with contextlib.closing(gateway.connect()) as connection:
        for _ in range(3):
            connection.request(
                "POST",
                ENDPOINT,
                b"x" * 200_000,
                {"X-API-Key": "key-starter"},
            )
            assert Answer(connection.getresponse()).status == 429


def test_a_spent_key_leaves_others_alone(gateway):
    spend(gateway, "key-starter", 60)
    assert gateway.ask("key-other")["X-RateLimit-Remaining"] == "59"


def test_refused_requests_do_not_extend_the_wait(gateway):
    """Refusals all the while, and still admitted when it was said."""
    first = spend(gateway, "key-short", 50)
    assert first.status == 429
    said = time.monotonic() + int(first["Retry-After"])

    def admitted():
        return gateway.ask("key-short").status == 200

    wait_until(admitted, "admitted again")
    assert time.monotonic() <= said + 0.5
