"""No end of data but CRLF.CRLF: what is hidden behind another one is never a message of its own.

Through us to real servers, from them to us, and at our own door with the text cut between any two octets.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import daemons

import certs
from interop import exim, peers, postfix
from interop.smuggling import RECIPIENT, SENDER, VARIANTS, Client, message, stuffed, subjects

# Those that are but text: no bare CR, no bare LF, no end of data.
HARMLESS = {name for name, octets in VARIANTS.items() if not set(octets.replace(b"\r\n", b"")) & set(b"\r\n")}


def laptop_of_ours(directory: Path, smarthost: int, transport: str = "") -> AbstractContextManager[daemons.Daemon]:
    port = peers.free_port()
    directory.mkdir(exist_ok=True)
    anchor = directory / "relay.crt"
    anchor.write_bytes(certs.relay().cert_pem)
    lines = f"tls_verify_certificates = {anchor}\n  {transport}"
    return daemons.running(
        directory, daemons.laptop_configuration(directory, port, certs.laptop(), smarthost, lines), port
    )


def relay_of_ours(directory: Path) -> AbstractContextManager[daemons.Daemon]:
    port, laptop = peers.free_port(), certs.laptop()
    text = daemons.relay_configuration(directory, port, certs.relay(), [laptop], trusted=[laptop])
    return daemons.running(directory, text, port)


# At our own door


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[daemons.Daemon]:
    with relay_of_ours(tmp_path_factory.mktemp("smuggling")) as daemon:
        yield daemon


def halves(text: bytes, name: str) -> Iterator[tuple[bytes, bytes]]:
    """The text cut at each octet of the odd end, and on both sides of it."""
    start = text.index(b"Good morning.") + len(b"Good morning.")
    for at in range(start, start + len(VARIANTS[name]) + 1):
        yield text[:at], text[at:]


@pytest.mark.parametrize("name", VARIANTS)
def test_it_ends_no_data(name: str, relay: daemons.Daemon) -> None:
    before = len(relay.messages())
    accepted = 0
    for pieces in [(stuffed(name),), *halves(stuffed(name), name)]:
        client = Client(relay.port)
        client.begin(recipient="you@relay.test")
        code = client.data(*pieces)
        assert code == 250 if name in HARMLESS else code >= 500
        accepted += code == 250
        assert client.rest() in ([221], [])
    peers.wait_until("all that were accepted", lambda: len(relay.messages()) == before + accepted)
    assert subjects(relay.messages(), "hidden") == []


@pytest.mark.parametrize("name", VARIANTS)
def test_it_ends_no_chunks(name: str, relay: daemons.Daemon) -> None:
    """In one chunk, and with the border of two chunks at each octet."""
    before = len(relay.messages())
    accepted = 0
    for pieces in [(message(name),), *halves(message(name), name)]:
        client = Client(relay.port)
        client.begin(recipient="you@relay.test")
        accepted += client.chunks(*pieces) == 250
        assert client.rest() in ([221], [])
    peers.wait_until("all that were accepted", lambda: len(relay.messages()) == before + accepted)
    assert subjects(relay.messages(), "hidden") == []


# Through us to them

RELAYS = [
    pytest.param(exim.relay, marks=pytest.mark.interop("exim"), id="Exim"),
    pytest.param(postfix.relay, marks=pytest.mark.interop("postfix"), id="Postfix"),
]
Peer = Callable[..., AbstractContextManager[exim.Relay | postfix.Relay]]


@pytest.mark.slow
@pytest.mark.parametrize("relay_of_theirs", RELAYS)
@pytest.mark.parametrize("chunking", [True, False], ids=["BDAT", "DATA"])
def test_nothing_is_smuggled_through_us(relay_of_theirs: Peer, chunking: bool, tmp_path: Path) -> None:
    transport = "" if chunking else "hosts_try_chunking ="
    with (
        relay_of_theirs(server=certs.relay(), trusted=[certs.laptop()]) as peer,
        laptop_of_ours(tmp_path / "laptop", peer.port, transport) as laptop,
    ):
        expected: dict[str, int] = {}
        for name in VARIANTS:
            for way in ("DATA", "BDAT", "sendmail"):
                expected[name] = expected.get(name, 0) + hand_over(laptop, name, way)
        peers.wait_until("our queue to be empty", lambda: laptop.waiting() == 0, 60)

        def fates() -> int:
            return len(subjects(peer.messages(), "seen")) + laptop.log_text().count(f"** {RECIPIENT}")

        # What the other server has accepted it delivers when it pleases.
        peers.wait_until("a fate for each", lambda: fates() >= sum(expected.values()))
        arrived = subjects(peer.messages(), "seen")
        assert subjects(peer.messages(), "hidden") == []
        assert fates() == sum(expected.values())
        assert all(arrived.count(name) <= number for name, number in expected.items())
        assert arrived.count("CRLF .. CRLF") == 3


def hand_over(laptop: daemons.Daemon, name: str, way: str) -> bool:
    """Whether the message was accepted."""
    if way == "sendmail":
        return laptop.sendmail("-i", "-f", SENDER, RECIPIENT, message=message(name)).returncode == 0
    client = Client(laptop.port)
    client.begin()
    code = client.data(stuffed(name)) if way == "DATA" else client.chunks(message(name))
    client.rest()
    return code == 250


# From them to us


@pytest.mark.slow
@pytest.mark.interop("exim")
def test_nothing_is_smuggled_from_exim(tmp_path: Path) -> None:
    with (
        relay_of_ours(tmp_path / "relay") as relay,
        exim.laptop(smarthost=relay.port, client=certs.laptop(), server=certs.relay()) as laptop,
    ):
        for name in VARIANTS:
            laptop.submit(message(name), sender=SENDER, recipients=[RECIPIENT])
        laptop.run_queue()
        assert_at_most_one_of_each(relay, laptop.log_text().count(f"** {RECIPIENT}"))


@pytest.mark.slow
@pytest.mark.interop("postfix")
def test_nothing_is_smuggled_from_postfix(tmp_path: Path) -> None:
    with (
        relay_of_ours(tmp_path / "relay") as relay,
        postfix.client(relayhost=relay.port, client=certs.laptop(), server=certs.relay()) as laptop,
    ):
        for name in VARIANTS:
            laptop.submit(message(name), sender=SENDER, recipients=[RECIPIENT])
        peers.wait_until("Postfix's queue to be empty", lambda: laptop.waiting() == 0, 60)
        assert_at_most_one_of_each(relay, laptop.log_text().count("status=bounced"))


@pytest.mark.slow
@pytest.mark.interop("postfix")
def test_nothing_is_smuggled_through_postfix(tmp_path: Path) -> None:
    """It takes some of these ends for one itself, and hands us two messages then; we make no further ones of them."""
    main = "mynetworks = 127.0.0.1\nsmtpd_relay_restrictions = permit_mynetworks, reject"
    with (
        relay_of_ours(tmp_path / "relay") as relay,
        postfix.client(relayhost=relay.port, client=certs.laptop(), server=certs.relay(), main=main) as laptop,
    ):
        accepted, cut = 0, set()
        for name in VARIANTS:
            client = Client(laptop.port)
            client.begin()
            accepted += client.data(stuffed(name)) == 250
            if len(client.rest()) > 1:
                cut.add(name)
        peers.wait_until("Postfix's queue to be empty", lambda: laptop.waiting() == 0, 60)
        assert_no_more_than_was_sent(relay, accepted, cut, laptop.log_text().count("status=bounced"))


@pytest.mark.slow
@pytest.mark.interop("exim")
def test_nothing_is_smuggled_through_exim(tmp_path: Path) -> None:
    """The same with Exim, which reads SMTP on a pipe as it does on a connection."""
    with (
        relay_of_ours(tmp_path / "relay") as relay,
        exim.laptop(smarthost=relay.port, client=certs.laptop(), server=certs.relay()) as laptop,
    ):
        accepted, cut = 0, set()
        start = f"EHLO laptop.test\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode()
        for name in VARIANTS:
            said = laptop.talk(start + stuffed(name) + b"QUIT\r\n")
            accepted += "250 OK id=" in said
            if said.count("354 ") > 1:
                cut.add(name)
        laptop.run_queue()
        assert_no_more_than_was_sent(relay, accepted, cut, laptop.log_text().count(f"** {RECIPIENT}"))


def assert_no_more_than_was_sent(relay: daemons.Daemon, accepted: int, cut: set[str], refused: int) -> None:
    """`cut`: the messages that the other server itself has taken for two."""
    assert accepted > len(VARIANTS) / 2

    def seen() -> int:
        return len(subjects(relay.messages(), "seen"))

    peers.wait_until("what we did not refuse", lambda: seen() + refused >= accepted)
    assert seen() <= accepted
    assert set(subjects(relay.messages(), "hidden")) <= cut


def assert_at_most_one_of_each(relay: daemons.Daemon, refused: int) -> None:
    def seen() -> list[str]:
        return subjects(relay.messages(), "seen")

    peers.wait_until("what was not refused", lambda: len(seen()) + refused >= len(VARIANTS))
    assert subjects(relay.messages(), "hidden") == []
    assert len(seen()) == len(set(seen()))
    assert "CRLF .. CRLF" in seen()
