"""Fields of a certificate, for `${certextract` (machine).

The forms are those of an Exim with OpenSSL: names as in RFC 2253, the serial number in lower-case hex, times as
`Dec 21 08:09:57 2026 +0000` or, with `int`, in seconds since the epoch; names in the certificate as `DNS=…`.
"""

from __future__ import annotations

import re
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from relay.expand.splitting import join_list
from relay.expand.values import Tainted
from relay.mail.facts import Certificate


class BadField(Exception):
    """There is no such field, or the certificate can't be read."""


_SHORT_NAMES = {
    NameOID.COMMON_NAME: "CN",
    NameOID.COUNTRY_NAME: "C",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.GIVEN_NAME: "GN",
    NameOID.LOCALITY_NAME: "L",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.STREET_ADDRESS: "street",
    NameOID.SURNAME: "SN",
    NameOID.TITLE: "title",
    NameOID.USER_ID: "UID",
}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_OID = re.compile(r"[0-9]+(\.[0-9]+)+")


def certificate_field(certificate: Certificate, field: str) -> str | None:
    """The field, None where the certificate does not have it. Names and addresses are tainted: their holder wrote
    them. Raises BadField."""
    name, _, modifier = field.partition(",")
    try:
        parsed = x509.load_der_x509_certificate(certificate.der)
        return _field(parsed, name.strip(), modifier.strip())
    except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise BadField(f"certificate can't be read: {error}") from None


def _field(certificate: x509.Certificate, name: str, modifier: str) -> str | None:
    match name:
        case "version":
            return str(certificate.version.value)
        case "serial_number":
            return _even(f"{certificate.serial_number:x}")
        case "subject":
            return _name(certificate.subject, modifier)
        case "issuer":
            return _name(certificate.issuer, modifier)
        case "notbefore":
            return _time(certificate.not_valid_before_utc, modifier)
        case "notafter":
            return _time(certificate.not_valid_after_utc, modifier)
        case "sig_algorithm":
            return _signature_algorithm(certificate)
        case "signature":
            return certificate.signature.hex(":")
        case "subj_altname":
            return _alternative_names(certificate, modifier)
        case "ocsp_uri":
            return _uris(_responders(certificate), modifier)
        case "crl_uri":
            return _uris(_distribution_points(certificate), modifier)
    if _OID.fullmatch(name):
        return _extension(certificate, name)
    raise BadField(f'bad field selector "{name}" for certextract')


_SIGNATURES = {
    "1.2.840.10045.4.3.1": "ecdsa-with-SHA224",
    "1.2.840.10045.4.3.2": "ecdsa-with-SHA256",
    "1.2.840.10045.4.3.3": "ecdsa-with-SHA384",
    "1.2.840.10045.4.3.4": "ecdsa-with-SHA512",
    "1.2.840.113549.1.1.5": "sha1WithRSAEncryption",
    "1.2.840.113549.1.1.10": "rsassaPss",
    "1.2.840.113549.1.1.11": "sha256WithRSAEncryption",
    "1.2.840.113549.1.1.12": "sha384WithRSAEncryption",
    "1.2.840.113549.1.1.13": "sha512WithRSAEncryption",
    "1.3.101.112": "ED25519",
    "1.3.101.113": "ED448",
}


def _signature_algorithm(certificate: x509.Certificate) -> str:
    """OpenSSL's name of the algorithm, its number where there is no name here."""
    oid = certificate.signature_algorithm_oid.dotted_string
    return _SIGNATURES.get(oid, oid)


def _even(digits: str) -> str:
    return digits if len(digits) % 2 == 0 else f"0{digits}"


def _name(name: x509.Name, modifier: str) -> str | None:
    """The whole name, or with a modifier such as `CN` or `OU` the values of that type, one a line."""
    if not modifier:
        return Tainted(name.rfc4514_string(_SHORT_NAMES))
    wanted, separator = _name_modifier(modifier)
    kinds = [(_SHORT_NAMES.get(each.oid, each.oid.dotted_string), str(each.value)) for each in name]
    values = [value if wanted else f"{kind}={value}" for kind, value in kinds if wanted.lower() in ("", kind.lower())]
    return Tainted(join_list(reversed(values), separator)) if values else None


def _name_modifier(modifier: str) -> tuple[str, str]:
    wanted, separator = "", "\n"
    for part in modifier.split(","):
        if part.startswith(">") and len(part) > 1:
            separator = part[1]
        elif part:
            wanted = part
    return wanted, separator


def _time(moment: datetime, modifier: str) -> str:
    match modifier:
        case "int":
            return str(int(moment.timestamp()))
        case "raw":
            return f"{_MONTHS[moment.month - 1]} {moment.day:2} {moment:%H:%M:%S} {moment.year} GMT"
    return f"{_MONTHS[moment.month - 1]} {moment.day:2} {moment:%H:%M:%S} {moment.year} +0000"


def _alternative_names(certificate: x509.Certificate, modifier: str) -> str | None:
    """`DNS=…`, `URI=…`, `MAIL=…`; with one kind asked for the bare values. Exim goes through them from the last."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    separator, wanted = "\n", ""
    for part in modifier.split(","):
        if part.startswith(">") and len(part) > 1:
            separator, part = part[1], part[2:]
        wanted = part or wanted
    shown = []
    for name in reversed(list(names)):
        match name:
            case x509.DNSName():
                kind = "dns"
            case x509.UniformResourceIdentifier():
                kind = "uri"
            case x509.RFC822Name():
                kind = "mail"
            case _:
                continue
        if not wanted:
            shown.append(f"{kind.upper()}={name.value}")
        elif wanted == kind:
            shown.append(name.value)
    return Tainted(join_list(shown, separator)) if shown else None


def _responders(certificate: x509.Certificate) -> list[str]:
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return []
    return [
        item.access_location.value
        for item in access
        if item.access_method == AuthorityInformationAccessOID.OCSP
        and isinstance(item.access_location, x509.UniformResourceIdentifier)
    ]


def _distribution_points(certificate: x509.Certificate) -> list[str]:
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return []
    return [
        name.value
        for point in points
        for name in point.full_name or ()
        if isinstance(name, x509.UniformResourceIdentifier)
    ]


def _uris(uris: list[str], modifier: str) -> str | None:
    separator = modifier[1] if modifier.startswith(">") and len(modifier) > 1 else "\n"
    return Tainted(join_list(uris, separator)) if uris else None


def _extension(certificate: x509.Certificate, oid: str) -> str | None:
    """The octets of an extension in hex."""
    for extension in certificate.extensions:
        if extension.oid.dotted_string == oid:
            octets: bytes = extension.value.public_bytes()
            return octets.hex(" ")
    return None
