"""What may be a key."""

from __future__ import annotations

import pytest

from mavera_rl import InvalidKeyError, Limiter


def used(limiter: Limiter, key: str | bytes) -> int:
    return limiter.check(key, limit=100).used


def test_a_str_is_its_utf_8(limiter: Limiter) -> None:
    assert used(limiter, "schlüssel-🔑") == 1
    assert used(limiter, "schlüssel-🔑".encode()) == 2
    assert used(limiter, "schlussel-🔑") == 1


def test_any_bytes_are_a_key(limiter: Limiter) -> None:
    for key in b"\0", b"\0\0", b"\xff\xfe", bytes(range(256)):
        assert used(limiter, key) == 1
    assert used(limiter, "\0") == 2


def test_a_mebibyte_is_a_key(limiter: Limiter) -> None:
    key = "x" * (1 << 20)
    assert used(limiter, key) == 1
    assert used(limiter, key[:-1] + "y") == 1
    assert used(limiter, key) == 2


@pytest.mark.parametrize("key", ["", b""])
def test_an_empty_key_is_an_error(limiter: Limiter, key: str | bytes) -> None:
    with pytest.raises(InvalidKeyError, match="key is empty") as caught:
        limiter.check(key, limit=1)
    assert isinstance(caught.value, ValueError)


def test_a_lone_surrogate_is_an_error(limiter: Limiter) -> None:
    with pytest.raises(InvalidKeyError, match="UTF-8") as caught:
        limiter.check("\ud800", limit=1)
    assert isinstance(caught.value.__cause__, UnicodeEncodeError)


@pytest.mark.parametrize("key", [None, 7, 1.5, bytearray(b"k"), ["k"]])
def test_anything_else_is_an_error_of_type(limiter: Limiter, key: object) -> None:
    for call in (
        lambda: limiter.check(key, limit=1),  # type: ignore[arg-type]
        lambda: limiter.peek(key, limit=1),  # type: ignore[arg-type]
        lambda: limiter.permit(key, "/mave/chat"),  # type: ignore[arg-type]
        lambda: limiter.admit(key, "/", limit=1),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match="key must be str or bytes"):
            call()
