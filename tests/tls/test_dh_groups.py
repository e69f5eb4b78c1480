"""Named groups of Diffie-Hellman: the right primes, and what a name is good for."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.tls.dh_groups import (
    DEFAULT,
    NAMES,
    BadParameters,
    check_name,
    group_of_size,
    named_group,
    own_size,
    size_in_bits,
)

SIZES = {
    "ike2": 1024, "ike5": 1536, "ike14": 2048, "ike15": 3072, "ike16": 4096, "ike17": 6144, "ike18": 8192,
    "ffdhe2048": 2048, "ffdhe3072": 3072, "ffdhe4096": 4096, "ffdhe6144": 6144, "ffdhe8192": 8192,
}  # fmt: skip
# The last octets before the final 64 bits of ones, as RFC 2409, RFC 3526 and RFC 7919 print them.
ENDS = {
    "ike2": "ece65381", "ike5": "ca237327", "ike14": "8aacaa68", "ike15": "a93ad2ca", "ike18": "98edd3df",
    "ffdhe2048": "61285c97", "ffdhe3072": "66c62e37", "ffdhe4096": "5e655f6a", "ffdhe6144": "d0e40e65",
    "ffdhe8192": "c5c6424c",
}  # fmt: skip


def prime(name: str) -> int:
    import base64

    der = base64.b64decode(b"".join(named_group(name).splitlines()[1:-1]))
    start = der.index(b"\x02\x82" if len(der) > 260 else b"\x02\x81", 1)
    octets = der[start + (4 if der[start + 1] == 0x82 else 3) : -3]
    return int.from_bytes(octets, "big")


def is_probably_prime(number: int) -> bool:
    return pow(2, number - 1, number) == 1


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name: str) -> None:
    assert size_in_bits(named_group(name)) == SIZES[name]
    assert prime(name).bit_length() == SIZES[name]


@pytest.mark.parametrize("name", ENDS)
def test_the_digits_of_the_rfcs(name: str) -> None:
    shown = f"{prime(name):x}"
    assert shown.startswith("f" * 16)
    assert shown.endswith(ENDS[name] + "f" * 16)


@pytest.mark.parametrize("name", ["ike2", "ike14", "ffdhe2048"])
def test_they_are_safe_primes(name: str) -> None:
    number = prime(name)
    assert is_probably_prime(number)
    assert is_probably_prime((number - 1) // 2)


@pytest.mark.parametrize("name", ["ike1", "ike22", "ike23", "ike24", "exim.dev.20160529.1"])
def test_groups_that_nobody_should_use_are_replaced_and_it_is_said(name: str) -> None:
    assert named_group(name) == named_group(DEFAULT)
    assert DEFAULT in check_name(name)


@pytest.mark.parametrize("text", ["", "none", "historic", "default", "ffdhe2048", "ike14", "2048", "/etc/dh.pem"])
def test_texts_without_a_remark(text: str) -> None:
    assert check_name(text) == ""


@pytest.mark.parametrize("text", ["bogus", "512", "ffdhe", "ffdhe1024", "ike3", "dh.pem", "99999999"])
def test_texts_that_mean_nothing(text: str) -> None:
    with pytest.raises(BadParameters):
        check_name(text)


@pytest.mark.parametrize(("text", "bits"), [("historic", 2048), ("3072", 3072), ("ffdhe2048", 0), ("", 0), ("512", 0)])
def test_sizes_that_are_asked_for(text: str, bits: int) -> None:
    assert own_size(text) == bits


def test_a_group_stands_in_for_a_size() -> None:
    assert group_of_size(2500) == named_group("ffdhe2048")
    assert group_of_size(3072) == named_group("ffdhe3072")
    assert group_of_size(1024) == named_group("ffdhe2048")


def test_every_name_has_a_group_or_a_meaning() -> None:
    for name in NAMES:
        if name not in ("none", "historic"):
            assert size_in_bits(named_group(name)) >= 1024
    assert len({hashlib.sha256(named_group(name)).digest() for name in SIZES}) == len(SIZES)
    with pytest.raises(BadParameters):
        named_group("bogus")


@given(st.binary(max_size=80))
def test_anything_else_has_no_size(octets: bytes) -> None:
    assert size_in_bits(octets) == 0
    assert isinstance(size_in_bits(b"-----BEGIN DH PARAMETERS-----\n" + octets + b"-----END DH PARAMETERS-----"), int)
