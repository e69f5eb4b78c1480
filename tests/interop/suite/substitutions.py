"""The words that stand in the suite's files for what differs from machine to machine (machine).

    Words(caller="nobody", ...).put_into(text, "0001")

README of the suite, "Standard substitutions". Texts are Latin-1, an octet a character.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial


@dataclass(frozen=True, slots=True)
class Ports:
    """`silent`: nobody ever listens there; `server`: the scripted server; `daemon`: the program under test, four."""

    silent: int = 1223
    server: int = 1224
    daemon: tuple[int, int, int, int] = (1225, 1226, 1227, 1228)
    dynamic: int = 0


@dataclass(frozen=True, slots=True)
class Words:
    caller: str
    caller_group: str
    caller_uid: int
    caller_gid: int
    caller_home: str
    caller_gecos: str
    exim_user: str
    exim_group: str
    exim_uid: int
    exim_gid: int
    directory: str
    host_name: str
    ipv4: str
    ipv6: str
    mail_group: str = "mail"
    ipv4_test_net: str = "224"
    ipv6_test_net: str = "ff00"
    ports: Ports = Ports()

    def with_socket(self, port: int) -> "Words":
        return replace(self, ports=replace(self.ports, dynamic=port))

    def put_into(self, text: str, test: str) -> str:
        """The text with all words replaced; `test` is the test's number, or 0 outside of tests."""
        for pattern, value in self._pairs(test):
            text = re.sub(pattern, partial(_replaced, value), text, flags=re.ASCII)
        return text

    def _pairs(self, test: str) -> Iterator[tuple[str, str]]:
        """In the suite's order. What a pattern captures stays."""
        yield r"\bCALLER\b", self.caller
        yield r"\bCALLERGROUP\b", self.caller_group
        yield r"\bCALLER_UID\b", str(self.caller_uid)
        yield r"\bCALLER_GID\b", str(self.caller_gid)
        yield r"\bDIR/", f"{self.directory}/"
        yield r"\bEXIMGROUP\b", self.exim_group
        yield r"\bEXIMUSER\b", self.exim_user
        yield r"\bHOSTIPV4\b", self.ipv4
        yield r"\bHOSTIPV6\b", self.ipv6
        yield r"\bHOSTNAME\b", self.host_name
        yield r"(_|\b)PORT_D\b", str(self.ports.daemon[0])
        for number, port in enumerate(self.ports.daemon[1:], 2):
            yield rf"\bPORT_D{number}\b", str(port)
        yield r"\bPORT_N\b", str(self.ports.silent)
        yield r"\bPORT_S\b", str(self.ports.server)
        yield r"\bTESTNUM\b", test
        yield r"(_|\b)V4NET(?=[._])", self.ipv4_test_net
        yield r"\bV6NET:", f"{self.ipv6_test_net}:"
        yield r"\bPORT_DYNAMIC\b", str(self.ports.dynamic)
        yield r"\bMAILGROUP\b", self.mail_group


def _replaced(value: str, found: re.Match[str]) -> str:
    return (found[1] if found.re.groups else "") + value
