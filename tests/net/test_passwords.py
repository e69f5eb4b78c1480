"""Hashes in threads: the answers come back, and what is no hash is a passing fault."""

import pytest

from delivery.post import run
from relay.esmtp.sasl.saslprep import NotPreparable
from relay.esmtp.sasl.scram_keys import salted_password
from relay.expand.evaluate import compile_expansion
from relay.expand.scope import Scope
from relay.mail.ports import TemporaryFailure
from relay.net.lookups import at_once
from relay.net.passwords import PasswordThreads
from relay.trust.passwords import Kind, make_hash

THREADS = PasswordThreads(at_once)


def test_a_hash_is_compared() -> None:
    stored = make_hash("secret", Kind.SCRAM, b"0123456789abcdef")
    assert run(THREADS.matches(b"secret", stored, ""))
    assert not run(THREADS.matches(b"other", stored, ""))


def test_what_is_no_hash_is_a_passing_fault() -> None:
    with pytest.raises(TemporaryFailure):
        run(THREADS.matches(b"secret", "$y$j9T$abc$def", ""))


def test_a_salted_password_is_made() -> None:
    assert run(THREADS.salted("sha256", "p", b"salt", 4096)) == salted_password("sha256", "p", b"salt", 4096)
    with pytest.raises(NotPreparable):
        run(THREADS.salted("sha256", "\x07", b"salt", 4096))


@pytest.mark.parametrize("kind", Kind)
def test_an_entry_of_a_password_file_serves_crypteq(kind: Kind) -> None:
    stored = make_hash("secret", kind, b"0123456789abcdef")
    condition = compile_expansion("${if crypteq{$auth1}{$auth2}}")
    for password, expected in (("secret", "true"), ("other", "")):
        assert run(condition.text(Scope(auth=(password, stored), passwords=THREADS))) == expected
