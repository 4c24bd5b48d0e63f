from __future__ import annotations

import logging

import pytest

from mavera_rl import errors
from mavera_rl.client import Monitor, Quota


def test_it_warns_once_and_again_only_when_armed_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[int | None] = []
    monitor = Monitor(10, lambda m: calls.append(m.remaining))
    with caplog.at_level(logging.WARNING, "mavera_rl.client"):
        for remaining in (11, 10, 9, 8, 10, 3):
            monitor.update(Quota(60, remaining, 5.0), 100.0)
    assert calls == [9, 3]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert (monitor.limit, monitor.remaining, monitor.reset_at) == (60, 3, 105.0)


def test_what_an_answer_does_not_say_is_kept() -> None:
    monitor = Monitor()
    monitor.update(Quota(60, 30, 5.0), 100.0)
    monitor.update(Quota(), 200.0)
    assert (monitor.limit, monitor.remaining, monitor.reset_at) == (60, 30, 105.0)


def test_a_failing_callback_is_logged_and_goes_no_further(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: Monitor) -> None:
        raise ZeroDivisionError

    Monitor(10, fail).update(Quota(60, 1), 0.0)
    assert "callback failed" in caplog.text


def test_a_negative_threshold_is_refused() -> None:
    with pytest.raises(errors.InvalidOptionError):
        Monitor(-1)
