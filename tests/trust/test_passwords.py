"""Hashes of passwords, old and new, and the file that holds them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.esmtp.sasl.saslprep import NotPreparable
from relay.esmtp.sasl.scram_keys import read_verifier
from relay.trust import passwords
from relay.trust.passwords import BadPasswordFile, Kind, UnknownHash, make_hash, matches

SALT = bytes(range(16))

# Made by other programs: openssl passwd, and crypt(3).
OLD = {
    "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1": b"secret",
    "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA": b"secret",
    "$1$saltsalt$9xy1btjgzLYfb7hivXtC//": b"secret",
    "abNANd1rDfiNc": b"secret",
    "_J9..CCCCXBrJUJV154M": b"U*U*U*U*",
}


@pytest.mark.parametrize("kind", Kind)
def test_what_is_made_matches(kind: Kind) -> None:
    stored = make_hash("gehe,im=ü", kind, SALT)
    assert matches("gehe,im=ü".encode(), stored)
    assert not matches(b"gehe,im=u", stored)
    assert not matches(b"", stored)
    assert "\n" not in stored
    assert stored.strip() == stored


@pytest.mark.parametrize("kind", Kind)
def test_another_salt_gives_another_hash(kind: Kind) -> None:
    assert make_hash("x", kind, SALT) != make_hash("x", kind, SALT[::-1])


def test_a_scram_entry_is_what_scram_reads() -> None:
    assert read_verifier(make_hash("x", Kind.SCRAM, SALT)).salt == SALT


def test_bcrypt() -> None:
    import bcrypt

    stored = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()
    assert matches(b"x" * 72, stored)
    assert matches(b"x" * 72 + b"behind", stored)
    assert not matches(b"x" * 71, stored)
    assert matches(b"x" * 72, stored.replace("$2b$", "$2y$"))


@pytest.mark.parametrize("stored", OLD)
def test_what_others_made_matches(stored: str) -> None:
    assert matches(OLD[stored], stored)
    assert not matches(b"other", stored)


@pytest.mark.parametrize("stored", ["*", "!", "!!", "*LK*", "!$1$saltsalt$9xy1btjgzLYfb7hivXtC//"])
def test_a_closed_account_has_no_password(stored: str) -> None:
    assert not matches(b"secret", stored)


def test_crypt16_is_told_by_its_scheme() -> None:
    assert matches(b"passphrase", "aaX/UmCcBrceQ0kQGGWKTbuE", "crypt16")
    assert not matches(b"other", "aaX/UmCcBrceQ0kQGGWKTbuE", "crypt16")
    with pytest.raises(UnknownHash):
        matches(b"x", "?", "crypt16")


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "secret",
        "x",
        "$argon2id$v=19$m=65536",
        "$2b$nonsense",
        "$6$",
        "$6$rounds=abc$x$y",
        "$y$j9T$abc$def",
        "{SCRAM-SHA-256}nonsense",
        "{SHA}abc",
    ],
)
def test_what_is_no_hash_matches_nothing_and_is_told(stored: str) -> None:
    with pytest.raises(UnknownHash) as told:
        matches(b"secret", stored)
    assert not stored or len(stored) < 5 or stored not in str(told.value)


@settings(max_examples=100)
@given(st.binary(max_size=30), st.sampled_from([*passwords._CHECKS, ""]), st.text(max_size=30))
def test_nothing_but_unknown_hash_is_raised(password: bytes, prefix: str, rest: str) -> None:
    try:
        assert not matches(password, prefix + rest)
    except UnknownHash:
        pass


@pytest.mark.parametrize("kind", Kind)
def test_a_zero_octet_or_too_many_octets_belong_to_no_hash(kind: Kind) -> None:
    stored = make_hash("secret", kind, SALT)
    assert not matches(b"secret\0behind", stored)
    assert not matches(b"x" * 5000, stored)


def test_a_password_that_scram_can_not_carry() -> None:
    with pytest.raises(NotPreparable):
        make_hash("\x07", Kind.SCRAM, SALT)


# The file

TEXT = "# users\n\nada:$6$a\nbob : $6$b\ncy:$6$c\n"


def test_entries_are_read() -> None:
    assert passwords.read_entries("# users\n\nada:$6$a\ncy: $6$c\r\nada:$6$later") == {"ada": "$6$a", "cy": "$6$c"}


@pytest.mark.parametrize("text, line", [("ada", 1), ("ada:x\n:x", 2), ("#\n\na b:x", 3), ("ada:", 1), ('"ada:x', 1)])
def test_a_line_that_is_no_entry_is_named(text: str, line: int) -> None:
    with pytest.raises(BadPasswordFile) as told:
        passwords.read_entries(text)
    assert told.value.line == line


def test_an_entry_takes_the_old_ones_place() -> None:
    text = "# users\nada:1\nbob:2\nada:3"
    assert passwords.with_entry(text, "ada", "4") == "# users\nada:4\nbob:2\n"
    assert passwords.with_entry(text, "cy", "4") == "# users\nada:1\nbob:2\nada:3\ncy:4\n"
    assert passwords.with_entry("", "cy", "4") == "cy:4\n"
    assert passwords.without_entry(text, "ada") == "# users\nbob:2\n"


@pytest.mark.parametrize("user", ["", "a:b", "a b", "a\nb", '"a', "#a", "a\x7f", "x" * 300])
def test_a_name_that_would_break_the_file(user: str) -> None:
    assert not passwords.is_user(user)
    with pytest.raises(ValueError):
        passwords.with_entry("", user, "x")


NAMES = st.text(max_size=6).filter(passwords.is_user)


@given(st.dictionaries(NAMES, st.from_regex(r"\A[$a-z0-9]{1,9}\Z"), max_size=6), NAMES)
def test_the_file_is_a_dictionary(entries: dict[str, str], name: str) -> None:
    text = ""
    for user, stored in entries.items():
        text = passwords.with_entry(text, user, stored)
    assert passwords.read_entries(text) == entries
    changed = passwords.with_entry(text, name, "new")
    assert passwords.read_entries(changed) == {**entries, name: "new"}
    assert passwords.read_entries(passwords.without_entry(changed, name)) == {
        user: stored for user, stored in entries.items() if user != name
    }
