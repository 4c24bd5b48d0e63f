from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from client_tools import Clock
from mavera_rl.client import Queue, QueueTimeout

OK = {"X-RateLimit-Limit": "2"}


def make(clock: Clock, limit: int | None = None, **options: Any) -> Queue:
    return Queue(limit, clock=clock, wall=clock, wait=clock.wait, **options)


def until(condition: Callable[[], bool]) -> None:
    """Let other threads reach a state they reach without any waiting."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "the threads did not get there"
        time.sleep(0)


def test_requests_within_the_limit_are_not_delayed() -> None:
    clock = Clock()
    queue = make(clock, 3)
    for _ in range(3):
        with queue.slot() as slot:
            slot.answered({}, 200)
    assert clock.now == 1000.0
    assert queue.in_flight == 0


def test_the_next_request_waits_until_a_place_leaves_the_window() -> None:
    clock = Clock()
    queue = make(clock, 1)
    with queue.slot():
        pass
    with queue.slot():
        assert clock.now == 1060.0


def test_a_limit_told_by_the_server_is_kept() -> None:
    clock = Clock()
    queue = make(clock)
    for _ in range(3):
        with queue.slot() as slot:
            slot.answered(OK, 200)
    assert queue.limit == 2
    assert clock.now == 1060.0


def test_a_slot_left_by_an_exception_counts_as_sent_and_frees_its_place() -> None:
    clock = Clock()
    queue = make(clock, 1, max_in_flight=1)
    with pytest.raises(ZeroDivisionError), queue.slot():
        raise ZeroDivisionError
    assert queue.in_flight == 0
    with queue.slot():
        assert clock.now == 1060.0


def test_a_cancelled_slot_gives_its_place_back_exactly() -> None:
    clock = Clock()
    queue = make(clock, 1)
    with queue.slot() as slot:
        slot.cancel()
    with queue.slot():
        assert clock.now == 1000.0


def test_a_429_pauses_the_key() -> None:
    clock = Clock()
    queue = make(clock)
    with queue.slot() as slot:
        answer = slot.answered({"Retry-After": "7"}, 429)
    assert answer.refused and answer.retry_after == 7.0
    with queue.slot():
        assert clock.now == 1007.0


def test_a_retry_after_of_a_redirect_pauses_nothing() -> None:
    clock = Clock()
    queue = make(clock)
    with queue.slot() as slot:
        slot.answered({"Retry-After": "7"}, 301)
    with queue.slot():
        assert clock.now == 1000.0


def test_a_turn_that_cannot_come_in_time_is_refused_at_once() -> None:
    clock = Clock()
    queue = make(clock, 1)
    with queue.slot():
        pass
    with pytest.raises(QueueTimeout, match="60.000 s at the earliest"):
        queue.slot(timeout=30)
    assert clock.now == 1000.0
    assert queue.waiting == 0


def test_a_pause_beyond_the_patience_is_refused_at_once() -> None:
    clock = Clock()
    queue = make(clock)
    queue.pause(100.0)
    with pytest.raises(QueueTimeout) as error:
        queue.slot(patience=99.0)
    assert error.value.paused == 100.0
    assert clock.now == 1000.0


def test_a_timeout_gives_the_place_in_the_queue_back() -> None:
    clock = Clock()
    queue = make(clock, max_in_flight=1)
    held = queue.slot()
    with pytest.raises(QueueTimeout, match="did not come in time"):
        queue.slot(timeout=5)
    held.close()
    with queue.slot(timeout=0):
        pass


def test_an_interrupted_waiter_leaves_the_queue() -> None:
    def interrupt(condition: threading.Condition, seconds: float | None) -> None:
        raise KeyboardInterrupt

    queue = Queue(max_in_flight=1, wait=interrupt)
    held = queue.slot()
    with pytest.raises(KeyboardInterrupt):
        queue.slot()
    held.close()
    assert (queue.waiting, queue.in_flight) == (0, 0)


class Callers:
    """Threads that enter the queue one after the other."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.order: list[int] = []
        self.threads: list[threading.Thread] = []

    def enter(self, front: bool = False, **options: float) -> None:
        number = len(self.threads)

        def body() -> None:
            try:
                with self.queue.slot(front=front, **options) as slot:
                    self.order.append(number)
                    slot.answered({}, 200)
            except QueueTimeout:
                self.order.append(-number)

        thread = threading.Thread(target=body)
        self.threads.append(thread)
        before = self.queue.waiting
        thread.start()
        until(lambda: self.queue.waiting > before or not thread.is_alive())

    def join(self) -> None:
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()


def test_a_later_caller_never_overtakes() -> None:
    queue = make(Clock(), max_in_flight=1)
    held = queue.slot()
    callers = Callers(queue)
    for _ in range(8):
        callers.enter()
    held.close()
    callers.join()
    assert callers.order == list(range(8))


def test_a_request_that_was_sent_back_goes_before_the_others() -> None:
    queue = make(Clock(), max_in_flight=1)
    held = queue.slot()
    callers = Callers(queue)
    callers.enter()
    callers.enter()
    callers.enter(front=True)
    held.close()
    callers.join()
    assert callers.order == [2, 0, 1]


def test_a_newcomer_does_not_overtake_a_waiter_that_was_woken() -> None:
    woken, go_on = threading.Event(), threading.Event()

    def wait(condition: threading.Condition, seconds: float | None) -> None:
        assert condition.wait(10)
        condition.release()
        woken.set()
        assert go_on.wait(10)
        condition.acquire()

    queue = Queue(max_in_flight=1, wait=wait)
    held = queue.slot()
    callers = Callers(queue)
    callers.enter()
    held.close()
    assert woken.wait(10)
    with pytest.raises(QueueTimeout):
        queue.slot(timeout=0)
    go_on.set()
    callers.join()
    assert callers.order == [0]


def test_whoever_takes_a_turn_wakes_the_next() -> None:
    clock = Clock()
    both_in = threading.Barrier(2)

    def wait(condition: threading.Condition, seconds: float | None) -> None:
        if seconds is None:
            assert condition.wait(10)
            return
        while len(queue._waiters) < 2:
            condition.wait(0.001)
        clock.now += seconds

    queue = Queue(2, clock=clock, wall=clock, wait=wait)
    for _ in range(2):
        queue.slot().close()

    def body() -> None:
        with queue.slot():
            both_in.wait(5)  # Neither gives anything back before both are in.

    threads = [threading.Thread(target=body) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert not both_in.broken


def test_a_pause_reaches_those_who_wait_already() -> None:
    clock = Clock()
    queue = make(clock, max_in_flight=1)
    held = queue.slot()
    callers = Callers(queue)
    callers.enter()
    callers.enter(patience=10.0)
    held.answered({"Retry-After": "30"}, 429)
    callers.threads[1].join(10)
    assert callers.order == [-1]
    held.close()
    callers.join()
    assert clock.now == 1030.0


def test_many_threads_never_break_the_window() -> None:
    clock = Clock()
    queue = make(clock, 5, max_in_flight=3)
    sent: list[float] = []
    most = [0]
    lock = threading.Lock()

    def body() -> None:
        for _ in range(10):
            with queue.slot() as slot:
                with lock:
                    sent.append(clock.now)
                    most[0] = max(most[0], queue.in_flight)
                slot.answered({}, 200)

    threads = [threading.Thread(target=body) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    sent.sort()
    assert len(sent) == 80 and most[0] <= 3
    assert all(b - a >= 60.0 for a, b in zip(sent, sent[5:], strict=False))
    assert queue.in_flight == queue.waiting == 0
