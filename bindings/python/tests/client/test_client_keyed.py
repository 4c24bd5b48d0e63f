from __future__ import annotations

import subprocess
import sys

import pytest

from mavera_rl.client.keyed import Keyed


class Thing:
    def __init__(self, key: object) -> None:
        self.key = key
        self.owing = False

    def owes(self) -> bool:
        return self.owing


def use(keyed: Keyed[Thing], key: str) -> Thing:
    with keyed.lease(key) as thing:
        return thing


def test_a_key_keeps_its_state() -> None:
    keyed = Keyed(Thing, 2)
    assert use(keyed, "a") is use(keyed, "a")
    assert keyed.get("a") is use(keyed, "a")
    assert keyed.get("b") is None


def test_the_least_recently_used_idle_key_is_forgotten() -> None:
    keyed = Keyed(Thing, 2)
    for key in ("a", "b", "a", "c"):
        use(keyed, key)
    assert keyed.get("b") is None
    assert keyed.get("a") and keyed.get("c")


def test_a_key_that_owes_is_never_forgotten() -> None:
    keyed = Keyed(Thing, 2)
    use(keyed, "a").owing = True
    for key in ("b", "c", "d"):
        use(keyed, key).owing = True
    assert len(keyed) == 4
    for key in ("a", "b", "c"):
        use(keyed, key).owing = False
    use(keyed, "d")
    assert len(keyed) == 2


def test_a_key_in_use_is_never_forgotten() -> None:
    keyed = Keyed(Thing, 1)
    with keyed.lease("a") as thing:
        use(keyed, "b")
        assert keyed.get("a") is thing


def test_a_lease_ends_with_an_exception_too() -> None:
    keyed = Keyed(Thing, 1)
    with pytest.raises(ZeroDivisionError), keyed.lease("a"):
        raise ZeroDivisionError
    use(keyed, "b")
    assert keyed.get("a") is None


@pytest.mark.parametrize("library", ["httpx", "requests"])
def test_a_missing_library_is_told_with_its_extra(library: str) -> None:
    code = (
        "import sys\n"
        f"sys.modules[{library!r}] = None\n"
        "import mavera_rl.client\n"
        "try:\n"
        f"    import mavera_rl.client.{library}\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert f'pip install "mavera-rl[{library}]"' in shown.stdout


def test_the_package_itself_needs_no_http_library() -> None:
    code = (
        "import sys, mavera_rl.client\n"
        "print([n for n in ('httpx', 'requests') if n in sys.modules])\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"
