"""Event actions: what they see, what they say, and what a mistake in one does, which is nothing."""

from __future__ import annotations

from delivery.post import Notebook, run
from policy.told import action, told
from relay.expand.evaluate import compile_expansion
from relay.expand.scope import AddressView, MessageView, Scope
from relay.mail.address import NULL_SENDER
from relay.mail.events import Trouble
from relay.policy.event_action import NO_ACTIONS, EventAction, EventActions, Happening, Point

SCOPE = Scope(
    message=MessageView(sender=NULL_SENDER, message_id="1A"),
    address=AddressView("bert", "far.test"),
    more={"home": "/"},
)


def plain(text: str, journal: Notebook, transport: str = "") -> EventAction:
    return EventAction(compile_expansion(text), transport, {}, journal, None)  # type: ignore[arg-type]


def test_it_sees_the_event_and_the_rest() -> None:
    text = "$event_name/$event_data/$event_defer_errno/$domain/$home"
    said = run(plain(text, Notebook()).tell(Happening(Point.HOST_DEFERRED, "busy", -46), SCOPE))
    assert said == "msg:host:defer/busy/-46/far.test//"
    assert "event_name" not in SCOPE.more


def test_an_acl_writes_into_the_log_of_the_message() -> None:
    journal = Notebook()
    assert run(action(journal).tell(Happening(Point.DELIVERED, "250 OK"), SCOPE)) == ""
    assert told(journal) == ["msg:delivery <250 OK> bert@far.test "]
    assert journal.events[0].message_id == "1A"


def test_the_text_of_an_acl_is_the_answer() -> None:
    assert run(action(Notebook(), says="no").tell(Happening(Point.CONNECTING), SCOPE)) == "no"


def test_a_mistake_is_logged_and_says_nothing() -> None:
    journal = Notebook()
    assert run(plain("${acl {none}}", journal, "smtp").tell(Happening(Point.DELIVERED), SCOPE)) == ""
    (trouble,) = journal.of(Trouble)
    assert trouble.text == 'failed to expand event_action msg:delivery in smtp: ERROR from acl "none"'
    assert trouble.message_id == "1A"


def test_data_of_a_peer_is_not_expanded_again() -> None:
    said = run(plain("${expand:$event_data}", Notebook()).tell(Happening(Point.GREETED, "220 $pid"), SCOPE))
    assert said == ""


def test_which_option_is_meant() -> None:
    main, smtp = action(Notebook()), action(Notebook(), "smtp")
    actions = EventActions(main, {"smtp": smtp})
    assert (actions.of(""), actions.of("smtp"), actions.of("maildir")) == (main, smtp, None)
    assert actions
    assert not NO_ACTIONS


def test_no_point_judges_a_certificate() -> None:
    assert not any(each.value.startswith(("tls:", "dane:")) for each in Point)
