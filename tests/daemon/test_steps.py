"""What `-bh` shows of ACLs."""

from relay.daemon.steps import Steps
from relay.mail.source import Location
from relay.policy.acl_values import Accepted, TraceStep


def test_steps_are_told_statement_by_statement() -> None:
    told: list[str] = []
    steps = Steps(told.append)
    first, second = Location("conf", 3), Location("conf", 5)
    steps.begin("check_rcpt")
    steps.record(TraceStep("check_rcpt", "deny", first, "hosts = $bad", "192.0.2.9", "no", first))
    steps.record(TraceStep("check_rcpt", "accept", second, "domains = here.test", "", "yes", second))
    steps.record(TraceStep("check_rcpt", "accept", Location("conf", 6), "endpass", "", "done", second))
    steps.end("check_rcpt", Accepted(second))
    assert told == [
        '>>> using ACL "check_rcpt"',
        '>>> processing ACL check_rcpt "deny" (conf:3)',
        ">>> check hosts = 192.0.2.9",
        ">>> deny: condition test failed in ACL check_rcpt",
        '>>> processing ACL check_rcpt "accept" (conf:5)',
        ">>> check domains = here.test",
        ">>> endpass",
        ">>> accept: condition test succeeded in ACL check_rcpt",
        ">>> end of ACL check_rcpt: ACCEPT",
    ]
