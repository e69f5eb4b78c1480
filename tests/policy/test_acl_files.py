"""ACLs that are found only when they are used: by name, in files, as text."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from policy.acl_world import Journal, NoWaiting, answer
from relay.expand.evaluate import compile_expansion
from relay.expand.scope import Scope
from relay.expand.values import Tainted
from relay.mail.ports import TemporaryFailure
from relay.mail.source import Location
from relay.policy.acl import ACLReference, FileACLs, check, find_acl
from relay.policy.acl_program import ACL, ACLBroken, ACLContext, ConditionPorts
from relay.policy.acl_values import Accepted, Deferred, Denied, Effects, Verdict, Where


@dataclass
class Disk:
    """Files of lists; the same object is given as long as a file has not changed."""

    files: dict[str, tuple[str, ...]] = field(default_factory=dict)

    async def lines(self, path: str) -> tuple[str, ...]:
        if path not in self.files:
            raise TemporaryFailure(f"failed to open {path}: No such file or directory")
        return self.files[path]


HERE = ACL("here", Location("conf", 1), ())


def context(disk: Disk | None, variables: dict[str, str] | None = None) -> ACLContext:
    seen = variables or {}
    ports = ConditionPorts(files=FileACLs(disk, None) if disk is not None else None)
    waiting = NoWaiting()
    scope = Scope(acl_variables=seen)
    return ACLContext(Where.MAIL, scope, {"here": HERE}, Effects(), seen, Journal(), waiting, ports)  # type: ignore[arg-type]


def ask(option: str, disk: Disk, **variables: str) -> Verdict:
    """The verdict of an option whose ACL is known only now."""
    reference = ACLReference(compile_expansion(option), Location("conf", 7))
    return answer(check(reference, context(disk, variables)))


CHOICE = "${if eq{$acl_m_who}{anna}{/acl/anna}{/acl/other}}"


def test_which_file_is_decided_when_it_is_used() -> None:
    disk = Disk({"/acl/anna": ("# for anna", "", "accept"), "/acl/other": ("deny \\", "  message = no", "")})
    found = ask(CHOICE, disk, acl_m_who="anna")
    assert found == Accepted(Location("/acl/anna", 3))
    refused = ask(CHOICE, disk, acl_m_who="bert")
    assert isinstance(refused, Denied)
    assert refused.statement == Location("/acl/other", 1)
    assert refused.reply.text == "no"


def test_a_file_is_compiled_again_when_it_has_changed() -> None:
    disk = Disk({"/acl": ("accept",)})
    ports = FileACLs(disk, None)
    first = answer(ports.acl("/acl"))
    assert answer(ports.acl("/acl")) is first
    disk.files["/acl"] = ("deny",)
    assert answer(ports.acl("/acl")) is not first


@pytest.mark.parametrize(
    "text, why",
    [
        ("/acl/none", 'failed to open ACL file "/acl/none"'),
        ("/acl/broken", "unknown ACL verb"),
        ("nobody", 'unknown ACL verb "nobody" in "nobody"'),
        ("acl/relative", 'unknown ACL verb "acl/relative" in "acl/relative"'),
        ("accept hots = *", "unknown ACL condition"),
    ],
)
def test_what_is_no_acl_refuses_for_now(text: str, why: str) -> None:
    found = ask("$acl_m_text", Disk({"/acl/broken": ("acept",)}), acl_m_text=text)
    assert isinstance(found, Deferred)
    assert why in found.log_text


def test_a_constant_name_that_leads_nowhere_refuses_for_now() -> None:
    found = ask("chekc_rcpt", Disk())
    assert isinstance(found, Deferred)
    assert found.log_text == 'unknown ACL verb "chekc_rcpt" in "chekc_rcpt"'


def test_an_acl_inside_of_another_may_be_a_file() -> None:
    disk = Disk({"/outer": ("accept acl = /inner",), "/inner": ("accept",)})
    assert isinstance(ask("/outer", disk), Accepted)
    disk.files["/inner"] = ("deny",)
    assert isinstance(ask("/outer", disk), Denied)


def test_a_file_that_names_itself_ends() -> None:
    found = ask("/loop", Disk({"/loop": ("accept acl = /loop",)}))
    assert isinstance(found, Deferred)
    assert "nested too deep" in found.log_text


@pytest.mark.parametrize("text", ["/acl", "here", "accept"])
def test_no_acl_comes_from_outside(text: str) -> None:
    with pytest.raises(ACLBroken, match="may not come from outside"):
        answer(find_acl(Tainted(text), context(Disk({"/acl": ("accept",)}))))


def test_where_there_are_no_files_none_is_read() -> None:
    with pytest.raises(ACLBroken, match="can't be read here"):
        answer(find_acl("/acl", context(None)))


def test_nothing_at_all_is_an_empty_acl() -> None:
    assert isinstance(ask("$acl_m_text", Disk(), acl_m_text=" "), Denied)
