from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest

from client_tools import Clock, cancel_at_every_await, run
from mavera_rl import errors
from mavera_rl.client import (
    AsyncBatcher,
    Batcher,
    BatchError,
    QueueTimeout,
    WrongLoopError,
)


class Receiver:
    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def send(self, messages: list[str]) -> Sequence[str | Exception]:
        self.batches.append(list(messages))
        return [ValueError(m) if m.startswith("bad") else m.upper() for m in messages]

    async def asend(self, messages: list[str]) -> Sequence[str | Exception]:
        await asyncio.sleep(1)
        return self.send(messages)


def ask(batcher: Batcher[str, str], *messages: str) -> dict[str, object]:
    """Submit from one thread each, in order of arrival."""
    answers: dict[str, object] = {}

    def body(message: str) -> None:
        try:
            answers[message] = batcher.submit(message)
        except Exception as error:
            answers[message] = error

    threads = [threading.Thread(target=body, args=(m,)) for m in messages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    return answers


def test_a_full_batch_goes_at_once_and_each_caller_gets_its_answer() -> None:
    receiver = Receiver()
    batcher = Batcher(receiver.send, max_count=4, max_age=1000)
    names = "abcdefgh"
    assert ask(batcher, *names) == {n: n.upper() for n in names}
    assert sorted(map(len, receiver.batches)) == [4, 4]


def test_a_batch_goes_when_it_is_old_enough() -> None:
    clock, receiver = Clock(), Receiver()
    batcher = Batcher(receiver.send, max_age=5.0, clock=clock, wait=clock.wait)
    assert batcher.submit("a") == "A"
    assert clock.now == 1005.0


def test_an_exception_among_the_answers_goes_to_its_caller_alone() -> None:
    batcher = Batcher(Receiver().send, max_count=2, max_age=1000)
    answers = ask(batcher, "a", "bad")
    assert answers["a"] == "A"
    assert isinstance(answers["bad"], ValueError)


def test_what_send_raises_goes_to_all() -> None:
    def send(messages: list[str]) -> list[str]:
        raise OSError("down")

    answers = ask(Batcher(send, max_count=3, max_age=1000), "a", "b", "c")
    assert all(isinstance(answer, OSError) for answer in answers.values())


def test_a_wrong_number_of_answers_is_told_to_all() -> None:
    def send(messages: list[str]) -> list[str]:
        return ["only one"]

    answers = ask(Batcher(send, max_count=2, max_age=1000), "a", "b")
    for answer in answers.values():
        assert isinstance(answer, BatchError)
        assert "1 answers to 2 messages" in str(answer)


def test_an_interrupted_sender_leaves_nobody_waiting() -> None:
    def send(messages: list[str]) -> list[str]:
        raise SystemExit

    caught: list[BaseException] = []

    def body(message: str) -> None:
        try:
            batcher.submit(message)
        except BaseException as error:
            caught.append(error)

    batcher = Batcher(send, max_count=2, max_age=1000)
    threads = [threading.Thread(target=body, args=(m,)) for m in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(type(error).__name__ for error in caught) == [
        "BatchError",
        "SystemExit",
    ]
    batcher.close()


def test_sizes_bound_a_batch_and_an_oversized_message_goes_alone() -> None:
    clock, receiver = Clock(), Receiver()
    batcher = Batcher(
        receiver.send, max_size=3, max_age=5.0, clock=clock, wait=clock.wait
    )
    assert batcher.submit("oversized") == "OVERSIZED"
    assert clock.now == 1000.0
    assert batcher.submit("ab") == "AB"
    assert receiver.batches == [["oversized"], ["ab"]]


def test_a_leader_that_leaves_withdraws_its_message_and_hands_on_the_lead() -> None:
    receiver = Receiver()
    clock = Clock()
    first = threading.Event()

    def wait(condition: threading.Condition, seconds: float | None) -> None:
        if seconds is None:
            assert condition.wait(10)
        elif seconds < 1:  # The leader's own timeout: after the other is in.
            first.set()
            while len(batcher._open.batch.entries) < 2:
                condition.wait(0.001)
            clock.now += seconds
        else:
            clock.now += seconds

    batcher: Any = Batcher(receiver.send, max_age=50.0, clock=clock, wait=wait)
    results: list[object] = []

    def lead() -> None:
        with pytest.raises(QueueTimeout):
            batcher.submit("a", timeout=0.5)

    def follow() -> None:
        assert first.wait(10)
        results.append(batcher.submit("b"))

    threads = [threading.Thread(target=t) for t in (lead, follow)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
        assert not thread.is_alive()
    assert results == ["B"]
    assert receiver.batches == [["b"]]


def test_close_sends_what_waits_and_refuses_what_comes_later() -> None:
    receiver = Receiver()
    with Batcher(receiver.send, max_age=1000) as batcher:
        results: list[str] = []
        thread = threading.Thread(target=lambda: results.append(batcher.submit("a")))
        thread.start()
        end = time.monotonic() + 10
        while batcher._open is None and time.monotonic() < end:
            time.sleep(0)
    thread.join(10)
    assert results == ["A"]
    with pytest.raises(errors.ClosedError):
        batcher.submit("b")


@pytest.mark.parametrize(
    "options", [{"max_count": 0}, {"max_size": 0}, {"max_age": -1.0}]
)
def test_a_number_out_of_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidOptionError):
        Batcher(Receiver().send, **options)


def test_asyncio_callers_share_a_batch() -> None:
    async def main() -> None:
        receiver = Receiver()
        async with AsyncBatcher(receiver.asend, max_count=3) as batcher:
            answers = await asyncio.gather(
                *(batcher.submit(m) for m in ("a", "b", "bad", "c")),
                return_exceptions=True,
            )
        assert answers[:2] == ["A", "B"] and answers[3] == "C"
        assert isinstance(answers[2], ValueError)
        assert receiver.batches == [["a", "b", "bad"], ["c"]]

    run(main())


def test_asyncio_batches_go_when_old_enough() -> None:
    async def main() -> None:
        batcher = AsyncBatcher(Receiver().asend, max_age=5.0)
        assert await batcher.submit("a") == "A"
        assert asyncio.get_running_loop().time() == pytest.approx(1006.0)

    run(main())


def test_asyncio_failures_of_send_go_to_all() -> None:
    async def short(messages: list[str]) -> list[str]:
        return []

    async def main() -> None:
        batcher = AsyncBatcher(short, max_count=2)
        answers = await asyncio.gather(
            batcher.submit("a"), batcher.submit("b"), return_exceptions=True
        )
        assert [type(a) for a in answers] == [BatchError, BatchError]

    run(main())


def test_a_cancelled_callers_message_is_withdrawn() -> None:
    async def main() -> None:
        receiver = Receiver()
        batcher = AsyncBatcher(receiver.asend, max_age=5.0)
        gone = asyncio.ensure_future(batcher.submit("gone"))
        kept = asyncio.ensure_future(batcher.submit("kept"))
        await asyncio.sleep(1)
        gone.cancel()
        assert await kept == "KEPT"
        assert receiver.batches == [["kept"]]

    run(main())


def test_cancelling_at_every_await_leaves_the_batcher_usable() -> None:
    def scenario() -> tuple[Coroutine[Any, Any, Any], Callable[[], Awaitable[None]]]:
        receiver = Receiver()
        batcher = AsyncBatcher(receiver.asend, max_count=3)

        async def victim() -> None:
            await batcher.submit("a")
            await batcher.submit("b")
            await batcher.aclose()

        async def check() -> None:
            if not batcher._closed:
                assert await batcher.submit("c") == "C"
            await batcher.aclose()
            assert not batcher._futures and not batcher._tasks
            assert batcher._open is None and batcher._timer is None

        return victim(), check

    assert cancel_at_every_await(scenario) >= 4


def test_another_loop_is_refused_clearly() -> None:
    batcher = AsyncBatcher(Receiver().asend)
    run(batcher.submit("a"))
    with pytest.raises(WrongLoopError):
        run(batcher.submit("a"))
