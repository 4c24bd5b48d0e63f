"""Several workers: one limit, kills, orderly ends."""

import contextlib
import http.client
import os
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ENDPOINT, PATIENCE_S, wait_until

CLIENTS = 8


def statuses(gateway, key, requests):
    """Sends them from several clients at once: how often each status came.

    A connection that was cut counts as None: what became of its request, only
    the server knows.
    """

    def one(_):
        try:
            return gateway.ask(key).status
        except (OSError, http.client.HTTPException):
            return None

    with ThreadPoolExecutor(CLIENTS) as clients:
        return Counter(clients.map(one, range(requests)))


def alive(pid):
    """Whether it runs. One that has ended may wait long to be reaped."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def post_in_two_halves(gateway, key="key-starter"):
    """Begins a request, up to the middle of its body. Finish with `send`."""
    connection = gateway.connect()
    connection.putrequest("POST", ENDPOINT)
    connection.putheader("X-API-Key", key)
    connection.putheader("Content-Length", "2")
    connection.endheaders(b"a")
    return connection


# --- one limit ---


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize(
    ("key", "limit"), [("key-starter", 60), ("key-professional", 240)]
)
def test_all_workers_together_admit_exactly_the_limit(
    start, workers, key, limit
):
    gateway = start(workers=workers)
    assert statuses(gateway, key, limit + 100) == {200: limit, 429: 100}


@pytest.mark.parametrize("workers", [2, 4])
def test_remaining_takes_every_value_once(start, workers):
    gateway = start(workers=workers)
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(gateway.ask, ["key-basic"] * 120))
    remaining = sorted(int(a["X-RateLimit-Remaining"]) for a in answers)
    assert remaining == list(range(120))
    assert len({answer.pid for answer in answers}) == workers


def test_two_gateways_on_one_region_share_the_limit(start):
    first, second = start(), start()
    assert first.port != second.port
    for used in range(1, 11):
        gateway = (first, second)[used % 2]
        answer = gateway.ask("key-starter")
        assert answer["X-RateLimit-Remaining"] == str(60 - used)


def test_a_restarted_gateway_goes_on_counting(start):
    first = start()
    for _ in range(7):
        first.ask("key-starter")
    assert first.stop() == 0
    assert start().ask("key-starter")["X-RateLimit-Remaining"] == "52"


def test_gateways_on_different_regions_do_not_share(start):
    start().ask("key-starter")
    answer = start(region="another").ask("key-starter")
    assert answer["X-RateLimit-Remaining"] == "59"


# --- kills ---


def test_a_killed_worker_is_replaced_and_the_count_goes_on(start):
    gateway = start()
    for _ in range(30):
        assert gateway.ask("key-basic").status == 200
    victim = gateway.ask().pid
    os.kill(victim, signal.SIGKILL)
    wait_until(
        lambda: len(gateway.workers() - {victim}) == 2, "the worker is replaced"
    )
    gateway.serving(2)
    assert statuses(gateway, "key-basic", 100) == {200: 90, 429: 10}
    assert f"worker {victim} was killed by signal 9" in gateway.log.read_text()


def test_kills_under_load_neither_add_nor_block(start):
    """A request whose connection was cut may have been charged or not; beyond
    those, the total is exact."""
    gateway = start(workers=3)
    counts = Counter()
    stop = threading.Event()

    def load():
        while not stop.is_set():
            counts.update(statuses(gateway, "key-enterprise", 50))

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(4):
            os.kill(gateway.ask().pid, signal.SIGKILL)
            wait_until(lambda: len(gateway.workers()) == 3, "it is replaced")
        wait_until(lambda: counts[429] > 0, "the limit is reached")
    finally:
        stop.set()
        thread.join()
    assert 600 - counts[None] <= counts[200] <= 600
    assert gateway.ask("key-enterprise").status == 429
    assert gateway.ask("key-starter").status == 200


def test_connections_waiting_for_a_killed_worker_are_served(start):
    """They are in its queue when it dies, and its replacement answers."""
    gateway = start(workers=1)
    victim = gateway.ask().pid
    os.kill(victim, signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        waiting = [
            stack.enter_context(contextlib.closing(gateway.connect()))
            for _ in range(5)
        ]
        for connection in waiting:
            connection.request(
                "GET", ENDPOINT, headers={"X-API-Key": "key-starter"}
            )
        os.kill(victim, signal.SIGKILL)
        answers = [connection.getresponse() for connection in waiting]
    assert [answer.status for answer in answers] == [200] * 5
    assert str(victim) not in {a.headers["X-Worker-Pid"] for a in answers}


def test_a_worker_that_dies_again_and_again_is_restarted_ever_slower(start):
    gateway = start(workers=1)
    seen = {gateway.ask().pid}
    begun = time.monotonic()
    for _ in range(3):
        for pid in gateway.workers():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: gateway.workers() - seen, "it is restarted")
        seen |= gateway.workers()
    # 100, 200 and 400 ms; the first worker may have lived long enough to be
    # replaced at once.
    assert time.monotonic() - begun >= 0.3
    assert gateway.ask("key-starter").status == 200


def test_workers_end_with_their_supervisor(start):
    gateway = start()
    workers = gateway.workers()
    assert len(workers) == 2
    assert gateway.stop(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not any(map(alive, workers)), "the workers end")
    with pytest.raises(ConnectionRefusedError):
        gateway.ask()


# --- orderly ends ---


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_status_0_and_without_a_word(start, how):
    gateway = start()
    workers = gateway.workers()
    assert gateway.stop(how) == 0
    assert not any(map(alive, workers))
    assert gateway.log.read_text() == ""


def test_ctrl_c_which_reaches_the_workers_too_ends_it_with_status_0(start):
    gateway = start(workers=4)
    for pid in gateway.workers():
        os.kill(pid, signal.SIGINT)
    assert gateway.stop(signal.SIGINT) == 0


def test_requests_in_progress_are_answered_before_the_end(start):
    gateway = start()
    begun = [post_in_two_halves(gateway) for _ in range(6)]
    # Answered, so the workers have seen what was sent before.
    gateway.serving(2)
    gateway.process.send_signal(signal.SIGTERM)

    def refused():
        try:
            gateway.connect().connect()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            # The socket was closed in the middle of this very handshake.
            return False
        return False

    wait_until(refused, "it stops accepting")
    assert gateway.process.poll() is None
    for connection in begun:
        connection.send(b"b")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.headers["Connection"].lower() == "close"
        answer.read()
        connection.close()
    assert gateway.process.wait(PATIENCE_S) == 0


def test_what_was_sent_before_the_signal_is_answered(start):
    """Also when no worker has looked at it yet."""
    gateway = start(workers=1)
    (worker,) = gateway.workers()
    os.kill(worker, signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        waiting = [
            stack.enter_context(contextlib.closing(gateway.connect()))
            for _ in range(20)
        ]
        for connection in waiting:
            connection.request(
                "GET", ENDPOINT, headers={"X-API-Key": "key-starter"}
            )
        gateway.process.send_signal(signal.SIGTERM)
        os.kill(worker, signal.SIGCONT)
        assert {c.getresponse().status for c in waiting} == {200}
    assert gateway.process.wait(PATIENCE_S) == 0


def test_idle_connections_do_not_delay_the_end(start):
    gateway = start()
    with contextlib.ExitStack() as stack:
        # Silent ones, and ones that are kept alive after an answer.
        for spoken in [False, True] * 3:
            connection = stack.enter_context(
                contextlib.closing(gateway.connect())
            )
            connection.connect()
            if spoken:
                connection.request("GET", ENDPOINT)
                connection.getresponse().read()
        begun = time.monotonic()
        assert gateway.stop() == 0
        assert time.monotonic() - begun < 3


def test_it_ends_under_load_with_status_0(start):
    gateway = start()
    stop = threading.Event()

    def load():
        while not stop.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                gateway.ask("key-negotiated")

    threads = [threading.Thread(target=load) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        gateway.serving(2)
        assert gateway.stop() == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_client_that_leaves_in_the_middle_disturbs_nobody(start):
    gateway = start(workers=1)
    for _ in range(5):
        post_in_two_halves(gateway).close()
        with socket.create_connection(("127.0.0.1", gateway.port)) as half:
            half.sendall(b"GET /mave/chat HT")
    assert gateway.ask("key-starter")["X-RateLimit-Remaining"] == "59"
    begun = time.monotonic()
    assert gateway.stop() == 0
    assert time.monotonic() - begun < 3


def test_the_pid_file_is_there_while_it_runs(start, directory):
    path = directory / "pid"
    gateway = start("--pid-file", path)
    assert path.read_text() == f"{gateway.process.pid}\n"
    assert gateway.stop() == 0
    assert not path.exists()
