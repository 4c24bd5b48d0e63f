"""What the headers of a response say about the quota.

Pure: the wall time is an argument. Nothing here raises on anything a server
may send; what cannot be read is None. Safe from any thread.

Families, in order of precedence:

1. ``RateLimit`` and ``RateLimit-Policy`` (IETF structured fields, and the
   older ``limit=, remaining=, reset=`` form of the same header);
2. ``RateLimit-Limit``, ``-Remaining``, ``-Reset`` (older IETF drafts);
3. ``X-RateLimit-Limit``, ``-Remaining``, ``-Reset`` (custom of the field).

A field that one family lacks is taken from the next one, unless both name a
remaining quota and the two differ: they speak of different windows then.

Epoch or delta: a reset below 1e9 is seconds from now (1e9 s of delta would be
31 years), from 1e9 it is Unix seconds (1e9 is September 2001), and from 1e11
it is Unix milliseconds (1e11 ms is March 1973, 1e11 s is the year 5138).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

from . import fields

__all__ = [
    "EPOCH_FROM",
    "LONGEST",
    "MILLISECONDS_FROM",
    "Quota",
    "parse_quota",
    "parse_retry_after",
]

EPOCH_FROM = 1e9
"""From here on a reset is Unix seconds."""

MILLISECONDS_FROM = 1e11
"""From here on a reset is Unix milliseconds."""

LONGEST = 366 * 86_400.0
"""The longest duration believed, in seconds. No quota lasts over a year."""

_LARGEST = 10**12
_NUMBER = re.compile(r"[0-9]{1,24}(?:\.[0-9]{0,24})?", re.ASCII)
_PART = r"([0-9]{1,15}(?:\.[0-9]{1,15})?)(h|ms|m|s|us|\u00b5s|\u03bcs|ns)"
_DURATION = re.compile(rf"(?:{_PART}){{1,8}}", re.ASCII)
_DURATION_PART = re.compile(_PART, re.ASCII)
_UNITS = {
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "\u00b5s": 1e-6,
    "\u03bcs": 1e-6,
    "ns": 1e-9,
}
_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(\.[0-9]{1,9})?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Quota:
    """What one response says about the quota; None is what it does not say."""

    limit: int | None = None
    """Units per window, >= 0."""
    remaining: int | None = None
    """Units left, >= 0."""
    reset_after: float | None = None
    """Seconds from now until units come back, 0 to ``LONGEST``."""
    window: float | None = None
    """Length of the window in seconds, > 0 to ``LONGEST``."""


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait before the next try, or None.

    ``now`` is Unix seconds. A date counts from the response's own ``Date``
    if it has one, so that a wrong local clock does no harm; a date in the
    past is 0. A finite number above ``LONGEST`` becomes ``LONGEST``: to ignore
    it would be to come back sooner than asked.
    """
    known = _lower(headers)
    text = known.get("retry-after")
    if text is None:
        return None
    seconds = _number(text)
    if seconds is None:
        date = _http_date(text)
        if date is None:
            return None
        seconds = date - _server_now(known, now)
    return min(max(seconds, 0.0), LONGEST)


def parse_quota(headers: Mapping[str, str], now: float) -> Quota:
    """What the headers say about the quota. ``now`` is Unix seconds.

    If ``RateLimit`` lists several policies, the one with the least remaining
    is meant; those that count something else than requests (``qu``) are not
    read.
    """
    known = _lower(headers)
    wall = _server_now(known, now)
    quota = _structured(known, wall)
    for names in _FAMILIES:
        quota = _fill(quota, _separate(known, names, wall))
    return quota


_FAMILIES = tuple(
    (f"{prefix}limit{suffix}", f"{prefix}remaining{suffix}", f"{prefix}reset{suffix}")
    for prefix, suffix in (
        ("ratelimit-", ""),
        ("x-ratelimit-", ""),
        ("x-ratelimit-", "-requests"),
        ("x-rate-limit-", ""),
    )
)


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    known: dict[str, str] = {}
    for name, value in headers.items():
        strings = isinstance(name, str) and isinstance(value, str)
        if strings and len(value) <= fields.LONGEST_HEADER:
            known[name.lower()] = value.strip()
    return known


