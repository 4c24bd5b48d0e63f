"""The throttle, through Django REST framework's views."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django  # type: ignore[import-untyped]
import pytest
from django.conf import settings  # type: ignore[import-untyped]
from django.core.exceptions import ImproperlyConfigured  # type: ignore[import-untyped]
from django.test.utils import override_settings  # type: ignore[import-untyped]

from mavera_rl import Limiter, ManualClock

# Whichever file comes first configures the process.
if not settings.configured:
    settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="for tests", USE_TZ=True)
    django.setup()

from rest_framework.response import Response  # type: ignore[import-untyped]  # noqa: E402
from rest_framework.test import APIRequestFactory, force_authenticate  # type: ignore[import-untyped]  # noqa: E402
from rest_framework.views import APIView  # type: ignore[import-untyped]  # noqa: E402

from mavera_rl.django import limiter as opened  # noqa: E402
from mavera_rl.drf import MaveraThrottle  # noqa: E402

RATES = {"user": "3/min", "burst": "2/s", "other": "2/s", "daily": "5/day", "off": None}


class User:
    is_authenticated = True

    def __init__(self, pk: int) -> None:
        self.pk = pk


Configure = Callable[..., None]


@pytest.fixture
def configure(clock: ManualClock) -> Iterator[Configure]:
    active: list[Any] = []

    def configure(**framework: Any) -> None:
        options = {"keys": 1000, "clock": clock, "max_window": 86_400}
        active.append(
            override_settings(
                MAVERA_RL={"options": options},
                REST_FRAMEWORK={
                    "DEFAULT_THROTTLE_RATES": RATES,
                    "UNAUTHENTICATED_USER": None,
                    "DEFAULT_AUTHENTICATION_CLASSES": [],
                    "DEFAULT_PERMISSION_CLASSES": [],
                    **framework,
                },
            )
        )
        active[-1].enable()

    configure()
    yield configure
    for override in reversed(active):
        override.disable()


pytestmark = pytest.mark.usefixtures("configure")


def throttle(**attributes: Any) -> type[MaveraThrottle]:
    return type("Throttle", (MaveraThrottle,), attributes)


def get(
    *throttles: type[MaveraThrottle], user: User | None = None, **given: Any
) -> Any:
    """The response of a view with these throttles."""

    class View(APIView):  # type: ignore[misc]
        authentication_classes = ()
        permission_classes = ()
        throttle_classes = throttles
        throttle_scope = given.pop("view_scope", None)

        def get(self, request: Any) -> Any:
            return Response("hello")

    request = APIRequestFactory().get("/", **given)
    if user is not None:
        force_authenticate(request, user=user)
    return View.as_view()(request)


def statuses(times: int, *throttles: type[MaveraThrottle], **given: Any) -> list[int]:
    return [get(*throttles, **given).status_code for _ in range(times)]


def test_a_scope_has_the_rate_of_the_settings(clock: ManualClock) -> None:
    per_user = throttle(scope="user")
    assert statuses(5, per_user, user=User(1)) == [200] * 3 + [429] * 2
    assert statuses(1, per_user, user=User(2)) == [200]
    clock.advance(60)
    assert statuses(1, per_user, user=User(1)) == [200]


def test_a_refusal_says_when_to_come_again_and_that_is_enough(
    clock: ManualClock,
) -> None:
    per_user = throttle(scope="user")
    get(per_user)
    clock.advance(0.5)
    get(per_user)
    get(per_user)
    clock.advance(20)
    response = get(per_user)
    assert response.status_code == 429
    # 39.5 seconds: rounded down it would be refused again.
    assert response["Retry-After"] == "40"
    clock.advance(39)
    assert get(per_user).status_code == 429
    clock.advance(1)
    assert get(per_user).status_code == 200


def test_a_wait_of_less_than_a_second_is_a_second(clock: ManualClock) -> None:
    burst = throttle(scope="burst")
    get(burst)
    get(burst)
    clock.advance(0.9)
    assert get(burst)["Retry-After"] == "1"


def test_the_wait_is_never_less_than_retry_after(clock: ManualClock) -> None:
    limited = throttle(limit=1)()
    request: Any = APIRequestFactory().get("/", HTTP_X_API_KEY="a")
    request.user = None
    assert limited.wait() is None
    assert limited.allow_request(request, None)
    assert limited.wait() is None
    for passed in (0.0, 0.001, 0.7, 30.0, 29.298):
        clock.advance(passed)
        assert not limited.allow_request(request, None)
        assert limited.decision is not None
        wait = limited.wait()
        assert wait is not None
        assert wait >= limited.decision.retry_after
        assert wait == int(limited.decision.headers()["Retry-After"])


def test_a_view_may_name_the_scope() -> None:
    assert statuses(3, MaveraThrottle, view_scope="burst") == [200, 200, 429]


def test_scopes_are_counted_apart() -> None:
    assert statuses(3, throttle(scope="burst")) == [200, 200, 429]
    assert statuses(3, throttle(scope="other")) == [200, 200, 429]


def test_a_scope_without_a_rate_is_an_error_and_one_of_none_admits_everything() -> None:
    with pytest.raises(ImproperlyConfigured, match="'missing'"):
        get(throttle(scope="missing"))
    assert statuses(9, throttle(scope="off")) == [200] * 9


def test_a_rate_by_the_day_is_counted_by_the_day(clock: ManualClock) -> None:
    daily = throttle(scope="daily")
    assert statuses(6, daily) == [200] * 5 + [429]
    clock.advance(86_399.999)
    assert statuses(1, daily) == [429]
    clock.advance(0.001)
    assert statuses(1, daily) == [200]


def test_a_tier_or_a_limit_may_be_given() -> None:
    assert statuses(61, throttle(tier="starter")).count(200) == 60
    assert statuses(3, throttle(limit=2, window=30.0)).count(200) == 2


def test_a_scope_goes_before_a_tier_and_a_tier_before_a_limit() -> None:
    assert statuses(3, throttle(scope="burst", tier="starter", limit=1)).count(200) == 2
    assert statuses(61, throttle(tier="starter", limit=1)).count(200) == 60


def test_a_limiter_of_one_s_own_may_be_given(limiter: Limiter) -> None:
    get(throttle(limiter=limiter, limit=2), HTTP_X_API_KEY="a")
    assert limiter.peek("a", limit=2).used == 1
    assert opened().peek("a", limit=2).used == 0


def test_an_api_key_is_the_key_of_everybody_else() -> None:
    limited = throttle(limit=2)
    get(limited, HTTP_X_API_KEY="a")
    get(limited, HTTP_AUTHORIZATION="Bearer a")
    assert opened().peek("a", limit=2).used == 2
    assert statuses(1, limited, HTTP_X_API_KEY="a") == [429]


PLAN = """
[tiers]
free = 2
[keys]
known = "free"
"""


def test_a_key_that_is_none_of_the_plan_s_is_refused(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    listed = throttle(limiter=Limiter(keys=256, plan=plan))
    assert statuses(3, listed, HTTP_X_API_KEY="known") == [200, 200, 429]
    # Without an authenticator REST framework has no challenge for a 401.
    response = get(listed, HTTP_X_API_KEY="unknown")
    assert (response.status_code, response.data["detail"]) == (403, "Invalid API key.")


def test_a_user_has_one_limit_whatever_else_is_sent() -> None:
    limited = throttle(limit=2)
    keys: list[dict[str, Any]] = [
        {"HTTP_X_API_KEY": key, "REMOTE_ADDR": f"192.0.2.{key}"} for key in "123"
    ]
    assert [get(limited, user=User(1), **key).status_code for key in keys] == [
        *(200, 200, 429)
    ]


def test_no_api_key_is_another_s_user_or_address() -> None:
    limited = throttle(limit=1)
    assert statuses(1, limited, user=User(1)) == [200]
    assert statuses(1, limited, REMOTE_ADDR="192.0.2.1") == [200]
    for key in ("user 1", "1", "address 192.0.2.1", "192.0.2.1"):
        assert statuses(1, limited, HTTP_X_API_KEY=key) == [200]


def test_an_address_is_not_what_the_client_says_it_is() -> None:
    limited = throttle(limit=1)
    forwarded: list[dict[str, Any]] = [
        {"HTTP_X_FORWARDED_FOR": f"192.0.2.{n}"} for n in range(2)
    ]
    assert [get(limited, **given).status_code for given in forwarded] == [200, 429]


def test_an_address_is_what_trusted_proxies_say_it_is(configure: Configure) -> None:
    configure(NUM_PROXIES=1)
    limited = throttle(limit=1)
    forwarded: list[dict[str, Any]] = [
        {"HTTP_X_FORWARDED_FOR": f"198.51.100.{spoofed}, 192.0.2.{client}"}
        for spoofed, client in ((1, 1), (2, 1), (2, 2))
    ]
    assert [get(limited, **given).status_code for given in forwarded] == [
        *(200, 429, 200)
    ]


def test_bytes_of_a_key_are_counted_in_a_scope_too() -> None:
    assert statuses(3, throttle(scope="burst"), HTTP_X_API_KEY="\xe4") == [
        *(200, 200, 429)
    ]


def test_who_has_no_key_is_not_counted() -> None:
    class Nobody(MaveraThrottle):
        limit = 1

        def get_key(self, request: Any, view: Any) -> None:
            return None

    assert statuses(3, Nobody) == [200] * 3


def test_the_longest_wait_of_several_throttles_is_told() -> None:
    throttles = throttle(scope="burst"), throttle(scope="user")
    assert statuses(3, *throttles) == [200, 200, 429]
    assert get(*throttles)["Retry-After"] == "60"
