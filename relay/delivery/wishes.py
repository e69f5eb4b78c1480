"""What the options of an smtp transport make of one host: how to connect, to greet and to secure (decision)."""

from __future__ import annotations

from relay.delivery.host_lines import Wish, line_of
from relay.delivery.link import Manners
from relay.delivery.smtp_rules import SMTPRules
from relay.esmtp.client_settings import ALabels
from relay.expand.errors import ExpansionFailed, ForcedFailure
from relay.expand.lists import MatchList
from relay.expand.scope import Scope
from relay.expand.splitting import split_list
from relay.mail.outcome import RemoteHost
from relay.policy.hosts import matches_host
from relay.policy.tls import client_policy


class OptionFailed(ExpansionFailed):
    """An option can't be expanded; the text names it."""


async def make_wish(rules: SMTPRules, addresses: tuple[RemoteHost, ...], scope: Scope) -> Wish:
    """`addresses` are those of one host, which `scope` has. Raises ExpansionFailed, TemporaryFailure."""
    host = addresses[0]
    manners = Manners(
        helo_name=await _helo_name(rules, scope),
        timeouts=rules.timeouts,
        lmtp=rules.lmtp,
        tls_on_connect=rules.tls.on_connect,
        interfaces=await _interfaces(rules, scope),
        esmtp=not await matches_any(rules.avoid_esmtp, scope),
        pipelining=not await matches_any(rules.avoid_pipelining, scope),
        chunking=rules.filter is None and await matches_any(rules.try_chunking, scope),
        prdr=await matches_any(rules.try_prdr, scope),
        keepalive=rules.keepalive,
        a_labels=await a_labels(rules, scope),
    )
    return Wish(
        transport=rules.name,
        host=line_of(host),
        policy=await client_policy(rules.tls, scope, (host.name,)),
        manners=manners,
        addresses=frozenset(each.address for each in addresses),
    )


async def _helo_name(rules: SMTPRules, scope: Scope) -> str:
    name = await rules.helo_data.text(scope) if rules.helo_data is not None else ""
    return name or scope.main.get("primary_hostname", "localhost")


async def a_labels(rules: SMTPRules, scope: Scope) -> ALabels:
    """As utf8_downconvert says; what is none of its values leaves it at where they are needed."""
    if rules.downconvert is None:
        return ALabels.WHERE_NEEDED
    try:
        text = (await rules.downconvert.text(scope)).strip()
    except ForcedFailure:
        text = ""
    return next((each for each in ALabels if str(each.value) == text), ALabels.WHERE_NEEDED)


async def _interfaces(rules: SMTPRules, scope: Scope) -> tuple[str, ...]:
    if rules.interface is None:
        return ()
    try:
        text = await rules.interface.text(scope)
    except ForcedFailure:
        return ()
    except ExpansionFailed as error:
        what = f'failed to expand "interface" option for {rules.name} transport: {error}'
        raise OptionFailed(what) from None
    return tuple(item for item in split_list(text).items if item)


async def matches_any(hosts: MatchList | None, scope: Scope) -> bool:
    """Whether the host of the scope is in a list of an option, which may be unset."""
    return hosts is not None and await matches_host(hosts, scope)
