import os
import pathlib
from collections.abc import Iterable
from types import TracebackType
from typing import Literal, NoReturn, TypeAlias, final

__version__: str

_Key: TypeAlias = str | bytes
_Flavour: TypeAlias = Literal["legacy", "ietf", "both"]

@final
class ManualClock:
    """A clock for tests: it stands until it is moved.

    A limiter with it, ``Limiter(clock=clock)``, counts the time that the test
    says, and so must everybody else who opens its path. Thread-safe.
    """

    def __new__(cls, now: float = 1_700_000_000.0) -> ManualClock:
        """``now``: Unix seconds, to the millisecond."""

    @property
    def now(self) -> float:
        """Unix seconds."""

    def advance(self, by: float) -> None:
        """Moves on by ``by`` seconds, from 0."""

    def set(self, now: float) -> None:
        """Sets the time. It may go back: that never admits more."""

@final
class Endpoint:
    """An endpoint with a limit on requests in flight."""

    @property
    def path(self) -> str:
        """Its pattern, by which it is known."""

    @property
    def max_in_flight(self) -> int:
        """Most requests of one key in flight."""

    @property
    def lease(self) -> float | None:
        """Seconds after which a permit may be taken back; ``None``: never."""

@final
class Plan:
    """Tiers, endpoints and known keys.

    ``Plan()`` is the contract of Mavera's public API: Starter 60, Basic 120,
    Professional 240, Enterprise 600 requests in a sliding minute; at most 10
    requests in flight on ``/mave/chat``, 5 on ``/focus-groups``, 3 on
    ``/video-analyses``. Thread-safe.
    """

    def __new__(cls) -> Plan: ...
    @staticmethod
    def load(path: str | os.PathLike[str]) -> Plan:
        """Reads a TOML file.

        Raises :class:`PlanError` with file, line and key.
        """

    @property
    def tiers(self) -> dict[str, tuple[int, float]]:
        """Limit and window in seconds, by the tier's name."""

    @property
    def endpoints(self) -> list[Endpoint]:
        """In the plan's order."""

    def endpoint(self, target: str | bytes) -> Endpoint | None:
        """The endpoint that a request's target falls under.

        The longest pattern that is a prefix of its path, whole segments at a
        time. Query, percent-encoding, ``//``, ``.``, ``..`` and ``;x`` do not
        slip past.
        """

    def key_policy(self, key: _Key) -> tuple[int, float] | None:
        """Limit and window in seconds of a key that the plan lists itself."""

    def set_tier(self, tier: str, limit: int, window: float | None = None) -> None:
        """Gives a tier other numbers, from now on, in this process.

        ``window`` is in seconds, a minute if it is not given. What keys have
        spent is kept, unless the window changes. Raises
        :class:`UnknownTierError`.
        """

@final
class Decision:
    """The answer to a check: a value that never changes.

    All of it is from the same atomic step. True if the request was allowed.
    """

    @property
    def allowed(self) -> bool:
        """Whether the request may go on; if it may, it was charged."""

    @property
    def limit(self) -> int:
        """Units in one window."""

    @property
    def window(self) -> float:
        """The window's length in seconds."""

    @property
    def remaining(self) -> int:
        """Units that may still be spent now."""

    @property
    def used(self) -> int:
        """Units spent in the window, this call's included.

        After a limit was lowered it may exceed ``limit``.
        """

    @property
    def retry_after(self) -> float:
        """Seconds to wait; 0.0 if allowed.

        Exact to the millisecond: if nobody else spends, waiting so long is
        enough and a millisecond less is not.
        """

    @property
    def reset_after(self) -> float:
        """Seconds until the quota grows, or until the retry of a refusal."""

    @property
    def reset_at(self) -> float:
        """The same as Unix seconds."""

    @property
    def in_flight(self) -> int:
        """Requests of the key in flight on the endpoint; 0 if none was asked."""

    @property
    def max_in_flight(self) -> int:
        """How many there may be; 0 where no permit was asked for."""

    @property
    def endpoint(self) -> str | None:
        """The endpoint, by the plan's pattern."""

    @property
    def untracked(self) -> bool:
        """Allowed without being counted.

        The table was full and its policy is to allow, or the limiter is not
        enabled.
        """

    @property
    def reason(
        self,
    ) -> (
        Literal["rate_limit_exceeded", "concurrency_limit_exceeded", "table_full"]
        | None
    ):
        """Why it was refused; ``None`` if it was allowed."""

    def headers(self, flavour: _Flavour = "legacy") -> dict[str, str]:
        """The headers of the response.

        ``legacy``: ``X-RateLimit-Limit``, ``-Remaining``, ``-Reset`` (Unix
        seconds). ``ietf``: ``RateLimit-Policy`` and ``RateLimit`` of
        draft-ietf-httpapi-ratelimit-headers-11. A refusal has ``Retry-After``
        (seconds, rounded up, at least 1) besides.
        """

    def raw_headers(self, flavour: _Flavour = "legacy") -> list[tuple[bytes, bytes]]:
        """The same as ASGI wants them: bytes, names in lower case."""

    def body(self) -> bytes:
        """The JSON error of a refusal; empty if the request was allowed."""

    def __bool__(self) -> bool: ...
    def __eq__(self, other: object) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Permit:
    """A request in flight, until it is released.

    Also a context manager, sync and async. It is given back as well when the
    object is dropped and when the process dies, however it dies. Thread-safe.
    """

    def release(self) -> bool:
        """Gives it back; never blocks.

        ``False``: nothing was changed. It had been given back, its lease had
        ended and somebody has it, or another process took it.
        """

    @property
    def released(self) -> bool:
        """Whether it was given back through this object."""

    @property
    def untracked(self) -> bool:
        """Whether it is one that is not counted."""

    def __enter__(self) -> Permit: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...
    async def __aenter__(self) -> Permit: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...
    def __reduce__(self) -> NoReturn: ...

