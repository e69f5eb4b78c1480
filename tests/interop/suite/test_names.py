"""A program of our own as the suite's name server, asked over the network."""

from pathlib import Path

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from interop.suite import names

PACKETS = {
    "one.test": dns.message.from_text("id 0\nopcode QUERY\nflags QR\n;ANSWER\none.test. 9 IN A 192.0.2.1\n"),
    "big.test": dns.message.from_text(
        "id 0\nopcode QUERY\nflags QR\n;ANSWER\n" + "".join(f"big.test. 9 IN A 192.0.2.{n}\n" for n in range(99))
    ),
}
FAKENS = """\
#!/bin/sh
echo "$2 $3" >>"$1/asked"
case "$2" in
  one.test|big.test) cat "$1/$2" ;;
  later.test) exit 2 ;;
  known.test) exit 4 ;;
  *) exit 1 ;;
esac
"""


@pytest.fixture
def port(tmp_path: Path):
    for name, packet in PACKETS.items():
        (tmp_path / name).write_bytes(packet.to_wire())
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/fakens").write_text(FAKENS)
    (tmp_path / "bin/fakens").chmod(0o755)
    with names.answering(tmp_path, "127.0.0.1", 0) as port:
        yield port


def ask(name: str, port: int) -> dns.message.Message:
    response, _ = dns.query.udp_with_fallback(dns.message.make_query(name, "A"), "127.0.0.1", port=port, timeout=10)
    return response


def test_an_answer(port: int, tmp_path: Path):
    assert [str(each[0]) for each in ask("one.test", port).answer] == ["192.0.2.1"]
    assert (tmp_path / "asked").read_text() == "one.test A\n"


def test_a_long_answer_comes_over_tcp(port: int):
    assert len(ask("big.test", port).answer[0]) == 99


@pytest.mark.parametrize(
    ("name", "code"),
    [("none.test", dns.rcode.NXDOMAIN), ("later.test", dns.rcode.SERVFAIL), ("known.test", dns.rcode.NOERROR)],
)
def test_no_answer(port: int, name: str, code: dns.rcode.Rcode):
    response = ask(name, port)
    assert (response.rcode(), response.answer) == (code, [])


def test_what_is_no_query():
    assert names.answer(Path(), b"nonsense") is None
