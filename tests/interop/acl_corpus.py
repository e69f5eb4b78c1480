"""ACLs and the dialogs that play them, by hand; the generated ones are at the end.

A case is a small configuration and what a client says. `CASE` in a text stands for the case's own name, so that
the ACLs of many cases fit into one file; `DIR` stands for the directory of the files. A case that ends its session,
needs options of its own or looks at the log files is played alone.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

MAIL = "MAIL FROM:<ann@from.test>"
RCPT = "RCPT TO:<bob@to.test>"
CAROL = "RCPT TO:<carol@to.test>"
MESSAGE = ("DATA", "From: ann@from.test", "To: bob@to.test", "Subject: x", "", "text", ".")
USUAL = (MAIL, RCPT)

PLACES = ("auth", "data", "etrn", "expn", "helo", "mail", "predata", "rcpt", "vrfy")
"""Where a case that is not played alone may have an ACL."""


@dataclass(frozen=True, slots=True)
class Case:
    """One dialog."""

    name: str
    acls: Mapping[str, str]
    """By the last word of the option: `rcpt` is acl_smtp_rcpt."""
    more: str = ""
    """Other ACLs, with their names."""
    say: Sequence[str] = USUAL
    options: str = ""
    """Main options of this case alone."""
    alone: bool = False
    arguments: Sequence[str] = ("-bh", "203.0.113.9")
    greets: bool = True
    """Whether HELO comes first by itself."""
    logs: bool = False
    """Whether the log files are compared."""

    def text(self, text: str) -> str:
        return text.replace("CASE", self.name)


def case(
    rcpt: str = "",
    *,
    more: str = "",
    say: Sequence[str] = (),
    options: str = "",
    alone: bool = False,
    arguments: Sequence[str] = ("-bh", "203.0.113.9"),
    greets: bool = True,
    logs: bool = False,
    **others: str,
) -> Case:
    acls = {name: text for name, text in {"rcpt": rcpt, **others}.items() if text}
    if not say:
        say = (MAIL, RCPT, *MESSAGE) if acls.keys() & {"data", "predata"} else USUAL
    alone = alone or bool(options) or logs or arguments[0] != "-bh"
    return Case("", acls, more, say, options, alone, arguments, greets, logs)


def _verbs() -> Iterator[Case]:
    """Every verb with and without texts, where its conditions hold and where not."""
    texts = (
        "",
        "message = to you",
        "log_message = to the log",
        "message = to you\n log_message = to the log",
        "message = $acl_verify_message=v\n log_message = [$acl_verify_message]",
    )
    conditions = (
        "",
        "condition = yes",
        "condition = no",
        "!condition = yes",
        "!condition = no",
        "condition = maybe$acl_m0",
    )
    for verb in ("accept", "defer", "deny", "discard", "require", "warn"):
        for condition in conditions:
            for text in texts:
                yield case(f"{verb} {condition}\n {text}\n accept message = went on")
                yield case(f"{verb} {text}\n {condition}\n deny message = went on")
        for text in texts:
            yield case(mail=f"{verb} {text}\n accept", say=(MAIL, RCPT))
            yield case(helo=f"{verb} {text}\n accept", say=(MAIL, RCPT))
            yield case(data=f"{verb} {text}\n accept")
            if verb != "discard":
                yield case(predata=f"{verb} {text}\n accept")
    for text in texts:
        for condition in ("", "condition = no"):
            yield case(f"drop {condition}\n {text}\n deny message = went on", say=(MAIL, RCPT, RCPT), alone=True)
    for place in ("helo", "mail", "predata", "data"):
        say = (MAIL, RCPT, *MESSAGE, "NOOP")
        yield case(**{place: "drop message = away\n log_message = with you"}, say=say, alone=True)
    yield case(predata="discard", alone=True)
    yield case(mail="discard message = gone\n log_message = away", say=(MAIL, RCPT, CAROL, *MESSAGE))
    yield case(mail="discard", rcpt="deny message = never asked", say=(MAIL, RCPT, *MESSAGE))
    yield case(
        "discard local_parts = bob\n message = fine\n log_message = out\n accept", say=(MAIL, RCPT, CAROL, *MESSAGE)
    )
    yield case("discard", say=(MAIL, RCPT, *MESSAGE))
    yield case("discard log_message = all of it", say=(MAIL, RCPT, CAROL, *MESSAGE))
    yield case(data="discard log_message = at last", say=(MAIL, RCPT, *MESSAGE))
    yield case(data="discard message = thank you", say=(MAIL, RCPT, *MESSAGE))
    yield case(data="accept message = thank you", say=(MAIL, RCPT, *MESSAGE))
    yield case(predata="accept message = thank you", say=(MAIL, RCPT, *MESSAGE))
    yield case(helo="discard", alone=True)


def _endpass() -> Iterator[Case]:
    for verb in ("accept", "discard"):
        for before in ("yes", "no"):
            for behind in ("yes", "no", "nonsense$acl_m1"):
                for text in ("", "message = told", "log_message = logged", "message = told\n log_message = logged"):
                    yield case(
                        f"{verb} condition = {before}\n {text}\n endpass\n condition = "
                        f"{behind}\n deny message = went on"
                    )
                    yield case(
                        f"{verb} condition = {before}\n endpass\n {text}\n condition = "
                        f"{behind}\n deny message = went on"
                    )
    yield case("accept endpass\n deny")
    yield case(
        "accept message = first\n condition = yes\n message = second\n endpass\n condition = no\n message = third"
    )
    yield case("accept endpass\n acl = CASE_in", more="CASE_in:\n deny message = inner\n log_message = inner log")
    yield case("accept endpass\n acl = CASE_in", more="CASE_in:\n accept message = inner\n log_message = inner log")
    yield case("discard endpass\n acl = CASE_in", more="CASE_in:\n discard message = inner\n log_message = inner log")
    yield case("accept endpass\n acl = CASE_in", more="CASE_in:\n discard message = inner\n log_message = inner log")
    yield case("accept endpass\n acl = CASE_in", more="CASE_in:\n defer message = inner\n log_message = inner log")
    yield case("accept endpass\n verify = recipient", say=(MAIL, "RCPT TO:<x@unrouteable.test>"))
    yield case("accept endpass\n message = own\n verify = recipient", say=(MAIL, "RCPT TO:<x@unrouteable.test>"))


def _texts() -> Iterator[Case]:
    """Codes in messages, line breaks, length."""
    messages = (
        "551 away",
        "551 5.7.9 away",
        "551-5.7.9 away",
        "5517 away",
        "551away",
        "551",
        "551 ",
        "551 5.7.9",
        "551 5.7.9 ",
        "551  5.7.9  away",
        "451 later",
        "451 4.3.0 later",
        "250 fine",
        "250 2.0.0 fine",
        "551 4.7.1 odd",
        "451 5.7.1 odd",
        "999 none",
        "199 none",
        "one\\ntwo",
        "551 one\\ntwo\\nthree",
        "551 5.7.9 one\\ntwo",
        "one\\n",
        "\\none",
        "one\\n\\ntwo",
        "one\\r\\ntwo",
        "one\\ttwo",
        '"quoted text"',
        '"one\\ntwo"',
        "  blanks  in  it",
        "$sender_address to $local_part@$domain",
        "${if eq{1}{1}{551 5.1.1 by expansion}}",
        "${if eq{1}{2}{never}fail}",
        "${if eq{1}{2}{never}}",
        "$acl_m_unset",
        "50% of ${length_3:abcdef}",
        "word " * 40,
        "a very long text with a colon in the middle of it: " + "word " * 12 + "and one more: " + "x" * 90,
        "y" * 200,
        "551 5.7.1 " + "long " * 30,
        "short: " + "z" * 70 + " tail",
        "a" * 36 + ": " + "b" * 36 + " " + "c" * 60,
        "a" * 34 + ": " + "b" * 50,
        "a" * 74 + " b",
        "a" * 75 + " b",
        "a" * 76 + " b",
        "\\\\backslash \\x41",
        "gr\u00fc\u00dfe",
    )
    for message in messages:
        yield case(f"deny message = {message}")
        yield case(f"defer message = {message}")
        yield case(f"accept message = {message}")
        yield case(f"deny log_message = {message}")
        yield case(f"deny message = {message}\n log_message = log: {message}")
        yield case(f"warn log_message = {message}\n accept")
        yield case(f"warn logwrite = {message}\n accept")
    for place in ("mail", "helo", "data", "predata"):
        for message in ("551 5.7.9 away", "451 later", "250 fine", "221 odd", "354 go on", "550-one\\ntwo"):
            for verb in ("accept", "deny", "defer"):
                yield case(**{place: f"{verb} message = {message}"})


def _places() -> Iterator[Case]:
    """Commands other than those of a transaction."""
    for verb in ("accept", "deny", "defer", "warn", "require condition = no", "discard"):
        for text in (
            "",
            "message = told",
            "message = 551 5.7.2 told",
            "message = 451 told",
            "message = 599 odd",
            "message = 252 eh",
        ):
            if verb == "discard" and text:
                continue
            body = f"{verb}\n {text}\n log_message = logged" if text else verb
            yield case(vrfy=body, say=("VRFY bob@to.test", "VRFY <x@unrouteable.test>"), alone=verb == "discard")
            yield case(expn=body, say=("EXPN bob@to.test", "EXPN x@unrouteable.test"), alone=verb == "discard")
            if verb != "accept":
                yield case(etrn=body, say=("ETRN #to.test", "ETRN to.test"), alone=verb == "discard")
    yield case(vrfy="accept", say=("VRFY bob", "VRFY", "VRFY a b@c", "VRFY bob@", "VRFY Bob <bob@to.test>"))
    yield case(
        vrfy="accept domains = to.test\n local_parts = bob\n deny message = $local_part at $domain",
        say=("VRFY bob@to.test", "VRFY Al@Elsewhere.test"),
    )
    yield case(expn="accept", say=("EXPN bob", "EXPN", "EXPN list@to.test", "EXPN Bob@To.test"))
    yield case(expn="deny message = $smtp_command / $smtp_command_argument", say=("EXPN some thing", "EXPN  two"))
    yield case(
        etrn="deny message = <$smtp_command_argument>", say=("ETRN #to.test", "ETRN @x", "ETRN", "ETRN  blanks ")
    )
    yield case(vrfy="deny message = <$smtp_command_argument>", say=("VRFY  bob@to.test ",))
    for quit_ in (
        "accept",
        "accept message = so long",
        "deny message = stay",
        "accept message = 221 2.0.0 bye",
        "accept message = 250 odd",
        "defer",
        "warn logwrite = leaving",
        "accept message = one\\ntwo",
        "drop",
        "require condition = no",
        "deny condition = no",
    ):
        yield case(quit=quit_, say=("NOOP", "QUIT"), alone=True)
    for notquit in (
        "accept logwrite = [$smtp_notquit_reason]",
        "deny message = x",
        "warn logwrite = $smtp_notquit_reason $sender_helo_name",
    ):
        yield case(notquit=notquit, say=("NOOP",), alone=True)
        yield case(notquit=notquit, rcpt="drop", say=USUAL, alone=True)
        yield case(notquit=notquit, say=("NOOP", "QUIT"), alone=True)
    for connect in (
        "accept",
        "accept message = welcome",
        "accept message = 220 hi there",
        "accept message = one\\ntwo",
        "deny",
        "deny message = away",
        "deny message = 553 5.3.2 away",
        "deny message = 450 x",
        "defer",
        "defer message = later\n log_message = why",
        "drop message = gone",
        "accept message = 554 no",
        "warn message = x\n accept",
        "deny condition = no",
        "require condition = no",
        "discard",
        "accept hosts = 203.0.113.9\n deny",
        "accept hosts = !203.0.113.9\n log_message = not you",
        "accept logwrite = $sender_host_address $sender_host_port $received_protocol",
        "accept control = no_pipelining",
        "accept senders = :",
    ):
        yield case(connect=connect, say=("NOOP", "EHLO again", "QUIT"), alone=True)
    for nothing in ("rcpt", "vrfy", "expn", "etrn", "data", "mail", "helo", "predata"):
        say = (MAIL, RCPT, *MESSAGE, "VRFY x@to.test", "EXPN x", "ETRN #x", "QUIT")
        yield case(options=f"acl_smtp_{nothing} =", say=say)
        yield case(options=f"acl_smtp_{nothing} = $acl_m_empty", say=say)
        yield case(options=f"acl_smtp_{nothing} = ${{if eq{{1}}{{2}}{{x}}fail}}", say=say)
        yield case(options=f"acl_smtp_{nothing} = nosuch$acl_m_empty", say=say)
        yield case(options=f"acl_smtp_{nothing} = ${{if eq{{1}}{{1}}{{deny message = inline}}}}", say=say)
        yield case(options=f"acl_smtp_{nothing} = defer log_message = short", say=say)
        yield case(options=f"acl_smtp_{nothing} = DIR/aclfile", say=say)
        yield case(options=f"acl_smtp_{nothing} = DIR/nosuchfile", say=say)
        yield case(
            options=f"acl_smtp_{nothing} = ${{if eq{{1}}{{1}}{{accept condition = no\\n deny message = several\\n}}}}",
            say=say,
        )
    yield case(options="acl_smtp_mail = ${acl{CASE_in}}", more="CASE_in:\n accept message = accept", say=USUAL)
    yield case(say=(MAIL, RCPT, *MESSAGE, "QUIT"), alone=True)
    yield case(mail="accept", say=("MAIL FROM:<>", RCPT, "RSET", "NOOP", MAIL, MAIL, "QUIT"), alone=True)


def _variables() -> Iterator[Case]:
    """How long what is set lives."""
    show = "deny message = c=$acl_c0/$acl_c_x m=$acl_m0/$acl_m_x"
    for where in ("helo", "mail", "rcpt", "vrfy"):
        for name in ("acl_c0", "acl_c_x", "acl_m0", "acl_m_x"):
            sets = {where: f"warn set {name} = ${{eval:0$acl_c0+1}}{where}\n accept"} if where != "rcpt" else {}
            rcpt = f"warn set {name} = $acl_c0$acl_m0$acl_c_x$acl_m_x,rcpt\n {show}"
            say = (
                MAIL,
                RCPT,
                RCPT,
                "RSET",
                MAIL,
                RCPT,
                "EHLO CASE",
                MAIL,
                RCPT,
                "VRFY x@y.test",
                MAIL,
                RCPT,
                "HELO CASE",
                MAIL,
                RCPT,
            )
            yield case(rcpt if where == "rcpt" else show, **({} if where == "rcpt" else sets), say=say, alone=True)
    yield case(
        "warn set acl_m0 = one\n accept", data="deny message = [$acl_m0]", say=(MAIL, RCPT, *MESSAGE, MAIL, RCPT)
    )
    yield case("warn set acl_m_a = $local_part\n set acl_m_b = <$acl_m_a>\n deny message = $acl_m_a $acl_m_b")
    yield case("warn condition = no\n set acl_m0 = never\n deny message = [$acl_m0]")
    yield case("warn set acl_m0 = set\n condition = no\n deny message = [$acl_m0]")
    yield case("deny set acl_m0 = ${if eq{1}{2}{x}fail}\n message = [$acl_m0]")
    yield case("warn set acl_m0 = one\n warn set acl_m0 = ${if eq{1}{2}{x}fail}\n deny message = [$acl_m0]")
    yield case("warn set acl_m0 = ${lookup{x}lsearch{DIR/none}}\n deny message = [$acl_m0]")
    yield case("deny set acl_m0 = ${lookup{x}lsearch{DIR/none}}\n message = [$acl_m0]")
    yield case("deny !acl = CASE_in\n message = [$acl_m0|$acl_narg]", more="CASE_in:\n warn set acl_m0 = in\n deny")
    yield case("deny message = [${if def:acl_m0{yes}{no}}]")
    yield case("warn set acl_m0 =\n deny message = [${if def:acl_m0{yes}{no}}]")
    yield case(
        (
            "defer local_parts = dan\n accept local_parts = al\n deny message = $smtp_command,"
            "$smtp_command_argument,$sender_helo_name,$sender_host_address,$received_protocol,"
            "$recipients_count,$rcpt_count,$rcpt_fail_count,$rcpt_defer_count"
        ),
        say=(MAIL, RCPT, "RCPT TO:<dan@x.test>", "RCPT TO:<al@x.test>", CAROL),
    )
    yield case(
        data=(
            "deny message = $message_size,$recipients_count,$recipients,$sender_address,"
            "$message_linecount,$h_subject:,$message_body_size,$body_linecount,$rcpt_count,$received_count"
        )
    )
    yield case(predata="deny message = $recipients_count,$recipients,$sender_address,$smtp_command,$rcpt_count")
    yield case(
        mail="deny message = $sender_address,$sender_address_domain,$smtp_command,$smtp_command_argument,$message_size",
        say=(
            "MAIL FROM:<ann@From.test> SIZE=77",
            "MAIL FROM:<>",
            "mail from: <ann@from.test> SIZE=5",
            "MAIL FROM:<Ann.X@from.test>",
        ),
    )
    yield case(
        "deny message = $local_part/$domain/$local_part_data/$domain_data/$address_data/$original_local_part",
        say=(MAIL, "RCPT TO:<Bob@To.Test>", 'RCPT TO:<"b o"@to.test>', "RCPT TO:<@a,@b:c@d.test>"),
    )
    yield case(
        "warn domains = lsearch;DIR/table\n local_parts = b*\n deny message = <$domain_data|$local_part_data>",
        say=(MAIL, "RCPT TO:<bob@key.test>"),
    )
    yield case(
        "deny message = ${sg{$tod_zone}{.*}{z}} $interface_port $sender_host_port "
        "<$sender_host_name> <$host_lookup_failed>"
    )


def _nested() -> Iterator[Case]:
    inner = {
        "accept": "accept message = in\n log_message = in log",
        "deny": "deny message = in\n log_message = in log",
        "plain deny": "deny",
        "defer": "defer message = in\n log_message = in log",
        "discard": "discard message = in\n log_message = in log",
        "warn": "warn message = in\n log_message = in log",
        "empty end": "accept condition = no",
        "require": "require message = in\n condition = no\n log_message = late",
        "warn and accept": "warn log_message = in log\n accept",
        "broken": "deny condition = ${lookup{x}lsearch{DIR/none}}",
    }
    for verb in ("accept", "deny", "defer", "discard", "warn", "require"):
        for name, text in inner.items():
            for own in ("", "message = out", "log_message = out log"):
                for sign in ("", "!"):
                    if own and sign and name not in ("deny", "accept"):
                        continue
                    body = f"{verb} {own}\n {sign}acl = CASE_in\n deny message = went on"
                    yield case(
                        body, more=f"CASE_in:\n {text}", alone=name == "discard" and verb not in ("accept", "discard")
                    )
    for call in (
        "CASE_in",
        "CASE_in one two",
        'CASE_in "one two" three',
        'CASE_in "" x',
        "CASE_in $sender_address ${lc:A B}",
        "CASE_in a b c d e f g h i",
        "${lookup{in}lsearch{DIR/none}{x}{CASE_in}} q",
        "DIR/aclfile",
        "deny message = inline $acl_narg",
        "nosuch_acl$acl_m0",
        "$acl_m0",
        "${if eq{1}{2}{CASE_in}fail}",
        "${if eq{1}{1}{deny message = made}}",
        "CASE_loop",
    ):
        more = "CASE_in:\n deny message = $acl_narg,$acl_arg1,$acl_arg2,$acl_arg9\nCASE_loop:\n accept acl = CASE_loop"
        yield case(f"accept acl = {call}\n deny", more=more)
        yield case(f"require acl = {call}\n deny", more=more)
        yield case(f"deny acl = {call}\n deny", more=more)
        yield case(f"warn acl = {call}\n deny message = [$acl_narg]", more=more)
    for wrapped in (
        "${acl{CASE_in}{a}{b}}",
        "${acl{CASE_in}}",
        "${if acl{{CASE_in}{a}{b}}{yes $value}{no $value}}",
        "${if acl{{CASE_no}}{yes $value}{no $value}}",
        "${acl{CASE_no}}",
        "${acl{CASE_later}}",
        "${acl{CASE_quiet}}",
        "${acl{nosuch}}",
        "${if acl{{CASE_later}}{yes}{no}}",
    ):
        more = (
            "CASE_in:\n accept message = r=$acl_narg,$acl_arg1,$acl_arg2\n log_message = l\n"
            "CASE_no:\n deny message = refused\n log_message = l\nCASE_later:\n defer message = "
            "later\nCASE_quiet:\n accept"
        )
        yield case(f"deny message = [{wrapped}]", more=more)
        yield case(f"deny condition = ${{if eq{{{wrapped}}}{{x}}}}\n accept message = no", more=more)
        yield case(f"warn set acl_m0 = {wrapped}\n deny message = [$acl_m0] $acl_narg", more=more)
        yield case(f"deny log_message = [{wrapped}]", more=more)
    yield case(
        "deny acl = CASE_a 1\n message = $acl_arg1",
        more=(
            "CASE_a:\n warn acl = CASE_b 2 3\n accept message = $acl_arg1$acl_narg\nCASE_b:\n deny message = $acl_arg1"
        ),
    )
    yield case("deny !acl = CASE_in\n message = $acl_verify_message", more="CASE_in:\n deny message = of the inner one")
    yield case(
        "deny !acl = CASE_in\n log_message = +$acl_verify_message+",
        more="CASE_in:\n deny message = of the inner one\n log_message = its log",
    )
    yield case("accept acl = CASE_in\n deny message = next", more="CASE_in:\n drop message = dropped", alone=True)
    yield case("require acl = CASE_in\n deny message = next", more="CASE_in:\n drop message = dropped", alone=True)
    yield case("deny !acl = CASE_in\n message = own", more="CASE_in:\n drop message = dropped", alone=True)
    yield case("warn acl = CASE_in\n deny message = next", more="CASE_in:\n drop message = dropped", alone=True)


def _conditions() -> Iterator[Case]:
    say = (MAIL, RCPT, "RCPT TO:<carol@other.test>")
    for condition in (
        "domains = to.test",
        "domains = *.test : x",
        "domains = lsearch;DIR/table",
        "domains = ${lookup{x}lsearch{DIR/none}}",
        "domains =",
        "local_parts = bob",
        "local_parts = ^c.*l\\$",
        "recipients = bob@to.test",
        "recipients = *@other.test",
        "senders = ann@from.test",
        "senders = :",
        "senders = *@from.test",
        "sender_domains = from.test",
        "sender_domains = !from.test",
        "hosts = 203.0.113.0/24",
        "hosts = :",
        "hosts = 10.0.0.1",
        "authenticated = *",
        "encrypted = *",
        "verify = certificate",
        "verify = helo",
        "verify = recipient",
        "verify = sender",
        "verify = sender=x@unrouteable.test",
        "verify = sender=ok@to.test",
        "condition = ${if match_domain{$domain}{to.test}}",
        "condition = 1",
        "condition = 0",
        "condition =",
        "condition = ${if eq{1}{2}{yes}fail}",
        "condition = ${lookup{x}lsearch{DIR/none}}",
        "condition = $local_part",
        "condition = ${lookup{key.test}lsearch{DIR/table}{yes}{no}}",
        "condition = true",
        "condition = -1",
        "condition = 007",
        "condition = TRUE",
        "condition = Yes",
        "acl = CASE_in",
        "local_parts = ${if eq{1}{2}{x}fail}",
    ):
        for verb in ("accept", "deny", "require", "warn"):
            for sign in ("", "!"):
                more = "CASE_in:\n accept domains = to.test" if "_in" in condition else ""
                yield case(
                    f"{verb} {sign}{condition}\n log_message = mine\n deny message = went on", say=say, more=more
                )
                if verb in ("deny", "require"):
                    yield case(
                        f"{verb} message = told\n {sign}{condition}\n deny message = went on", say=say, more=more
                    )
                    yield case(f"{verb} {sign}{condition}\n accept message = went on", say=say, more=more)
    for place in ("helo", "mail", "data", "predata"):
        for condition in (
            "hosts = 203.0.113.9",
            "senders = ann@*",
            "sender_domains = from.test",
            "authenticated = *",
            "encrypted = *",
            "verify = sender",
        ):
            if (place == "helo" and condition.split()[0] in ("senders", "sender_domains", "authenticated")) or (
                place == "helo" and "verify" in condition
            ):
                continue
            yield case(**{place: f"deny {condition}\n message = it holds\n accept"})
            yield case(**{place: f"require {condition}\n accept"})
    yield case(
        "accept verify = recipient\n deny message = <$recipient_verify_failure|$acl_verify_message>",
        say=(MAIL, "RCPT TO:<x@unrouteable.test>", "RCPT TO:<x@fail.test>", "RCPT TO:<x@later.test>"),
    )
    yield case(
        "require verify = recipient",
        say=(
            MAIL,
            "RCPT TO:<x@unrouteable.test>",
            "RCPT TO:<x@fail.test>",
            "RCPT TO:<x@later.test>",
            "RCPT TO:<x@hole.test>",
        ),
    )
    yield case(
        "require message = own text: $acl_verify_message\n verify = recipient/defer_ok",
        say=(MAIL, "RCPT TO:<x@unrouteable.test>", "RCPT TO:<x@fail.test>", "RCPT TO:<x@later.test>"),
    )
    for sender in ("x@unrouteable.test", "x@fail.test", "x@later.test", "x@to.test", ""):
        yield case("require verify = sender\n accept", say=(f"MAIL FROM:<{sender}>", RCPT, CAROL))
        yield case("require verify = sender/no_details\n accept", say=(f"MAIL FROM:<{sender}>", RCPT, CAROL))
        yield case(
            "deny !verify = sender\n message = <$sender_verify_failure|$acl_verify_message>\n accept",
            say=(f"MAIL FROM:<{sender}>", RCPT),
        )
        yield case("warn !verify = sender\n log_message = odd sender\n accept", say=(f"MAIL FROM:<{sender}>", RCPT))
        yield case("require verify = sender/defer_ok\n accept", say=(f"MAIL FROM:<{sender}>", RCPT, CAROL))
        yield case(mail="require verify = sender", say=(f"MAIL FROM:<{sender}>", RCPT, MAIL))
    yield case("require verify = sender=$sender_address/no_details", say=("MAIL FROM:<x@fail.test>", RCPT))
    for header in (
        ("From: ann@from.test",),
        ("From: ann@from.test, bob",),
        ("From: <ann@from.test",),
        ("From: Ann",),
        ("To: ann@@from.test",),
        ("From: ann@from.test", "Cc: undisclosed-recipients:;"),
        ("Bcc: bob@to.test", "To: x@y.test"),
        ("To: BOB@to.test",),
        ("To: Bob@to.test",),
        ("To: bob@TO.test",),
        ("Subj\u00e4ct: x",),
        ("X-Ok: \u00e4",),
        ("To: \u00e4@x.test",),
        ("From: x@unrouteable.test",),
        ("Sender: x@unrouteable.test", "From: y@to.test"),
        ("From:",),
        ("From: <>",),
        ("Reply-To: x@fail.test", "From: x@unrouteable.test"),
    ):
        for verify in (
            "header_syntax",
            "not_blind",
            "not_blind/case_insensitive",
            "header_names_ascii",
            "header_sender",
        ):
            yield case(data=f"require verify = {verify}", say=(MAIL, RCPT, "DATA", *header, "", "x", "."))
        yield case(
            data="deny !verify = header_syntax\n message = own: $acl_verify_message",
            say=(MAIL, RCPT, "DATA", *header, "", "x", "."),
        )
    for helo in ("[203.0.113.9]", "[10.0.0.1]", "x"):
        yield case(
            options=" ",
            helo="warn !verify = helo\n log_message = liar\n deny !verify = helo\n message = no",
            say=(f"EHLO {helo}", MAIL, RCPT),
            greets=False,
        )
        yield case(
            options="helo_try_verify_hosts = *",
            rcpt="deny !verify = helo\n message = no\n accept",
            say=(f"EHLO {helo}", MAIL, RCPT),
            greets=False,
        )
        yield case(
            options="helo_verify_hosts = *", rcpt="accept", say=(f"EHLO {helo}", MAIL, RCPT, "QUIT"), greets=False
        )


def _modifiers() -> Iterator[Case]:
    adds = (
        "X-A: one",
        "X-A: one\\nX-B: two",
        ":at_start:X-A: one",
        ":after_received:X-A: one",
        ":at_start_rfc:X-A: one",
        "no field",
        "X-A: one\\n two",
        "",
        "X-A: ${if eq{1}{2}{x}fail}",
        "  X-A: one",
        "X-A:one\\n\\nX-B: two",
        "X-A: one\\n:at_start:X-B: two",
        ":at_start:no field",
        "X-A: one\\n",
    )
    for place in ("mail", "rcpt", "predata", "data"):
        for add in adds:
            if place == "rcpt":
                yield case(f"warn add_header = {add}\n warn add_header = {add}\n deny message = [$headers_added]")
            else:
                yield case(
                    **{
                        place: f"warn add_header = {add}\n accept"
                        if place in ("mail", "predata")
                        else f"warn add_header = {add}\n deny message = [$headers_added] $h_x-a:"
                    },
                    **({"rcpt": "deny message = [$headers_added]"} if place == "mail" else {}),
                    **({"data": "deny message = [$headers_added] $h_x-a:"} if place == "predata" else {}),
                    say=(MAIL, RCPT, *MESSAGE),
                )
    for warn in ("X-W: one", "no field", ":at_start:X-W: one", "one\\ntwo"):
        yield case(
            f"warn message = {warn}\n accept",
            data="deny message = [$headers_added] [$h_x-w:] [$h_x-acl-warn:]",
            say=(MAIL, RCPT, *MESSAGE),
        )
        yield case(mail=f"warn message = {warn}\n log_message = $headers_added", say=(MAIL, RCPT, *MESSAGE))
        yield case(helo=f"warn message = {warn}\n accept")
    yield case(helo="warn add_header = X-A: one\n accept", options=" ")
    yield case("warn remove_header = subject\n accept", data="deny message = [$h_subject:]", say=(MAIL, RCPT, *MESSAGE))
    yield case(
        "accept", data="warn remove_header = subject : from\n deny message = [$h_subject:]", say=(MAIL, RCPT, *MESSAGE)
    )
    for log in (
        "text",
        ":main:text",
        ":main,reject:text",
        ":reject: text",
        ":panic:text",
        ":nosuch$acl_m0:text",
        "::text",
        ":main text$acl_m0",
        "  text",
        "two\\nlines",
        "",
        ":reject",
        "$acl_m0",
        ":main,nosuch$acl_m0:t",
        ": main , reject : t",
    ):
        yield case(f"accept logwrite = {log}")
        yield case(f"accept logwrite = {log}", arguments=("-bs", "-oMa", "203.0.113.9"), logs=True)
    for target in ("", "main", "reject", "main : reject", "panic", "nosuch$acl_m0", "main:panic", "  reject  "):
        for verb in ("deny", "defer", "drop"):
            yield case(
                f"{verb} log_reject_target = {target}\n message = x",
                arguments=("-bs", "-oMa", "203.0.113.9"),
                logs=True,
            )
        yield case(f"warn log_reject_target = {target}\n deny", arguments=("-bs", "-oMa", "203.0.113.9"), logs=True)
        yield case(
            f"warn log_reject_target = {target}\n log_message = w\n deny",
            arguments=("-bs", "-oMa", "203.0.113.9"),
            say=(MAIL, RCPT, "RSET", MAIL, CAROL),
            logs=True,
        )
    for arguments in (
        ("-bs",),
        ("-bs", "-oMa", "203.0.113.9"),
        ("-bs", "-oMa", "203.0.113.9.1234", "-oMs", "client.test"),
    ):
        for text in (
            "deny",
            "deny message = m",
            "defer log_message = l",
            "discard log_message = d",
            "accept hosts = :\n log_message = x\n deny message = from $sender_host_address/$sender_host_name",
            "warn log_message = one\n warn log_message = one\n warn log_message = two\n accept",
            "require verify = sender",
            "drop message = d",
        ):
            yield case(text, say=(MAIL, RCPT, *MESSAGE, "QUIT"), arguments=arguments, logs=True)
        yield case(
            data="deny message = at data\n log_message = logged",
            say=(MAIL, RCPT, *MESSAGE, "QUIT"),
            arguments=arguments,
            logs=True,
        )
        yield case(mail="deny message = at mail", say=(MAIL, RCPT, "QUIT"), arguments=arguments, logs=True)
    for delay in ("0s", "0$acl_m0", "${if eq{1}{2}{x}fail}", "soon$acl_m0", "-1$acl_m0", "$acl_m0"):
        yield case(f"deny delay = {delay}\n message = done")
        yield case(f"warn delay = {delay}\n deny message = next")
    for keep in ("${if eq{1}{2}{x}fail}", "anything", "${lookup{x}lsearch{DIR/none}}", ""):
        yield case(f"deny continue = {keep}\n message = done\n accept message = next")
        yield case(f"warn continue = {keep}\n log_message = w\n accept message = next")
        yield case(f"warn logwrite = {keep}\n log_message = w\n accept message = next")
        yield case(f"deny control = freeze\n log_message = {keep}\n accept message = next")
        yield case(f"deny message = {keep}\n accept message = next")
        yield case(f"warn add_header = {keep}\n deny message = [$headers_added]")
        yield case(f"warn remove_header = {keep}\n deny message = next")
        yield case(f"warn set acl_m3 = {keep}\n deny message = [$acl_m3]")
    for control in (
        "freeze",
        "freeze/no_tell",
        "queue",
        "queue_only",
        "queue/only",
        "queue/first_pass_route",
        "submission",
        "submission/sender_retain",
        "submission/domain=x.test",
        "submission/domain=x/name=A B",
        "caseful_local_part",
        "caselower_local_part",
        "enforce_sync",
        "no_enforce_sync",
        "no_multiline_responses",
        "no_pipelining",
        "no_delay_flush",
        "no_callout_flush",
        "suppress_local_fixups",
        "fakereject",
        "fakereject/no thanks",
        "fakedefer",
        "fakedefer/later on",
        "fakereject/one\\ntwo",
        "dkim_disable_verify",
    ):
        lasts = control.startswith(("no_", "enforce"))
        yield case(f"accept control = {control}", say=(MAIL, "RCPT TO:<Bob@to.test>", *MESSAGE), alone=lasts)
        if lasts:
            continue
        yield case(f"accept control = {control}$acl_m0", say=(MAIL, "RCPT TO:<Bob@to.test>", *MESSAGE))
        if (
            control not in ("dkim_disable_verify", "submission", "suppress_local_fixups")
            and "local_part" not in control
            and "submission" not in control
        ):
            yield case(data=f"accept control = {control}", say=(MAIL, RCPT, *MESSAGE))
            yield case(mail=f"accept control = {control}", say=(MAIL, RCPT, *MESSAGE))
    for control in ("nosuch", "freeze/x", "queue/x", "submission/x", "no_pipelining/x", "allow_auth_unadvertised", ""):
        yield case(f"accept control = {control}$acl_m0", say=(MAIL, RCPT))
        yield case(f"warn control = {control}$acl_m0\n accept", say=(MAIL, RCPT))
    yield case("warn control = caseful_local_part\n deny message = $local_part", say=(MAIL, "RCPT TO:<Bob@to.test>"))
    yield case(
        "warn control = caseful_local_part\n warn control = caselower_local_part\n deny message = $local_part",
        say=(MAIL, "RCPT TO:<Bob@to.test>"),
    )
    yield case(
        "warn control = no_multiline_responses\n deny message = one\\ntwo",
        say=(MAIL, RCPT, "EHLO x", MAIL, RCPT),
        alone=True,
    )
    yield case("deny message = 550 one\n control = fakereject/x\n accept", say=(MAIL, RCPT))


def _rates() -> Iterator[Case]:
    number = count()
    for limit in ("0", "1", "2", "2.5"):
        for period in ("1h", "1d"):
            for options in (
                "per_cmd",
                "per_cmd/strict",
                "per_cmd/leaky",
                "per_mail",
                "per_rcpt",
                "per_conn/strict",
                "per_cmd/noupdate",
                "per_cmd/count=2",
                "per_cmd/count=0.5/strict",
                "per_addr",
                "per_cmd/readonly",
                "strict",
                "per_rcpt/unique=$local_part",
            ):
                key = f"key{next(number)}"
                body = (
                    f"deny ratelimit = {limit}/{period}/{options}/{key}\n message = over "
                    f"$sender_rate_limit/$sender_rate_period "
                    f"${{sg{{$sender_rate}}{{\\\\.[0-9]+}}{{}}}}\n accept message = under "
                    f"${{sg{{$sender_rate}}{{\\\\.[0-9]+}}{{}}}}/$sender_rate_limit/$sender_rate_period"
                )
                yield case(body, say=(MAIL, RCPT, RCPT, CAROL, "RSET", MAIL, RCPT, CAROL))
    for wrong in (
        "x/1h",
        "1/x",
        "1",
        "-1/1h",
        "1/1h/nosuch",
        "1/0s",
        "1/1h/per_cmd/per_mail",
        "1/1h/strict/leaky",
        "1/1h/per_cmd/count=x",
        "1/1h/per_conn/unique=a",
        "",
        "1/1h/noupdate/readonly",
    ):
        yield case(f"deny ratelimit = {wrong}${{if eq{{1}}{{1}}{{}}}}\n accept message = next")


def _greetings() -> Iterator[Case]:
    """The banner, and what greetings get."""
    say = ("EHLO x", "EHLO a_b", "HELO", "NOOP", "HELP", "QUIT")
    for options in (
        "smtp_banner = hello there",
        "smtp_banner = one\\ntwo",
        "smtp_banner = $smtp_active_hostname ESMTP",
        "smtp_banner =",
        "smtp_active_hostname = other.test",
        "helo_allow_chars = _",
        "helo_accept_junk_hosts = *",
        "host_reject_connection = *",
        "pipelining_advertise_hosts =",
        "chunking_advertise_hosts =",
        "dsn_advertise_hosts = *",
        "smtputf8_advertise_hosts =",
    ):
        yield case("accept", options=options, say=say, greets=False)
    say = (MAIL, "RCPT TO:<x@unrouteable.test>", "RCPT TO:<bob>", "RCPT TO:<postmaster>", "RSET", "MAIL FROM:<ann>")
    for options in ("sender_unqualified_hosts = *", "recipient_unqualified_hosts = *", "recipients_max = 1"):
        yield case("deny !verify = recipient\n accept", options=options, say=say)


_TRUTHS = ("yes", "no", "0", "1", "${if eq{$local_part}{bob}}", "bad$acl_m0", "${if eq{1}{2}{x}fail}")


def _random(seed: int, number: int) -> Iterator[Case]:
    """ACLs put together by chance from all of these elements."""
    chance = random.Random(seed)

    def condition() -> str:
        sign = chance.choice(("", "", "", "!"))
        return sign + chance.choice(
            (
                f"local_parts = {chance.choice(('bob', 'carol', 'b* : c*', '!bob', '!bob : *'))}",
                f"domains = {chance.choice(('to.test', '*.test', '!to.test', 'lsearch;DIR/table'))}",
                f"senders = {chance.choice(('ann@from.test', '*@from.test', ':', '!*'))}",
                f"hosts = {chance.choice(('203.0.113.9', '10.0.0.0/8', '!203.0.113.9', ':', '*'))}",
                f"condition = {chance.choice(_TRUTHS)}",
                f"condition = ${{if def:acl_m{chance.randrange(3)}}}",
                f"acl = CASE_in{chance.randrange(2)} {chance.choice(('', 'a', '$local_part $acl_m1'))}",
                f"condition = ${{if acl{{{{CASE_in{chance.randrange(2)}}}{{z}}}}}}",
                f"verify = {chance.choice(('recipient', 'sender', 'certificate'))}",
            )
        )

    def text() -> str:
        return chance.choice(
            (
                f"told {chance.randrange(9)}",
                f"{chance.choice(('551', '451', '250'))} {chance.choice(('5.7.1 ', '4.7.1 ', ''))}coded",
                "m=$acl_m0,$acl_m1,$acl_m2",
                "n=$acl_narg,$acl_arg1",
                "v=$acl_verify_message",
                "two\\nlines",
                "${if eq{1}{2}{x}fail}",
            )
        )

    def modifier() -> str:
        return chance.choice(
            (
                f"message = {text()}",
                f"message = {text()}",
                f"log_message = {text()}",
                (
                    f"set acl_m{chance.randrange(3)} = "
                    f"{chance.choice(('one', '$local_part', '', '$acl_m0+', '${if eq{1}{2}{x}fail}'))}"
                ),
                f"logwrite = {text()}",
                f"add_header = X-{chance.randrange(3)}: {text()}",
                "continue = ${if eq{1}{2}{x}fail}",
                "control = caseful_local_part",
            )
        )

    def statement(*, nested: bool) -> str:
        verb = chance.choice(
            ("accept", "deny", "defer", "warn", "warn", "require", "discard" if not nested else "accept")
        )
        steps = []
        for _ in range(chance.randrange(4)):
            step = condition() if chance.random() < 0.55 else modifier()
            if nested and "CASE_in" in step:
                continue
            steps.append(step)
        if verb == "accept" and chance.random() < 0.3:
            steps.insert(chance.randrange(len(steps) + 1), "endpass")
        return f"{verb} " + "\n ".join(steps)

    for _ in range(number):
        body = "\n ".join(statement(nested=False) for _ in range(chance.randrange(1, 6)))
        more = "\n".join(
            f"CASE_in{each}:\n " + "\n ".join(statement(nested=True) for _ in range(chance.randrange(1, 4)))
            for each in range(2)
        )
        sender = chance.choice(("ann@from.test", "", "x@fail.test"))
        say = (f"MAIL FROM:<{sender}>", "RCPT TO:<Bob@to.test>", CAROL, "RCPT TO:<x@fail.test>")
        yield case(body, more=more, say=say)


def cases() -> list[Case]:
    """All of them, by hand and by chance."""
    groups = (_verbs, _endpass, _texts, _places, _variables, _nested, _conditions, _modifiers, _rates, _greetings)
    found = [each for group in groups for each in group()] + list(_random(1, 300))
    return [replace(each, name=f"c{number}") for number, each in enumerate(found)]


__all__ = ["PLACES", "Case", "cases"]
