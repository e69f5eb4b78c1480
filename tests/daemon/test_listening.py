"""What the first line of the log says of the ports."""

from dataclasses import dataclass

import pytest

from relay.config.read import read_configuration
from relay.daemon.listening import Listener, listening_on, smtp_listeners, split_interface
from relay.daemon.wishes import Wishes
from relay.mail.source import ConfigurationError, Location


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
            "listening for SMTP on [::1]:25 and for SMTPS on [::1]:{465,466}",
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
    ("text", "address", "port"),
    [
        ("127.0.0.1", "127.0.0.1", None),
        ("127.0.0.1.2525", "127.0.0.1", 2525),
        ("[::1]:2525", "::1", 2525),
        ("[::1]", "::1", None),
        ("::1.2525", "::1", 2525),
        ("::0.25", "::0", 25),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1", None),
        ("::ffff:192.0.2.1.25", "::ffff:192.0.2.1", 25),
    ],
)
def test_an_address_may_have_a_port_behind_a_dot(text: str, address: str, port: int | None) -> None:
    assert split_interface(text, Location("conf", 1)) == (address, port)


@pytest.mark.parametrize("text", ["", "localhost", "::1.x", "::1.", "192.0.2.1.2.25"])
def test_what_is_no_address_is_an_error(text: str) -> None:
    with pytest.raises(ConfigurationError):
        split_interface(text, Location("conf", 1))


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
