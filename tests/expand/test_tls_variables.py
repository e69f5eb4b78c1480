"""Names of cipher suites, and variables of the two directions."""

from __future__ import annotations

import pytest

from relay.expand.tls_variables import standard_name
from relay.mail.facts import SessionFacts, TLSFacts, Verified


@pytest.mark.parametrize(
    "openssl, wanted",
    [
        ("TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
        ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
        ("ECDHE-ECDSA-AES128-CCM8", "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"),
        ("DHE-RSA-AES128-SHA256", "TLS_DHE_RSA_WITH_AES_128_CBC_SHA256"),
        ("AES128-SHA", "TLS_RSA_WITH_AES_128_CBC_SHA"),
        ("ADH-CAMELLIA256-SHA", "TLS_DH_anon_WITH_CAMELLIA_256_CBC_SHA"),
        ("ECDHE-ARIA256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_ARIA_256_GCM_SHA384"),
        ("DHE-PSK-AES128-CCM8", "TLS_PSK_DHE_WITH_AES_128_CCM_8"),
        ("SRP-AES-256-CBC-SHA", "TLS_SRP_SHA_WITH_AES_256_CBC_SHA"),
        ("NULL-SHA256", "TLS_RSA_WITH_NULL_SHA256"),
        ("DES-CBC3-SHA", "TLS_RSA_WITH_3DES_EDE_CBC_SHA"),
        ("GOST2012-GOST8912-GOST8912", ""),
        ("", ""),
    ],
)
def test_standard_names(openssl: str, wanted: str) -> None:
    assert standard_name(openssl) == wanted


def test_directions(expand) -> None:
    inbound = TLSFacts("TLS1.2", "AES128-SHA", 128)
    outbound = TLSFacts("TLS1.3", "TLS_AES_256_GCM_SHA384", 256, verification=Verified("dane"))
    given = {"session": SessionFacts(tls=inbound), "tls_out": outbound}
    assert expand("$tls_in_cipher_std", **given) == "TLS_RSA_WITH_AES_128_CBC_SHA"
    assert expand("$tls_out_cipher_std $tls_out_dane", **given) == "TLS_AES_256_GCM_SHA384 yes"
    assert expand("<$tls_in_cipher_std$tls_out_cipher_std> $tls_out_dane") == "<> no"
