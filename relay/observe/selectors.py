"""Exim's log selectors: their names, their defaults, and how an option's text chooses among them (values).

Every name of Exim's is known, so that a `log_selector` written for Exim is read without complaint; the
table says which of them change a line here. Some are ours: `+fingerpost` chooses them together. Who brings a
configuration of Exim's gets the lines that his log readers know: ours are off, and `+all` leaves them so. The
device name alone is on, because only an option of ours names a device.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

_WORD = re.compile(r"\s*([^\s+-][^\s+-]*|[+-]\s*[A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class Selector:
    """A row of the table. `has_effect` is false where nothing that we do is described by it (yet)."""

    name: str
    default: bool
    has_effect: bool = True
    ours: bool = False


_ROWS = (
    # Name, on by default, effect here (Exim: log_selector).
    Selector("8bitmime", False),
    Selector("acl_warn_skipped", True, has_effect=False),
    Selector("address_rewrite", False, has_effect=False),
    Selector("all_parents", False),
    Selector("arguments", False, has_effect=False),
    Selector("connection_id", False),
    Selector("configuration_notes", False, ours=True),
    Selector("connection_reject", True),
    Selector("daemon_stop", False, ours=True),
    Selector("delay_delivery", True, has_effect=False),
    Selector("deliver_time", False),
    Selector("delivery_size", False),
    Selector("dkim", True, has_effect=False),
    Selector("dkim_verbose", False, has_effect=False),
    Selector("dmarc", False, has_effect=False),
    Selector("dmarc_verbose", False, has_effect=False),
    Selector("dnslist_defer", True, has_effect=False),
    Selector("dnssec", False),
    Selector("etrn", True),
    Selector("host_lookup_failed", True),
    Selector("ident_timeout", False, has_effect=False),
    Selector("incoming_interface", False),
    Selector("incoming_port", False),
    Selector("lost_incoming_connection", True),
    Selector("millisec", False),
    Selector("msg_id", True),
    Selector("msg_id_created", False),
    Selector("outgoing_interface", True),
    Selector("outgoing_port", False),
    Selector("peer_name", True, ours=True),
    Selector("pid", False),
    Selector("pipelining", False),
    Selector("protocol_detail", False),
    Selector("proxy", False),
    Selector("queue_run", True),
    Selector("queue_time", False),
    Selector("queue_time_exclusive", True, has_effect=False),
    Selector("queue_time_overall", False),
    Selector("receive_time", False, has_effect=False),
    Selector("received_recipients", False),
    Selector("received_sender", False),
    Selector("rejected_header", True),
    Selector("retry_defer", True),
    Selector("return_path_on_delivery", False),
    Selector("sender_on_delivery", False),
    Selector("sender_verify_fail", True, has_effect=False),
    Selector("size_reject", True),
    Selector("skip_delivery", True, has_effect=False),
    Selector("smtp_confirmation", True),
    Selector("smtp_connection", False),
    Selector("smtp_incomplete_transaction", False),
    Selector("smtp_mailauth", False),
    Selector("smtp_no_mail", False),
    Selector("smtp_protocol_error", False),
    Selector("smtp_syntax_error", False),
    Selector("spf", False, has_effect=False),
    Selector("spf_verbose", False, has_effect=False),
    Selector("subject", False),
    Selector("tls_certificate_verified", True),
    Selector("tls_cipher", True),
    Selector("tls_client_certificate", False, ours=True),
    Selector("tls_fingerprint", False, ours=True),
    Selector("tls_group", False, ours=True),
    Selector("tls_on_connect", False),
    Selector("tls_peerdn", False),
    Selector("tls_resumption", False),
    Selector("tls_sni", False),
    Selector("unknown_in_list", False, has_effect=False),
)
SELECTORS = {row.name: row for row in _ROWS}
_TOGETHER = {
    "all": {row.name for row in _ROWS if not row.ours},
    "fingerpost": {row.name for row in _ROWS if row.ours},
}
_SYNONYMS = {"rejected_headers": "rejected_header"}


@dataclass(frozen=True, slots=True)
class LogSelectors:
    """The selectors that are on."""

    names: frozenset[str]

    def __contains__(self, name: str) -> bool:
        if name not in SELECTORS:
            raise KeyError(name)
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.names))


DEFAULT_SELECTORS = LogSelectors(frozenset(row.name for row in _ROWS if row.default))


def parse_selector(text: str) -> LogSelectors:
    """Reads `+name -name …` on top of the defaults, left to right; `+all` stands for every name
    of Exim's, `+fingerpost` for every one of ours, `-all` for both.

    ValueError says what is wrong, in Exim's words with the nearest known name behind them.
    """
    names = set(DEFAULT_SELECTORS.names)
    position = 0
    text = text.rstrip()
    while position < len(text):
        match = _WORD.match(text, position)
        assert match is not None  # the pattern's two halves cover every non-space character
        word, position = match.group(1), match.end()
        if word[0] not in "+-":
            raise ValueError(f'malformed log_selector setting: + or - expected but found "{word}"')
        name = word[1:].strip().lower()
        name = _SYNONYMS.get(name, name)
        if (word[0], name) == ("-", "all"):
            chosen = set(SELECTORS)
        elif name in _TOGETHER:
            chosen = _TOGETHER[name]
        elif name in SELECTORS:
            chosen = {name}
        else:
            near = difflib.get_close_matches(name, [*SELECTORS, *_TOGETHER], n=1)
            hint = f' (did you mean "{word[0]}{near[0]}"?)' if near else ""
            raise ValueError(f"unknown log_selector setting: {word[0]}{name}{hint}")
        names = names | chosen if word[0] == "+" else names - chosen
    return LogSelectors(frozenset(names))
