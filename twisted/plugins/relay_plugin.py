"""Tells twistd that there is a service called `relay`; the service itself is made in `relay.tap`."""

from twisted.application.service import ServiceMaker

# The names of the variables mean nothing to twistd: it collects every service maker of this module.
relay = ServiceMaker(
    "Fingerpost mail relay",
    "relay.tap",
    "A mail relay whose trust is certificates.",
    "relay",
)
