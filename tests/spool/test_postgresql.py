"""What the PostgreSQL engine promises when something fails: a connection, the server, a neighbour, a lease."""

import contextlib
import socket
import threading
from collections.abc import Callable

import psycopg
import pytest

from relay.mail.ports import SpoolUnavailable
from relay.mail.queue import CHUNK_SIZE
from relay.spool import postgresql as engine
from relay.spool import schema
from relay.spool.database_link import DatabaseLink, place_of
from relay.spool.postgresql import PostgreSQLStore
from relay.spool.store import Done, LeaseLost, News, Owners, Recovery, Refused, Settled, SomethingDue, Unknown
from spool import postgres_server
from spool.engines import PostgreSQLEngine
from spool.postgres_server import Server
from spool.samples import NOW, body_of, deferred, delivered, do, message, rows

from interop.peers import wait_until

ID = message().message_id


@pytest.fixture
def store(postgresql: PostgreSQLEngine) -> PostgreSQLStore:
    return postgresql.opened()


def ids(store: PostgreSQLStore) -> list[str]:
    return [each.message_id for each in store.read(lambda queue: queue.entries(1000))]


# Opening


def test_what_a_commit_needs_is_set_by_us(postgresql: PostgreSQLEngine, store: PostgreSQLStore) -> None:
    for link in (store._writing, store._keeping):
        found = link.executor(link.get())("SELECT current_setting('synchronous_commit'), current_setting('fsync')")
        assert found == [("on", "on")]
    [(silence,)] = store._writing.executor(store._writing.get())(
        "SELECT setting::int FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'"
    )
    assert silence == 15000, "half of the lease: who is cut off in a transaction holds no lock when the lease is over"


def test_a_server_that_does_not_sync_is_refused() -> None:
    with postgres_server.running() as server:
        server.stop()
        server.start("-c", "fsync=off")
        store = PostgreSQLEngine(server, "queue").store()
        with pytest.raises(SpoolUnavailable, match=r"fsync = off, a crash would lose accepted mail \(set fsync = on"):
            store.open(NOW)
        assert store.owner == ""
        with server.connect() as connection:
            assert connection.execute("SELECT to_regclass('queue.message')").fetchone() == (None,)


def test_a_queue_survives_closing(postgresql: PostgreSQLEngine, store: PostgreSQLStore) -> None:
    do(store, lambda queue: queue.accept_message(message(), 0, b"body"))
    store.close()

    again = postgresql.opened()

    assert body_of(again, ID) == b"body"
    assert again.read(lambda queue: queue.next_due()) == NOW
    assert postgresql.sql("SELECT owner FROM owner") == [(again.owner,)]


def test_a_newer_queue_is_left_alone(postgresql: PostgreSQLEngine, store: PostgreSQLStore) -> None:
    postgresql.sql("UPDATE meta SET value = '99'")
    with pytest.raises(SpoolUnavailable, match=r"newer version \(schema 99, this one knows \d"):
        postgresql.opened()
    assert rows(store, "owner") == 1


