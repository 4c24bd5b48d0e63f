"""The settings and the limiter of a Django project."""

from __future__ import annotations

import threading
from typing import Any

from django.conf import settings  # type: ignore[import-untyped]
from django.core.exceptions import ImproperlyConfigured  # type: ignore[import-untyped]
from django.core.signals import setting_changed  # type: ignore[import-untyped]

from ._native import Limiter

__all__ = ["configuration", "limiter"]

_KNOWN: dict[str, tuple[object, ...]] = {
    "path": (),
    "options": (),
    "key": (),
    "tier": (),
    "headers": ("legacy", "ietf", "both", None),
    "without_key": ("refuse", "pass"),
}
_lock = threading.Lock()
_limiter: Limiter | None = None


def configuration() -> dict[str, Any]:
    """``MAVERA_RL``, of which every name is known."""
    given: dict[str, Any] = getattr(settings, "MAVERA_RL", {})
    for name, value in given.items():
        if name not in _KNOWN:
            raise ImproperlyConfigured(
                f"MAVERA_RL has {name!r}, but knows only {', '.join(_KNOWN)}"
            )
        if _KNOWN[name] and value not in _KNOWN[name]:
            raise ImproperlyConfigured(
                f"MAVERA_RL[{name!r}] is {value!r}, not one of {_KNOWN[name]}"
            )
    return given


def limiter() -> Limiter:
    """The limiter of this process, by ``MAVERA_RL``; opened at the first call.

    Raises what :class:`mavera_rl.Limiter` raises, and ``ImproperlyConfigured``.
    """
    global _limiter
    with _lock:
        if _limiter is None:
            given = configuration()
            _limiter = Limiter(given.get("path"), **given.get("options", {}))
        return _limiter


def _changed(*, setting: str, **_: object) -> None:
    global _limiter
    if setting == "MAVERA_RL":
        with _lock:
            _limiter = None


# For tests, which override settings.
setting_changed.connect(_changed)
