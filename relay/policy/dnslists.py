"""Lists of hosts and names in the DNS: the condition `dnslists` (decision).

An item names a list, and what is looked up in it: the client's address turned round, or the keys behind a slash. Which
answers count is said behind `=` (one of these addresses) or `&` (all of these bits); doubled (`==`, `=&`) every answer
must be such a one, and `!` turns it round. Two lists with a comma: the second one decides, the first one has the text.
An answer that is no loopback address is none: so answers a list that has been given up, or a resolver that lies.
Questions are asked once in a connection, as long as their answers live. Exim: dnsbl.c.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from relay.expand.splitting import split_list
from relay.expand.values import lower
from relay.mail import events
from relay.mail.ports import DNS_LIFE, HostNotFound, Records, TemporaryFailure
from relay.mail.text import printable
from relay.policy import dnslist_notes as dns_notes
from relay.policy.acl_program import ACLBroken, Holds, Listing, Run
from relay.policy.acl_steps import Argument, Compiled
from relay.policy.acl_values import Where

_STRANGE = re.compile(r"[^A-Za-z0-9._-]")
_NAME_LIMIT = 255
_LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")
_TEXT_LIMIT = 255
_LISTINGS_LIMIT = 1000
_CHANGED_SEPARATOR = re.compile(r"[ \t\n]*<(?:[!-/:-@\[-`{-~])")


@dataclass(frozen=True, slots=True)
class ListItem:
    """One list that is asked, and which of its answers mean that a key is in it."""

    domain: str
    text_domain: str
    wanted: tuple[str, ...] | None = None
    """Addresses, or masks; None: any answer."""
    as_bits: bool = False
    is_negated: bool = False
    for_all: bool = False
    keys: tuple[str, ...] | None = None
    """What is looked up; None: the client's address."""


class _Unknown:
    """`+include_unknown` and its like: what a list without an answer means from here on."""

    def __init__(self, holds: Holds | None) -> None:
        self.holds = holds


_UNKNOWN = {
    "+include_unknown": _Unknown(Holds.YES),
    "+exclude_unknown": _Unknown(Holds.NO),
    "+defer_unknown": _Unknown(None),
}


def read_item(text: str) -> ListItem:
    """One item of the list. There is none that can't be read."""
    rest, slash, keys = text.partition("/")
    as_bits = is_negated = for_all = False
    wanted: tuple[str, ...] | None = None
    place = rest.find("=")
    if place < 0:
        place = rest.find("&")
        as_bits = place >= 0
    domains = rest if place < 0 else rest[:place]
    if place >= 0:
        addresses = rest[place + 1 :]
        if domains.endswith("!"):
            domains, is_negated = domains[:-1], True
        if not as_bits and addresses[:1] in ("=", "&"):
            as_bits, for_all, addresses = addresses[0] == "&", True, addresses[1:]
        wanted = split_list(addresses, ",").items
    text_domain, comma, domain = domains.partition(",")
    return ListItem(
        domain=domain if comma else text_domain,
        text_domain=text_domain,
        wanted=wanted,
        as_bits=as_bits,
        is_negated=is_negated,
        for_all=for_all,
        keys=split_list(keys).items if slash else None,
    )


def turned_round(address: str) -> str:
    """An address as it is looked up: its octets (IPv6: its hexadecimal digits) from the last to the first."""
    ip = ipaddress.ip_address(address)
    return ip.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")


def _query(key: str, domain: str) -> str:
    try:
        key = turned_round(key)
    except ValueError:
        pass
    return f"{key}.{domain}"


def answers_match(item: ListItem, addresses: tuple[str, ...]) -> bool:
    """Whether the answers of a list are those that the item wants; an item without addresses wants any."""
    if item.wanted is None:
        return True
    hits = [_is_wanted(item, each) for each in addresses]
    return (all(hits) if item.for_all else any(hits)) != item.is_negated


def _is_wanted(item: ListItem, address: str) -> bool:
    assert item.wanted is not None
    if not item.as_bits:
        return address in item.wanted
    given = _loopback(address)
    bits = int(given) if given is not None else 0
    return any(mask is not None and bits & int(mask) == int(mask) for mask in map(_ipv4, item.wanted))


def _ipv4(text: str) -> ipaddress.IPv4Address | None:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        return None


def _loopback(text: str) -> ipaddress.IPv4Address | None:
    address = _ipv4(text)
    return address if address is not None and address in _LOOPBACK else None


# Asking


def compile_dnslists(argument: Argument) -> Compiled:
    """`dnslists = list : list`. A change of the separator is read before the text is expanded."""
    change = _CHANGED_SEPARATOR.match(argument.text)
    separator = change.group()[-1] if change else ":"
    expansion = argument.expansion(argument.text[change.end() :] if change else argument.text)

    async def test(run: Run) -> Holds:
        text = await expansion.text(run.scope)
        run.show(text)
        return await _search(split_list(text, separator).items, run)

    return Compiled(test)