def test_an_interrupted_migration_leaves_the_old_version(
    postgresql: PostgreSQLEngine, store: PostgreSQLStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = (*schema.MIGRATIONS, ("CREATE TABLE later (x TEXT)", "CREATE TABLE broken ("))
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", steps)
        patch.setattr(schema, "SCHEMA_VERSION", len(steps))
        with pytest.raises(SpoolUnavailable):
            postgresql.opened()
    assert postgresql.sql("SELECT to_regclass('later')") == [(None,)]
    postgresql.opened()


def test_many_start_at_once_and_the_tables_are_made_once(postgresql: PostgreSQLEngine) -> None:
    stores = [postgresql.store() for _ in range(5)]
    troubles: list[Exception] = []

    def start(store: PostgreSQLStore) -> None:
        try:
            store.open(NOW)
        except SpoolUnavailable as error:
            troubles.append(error)

    threads = [threading.Thread(target=start, args=(each,)) for each in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert rows(stores[0], "owner") == 5


def test_a_password_is_in_no_error() -> None:
    assert place_of("postgresql://me:secret@db.example:5433/queue") == "postgresql://db.example:5433/queue"
    with pytest.raises(ValueError, match="invalid"):
        place_of("postgresql://me@host?nonsense=1")


# Connections that die


@pytest.mark.parametrize("purpose", ["writer", "reader"])
def test_a_connection_that_died_meanwhile_is_made_anew(
    postgresql: PostgreSQLEngine, store: PostgreSQLStore, purpose: str
) -> None:
    do(store, lambda queue: queue.accept_message(message(), 0, b"x"))
    assert ids(store) == [ID]

    assert postgresql.server.end_sessions(purpose) >= 1

    assert ids(store) == [ID]
    do(store, lambda queue: queue.accept_message(message("after"), 0, b"x"))


@pytest.mark.parametrize("again", [False, True])
def test_a_session_that_is_ended_in_a_batch(
    postgresql: PostgreSQLEngine, store: PostgreSQLStore, again: bool
) -> None:
    """Once: the batch is run anew. Each time: all of it is refused, and nothing of it is there."""
    cuts = 0

    def cut(_queue: object) -> None:
        nonlocal cuts
        cuts += 1
        if cuts == 1 or again:
            postgresql.server.end_sessions("writer")

    results = store.run([
        lambda queue: queue.accept_message(message("before"), 0, b"x"),
        cut,
        lambda queue: queue.accept_message(message("after"), 0, b"x"),
    ])  # fmt: skip

    assert [type(each) for each in results] == [Refused if again else Done] * 3
    assert ids(store) == ([] if again else ["after", "before"])
    for each in results:
        assert not isinstance(each, Refused) or isinstance(each.error, SpoolUnavailable)
    do(store, lambda queue: queue.accept_message(message("later"), 0, b"x"))


class Proxy:
    """A way to the server that can be cut off after so many statements that begin with a word."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._server = port
        self.port = self._listener.getsockname()[1]
        self.cut_at: bytes | None = None
        self.lose_answer = False
        self.is_down = False
        self.at_cut: Callable[[], object] = lambda: None
        """Happens before either end learns of it."""
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.is_down:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._server))
            except ConnectionRefusedError:
                near.close()
                continue
            self._sockets += [near, far]
            threading.Thread(target=self._carry, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._carry, args=(far, near, False), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, upwards: bool) -> None:
        try:
            while data := source.recv(65536):
                if upwards and self.cut_at is not None and self.cut_at in data:
                    self.cut_at = None
                    if self.lose_answer:
                        target.sendall(data)
                        target.settimeout(10)
                        # The server has done it; its answer goes nowhere.
                        self._lost.wait(10)
                    self.at_cut()
                    break
                if not upwards and self.lose_answer and self.cut_at is None:
                    self.lose_answer = False
                    self._lost.set()
                    break
                target.sendall(data)
        except OSError:
            pass
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def lose(self, word: bytes, *, answer: bool) -> None:
        """The next statement with this word does not arrive, or is answered in vain."""
        self._lost = threading.Event()
        self.cut_at, self.lose_answer = word, answer

    def mend(self) -> None:
        self.lose_answer = self.is_down = False

    def close(self) -> None:
        self._listener.close()
        for each in self._sockets:
            each.close()


@pytest.fixture
def proxied(postgresql: PostgreSQLEngine):  # type: ignore[no-untyped-def]
    proxy = Proxy(postgresql.server.port)
    postgresql.url = postgresql.url.replace(f":{postgresql.server.port}", f":{proxy.port}") + "&sslmode=disable"
    yield proxy
    proxy.mend()
    postgresql.close()
    proxy.close()


@pytest.mark.parametrize("answered", [False, True])
def test_a_commit_whose_answer_is_lost_is_asked_for(
    postgresql: PostgreSQLEngine, proxied: Proxy, answered: bool
) -> None:
    """The transaction's id tells whether it happened; nobody is told anything that is not so."""
    store = postgresql.opened()
    proxied.lose(b"COMMIT", answer=answered)

    results = store.run([lambda queue, n=n: queue.accept_message(message(f"id{n}"), 0, b"x") for n in range(3)])

    assert [type(each) for each in results] == [Done if answered else Refused] * 3
    assert ids(store) == (["id0", "id1", "id2"] if answered else [])


@pytest.mark.parametrize("happened", [False, True])
def test_a_commit_that_nobody_can_be_asked_about_is_unknown(
    postgresql: PostgreSQLEngine, proxied: Proxy, happened: bool
) -> None:
    waits: list[float] = []
    store = postgresql.opened(pause=waits.append, elapsed=lambda: sum(waits))
    do(store, lambda queue: queue.accept_message(message("sent"), 0, b"x"))
    proxied.lose(b"COMMIT", answer=happened)
    proxied.is_down = True

    results = store.run([
        lambda queue: queue.accept_message(message(), 0, b"x"),
        lambda queue: queue.accept_message(message("sent"), 0, b"x"),
        lambda queue: queue.settle(delivered("sent")),
    ])  # fmt: skip

    assert [type(each) for each in results] == [Unknown, Refused, Unknown]
    assert 5.0 <= sum(waits) < 6.0, "it was asked for as long as there is patience"
    proxied.mend()
    store._writing.hurry()
    [settled] = do(store, lambda queue: queue.settle(delivered("sent")))
    assert settled is (Settled.LOST if happened else Settled.COMPLETED)
    do(store, lambda queue: queue.withdraw(ID))
    assert ids(store) == []


def test_what_becomes_of_other_transactions_says_nothing_about_ours() -> None:
    """A server that crashes may give a transaction's id to another one, if nothing of the first had got to its disk."""
    with postgres_server.running() as server:
        server.stop()
        server.start("-c", "wal_writer_delay=10s")
        engine = PostgreSQLEngine(server, "queue")
        proxy = Proxy(server.port)
        engine.url = engine.url.replace(f":{server.port}", f":{proxy.port}") + "&sslmode=disable"

        has_crashed = threading.Event()

        def crash() -> None:
            server.stop_at_once()
            has_crashed.set()

        def come_back(seconds: float) -> None:
            assert has_crashed.wait(30)
            server.start_again_if_it_ended()
            with server.connect() as others:
                for _ in range(50):
                    others.execute("SELECT pg_current_xact_id()")

        try:
            store = engine.opened(pause=come_back)
            do(store, lambda queue: queue.accept_message(message("before"), 0, b"x"))
            proxy.at_cut = crash
            proxy.lose(b"COMMIT", answer=False)

            [result] = store.run([lambda queue: queue.accept_message(message("lost"), 0, b"x")])

            assert isinstance(result, Refused)
            assert ids(store) == ["before"]
        finally:
            engine.close()
            proxy.close()


def test_patience_is_over_in_time_where_every_try_takes_long(
    postgresql: PostgreSQLEngine, proxied: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is cut off hears of no refusal: a connection that nobody answers takes five seconds to fail."""
    now = 0.0

    def pass_by(seconds: float) -> None:
        nonlocal now
        now += seconds

    def connect_in_vain(link: DatabaseLink) -> object:
        pass_by(5.0)
        raise psycopg.OperationalError("timeout expired")

    store = postgresql.opened(pause=pass_by, elapsed=lambda: now)
    proxied.lose(b"COMMIT", answer=False)
    proxied.is_down = True
    with monkeypatch.context() as patch:
        patch.setattr(DatabaseLink, "_connect", connect_in_vain)
        [result] = store.run([lambda queue: queue.accept_message(message(), 0, b"x")])

    assert isinstance(result, Unknown)
    assert now <= 5.0 + 5.0 + 0.5, "patience, and what one try may take beyond it"


def test_a_server_that_is_away_is_tried_less_and_less(server: Server) -> None:
    """Each thread's own time: a sender gets its refusal at once, and not after a time-out each."""
    now, tries = 0.0, 0

    class Away(DatabaseLink):
        def _connect(self) -> object:  # type: ignore[override]
            nonlocal tries
            tries += 1
            raise psycopg.OperationalError("connection refused")

    link = Away(server.url(), "writer", 30.0, lambda: now)
    for _ in range(1000):
        with pytest.raises(SpoolUnavailable, match="the database does not answer: connection refused"):
            link.get()
        now += 0.1
    assert 10 <= tries <= 20
    before = tries
    link.hurry()
    with pytest.raises(SpoolUnavailable):
        link.get()
    assert tries == before + 1


# The server dies


@pytest.mark.slow
def test_what_was_acknowledged_is_there_after_an_immediate_stop() -> None:
    """`pg_ctl stop -m immediate` under load, three times: every Done is there, no Refused is."""
    with postgres_server.running() as server:
        engine = PostgreSQLEngine(server, "queue")
        store = engine.opened(patience=20.0)
        promised: set[str] = set()
        refused: set[str] = set()
        unknown: set[str] = set()
        over = threading.Event()

        def load() -> None:
            number = 0
            while not over.is_set():
                names = [f"m{number + step:06}" for step in range(5)]
                number += 5
                operations = [
                    lambda queue, each=each: queue.accept_message(message(each, due=NOW), 0, each.encode() * 500)
                    for each in names
                ]
                kinds = {Done: promised, Refused: refused, Unknown: unknown}
                results = store.run(operations)
                for name, result in zip(names, results, strict=True):
                    kinds[type(result)].add(name)
                if isinstance(results[0], Refused):
                    over.wait(0.02)  # as senders do; the server needs the processor to come back

        thread = threading.Thread(target=load)
        thread.start()
        try:
            for _ in range(3):
                before = len(promised)
                wait_until("more to be acknowledged", lambda before=before: len(promised) >= before + 100, 60)
                server.stop_at_once()
                server.start()
        finally:
            over.set()
            thread.join()

        found = {each.message_id for each in store.read(lambda queue: queue.entries(100000))}
        assert promised <= found
        assert not refused & found
        assert found <= promised | unknown
        for name in sorted(found)[::50]:
            assert body_of(store, name) == name.encode() * 500
        engine.close()


# Neighbours


def test_two_owners_never_get_the_same_message(postgresql: PostgreSQLEngine, store: PostgreSQLStore) -> None:
    neighbour = postgresql.opened()
    do(store, *(lambda queue, n=n: queue.accept_message(message(f"id{n}", due=NOW), 0, b"") for n in range(4)))

    def meanwhile(queue: object) -> object:
        mine = queue.claim_due(NOW, 2)  # type: ignore[attr-defined]
        theirs = do(neighbour, lambda queue: queue.claim_due(NOW, 10))[0]
        return mine, theirs

    [(mine, theirs)] = do(store, meanwhile)  # type: ignore[misc]
    assert [each.message_id for each in mine.messages] == ["id0", "id1"]
    assert [each.message_id for each in theirs.messages] == ["id2", "id3"]


def test_a_deadlock_is_nobodys_fault(postgresql: PostgreSQLEngine, store: PostgreSQLStore) -> None:
    neighbour = postgresql.opened()
    do(store, *(lambda queue, n=n: queue.accept_message(message(n, due=NOW), 0, b"") for n in ("a", "b")))
    meeting = threading.Barrier(2)
    met: set[str] = set()

    def change(first: str, second: str) -> list[Callable[..., object]]:
        def crossing(queue: object) -> object:
            queue.freeze(first)  # type: ignore[attr-defined]
            if first not in met:
                met.add(first)
                meeting.wait(10)
            return queue.freeze(second)  # type: ignore[attr-defined]

        return [crossing, lambda queue: queue.count()]

    results: list[object] = []
    other = threading.Thread(target=lambda: results.extend(neighbour.run(change("b", "a"))))
    other.start()
    results += store.run(change("a", "b"))
    other.join()

    assert [type(each) for each in results] == [Done] * 4


def test_a_row_that_is_being_changed_is_not_missing(postgresql: PostgreSQLEngine, store: PostgreSQLStore) -> None:
    """An operator's wish waits for whoever has the row, and then sees what became of it."""
    neighbour = postgresql.opened()
    do(store, lambda queue: queue.accept_message(message(due=NOW), 0, b""))
    claimed = threading.Event()
    answers: list[object] = []

    def wish() -> None:
        claimed.wait(10)
        answers.extend(do(neighbour, lambda queue: queue.remove(ID)))

    def claim(queue: object) -> None:
        queue.claim_due(NOW, 1)  # type: ignore[attr-defined]
        claimed.set()
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FROM message%'"
        wait_until("the neighbour to wait for the row", lambda: postgresql.sql(waiting))

    thread = threading.Thread(target=wish)
    thread.start()
    do(store, claim)
    thread.join()
    assert [each.value for each in answers] == ["claimed"]  # type: ignore[attr-defined]


# Leases


def test_a_dead_owners_claims_are_due_again_and_its_pieces_gone(
    postgresql: PostgreSQLEngine, store: PostgreSQLStore
) -> None:
    do(store, lambda queue: queue.accept_message(message("claimed"), 0, b"kept"))
    do(store, lambda queue: queue.add_chunk("half", 0, b"x" * CHUNK_SIZE))
    alive = postgresql.opened()
    do(alive, lambda queue: queue.accept_message(message("theirs"), 0, b""))
    do(alive, lambda queue: queue.add_chunk("their half", 0, b"y"))
    assert postgresql.store().open(NOW) == Recovery(), "everybody is alive"

    postgresql.die(store)
    recovery = alive.recover()

    assert recovery == Recovery(1, ("claimed",), ("half",))
    assert rows(alive, "chunk") == 2
    [claim] = do(alive, lambda queue: queue.claim_due(NOW, 10))
    assert [each.message_id for each in claim.messages] == ["claimed"]  # type: ignore[attr-defined]
    assert alive.recover() == Recovery()


def test_an_owner_who_is_known_to_be_dead_is_not_waited_for(
    postgresql: PostgreSQLEngine, store: PostgreSQLStore
) -> None:
    do(store, lambda queue: queue.accept_message(message("claimed"), 0, b"kept"))
    do(store, lambda queue: queue.add_chunk("half", 0, b"x" * CHUNK_SIZE))
    alive, neighbour = postgresql.opened(), postgresql.opened()
    do(neighbour, lambda queue: queue.accept_message(message("theirs"), 0, b""))
    do(alive, lambda queue: queue.accept_message(message("ours"), 0, b""))

    assert alive.recover([store.owner, alive.owner, "nobody"]) == Recovery(1, ("claimed",), ("half",))

    assert alive.recover([store.owner]) == Recovery()
    assert rows(alive, "owner") == 2


def test_the_last_batch_of_the_dead_ends_before_its_claims_go(
    postgresql: PostgreSQLEngine, store: PostgreSQLStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_WAIT_BRIEFLY", "SET LOCAL lock_timeout = 20")
    neighbour = postgresql.opened()
    do(store, lambda queue: queue.accept_message(message(), 0, b""))

    assert do(store, lambda queue: neighbour.recover([store.owner])) == [Recovery()]

    assert neighbour.recover([store.owner]).released == (ID,)


def test_an_owner_in_the_middle_of_a_batch_is_alive(postgresql: PostgreSQLEngine, store: PostgreSQLStore) -> None:
    neighbour = postgresql.opened()
    do(store, lambda queue: queue.accept_message(message(), 0, b""))

    def meanwhile(_queue: object) -> Recovery:
        postgresql.silence(store)
        return neighbour.recover()

    assert do(store, meanwhile) == [Recovery()]
    assert neighbour.recover().released == (ID,)


def test_who_lost_its_lease_does_not_deliver(postgresql: PostgreSQLEngine, store: PostgreSQLStore) -> None:
    neighbour = postgresql.opened()
    do(store, lambda queue: queue.accept_message(message(), 0, b"x"))
    assert store.read(lambda queue: queue.still_ours(ID))
    assert not neighbour.read(lambda queue: queue.still_ours(ID))

    postgresql.silence(store)
    assert not store.read(lambda queue: queue.still_ours(ID)), "nobody has it yet, and yet it is over"
    neighbour.recover()
    do(neighbour, lambda queue: queue.claim_one(ID))

    assert not store.read(lambda queue: queue.still_ours(ID))
    assert neighbour.read(lambda queue: queue.still_ours(ID))
    assert do(store, lambda queue: queue.settle(deferred(ID))) == [Settled.LOST]


def test_who_was_given_up_for_dead_begins_anew(postgresql: PostgreSQLEngine, store: PostgreSQLStore) -> None:
    """What it has from then on is its own again, and is found when it really dies."""
    neighbour = postgresql.opened()
    postgresql.silence(store)
    neighbour.recover()
    assert rows(neighbour, "owner") == 1

    do(store, lambda queue: queue.accept_message(message(), 0, b"x"))

    assert store.read(lambda queue: queue.still_ours(ID))
    postgresql.die(store)
    assert neighbour.recover().released == (ID,)


class Watching:
    """A store's watch in a thread, and what it has told."""

    def __init__(self, store: PostgreSQLStore) -> None:
        self._store = store
        self._news: list[News] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=store.watch, args=(self._tell,))
        self._thread.start()
        self.wait_for(SomethingDue)

    def _tell(self, news: News) -> None:
        with self._changed:
            self._news.append(news)
            self._changed.notify_all()

    def wait_for(self, kind: type[News]) -> News:
        """The first of its kind; what came before is forgotten."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(isinstance(each, kind) for each in self._news), 20)
            place = next(place for place, each in enumerate(self._news) if isinstance(each, kind))
            found = self._news[place]
            del self._news[: place + 1]
            return found

    def stop(self) -> None:
        self._store.stop_watching()
        self._thread.join(20)
        assert not self._thread.is_alive()


def test_the_others_are_woken(postgresql: PostgreSQLEngine) -> None:
    store, neighbour = postgresql.opened(), postgresql.opened()
    watching, own = Watching(neighbour), Watching(store)
    for operation in (
        lambda queue: queue.accept_message(message("queued", due=NOW), 0, b""),
        lambda queue: queue.accept_message(message("ours"), 0, b""),
        lambda queue: queue.release("ours", NOW),
    ):
        do(store, operation)
        news = store._has_news
        store.maintain()
        if news:
            watching.wait_for(SomethingDue)
    assert SomethingDue() not in own._news, "what one did oneself is no news"
    watching.stop()
    own.stop()


def test_a_lease_is_renewed_and_dead_owners_are_found(postgresql: PostgreSQLEngine) -> None:
    store, dead = postgresql.opened(lease=0.3), postgresql.opened()
    do(dead, lambda queue: queue.accept_message(message(), 0, b""))
    watching = Watching(store)
    postgresql.die(dead)

    assert watching.wait_for(Recovery) == Recovery(1, (ID,))
    [(left,)] = postgresql.sql(
        "SELECT lease - extract(epoch FROM clock_timestamp()) FROM owner WHERE owner = %s", store.owner
    )
    assert left > 0
    watching.stop()


def test_who_shares_the_queue_is_counted(postgresql: PostgreSQLEngine) -> None:
    """What a host may get from all of them is divided among them."""
    store, neighbour = postgresql.opened(lease=0.3), postgresql.opened()
    watching = Watching(store)
    assert watching.wait_for(Owners) == Owners(2)
    neighbour.close()
    assert watching.wait_for(Owners) == Owners(1)
    watching.stop()


def test_a_lease_that_was_lost_is_told(postgresql: PostgreSQLEngine) -> None:
    store, neighbour = postgresql.opened(lease=0.3), postgresql.opened()
    postgresql.silence(store)
    neighbour.recover()
    watching = Watching(store)
    watching.wait_for(LeaseLost)
    assert rows(neighbour, "owner") == 2
    watching.stop()


def test_a_watch_survives_the_loss_of_its_connection(postgresql: PostgreSQLEngine) -> None:
    store = postgresql.opened(lease=0.3)
    watching = Watching(store)
    assert postgresql.server.end_sessions("lease") >= 1
    watching.wait_for(SomethingDue)  # it asks for what was told meanwhile
    watching.stop()


def test_a_transaction_that_failed_is_not_committed(store: PostgreSQLStore) -> None:
    """A COMMIT of a failed transaction is a ROLLBACK without an error: nobody may take it for a promise."""

    def broken(queue: object) -> None:
        with contextlib.suppress(psycopg.Error):
            queue._execute("SELECT nonsense FROM nowhere")  # type: ignore[attr-defined]

    results = store.run([lambda queue: queue.accept_message(message(), 0, b"x"), broken])
    assert [type(each) for each in results] == [Refused, Refused]
    assert ids(store) == []
