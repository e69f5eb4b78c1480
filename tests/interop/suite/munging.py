"""What differs from run to run, taken out of a test's output by the suite's own rules (edge).

    with munging.started(suite, words, marks, custom, directory) as munger:
        text, truncated = munger.munged("mainlog", "spool/log/mainlog", "spool/log/servermainlog")
        munger.name("1abcde-...")  # what a message's id has become

The rules are hundreds of substitutions that change with each version of the suite, so they are not written down
here: the subroutine is read from the suite's `runtest` when a test is played, and a Perl of its own runs it. What
a message's id, a process or a port is replaced by is counted over all files of a test; hence one Perl for a test,
and files in the order in which `runtest` takes them. Files are named relative to the test's directory: the rules look
at the names.
"""

import contextlib
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from interop.suite.substitutions import Words

SUBROUTINES = ("new_value", "date_seconds", "munge")

_SOCKET = "sub OurSocket::opened { return 1; } sub OurSocket::sockport { return $_[0]->{port}; }"
_LOOP = r"""
use Time::Local;
sub tests_exit { die $_[1]; }
$| = 1;
while (my $asked = <STDIN>)
  {
  chomp $asked;
  my ($what, $kind, $out, @files) = split /\t/, $asked;
  if ($what eq 'name')
    {
    $kind =~ s/((?:[^\W_]{6}-){2}[^\W_]{2})/new_value($1, "10Hm%s-0005vi-00", \$next_msgid_old)/egx;
    $kind =~ s/([^\W_]{6}-[^\W_]{11}-[^\W_]{4})/new_value($1, "10Hm%s-000000005vi-0000", \$next_msgid)/egx;
    print "$kind\n";
    next;
    }
  my $cut = 0;
  open(MUNGED, '>', $out) || die "$out: $!";
  foreach my $number (0 .. $#files)
    {
    next if !-e $files[$number];
    print MUNGED "\n******** SERVER ********\n" if $number;
    $cut |= munge($files[$number], $custom->{$kind});
    }
  close(MUNGED);
  print "$cut\n";
  }
"""


class MungingError(Exception):
    """The suite's rules were not found, or Perl cannot run them."""


def rules(runtest: str) -> str:
    """The parts of `runtest` that munge."""
    found = re.findall(r"^my \$re_\w+ = qr.*;$", runtest, re.MULTILINE)
    parts = [each.removeprefix("my ") for each in found]
    for name in SUBROUTINES:
        whole = re.search(rf"^sub {name}\b.*?^\}}$", runtest, re.MULTILINE | re.DOTALL)
        if not whole:
            raise MungingError(f"runtest has no subroutine {name}")
        parts.append(whole[0])
    custom = re.search(r"^\$munges =$.*?^  \};$", runtest, re.MULTILINE | re.DOTALL)
    parts.append(custom[0] if custom else "$munges = {};")
    # Who plays may be root, and start programs as somebody else.
    return "\n".join(parts).replace("$>", "$parm_caller_uid")


def settings(words: Words, marks: frozenset[str], *, custom: str, is_ipv6: bool) -> str:
    """The variables that the rules read, as Perl."""
    names: dict[str, str | int] = {
        "parm_hostname": words.host_name,
        "parm_cwd": words.directory,
        "parm_shell": f"{words.directory}/aux-var/sh",
        "parm_caller": words.caller,
        "parm_caller_group": words.caller_group,
        "parm_caller_uid": words.caller_uid,
        "parm_caller_gid": words.caller_gid,
        "parm_caller_home": words.caller_home,
        "parm_caller_gecos": words.caller_gecos or words.caller,
        "parm_eximuser": words.exim_user,
        "parm_exim_uid": words.exim_uid,
        "parm_exim_gid": words.exim_gid,
        "parm_ipv4": words.ipv4,
        "parm_ipv6": words.ipv6,
        "parm_ipv6_stripped": words.ipv6,
        "parm_ipv4r": ".".join(reversed(words.ipv4.split("."))),
        "parm_ipv6r": "no-reverse-of-ipv6",
        "parm_ipv4_test_net": words.ipv4_test_net,
        "parm_ipv6_test_net": words.ipv6_test_net,
        "parm_port_n": words.ports.silent,
        "parm_port_s": words.ports.server,
        "parm_port_d": words.ports.daemon[0],
        "parm_port_d2": words.ports.daemon[1],
        "parm_port_d3": words.ports.daemon[2],
        "parm_port_d4": words.ports.daemon[3],
        "munge_skip": int("no_munge" in marks),
        "rmfiltertest": int("rmfiltertest" in marks),
        "is_ipv6test": int(is_ipv6),
        "next_msgid_old": "aX",
        "next_msgid": "aX",
        "next_pid": 1234,
        "next_port": 10001,
        "next_conn": 1111,
        "debug": 0,
    }
    lines = [f"${name} = {_quoted(str(value))};" for name, value in names.items()]
    if words.ports.dynamic:
        lines.append(f"{_SOCKET} $dynamic_socket = bless({{port => {words.ports.dynamic}}}, 'OurSocket');")
    lines.append(f"$custom = $munges->{{{_quoted(custom)}}};" if custom else "$custom = {};")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


@dataclass(frozen=True, slots=True)
class Munger:
    process: subprocess.Popen[str]
    directory: Path

    def munged(self, kind: str, *files: str) -> tuple[str, bool]:
        """The files munged, the second after a line that says so, and whether a line in them has been cut short."""
        cut = self._ask("munge", kind, "test-munged", *files) != "0"
        return (self.directory / "test-munged").read_bytes().decode("latin-1"), cut

    def name(self, text: str) -> str:
        return self._ask("name", text)

    def _ask(self, *words: str) -> str:
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write("\t".join(words) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise MungingError(f"Perl has given up at {words}")
        return answer.rstrip("\n")


@contextlib.contextmanager
def started(
    runtest: str, words: Words, marks: frozenset[str], directory: Path, *, custom: str = "", is_ipv6: bool = False
) -> Iterator[Munger]:
    """A Perl with the rules for one test, in the test's directory."""
    program = directory / "test-munge.pl"
    text = "\n".join((rules(runtest), settings(words, marks, custom=custom, is_ipv6=is_ipv6), _LOOP))
    program.write_bytes(text.encode("latin-1"))
    process = subprocess.Popen(
        ["perl", program],
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # Names of files may be in any alphabet, or none.
        encoding="utf-8",
        errors="surrogateescape",
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "LC_ALL": "C"},
    )
    try:
        yield Munger(process, directory)
    finally:
        process.kill()
        process.communicate()
