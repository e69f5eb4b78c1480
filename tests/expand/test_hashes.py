"""The condition `crypteq`."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest


@dataclass
class FakePasswords:
    """Knows one password."""

    asked: list[tuple[bytes, str, str]] = field(default_factory=list)

    async def matches(self, password: bytes, stored: str, scheme: str) -> bool:
        self.asked.append((password, stored, scheme))
        return password == b"good"


@pytest.mark.parametrize(
    "password, stored, wanted",
    [
        ("test", "{md5}CY9rzUYh03PK3k6DJie09g==", "y"),
        ("test", "{MD5}098F6BCD4621d373cade4e832627b4f6", "y"),
        ("test", "{md5}198f6bcd4621d373cade4e832627b4f6", "n"),
        ("test", "{md5}098f6bcd", "n"),
        ("test", "{md5}", "n"),
        ("abc", "{sha1}qZk+NkcGgWq6PiVxeFDCbJzQ2J0=", "y"),
        ("abc", "{sha1}a9993e364706816aba3e25717850c26c9cd0d89d", "y"),
        ("abd", "{sha1}a9993e364706816aba3e25717850c26c9cd0d89d", "n"),
        ("abc", "{nosuch}x", 'Failed: unknown encryption mechanism in "{nosuch}x"'),
        ("abc", "{}x", 'Failed: unknown encryption mechanism in "{}x"'),
        ("abc", "{md5", 'Failed: unknown encryption mechanism in "{md5"'),
        ("abc", "", "n"),
        ("abc", "x", "n"),
        ("abc", "xy", "Failed: passwords can't be compared here"),
    ],
)
def test_what_needs_no_library(expand, password: str, stored: str, wanted: str) -> None:
    assert expand(f"${{if crypteq{{{password}}}{{\\N{stored}\\N}}{{y}}{{n}}}}") == wanted


@pytest.mark.parametrize(
    "stored, asked",
    [
        ("$6$salt$hash", ("$6$salt$hash", "")),
        ("{crypt}ab1234", ("ab1234", "crypt")),
        ("{CRYPT16}ab1234", ("ab1234", "crypt16")),
        ("{SCRAM-SHA-256}4096,x$y:z", ("{SCRAM-SHA-256}4096,x$y:z", "")),
    ],
)
def test_what_is_asked_of_the_port(expand, stored: str, asked: tuple[str, str]) -> None:
    passwords = FakePasswords()
    text = f"${{if crypteq{{good}}{{\\N{stored}\\N}}{{y}}{{n}}}}${{if crypteq{{bad}}{{\\N{stored}\\N}}{{y}}{{n}}}}"
    assert expand(text, passwords=passwords) == "yn"
    assert passwords.asked == [(b"good", *asked), (b"bad", *asked)]
