"""What a server keeps of a password: the form of the file, and what is no such form."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.esmtp.sasl.scram_keys import (
    BadVerifier,
    ScramKeys,
    keys_from,
    read_verifier,
    salted_password,
    write_verifier,
)


def made(password: str = "pencil", salt: bytes = b"salt", hash_name: str = "sha256") -> ScramKeys:
    return keys_from(hash_name, salted_password(hash_name, password, salt, 4096), salt, 4096)


@pytest.mark.parametrize("hash_name", ["sha1", "sha256", "sha512"])
def test_what_is_written_is_read(hash_name: str) -> None:
    keys = made(hash_name=hash_name)
    assert read_verifier(write_verifier(keys)) == keys


def test_postgresql_and_others_write_the_same_form() -> None:
    assert write_verifier(made()).startswith("{SCRAM-SHA-256}4096,c2FsdA==$")


@pytest.mark.parametrize(
    "change",
    [
        ("{SCRAM-SHA-256}", "{SCRAM-SHA-2}"),
        ("{SCRAM-SHA-256}", "SCRAM-SHA-256"),
        ("4096", "0"),
        ("4096", "-4096"),
        ("4096", "9999999999"),
        ("c2FsdA==", "c2FsdA"),
        ("c2FsdA==", "===="),
        ("$", ":"),
        ("{SCRAM-SHA-256}", "{SCRAM-SHA-1}"),
        ("{SCRAM-SHA-256}", " {SCRAM-SHA-256}"),
    ],
)
def test_anything_else_is_refused(change: tuple[str, str]) -> None:
    text = write_verifier(made())
    assert change[0] in text
    with pytest.raises(BadVerifier):
        read_verifier(text.replace(*change, 1))


@given(st.text(max_size=60))
@settings(max_examples=100)
def test_nothing_else_raises(text: str) -> None:
    for each in (text, "{SCRAM-SHA-256}" + text):
        try:
            read_verifier(each)
        except BadVerifier:
            pass


def test_keys_do_not_show_themselves() -> None:
    keys = made()
    assert repr(keys.stored_key) not in repr(keys)
    assert repr(keys.server_key) not in repr(keys)