@final
class Admission:
    """A decision, with the request's permit if it holds one.

    True if the request was allowed. Also a context manager, sync and async,
    that gives the permit back.
    """

    @property
    def decision(self) -> Decision: ...
    @property
    def permit(self) -> Permit | None:
        """``None``: refused, or under no limit on requests in flight."""

    @property
    def allowed(self) -> bool: ...
    def release(self) -> bool:
        """Gives the permit back, if there is one; whether that freed it."""

    def __bool__(self) -> bool: ...
    def __enter__(self) -> Admission: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...
    async def __aenter__(self) -> Admission: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...
    def __reduce__(self) -> NoReturn: ...

@final
class Stats:
    """What a region is and has seen. Exact when nobody is writing."""

    @property
    def keys_capacity(self) -> int:
        """Records the table can hold."""

    @property
    def keys_held(self) -> int:
        """Records given to keys and not taken back."""

    @property
    def inserted(self) -> int:
        """Records ever given to a key."""

    @property
    def evicted(self) -> int:
        """Records taken back."""

    @property
    def full(self) -> int:
        """Checks and permits answered by ``on_full``."""

    @property
    def permit_capacity(self) -> int:
        """Keys and endpoints that can have requests in flight at one time."""

    @property
    def permit_cells(self) -> int:
        """Most requests in flight of a key on an endpoint."""

    @property
    def bytes(self) -> int:
        """Size of the region."""

    @property
    def cells(self) -> int: ...
    @property
    def max_window(self) -> float:
        """The longest window, in seconds."""

