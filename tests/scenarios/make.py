#!/usr/bin/env python3
"""Writes scenarios.json: what every face of the library must answer.

    make.py            writes the table
    make.py --check    fails if the table is not what it would write

The answers come from an exact log, exact.py, that keeps every unit with its
time. It shares no code with the library, and must not call it: a table recorded
from the library would only say that it does what it does.

A scenario has a name, a region's options and steps. Times are Unix
milliseconds; the clock is the caller's. An answer has what it must be, and
nothing of what may be one thing or another. What only some faces can ask (a
batch of several policies, a peek at more than one unit, an empty key) is none
of the table's business. Where an answer is a list, it is outcome, used,
remaining and the wait in milliseconds.
"""

from __future__ import annotations

import pathlib
import sys

from exact import (
    ENDPOINTS,
    MAX_LIMIT,
    MINUTE,
    PERMIT_WAYS,
    WAYS,
    Json,
    Scenario,
)

TABLE = pathlib.Path(__file__).with_name("scenarios.json")


# The tiers of the contract.


def starter() -> Scenario:
    s = Scenario("a starter's sixty requests are admitted and the next is not")
    for n in range(60):
        s.admit(n * 250, "key", "starter", "/models")
    at = 60 * 250
    wait = s.admit(at, "key", "starter", "/models")["retry_after_ms"]
    assert wait == MINUTE - at
    s.admit(at + wait - 1, "key", "starter", "/models")
    s.admit(at + wait, "key", "starter", "/models")
    s.admit(at + wait, "key", "starter", "/models")
    return s


def basic() -> Scenario:
    s = Scenario("a basic key's hundred and twenty are counted one by one")
    for n in range(120):
        s.check(n * 33, "key", "basic")
    wait = s.check(4000, "key", "basic")["retry_after_ms"]
    s.check(4000 + wait - 1, "key", "basic")
    s.check(4000 + wait, "key", "basic")
    return s


def professional() -> Scenario:
    s = Scenario("a professional's 240 are exact with 256 cells", cells=256)
    for n in range(12):
        s.check_many(n * 7, ["key"] * 20, "professional")
    s.check_many(84, ["key"] * 3, "professional")
    assert s.check(84, "key", "professional")["retry_after_ms"] == MINUTE - 84
    s.check(MINUTE - 1, "key", "professional")
    s.check(MINUTE, "key", "professional", cost=20)
    s.check(MINUTE, "key", "professional")
    s.check(MINUTE + 7, "key", "professional", cost=20, told=True)
    s.check(MINUTE + 7, "key", "professional")
    return s


def enterprise() -> Scenario:
    s = Scenario("an enterprise's six hundred are counted to the end in batches")
    for n in range(30):
        s.check_many(n * 50, ["key"] * 20, "enterprise")
    s.check_many(1500, ["key"] * 20, "enterprise")
    wait = s.check(1500, "key", "enterprise")["retry_after_ms"]
    s.check(1500 + wait - 1, "key", "enterprise")
    s.check(1500 + wait, "key", "enterprise", told=True)
    return s


# Time.


def to_the_millisecond() -> Scenario:
    s = Scenario("the wait that is told is enough and a millisecond less is not")
    at = 0
    for gap in [0, 1, 1, 13, 500, 7, 0, 1999, 1, 3]:
        at += gap
        s.check(at, "key", 10, 10_000)
    for _ in range(12):
        wait = s.check(at, "key", 10, 10_000)["retry_after_ms"]
        at += wait
        if wait > 1:
            s.check(at - 1, "key", 10, 10_000)
        s.check(at, "key", 10, 10_000, told=True)
    return s


def border() -> Scenario:
    s = Scenario("a limit of cells less four is exact and one more is not", cells=8)
    for limit in [4, 5]:
        key = f"limit-{limit}"
        for n in range(limit):
            s.check(100 + n, key, limit)
        wait = s.check(110, key, limit)["retry_after_ms"]
        # 16384 ms is the least power of two of which four cover a minute.
        assert wait == MINUTE - 10 + (0 if limit == 4 else 16383)
        s.check(110 + wait - 1, key, limit)
        s.check(110 + wait, key, limit, told=True)
    return s


