"""A machine of the player's own, as far as tests see it: its name, and what its processes leave running (edge).

    adopt_orphans()
    machine = own_machine(directory, resolver="127.0.0.113")

Root gets a network that nobody else is in, with two addresses besides loopback, a host name that has a domain, which
tests want, an /etc/hosts that knows it, a resolver, and a user without rights who can start programs; all only for this
process and what it starts. Others play with what the machine has.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HOST_NAME = "player.machine.invalid"
IPV4, IPV6 = "192.0.2.1", "2001:db8::1"
CALLER = "player"
CALLER_ID = 47110
GECOS = "A Player"
_PR_SET_CHILD_SUBREAPER = 36
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUTS = 0x04000000
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Machine:
    """`ipv6` is "" if there is none."""

    host_name: str
    ipv4: str
    ipv6: str


def adopt_orphans() -> None:
    """What a process of ours leaves running becomes our child, so that it can be found and ended."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def own_machine(directory: Path, resolver: str) -> Machine:
    """The machine from now on; `directory` is where the files may be that stand for those in /etc."""
    if os.geteuid() != 0 or ctypes.CDLL(None).unshare(_CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWNET) != 0:
        ipv4 = _address_towards(socket.AF_INET, "192.0.2.9") or "127.0.0.1"
        return Machine(socket.getfqdn(), ipv4, _address_towards(socket.AF_INET6, "2001:db8::9"))
    for command in ("link set lo up", f"address add {IPV4}/24 dev lo", f"-6 address add {IPV6}/64 dev lo nodad"):
        subprocess.run(["ip", *command.split()], check=False)
    socket.sethostname(HOST_NAME)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    home = directory / "home"
    home.mkdir()
    os.chown(home, CALLER_ID, CALLER_ID)
    _put("hosts", directory, f"127.0.0.1 localhost\n::1 localhost\n{IPV4} {HOST_NAME} {HOST_NAME.partition('.')[0]}\n")
    _put("resolv.conf", directory, f"nameserver {resolver}\noptions timeout:2 attempts:1\n")
    for name, line in (
        ("passwd", f"{CALLER}:x:{CALLER_ID}:{CALLER_ID}:{GECOS}:{home}:/bin/sh\n"),
        ("group", f"{CALLER}:x:{CALLER_ID}:\n"),
    ):
        _put(name, directory, Path("/etc", name).read_text() + line)
    _open_interpreter(directory)
    return Machine(HOST_NAME, IPV4, _address_towards(socket.AF_INET6, "2001:db8::9"))


def _open_interpreter(directory: Path) -> None:
    """The program under test is Python's; where its interpreter is in root's own folder, others reach it there."""
    place = Path(sys.base_prefix).resolve()
    closed = next((each for each in reversed(place.parents) if not each.stat().st_mode & 0o001), None)
    if closed is None:
        return
    held = directory / "interpreter"
    held.mkdir()
    subprocess.run(["mount", "--bind", place, held], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", closed], check=True)
    place.mkdir(parents=True)
    subprocess.run(["mount", "--move", held, place], check=True)


def _address_towards(family: socket.AddressFamily, other: str) -> str:
    """The address from which this host would send to another; nothing is sent."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((other, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def _put(name: str, directory: Path, text: str) -> None:
    """For this process and its children the file in /etc reads so."""
    (directory / name).write_text(text)
    subprocess.run(["mount", "--bind", directory / name, Path("/etc", name)], check=True)


def children() -> frozenset[int]:
    """The processes whose parent is this one."""
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(path.parent.name))
    return frozenset(found)


def end_children(spared: frozenset[int]) -> None:
    """Kills all that this process, and what it has started, has left running, but for those spared."""
    for _round in range(50):
        left = children() - spared
        if not left:
            return
        for child in left:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
        for child in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, os.WNOHANG)