@final
class Limiter:
    """An exact sliding-window rate limiter.

    With a path it is one limit for all processes of the host that open the
    path, in whatever language; the best place is ``/dev/shm``. Without one it
    counts for this process alone. Thread-safe; works on through ``fork``. A
    check takes about a tenth of a microsecond, never blocks and never lets go
    of the GIL.
    """

    def __new__(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        keys: int | None = None,
        cells: int | None = None,
        max_window: float | None = None,
        clock: Literal["precise", "coarse"] | ManualClock | None = None,
        on_full: Literal["deny", "allow"] | None = None,
        mode: int | None = None,
        permit_keys: int | None = None,
        permit_cells: int | None = None,
        plan: Plan | str | os.PathLike[str] | None = None,
        tier: str | None = None,
        enabled: bool = True,
    ) -> Limiter:
        """Opens the region at ``path``, and makes it if there is none.

        What is not given has its default in a new region, and is whatever an
        existing region has; what is given must agree with an existing one.

        keys: keys active within one window, 1 to 2**32; 100 000. Memory is
            reserved at once, about 700 bytes a key at 64 cells.
        cells: of a key's ring, a power of two from 8 to 1024; 64. Limits up to
            ``cells - 4`` are exact to the millisecond, greater ones to about
            ``window / cells``, always on the strict side.
        max_window: the longest window of any check, in seconds; 60, or the
            plan's longest if that is longer.
        clock: ``precise`` (to the millisecond), ``coarse`` (cheaper, up to
            15 ms late), or a :class:`ManualClock`.
        on_full: what a key hears when every record of its set belongs to a key
            that still owes: ``deny`` (no limit is ever exceeded) or ``allow``
            (not counted).
        mode: permission bits of a new file, 0o600.
        permit_keys: keys and endpoints with requests in flight at one time;
            4096, or ``keys`` if that is less.
        permit_cells: most requests in flight of a key on an endpoint, a
            multiple of 8 from 8 to 256; 16.
        plan: tiers and endpoints, or the path of a TOML file with them; the
            contract if none is given.
        tier: of all keys that the plan does not list, when a call says neither
            ``tier`` nor ``limit``.
        enabled: ``False`` makes a limiter that allows everything and opens
            nothing, for tests and development.

        Raises :class:`InvalidOptionError`, :class:`RegionError` (an
        ``OSError``), :class:`PlanError`, :class:`UnknownTierError`.
        """

    def check(
        self,
        key: _Key,
        tier: str | None = None,
        *,
        limit: int | None = None,
        window: float | None = None,
        cost: int | None = None,
    ) -> Decision:
        """Charges ``cost`` units to ``key`` if its limit admits them now.

        key: any ``str`` (as UTF-8) or ``bytes`` but an empty one. It is hashed
            with a secret and not kept.
        tier: by the plan; or else
        limit: units in ``window`` seconds (a minute if not given), up to 2**23.
            The limit is passed with every call: a key's tier changes by passing
            another, and what the key has spent is kept. A key under two window
            lengths is two keys. With neither, the plan's own list of keys
            decides, then the limiter's ``tier``.
        cost: 1 if not given; 0 charges nothing, as :meth:`peek`.

        A refusal is an answer, not an error. Raises
        :class:`InvalidKeyError`, :class:`UnknownTierError` (with neither tier
        nor limit, and a plan that lists keys: :class:`UnknownKeyError`),
        :class:`InvalidOptionError` (``cost`` above the limit, a window longer
        than the region's longest), :class:`ClosedError`.
        """

    def peek(
        self,
        key: _Key,
        tier: str | None = None,
        *,
        limit: int | None = None,
        window: float | None = None,
        cost: int | None = None,
    ) -> Decision:
        """Whether :meth:`check` would admit ``cost`` units now.

        Charges nothing; ``used`` does not count the ``cost``.
        """

    def check_many(
        self,
        keys: Iterable[_Key],
        tier: str | None = None,
        *,
        limit: int | None = None,
        window: float | None = None,
        cost: int | None = None,
    ) -> list[Decision]:
        """:meth:`check` of each of ``keys``, in their order.

        Each stands for itself: a refusal does not undo the others. Faster than
        single checks when the keys are many. The GIL is released for long
        lists. If an argument is wrong, nothing is charged.
        """

    def admit(
        self,
        key: _Key,
        target: str | bytes,
        tier: str | None = None,
        *,
        limit: int | None = None,
        window: float | None = None,
    ) -> Admission:
        """Permit and quota of a request in one call.

        One unit of quota, as :meth:`check`; and where ``target`` (path, with
        or without query) falls under an endpoint of the plan's, a permit for
        it. Refused for one of them, nothing of the other is spent.

            with limiter.admit(key, "/video-analyses", "basic") as admission:
                if not admission:
                    return 429, admission.decision.headers()

        Raises as :meth:`check` and :meth:`permit`, but never
        :class:`ConcurrencyLimited`.
        """

    def permit(
        self,
        key: _Key,
        endpoint: str,
        *,
        max: int | None = None,
        lease: float | None = None,
    ) -> Permit:
        """Takes a permit alone, without asking for quota.

            async with limiter.permit(key, "/mave/chat"):
                ...

        endpoint: a path under one of the plan's endpoints; or any name, if
            ``max`` is given.
        max: most requests of the key in flight, from 1 to ``permit_cells``;
            the plan's if not given.
        lease: seconds, up to a day, after which a permit that was not released
            may be taken by another; the plan's if not given.

        Does not wait: raises :class:`ConcurrencyLimited` if as many are held.
        Raises besides :class:`UnknownTierError`, :class:`InvalidOptionError`,
        :class:`RegionError` (this process cannot be registered with the
        region), :class:`ClosedError`.
        """

    def in_flight(self, key: _Key, endpoint: str) -> int:
        """Requests of ``key`` in flight on ``endpoint``, on the whole host."""

    def stats(self) -> Stats | None:
        """What the region is and has seen; ``None`` if not enabled."""

    @property
    def plan(self) -> Plan: ...
    @property
    def path(self) -> pathlib.Path | None: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def closed(self) -> bool: ...
    def close(self) -> None:
        """Lets go of the region; what its file counts stays.

        Permits that are held stay valid until they are released. Every later
        call raises :class:`ClosedError`; closing again does nothing.
        """

    def __enter__(self) -> Limiter: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...
    def __reduce__(self) -> NoReturn: ...
