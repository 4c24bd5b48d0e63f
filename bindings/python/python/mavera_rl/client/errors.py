"""What a well-behaved caller may have to be told."""

from __future__ import annotations

from typing import Any, Literal

from ..errors import MaveraError

__all__ = ["BatchError", "Cap", "GaveUp", "QueueTimeout", "WrongLoopError"]

Cap = Literal["attempts", "max_total", "max_wait"]
"""Which cap ended the tries."""


class GaveUp(MaveraError):
    """The request was tried as often, or for as long, as allowed.

    If the last try ended with an exception, that is its ``__cause__``.
    """

    def __init__(
        self,
        *,
        attempts: int,
        elapsed: float,
        retry_after: float | None,
        cap: Cap,
        response: Any = None,
    ) -> None:
        asked = (
            "no Retry-After"
            if retry_after is None
            else f"Retry-After {retry_after:g} s"
        )
        tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        super().__init__(
            f"gave up after {tries} in {elapsed:.3f} s ({asked}): the cap is {cap}"
        )
        self.attempts = attempts
        """How often the request was sent."""
        self.elapsed = elapsed
        """Seconds since its first try began."""
        self.retry_after = retry_after
        """Seconds the last answer asked to wait, if it did."""
        self.cap = cap
        """The cap that was hit."""
        self.response: Any = response
        """The last response, read and closed; None if there was none."""


class QueueTimeout(MaveraError, TimeoutError):
    """The turn did not come in time. Nothing was sent.

    ``paused``: seconds left of a pause the server asked for, if that is why.
    """

    def __init__(self, message: str, paused: float | None = None) -> None:
        super().__init__(message)
        self.paused = paused


class WrongLoopError(MaveraError, RuntimeError):
    """An asyncio object was used from an event loop it does not belong to."""


class BatchError(MaveraError, RuntimeError):
    """The answers do not fit the batch, or its sender was interrupted."""
