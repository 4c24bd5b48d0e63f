"""What all middlewares share: who is asking, and what they are told."""

from __future__ import annotations

from typing import Literal, TypeAlias

Flavour: TypeAlias = Literal["legacy", "ietf", "both"]

# What a callable for the tier may answer: a name of the plan's; a negotiated
# limit, alone for a minute or with its window in seconds; or None, for what the
# plan and the limiter say themselves.
Tier: TypeAlias = "str | int | tuple[int, float] | None"

NO_KEY = (
    b'{"error":{"message":"No API key. Send it as X-API-Key or Authorization: '
    b'Bearer.","type":"authentication_error","code":"invalid_api_key",'
    b'"param":null}}'
)
"""The body of the 401 that a request without an API key gets."""

INVALID_KEY = (
    b'{"error":{"message":"Invalid API key.","type":"authentication_error",'
    b'"code":"invalid_api_key","param":null}}'
)
"""The same of one whose key is none of the plan's."""

_SCHEME = "bearer "


def bearer(authorization: str) -> str | None:
    """The token of an ``Authorization`` header, if it is a bearer's.

    The scheme's name is read in any case (RFC 9110, 11.1).
    """
    if authorization[: len(_SCHEME)].lower() != _SCHEME:
        return None
    return authorization[len(_SCHEME) :].strip(" \t") or None


def numbers(tier: Tier) -> tuple[str | None, int | None, float | None]:
    """``tier``, ``limit`` and ``window`` as the limiter takes them."""
    if tier is None or isinstance(tier, str):
        return tier, None, None
    if isinstance(tier, tuple):
        limit, window = tier
        return None, limit, window
    return None, tier, None
