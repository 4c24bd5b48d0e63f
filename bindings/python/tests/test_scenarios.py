"""The table of scenarios that every language plays, in Python.

``tests/scenarios/make.py``, in the root, says what it is and writes it. An
answer is told as the table tells it, and must have all that the table says.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mavera_rl import (
    ConcurrencyLimited,
    Decision,
    InvalidOptionError,
    Limiter,
    ManualClock,
    Permit,
    UnknownTierError,
)

Json = dict[str, Any]

SCENARIOS = Path(__file__).parents[3] / "tests" / "scenarios"
TABLE: list[Json] = json.loads((SCENARIOS / "scenarios.json").read_text("utf-8"))

OUTCOMES = {
    None: "allowed",
    "rate_limit_exceeded": "limited",
    "concurrency_limit_exceeded": "busy",
    "table_full": "full",
}


def test_the_table_is_what_its_generator_writes() -> None:
    make = SCENARIOS / "make.py"
    subprocess.run([sys.executable, str(make), "--check"], check=True)


@pytest.mark.parametrize("scenario", TABLE, ids=lambda scenario: scenario["name"])
def test_python_answers_as_the_table_says(scenario: Json) -> None:
    player = Player(scenario["options"])
    for number, step in enumerate(scenario["steps"]):
        expect = step["expect"]
        got = player.play(step)
        if isinstance(expect, dict) and isinstance(got, dict):
            got = {name: got.get(name, "not told") for name in expect}
        assert got == expect, f"step {number}: {step}"


class Player:
    """A limiter, and the permits that a scenario has taken by name."""

    def __init__(self, options: Json) -> None:
        self.clock = ManualClock()
        self.limiter = Limiter(clock=self.clock, **{"keys": 1000, **options})
        self.permits: dict[str | None, Permit] = {}

    def play(self, step: Json) -> Json | list[Any]:
        if "at" in step:
            self.clock.set(step["at"] / 1000)
        try:
            answer: Json | list[Any] = getattr(self, step["do"])(step)
        except UnknownTierError:
            return {"error": "tier"}
        except InvalidOptionError as error:
            # The message begins with the number that is wrong.
            return {"error": str(error).split()[0].removesuffix("_ms")}
        return answer

    def check(self, step: Json) -> Json:
        cost = step.get("cost")
        return told(self.limiter.check(key(step["key"]), cost=cost, **policy(step)))

    def peek(self, step: Json) -> Json:
        return told(self.limiter.peek(key(step["key"]), **policy(step)))

    def check_many(self, step: Json) -> list[Any]:
        keys = [key(one) for one in step["keys"]]
        answers = map(told, self.limiter.check_many(keys, **policy(step)))
        said = ("outcome", "used", "remaining", "retry_after_ms")
        return [[answer[name] for name in said] for answer in answers]

    def admit(self, step: Json) -> Json:
        admission = self.limiter.admit(key(step["key"]), step["target"], **policy(step))
        permit = admission.permit
        if permit is not None:
            self.permits[step.get("permit")] = permit
        holds = permit is not None and not permit.untracked
        return {**told(admission.decision), "permit": holds}

    def acquire(self, step: Json) -> Json:
        try:
            permit = self.limiter.permit(
                key(step["key"]), step["class"], max=step["max"]
            )
        except ConcurrencyLimited as refused:
            return {"outcome": "full" if refused.in_flight is None else "busy"}
        self.permits[step.get("permit")] = permit
        return {"outcome": "allowed"}

    def release(self, step: Json) -> Json:
        return {"released": self.permits[step["permit"]].release()}

    def in_flight(self, step: Json) -> Json:
        held = self.limiter.in_flight(key(step["key"]), step["class"])
        return {"in_flight": held}


def told(decision: Decision) -> Json:
    return {
        "outcome": OUTCOMES[decision.reason],
        "limit": decision.limit,
        "used": decision.used,
        "remaining": decision.remaining,
        "retry_after_ms": milliseconds(decision.retry_after),
        # Only the header has it.
        "retry_after_s": int(decision.headers().get("Retry-After", 0)),
        "reset_after_ms": milliseconds(decision.reset_after),
        "untracked": decision.untracked,
        "in_flight": decision.in_flight,
        "max_in_flight": decision.max_in_flight,
        "endpoint": decision.endpoint,
        "headers": {
            "legacy": decision.headers("legacy"),
            "ietf": decision.headers("ietf"),
        },
        "body": decision.body().decode(),
    }


def milliseconds(seconds: float) -> int:
    whole = round(seconds * 1000)
    assert whole == pytest.approx(seconds * 1000)
    return whole


def policy(step: Json) -> Json:
    if "tier" in step:
        return {"tier": step["tier"]}
    return {"limit": step["limit"], "window": step["window_ms"] / 1000}


def key(value: str | Json) -> str | bytes:
    return value if isinstance(value, str) else bytes.fromhex(value["hex"])
