"""Named groups of finite-field Diffie-Hellman, and the texts of `tls_dhparam` (machine).

The groups are computed from the formulas of their RFCs rather than kept as tables of digits.
"""

from __future__ import annotations

import base64
import re
from functools import cache

DEFAULT = "ffdhe2048"
SMALLEST = 1024
"""Bits below which OpenSSL refuses parameters."""

# RFC 7919 appendix A: p = 2^b - 2^(b-64) + (floor(2^(b-130) e) + X) 2^64 - 1.
_FFDHE = {2048: 560316, 3072: 2625351, 4096: 5736041, 6144: 15705020, 8192: 10965728}
# RFC 2409 6.2, RFC 3526: p = 2^b - 2^(b-64) - 1 + 2^64 (floor(2^(b-130) pi) + X).
_MODP = {
    1024: 129093, 1536: 741804, 2048: 124476, 3072: 1690314, 4096: 240904, 6144: 929484, 8192: 4743158,
}  # fmt: skip
_IKE = {"ike2": 1024, "ike5": 1536, "ike14": 2048, "ike15": 3072, "ike16": 4096, "ike17": 6144, "ike18": 8192}
# Groups of Exim's whose origin nobody can check (RFC 5114, or made by one person), and ike1, which is too small.
_REPLACED = frozenset({
    "ike1", "ike22", "ike23", "ike24", "exim.dev.20160529.1", "exim.dev.20160529.2", "exim.dev.20160529.3",
})  # fmt: skip
_WORDS = frozenset({"none", "historic", "default"})
_HISTORIC_BITS = 2048
NAMES = tuple(sorted({*_WORDS, *_IKE, *_REPLACED, *(f"ffdhe{bits}" for bits in _FFDHE)}))
_SIZE = re.compile(r"[1-9][0-9]{2,4}")


class BadParameters(ValueError):
    """The text names no parameters."""


def check_name(text: str) -> str:
    """What an operator should know of a `tls_dhparam` that is no file: a remark, or "". Raises BadParameters."""
    if not text or text.startswith("/"):
        return ""
    if text in _REPLACED:
        return f"{text} is no longer used by anybody who can choose: {DEFAULT} takes its place"
    if _SIZE.fullmatch(text):
        if int(text) < SMALLEST:
            raise BadParameters(f"{text} bits are too few for Diffie-Hellman")
        return ""
    if text not in NAMES:
        raise BadParameters(f'"{text[:60]}" is neither a file nor a known group of Diffie-Hellman')
    return ""


def own_size(text: str) -> int:
    """Bits of the parameters that are to be made for this host; 0 where none are asked for."""
    if text == "historic":
        return _HISTORIC_BITS
    return int(text) if _SIZE.fullmatch(text) and int(text) >= SMALLEST else 0


@cache
def named_group(name: str) -> bytes:
    """The PEM form of a named group. Raises BadParameters."""
    if name in _REPLACED or name == "default":
        name = DEFAULT
    if name in _IKE:
        bits = _IKE[name]
        return _pem(_prime(bits, _pi(bits) + _MODP[bits]))
    bits = int(name.removeprefix("ffdhe")) if name.startswith("ffdhe") and name[5:].isdigit() else 0
    if bits not in _FFDHE:
        raise BadParameters(f'"{name[:60]}" is neither a file nor a known group of Diffie-Hellman')
    return _pem(_prime(bits, _e(bits) + _FFDHE[bits]))


def group_of_size(bits: int) -> bytes:
    """The largest named group of at most so many bits; the smallest one where all are larger."""
    return named_group(f"ffdhe{max((each for each in _FFDHE if each <= bits), default=min(_FFDHE))}")


def _prime(bits: int, middle: int) -> int:
    return (1 << bits) - (1 << (bits - 64)) - 1 + (middle << 64)


def _e(bits: int) -> int:
    """floor(2^(bits-130) e), from the series of 1/n!."""
    guard = 64
    term = total = 1 << (bits - 130 + guard)
    number = 1
    while term:
        total += term
        number += 1
        term //= number
    return total >> guard


def _pi(bits: int) -> int:
    """floor(2^(bits-130) pi), by Machin's formula."""
    guard = 64
    one = 1 << (bits - 130 + guard)
    return 4 * (4 * _arctangent(5, one) - _arctangent(239, one)) >> guard


def _arctangent(inverse: int, one: int) -> int:
    power = total = one // inverse
    number, sign = 1, 1
    while power:
        power //= inverse * inverse
        number += 2
        sign = -sign
        total += sign * (power // number)
    return total


def _pem(prime: int) -> bytes:
    """PKCS #3: SEQUENCE of prime and generator 2, both INTEGER."""
    content = _der(2, b"\0" + prime.to_bytes((prime.bit_length() + 7) // 8, "big")) + _der(2, b"\2")
    octets = base64.encodebytes(_der(0x30, content)).replace(b"\n", b"")
    lines = [octets[start : start + 64] for start in range(0, len(octets), 64)]
    return b"-----BEGIN DH PARAMETERS-----\n" + b"\n".join(lines) + b"\n-----END DH PARAMETERS-----\n"


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


BLOCK = re.compile(
    rb"-----BEGIN (?:X9\.42 )?DH PARAMETERS-----([A-Za-z0-9+/=\s]+)-----END (?:X9\.42 )?DH PARAMETERS-----"
)


def size_in_bits(pem: bytes) -> int:
    """Bits of the prime; 0 where there is none."""
    found = BLOCK.search(pem)
    if found is None:
        return 0
    try:
        der = base64.b64decode(found.group(1))
        inner = _content(der, 0x30)
        return int.from_bytes(_content(inner, 2), "big").bit_length()
    except (ValueError, IndexError):
        return 0


def _content(der: bytes, tag: int) -> bytes:
    if der[0] != tag:
        raise ValueError("another tag")
    size, start = der[1], 2
    if size & 0x80:
        start = 2 + (size & 0x7F)
        size = int.from_bytes(der[2:start], "big")
    if len(der) < start + size:
        raise ValueError("cut short")
    return der[start : start + size]
