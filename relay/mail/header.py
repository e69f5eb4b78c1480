"""Header sections of messages: cutting, reading, adding (values).

A header section is kept as a tuple of fields, each with its exact octets (folding, CRLF), so that what passes
through leaves as it came. RFC 5322 2.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from relay.mail.text import from_wire, to_wire

# A name should be US-ASCII (RFC 5322 2.2). One that is not is a name all the same: `verify = header_names_ascii`
# refuses it where somebody asks, and what passes through leaves as it came.
_FIELD_START = re.compile(rb"([!-9;-~\x80-\xff]+)[ \t]*:")


@dataclass(frozen=True, slots=True)
class Field:
    """One header field; `raw` has its CRLF and any folding, `name` is as it was written."""

    name: str
    raw: bytes

    @property
    def value(self) -> bytes:
        """The body of the field, unfolded, without surrounding white space."""
        body = self.raw.partition(b":")[2]
        return re.sub(rb"\r?\n(?=[ \t])", b"", body).strip()

    @property
    def folded(self) -> bytes:
        """The body of the field with its line breaks as LF, without surrounding white space."""
        return self.raw.partition(b":")[2].replace(b"\r\n", b"\n").strip()

    def is_named(self, name: str) -> bool:
        return self.name.lower() == name.lower()


def make_field(name: str, value: str) -> Field:
    """A field that we write ourselves; line breaks in `value` must already be folded with CRLF and white space."""
    text = f"{name}: {value}\r\n"
    return Field(name, to_wire(text))


def split_header(raw: bytes) -> tuple[tuple[Field, ...], bytes]:
    """Cuts a header section (with or without the empty line that ends it) into fields.

    Returns the fields and what is left: b"" or the octets from the first line that is no field on, which then belong
    to the body (a message without a blank line before its text, RFC 5322 2.1).
    """
    fields: list[Field] = []
    name: str | None = None
    start = position = 0
    while position < len(raw):
        end = raw.find(b"\n", position)
        end = len(raw) if end < 0 else end + 1
        if raw[position : position + 1] in (b" ", b"\t") and name is not None:
            position = end
            continue
        if name is not None:
            fields.append(Field(name, raw[start:position]))
            name = None
        if raw[position:end] in (b"\r\n", b"\n"):
            return tuple(fields), raw[end:]
        match = _FIELD_START.match(raw, position)
        if not match:
            return tuple(fields), raw[position:]
        name, start = from_wire(match.group(1)), position
        position = end
    if name is not None:
        fields.append(Field(name, raw[start:position]))
    return tuple(fields), b""


def join_fields(fields: tuple[Field, ...]) -> bytes:
    """The header section as octets, without the empty line that ends it."""
    return b"".join(field.raw for field in fields)