def _fill(first: Quota, second: Quota) -> Quota:
    if (
        first.remaining is not None
        and second.remaining is not None
        and first.remaining != second.remaining
    ):
        return first
    return Quota(
        second.limit if first.limit is None else first.limit,
        second.remaining if first.remaining is None else first.remaining,
        second.reset_after if first.reset_after is None else first.reset_after,
        second.window if first.window is None else first.window,
    )


def _structured(known: dict[str, str], wall: float) -> Quota:
    items = fields.parse(known.get("ratelimit", ""))
    policies = fields.parse(known.get("ratelimit-policy", ""))
    members = {item.key: item for item in items if item.value is not None}
    if "limit" in members or "remaining" in members or "reset" in members:
        quota = Quota(
            _count(_value(members.get("limit"))),
            _count(_value(members.get("remaining"))),
            _reset(_value(members.get("reset")), wall),
            _window(members["limit"].params.get("w")) if "limit" in members else None,
        )
        return _fill(quota, _old_policy(policies, quota.limit))

    by_name = {item.key: item for item in policies}
    best: Quota | None = None
    for item in items:
        policy = by_name.get(item.key)
        params = {} if policy is None else policy.params
        unit = item.params.get("qu", params.get("qu", "requests"))
        if unit != "requests":
            continue
        found = Quota(
            _count(params.get("q")),
            _count(item.params.get("r")),
            _delta(item.params.get("t")),
            _window(params.get("w")),
        )
        if found.remaining is None:
            continue
        if best is None or _tightness(found) < _tightness(best):
            best = found
    return Quota() if best is None else best


def _tightness(quota: Quota) -> tuple[int, float]:
    return (quota.remaining or 0, -(quota.reset_after or 0.0))


def _separate(known: dict[str, str], names: tuple[str, str, str], wall: float) -> Quota:
    limits = fields.parse(known.get(names[0], ""))
    limit = _count(limits[0].key) if limits else None
    policies = limits[1:] + fields.parse(known.get("ratelimit-policy", ""))
    quota = Quota(
        limit,
        _count(known.get(names[1])),
        _reset(known.get(names[2]), wall),
        _window(limits[0].params.get("w")) if limits else None,
    )
    return _fill(quota, _old_policy(policies, limit))


def _old_policy(policies: list[fields.Item], limit: int | None) -> Quota:
    for item in policies:
        if limit is not None and _count(item.key) == limit:
            return Quota(window=_window(item.params.get("w")))
    return Quota()


def _value(item: fields.Item | None) -> str | None:
    return None if item is None else item.value


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _count(text: str | None) -> int | None:
    number = None if text is None else _number(text)
    if number is None or number > _LARGEST:
        return None
    return int(number)


def _delta(text: str | None) -> float | None:
    return None if text is None else _believed(_number(text))


def _window(text: str | None) -> float | None:
    return _delta(text) or None


def _believed(seconds: float | None) -> float | None:
    if seconds is None or not math.isfinite(seconds) or seconds > LONGEST:
        return None
    return max(seconds, 0.0)


def _reset(text: str | None, wall: float) -> float | None:
    if text is None:
        return None
    number = _number(text)
    if number is not None:
        if number >= MILLISECONDS_FROM:
            return _believed(number / 1000.0 - wall)
        if number >= EPOCH_FROM:
            return _believed(number - wall)
        return _believed(number)
    if _DURATION.fullmatch(text):
        return _believed(
            sum(
                float(amount) * _UNITS[unit]
                for amount, unit in _DURATION_PART.findall(text)
            )
        )
    moment = _rfc3339(text)
    if moment is None:
        moment = _http_date(text)
    return None if moment is None else _believed(moment - wall)


def _server_now(known: dict[str, str], now: float) -> float:
    date = _http_date(known.get("date", ""))
    return now if date is None else date


def _http_date(text: str) -> float | None:
    if not text or len(text) > 64:
        return None
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return moment.timestamp()
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None


def _rfc3339(text: str) -> float | None:
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    fraction, sign, off_hours, off_minutes = match.groups()[6:]
    offset = timedelta()
    if sign:
        offset = timedelta(hours=int(off_hours), minutes=int(off_minutes))
        offset = -offset if sign == "-" else offset
    try:
        # A leap second is written 60; datetime has no such second.
        moment = datetime(
            year, month, day, hour, minute, min(second, 59), tzinfo=timezone.utc
        )
        seconds = (moment - offset).timestamp()
    except (ArithmeticError, ValueError):
        return None
    return seconds + float(fraction or 0.0)
