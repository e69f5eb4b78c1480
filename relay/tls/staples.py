"""OCSP responses that a server sends along with its certificate (disk).

The operator keeps the files fresh (Exim: tls_ocsp_file); here they are read, looked at once, and given out only while
they are in date and say "good" of the very certificate that they go with. A response that is none, or a stale one, is
never sent: the client then finds no staple, which is what it would find without the option.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from relay.tls.files import TLSFileError, read_octets
from relay.tls.policy import staple_file

_PEM = re.compile(rb"-----BEGIN OCSP RESPONSE-----([A-Za-z0-9+/=\s]+)-----END OCSP RESPONSE-----")
# What a clock of ours may be behind that of the responder (Exim: EXIM_OCSP_SKEW_SECONDS).
_SKEW = 300.0


@dataclass(frozen=True, slots=True)
class Staple:
    """A response for one certificate; times are seconds since the epoch."""

    path: str
    octets: bytes
    since: float
    until: float

    def at(self, now: float) -> bytes:
        """The response, or nothing while it is not valid."""
        return self.octets if self.since - _SKEW <= now <= self.until else b""

    def fault(self, now: float) -> TLSFileError | None:
        """Why it is not sent now."""
        if self.at(now):
            return None
        return TLSFileError(self.path, "the OCSP response is out of date", "fetch a new one")


def read_staple(item: str, leaf: x509.Certificate) -> Staple:
    """The response in a file, for a certificate of ours. Raises TLSFileError."""
    path = staple_file(item)
    remedy = "fetch another response, or correct tls_ocsp_file"
    octets = read_octets(path)
    if item.startswith("PEM "):
        octets = _from_pem(path, octets)
    try:
        response = ocsp.load_der_ocsp_response(octets)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise TLSFileError(path, f"the OCSP responder said {response.response_status.name}", remedy)
        single = next((each for each in response.responses if each.serial_number == leaf.serial_number), None)
        if single is None:
            raise TLSFileError(path, "the OCSP response is about another certificate", remedy)
        if single.certificate_status is not ocsp.OCSPCertStatus.GOOD:
            status = single.certificate_status.name.lower()
            raise TLSFileError(path, f"the OCSP response says {status} of our certificate", "get a new certificate")
        until = single.next_update_utc
        return Staple(
            path, octets, single.this_update_utc.timestamp(), until.timestamp() if until is not None else float("inf")
        )
    except ValueError as error:
        raise TLSFileError(path, f"no OCSP response: {error}", remedy) from None


def _from_pem(path: str, octets: bytes) -> bytes:
    found = _PEM.search(octets)
    try:
        if found is not None:
            return base64.b64decode(found.group(1))
    except binascii.Error:
        pass
    raise TLSFileError(path, "holds no OCSP response in PEM form", "write the name without PEM for DER")


def der_of(certificate: x509.Certificate) -> bytes:
    """What a staple is looked up by."""
    return certificate.public_bytes(Encoding.DER)
