"""Finding the statement that decided in the file that it stands in."""

from pathlib import Path

from relay.cli import decision
from relay.mail.source import Location

TEXT = """\
begin acl
rcpt:
  accept  verify    = certificate
          condition = ${if inlist{\\
                      a}{A}}
  warn    logwrite = x

  deny    message = no
          # with a comment behind it
next_one:
  accept
begin routers
"""


def test_a_statement_ends_where_the_next_thing_begins(tmp_path: Path) -> None:
    path = tmp_path / "c.conf"
    path.write_text(TEXT)
    found = {line: decision.statement_lines(Location(str(path), line)) for line in (3, 6, 8, 11)}
    assert [text.strip() for text in found[3]] == [
        "accept  verify    = certificate",
        "condition = ${if inlist{\\",
        "a}{A}}",
    ]
    assert found[6] == ("warn    logwrite = x",)
    assert found[8] == ("deny    message = no",)
    assert found[11] == ("accept",)
