"""A dialog as it is shown: what went out together, what came back, and neither messages nor secrets."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from relay.esmtp.transcript import Transcript


class Watcher:
    """Who reads the lines; `say` and `hear` are the connection."""

    def __init__(self, *, in_callout: bool = False) -> None:
        self.lines: list[str] = []
        self.transcript = Transcript(self.lines.append, in_callout=in_callout)

    def play(self, *pieces: bytes) -> list[str]:
        """What the server says begins with a digit, or a blank that is taken off."""
        for each in pieces:
            if each[:1].isdigit():
                self.transcript.received(each)
            else:
                self.transcript.sent(each)
        return self.lines


def test_commands_and_replies_have_a_line_each() -> None:
    seen = Watcher().play(b"220 here\r\n", b"EHLO us\r\n", b"250-one\r\n250-two\r\n250 three\r\n")
    assert seen[:3] == ["  SMTP<< 220 here", "  SMTP>> EHLO us", "  SMTP<< 250-one"]
    assert seen[3:] == ["         250-two", "         250 three"]


def test_what_goes_out_together_is_marked() -> None:
    seen = Watcher().play(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
    assert seen == ["  SMTP|> MAIL FROM:<a@b>", "  SMTP|> RCPT TO:<c@d>", "  SMTP>> DATA"]


def test_a_message_is_not_shown_however_it_is_cut() -> None:
    wire = b"Subject: x\r\n\r\nEHLO nobody\r\n..\r\n.\r\n"
    whole = Watcher().play(b"DATA\r\n", b"354 go\r\n", wire, b"250 taken\r\n")
    assert whole == [
        "  SMTP>> DATA",
        "  SMTP<< 354 go",
        "  SMTP>> (writing message)",
        "  SMTP>> .",
        "  SMTP<< 250 taken",
    ]
    for place in range(1, len(wire)):
        cut = Watcher()
        assert cut.play(b"DATA\r\n", b"354 go\r\n") == whole[:2]
        cut.transcript.sent(wire[:place])
        cut.transcript.sent(wire[place:])
        cut.transcript.received(b"250 taken\r\n")
        assert cut.lines == whole, place


def test_a_message_of_no_lines_is_its_dot_alone() -> None:
    seen = Watcher().play(b"DATA\r\n", b"354 go\r\n", b".\r\n", b"554 nobody\r\n", b"RSET\r\n")
    assert seen[-3:] == ["  SMTP>> .", "  SMTP<< 554 nobody", "  SMTP>> RSET"]


def test_data_that_is_refused_is_followed_by_commands() -> None:
    assert Watcher().play(b"DATA\r\n", b"550 no\r\n", b"RSET\r\n")[-1] == "  SMTP>> RSET"


def test_chunks_are_named_and_not_shown() -> None:
    seen = Watcher().play(b"BDAT 5\r\nEHLO\n", b"BDAT 6 LAST\r\nQUIT\r\n", b"250 one\r\n250 two\r\n")
    assert seen == ["  SMTP>> BDAT 5", "  SMTP>> BDAT 6 LAST", "  SMTP<< 250 one", "  SMTP<< 250 two"]


def test_credentials_are_shown_as_their_length() -> None:
    seen = Watcher().play(b"AUTH PLAIN c2VjcmV0\r\n", b"235 welcome\r\n", b"MAIL FROM:<a@b>\r\n")
    assert seen == ["  SMTP>> AUTH PLAIN ********", "  SMTP<< 235 welcome", "  SMTP>> MAIL FROM:<a@b>"]


def test_answers_to_challenges_are_shown_as_their_length() -> None:
    watcher = Watcher()
    watcher.play(b"AUTH LOGIN\r\n", b"334 VXNlcjo=\r\n", b"bWU=\r\n", b"334 \r\n", b"c2VjcmV0\r\n", b"235 ok\r\n")
    watcher.transcript.closed()
    text = "\n".join(watcher.lines)
    assert "bWU=" not in text
    assert "c2VjcmV0" not in text
    assert watcher.lines[0] == "  SMTP>> AUTH LOGIN"
    assert watcher.lines[-1] == "cmdlog: 'AUTH:334:****:334:********:235'"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([b"334 go on", b"250 ok", b"535 no", b"220-x", b"3", b""]), max_size=6))
def test_no_answer_to_a_challenge_is_ever_shown(replies: list[bytes]) -> None:
    """Whatever a server says before it: what follows a 3xx is not shown."""
    watcher = Watcher()
    watcher.transcript.sent(b"AUTH X\r\n")
    for each in replies:
        watcher.transcript.received(each + b"\r\n")
    watcher.transcript.received(b"250 end\r\n334 now\r\n")
    watcher.transcript.sent(b"SECRETSECRET\r\n")
    watcher.transcript.closed()
    assert "SECRETSE" not in "\n".join(watcher.lines)


def test_what_a_server_says_moves_no_cursor() -> None:
    watcher = Watcher()
    watcher.transcript.received(b"220 \x1b[2J\xff\r\n")
    assert watcher.lines == ["  SMTP<< 220 \\033[2J\\377"]


def test_the_end_has_the_dialog_in_short() -> None:
    watcher = Watcher()
    watcher.transcript.connecting("far.test", "192.0.2.1", 25)
    watcher.transcript.connected()
    watcher.play(b"220 x\r\n", b"EHLO us\r\n", b"250-x\r\n250 y\r\n", b"QUIT\r\n")
    watcher.transcript.shut_down()
    watcher.play(b"221 bye\r\n")
    watcher.transcript.closed()
    watcher.transcript.closed()
    assert watcher.lines[:2] == ["Connecting to far.test [192.0.2.1]:25 ...", "connected"]
    assert watcher.lines[-5:] == [
        "  SMTP+> QUIT",
        "  SMTP(shutdown)>>",
        "  SMTP<< 221 bye",
        "  SMTP(close)>>",
        "cmdlog: '220:EHLO:250-:QUIT+:221'",
    ]


def test_a_host_that_takes_no_connection() -> None:
    watcher = Watcher()
    watcher.transcript.connecting("far.test", "192.0.2.1", 25, "192.0.2.9")
    watcher.transcript.not_connected("Connection refused")
    assert watcher.lines == [
        "Connecting to far.test [192.0.2.1]:25 from 192.0.2.9 ...",
        " sock_connect failed: Connection refused",
        "cmdlog: (unset)",
    ]


def test_a_silent_server_is_told_where_its_answer_was_waited_for() -> None:
    watcher = Watcher()
    watcher.play(b"EHLO us\r\n")
    watcher.transcript.hung_up()
    assert watcher.lines[-1] == "  SMTP(closed)<<"
    answered = Watcher()
    answered.play(b"QUIT\r\n", b"221 bye\r\n")
    answered.transcript.hung_up()
    assert answered.lines[-1] == "  SMTP<< 221 bye"


def test_a_callout_stands_further_right_and_says_goodbye_alone() -> None:
    watcher = Watcher(in_callout=True)
    watcher.play(b"QUIT\r\n")
    assert watcher.lines == ["   SMTP>> QUIT"]
