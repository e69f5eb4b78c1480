"""What this program has, line by line as `exim -bV` says it (values).

Configuration tools and test suites read these lines to see what they may use; they come from the tables that do the
work.
"""

from __future__ import annotations

from collections.abc import Iterator

from relay.config.built_in import built_in_macros
from relay.config.driver_options import DRIVERS
from relay.expand import lookups

# Exim's words for features, by the macro that says the same.
_FEATURES = {
    "IPV6": "IPv6",
    "ICONV": "iconv()",
    "OPENSSL": "OpenSSL",
    "TLS_RESUME": "TLS_resume",
    "DANE": "DANE",
    "EVENT": "Event",
    "I18N": "I18N",
    "OCSP": "OCSP",
    "PIPE_CONNECT": "PIPECONNECT",
    "PRDR": "PRDR",
    "PROXY": "PROXY",
    "SOCKS": "SOCKS",
    "XCLIENT": "XCLIENT",
    "ESMTP_LIMITS": "ESMTP_Limits",
}


def feature_lines() -> Iterator[str]:
    """`Support for: …`, `Lookups (built-in): …` and a line for each kind of driver."""
    macros = built_in_macros()
    support = ["crypteq", *(word for name, word in _FEATURES.items() if f"_HAVE_{name}" in macros)]
    yield f"Support for: {' '.join(support)}"
    yield f"Lookups (built-in): {' '.join(sorted(lookups.SINGLE_KEY | lookups.QUERY_STYLE))}"
    for section in ("authenticators", "routers", "transports"):
        names = [each.name for each in DRIVERS.values() if each.section == section and each.served]
        if section == "transports" and "appendfile" in names:
            names[names.index("appendfile")] = "appendfile/maildir"
        yield f"{section.capitalize()}: {' '.join(sorted(names))}"
