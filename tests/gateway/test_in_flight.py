"""Requests in flight: refused above the maximum, and never leaked."""

import contextlib
import http.client
import itertools
import json
import os
import signal
import threading
import time

import pytest
from conftest import Answer, wait_until

VIDEO = "/video-analyses"
MAX = 3
KEY = "key-enterprise"
LONG_MS = 30_000


class Slow:
    """A request that is in flight until it is answered or left."""

    def __init__(self, gateway, delay_ms=LONG_MS, path=VIDEO):
        self.connection = gateway.connect()
        self.connection.request(
            "GET", f"{path}?delay_ms={delay_ms}", headers={"X-API-Key": KEY}
        )

    def answer(self):
        with contextlib.closing(self.connection):
            return Answer(self.connection.getresponse())

    def leave(self):
        self.connection.close()


def refused(gateway, path=VIDEO):
    return gateway.ask(KEY, path).status == 429


def fill(gateway, delay_ms=LONG_MS):
    """As many as may be, and seen to be in flight."""

    # Asked on another endpoint: a question here might take the place of one
    # of them. Each of them charges one, and so does each question.
    def charged():
        answer = gateway.ask(KEY, "/focus-groups")
        assert answer.status == 200
        return -int(answer["X-RateLimit-Remaining"])

    before = charged()
    slow = [Slow(gateway, delay_ms) for _ in range(MAX)]
    questions = itertools.count(1)
    wait_until(
        lambda: charged() == before + next(questions) + MAX,
        "each of them is charged",
    )
    assert refused(gateway)
    return slow


@pytest.fixture
def leave():
    """Closes what a test leaves in flight, so that the gateway ends soon."""
    with contextlib.ExitStack() as stack:
        yield lambda slow: [stack.callback(one.leave) for one in slow]


def test_above_the_maximum_is_refused_and_charges_nothing(gateway, leave):
    leave(fill(gateway))
    first, second = gateway.ask(KEY, VIDEO), gateway.ask(KEY, VIDEO)
    for answer in first, second:
        assert answer.status == 429
        assert answer["Retry-After"] == "1"
        assert answer["Content-Type"] == "application/json"
        error = json.loads(answer.body)["error"]
        assert error["code"] == "concurrency_limit_exceeded"
        assert error["type"] == "rate_limit_error"
        assert VIDEO in error["message"] and "at most 3" in error["message"]
    assert first["X-RateLimit-Remaining"] == second["X-RateLimit-Remaining"]
    # Neither other endpoints nor other keys are concerned.
    assert gateway.ask(KEY, "/focus-groups").status == 200
    assert gateway.ask("key-starter", VIDEO).status == 200


def test_the_draft_names_what_is_in_flight(start, leave):
    gateway = start("--headers", "both")
    leave(fill(gateway))
    answer = gateway.ask(KEY, VIDEO)
    assert answer["RateLimit-Policy"].endswith(
        ', "in-flight";q=3;qu="concurrent-requests"'
    )
    assert answer["RateLimit"].endswith(', "in-flight";r=0')


@pytest.mark.parametrize(
    "path", ["/%76ideo-analyses", "//video-analyses/7", "/x/../video-analyses"]
)
def test_another_spelling_does_not_slip_past(gateway, leave, path):
    leave(fill(gateway))
    assert refused(gateway, path)


def test_a_finished_answer_gives_its_permit_back(gateway):
    slow = fill(gateway, delay_ms=600)
    assert [one.answer().status for one in slow] == [200] * MAX
    assert not refused(gateway)


def test_a_client_that_leaves_gives_its_permit_back(gateway):
    slow = fill(gateway)
    begun = time.monotonic()
    for one in slow:
        one.leave()
    wait_until(lambda: not refused(gateway), "a permit is free")
    assert time.monotonic() - begun < 2
    # All of them are.
    for one in fill(gateway):
        one.leave()


def test_a_kept_alive_connection_holds_nothing_between_requests(gateway):
    with contextlib.closing(gateway.connect()) as connection:
        for _ in range(MAX + 1):
            connection.request("GET", VIDEO, headers={"X-API-Key": KEY})
            assert Answer(connection.getresponse()).status == 200


def test_killed_workers_leak_nothing(gateway):
    slow = fill(gateway)
    for pid in gateway.workers():
        os.kill(pid, signal.SIGKILL)
    for one in slow:
        with pytest.raises((OSError, http.client.HTTPException)):
            one.answer()

    def first():
        with contextlib.suppress(OSError, http.client.HTTPException):
            return gateway.ask(KEY, VIDEO)

    answers = []
    wait_until(lambda: answers.append(first()) or answers[-1], "an answer")
    # The first one that anybody gives, not the first after a while.
    assert answers[-1].status == 200


def test_a_stopped_worker_still_has_its_requests_in_flight(start):
    gateway = start(workers=1)
    other = start(workers=1)
    slow = fill(gateway)
    [pid] = gateway.workers()
    os.kill(pid, signal.SIGSTOP)
    try:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            assert refused(other)
    finally:
        os.kill(pid, signal.SIGCONT)
    for one in slow:
        one.leave()
    wait_until(lambda: not refused(other), "a permit is free")


def test_a_stopping_gateway_finishes_what_is_in_flight(gateway):
    slow = fill(gateway, delay_ms=1000)
    answers = []
    threads = [
        threading.Thread(target=lambda one=one: answers.append(one.answer()))
        for one in slow
    ]
    for thread in threads:
        thread.start()
    assert gateway.stop() == 0
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200] * MAX


@pytest.mark.parametrize("delay", ["", "x", "-1", "60001", "1.5", " 1"])
def test_a_delay_that_is_no_number_is_400(gateway, delay):
    path = f"{VIDEO}?delay_ms={delay.replace(' ', '%20')}"
    answer = gateway.ask(KEY, path)
    assert answer.status == 400
    assert b'"code":"invalid_parameter"' in answer.body
