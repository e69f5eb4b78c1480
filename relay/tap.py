"""The twistd plugin: `twistd -n relay -C FILE` (edge)."""

from __future__ import annotations

from twisted.application.service import IService
from twisted.python import usage

from relay.daemon.service import make_service
from relay.daemon.steady_clock import use_steady_clock
from relay.mail.source import ConfigurationError

DEFAULT_CONFIGURATION = "/etc/fingerpost/fingerpost.conf"


class Options(usage.Options):
    """Options behind `twistd relay`."""

    synopsis = "[-C FILE] [-D NAME=VALUE]"
    longdesc = "A mail relay whose trust is certificates, configured in Exim's language."
    optParameters = [  # noqa: RUF012 - Twisted's own form of an options table
        ["configuration", "C", DEFAULT_CONFIGURATION, "The configuration."],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's Options has no types
        self.macros: dict[str, str] = {}

    def opt_define(self, definition: str) -> None:
        """Define a macro: NAME=VALUE."""
        name, _, value = definition.partition("=")
        self.macros[name.strip()] = value.strip()

    opt_D = opt_define


def makeService(options: Options) -> IService:
    """The service that twistd runs; a mistake in the configuration is a usage error with every problem in it."""
    from twisted.internet import reactor  # twistd may have installed another one by now

    use_steady_clock(reactor)
    try:
        return make_service(reactor, options["configuration"], options.macros)
    except ConfigurationError as error:
        raise usage.UsageError(str(error)) from None