def quanta() -> Scenario:
    s = Scenario("above the border a wait is at most a quantum longer")
    # What is spent in one quantum of 1024 ms leaves at its end.
    for at, cost in [(0, 20), (1000, 20), (1023, 20), (1024, 20), (2100, 40)]:
        s.check(at, "key", 120, cost=cost, told=True)
    wait = s.check(2100, "key", 120)["retry_after_ms"]
    assert wait == MINUTE + 1023 - 2100
    s.check(MINUTE + 1022, "key", 120)
    s.check(MINUTE + 1023, "key", 120, cost=60, told=True)
    s.check(MINUTE + 1023, "key", 120)
    s.check(MINUTE + 2047, "key", 120, cost=20, told=True)
    s.check(MINUTE + 3070, "key", 120)
    s.check(MINUTE + 3071, "key", 120, cost=40, told=True)
    return s


def short_windows() -> Scenario:
    s = Scenario("windows of a few milliseconds are windows all the same")
    for window in [1, 7, 250]:
        for at in [1000, 1000, 1000 + window - 1, 1000 + window, 1000 + 2 * window]:
            s.check(at, "key", 2, window)
    return s


def sliding() -> Scenario:
    s = Scenario("no span of a window holds more than the limit")
    # Half at the end of a minute and half at the beginning of the next.
    s.check(59_000, "key", 60, cost=60)
    s.check(60_000, "key", 60)
    s.check(61_000, "key", 60, cost=30)
    s.check(118_999, "key", 60)
    s.check(119_000, "key", 60, cost=60)
    return s


def backwards() -> Scenario:
    s = Scenario("a clock that steps back admits no more")
    s.check(0, "key", 3, 10_000)
    s.check(12_000, "key", 3, 10_000)
    # As if it were 12 s still.
    s.check(5000, "key", 3, 10_000, told=True)
    s.check(4000, "key", 3, 10_000, told=True)
    s.check(3000, "key", 3, 10_000)
    s.peek(3000, "key", 3, 10_000)
    s.check(21_999, "key", 3, 10_000)
    s.check(22_000, "key", 3, 10_000, cost=3, told=True)
    return s


def backwards_in_quanta() -> Scenario:
    s = Scenario("a clock that steps back is strict above the border too")
    s.check(5000, "key", 100, cost=50)
    s.check(1000, "key", 100, cost=50, told=True)
    s.check(0, "key", 100)
    wait = s.check(5000, "key", 100)["retry_after_ms"]
    s.check(5000 + wait - 1, "key", 100)
    s.check(5000 + wait, "key", 100, cost=100, told=True)
    return s


# Limits that change.


def raised() -> Scenario:
    s = Scenario("a raised limit counts what was spent")
    s.check(0, "key", 10, cost=10)
    s.check(1, "key", 10)
    s.check(1, "key", 30, told=True)
    s.check(2, "key", 30, cost=19)
    s.check(3, "key", 30)
    s.check(MINUTE - 1, "key", 30)
    s.check(MINUTE, "key", 30, cost=10, told=True)
    return s


def upgraded() -> Scenario:
    s = Scenario("a starter that becomes enterprise keeps what it spent")
    s.check(0, "key", "starter", cost=40)
    s.check(20, "key", "starter", cost=20)
    s.check(30, "key", "starter")
    s.check(30, "key", "enterprise", told=True)
    s.check(2000, "key", "enterprise", cost=539)
    s.check(2000, "key", "enterprise")
    # The starter's units were exact, and leave so.
    s.check(MINUTE, "key", "enterprise", cost=40, told=True)
    s.check(MINUTE + 20, "key", "enterprise", cost=20, told=True)
    s.check(MINUTE + 20, "key", "enterprise")
    return s


def folded() -> Scenario:
    s = Scenario("sixty times one unit weigh no less under a limit of six hundred")
    for n in range(60):
        s.check(n, "key", 60)
    s.check(60, "key", 60)
    s.peek(60, "key", 600, told=True)
    for n in range(8):
        s.check(100 + n * 1024, "key", 600)
        # The ring has too few cells now to know each unit's time.
        s.only("outcome", "limit", "used", "remaining")
    s.peek(MINUTE - 1, "key", 600)
    s.only("outcome", "limit", "used", "remaining")
    # At the end of the quantum they are gone for certain.
    s.peek(MINUTE + 1023, "key", 600, told=True)
    s.check(MINUTE + 1023, "key", 600, cost=593)
    s.check(MINUTE + 1023, "key", 600)
    return s


