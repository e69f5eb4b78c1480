"""What a daemon says of its TLS files, the certificate of a set-up that names none, and the end."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from delivery.post import Notebook
from relay.daemon.server_contexts import CachedContexts
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import ListKind, compile_list
from relay.mail import events
from relay.policy.tls import ServerTLSRules
from relay.tls.contexts import RECHECK
from relay.tls.identity import IdentityStore, to_pem
from relay.tls.names import read_certificate
from relay.tls.parameters import ParameterCache
from relay.tls.policy import CertificateRequest, ServerTLS

import certs

T = TypeVar("T")
NOW = 1_790_000_000.0
ANYBODY, NOBODY = compile_list(ListKind.HOST, "*"), compile_list(ListKind.HOST, "")


class SetClock:
    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> float:
        return self.moment


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def book() -> Notebook:
    return Notebook()


@pytest.fixture
def contexts(clock: SetClock, book: Notebook, tmp_path: Path) -> CachedContexts:
    return CachedContexts(clock, book, str(tmp_path))


def answer(question: Coroutine[Any, Any, T]) -> T:
    with pytest.raises(StopIteration) as stop:
        question.send(None)
    result: T = stop.value.value
    return result


def test_a_set_up_without_a_certificate_says_what_the_one_that_is_made_is_known_by(
    contexts: CachedContexts, book: Notebook
) -> None:
    contexts.start(ServerTLSRules(ANYBODY, host_name="relay.test"))
    warning, note = book.events
    assert isinstance(warning, events.DaemonNote)
    assert "selfsigned" in warning.text
    assert isinstance(note, events.DaemonNote)
    policy = ServerTLS("", self_signed_for="relay.test")
    shown = answer(contexts.server(policy)).ssl
    assert shown is answer(contexts.server(policy)).ssl
    assert "tls_certificate is not set" in note.text
    assert "FP=" in note.text


def test_the_parents_certificate_is_shown_by_all_its_workers(
    contexts: CachedContexts, book: Notebook, tmp_path: Path
) -> None:
    made = IdentityStore().self_signed("relay.test", NOW)
    other = CachedContexts(SetClock(), book, str(tmp_path))
    for each in (contexts, other):
        each.adopt({"relay.test": to_pem(made)})
        each.start(ServerTLSRules(ANYBODY, host_name="relay.test"))
    notes = [event.text for event in book.events if isinstance(event, events.DaemonNote) and "FP=" in event.text]
    assert len(notes) == 2
    assert all(read_certificate(made.chain[0]).fingerprint in note for note in notes)


@pytest.mark.parametrize(
    "rules",
    [
        ServerTLSRules(ANYBODY, certificate=compile_expansion("/relay.crt"), host_name="relay.test"),
        ServerTLSRules(NOBODY, host_name="relay.test"),
        ServerTLSRules(None, host_name="relay.test"),
    ],
    ids=["named", "offered to nobody", "not offered"],
)
def test_none_is_made_for_nothing(rules: ServerTLSRules, contexts: CachedContexts, book: Notebook) -> None:
    contexts.start(rules)
    assert book.events == []


@pytest.mark.parametrize("hosts", ["tls_hosts", "tls_on_connect_ports", "-tls-on-connect"])
def test_one_is_made_for_clients_that_get_tls_another_way(
    hosts: str, contexts: CachedContexts, book: Notebook
) -> None:
    if hosts == "tls_hosts":
        contexts.start(ServerTLSRules(NOBODY, hosts=ANYBODY, host_name="relay.test"))
    elif hosts == "-tls-on-connect":
        contexts.start(ServerTLSRules(NOBODY, host_name="relay.test"), on_connect=True)
    else:
        contexts.start(ServerTLSRules(NOBODY, on_connect_ports=frozenset({465}), host_name="relay.test"))
    notes = [each.text for each in book.events if isinstance(each, events.DaemonNote)]
    assert notes[-1].startswith("tls_certificate is not set")
    # Exim warns of what tls_advertise_hosts would change.
    assert len(notes) == (2 if hosts == "tls_hosts" else 1)


def test_a_name_that_no_certificate_can_have(contexts: CachedContexts, book: Notebook) -> None:
    contexts.start(ServerTLSRules(ANYBODY, host_name="no name"))
    (trouble,) = book.events
    assert isinstance(trouble, events.TLSFileUnusable)
    assert "correct primary_hostname" in trouble.fault


def test_files_that_break_are_told(
    contexts: CachedContexts, book: Notebook, clock: SetClock, tmp_path: Path
) -> None:
    certificate, key = map(str, certs.relay().write(tmp_path, "relay"))
    (tmp_path / "anchors.pem").write_bytes(certs.laptop().cert_pem)
    policy = ServerTLS(
        certificate, key, verify_certificates=str(tmp_path / "anchors.pem"), request=CertificateRequest.TRY
    )
    answer(contexts.server(policy))
    assert book.events == []
    Path(certificate).write_bytes(b"garbage")
    (tmp_path / "anchors.pem").unlink()
    clock.moment += RECHECK
    answer(contexts.server(policy))
    told = [event for event in book.events if isinstance(event, events.TLSFileUnusable)]
    assert [each.consequence for each in told] == ["what was good before stays in force", "no certificate verifies"]
    assert [certificate in told[0].fault, "anchors.pem" in told[1].fault] == [True, True]


def test_the_end_ends_what_is_being_made(contexts: CachedContexts, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[ParameterCache] = []
    monkeypatch.setattr(ParameterCache, "stop", lambda self: stopped.append(self))
    contexts.stop()
    assert len(stopped) == 1
