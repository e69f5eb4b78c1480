"""Options behind the slashes of `verify`, and what clients are told of a sender."""

from __future__ import annotations

import pytest

from relay.mail.address import Address
from relay.policy.acl_steps import Mistake
from relay.policy.verification import (
    ROUTED_ONLY,
    CalloutOptions,
    Finding,
    MailFrom,
    Objection,
    Role,
    Verified,
    VerifyOptions,
    Ways,
)
from relay.policy.verify_options import incomplete, read_options, sender_lines, unreachable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ROUTED_ONLY),
        ("defer_ok", VerifyOptions(defer_ok=True)),
        ("Defer_OK/no_details", VerifyOptions(defer_ok=True, no_details=True)),
        ("success_on_redirect", VerifyOptions(success_on_redirect=True)),
        ("callout", VerifyOptions(callout=CalloutOptions())),
        ("callout_defer_ok", VerifyOptions(callout_defer_ok=True, callout=CalloutOptions())),
        ("check_postmaster", VerifyOptions(callout=CalloutOptions(postmaster_from=""))),
        ("callout = 10s", VerifyOptions(callout=CalloutOptions(timeout=10.0))),
        (
            "callout=1m, connect=5s,maxwait = 2m,defer_ok",
            VerifyOptions(callout_defer_ok=True, callout=CalloutOptions(timeout=60.0, connect=5.0, maxwait=120.0)),
        ),
        ("callout=no_cache,random,hold", VerifyOptions(callout=CalloutOptions(ways=Ways.NO_CACHE | Ways.RANDOM))),
        (
            "callout=fullpostmaster",
            VerifyOptions(callout=CalloutOptions(ways=Ways.FULL_POSTMASTER, postmaster_from="")),
        ),
        ("callout=postmaster", VerifyOptions(callout=CalloutOptions(postmaster_from=""))),
        ("callout=postmaster_mailfrom=me@x.test", VerifyOptions(callout=CalloutOptions(postmaster_from="me@x.test"))),
        ("callout=use_sender", VerifyOptions(callout=CalloutOptions(sender=MailFrom.SENDER))),
        ("callout=use_postmaster", VerifyOptions(callout=CalloutOptions(sender=MailFrom.POSTMASTER))),
        ("callout=use_tptsender", VerifyOptions(callout=CalloutOptions(sender=MailFrom.TRANSPORT))),
    ],
)
def test_options(text: str, expected: VerifyOptions) -> None:
    assert read_options("recipient", [each.strip() for each in text.split("/") if each]) == expected


def test_a_sender_for_header_senders_only() -> None:
    callout = read_options("header_sender", ["callout=mailfrom=me@x.test"]).callout
    assert callout is not None
    assert callout.mail_from == "me@x.test"


@pytest.mark.parametrize(
    ("kind", "option", "what"),
    [
        ("recipient", "quota", "is not supported"),
        ("recipient", "quota=no_cache", "is not supported"),
        ("recipient", "caseless", "unknown option"),
        ("recipient", "defer_ok=yes", "unknown option"),
        ("recipient", "callout=rabdom", "neither an option of a callout nor a time"),
        ("recipient", "callout=connect", '"=" expected'),
        ("recipient", "callout=maxwait=soon", "neither"),
        ("recipient", "callout=mailfrom=x@y.test", "only for verify=header_sender"),
        ("recipient", "callout=use_sender,use_postmaster", "only one of"),
        ("sender", "callout=use_sender", "cannot be used for a sender"),
    ],
)
def test_mistakes(kind: str, option: str, what: str) -> None:
    with pytest.raises(Mistake, match=what):
        read_options(kind, [option])


def test_who_passes_without_an_answer() -> None:
    routing, callout = Verified(Finding.UNKNOWN), Verified(Finding.UNKNOWN, is_from_callout=True)
    assert [VerifyOptions(defer_ok=True).passes(each) for each in (routing, callout)] == [True, True]
    assert [VerifyOptions(callout_defer_ok=True).passes(each) for each in (routing, callout)] == [False, True]
    assert not ROUTED_ONLY.passes(callout)


def test_what_a_client_is_told_of_its_sender() -> None:
    assert sender_lines("a@x.test", Verified(Finding.BAD, "inner matters")) == ()
    told = {
        objection: sender_lines("a@x.test", Verified(Finding.BAD, user_message="one\ntwo", objection=objection))
        for objection in Objection
    }
    assert told[Objection.ADDRESS] == ("Verification failed for <a@x.test>", "one", "two")
    assert told[Objection.SETUP][:3] == ("Callback setup failed while verifying <a@x.test>", "one", "two")
    assert told[Objection.POSTMASTER][0] == "Postmaster verification failed while checking <a@x.test>"


def test_what_is_told_where_nobody_could_be_asked() -> None:
    assert incomplete(Role.RECIPIENT) == "Could not complete recipient verify callout"
    first = unreachable(Address("a", "x.test"), Role.SENDER).split("\n")[0]
    assert first == "Could not complete sender verify callout for <a@x.test>."