def lowered() -> Scenario:
    s = Scenario("a lowered limit waits until enough has left")
    s.check(0, "key", 10, 10_000, cost=3)
    s.check(1000, "key", 10, 10_000, cost=3)
    s.check(2000, "key", 10, 10_000, cost=3)
    s.check(2000, "key", 5, 10_000)
    # Even nothing is more than what is left.
    s.check(2000, "key", 5, 10_000, cost=0)
    s.check(10_000, "key", 5, 10_000)
    s.check(10_999, "key", 5, 10_000)
    s.check(11_000, "key", 5, 10_000, told=True)
    s.check(11_000, "key", 5, 10_000, cost=2)
    s.check(11_000, "key", 10, 10_000, told=True)
    return s


def downgraded() -> Scenario:
    s = Scenario("an enterprise key that becomes a starter spends nothing more")
    s.check(0, "key", "enterprise", cost=100)
    s.check(3000, "key", "enterprise", cost=50)
    s.check(3001, "key", "starter")
    s.check(MINUTE + 1022, "key", "starter")
    s.check(MINUTE + 1023, "key", "starter", told=True)
    s.check(MINUTE + 1023, "key", "starter", cost=9)
    s.check(MINUTE + 1023, "key", "starter")
    return s


# Keys, windows and costs.


def apart() -> Scenario:
    s = Scenario("keys do not know of each other, and neither do windows")
    for key in ["a", "b", "ab"]:
        s.check(0, key, 2)
        s.check(0, key, 2)
        s.check(0, key, 2)
    s.check(0, "a", 2, 59_999)
    s.check(0, "a", 2, 30_000, cost=2)
    s.check(0, "a", 2, 30_000)
    s.check(30_000, "a", 2, 30_000)
    s.check(30_000, "a", 2)
    return s


def costs() -> Scenario:
    s = Scenario("a cost is charged whole or not at all")
    s.check(0, "key", 10, 10_000, cost=4)
    s.check(1000, "key", 10, 10_000, cost=4)
    s.check(2000, "key", 10, 10_000, cost=3)
    s.check(2000, "key", 10, 10_000, cost=10)
    s.check(2000, "key", 10, 10_000, cost=2, told=True)
    s.check(9999, "key", 10, 10_000)
    s.check(10_000, "key", 10, 10_000, cost=5)
    s.check(10_000, "key", 10, 10_000, cost=4)
    return s


def nothing_charged() -> Scenario:
    s = Scenario("a cost of nothing and a peek charge nothing")
    s.peek(0, "key", 2)
    s.check(0, "key", 2, cost=0, told=True)
    s.check(0, "key", 2, told=True)
    s.peek(500, "key", 2, told=True)
    s.check(500, "key", 2, cost=0, told=True)
    s.check(500, "key", 2)
    s.peek(500, "key", 2)
    s.check(500, "key", 2, cost=0, told=True)
    s.check(MINUTE, "key", 2, cost=0)
    s.peek(MINUTE + 500, "key", 2)
    s.check(0, "other", 0, cost=0)
    return s


def errors() -> Scenario:
    s = Scenario("a call that makes no sense is an error and charges nothing")
    s.check(0, "key", 5)
    minute = {"key": "key", "window_ms": MINUTE}
    s.error("cost", "check", 0, **minute, limit=5, cost=6)
    s.error("cost", "check", 0, **minute, limit=0, cost=1)
    s.error("cost", "peek", 0, **minute, limit=0)
    s.error("limit", "check", 0, **minute, limit=MAX_LIMIT + 1, cost=1)
    s.error("window", "check", 0, key="key", limit=5, window_ms=MINUTE + 1)
    s.error("window", "peek", 0, key="key", limit=5, window_ms=MINUTE + 1)
    s.error("tier", "check", 0, key="key", tier="gold")
    s.error("tier", "peek", 0, key="key", tier="Starter")
    s.check(0, "key", 5, cost=4)
    s.check(0, "key", 5)
    s.check(0, "greatest", MAX_LIMIT, cost=MAX_LIMIT)
    s.check(0, "greatest", MAX_LIMIT)
    return s


