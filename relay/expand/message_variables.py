"""The variables of the message and of the address in hand (decision)."""

from __future__ import annotations

from collections.abc import Callable

from relay.expand.headers import header_text
from relay.expand.scope import AddressView, Evaluator, Frame, Getter, MessageView, Test
from relay.expand.splitting import join_list
from relay.expand.tree import HeaderForm
from relay.expand.values import Value, from_a_header, from_octets
from relay.mail.address import Address

_NO_MESSAGE = MessageView()
_NO_ADDRESS = AddressView()
_BREAKS = bytes.maketrans(b"\n\0", b"  ")
_ZEROS = bytes.maketrans(b"\0", b" ")


def _message(frame: Frame) -> MessageView:
    return frame.scope.message or _NO_MESSAGE


def _text(address: Address | None) -> str:
    """As a command would say it: in quotes where they are needed."""
    return str(address) if address is not None else ""


def _sender(frame: Frame) -> Value:
    return _text(_message(frame).sender)


def _sender_domain(frame: Frame) -> Value:
    sender = _message(frame).sender
    return sender.domain if sender else ""


def _sender_local_part(frame: Frame) -> Value:
    sender = _message(frame).sender
    return sender.local_part if sender else ""


def _recipients(frame: Frame) -> Value:
    message = _message(frame)
    return ", ".join(map(_text, message.recipients)) if message.recipients_visible else ""


def _recipients_list(frame: Frame) -> Value:
    message = _message(frame)
    return join_list(map(_text, message.recipients)) if message.recipients_visible else ""


def _received_count(frame: Frame) -> Value:
    return str(sum(field.is_named("received") for field in _message(frame).header))


def _received_time(frame: Frame) -> Value:
    at = _message(frame).received_at
    return "0" if at is None else str(int(at))


def _message_age(frame: Frame) -> Value:
    at = _message(frame).received_at
    return "0" if at is None else str(max(0, int(frame.scope.now - at)))


def _reply_address(frame: Frame) -> Value:
    header = _message(frame).header
    for name in ("reply-to", "from"):
        text = header_text(header, name, HeaderForm.RAW)
        if text is not None and text.strip():
            return text.strip().replace("\n", " ")
    return ""


def _message_headers(raw: bool) -> Getter:
    def get(frame: Frame) -> Value:
        text = header_text(_message(frame).header, None, HeaderForm.RAW if raw else HeaderForm.DECODED)
        return text or ""

    return get


def _address(read: Callable[[AddressView], str]) -> Getter:
    return lambda frame: read(frame.scope.address or _NO_ADDRESS)


def _body(read: Callable[[MessageView], bytes]) -> Getter:
    """A piece of the body on one line. Exim: message_body_newlines keeps the line ends."""

    def get(frame: Frame) -> Value:
        keeps_lines = frame.scope.main.get("message_body_newlines", "") in ("true", "yes")
        return from_octets(read(_message(frame)).translate(_ZEROS if keeps_lines else _BREAKS))

    return get


def _count(read: Callable[[MessageView], int]) -> Getter:
    return lambda frame: str(read(_message(frame)))


# Name: reader, whether its text comes from outside.
TABLE: dict[str, tuple[Getter, bool]] = {
    "body_linecount": (_count(lambda message: message.body_lines), False),
    "body_zerocount": (_count(lambda message: message.body_zeros), False),
    "max_received_linelength": (_count(lambda message: message.longest_line), False),
    "message_body": (_body(lambda message: message.body_start), True),
    "message_body_end": (_body(lambda message: message.body_end), True),
    "message_body_size": (_count(lambda message: message.body_size), False),
    "message_linecount": (_count(lambda message: message.lines), False),
    "message_size": (_count(lambda message: message.size), False),
    "message_smtputf8": (lambda frame: "yes" if _message(frame).is_internationalised else "no", False),
    "message_age": (_message_age, False),
    "message_exim_id": (lambda frame: _message(frame).message_id, False),
    "message_headers": (_message_headers(raw=False), True),
    "message_headers_raw": (_message_headers(raw=True), True),
    "message_id": (lambda frame: _message(frame).message_id, False),
    "rcpt_count": (_count(lambda message: message.tried_recipients), False),
    "rcpt_defer_count": (_count(lambda message: message.deferred_recipients), False),
    "rcpt_fail_count": (_count(lambda message: message.rejected_recipients), False),
    "received_count": (_received_count, False),
    "received_time": (_received_time, False),
    "recipients": (_recipients, True),
    "recipients_count": (_count(lambda message: len(message.recipients)), False),
    "recipients_list": (_recipients_list, True),
    "reply_address": (_reply_address, True),
    "sender_address": (_sender, True),
    "sender_address_domain": (_sender_domain, True),
    "sender_address_local_part": (_sender_local_part, True),
    # The address in hand
    "address_data": (_address(lambda view: view.address_data), False),
    "domain": (_address(lambda view: view.domain), True),
    "local_part": (_address(lambda view: view.local_part), True),
    "local_part_prefix": (_address(lambda view: view.prefix), True),
    "local_part_prefix_v": (_address(lambda view: view.prefix_wild), True),
    "local_part_suffix": (_address(lambda view: view.suffix), True),
    "local_part_suffix_v": (_address(lambda view: view.suffix_wild), True),
    "original_domain": (_address(lambda view: view.original_domain), True),
    "original_local_part": (_address(lambda view: view.original_local_part), True),
    "parent_domain": (_address(lambda view: view.parent_domain), True),
    "parent_local_part": (_address(lambda view: view.parent_local_part), True),
    "domain_data": (lambda frame: frame.scope.domain_data, False),
    "host_data": (lambda frame: frame.scope.host_data, False),
    "local_part_data": (lambda frame: frame.scope.local_part_data, False),
    "recipient_data": (lambda frame: frame.scope.recipient_data, False),
    "sender_data": (lambda frame: frame.scope.sender_data, False),
}


def router_variable(name: str) -> Getter:
    """`$r_name`, given without its `r_`."""
    return _address(lambda view: view.router_variables.get(name, ""))


def header_getter(name: str, form: HeaderForm) -> Evaluator:
    """`$h_name:` and its relatives."""

    async def get(frame: Frame) -> Value:
        text = header_text(_message(frame).header, name, form)
        return from_a_header(text) if text else ""

    return get


def header_test(name: str) -> Test:
    """`def:h_name:`: is there such a field?"""

    async def test(frame: Frame) -> bool:
        return any(field.is_named(name) for field in _message(frame).header)

    return test
