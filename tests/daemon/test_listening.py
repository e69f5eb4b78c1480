"""What the first line of the log says of the ports."""

from dataclasses import dataclass

import pytest

from relay.config.read import read_configuration
from relay.daemon.listening import Listener, listening_on, smtp_listeners
from relay.daemon.wishes import Wishes
from relay.mail.source import Location


@dataclass
class Host:
    host: str
    port: int


@dataclass
class Port:
    place: Host

    def getHost(self) -> Host:  # Twisted's name
        return self.place


@pytest.mark.parametrize(
    ("ports", "words"),
    [
        ([], "not listening for SMTP"),
        ([("127.0.0.1", 25, False), ("::1", 25, False)], "listening for SMTP on [127.0.0.1]:25 [::1]:25"),
        ([("::", 25, False)], "listening for SMTP on port 25 (IPv6 and IPv4)"),
        ([("0.0.0.0", 465, True)], "listening for SMTPS on port 465 (IPv4)"),
        (
            [("::1", 465, True), ("::1", 25, False), ("::1", 466, True)],
            "listening for SMTP on [::1]:25 and for SMTPS on [::1]:465 [::1]:466",
        ),
    ],
)
def test_the_words_are_exims(ports: list[tuple[str, int, bool]], words: str) -> None:
    pairs = [
        (Listener(address, number, secure, 20, Location("conf", 1)), Port(Host(address, number)))
        for address, number, secure in ports
    ]
    assert listening_on(pairs) == words


@pytest.mark.parametrize(
    ("lines", "addresses"),
    [
        ("", ["0.0.0.0"]),
        ("local_interfaces = <; ::1 ; 127.0.0.1 ; [::1]:2525", ["127.0.0.1"]),
    ],
)
def test_without_ipv6_nobody_listens_there(lines: str, addresses: list[str]) -> None:
    text = f"disable_ipv6\ndaemon_smtp_ports = 2500\n{lines}\n"
    configuration = read_configuration("/etc/conf", lambda _: text, host_name="here.test")
    assert [each.address for each in smtp_listeners(configuration, Wishes())] == addresses