def any_bytes() -> Scenario:
    s = Scenario("a key is any bytes, and text is its UTF-8")
    keys: list[str | bytes] = [b"\0", b"\0\0", b"a\0b", b"a\0", "a", b"\xff\xfe"]
    keys += [bytes(range(256)), b"k" * 300, "k", "schlüssel", "鍵", "a b\"\\'\t"]
    for key in keys:
        s.check(0, key, 1)
    for key in keys:
        s.check(1, key, 1, told=False)
    s.check(2, "schlüssel".encode(), 1)
    s.check(2, b"a", 1)
    return s


def batches() -> Scenario:
    s = Scenario("each of a batch stands for itself, in its order")
    s.check_many(0, ["a", "b", "a", b"\0\xff", "a", "b", "a", "c"], 2)
    s.check_many(0, ["a", "d", "b"], 2)
    s.check_many(10, [f"key-{n % 5}" for n in range(40)], 6, 1000)
    s.check_many(1009, ["key-0", "key-4"], 6, 1000)
    s.check_many(1010, ["key-0", "key-4"], 6, 1000)
    s.check_many(2000, ["e"], "starter")
    return s


# Tables without room.


def fill(s: Scenario, at: int, first: int, last: int) -> None:
    for start in range(first, last, 32):
        keys: list[str | bytes] = [f"key-{n}" for n in range(start, start + 32)]
        s.check_many(at, keys, 60)


def full_denies() -> Scenario:
    s = Scenario("a full table denies new keys and knows the old", keys=1)
    fill(s, 0, 0, WAYS)
    s.check(1, "new", 60)
    s.check(1, "new", 60, cost=7)
    s.check_many(1, ["key-0", "new", "key-255"], 60)
    # It has spent nothing.
    s.peek(1, "new", 60)
    s.check(1, "new", 60, cost=0)
    s.check(MINUTE - 1, "new", 60)
    s.check(MINUTE, "new", 60, told=True)
    return s


def full_allows() -> Scenario:
    s = Scenario(
        "a full table that is told to allows new keys uncounted",
        keys=1,
        on_full="allow",
    )
    fill(s, 0, 0, WAYS)
    for _ in range(3):
        s.check(1, "new", 2, cost=2, told=True)
    s.check(1, "key-0", 60, cost=59)
    s.check(1, "key-0", 60)
    return s


