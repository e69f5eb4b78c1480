"""Whatever stands in a configuration file, reading it gives a value or errors with their places."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.config.read import Configuration, read_configuration
from relay.mail.source import ConfigurationError

_LINES = st.sampled_from(
    [
        "begin acl",
        "begin routers",
        "begin transports",
        "begin authenticators",
        "begin retry",
        "begin rewrite",
        "begin nonsense",
        "primary_hostname = here.test",
        "domainlist local = a : +local : ! b",
        "hostlist h = <; ::1 ; 10/8",
        "M = x",
        "M == ${if",
        "M M = M",
        ".ifdef M",
        ".ifndef M",
        ".elifdef Q",
        ".else",
        ".endif",
        ".include /etc/conf",
        ".include /other",
        ".include_if_exists /none",
        ".include relative",
        "acl_smtp_rcpt = check",
        "acl_smtp_rcpt = accept",
        'acl_smtp_mail = "accept\\n \\x4',
        "check:",
        "accept",
        "deny message = no \\",
        "  condition = ${if eq{$x}{y}}",
        "r:",
        "driver = accept",
        "driver = smtp",
        "transport = r",
        "domains = lsearch;/f",
        "* * F,2h,15m; G,1d,1h,1.5",
        "*@* $1@x frs",
        "hide message_size_limit = 9999999999999999999G",
        "no_split_spool_directory",
        "not_",
        "daemon_smtp_ports = 25 : x : 99999999",
        "# comment",
        "\\",
        "",
        "\0",
        "\ufeff",
        "é = é",
        "tls_certificate = $tls_in_sni",
        "log_selector = +all -nonsense +",
        "local_interfaces = <; ::0 ; 1.2.3",
        "trusted_users = :",
        "begin",
        "=",
        ":",
        "= x",
    ]
)
FILES = st.lists(_LINES | st.text(max_size=20), max_size=20).map("\n".join) | st.text(max_size=120)


def read(text: str, macros: Any = ()) -> Configuration:
    def reader(path: str) -> str:
        if path not in ("/etc/conf", "/other"):
            raise FileNotFoundError(2, "No such file or directory", path)
        return text if path == "/etc/conf" else "M = y\n.endif\nbegin acl\n"

    return read_configuration("/etc/conf", reader, macros, host_name="here.test")


def _are_placed(error: ConfigurationError) -> None:
    assert error.problems
    for problem in error.problems:
        assert problem.location.file in ("/etc/conf", "/other"), problem
        assert problem.what


@given(FILES)
@settings(max_examples=200, deadline=None)
def test_any_file_is_read_or_refused_with_places(text: str) -> None:
    try:
        assert isinstance(read(text), Configuration)
    except ConfigurationError as error:
        _are_placed(error)


@pytest.mark.parametrize(
    "text",
    [
        "A = AA\nA = x\n",
        "A = BB\nB = AA\nqualify_domain = A\n",
        "A == A A A A\n" * 3 + "qualify_domain = A\n",
        "".join(f"M{n}_ = M{n + 1}_ M{n + 1}_\n" for n in reversed(range(30))) + "qualify_domain = M0_\n",
        ".include /etc/conf\n",
        ".ifdef X\n" * 5000,
        "begin acl\na:\n" + "accept acl = a\n" * 5000,
        "domainlist a = +b\ndomainlist b = +a\nbegin acl\nx:\naccept domains = +a\n",
        "x" * 1_000_000,
        "qualify_domain = a \\\n" * 20_000,
        "qualify_domain = " + "${lc:" * 10_000,
        'qualify_domain = "' + "\\" * 100_001,
        "message_size_limit = " + "9" * 10_000,
        "queue_run_max = 0" + "7" * 10_000,
        "ignore_bounce_errors_after = " + "9" * 10_000 + "w",
        "\n" * 200_000,
    ],
)
def test_what_is_out_of_all_proportion_is_refused_or_read(text: str) -> None:
    try:
        read(text)
    except ConfigurationError as error:
        _are_placed(error)
