"""Names in other alphabets as mail and DNS want them: A-labels, IMAP folders (machine).

Domains are converted as an Exim with libidn2 does it (IDNA 2008 with the mappings of UTS 46, not transitional); the
other way, and for local parts, only Punycode is undone or done, whatever a registry would say of the label.
"""

from __future__ import annotations

import base64
import re

import idna

from relay.expand.errors import ExpansionFailed
from relay.expand.splitting import join_list, split_list
from relay.expand.values import from_octets, lower, octets
from relay.mail.text import printable

_PREFIX = "xn--"


def domain_to_alabels(text: str) -> str:
    """`${utf8_domain_to_alabel:…}`: a domain in ASCII; one that is in ASCII stays as it is."""
    if text.isascii():
        return text
    try:
        return idna.encode(lower(_decoded(text, "string encoding error")), uts46=True).decode("ascii")
    except UnicodeError as error:
        raise _bad("utf8", text, "alabel", str(error)) from None


def domain_from_alabels(text: str) -> str:
    """`${utf8_domain_from_alabel:…}`: each label that is an A-label as the text that it stands for."""
    labels = split_list(text, ".").items
    return join_list((_from_alabel(label) if label.startswith(_PREFIX) else label for label in labels), ".")


def local_part_to_alabel(text: str) -> str:
    """`${utf8_localpart_to_alabel:…}`: the whole local part as one label, its letters untouched."""
    if text.isascii():
        return text
    return _PREFIX + _decoded(text, "l_u2a: bad UTF-8 input").encode("punycode").decode("ascii")


def local_part_from_alabel(text: str) -> str:
    """`${utf8_localpart_from_alabel:…}`."""
    if not text.startswith(_PREFIX):
        raise _bad("alabel", text, "utf8", "bad alabel prefix")
    return _from_alabel(text)


def _from_alabel(label: str) -> str:
    try:
        found = label.removeprefix(_PREFIX).encode("ascii").decode("punycode")
        return from_octets(found.encode("utf-8"))
    except (UnicodeError, OverflowError, ValueError):
        raise _bad("alabel", label, "utf8", "Invalid input") from None


def _decoded(text: str, problem: str) -> str:
    try:
        return octets(text).decode("utf-8")
    except UnicodeDecodeError:
        raise _bad("utf8", text, "alabel", problem) from None


def _bad(given: str, text: str, wanted: str, why: str) -> ExpansionFailed:
    return ExpansionFailed(f"error converting {given} ({printable(text)}) to {wanted}: {why}")


# IMAP folders


def imap_folder(text: str, separator: str, specials: str, charset: str) -> str:
    """`${imapfolder{…}}`: the name in the modified UTF-7 of RFC 3501 5.1.3, its levels separated by a dot.

    A separator that leads, ends or follows another one is dropped; of `specials` and of what is not printable ASCII
    becomes a shifted sequence; a dot or a slash that is neither is an error.
    """
    try:
        name = octets(text).decode(charset)
    except LookupError:
        raise ExpansionFailed(f'imapfolder: no such character set: "{charset}"') from None
    except UnicodeDecodeError:
        why = "Invalid or incomplete multibyte or wide character"
        raise ExpansionFailed(f"imapfolder: iconv() failed to convert from {charset}: {why}") from None
    name = name.removeprefix(separator)
    special = re.escape(specials.replace(separator, ""))
    if not re.search(rf"[^ -~]|[./&{re.escape(separator)}{special}]", name):
        return from_octets(octets(name))
    shifted = rf"(?:[^ -~]|[{special}])" if special else "[^ -~]"
    pieces: list[str] = []
    part = re.compile(rf"(?P<shift>{shifted}+)|(?P<levels>{re.escape(separator)}+)|(?P<plain>.)", re.DOTALL)
    for match in part.finditer(name):
        plain = match["plain"]
        if match["shift"]:
            pieces.append(_shifted(match["shift"]))
        elif match["levels"]:
            pieces.append(".")
        elif plain in "./":
            raise ExpansionFailed(f"imapfolder: illegal character '{plain}'")
        else:
            pieces.append("&-" if plain == "&" else plain)
    return "".join(pieces).removesuffix(".")


def _shifted(text: str) -> str:
    coded = base64.b64encode(text.encode("utf-16-be", "surrogatepass"), b"+,").decode("ascii").rstrip("=")
    return f"&{coded}-"
