"""A throttle for Django REST framework.

    class PerUser(MaveraThrottle):
        scope = "user"

    REST_FRAMEWORK = {
        "DEFAULT_THROTTLE_CLASSES": ["project.throttles.PerUser"],
        "DEFAULT_THROTTLE_RATES": {"user": "60/min"},
    }

It counts in the limiter of ``MAVERA_RL`` (:mod:`mavera_rl.django`), exactly and
for all processes of its path; a rate by the day needs ``max_window`` there. A
throttle is not told when a request ends, so it takes no permits for requests in
flight: those are the middleware's.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured  # type: ignore[import-untyped]
from rest_framework.exceptions import (  # type: ignore[import-untyped]
    AuthenticationFailed,
)
from rest_framework.settings import api_settings  # type: ignore[import-untyped]
from rest_framework.throttling import (  # type: ignore[import-untyped]
    BaseThrottle,
    SimpleRateThrottle,
)

from ._django import limiter
from ._native import Decision, Limiter
from .errors import UnknownKeyError
from .wsgi import api_key

__all__ = ["MaveraThrottle"]

# No header can carry it, so nobody can pass an API key that is another user's
# or address's key.
_NOT_A_KEY = "\0"


class _Rates(SimpleRateThrottle):  # type: ignore[misc]
    """DRF's own reading of ``60/min``, without its storage."""

    def __init__(self) -> None:
        pass


class MaveraThrottle(BaseThrottle):  # type: ignore[misc]
    """Refuses what the limit of a user, an API key or an address does not admit.

    The limit is the first of these that is set; with none, plan and limiter
    decide.
    """

    scope: str | None = None
    """Of ``DEFAULT_THROTTLE_RATES``; or else the view's ``throttle_scope``.

    Scopes are counted apart. A rate of ``None`` admits everything.
    """

    tier: str | None = None
    """A name of the plan's."""

    limit: int | None = None
    """Requests in ``window``."""

    window: float | None = None
    """Seconds; a minute if not given."""

    limiter: Limiter | None = None
    """Instead of the limiter of ``MAVERA_RL``."""

    decision: Decision | None = None
    """Of this request, once it was asked for."""

    def get_key(self, request: Any, view: Any) -> str | bytes | None:
        """Who is asking; ``None`` is not counted.

        The user if there is one, or else the API key, or else the client's
        address: ``REMOTE_ADDR``, or with ``NUM_PROXIES`` what that says. An API
        key is what the client sent, whether or not anybody knows it.
        """
        if request.user and request.user.is_authenticated:
            return f"{_NOT_A_KEY}user {request.user.pk}"
        key = api_key(request.META)
        if key is not None:
            return key
        # Without NUM_PROXIES, get_ident() believes X-Forwarded-For, in which
        # every client can write what it likes.
        if api_settings.NUM_PROXIES is None:
            address = request.META.get("REMOTE_ADDR")
        else:
            address = self.get_ident(request)
        return f"{_NOT_A_KEY}address {address}" if address else None

    def allow_request(self, request: Any, view: Any) -> bool:
        """Charges a request; whether it is admitted.

        Raises ``ImproperlyConfigured`` for a scope without a rate,
        ``AuthenticationFailed`` for a key that is none of the plan's, where the
        plan alone knows the limits, and what else :meth:`Limiter.check` raises.
        """
        scope = self.scope or getattr(view, "throttle_scope", None)
        tier, limit, window = self.tier, self.limit, self.window
        if scope is not None:
            rates: Any = api_settings.DEFAULT_THROTTLE_RATES
            if scope not in rates:
                raise ImproperlyConfigured(
                    f"DEFAULT_THROTTLE_RATES has no rate for the scope {scope!r}"
                )
            if rates[scope] is None:
                return True
            limit, window = _Rates().parse_rate(rates[scope])
            tier = None
        elif tier is not None:
            limit = window = None
        key = self.get_key(request, view)
        if not key:
            return True
        if scope is not None:
            prefix = f"{_NOT_A_KEY}{scope} "
            key = prefix + key if isinstance(key, str) else prefix.encode() + key
        counter = self.limiter or limiter()
        try:
            self.decision = counter.check(key, tier, limit=limit, window=window)
        except UnknownKeyError:
            raise AuthenticationFailed("Invalid API key.") from None
        return self.decision.allowed

    def wait(self) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Whole seconds, at least 1, after which the request is admitted."""
        if self.decision is None or self.decision.allowed:
            return None
        return float(self.decision.headers()["Retry-After"])
