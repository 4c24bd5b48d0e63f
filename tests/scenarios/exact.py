"""An exact log of every unit and permit, and scenarios that it answers.

Brute force: what the library is measured against must be obvious. Nothing here
calls it.
"""

from __future__ import annotations

import json
from typing import Any

# No multiple of a second or of any quantum.
T0 = 1_700_000_000_003
MINUTE = 60_000

TIERS = {"starter": 60, "basic": 120, "professional": 240, "enterprise": 600}
ENDPOINTS = {"/mave/chat": 10, "/focus-groups": 5, "/video-analyses": 3}
MAX_LIMIT = 1 << 23

# Room in the smallest region for keys, and for keys with requests in flight.
WAYS = 256
PERMIT_WAYS = 64

Json = dict[str, Any]


def seconds(ms: int) -> int:
    return -(-ms // 1000)


class Log:
    """The units of one key and window."""

    def __init__(self, window: int) -> None:
        self.window = window
        # When it leaves the window is counted from `time`. `seen` is what the
        # caller's clock showed.
        self.units: list[tuple[int, int, int]] = []

    def judged(self, now: int) -> int:
        """Time does not go back behind an admission."""
        return max([now] + [seen for _, seen, _ in self.units])

    def used(self, now: int) -> int:
        return sum(n for time, _, n in self.units if time + self.window > now)

    def oldest_leaves(self, now: int) -> int | None:
        leaves = [time + self.window for time, _, _ in self.units]
        return min((at for at in leaves if at > now), default=None)

    def fits_at(self, now: int, cost: int, limit: int) -> int:
        leaves = sorted(time + self.window for time, _, _ in self.units)
        for at in [now, *leaves]:
            if at >= now and self.used(at) + cost <= limit:
                return at
        raise AssertionError("no wait would be enough")

    def admit(self, time: int, now: int, cost: int) -> None:
        judged = self.judged(now)
        self.units = [u for u in self.units if u[0] + self.window > judged]
        newest = max([time] + [u[0] for u in self.units])
        self.units.append((newest, judged, cost))

    def idle(self, now: int) -> bool:
        return all(time + MINUTE <= now for time, _, _ in self.units)


class Scenario:
    """A region's options, and the steps so far."""

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self.options = options
        self.steps: list[Json] = []
        self.cells = options.get("cells", 64)
        self.permit_cells = options.get("permit_cells", 16)
        self.allow_full = options.get("on_full") == "allow"
        self.logs: dict[tuple[bytes, int], Log] = {}
        self.flights: dict[tuple[bytes, str], set[str]] = {}
        self.held: dict[str, tuple[bytes, str]] = {}
        # The first reading of the clock, from which quanta are counted.
        self.first: int | None = None

    # What the region would answer.

    def room(self, key: bytes, window: int, now: int) -> bool:
        if (key, window) in self.logs or self.options.get("keys") != 1:
            return True
        if len(self.logs) < WAYS:
            return True
        for place, log in self.logs.items():
            if log.idle(now):
                del self.logs[place]
                return True
        return False

    def stamp(self, now: int, limit: int, window: int) -> int:
        """The end of the quantum: exact for limits of at most cells - 4."""
        quanta = self.cells - 4
        quantum = 1
        while limit > quanta and quantum * quanta < window:
            quantum *= 2
        assert self.first is not None
        return self.first + (now - self.first | quantum - 1)

    def quota(
        self, now: int, key: bytes, limit: int, window: int, cost: int, charge: bool
    ) -> Json:
        self.first = now if self.first is None else self.first
        answer: Json = {"outcome": "allowed", "limit": limit, "used": 0}
        answer |= {"retry_after_ms": 0, "reset_after_ms": 0, "untracked": False}
        charge = charge and cost > 0
        if charge and not self.room(key, window, now):
            if self.allow_full:
                answer |= {"used": cost, "untracked": True}
            else:
                answer |= {"outcome": "full", "retry_after_ms": 1000}
            return self.rest(answer)
        log = self.logs.get((key, window), Log(window))
        judged = log.judged(now)
        answer["used"] = log.used(judged)
        if answer["used"] + cost > limit:
            at = log.fits_at(judged, cost, limit)
            answer |= {"outcome": "limited", "retry_after_ms": at - now}
            return self.rest(answer)
        if charge:
            self.logs[key, window] = log
            log.admit(self.stamp(judged, limit, window), now, cost)
            answer["used"] += cost
        leaves = log.oldest_leaves(judged)
        answer["reset_after_ms"] = 0 if leaves is None else leaves - now
        return self.rest(answer)

    @staticmethod
    def rest(answer: Json) -> Json:
        """What follows from outcome, used and the wait."""
        left = max(0, answer["limit"] - answer["used"])
        answer["remaining"] = 0 if answer["outcome"] == "full" else left
        answer["retry_after_s"] = seconds(answer["retry_after_ms"])
        if answer["outcome"] != "allowed":
            answer["reset_after_ms"] = answer["retry_after_s"] * 1000
        answer |= {"in_flight": 0, "max_in_flight": 0, "endpoint": None}
        return answer

    def texts(self, answer: Json, at: int, window: int) -> Json:
        """Headers and body of a response that tells of an answer."""
        most, held = answer["max_in_flight"], answer["in_flight"]
        policy = f'"default";q={answer["limit"]};w={seconds(window)}'
        reset = answer["reset_after_ms"]
        state = f'"default";r={answer["remaining"]};t={seconds(reset)}'
        if most:
            policy += f', "in-flight";q={most};qu="concurrent-requests"'
            state += f', "in-flight";r={most - held}'
        legacy = {
            "X-RateLimit-Limit": str(answer["limit"]),
            "X-RateLimit-Remaining": str(answer["remaining"]),
            "X-RateLimit-Reset": str(seconds(at + reset)),
        }
        ietf = {"RateLimit-Policy": policy, "RateLimit": state}
        body = ""
        if answer["outcome"] != "allowed":
            wait = str(answer["retry_after_s"])
            legacy["Retry-After"] = ietf["Retry-After"] = wait
            message, code = "Rate limit exceeded.", "rate_limit_exceeded"
            if answer["outcome"] == "busy":
                code = "concurrency_limit_exceeded"
                message = (
                    f"Too many requests in flight on {answer['endpoint']}: "
                    f"at most {most} at a time."
                )
            error = {
                "message": f"{message} Please retry after {wait} seconds.",
                "type": "rate_limit_error",
                "code": code,
                "param": None,
            }
            body = json.dumps({"error": error}, separators=(",", ":"))
        return {"headers": {"legacy": legacy, "ietf": ietf}, "body": body}

    # Steps.

    def ask(
        self,
        do: str,
        at: int,
        key: str | bytes,
        limit: int | str,
        window: int = MINUTE,
        cost: int | None = None,
        told: bool | None = None,
    ) -> Json:
        step, number = self.request(do, T0 + at, key, limit, window)
        if cost is not None:
            step["cost"] = cost
        cost = 1 if cost is None else cost
        answer = self.quota(
            T0 + at, raw(key), number, window, cost, charge=do == "check"
        )
        self.tell(step, answer, window, told)
        for name in ("in_flight", "max_in_flight", "endpoint"):
            del step["expect"][name]
        return answer

    def check(self, *args: Any, **more: Any) -> Json:
        return self.ask("check", *args, **more)

    def peek(self, *args: Any, **more: Any) -> Json:
        return self.ask("peek", *args, **more)

    def check_many(
        self, at: int, keys: list[str | bytes], limit: int | str, window: int = MINUTE
    ) -> None:
        step, number = self.request("check_many", T0 + at, None, limit, window)
        step["keys"] = [written(key) for key in keys]
        said = ("outcome", "used", "remaining", "retry_after_ms")
        step["expect"] = []
        for key in keys:
            answer = self.quota(T0 + at, raw(key), number, window, 1, charge=True)
            step["expect"].append([answer[name] for name in said])
        self.steps.append(step)

    def admit(
        self,
        at: int,
        key: str | bytes,
        limit: int | str,
        target: str,
        permit: str | None = None,
        *,
        under: str | None = None,
        window: int = MINUTE,
        told: bool | None = None,
    ) -> Json:
        """`under`: the endpoint that the target must fall under."""
        step, number = self.request("admit", T0 + at, key, limit, window)
        step["target"] = target
        place = (raw(key), under or "")
        held = self.flights.get(place, set())
        most = ENDPOINTS[under] if under else 0
        full = under is not None and self.permits_full(place)
        untracked = full and self.allow_full
        busy = under is not None and len(held) >= most
        charge = not busy and (not full or untracked)
        answer = self.quota(T0 + at, raw(key), number, window, 1, charge)
        takes = under is not None and charge and answer["outcome"] == "allowed"
        if busy or (full and not untracked):
            answer["outcome"] = "busy" if busy else "full"
            answer["retry_after_ms"] = max(answer["retry_after_ms"], 1000)
            answer = self.rest(answer)
        elif takes and not untracked:
            assert permit is not None
            self.take(permit, place)
        answer["untracked"] |= untracked and takes
        if under:
            count = len(self.flights.get(place, ()))
            answer |= {"in_flight": count, "max_in_flight": most, "endpoint": under}
        if permit is not None:
            step["permit"] = permit
        self.tell(step, answer, window, told)
        step["expect"]["permit"] = takes and not untracked
        return answer

    def acquire(
        self, key: str | bytes, name: str, most: int, permit: str | None = None
    ) -> None:
        place = (raw(key), name.removesuffix("/"))
        outcome = "allowed"
        if len(self.flights.get(place, ())) >= most:
            outcome = "busy"
        elif self.permits_full(place):
            outcome = "allowed" if self.allow_full else "full"
        else:
            assert permit is not None
            self.take(permit, place)
        step = {"do": "acquire", "key": written(key), "class": name, "max": most}
        if permit is not None:
            step["permit"] = permit
        self.steps.append(step | {"expect": {"outcome": outcome}})

    def release(self, permit: str) -> None:
        place = self.held.pop(permit, None)
        if place is not None:
            self.flights[place].discard(permit)
        expect = {"released": place is not None}
        self.steps.append({"do": "release", "permit": permit, "expect": expect})

    def in_flight(self, key: str | bytes, name: str) -> None:
        count = len(self.flights.get((raw(key), name.removesuffix("/")), ()))
        step = {"do": "in_flight", "key": written(key), "class": name}
        self.steps.append(step | {"expect": {"in_flight": count}})

    def error(self, kind: str, do: str, at: int | None = None, **step: Any) -> None:
        time = {} if at is None else {"at": T0 + at}
        self.steps.append({"do": do, **time, **step, "expect": {"error": kind}})

    def only(self, *names: str) -> None:
        """Of the last step's answer no more than this can be told."""
        expect = self.steps[-1]["expect"]
        self.steps[-1]["expect"] = {name: expect[name] for name in names}

    # Parts of steps.

    def request(
        self, do: str, at: int, key: str | bytes | None, limit: int | str, window: int
    ) -> tuple[Json, int]:
        step: Json = {"do": do, "at": at}
        if key is not None:
            step["key"] = written(key)
        if isinstance(limit, str):
            assert window == MINUTE
            return step | {"tier": limit}, TIERS[limit]
        return step | {"limit": limit, "window_ms": window}, limit

    def tell(self, step: Json, answer: Json, window: int, told: bool | None) -> None:
        expect = dict(answer)
        # Refusals are told of in full, and whatever a scenario begins with.
        refused = answer["outcome"] != "allowed"
        if told or (told is None and (refused or not self.steps)):
            expect |= self.texts(answer, step["at"], window)
        step["expect"] = expect
        self.steps.append(step)

    def permits_full(self, place: tuple[bytes, str]) -> bool:
        if self.options.get("permit_keys") != 1 or self.flights.get(place):
            return False
        return sum(1 for held in self.flights.values() if held) >= PERMIT_WAYS

    def take(self, permit: str, place: tuple[bytes, str]) -> None:
        assert permit not in self.held, f"{permit} is held"
        self.held[permit] = place
        self.flights.setdefault(place, set()).add(permit)

    def json(self) -> str:
        head = {"name": self.name, "options": self.options}
        lines = ",\n    ".join(
            json.dumps(step, ensure_ascii=False) for step in self.steps
        )
        return json.dumps(head)[:-1] + ', "steps": [\n    ' + lines + "\n  ]}"


def raw(key: str | bytes) -> bytes:
    return key.encode() if isinstance(key, str) else key


def written(key: str | bytes) -> str | Json:
    return key if isinstance(key, str) else {"hex": key.hex()}
