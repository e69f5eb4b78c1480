"""What a long queue costs: python -m bench.queue_length [LENGTH...]

For each length a queue is filled with messages that wait for their next try. Then, each in processes of their own:

    start       seconds from the start of a daemon until a message that is due has been delivered
    page        milliseconds for the first hundred entries, read from an open queue
    list        seconds of `relay queue list --limit 100` as a whole
    cost        milliseconds of the daemon's CPU for a 2 kB message, 500 in a TLS session, delivered to a Maildir
    memory      megabytes that the daemon has held at most (VmHWM)

It prints a page for the documentation, and writes the plot beside it with --plot FILE.
"""

import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import daemons
from bench.client import BODY, Client, client_context, cpu_seconds
from relay.mail.address import Address
from relay.mail.envelope import Recipient
from relay.mail.facts import Endpoint, Hello, MessageFacts, SessionFacts
from relay.mail.queue import NewMessage, make_message_id
from relay.spool.sqlite import SQLiteStore
from relay.spool.store import Done

import certs
from interop import peers

LENGTHS = (0, 100, 1000, 10_000, 100_000)
SESSIONS = 4
MESSAGES = 500
"""In each session."""
PAGES = 50


@dataclass(frozen=True)
class Figures:
    """Of one length."""

    length: int
    start: float
    page: float
    listing: float
    cost: float
    memory: float


def fill(directory: Path, length: int) -> None:
    """Messages of an hour ago that are tried again in an hour, and one that is due."""
    store = SQLiteStore(directory)
    now = time.time()
    store.open(now)
    source = random.Random(length)
    for start in range(0, length + 1, 500):
        batch = []
        for number in range(start, min(start + 500, length + 1)):
            due = now - 1 if number == length else now + 3600
            batch.append(waiting(make_message_id(now - 3600, source), now - 3600, due))
        results = store.run([lambda queue, each=each: queue.accept_message(each, 0, BODY) for each in batch])
        assert all(isinstance(result, Done) for result in results), results
        store.maintain()
    store.close()


def waiting(message_id: str, received_at: float, due: float) -> NewMessage:
    """One message."""
    session = SessionFacts(Endpoint("192.0.2.1", 4711), Endpoint("192.0.2.2", 25), hello=Hello("laptop.test", True))
    return NewMessage(
        message_id=message_id,
        sender=Address("me", "laptop.test"),
        recipients=(Recipient(Address("you", "relay.test")),),
        header=b"Received: from laptop.test\r\nSubject: waiting\r\n",
        facts=MessageFacts(session, received_at=received_at),
        body_size=len(BODY),
        due=due,
    )


def measure(length: int) -> Figures:
    """Everything for one length."""
    with tempfile.TemporaryDirectory() as place:
        directory, port = Path(place), peers.free_port()
        (directory / "spool").mkdir()
        fill(directory / "spool" / "queue", length)
        configuration = daemons.relay_configuration(
            directory, port, certs.relay(), [certs.laptop()], trusted=[certs.laptop()]
        )
        began = time.monotonic()
        with daemons.running(directory, configuration, port, from_scratch=True) as daemon:
            peers.wait_until("the message that is due", daemon.messages, 60)
            start = time.monotonic() - began
            page = first_page(daemon.spool / "queue", length)
            listing = whole_command(daemon)
            context = client_context(certs.relay().cert_pem, *certs.laptop().write(directory, "laptop"))
            cost = cost_of_messages(Client(port, context), daemon)
            return Figures(length, start, page, listing, cost, peak_memory(daemon.pid()))


def first_page(directory: Path, length: int) -> float:
    """Milliseconds, the mean of many."""
    store = SQLiteStore(directory)
    store.open(time.time())
    began = time.monotonic()
    for _ in range(PAGES):
        entries = store.read(lambda queue: queue.entries(100))
        assert len(entries) == min(100, length)
    elapsed = time.monotonic() - began
    store.close_reading()
    store.close()
    return elapsed / PAGES * 1000


def whole_command(daemon: daemons.Daemon) -> float:
    """Seconds for the command, Python's start among them."""
    began = time.monotonic()
    command = [sys.executable, "-m", "relay", "queue", "list", "--limit", "100", "-C", str(daemon.configuration)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - began


def cost_of_messages(client: Client, daemon: daemons.Daemon) -> float:
    """Milliseconds of CPU a message, deliveries among them."""
    send(client, 50)
    peers.wait_until("deliveries", lambda: len(daemon.messages()) >= 51, 60)
    before = cpu_seconds(daemon.pid())
    for _ in range(SESSIONS):
        send(client, MESSAGES)
    count = SESSIONS * MESSAGES
    peers.wait_until("deliveries", lambda: len(list(daemon.maildir.glob("new/*"))) >= count + 51, 120)
    return (cpu_seconds(daemon.pid()) - before) / count * 1000


def send(client: Client, count: int) -> None:
    """In one TLS session."""
    client.connect()
    client.up()
    for _ in range(count):
        client.send()
    client.quit()


def peak_memory(process: int) -> float:
    """Megabytes."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def plot(figures: list[Figures]) -> str:
    """The cost of a message over the length of the queue, as SVG. The horizontal axis is logarithmic but for 0."""
    width, height, left, bottom = 640, 300, 60, 250
    step = (width - left - 40) / max(len(figures) - 1, 1)
    top = max(each.cost for each in figures) * 1.25
    points = [(left + number * step, bottom - each.cost / top * 220) for number, each in enumerate(figures)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<path d="M{left} 20V{bottom}H{width - 20}" fill="none" stroke="black"/>',
        f'<text x="{left}" y="14">CPU a message, ms</text>',
        f'<text x="{width - 20}" y="{height - 8}" text-anchor="end">messages in the queue</text>',
    ]
    for number in range(1, 5):
        value, y = top * number / 5, bottom - 220 * number / 5
        parts.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{value:.1f}</text>')
        parts.append(f'<path d="M{left} {y:.0f}H{width - 20}" stroke="#ddd"/>')
    line = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#06c" stroke-width="2"/>')
    for (x, y), each in zip(points, figures, strict=True):
        parts.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4" fill="#06c"/>')
        parts.append(f'<text x="{x:.0f}" y="{bottom + 18}" text-anchor="middle">{each.length:,}</text>')
    return "\n".join([*parts, "</svg>", ""])


def main(arguments: list[str]) -> None:
    """Measures and prints."""
    place = None
    if "--plot" in arguments:
        at = arguments.index("--plot")
        place = Path(arguments[at + 1])
        arguments = arguments[:at] + arguments[at + 2 :]
    print("| Messages | Start to first delivery | First page | `relay queue list` | CPU a message | Memory |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    figures = []
    for length in map(int, arguments or LENGTHS):
        found = measure(length)
        figures.append(replace(found, length=length))
        print(
            f"| {length:,} | {found.start:.2f} s | {found.page:.1f} ms | {found.listing:.2f} s"
            f" | {found.cost:.2f} ms | {found.memory:.0f} MB |",
            flush=True,
        )
    if place is not None:
        place.write_text(plot(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