def forgets() -> Scenario:
    s = Scenario("a full table forgets only keys that owe nothing", keys=1)
    fill(s, 0, 0, WAYS // 2)
    fill(s, 1000, WAYS // 2, WAYS)
    s.check(MINUTE - 1, "new", 60)
    fill(s, MINUTE, 1000, 1000 + WAYS // 2)
    s.check(MINUTE, "new", 60)
    s.peek(MINUTE, "key-128", 60)
    s.peek(MINUTE, "key-255", 60)
    return s


# Permits.


def permits() -> Scenario:
    s = Scenario("as many permits are held as may be, and each is given back once")
    for name in "abc":
        s.acquire("key", "jobs", 3, name)
    s.in_flight("key", "jobs")
    s.acquire("key", "jobs", 3)
    s.release("b")
    s.in_flight("key", "jobs")
    s.acquire("key", "jobs", 3, "d")
    # Its place is somebody else's now.
    s.release("b")
    s.in_flight("key", "jobs")
    s.acquire("key", "jobs", 3)
    for name in "acd":
        s.release(name)
        s.release(name)
    s.in_flight("key", "jobs")
    s.acquire("key", "jobs", 3, "e")
    return s


def permits_apart() -> Scenario:
    s = Scenario("permits of other keys and classes are not concerned")
    s.acquire("key", "jobs", 1, "a")
    s.acquire("key", "jobs", 1)
    s.acquire("key", "Jobs", 1, "b")
    s.acquire("key2", "jobs", 1, "c")
    s.acquire(b"\0key", "jobs", 1, "d")
    # A slash at the end is none of the name's.
    s.acquire("key", "jobs/", 1)
    s.in_flight("key", "jobs/")
    s.in_flight("nobody", "jobs")
    # Nor is quota.
    s.check(0, "key", 1)
    s.acquire("key", "/video-analyses", 3, "e")
    s.in_flight("key", "/video-analyses")
    s.admit(0, "key", 2, "/video-analyses/7", "f", under="/video-analyses")
    s.in_flight("key", "/video-analyses")
    return s


def permits_lowered() -> Scenario:
    s = Scenario("what is in flight above a lowered maximum runs out")
    for name in "abcde":
        s.acquire("key", "jobs", 5, name)
    s.acquire("key", "jobs", 2)
    for name in "eca":
        s.release(name)
        s.acquire("key", "jobs", 2)
    s.in_flight("key", "jobs")
    s.release("b")
    s.acquire("key", "jobs", 2, "f")
    s.acquire("key", "jobs", 2)
    s.acquire("key", "jobs", 3, "g")
    s.in_flight("key", "jobs")
    return s


def permits_many() -> Scenario:
    s = Scenario("a region's permit cells are the most there may be", permit_cells=32)
    for n in range(32):
        s.acquire("key", "jobs", 32, f"permit-{n}")
    s.acquire("key", "jobs", 32)
    step: Json = {"key": "key", "class": "jobs"}
    s.error("max", "acquire", **step, max=33)
    s.error("max", "acquire", **step, max=0)
    s.in_flight("key", "jobs")
    return s


def permits_full() -> Scenario:
    s = Scenario("without room for a permit a request is refused", permit_keys=1)
    for n in range(PERMIT_WAYS):
        s.acquire(f"key-{n}", "jobs", 1, f"permit-{n}")
    s.acquire("new", "jobs", 1)
    s.acquire("key-5", "jobs", 1)
    s.admit(0, "new", "starter", "/mave/chat", under="/mave/chat")
    s.admit(0, "new", "starter", "/models", told=True)
    s.release("permit-5")
    s.admit(0, "new", "starter", "/mave/chat", "a", under="/mave/chat")
    return s


def permits_full_allows() -> Scenario:
    s = Scenario(
        "without room for a permit a request is allowed uncounted if told to",
        permit_keys=1,
        on_full="allow",
    )
    for n in range(PERMIT_WAYS):
        s.acquire(f"key-{n}", "jobs", 1, f"permit-{n}")
    for _ in range(4):
        s.admit(0, "new", "starter", "/video-analyses", under="/video-analyses")
    s.in_flight("new", "/video-analyses")
    s.acquire("key-5", "jobs", 1)
    return s


# Both in one call.


def busy() -> Scenario:
    s = Scenario("a refusal for what is in flight charges no quota")
    for path, most in ENDPOINTS.items():
        for n in range(most):
            s.admit(n, "key", "starter", path, f"{path} {n}", under=path)
        for _ in range(2):
            s.admit(most, "key", "starter", path, under=path)
        s.in_flight("key", path)
    s.admit(20, "key", "starter", "/models", told=True)
    s.admit(20, "other", "starter", "/video-analyses", "a", under="/video-analyses")
    s.release("/video-analyses 1")
    s.admit(21, "key", "starter", "/video-analyses", "b", under="/video-analyses")
    s.release("/video-analyses 1")
    s.admit(21, "key", "starter", "/video-analyses", under="/video-analyses")
    s.check(22, "key", "starter", told=True)
    return s


def limited() -> Scenario:
    s = Scenario("a refusal for quota leaves nothing in flight")
    chat = "/mave/chat"
    for n in range(4):
        s.admit(n, "key", 4, chat, f"{n}", under=chat)
    s.in_flight("key", chat)
    for _ in range(3):
        s.admit(10, "key", 4, chat, under=chat)
    s.in_flight("key", chat)
    for n in range(4):
        s.release(f"{n}")
    s.admit(10, "key", 4, chat, under=chat)
    s.in_flight("key", chat)
    s.admit(MINUTE - 1, "key", 4, chat, under=chat)
    s.admit(MINUTE, "key", 4, chat, "a", under=chat)
    return s


def both() -> Scenario:
    s = Scenario("a refusal for both waits for the quota")
    video = "/video-analyses"
    for n in range(3):
        s.admit(0, "key", 5, video, f"{n}", under=video)
    s.check(500, "key", 5, cost=2)
    s.admit(1000, "key", 5, video, under=video)
    s.admit(MINUTE - 1, "key", 5, video, under=video)
    s.admit(MINUTE, "key", 5, video, under=video)
    return s


def spellings() -> Scenario:
    s = Scenario("another spelling of a path does not slip past")
    video = "/video-analyses"
    first = ["/video-analyses", "/video-analyses?x=1", "//video-analyses/7/"]
    for n, target in enumerate(first):
        s.admit(0, "key", 1000, target, f"{n}", under=video)
    more = ["/video-analyses/", "/%76ideo-analyses", "/x/../video-analyses"]
    more += ["/video-analyses%2F7", "/./video-analyses;v=2", "/video-analyses#top"]
    more += ["/X/..//video%2danalyses/a/b/c", "video-analyses", "/../video-analyses"]
    more += ["http://api.example/video-analyses"]
    for target in more:
        s.admit(0, "key", 1000, target, under=video)
    s.in_flight("key", video)
    # Not even a beginning of it, or something else.
    others = ["/video", "/video-analyses2", "/Video-Analyses", "/v1/video-analyses"]
    others += ["/", "", "/models?next=/video-analyses", "/video-analyses/.."]
    for target in [*others, "/mave", "/mave/chatter"]:
        s.admit(0, "key", 1000, target)
    s.admit(0, "key", 1000, "/mave//chat/7?x", "a", under="/mave/chat")
    return s


def negotiated() -> Scenario:
    s = Scenario("a negotiated policy needs no tier")
    groups = "/focus-groups"
    for n in range(5):
        s.admit(n, "key", 7, groups, f"{n}", under=groups, window=20_000)
    s.admit(5, "key", 7, groups, under=groups, window=20_000)
    for n in range(5):
        s.release(f"{n}")
    s.admit(6, "key", 7, groups, "a", under=groups, window=20_000, told=True)
    s.admit(6, "key", 7, groups, "b", under=groups, window=20_000, told=True)
    s.admit(7, "key", 7, groups, under=groups, window=20_000)
    s.in_flight("key", groups)
    # A minute is another window.
    s.admit(7, "key", "starter", groups, "c", under=groups)
    return s


def unknown() -> Scenario:
    s = Scenario("an admission that is an error takes nothing")
    video = "/video-analyses"
    for tier in ["gold", "STARTER", "starter "]:
        s.error("tier", "admit", 0, key="key", tier=tier, target=video)
    step = {"key": "key", "target": video}
    s.error("cost", "admit", 0, **step, limit=0, window_ms=MINUTE)
    s.error("window", "admit", 0, **step, limit=9, window_ms=MINUTE + 1)
    s.in_flight("key", video)
    s.admit(0, "key", "starter", video, "a", under=video, told=True)
    return s


SCENARIOS = [
    starter,
    basic,
    professional,
    enterprise,
    to_the_millisecond,
    border,
    quanta,
    short_windows,
    sliding,
    backwards,
    backwards_in_quanta,
    raised,
    upgraded,
    folded,
    lowered,
    downgraded,
    apart,
    costs,
    nothing_charged,
    errors,
    any_bytes,
    batches,
    full_denies,
    full_allows,
    forgets,
    permits,
    permits_apart,
    permits_lowered,
    permits_many,
    permits_full,
    permits_full_allows,
    busy,
    limited,
    both,
    spellings,
    negotiated,
    unknown,
]


def main() -> int:
    parts = [make().json() for make in SCENARIOS]
    text = "[\n  " + ",\n  ".join(parts) + "\n]\n"
    if "--check" in sys.argv[1:]:
        if TABLE.read_text(encoding="utf-8") != text:
            print(f"{TABLE} is not what {__file__} writes", file=sys.stderr)
            return 1
        return 0
    TABLE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
