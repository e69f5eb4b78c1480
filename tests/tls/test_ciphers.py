"""Cipher lists: what is offered, what an operator may write, and what is a mistake."""

import pytest
from OpenSSL import SSL

from relay.tls.ciphers import BadCipherList, set_ciphers, unknown_items

import certs

TLS13 = ["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"]


def context(method: int, required: str) -> SSL.Context:
    made = SSL.Context(method)
    set_ciphers(made, required)
    return made


def offered(required: str) -> list[str]:
    return SSL.Connection(context(SSL.TLS_CLIENT_METHOD, required), None).get_cipher_list()


def agreed(required: str, highest: int = SSL.TLS1_3_VERSION) -> str:
    """The suite that a server with this list and a willing client arrive at, empty where there is none."""
    at_server, at_client = context(SSL.TLS_SERVER_METHOD, required), SSL.Context(SSL.TLS_CLIENT_METHOD)
    at_server.use_certificate(certs.relay().certificate)
    at_server.use_privatekey(certs.relay().key)
    at_client.set_max_proto_version(highest)
    server, client = SSL.Connection(at_server, None), SSL.Connection(at_client, None)
    server.set_accept_state()
    client.set_connect_state()
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            try:
                one.do_handshake()
            except SSL.WantReadError:
                pass
            except SSL.Error:
                return ""
            try:
                other.bio_write(one.bio_read(65536))
            except SSL.WantReadError:
                pass
    return server.get_cipher_name() or ""


def test_our_own_list_has_forward_secrecy_first_and_nothing_without_a_certificate() -> None:
    found = offered("")
    assert found[:3] == TLS13
    older = found[3:]
    assert older[0].startswith("ECDHE-")
    assert "GCM" in older[0]
    assert not [name for name in older if any(word in name for word in ("PSK", "SRP", "ADH", "AECDH", "NULL", "DES"))]
    first_without = next(number for number, name in enumerate(older) if not name.startswith(("ECDHE-", "DHE-")))
    assert not [name for name in older[first_without:] if name.startswith(("ECDHE-", "DHE-"))]
    assert "AES128-SHA" in older  # the alternative of an old client is clear text


@pytest.mark.parametrize(
    "required",
    [
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE_ECDSA_AES256_GCM_SHA384",
        " ECDHE_ECDSA_AES256_GCM_SHA384 : !aNULL :",
    ],
)
def test_an_older_suite_with_hyphens_or_underscores(required: str) -> None:
    assert offered(required) == [*TLS13, "ECDHE-ECDSA-AES256-GCM-SHA384"]
    assert agreed(required, SSL.TLS1_2_VERSION) == "ECDHE-ECDSA-AES256-GCM-SHA384"


def test_openssls_own_words_pass() -> None:
    found = offered("HIGH:!aNULL:!MD5:@STRENGTH")
    assert "ECDHE-RSA-AES256-GCM-SHA384" in found


def test_suites_of_tls_1_3_in_the_order_given() -> None:
    found = offered("TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:ECDHE+AESGCM")
    assert found[:2] == ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"]
    assert "TLS_CHACHA20_POLY1305_SHA256" not in found
    assert {name[:6] for name in found[2:]} == {"ECDHE-"}


def test_a_list_of_both_kinds_holds_for_both_versions() -> None:
    required = "TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES128-GCM-SHA256"
    assert agreed(required) == "TLS_AES_128_GCM_SHA256"
    assert agreed(required, SSL.TLS1_2_VERSION) == "ECDHE-ECDSA-AES128-GCM-SHA256"


def test_only_suites_of_tls_1_3_mean_that_no_older_suite_is_taken() -> None:
    """They are required: OpenSSL's default list for TLS 1.2 must not stand beside them."""
    assert agreed("TLS_AES_256_GCM_SHA384") == "TLS_AES_256_GCM_SHA384"
    assert agreed("TLS_AES_256_GCM_SHA384", SSL.TLS1_2_VERSION) == ""


@pytest.mark.parametrize(
    "required",
    [
        "NONSENSE",
        "TLS_NONSENSE",
        "TLS_NONSENSE:ECDHE+AESGCM",
        "NONSENSE:TLS_AES_256_GCM_SHA384",
        "ÄÖÜ",
        "!ALL",
        ":",
        " ",
    ],
)
def test_a_list_that_names_nothing_is_a_mistake(required: str) -> None:
    """And never OpenSSL's default list, which has suites that we do not want."""
    with pytest.raises(BadCipherList) as caught:
        offered(required)
    assert repr(required) in str(caught.value)


def test_a_mistake_leaves_no_error_behind_for_the_next_call() -> None:
    with pytest.raises(BadCipherList):
        offered("NONSENSE")
    assert offered("ECDHE-RSA-AES128-GCM-SHA256")


def test_items_that_openssl_would_pass_over() -> None:
    assert unknown_items("HIGH:!MD5:ECDHE-RSA-AES256-GCM-SHA385:TLS_AES_128_GCM_SHA256:TLS_AES_1_GCM:@SECLEVEL=1") == (
        "TLS_AES_1_GCM",
        "ECDHE-RSA-AES256-GCM-SHA385",
    )
    assert unknown_items("") == unknown_items("NORMAL") == ()


@pytest.mark.parametrize(
    ("text", "versions"), [("NORMAL:-VERS-TLS1.3", {"TLSv1.2"}), ("NORMAL:-VERS-ALL:+VERS-TLS1.3", {"TLSv1.3"})]
)
def test_versions_of_a_priority_string(text: str, versions: set[str]) -> None:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    set_ciphers(context, text)
    hello = SSL.Connection(context, None)
    hello.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        hello.do_handshake()
    octets = hello.bio_read(65536)
    # The extension supported_versions names TLS 1.3 as 0x0304 wherever it is offered, RFC 8446 4.2.1.
    assert (b"\x03\x04" in octets[43:]) is (versions == {"TLSv1.3"})


def test_what_is_not_spoken_here_is_an_error() -> None:
    with pytest.raises(BadCipherList, match="no equal"):
        set_ciphers(SSL.Context(SSL.TLS_SERVER_METHOD), "NORMAL:+VERS-TLS1.0")
