#!/usr/bin/env python3
"""Turns scenarios.json into the table that tests/c/test_scenarios.c includes.

    to_c.py > scenarios.inc

C has no parser of JSON here. What an answer does not say is -1 or NULL.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

TABLE = pathlib.Path(__file__).with_name("scenarios.json")

Json = dict[str, Any]

ERRORS = {
    "cost": "MAVERA_RL_ECOST",
    "limit": "MAVERA_RL_EINVAL",
    "max": "MAVERA_RL_EINVAL",
    "tier": "MAVERA_RL_ENOENT",
    "window": "MAVERA_RL_EINVAL",
}
# Of an answer, by the names of the struct's fields.
NUMBERS = (
    "limit",
    "used",
    "remaining",
    "retry_after_ms",
    "retry_after_s",
    "reset_after_ms",
    "untracked",
    "in_flight",
    "max_in_flight",
)


def quoted(text: bytes) -> str:
    """A literal. Three octal digits end by themselves."""
    plain = b" !#$%&()*+,-./:;<=>@[]^_`{|}~"
    odd = [
        chr(b) if chr(b).isalnum() and b < 128 or b in plain else f"\\{b:03o}"
        for b in text
    ]
    return '"' + "".join(odd) + '"'


def string(text: str) -> str:
    return quoted(text.encode())


def key(value: str | Json) -> str:
    raw = value.encode() if isinstance(value, str) else bytes.fromhex(value["hex"])
    return f"{{{quoted(raw)}, {len(raw)}}}"


def outcome(name: str) -> str:
    return f"MAVERA_RL_{name.upper()}"


def answer(expect: Json) -> str:
    said = {name: str(int(expect.get(name, -1))) for name in NUMBERS}
    if "error" in expect:
        said["code"] = ERRORS[expect["error"]]
    elif "outcome" in expect:
        said["code"] = outcome(expect["outcome"])
    elif "released" in expect:
        said["code"] = "0" if expect["released"] else "MAVERA_RL_NOT_HELD"
    else:
        said["code"] = "0"
    said["holds"] = str(int(expect.get("permit", -1)))
    if "endpoint" in expect:
        said["endpoint"] = string(expect["endpoint"] or "")
    if "body" in expect:
        said["body"] = string(expect["body"])
    for flavour, headers in expect.get("headers", {}).items():
        pairs = [f"{{{string(name)}, {string(headers[name])}}}" for name in headers]
        said[flavour] = f"{{{', '.join(pairs)}}}"
    return braces(said)


def braces(fields: dict[str, str]) -> str:
    return "{" + ", ".join(f".{name} = {value}" for name, value in fields.items()) + "}"


class Scenario:
    def __init__(self, number: int, scenario: Json) -> None:
        self.number = number
        self.scenario = scenario
        # Place of each permit, by the name that the steps have for it.
        self.permits: dict[str, int] = {}
        self.batches: list[str] = []

    def step(self, step: Json) -> str:
        fields = {"call": f"CALL_{step['do'].upper()}"}
        for name in ("at", "limit", "window_ms", "max"):
            if name in step:
                fields[name] = str(step[name])
        fields["cost"] = str(step.get("cost", 1))
        for name, field in (("tier", "tier"), ("target", "target"), ("class", "name")):
            if name in step:
                fields[field] = string(step[name])
        if "key" in step:
            fields["key"] = key(step["key"])
        # The first is for those without a name.
        names = self.permits
        place = (
            names.setdefault(step["permit"], len(names) + 1) if "permit" in step else 0
        )
        fields["permit"] = str(place)
        if step["do"] == "check_many":
            fields |= self.batch(step)
            fields["expect"] = "{.code = 0}"
        else:
            fields["expect"] = answer(step["expect"])
        return braces(fields)

    def batch(self, step: Json) -> dict[str, str]:
        name = f"batch_{self.number}_{len(self.batches)}"
        lines = []
        for each, (said, used, left, wait) in zip(
            step["keys"], step["expect"], strict=True
        ):
            lines.append(
                f"    {{{key(each)}, {outcome(said)}, {used}, {left}, {wait}}},\n"
            )
        table = "".join(lines)
        self.batches.append(f"static const struct batched {name}[] = {{\n{table}}};\n")
        return {"batch": name, "count": str(len(lines))}

    def text(self) -> tuple[str, str]:
        lines = [f"    {self.step(step)},\n" for step in self.scenario["steps"]]
        steps = f"steps_{self.number}"
        before = "".join(self.batches)
        before += f"static const struct step {steps}[] = {{\n{''.join(lines)}}};\n"
        # Memory for fewer keys than the default.
        options = {"keys": "1000"}
        for name, value in self.scenario["options"].items():
            allow = name == "on_full" and value == "allow"
            options[name] = "MAVERA_RL_ON_FULL_ALLOW" if allow else str(int(value))
        fields = {
            "name": string(self.scenario["name"]),
            "options": braces(options),
            "permits": str(len(self.permits) + 1),
            "steps": steps,
            "count": str(len(lines)),
        }
        return before, f"    {braces(fields)},\n"


def main() -> None:
    scenarios = json.loads(TABLE.read_text(encoding="utf-8"))
    parts = [Scenario(n, scenario).text() for n, scenario in enumerate(scenarios)]
    print("/* Written by tests/scenarios/to_c.py. */")
    print("".join(before for before, _ in parts), end="")
    print("static const struct scenario scenarios[] = {")
    print("".join(entry for _, entry in parts), end="")
    print("};")


if __name__ == "__main__":
    main()
