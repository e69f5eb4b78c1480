"""What callouts remember of domains and addresses, so that a host is not asked the same thing twice (machine).

Two records: of a domain, what its host says to everybody (that it refuses us or bounces, whether it takes any local
part, whether it has a postmaster), and of an address, with the sender that it was asked with. `decide` holds them
against a question: there is an answer already, or this is left to be asked. Exim: the hints database `callout`.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, replace

from relay.policy.verification import Finding, Objection, Verified

DOMAIN, ADDRESS = "callout-domain", "callout-address"
"""Kinds of hints."""


class Known(enum.Enum):
    """What was answered once."""

    NOTHING = ""
    ACCEPTED = "accepted"
    REFUSED = "refused"
    REFUSED_NOBODY = "refused the null sender"


@dataclass(frozen=True, slots=True)
class Remembered:
    """One answer, and when it came (seconds since the epoch)."""

    known: Known = Known.NOTHING
    at: float = 0.0


NOTHING = Remembered()


@dataclass(frozen=True, slots=True)
class DomainRecord:
    """What is known of a domain's hosts."""

    setup: Remembered = NOTHING
    """Of connecting, greeting and the null sender."""
    random: Remembered = NOTHING
    postmaster: Remembered = NOTHING


@dataclass(frozen=True, slots=True)
class Expiry:
    """For how long answers hold, seconds (Exim: callout_…_expire)."""

    domain_positive: float = 7 * 86400.0
    domain_negative: float = 3 * 3600.0
    positive: float = 86400.0
    negative: float = 2 * 3600.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be asked, beside the address itself."""

    asks_random: bool
    asks_postmaster: bool
    domain: DomainRecord = DomainRecord()
    """What stays known of the domain whatever is answered now."""
    refuses_nobody: bool = False
    """The null sender was refused before, which another sender's success does not change."""


def decide(
    domain: DomainRecord | None, address: Remembered | None, wanted: Plan, expiry: Expiry, now: float, *, nobody: bool
) -> Verified | Plan:
    """The answer as far as it is known, or what is left to ask. `nobody`: it is asked with the null sender."""
    kept = _still_good(domain, expiry, now) if domain is not None else None
    if kept is not None:
        setup = kept.setup.known
        wanted = replace(wanted, refuses_nobody=setup is Known.REFUSED_NOBODY)
        if setup is Known.REFUSED or (setup is Known.REFUSED_NOBODY and nobody):
            return _reused("(result of an earlier callout reused).", "mail", Objection.SETUP)
        if wanted.asks_random:
            match kept.random.known:
                case Known.ACCEPTED:
                    return Verified(Finding.GOOD, failure="random", is_from_callout=True)
                case Known.REFUSED | Known.REFUSED_NOBODY:
                    wanted = replace(wanted, asks_random=False, domain=replace(wanted.domain, random=kept.random))
                case Known.NOTHING:
                    return wanted
        if wanted.asks_postmaster:
            match kept.postmaster.known:
                case Known.REFUSED | Known.REFUSED_NOBODY:
                    return _reused("(result of earlier verification reused).", "postmaster", Objection.POSTMASTER)
                case Known.ACCEPTED:
                    further = replace(wanted.domain, postmaster=kept.postmaster)
                    wanted = replace(wanted, asks_postmaster=False, domain=further)
                case Known.NOTHING:
                    return wanted
    if address is None or not _holds(address, expiry.positive, expiry.negative, now):
        return wanted
    if address.known is Known.ACCEPTED:
        return Verified(Finding.GOOD, is_from_callout=True)
    return _reused("Previous (cached) callout verification failure", "recipient", Objection.ADDRESS)


def _reused(text: str, failure: str, objection: Objection) -> Verified:
    return Verified(Finding.BAD, user_message=text, failure=failure, objection=objection, is_from_callout=True)


def _still_good(record: DomainRecord, expiry: Expiry, now: float) -> DomainRecord | None:
    """A domain is a bad one where it refuses us or has no postmaster: then all of it is soon forgotten."""
    negative = record.setup.known is not Known.ACCEPTED or record.postmaster.known is Known.REFUSED
    limit = expiry.domain_negative if negative else expiry.domain_positive
    if not 0 <= now - record.setup.at <= limit:
        return None
    if record.setup.known is Known.REFUSED:
        return record
    return DomainRecord(
        record.setup,
        record.random if now - record.random.at <= limit else NOTHING,
        record.postmaster if now - record.postmaster.at <= limit else NOTHING,
    )


def _holds(record: Remembered, positive: float, negative: float, now: float) -> bool:
    return 0 <= now - record.at <= (positive if record.known is Known.ACCEPTED else negative)


# As text


def write_domain(record: DomainRecord) -> str:
    """As a hint."""
    return json.dumps({name: _plain(each) for name, each in _parts(record).items() if each != NOTHING})


def read_domain(text: str | None) -> DomainRecord | None:
    """None where nothing is kept, or nothing that can be read."""
    fields = _object(text)
    if fields is None:
        return None
    try:
        return DomainRecord(**{name: _remembered(each) for name, each in fields.items()})
    except (LookupError, TypeError, ValueError):
        return None


def write_address(record: Remembered) -> str:
    """As a hint."""
    return json.dumps(_plain(record))


def read_address(text: str | None) -> Remembered | None:
    """None where nothing is kept, or nothing that can be read."""
    fields = _object(text)
    if fields is None:
        return None
    try:
        return _remembered(fields)
    except (LookupError, TypeError, ValueError):
        return None


def _parts(record: DomainRecord) -> dict[str, Remembered]:
    return {"setup": record.setup, "random": record.random, "postmaster": record.postmaster}


def _plain(record: Remembered) -> dict[str, object]:
    return {"known": record.known.value, "at": record.at}


def _remembered(fields: object) -> Remembered:
    if not isinstance(fields, dict):
        raise TypeError("no object")
    return Remembered(Known(fields["known"]), float(fields["at"]))


def _object(text: str | None) -> dict[str, object] | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
