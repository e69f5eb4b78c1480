"""The suite's words in texts of our own."""

import pytest

from interop.suite.substitutions import Ports, Words

WORDS = Words(
    caller="ann",
    caller_group="staff",
    caller_uid=1001,
    caller_gid=1002,
    caller_home="/home/ann",
    caller_gecos="Ann",
    exim_user="relay",
    exim_group="relays",
    exim_uid=90,
    exim_gid=91,
    directory="/play",
    host_name="host.example",
    ipv4="192.0.2.1",
    ipv6="2001:db8::1",
    ports=Ports(1, 2, (3, 4, 5, 6), 7),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CALLER CALLERGROUP CALLER_UID:CALLER_GID", "ann staff 1001:1002"),
        ("CALLER_NAME XCALLER", "CALLER_NAME XCALLER"),
        ("DIR/spool DIR XDIR/x", "/play/spool DIR XDIR/x"),
        ("EXIMUSER EXIMGROUP", "relay relays"),
        ("HOSTIPV4:PORT_N [HOSTIPV6] HOSTNAME", "192.0.2.1:1 [2001:db8::1] host.example"),
        ("PORT_D PORT_D2 PORT_D3 PORT_D4 PORT_S x_PORT_D PORT_DX", "3 4 5 6 2 x_3 PORT_DX"),
        ("PORT_DYNAMIC test TESTNUM", "7 test 0042"),
        ("V4NET.1.2.3 a_V4NET_b V4NETX V4NET", "224.1.2.3 a_224_b V4NETX V4NET"),
        ("V6NET:1::2 V6NET", "ff00:1::2 V6NET"),
    ],
)
def test_words(text: str, expected: str):
    assert WORDS.put_into(text, "0042") == expected


def test_a_value_is_not_a_pattern():
    assert Words.put_into(WORDS.with_socket(8), r"a\1 PORT_DYNAMIC", "1") == r"a\1 8"
