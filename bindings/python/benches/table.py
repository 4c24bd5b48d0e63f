"""The table of the README: what the binding costs, beside its peers.

python bindings/python/benches/table.py

Contestants of a table take turns within one run; medians of 15 rounds.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
import warnings

import asgi
import checks
from rounds import Contestant, race


def machine() -> str:
    with open("/proc/cpuinfo") as cpuinfo:
        model = next(
            (line.split(":")[1].strip() for line in cpuinfo if "model name" in line),
            "unknown",
        )
    python = platform.python_version()
    return f"{model}, {os.cpu_count()} cores, {platform.release()}, Python {python}"


def show(title: str, results: dict[str, Contestant], unit_ns: float, unit: str) -> None:
    print(f"\n{title}, {unit} (least, greatest)")
    for one in results.values():
        low, high = (ns / unit_ns for ns in one.spread)
        print(f"  {one.name:28} {one.ns / unit_ns:9.2f}  ({low:.2f}, {high:.2f})")


def bar(what: str, value: float, limit: float, unit: str, least: bool = False) -> bool:
    reached = value >= limit if least else value <= limit
    sign, word = ("≥" if least else "≤"), ("reached" if reached else "missed")
    print(f"  {what:56} {value:8.2f} {unit:4} {sign} {limit:g}: {word}")
    return reached


def main() -> int:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    print(machine())
    calls = race(checks.contestants())
    show("A call", calls, 1, "ns")
    requests = race(asgi.contestants())
    show("A request in process", requests, 1000, "µs")

    print("\nAims")
    check, empty = calls["check, by tier"].ns, calls["empty call"].ns
    bare = requests["bare Starlette"].ns
    reached = [
        bar("check less an empty call", check - empty, 100, "ns"),
        bar(
            "limits, hit and stats, in checks",
            calls["limits, memory"].ns / check,
            10,
            "",
            least=True,
        ),
        bar(
            "a middleware adds, quota",
            (requests["mavera, quota"].ns - bare) / 1000,
            2,
            "µs",
        ),
        bar(
            "a middleware adds, quota and permit",
            (requests["mavera, quota and permit"].ns - bare) / 1000,
            2,
            "µs",
        ),
    ]
    for name in "limits by hand", "slowapi":
        print(f"  {name} adds {(requests[name].ns - bare) / 1000:.2f} µs")
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