async def _search(items: tuple[str, ...], run: Run) -> Holds:
    """The first list that has one of its keys. Raises TemporaryFailure, ACLBroken."""
    unknown = _UNKNOWN["+exclude_unknown"]
    notes = run.scope.notes
    for text in items:
        dns_notes.item(notes, text)
        if text.startswith("+"):
            found = _UNKNOWN.get(lower(text))
            if found is None:
                _note(run, f"unknown item in dnslist (ignored): {text}")
            else:
                unknown = found
            continue
        item = read_item(text)
        for domain in dict.fromkeys((item.domain, item.text_domain)):
            if _STRANGE.search(domain):
                _note(run, f'dnslists domain "{domain}" contains strange characters - is this right?')
        deferred = ""
        for key in _keys(item, run):
            try:
                if await _is_listed(item, key, unknown, run):
                    run.learn(dnslist_domain=item.text_domain, dnslist_matched=key)
                    dns_notes.listed(notes, key, item.text_domain)
                    return Holds.YES
            except TemporaryFailure as failed:
                deferred = str(failed)
        if deferred:
            raise TemporaryFailure(deferred)
    return Holds.NO


def _keys(item: ListItem, run: Run) -> Iterator[str]:
    if item.keys is not None:
        yield from item.keys
        return
    if run.context.where in (Where.NOT_SMTP, Where.NOT_SMTP_START):
        raise ACLBroken(f"cannot test auto-keyed dnslists condition in {run.context.where.value} ACL")
    peer = run.scope.session.peer
    if peer is not None:
        yield peer.address


async def _is_listed(item: ListItem, key: str, unknown: _Unknown, run: Run) -> bool:
    """Whether a key is in the list, and in that of the texts where that is another one. Raises TemporaryFailure."""
    if not await _asked(item, key, unknown, run):
        return False
    if item.text_domain == item.domain:
        return True
    return await _asked(ListItem(item.text_domain, item.text_domain), key, unknown, run)


async def _asked(item: ListItem, key: str, unknown: _Unknown, run: Run) -> bool:
    query = _query(key, item.domain)
    if len(query) > _NAME_LIMIT:
        _note(run, f"dnslist query is too long (ignored): {printable(query, 100)}")
        return False
    listings, notes = run.context.memory.listings, run.scope.notes
    listing = listings.get(query)
    if listing is None or listing.until <= run.scope.now:
        dns_notes.asks(notes, query, again=listing is not None)
        if len(listings) >= _LISTINGS_LIMIT:
            listings.clear()
        listing = listings[query] = await _look_up(query, run)
        dns_notes.keeps(notes, listing.until - run.scope.now)
    else:
        dns_notes.knows(notes)
    if listing.failure:
        return _unanswered(query, unknown, run)
    if not listing.addresses:
        dns_notes.not_listed(notes, query, key, item.domain)
        return False
    dns_notes.answered(notes, query, listing.addresses)
    real = tuple(each for each in listing.addresses if _loopback(each) is not None)
    if item.wanted is None or item.as_bits:
        for each in listing.addresses:
            if each not in real:
                what = f"DNS list lookup for {printable(key)} at {item.domain} returned {each}"
                _note(run, f"{what}; not in 127.0/8 and discarded")
        if item.wanted is None and not real:
            return False
    if not answers_match(item, listing.addresses):
        dns_notes.not_wanted(notes, item)
        return False
    if item.text_domain == item.domain:
        if listing.text is None:
            listing = listings[query] = replace(listing, text=await _text(query, run))
        run.learn(dnslist_value=", ".join(listing.addresses), dnslist_text=listing.text or "")
    return True


def _unanswered(query: str, unknown: _Unknown, run: Run) -> bool:
    words = {Holds.YES: "assumed in list", Holds.NO: "assumed not in list"}
    meaning = words[unknown.holds] if unknown.holds is not None else "returned DEFER"
    what = f"DNS list lookup defer (probably timeout) for {printable(query)}: {meaning}"
    _note(run, what)
    if unknown.holds is None:
        raise TemporaryFailure(what)
    return unknown.holds is Holds.YES


def _records(run: Run) -> Records:
    records = run.context.ports.records
    if records is None:
        raise ACLBroken("dnslists can't be asked here: there is no DNS")
    return records


async def _look_up(query: str, run: Run) -> Listing:
    now = run.scope.now
    try:
        found = await _records(run).records(query, "A")
    except HostNotFound as nothing:
        return Listing((), now + nothing.seconds)
    except TemporaryFailure as failed:
        return Listing((), now + DNS_LIFE, failure=str(failed) or "no answer")
    return Listing(found.data, now + found.seconds)


async def _text(query: str, run: Run) -> str:
    """The text that goes with a listing; a list without texts, or whose texts can't be had now, has none."""
    try:
        return (await _records(run).records(query, "TXT")).data[0][:_TEXT_LIMIT]
    except (HostNotFound, TemporaryFailure):
        return ""


def _note(run: Run, text: str) -> None:
    message = run.scope.message
    run.context.journal.record(events.WrittenByACL(text, message_id=message.message_id if message is not None else ""))
