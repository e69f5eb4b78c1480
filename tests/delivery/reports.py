"""Reports, read back by Python's email package as any program would read them."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from typing import Any

from relay.delivery.report import Report


def read(report: Report) -> EmailMessage:
    whole = report.message.header + b"\r\n" + report.body
    assert not whole.replace(b"\r\n", b"").count(b"\n")
    assert not whole.replace(b"\r\n", b"").count(b"\r")
    return email.message_from_bytes(whole, policy=email.policy.default)  # type: ignore[return-value]


def parts(report: Report) -> list[EmailMessage]:
    """The text for people, the part for programs, and what is returned, where something is."""
    read_back = read(report)
    assert read_back.get_content_type() == "multipart/report"
    assert read_back.get_param("report-type") == "delivery-status"
    assert not read_back.defects
    found = list(read_back.iter_parts())
    assert found[0].get_content_type() == "text/plain"
    return found  # type: ignore[return-value]


def blocks(machine: EmailMessage) -> list[Any]:
    return machine.get_payload()  # type: ignore[return-value]


def words(part: EmailMessage) -> str:
    return " ".join(str(part.get_content()).split())


def text_of(part: EmailMessage) -> str:
    return str(part.get_content()).replace("\r\n", "\n")
