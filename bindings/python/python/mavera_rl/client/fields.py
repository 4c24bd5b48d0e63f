"""The part of HTTP structured fields that rate limit headers use.

Pure, never raises. An item that cannot be read is left out; what follows it
is still read. With an unclosed quote nothing is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["LONGEST_HEADER", "Item", "parse"]

LONGEST_HEADER = 4096
"""Longer values are not read: no quota needs them."""

_STRING = r'"(?:[^"\\]|\\.)*"'
_BARE = r'[^\s,;="]+'
_QUOTED = re.compile(_STRING)
_LIST = re.compile(rf'(?:{_STRING}|[^,"])+')
_ITEM = re.compile(rf"({_STRING}|{_BARE})\s*(?:=\s*({_STRING}|{_BARE}))?")
_PARAM = re.compile(rf"\s*;\s*({_BARE})\s*(?:=\s*({_STRING}|[^\s,;\"]+))?")


@dataclass(frozen=True, slots=True)
class Item:
    """``key=value;name=param``; strings without their quotes."""

    key: str
    value: str | None = None
    params: dict[str, str] = field(default_factory=dict)


def parse(text: str) -> list[Item]:
    """The items of a comma-separated list, in order."""
    if len(text) > LONGEST_HEADER or '"' in _QUOTED.sub("", text):
        return []
    found = []
    for part in _LIST.findall(text):
        match = _ITEM.match(part.strip())
        if match is None:
            continue
        params: dict[str, str] = {}
        rest = part.strip()[match.end() :]
        for name, value in _PARAM.findall(rest):
            params[name.lower()] = _unquote(value)
        key, value = match.group(1), match.group(2)
        if not key.startswith('"'):
            key = key.lower()
        found.append(
            Item(
                _unquote(key),
                None if value is None else _unquote(value),
                params,
            )
        )
    return found


def _unquote(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text
