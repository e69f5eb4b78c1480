"""The macros that are there before a configuration begins: what this program has, as `.ifdef` asks for it
(values).

Names as Exim gives them: `_HAVE_TLS`, `_HAVE_OPENSSL`, `_DRIVER_ROUTER_ACCEPT`, `_OPT_MAIN_TLS_CERTIFICATE`,
`_OPT_TRANSPORT_SMTP_HOSTS_REQUIRE_TLS`, `_ACL_COND_HOSTS`. Only what is served is named, so that a
configuration with `.ifdef` leaves out what it can do without. Ours is `_HAVE_FINGERPOST`.
"""

from __future__ import annotations

from collections.abc import Iterator

from relay.config.driver_options import DRIVERS, GENERIC
from relay.config.main_options import MAIN_OPTIONS
from relay.config.options import Standing
from relay.policy.acl_conditions import CONDITIONS
from relay.policy.acl_modifiers import MODIFIERS

_FEATURES = ("TLS", "OPENSSL", "IPV6", "TLS_RESUME", "FINGERPOST")


def built_in_macros() -> dict[str, str]:
    """All of them; each stands for "y"."""
    return dict.fromkeys(_names(), "y")


def _names() -> Iterator[str]:
    for feature in _FEATURES:
        yield f"_HAVE_{feature}"
    for option in MAIN_OPTIONS.values():
        if option.standing is Standing.USED:
            yield f"_OPT_MAIN_{option.name.upper()}"
    for section, options in GENERIC.items():
        for option in options.values():
            if option.standing is Standing.USED:
                yield f"_OPT_{section.upper()}_{option.name.upper()}"
    for (section, _), driver in DRIVERS.items():
        if not driver.served:
            continue
        word = section.removesuffix("s").upper()
        yield f"_DRIVER_{word}_{driver.name.upper()}"
        for option in driver.options.values():
            if option.standing is Standing.USED:
                yield f"_OPT_{word}_{driver.name.upper()}_{option.name.upper()}"
    for name in CONDITIONS:
        yield f"_ACL_COND_{name.upper()}"
    for name in (*MODIFIERS, "message", "log_message", "endpass"):
        yield f"_ACL_MOD_{name.upper()}"
